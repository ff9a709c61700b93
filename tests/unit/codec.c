#include "rpc/codec.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/admin.h"
#include "rpc/msgpack_check.h"
#include "tests/support/wire.h"

static struct decoder *decoder;
static struct peer_message decoded;

static void init(void)
{
    decoder = decoder_new();
}

static void deinit(void)
{
    decoder_free(decoder);
}

TestSuite(codec, .init = init, .fini = deinit);

/* ---- what goes in comes out ---- */

static void expect_round_trips(uint32_t count, uint32_t command_size, uint64_t seed)
{
    struct wire_samples *s = wire_samples_new(count, command_size, seed);
    for (int i = 0; i < WIRE_SAMPLES; i++) {
        struct frame *f = wire_frame(&s->messages[i]);
        cr_assert_eq(codec_decode(decoder, f, &decoded), 0, "sample %d seed %lu", i, seed);
        cr_expect(wire_equal(&s->messages[i], &decoded), "sample %d seed %lu", i, seed);
        cr_expect_null(wire_out_of_range(&decoded, f), "sample %d seed %lu", i, seed);
        frame_unref(f);
    }
    decoder_clear(decoder);
    wire_samples_free(s);
}

Test(codec, every_message_comes_back_as_it_was)
{
    for (uint64_t seed = 0; seed < 200; seed++)
        expect_round_trips(1 + (uint32_t)seed % ENTRIES_MAX, (uint32_t)seed * 3, seed);
}

Test(codec, messages_of_the_greatest_size_come_back_as_they_were)
{
    expect_round_trips(ENTRIES_MAX, 70000, 1);
    expect_round_trips(2, COMMAND_SIZE_MAX, 2);
    expect_round_trips(ENTRIES_MAX, 0, 3);
}

Test(codec, the_longest_message_the_core_may_send_fits_a_frame)
{
    /* Entries are taken until MESSAGE_BYTES are passed: at most one command more than that. */
    struct wire_samples *s = wire_samples_new(ENTRIES_MAX, MESSAGE_BYTES / (ENTRIES_MAX - 1), 4);
    static uint8_t large[COMMAND_SIZE_MAX];
    s->commands[ENTRIES_MAX - 1].bytes = large;
    s->commands[ENTRIES_MAX - 1].size = COMMAND_SIZE_MAX;
    for (int i = 0; i < WIRE_SAMPLES; i++) {
        struct frame *f = wire_frame(&s->messages[i]);
        cr_expect_leq(f->size, FRAME_SIZE_MAX);
        cr_expect_eq(codec_decode(decoder, f, &decoded), 0, "sample %d", i);
        frame_unref(f);
    }
    decoder_clear(decoder);
    wire_samples_free(s);
}

Test(codec, empty_pages_of_p1b_p2b_and_decisions_are_legal)
{
    static const enum message_kind kinds[] = {MESSAGE_P1B, MESSAGE_P2B, MESSAGE_DECISIONS};
    struct wire_samples *s = wire_samples_new(1, 1, 5);
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        struct peer_message m = s->messages[kinds[i]];
        if (kinds[i] == MESSAGE_P1B)
            m.paxos.p1b.count = 0, m.paxos.p1b.slot_next = 0;
        else if (kinds[i] == MESSAGE_P2B)
            m.paxos.p2b.count = 0;
        else
            m.paxos.decisions.count = 0;
        struct frame *f = wire_frame(&m);
        cr_assert_eq(codec_decode(decoder, f, &decoded), 0);
        cr_expect(wire_equal(&m, &decoded));
        frame_unref(f);
    }
    wire_samples_free(s);
}

Test(codec, encoding_appends_to_what_is_there)
{
    struct wire_samples *s = wire_samples_new(3, 10, 6);
    struct buffer b = {0};
    buffer_append(&b, "head", 4);
    cr_assert_eq(codec_encode(&s->messages[MESSAGE_P2A], &b), 0);
    struct frame *f = wire_frame(&s->messages[MESSAGE_P2A]);
    cr_assert_eq(b.size, 4 + f->size);
    cr_expect_eq(memcmp(b.bytes, "head", 4), 0);
    cr_expect_eq(memcmp(b.bytes + 4, f->bytes, f->size), 0);
    frame_unref(f);
    buffer_deinit(&b);
    wire_samples_free(s);
}

