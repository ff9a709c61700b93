#include "tests/support/wire.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/prng.h"

/* ---- samples ---- */

/* Small, large and in between: each has its own length in msgpack. */
static uint64_t any_u64(struct prng *r)
{
    return prng_next(r) >> prng_below(r, 64);
}

static struct ballot any_ballot(struct prng *r)
{
    return (struct ballot){any_u64(r) % ROUND_MAX | 1, any_u64(r) | 1};
}

static void fill_entries(struct wire_samples *s, uint32_t count, uint32_t size, struct prng *r)
{
    s->bytes = malloc(size + ENTRIES_MAX);
    ASSERT(s->bytes);
    for (uint32_t i = 0; i < size + ENTRIES_MAX; i++)
        s->bytes[i] = (uint8_t)prng_next(r);
    struct ballot ballot = any_ballot(r);
    uint64_t slot = any_u64(r) >> 8;
    for (uint32_t i = 0; i < count; i++) {
        s->commands[i] = (struct command){
            .refs = 1,
            .size = size,
            .node = any_u64(r) | 1,
            .epoch = any_u64(r),
            .sequence = any_u64(r),
            .low = any_u64(r),
            .bytes = s->bytes + i,
        };
        s->command_list[i] = &s->commands[i];
        slot += 1 + prng_below(r, 3);
        s->slots[i] = slot;
        s->pvalues[i] = (struct pvalue){any_ballot(r), slot, any_u64(r), &s->commands[i]};
        if (i == 1)
            s->pvalues[i].command = command_noop();
        s->values[i] = s->decided[i] = s->pvalues[i];
        s->values[i].ballot = ballot;
        s->decided[i].ballot = (struct ballot){0};
    }
}

static void fill_holders(struct wire_samples *s, uint32_t count, struct prng *r)
{
    s->holder_count = count < MEMBERS_MAX ? count : MEMBERS_MAX;
    for (uint32_t i = 0; i < s->holder_count; i++)
        s->holders[i] = (struct holder){any_u64(r) | 1, any_u64(r), any_u64(r)};
}

static void fill_lease(struct message *m, struct prng *r)
{
    if (m->kind == MESSAGE_LEASE_ASK) {
        m->lease_ask.ballot = any_ballot(r);
        m->lease_ask.life = any_u64(r);
        m->lease_ask.sent_ns = any_u64(r);
    } else if (m->kind == MESSAGE_LEASE_GRANT) {
        m->lease_grant.ballot = any_ballot(r);
        m->lease_grant.life = any_u64(r);
        m->lease_grant.sent_ns = any_u64(r);
        m->lease_grant.left_ns = any_u64(r);
        m->lease_grant.bound = any_u64(r);
    } else {
        m->lease_ack.ballot = any_ballot(r);
        m->lease_ack.life = any_u64(r);
        m->lease_ack.through = any_u64(r);
    }
}

static void fill_paxos(struct wire_samples *s, struct message *m, uint32_t count, struct prng *r)
{
    switch (m->kind) {
    case MESSAGE_PREVOTE:
        m->prevote.ballot = any_ballot(r);
        m->prevote.decided = any_u64(r);
        break;
    case MESSAGE_PREVOTE_ACK:
        m->prevote_ack.ballot = any_ballot(r); /* promised: bottom */
        m->prevote_ack.decided = any_u64(r);
        m->prevote_ack.would_promise = true;
        break;
    case MESSAGE_P1A:
        m->p1a.ballot = any_ballot(r);
        m->p1a.slot_first = any_u64(r) | 1;
        break;
    case MESSAGE_P1B:
        m->p1b.asked = any_ballot(r);
        m->p1b.promised = any_ballot(r);
        m->p1b.slot_first = s->slots[0];
        m->p1b.collected = s->slots[0] - 1;
        m->p1b.slot_next = s->slots[count - 1] + 1;
        m->p1b.count = count;
        m->p1b.pvalues = s->pvalues;
        m->p1b.holder_count = s->holder_count;
        m->p1b.holders = s->holders;
        break;
    case MESSAGE_P2A:
        m->p2a.ballot = s->values[0].ballot;
        m->p2a.decided_through = any_u64(r);
        m->p2a.count = count;
        m->p2a.pvalues = s->values;
        break;
    case MESSAGE_P2B:
        m->p2b.asked = any_ballot(r);
        m->p2b.promised = any_ballot(r);
        m->p2b.count = count;
        m->p2b.slots = s->slots;
        break;
    case MESSAGE_DECIDED:
        m->decided.ballot = any_ballot(r);
        m->decided.through = any_u64(r);
        break;
    case MESSAGE_HEARTBEAT:
        m->heartbeat.ballot = any_ballot(r);
        m->heartbeat.sent_ns = any_u64(r);
        m->heartbeat.decided_through = any_u64(r);
        m->heartbeat.collect_through = any_u64(r);
        break;
    case MESSAGE_HEARTBEAT_ACK:
        m->heartbeat_ack.ballot = any_ballot(r);
        m->heartbeat_ack.promised = any_ballot(r);
        m->heartbeat_ack.sent_ns = any_u64(r);
        m->heartbeat_ack.granted = true;
        m->heartbeat_ack.decided_through = any_u64(r);
        m->heartbeat_ack.checkpointed = any_u64(r);
        m->heartbeat_ack.wall_ns = any_u64(r);
        break;
    case MESSAGE_SUBMIT:
        m->submit.count = count;
        m->submit.commands = s->command_list;
        break;
    case MESSAGE_READ:
        m->read.id = any_u64(r);
        break;
    case MESSAGE_READ_ACK:
        m->read_ack.id = any_u64(r);
        m->read_ack.slot = any_u64(r);
        m->read_ack.ok = true;
        break;
    case MESSAGE_FETCH:
        m->fetch.first = any_u64(r) | 1;
        m->fetch.last = UINT64_MAX;
        break;
    case MESSAGE_DECISIONS:
        m->decisions.slot_first = any_u64(r);
        m->decisions.count = count;
        m->decisions.pvalues = s->decided;
        break;
    case MESSAGE_RELEASE:
        m->release.ballot = any_ballot(r);
        m->release.successor = any_ballot(r);
        m->release.holder_count = s->holder_count;
        m->release.holders = s->holders;
        break;
    case MESSAGE_LEASE_ASK:
    case MESSAGE_LEASE_GRANT:
    case MESSAGE_LEASE_ACK:
        fill_lease(m, r);
        break;
    case MESSAGE_KIND_COUNT:
        ASSERT(false);
    }
}

static void fill_hello(struct peer_hello *h, const char *name, uint32_t members, struct prng *r)
{
    h->cluster_id = any_u64(r);
    h->node_id = any_u64(r) | 1;
    strcpy(h->name, name);
    h->protocol_min = PROTOCOL_MIN;
    h->protocol_max = UINT32_MAX;
    h->version = any_u64(r);
    h->member_count = members;
    for (uint32_t i = 0; i < members; i++)
        h->pinned[i] = any_u64(r);
}

static void fill_joining(struct peer_message *m, struct prng *r)
{
    struct peer_join *join = &m[WIRE_JOIN].join;
    m[WIRE_JOIN].kind = PEER_JOIN;
    *join = (struct peer_join){PROTOCOL_MIN, UINT32_MAX, any_u64(r), any_u64(r) | 1, {0}, "n9", ""};
    for (uint32_t i = 0; i < SECRET_SIZE; i++)
        join->secret[i] = (uint8_t)prng_next(r);
    memset(join->address, '1', ADDRESS_MAX);

    m[WIRE_JOINED].kind = m[WIRE_JOINED_REFUSED].kind = PEER_JOINED;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (i == 1)
            continue; /* that seat is free */
        m[WIRE_JOINED].joined.members[i].node_id = any_u64(r) | 1;
        m[WIRE_JOINED].joined.members[i].votes = i % 3 == 0;
        memset(m[WIRE_JOINED].joined.members[i].name, 'n', 1 + i % MEMBER_NAME_MAX);
        memset(m[WIRE_JOINED].joined.members[i].address, 'a', ADDRESS_MAX - i);
    }
    memset(m[WIRE_JOINED_REFUSED].joined.refused, 'x',
           sizeof m[WIRE_JOINED_REFUSED].joined.refused - 1);
}