/* ---- commands are views ---- */

Test(codec, a_command_lies_in_its_frame_and_keeps_it)
{
    struct wire_samples *s = wire_samples_new(4, 1000, 7);
    struct frame *f = wire_frame(&s->messages[MESSAGE_P2A]);
    cr_assert_eq(codec_decode(decoder, f, &decoded), 0);
    cr_expect_eq(f->refs, 1 + 3, "one of the four is a no-op");
    struct command *kept = command_ref(decoded.paxos.p2a.pvalues[3].command);
    frame_unref(f);
    decoder_clear(decoder);
    cr_expect_eq(f->refs, 1, "the kept command's");
    cr_expect_eq(memcmp(kept->bytes, s->commands[3].bytes, 1000), 0);
    command_unref(kept); /* frees the frame: the sanitizer knows */
    wire_samples_free(s);
}

Test(codec, the_next_decode_drops_the_references_of_the_one_before)
{
    struct wire_samples *s = wire_samples_new(4, 10, 8);
    struct frame *first = wire_frame(&s->messages[MESSAGE_SUBMIT]);
    struct frame *second = wire_frame(&s->messages[MESSAGE_READ]);
    cr_assert_eq(codec_decode(decoder, first, &decoded), 0);
    cr_assert_eq(first->refs, 5);
    cr_assert_eq(codec_decode(decoder, second, &decoded), 0);
    cr_expect_eq(first->refs, 1);
    frame_unref(first);
    frame_unref(second);
    wire_samples_free(s);
}

Test(codec, a_refused_message_leaves_no_reference)
{
    struct wire_samples *s = wire_samples_new(4, 10, 9);
    s->values[3].slot = 0; /* found after three commands were made */
    struct frame *f = wire_frame(&s->messages[MESSAGE_P2A]);
    cr_assert_eq(codec_decode(decoder, f, &decoded), -EBADMSG);
    cr_expect_eq(f->refs, 1);
    frame_unref(f);
    wire_samples_free(s);
}

/* ---- bytes from outside ---- */

static int decode_bytes(const void *bytes, size_t size)
{
    struct frame *f = wire_frame_of(bytes, size);
    int rc = codec_decode(decoder, f, &decoded);
    if (rc == 0)
        cr_expect_null(wire_out_of_range(&decoded, f), "%s", wire_out_of_range(&decoded, f));
    decoder_clear(decoder);
    frame_unref(f);
    return rc;
}

Test(codec, refuses_every_truncation_and_every_trailing_byte)
{
    struct wire_samples *s = wire_samples_new(5, 40, 10);
    for (int i = 0; i < WIRE_SAMPLES; i++) {
        struct frame *f = wire_frame(&s->messages[i]);
        for (uint32_t size = 0; size < f->size; size++)
            cr_expect_eq(decode_bytes(f->bytes, size), -EBADMSG, "sample %d size %u", i, size);
        struct buffer longer = {0};
        buffer_append(&longer, f->bytes, f->size);
        pack_nil(&longer);
        cr_expect_eq(decode_bytes(longer.bytes, longer.size), -EBADMSG, "sample %d", i);
        buffer_deinit(&longer);
        frame_unref(f);
    }
    wire_samples_free(s);
}

Test(codec, a_changed_byte_never_gives_a_value_out_of_range)
{
    struct wire_samples *s = wire_samples_new(3, 20, 11);
    for (int i = 0; i < WIRE_SAMPLES; i++) {
        struct frame *f = wire_frame(&s->messages[i]);
        for (uint32_t at = 0; at < f->size; at++) {
            uint8_t was = f->bytes[at];
            for (int value = 0; value < 256; value++) {
                f->bytes[at] = (uint8_t)value;
                int rc = decode_bytes(f->bytes, f->size);
                cr_expect(rc == 0 || rc == -EBADMSG, "sample %d byte %u value %d", i, at, value);
            }
            f->bytes[at] = was;
        }
        frame_unref(f);
    }
    wire_samples_free(s);
}

Test(codec, refuses_values_that_no_core_may_send)
{
    static const struct ballot bottom = {0}, nobody = {3, 0}, too_high = {ROUND_MAX + 1, 3};
    struct holder no_holder[3] = {{1, 1, 1}, {2, 1, 1}, {0, 1, 1}};
    struct wire_samples *s = wire_samples_new(3, 5, 12);
    static struct peer_message bad[60];
    size_t count = 0;
#define BAD(sample, change)                                                                        \
    do {                                                                                           \
        struct peer_message *m = &bad[count++];                                                    \
        *m = s->messages[sample];                                                                  \
        change;                                                                                    \
    } while (0)
    BAD(MESSAGE_PREVOTE, m->paxos.prevote.ballot = bottom);
    BAD(MESSAGE_PREVOTE, m->paxos.prevote.ballot = nobody);
    BAD(MESSAGE_PREVOTE, m->paxos.prevote.ballot = too_high);
    BAD(MESSAGE_PREVOTE_ACK, m->paxos.prevote_ack.ballot = bottom);
    BAD(MESSAGE_PREVOTE_ACK, m->paxos.prevote_ack.promised = nobody);
    BAD(MESSAGE_PREVOTE_ACK, m->paxos.prevote_ack.promised = too_high);
    BAD(MESSAGE_P1A, m->paxos.p1a.ballot = bottom);
    BAD(MESSAGE_P1A, m->paxos.p1a.slot_first = 0);
    BAD(MESSAGE_P1B, m->paxos.p1b.asked = bottom);
    BAD(MESSAGE_P1B, m->paxos.p1b.slot_first = 0);
    BAD(MESSAGE_P1B, m->paxos.p1b.slot_first++);
    BAD(MESSAGE_P1B, m->paxos.p1b.slot_next = s->slots[2]);
    BAD(MESSAGE_P1B, m->paxos.p1b.pvalues = s->decided);
    BAD(MESSAGE_P2A, m->paxos.p2a.ballot = bottom);
    BAD(MESSAGE_P2B, m->paxos.p2b.asked = bottom);
    BAD(MESSAGE_DECIDED, m->paxos.decided.ballot = bottom);
    BAD(MESSAGE_HEARTBEAT, m->paxos.heartbeat.ballot = bottom);
    BAD(MESSAGE_HEARTBEAT_ACK, m->paxos.heartbeat_ack.ballot = bottom);
    BAD(MESSAGE_FETCH, m->paxos.fetch.first = 0);
    BAD(MESSAGE_FETCH, m->paxos.fetch.first = 2; m->paxos.fetch.last = 1);
    BAD(MESSAGE_RELEASE, m->paxos.release.ballot = bottom);
    BAD(MESSAGE_RELEASE, m->paxos.release.successor = bottom);
    BAD(WIRE_HELLO, m->hello.node_id = 0);
    BAD(WIRE_HELLO, m->hello.name[0] = '\0');
    BAD(WIRE_HELLO, m->hello.name[0] = '\n');
    BAD(WIRE_HELLO, m->hello.protocol_min = 2; m->hello.protocol_max = 1);
    BAD(WIRE_REFUSE, strcpy(m->refuse.reason, "\x1b[2J"));
    BAD(WIRE_ALIVE, m->alive.hears[1] = 0);
    BAD(WIRE_RELAY, m->relay.origin = 0);
    BAD(WIRE_RELAY, m->relay.target = 0);
    BAD(WIRE_RELAY, m->relay.target = m->relay.origin);
    BAD(WIRE_RELAY, m->relay.size = 0);
    BAD(MESSAGE_LEASE_ASK, m->paxos.lease_ask.ballot = bottom);
    BAD(MESSAGE_LEASE_GRANT, m->paxos.lease_grant.ballot = bottom);
    BAD(MESSAGE_LEASE_ACK, m->paxos.lease_ack.ballot = bottom);
    BAD(MESSAGE_P1B, m->paxos.p1b.holders = no_holder);
    BAD(MESSAGE_RELEASE, m->paxos.release.holders = no_holder);
    BAD(WIRE_JOIN, m->join.node_id = 0);
    BAD(WIRE_JOIN, m->join.name[0] = '\0');
    BAD(WIRE_JOIN, m->join.address[0] = '\0');
    BAD(WIRE_JOIN, m->join.address[1] = '\n');
    BAD(WIRE_JOIN, m->join.protocol_min = 2; m->join.protocol_max = 1);
    BAD(WIRE_JOINED, m->joined.members[2].name[0] = '\0');
    BAD(WIRE_JOINED, m->joined.members[2].address[0] = '\0');
    BAD(WIRE_SNAPSHOT_DATA, m->snapshot_data.offset = UINT64_MAX);
#undef BAD
    for (size_t i = 0; i < count; i++) {
        struct frame *f = wire_frame(&bad[i]);
        cr_expect_eq(codec_decode(decoder, f, &decoded), -EBADMSG, "case %zu", i);
        frame_unref(f);
    }
    wire_samples_free(s);
}