static void fill_snapshot(struct wire_samples *s, uint32_t size, struct prng *r)
{
    struct peer_message *m = s->messages;
    m[WIRE_SNAPSHOT_GET].kind = PEER_SNAPSHOT_GET;
    m[WIRE_SNAPSHOT_GET].snapshot_get = (struct peer_snapshot_get){any_u64(r), any_u64(r)};
    m[WIRE_SNAPSHOT_DATA].kind = m[WIRE_SNAPSHOT_REFUSED].kind = PEER_SNAPSHOT_DATA;
    m[WIRE_SNAPSHOT_DATA].snapshot_data = (struct peer_snapshot_data){
        .transfer = any_u64(r),
        .offset = any_u64(r) >> 1,
        .is_last = true,
        .hash = any_u64(r),
        .size = size < SNAPSHOT_PIECE_MAX ? size : SNAPSHOT_PIECE_MAX,
        .bytes = s->bytes,
    };
    struct peer_snapshot_data *refused = &m[WIRE_SNAPSHOT_REFUSED].snapshot_data;
    refused->transfer = any_u64(r);
    memset(refused->refused, 'x', sizeof refused->refused - 1);
}

struct wire_samples *wire_samples_new(uint32_t count, uint32_t command_size, uint64_t seed)
{
    struct wire_samples *s = calloc(1, sizeof *s);
    ASSERT(s && count >= 1 && count <= ENTRIES_MAX);
    struct prng r = {seed};
    fill_entries(s, count, command_size, &r);
    fill_holders(s, count, &r);
    for (uint32_t i = 0; i < MESSAGE_KIND_COUNT; i++) {
        s->messages[i].kind = PEER_PAXOS;
        s->messages[i].paxos.kind = (enum message_kind)i;
        fill_paxos(s, &s->messages[i].paxos, count, &r);
    }
    struct peer_message *m = s->messages;
    m[WIRE_HELLO].kind = m[WIRE_HELLO_LONG].kind = PEER_HELLO;
    fill_hello(&m[WIRE_HELLO].hello, "n1", 0, &r);
    fill_hello(&m[WIRE_HELLO_LONG].hello, "a-name-of-thirty-one-bytes-....", MEMBERS_MAX, &r);
    m[WIRE_REFUSE].kind = m[WIRE_REFUSE_LONG].kind = PEER_REFUSE;
    struct peer_refuse *refuse = &m[WIRE_REFUSE_LONG].refuse;
    memset(refuse->reason, 'x', sizeof refuse->reason - 1);
    refuse->retired = true;
    m[WIRE_STATUS].kind = PEER_STATUS;
    m[WIRE_STATUS].status = (struct peer_status){
        any_u64(&r), any_u64(&r), any_u64(&r), {any_u64(&r), any_u64(&r)}, any_u64(&r), true,
        any_u64(&r), any_u64(&r), true};
    m[WIRE_ALIVE].kind = PEER_ALIVE;
    m[WIRE_ALIVE].alive.count = s->holder_count;
    for (uint32_t i = 0; i < s->holder_count; i++)
        m[WIRE_ALIVE].alive.hears[i] = any_u64(&r) | 1;
    s->relayed = wire_frame(&s->messages[MESSAGE_P2A]);
    m[WIRE_RELAY].kind = PEER_RELAY;
    m[WIRE_RELAY].relay =
        (struct peer_relay){any_u64(&r) | 1, 0, s->relayed->size, s->relayed->bytes};
    m[WIRE_RELAY].relay.target = m[WIRE_RELAY].relay.origin + 1;
    fill_joining(m, &r);
    fill_snapshot(s, command_size, &r);
    return s;
}

void wire_samples_free(struct wire_samples *s)
{
    free(s->bytes);
    frame_unref(s->relayed);
    free(s);
}