Test(codec, refuses_slots_of_zero_and_slots_out_of_order)
{
    struct wire_samples *s = wire_samples_new(3, 5, 13);
    static const enum message_kind ascending[] = {MESSAGE_P1B, MESSAGE_DECISIONS};
    s->pvalues[2].slot = s->pvalues[1].slot;
    s->decided[2].slot = s->decided[1].slot;
    for (size_t i = 0; i < ARRAY_COUNT(ascending); i++) {
        struct frame *f = wire_frame(&s->messages[ascending[i]]);
        cr_expect_eq(codec_decode(decoder, f, &decoded), -EBADMSG, "twice: %zu", i);
        frame_unref(f);
    }
    static const enum message_kind nonzero[] = {MESSAGE_P1B, MESSAGE_P2A, MESSAGE_P2B,
                                                MESSAGE_DECISIONS};
    s->pvalues[0].slot = s->values[0].slot = s->decided[0].slot = s->slots[0] = 0;
    for (size_t i = 0; i < ARRAY_COUNT(nonzero); i++) {
        struct frame *f = wire_frame(&s->messages[nonzero[i]]);
        cr_expect_eq(codec_decode(decoder, f, &decoded), -EBADMSG, "zero: %zu", i);
        frame_unref(f);
    }
    wire_samples_free(s);
}

/* ---- messages no encoder makes ---- */

static void pack_head(struct buffer *b, uint64_t type, const char *method, uint32_t params)
{
    pack_array(b, 3);
    pack_u64(b, type);
    pack_text(b, method);
    pack_array(b, params);
}

static void pack_bin(struct buffer *b, uint32_t size)
{
    uint8_t head[5] = {0xc6, (uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8),
                       (uint8_t)size};
    buffer_append(b, head, sizeof head);
    buffer_reserve(b, size);
    memset(b->bytes + b->size, 7, size);
    b->size += size;
}

static void pack_submit(struct buffer *b, uint32_t count, uint64_t node, uint32_t size)
{
    pack_head(b, 2, "submit", 1);
    pack_array(b, count);
    for (uint32_t i = 0; i < count; i++) {
        pack_array(b, 5);
        pack_u64(b, node);
        for (int k = 0; k < 3; k++)
            pack_u64(b, 1);
        pack_bin(b, size);
    }
}

static int decode_buffer(struct buffer *b)
{
    int rc = decode_bytes(b->bytes, b->size);
    buffer_deinit(b);
    return rc;
}

Test(codec, refuses_commands_out_of_bounds)
{
    static const struct {
        const char *name;
        uint32_t count;
        uint64_t node;
        uint32_t size;
        int rc;
    } cases[] = {
        {"fine", 1, 1, 10, 0},
        {"as many as may be", ENTRIES_MAX, 1, 10, 0},
        {"one too many", ENTRIES_MAX + 1, 1, 10, -EBADMSG},
        {"none", 0, 1, 10, -EBADMSG},
        {"as long as may be", 1, 1, COMMAND_SIZE_MAX, 0},
        {"too long", 1, 1, COMMAND_SIZE_MAX + 1, -EBADMSG},
        {"of no node", 1, 0, 10, -EBADMSG},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buffer b = {0};
        pack_submit(&b, cases[i].count, cases[i].node, cases[i].size);
        cr_expect_eq(decode_buffer(&b), cases[i].rc, "%s", cases[i].name);
    }
}

Test(codec, a_relay_is_bounded)
{
    for (uint32_t over = 0; over < 2; over++) {
        struct buffer b = {0};
        pack_head(&b, 2, "relay", 3);
        pack_u64(&b, 1);
        pack_u64(&b, 2);
        pack_bin(&b, (uint32_t)RELAY_SIZE_MAX + over);
        cr_expect_leq(b.size, FRAME_SIZE_MAX);
        cr_expect_eq(decode_buffer(&b), over ? -EBADMSG : 0, "over by %u", over);
    }
}

/* What is in the relay of @inner, sent by 1 for 2. */
static int unwrap(const struct frame *inner)
{
    struct peer_message m = {.kind = PEER_RELAY, .relay = {1, 2, inner->size, inner->bytes}};
    struct frame *f = wire_frame(&m);
    cr_assert_eq(codec_decode(decoder, f, &decoded), 0);
    int rc = codec_unwrap(decoder, &decoded);
    frame_unref(f); /* what came out points elsewhere: the sanitizer knows */
    return rc;
}

Test(codec, a_relay_carries_a_message_of_the_core_and_nothing_else)
{
    struct wire_samples *s = wire_samples_new(5, 3000, 14);
    for (int i = 0; i < WIRE_SAMPLES; i++) {
        struct frame *f = wire_frame(&s->messages[i]);
        bool is_core = i < MESSAGE_KIND_COUNT;
        cr_assert_eq(unwrap(f), is_core ? 0 : -EBADMSG, "sample %d", i);
        if (is_core)
            cr_expect(wire_equal(&s->messages[i], &decoded), "sample %d", i);
        frame_unref(f);
    }
    decoder_clear(decoder);
    wire_samples_free(s);
}

Test(codec, a_p2a_has_an_entry)
{
    struct buffer b = {0};
    pack_head(&b, 2, "p2a", 3);
    pack_array(&b, 2);
    pack_u64(&b, 1);
    pack_u64(&b, 1);
    pack_u64(&b, 0);
    pack_array(&b, 0);
    cr_expect_eq(decode_buffer(&b), -EBADMSG);
}

Test(codec, text_ends_where_its_field_does)
{
    char text[sizeof((struct peer_refuse){0}.reason) + 1];
    memset(text, 'x', sizeof text);
    for (int over = 0; over < 2; over++) {
        struct buffer b = {0};
        text[sizeof text - 2 + (size_t)over] = '\0';
        pack_head(&b, 2, "refuse", 2);
        pack_text(&b, text);
        pack_bool(&b, false);
        text[sizeof text - 2] = 'x';
        cr_expect_eq(decode_buffer(&b), over ? -EBADMSG : 0, "over by %d", over);
    }
}

Test(codec, a_noop_is_not_submitted)
{
    struct buffer b = {0};
    pack_head(&b, 2, "submit", 1);
    pack_array(&b, 1);
    pack_nil(&b);
    cr_expect_eq(decode_buffer(&b), -EBADMSG);
}

Test(codec, refuses_what_is_no_notification_of_ours)
{
    struct buffer b = {0};
    pack_head(&b, 2, "read", 1);
    pack_u64(&b, 1);
    cr_expect_eq(decode_buffer(&b), 0, "the control");
    pack_head(&b, 0, "read", 1); /* a request */
    pack_u64(&b, 1);
    cr_expect_eq(decode_buffer(&b), -EBADMSG);
    pack_head(&b, 2, "reap", 1); /* unknown */
    pack_u64(&b, 1);
    cr_expect_eq(decode_buffer(&b), -EBADMSG);
    pack_head(&b, 2, "", 0);
    cr_expect_eq(decode_buffer(&b), -EBADMSG);
    pack_head(&b, 2, "read", 2); /* a parameter too many */
    pack_u64(&b, 1);
    pack_u64(&b, 1);
    cr_expect_eq(decode_buffer(&b), -EBADMSG);
    pack_head(&b, 2, "read", 1); /* of another type */
    pack_text(&b, "1");
    cr_expect_eq(decode_buffer(&b), -EBADMSG);
    pack_u64(&b, 1); /* no array */
    cr_expect_eq(decode_buffer(&b), -EBADMSG);
}