struct frame *wire_frame_of(const void *bytes, size_t size)
{
    struct frame *f = frame_new((uint32_t)size);
    ASSERT(f);
    if (size)
        memcpy(f->bytes, bytes, size);
    return f;
}

struct frame *wire_frame(const struct peer_message *m)
{
    struct buffer b = {0};
    int rc = codec_encode(m, &b);
    ASSERT(rc == 0);
    struct frame *f = wire_frame_of(b.bytes, b.size);
    buffer_deinit(&b);
    return f;
}

/* ---- equality ---- */

static bool same_ballot(struct ballot a, struct ballot b)
{
    return ballot_cmp(a, b) == 0;
}

static bool same_command(const struct command *a, const struct command *b)
{
    if (command_is_noop(a) || command_is_noop(b))
        return a == b; /* there is one */
    return a->node == b->node && a->epoch == b->epoch && a->sequence == b->sequence &&
           a->low == b->low && a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static bool same_pvalues(const struct pvalue *a, uint32_t a_count, const struct pvalue *b,
                         uint32_t b_count)
{
    for (uint32_t i = 0; i < a_count && i < b_count; i++)
        if (!same_ballot(a[i].ballot, b[i].ballot) || a[i].slot != b[i].slot ||
            a[i].time_ns != b[i].time_ns || !same_command(a[i].command, b[i].command))
            return false;
    return a_count == b_count;
}

static bool same_holders(const struct holder *a, uint32_t a_count, const struct holder *b,
                         uint32_t b_count)
{
    for (uint32_t i = 0; i < a_count && i < b_count; i++)
        if (a[i].node != b[i].node || a[i].life != b[i].life || a[i].left_ns != b[i].left_ns)
            return false;
    return a_count == b_count;
}

static bool same_lease(const struct message *a, const struct message *b)
{
    if (a->kind == MESSAGE_LEASE_ASK)
        return same_ballot(a->lease_ask.ballot, b->lease_ask.ballot) &&
               a->lease_ask.life == b->lease_ask.life &&
               a->lease_ask.sent_ns == b->lease_ask.sent_ns;
    if (a->kind == MESSAGE_LEASE_GRANT)
        return same_ballot(a->lease_grant.ballot, b->lease_grant.ballot) &&
               a->lease_grant.life == b->lease_grant.life &&
               a->lease_grant.sent_ns == b->lease_grant.sent_ns &&
               a->lease_grant.left_ns == b->lease_grant.left_ns &&
               a->lease_grant.bound == b->lease_grant.bound;
    return same_ballot(a->lease_ack.ballot, b->lease_ack.ballot) &&
           a->lease_ack.life == b->lease_ack.life && a->lease_ack.through == b->lease_ack.through;
}

static bool same_submit(const struct message *a, const struct message *b)
{
    for (uint32_t i = 0; i < a->submit.count && i < b->submit.count; i++)
        if (!same_command(a->submit.commands[i], b->submit.commands[i]))
            return false;
    return a->submit.count == b->submit.count;
}

static bool same_heartbeat_ack(const struct message *a, const struct message *b)
{
    return same_ballot(a->heartbeat_ack.ballot, b->heartbeat_ack.ballot) &&
           same_ballot(a->heartbeat_ack.promised, b->heartbeat_ack.promised) &&
           a->heartbeat_ack.sent_ns == b->heartbeat_ack.sent_ns &&
           a->heartbeat_ack.granted == b->heartbeat_ack.granted &&
           a->heartbeat_ack.decided_through == b->heartbeat_ack.decided_through &&
           a->heartbeat_ack.checkpointed == b->heartbeat_ack.checkpointed &&
           a->heartbeat_ack.wall_ns == b->heartbeat_ack.wall_ns;
}

static bool same_paxos(const struct message *a, const struct message *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case MESSAGE_PREVOTE:
        return same_ballot(a->prevote.ballot, b->prevote.ballot) &&
               a->prevote.decided == b->prevote.decided;
    case MESSAGE_PREVOTE_ACK:
        return same_ballot(a->prevote_ack.ballot, b->prevote_ack.ballot) &&
               same_ballot(a->prevote_ack.promised, b->prevote_ack.promised) &&
               a->prevote_ack.decided == b->prevote_ack.decided &&
               a->prevote_ack.would_promise == b->prevote_ack.would_promise;
    case MESSAGE_P1A:
        return same_ballot(a->p1a.ballot, b->p1a.ballot) && a->p1a.slot_first == b->p1a.slot_first;
    case MESSAGE_P1B:
        return same_ballot(a->p1b.asked, b->p1b.asked) &&
               same_ballot(a->p1b.promised, b->p1b.promised) &&
               a->p1b.slot_first == b->p1b.slot_first && a->p1b.collected == b->p1b.collected &&
               a->p1b.slot_next == b->p1b.slot_next &&
               same_pvalues(a->p1b.pvalues, a->p1b.count, b->p1b.pvalues, b->p1b.count) &&
               same_holders(a->p1b.holders, a->p1b.holder_count, b->p1b.holders,
                            b->p1b.holder_count);
    case MESSAGE_P2A:
        return same_ballot(a->p2a.ballot, b->p2a.ballot) &&
               a->p2a.decided_through == b->p2a.decided_through &&
               same_pvalues(a->p2a.pvalues, a->p2a.count, b->p2a.pvalues, b->p2a.count);
    case MESSAGE_P2B:
        return same_ballot(a->p2b.asked, b->p2b.asked) &&
               same_ballot(a->p2b.promised, b->p2b.promised) && a->p2b.count == b->p2b.count &&
               memcmp(a->p2b.slots, b->p2b.slots, a->p2b.count * sizeof *a->p2b.slots) == 0;
    case MESSAGE_DECIDED:
        return same_ballot(a->decided.ballot, b->decided.ballot) &&
               a->decided.through == b->decided.through;
    case MESSAGE_HEARTBEAT:
        return same_ballot(a->heartbeat.ballot, b->heartbeat.ballot) &&
               a->heartbeat.sent_ns == b->heartbeat.sent_ns &&
               a->heartbeat.decided_through == b->heartbeat.decided_through &&
               a->heartbeat.collect_through == b->heartbeat.collect_through;
    case MESSAGE_HEARTBEAT_ACK:
        return same_heartbeat_ack(a, b);
    case MESSAGE_SUBMIT:
        return same_submit(a, b);
    case MESSAGE_READ:
        return a->read.id == b->read.id;
    case MESSAGE_READ_ACK:
        return a->read_ack.id == b->read_ack.id && a->read_ack.slot == b->read_ack.slot &&
               a->read_ack.ok == b->read_ack.ok;
    case MESSAGE_FETCH:
        return a->fetch.first == b->fetch.first && a->fetch.last == b->fetch.last;
    case MESSAGE_DECISIONS:
        return a->decisions.slot_first == b->decisions.slot_first &&
               same_pvalues(a->decisions.pvalues, a->decisions.count, b->decisions.pvalues,
                            b->decisions.count);
    case MESSAGE_RELEASE:
        return same_ballot(a->release.ballot, b->release.ballot) &&
               same_ballot(a->release.successor, b->release.successor) &&
               same_holders(a->release.holders, a->release.holder_count, b->release.holders,
                            b->release.holder_count);
    case MESSAGE_LEASE_ASK:
    case MESSAGE_LEASE_GRANT:
    case MESSAGE_LEASE_ACK:
        return same_lease(a, b);
    case MESSAGE_KIND_COUNT:
        break;
    }
    return false;
}