Test(codec, reads_the_hello_of_a_later_version_that_says_more)
{
    struct buffer b = {0};
    pack_head(&b, 2, "hello", 8);
    pack_u64(&b, 1);
    pack_u64(&b, 9);
    pack_u64(&b, 77);
    pack_u64(&b, 5);
    pack_text(&b, "n1");
    pack_array(&b, 0);
    pack_u64(&b, 3);
    pack_map(&b, 0);
    cr_expect_eq(decode_buffer(&b), 0);
}

static void pack_piece(struct buffer *b, uint32_t size)
{
    pack_head(b, 2, "snapshot_data", 6);
    pack_u64(b, 1);
    pack_u64(b, 2);
    pack_bool(b, false);
    pack_u64(b, 0);
    pack_text(b, "");
    pack_bin(b, size);
}

Test(codec, a_piece_of_a_snapshot_is_bounded)
{
    for (uint32_t over = 0; over < 2; over++) {
        struct buffer b = {0};
        pack_piece(&b, (uint32_t)SNAPSHOT_PIECE_MAX + over);
        cr_expect_eq(decode_buffer(&b), over ? -EBADMSG : 0, "over by %u", over);
    }
}

Test(codec, a_piece_of_a_snapshot_is_a_view_of_its_frame)
{
    struct buffer b = {0};
    pack_piece(&b, 1000);
    struct frame *f = wire_frame_of(b.bytes, b.size);
    cr_assert_eq(codec_decode(decoder, f, &decoded), 0);
    cr_expect_eq(decoded.snapshot_data.bytes, f->bytes + f->size - 1000);
    cr_expect_eq(f->refs, 1);
    frame_unref(f);
    buffer_deinit(&b);
}

Test(codec, a_secret_has_its_length_and_no_other)
{
    for (uint32_t size = SECRET_SIZE - 1; size <= SECRET_SIZE + 1; size++) {
        struct buffer b = {0};
        pack_head(&b, 2, "join", 8); /* one more, as a later version may say */
        for (int i = 0; i < 4; i++)
            pack_u64(&b, 2);
        pack_bin(&b, size);
        pack_text(&b, "n1");
        pack_text(&b, "1.2.3.4:5");
        pack_nil(&b);
        cr_expect_eq(decode_buffer(&b), size == SECRET_SIZE ? 0 : -EBADMSG, "%u", size);
    }
}

Test(codec, members_of_joined_come_by_ascending_seats)
{
    static const struct {
        const char *name;
        uint64_t seats[2];
        int rc;
    } cases[] = {
        {"ascending", {0, MEMBERS_MAX - 1}, 0},
        {"twice", {3, 3}, -EBADMSG},
        {"descending", {3, 2}, -EBADMSG},
        {"no seat", {3, MEMBERS_MAX}, -EBADMSG},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct buffer b = {0};
        pack_head(&b, 2, "joined", 2);
        pack_text(&b, "");
        pack_array(&b, 2);
        for (uint64_t k = 0; k < 2; k++) {
            pack_array(&b, 5);
            pack_u64(&b, cases[i].seats[k]);
            pack_u64(&b, k + 1);
            pack_text(&b, "n");
            pack_text(&b, "a");
            pack_bool(&b, true);
        }
        cr_expect_eq(decode_buffer(&b), cases[i].rc, "%s", cases[i].name);
    }
}

Test(codec, members_and_holders_are_no_more_than_may_be)
{
    static const char *const methods[] = {"alive", "release"};
    for (uint32_t k = 0; k < ARRAY_COUNT(methods) * 2; k++) {
        uint32_t count = MEMBERS_MAX + k % 2;
        struct buffer b = {0};
        pack_head(&b, 2, methods[k / 2], k < 2 ? 1 : 3);
        for (int i = 0; i < 2 && k >= 2; i++) {
            pack_array(&b, 2);
            pack_u64(&b, 1);
            pack_u64(&b, 1);
        }
        pack_array(&b, count);
        for (uint32_t i = 0; i < count; i++) {
            if (k >= 2)
                pack_array(&b, 3);
            for (int n = 0; n < (k < 2 ? 1 : 3); n++)
                pack_u64(&b, 1);
        }
        cr_expect_eq(decode_buffer(&b), k % 2 ? -EBADMSG : 0, "%s of %u", methods[k / 2], count);
    }
}