static bool same_hello(const struct peer_hello *a, const struct peer_hello *b)
{
    return a->cluster_id == b->cluster_id && a->node_id == b->node_id &&
           strcmp(a->name, b->name) == 0 && a->protocol_min == b->protocol_min &&
           a->protocol_max == b->protocol_max && a->member_count == b->member_count &&
           a->version == b->version && memcmp(a->pinned, b->pinned, sizeof a->pinned) == 0;
}

static bool same_join(const struct peer_join *a, const struct peer_join *b)
{
    return a->protocol_min == b->protocol_min && a->protocol_max == b->protocol_max &&
           a->cluster_id == b->cluster_id && a->node_id == b->node_id &&
           memcmp(a->secret, b->secret, sizeof a->secret) == 0 && strcmp(a->name, b->name) == 0 &&
           strcmp(a->address, b->address) == 0;
}

static bool same_joined(const struct peer_joined *a, const struct peer_joined *b)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        if (a->members[i].node_id != b->members[i].node_id ||
            a->members[i].votes != b->members[i].votes ||
            strcmp(a->members[i].name, b->members[i].name) != 0 ||
            strcmp(a->members[i].address, b->members[i].address) != 0)
            return false;
    return strcmp(a->refused, b->refused) == 0;
}

static bool same_snapshot_data(const struct peer_snapshot_data *a,
                               const struct peer_snapshot_data *b)
{
    return a->transfer == b->transfer && a->offset == b->offset && a->is_last == b->is_last &&
           a->hash == b->hash && strcmp(a->refused, b->refused) == 0 && a->size == b->size &&
           (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

static bool same_status(const struct peer_status *a, const struct peer_status *b)
{
    return a->applied == b->applied && a->checkpointed == b->checkpointed &&
           a->digest_slot == b->digest_slot && a->digest[0] == b->digest[0] &&
           a->digest[1] == b->digest[1] && a->verify_nonce == b->verify_nonce &&
           a->mounted == b->mounted && a->met == b->met && a->capacity == b->capacity &&
           a->disk_short == b->disk_short;
}

bool wire_equal(const struct peer_message *a, const struct peer_message *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case PEER_HELLO:
        return same_hello(&a->hello, &b->hello);
    case PEER_REFUSE:
        return strcmp(a->refuse.reason, b->refuse.reason) == 0 &&
               a->refuse.retired == b->refuse.retired;
    case PEER_PAXOS:
        return same_paxos(&a->paxos, &b->paxos);
    case PEER_STATUS:
        return same_status(&a->status, &b->status);
    case PEER_ALIVE:
        return a->alive.count == b->alive.count &&
               memcmp(a->alive.hears, b->alive.hears, sizeof a->alive.hears) == 0;
    case PEER_RELAY:
        return a->relay.origin == b->relay.origin && a->relay.target == b->relay.target &&
               a->relay.size == b->relay.size &&
               memcmp(a->relay.bytes, b->relay.bytes, a->relay.size) == 0;
    case PEER_JOIN:
        return same_join(&a->join, &b->join);
    case PEER_JOINED:
        return same_joined(&a->joined, &b->joined);
    case PEER_SNAPSHOT_GET:
        return a->snapshot_get.transfer == b->snapshot_get.transfer &&
               a->snapshot_get.offset == b->snapshot_get.offset;
    case PEER_SNAPSHOT_DATA:
        return same_snapshot_data(&a->snapshot_data, &b->snapshot_data);
    }
    return false;
}

/* ---- ranges ---- */

static bool bad_ballot(struct ballot b)
{
    return b.round == 0 || b.round > ROUND_MAX || b.leader == 0;
}

static const char *bad_command(const struct command *c, const struct frame *f)
{
    if (command_is_noop(c))
        return c == command_noop() ? NULL : "a no-op of its own";
    if (c->size > COMMAND_SIZE_MAX)
        return "a command's size";
    if (c->bytes < f->bytes || c->bytes + c->size > f->bytes + f->size)
        return "a command outside its frame";
    return c->refs == 1 ? NULL : "a command's references";
}

static const char *bad_pvalues(const struct pvalue *p, uint32_t count, bool with_ballots,
                               bool ascending, const struct frame *f)
{
    if (count > ENTRIES_MAX)
        return "count";
    for (uint32_t i = 0; i < count; i++) {
        if (p[i].slot == 0 || (ascending && i && p[i - 1].slot >= p[i].slot))
            return "slots";
        if (with_ballots ? bad_ballot(p[i].ballot) : !ballot_is_bottom(p[i].ballot))
            return "a pvalue's ballot";
        const char *bad = bad_command(p[i].command, f);
        if (bad)
            return bad;
    }
    return NULL;
}

static const char *bad_holders(const struct holder *holders, uint32_t count)
{
    if (count > MEMBERS_MAX)
        return "a count of holders";
    for (uint32_t i = 0; i < count; i++)
        if (holders[i].node == 0)
            return "a holder's node";
    return NULL;
}

static const char *bad_p1b(const struct message *m, const struct frame *f)
{
    uint32_t n = m->p1b.count;
    const char *bad = bad_pvalues(m->p1b.pvalues, n, true, true, f);
    if (bad)
        return bad;
    if (bad_ballot(m->p1b.asked) || m->p1b.slot_first == 0)
        return "p1b";
    if (n && m->p1b.pvalues[0].slot < m->p1b.slot_first)
        return "a p1b before its page";
    uint64_t last = n ? m->p1b.pvalues[n - 1].slot : m->p1b.slot_first;
    if (m->p1b.slot_next && m->p1b.slot_next <= last)
        return "a p1b's next page";
    return bad_holders(m->p1b.holders, m->p1b.holder_count);
}

static const char *bad_p2b(const struct message *m)
{
    if (bad_ballot(m->p2b.asked) || m->p2b.count > ENTRIES_MAX)
        return "p2b";
    for (uint32_t i = 0; i < m->p2b.count; i++)
        if (m->p2b.slots[i] == 0)
            return "a p2b's slot";
    return NULL;
}

static const char *bad_submit(const struct message *m, const struct frame *f)
{
    if (m->submit.count < 1 || m->submit.count > ENTRIES_MAX)
        return "submit";
    for (uint32_t i = 0; i < m->submit.count; i++) {
        const char *bad = bad_command(m->submit.commands[i], f);
        if (bad || command_is_noop(m->submit.commands[i]))
            return bad ? bad : "a no-op submitted";
    }
    return NULL;
}

static const char *bad_p2a(const struct message *m, const struct frame *f)
{
    if (bad_ballot(m->p2a.ballot) || m->p2a.count < 1)
        return "p2a";
    const char *bad = bad_pvalues(m->p2a.pvalues, m->p2a.count, true, false, f);
    for (uint32_t i = 0; i < m->p2a.count && !bad; i++)
        if (!same_ballot(m->p2a.pvalues[i].ballot, m->p2a.ballot))
            bad = "a p2a of two ballots";
    return bad;
}

static const char *bad_paxos(const struct message *m, const struct frame *f)
{
    switch (m->kind) {
    case MESSAGE_PREVOTE:
        return bad_ballot(m->prevote.ballot) ? "prevote" : NULL;
    case MESSAGE_PREVOTE_ACK:
        return bad_ballot(m->prevote_ack.ballot) ? "prevote_ack" : NULL;
    case MESSAGE_P1A:
        return bad_ballot(m->p1a.ballot) || m->p1a.slot_first == 0 ? "p1a" : NULL;
    case MESSAGE_P1B:
        return bad_p1b(m, f);
    case MESSAGE_P2A:
        return bad_p2a(m, f);
    case MESSAGE_P2B:
        return bad_p2b(m);
    case MESSAGE_DECIDED:
        return bad_ballot(m->decided.ballot) ? "decided" : NULL;
    case MESSAGE_HEARTBEAT:
        return bad_ballot(m->heartbeat.ballot) ? "heartbeat" : NULL;
    case MESSAGE_HEARTBEAT_ACK:
        return bad_ballot(m->heartbeat_ack.ballot) ? "heartbeat_ack" : NULL;
    case MESSAGE_SUBMIT:
        return bad_submit(m, f);
    case MESSAGE_READ:
    case MESSAGE_READ_ACK:
        return NULL;
    case MESSAGE_FETCH:
        return m->fetch.first == 0 || m->fetch.first > m->fetch.last ? "fetch" : NULL;
    case MESSAGE_DECISIONS:
        return bad_pvalues(m->decisions.pvalues, m->decisions.count, false, true, f);
    case MESSAGE_RELEASE:
        if (bad_ballot(m->release.ballot) || bad_ballot(m->release.successor))
            return "release";
        return bad_holders(m->release.holders, m->release.holder_count);
    case MESSAGE_LEASE_ASK:
        return bad_ballot(m->lease_ask.ballot) ? "lease_ask" : NULL;
    case MESSAGE_LEASE_GRANT:
        return bad_ballot(m->lease_grant.ballot) ? "lease_grant" : NULL;
    case MESSAGE_LEASE_ACK:
        return bad_ballot(m->lease_ack.ballot) ? "lease_ack" : NULL;
    case MESSAGE_KIND_COUNT:
        break;
    }
    return "kind";
}

static bool bad_text(const char *text, size_t room)
{
    size_t size = strnlen(text, room);
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return true;
    return size == room;
}

static const char *bad_relay(const struct peer_relay *r, const struct frame *f)
{
    if (r->origin == 0 || r->target == 0 || r->origin == r->target)
        return "a relay's members";
    if (r->size < 1 || r->size > RELAY_SIZE_MAX)
        return "a relay's size";
    bool is_inside = r->bytes >= f->bytes && r->bytes + r->size <= f->bytes + f->size;
    return is_inside ? NULL : "a relay outside its frame";
}

static const char *bad_alive(const struct peer_alive *a)
{
    if (a->count > MEMBERS_MAX)
        return "hears";
    for (uint32_t i = 0; i < a->count; i++)
        if (a->hears[i] == 0)
            return "one heard";
    return NULL;
}

static bool bad_word(const char *text, size_t room)
{
    return text[0] == '\0' || bad_text(text, room);
}

static const char *bad_join(const struct peer_join *j)
{
    if (j->node_id == 0 || j->protocol_min > j->protocol_max)
        return "join";
    if (bad_word(j->name, sizeof j->name))
        return "a joiner's name";
    return bad_word(j->address, sizeof j->address) ? "a joiner's address" : NULL;
}

static const char *bad_joined(const struct peer_joined *j)
{
    if (bad_text(j->refused, sizeof j->refused))
        return "why it may not join";
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (j->members[i].node_id == 0)
            continue;
        if (bad_word(j->members[i].name, sizeof j->members[i].name) ||
            bad_word(j->members[i].address, sizeof j->members[i].address))
            return "a member joined";
    }
    return NULL;
}