Test(codec, claims_of_more_than_there_is_allocate_nothing)
{
    static const struct {
        const char *name;
        uint8_t bytes[16];
        size_t size;
    } cases[] = {
        {"array 32", {0xdd, 0xff, 0xff, 0xff, 0xff, 1}, 6},
        {"array 16", {0xdc, 0xff, 0xff, 1}, 4},
        {"map 32", {0xdf, 0xff, 0xff, 0xff, 0xff, 1, 1}, 7},
        {"map 32 that wraps", {0xdf, 0x80, 0, 0, 0, 1}, 6},
        {"str 32", {0xdb, 0xff, 0xff, 0xff, 0xff, 'x'}, 6},
        {"bin 32", {0xc6, 0xff, 0xff, 0xff, 0xff, 'x'}, 6},
        {"inner array", {0x93, 2, 0xa4, 'r', 'e', 'a', 'd', 0xdd, 0xff, 0xff, 0xff, 0xff}, 12},
        {"ext", {0xc7, 1, 1, 1}, 4},
        {"fixext", {0xd4, 1, 1}, 3},
        {"never used", {0xc1}, 1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(decode_bytes(cases[i].bytes, cases[i].size), -EBADMSG, "%s", cases[i].name);
}

Test(codec, many_tiny_elements_and_deep_nesting_are_refused_before_they_are_unpacked)
{
    static uint8_t bytes[1 << 20];
    memset(bytes, 0x91, sizeof bytes); /* arrays of one, in one another */
    bytes[sizeof bytes - 1] = 0xc0;
    cr_expect_eq(decode_bytes(bytes, sizeof bytes), -EBADMSG);
    memset(bytes, 0, sizeof bytes); /* one array of a million zeroes */
    bytes[0] = 0xdd;
    bytes[2] = 0x0f;
    bytes[3] = 0xff;
    bytes[4] = 0xfb;
    cr_expect_eq(decode_bytes(bytes, sizeof bytes), -EBADMSG);
}

Test(codec, the_look_before_unpacking_finds_what_unpacking_would_stumble_over)
{
    static const struct {
        const char *name;
        uint8_t bytes[12];
        size_t size;
        uint32_t elements_max;
        int rc;
    } cases[] = {
        {"nothing", {0}, 0, 9, -EBADMSG},
        {"nil", {0xc0}, 1, 1, 0},
        {"two values", {0xc0, 0xc0}, 2, 9, -EBADMSG},
        {"empty array", {0x90}, 1, 1, 0},
        {"array", {0x92, 1, 2}, 3, 3, 0},
        {"array with an element too many", {0x92, 1, 2}, 3, 2, -EBADMSG},
        {"array that ends early", {0x92, 1}, 2, 9, -EBADMSG},
        {"map", {0x81, 1, 2}, 3, 3, 0},
        {"map with an element too many", {0x81, 1, 2}, 3, 2, -EBADMSG},
        {"map that ends early", {0x81, 1}, 2, 9, -EBADMSG},
        {"siblings after a full array", {0x92, 0x91, 1, 2}, 4, 4, 0},
        {"str", {0xa2, 'a', 'b'}, 3, 1, 0},
        {"str that ends early", {0xa2, 'a'}, 2, 1, -EBADMSG},
        {"inner str that ends early", {0x91, 0xa3, 'a', 'b'}, 4, 9, -EBADMSG},
        {"bin 16", {0xc5, 0, 2, 'a', 'b'}, 5, 1, 0},
        {"bin 16 without its size", {0xc5, 0}, 2, 1, -EBADMSG},
        {"u64", {0xcf, 1, 2, 3, 4, 5, 6, 7, 8}, 9, 1, 0},
        {"u64 that ends early", {0xcf, 1, 2, 3, 4, 5, 6, 7}, 8, 1, -EBADMSG},
        {"double", {0xcb, 1, 2, 3, 4, 5, 6, 7, 8}, 9, 1, 0},
        {"i8", {0xd0, 0xff}, 2, 1, 0},
        {"sum of claims that wraps", {0x92, 0xdf, 0xff, 0xff, 0xff, 0xff, 1}, 7, 99, -EBADMSG},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(msgpack_check(cases[i].bytes, cases[i].size, cases[i].elements_max),
                     cases[i].rc, "%s", cases[i].name);
}