static const char *bad_snapshot_data(const struct peer_snapshot_data *s, const struct frame *f)
{
    if (s->size > SNAPSHOT_PIECE_MAX || s->offset > UINT64_MAX - s->size)
        return "a piece's size";
    if (bad_text(s->refused, sizeof s->refused))
        return "why there is no piece";
    bool is_inside = s->bytes >= f->bytes && s->bytes + s->size <= f->bytes + f->size;
    return is_inside ? NULL : "a piece outside its frame";
}

const char *wire_out_of_range(const struct peer_message *m, const struct frame *f)
{
    switch (m->kind) {
    case PEER_HELLO:
        if (bad_text(m->hello.name, sizeof m->hello.name) || m->hello.name[0] == '\0')
            return "name";
        if (m->hello.node_id == 0 || m->hello.protocol_min > m->hello.protocol_max)
            return "hello";
        return m->hello.member_count > MEMBERS_MAX ? "pins" : NULL;
    case PEER_REFUSE:
        return bad_text(m->refuse.reason, sizeof m->refuse.reason) ? "reason" : NULL;
    case PEER_PAXOS:
        return bad_paxos(&m->paxos, f);
    case PEER_STATUS:
        return NULL;
    case PEER_ALIVE:
        return bad_alive(&m->alive);
    case PEER_RELAY:
        return bad_relay(&m->relay, f);
    case PEER_JOIN:
        return bad_join(&m->join);
    case PEER_JOINED:
        return bad_joined(&m->joined);
    case PEER_SNAPSHOT_GET:
        return NULL;
    case PEER_SNAPSHOT_DATA:
        return bad_snapshot_data(&m->snapshot_data, f);
    }
    return "kind";
}
