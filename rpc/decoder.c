#include "rpc/codec.h"

#include <errno.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "rpc/methods.h"
#include "rpc/msgpack_check.h"

enum {
    /* A p1b's pvalue has the most values: [[round, leader], slot, time, [node, epoch, sequence,
     * low, bytes]] are 12; a holder is [node, life, left], a member of joined has 6. */
    ELEMENTS_MAX = ENTRIES_MAX * 12 + MEMBERS_MAX * 6 + 64,
    ZONE_SIZE = ELEMENTS_MAX * sizeof(msgpack_object) + 4096, /* one chunk holds any message */
};

struct decoder {
    msgpack_zone zone;
    uint32_t command_count; /* references held */
    struct command *held[ENTRIES_MAX];
    struct command *commands[ENTRIES_MAX]; /* of a submit */
    struct pvalue pvalues[ENTRIES_MAX];
    uint64_t slots[ENTRIES_MAX];
    struct holder holders[MEMBERS_MAX];
};

/* A command and the frame its bytes lie in. */
struct framed_command {
    struct command command;
    struct frame *frame;
};

/* The parameters not yet taken. The first that is missing or wrong sets `error`, and all later ones
 * give zeroes: one look at the end is enough. */
struct params {
    const msgpack_object *at;
    uint32_t left;
    int error;
    struct decoder *decoder;
    struct frame *frame;
};

struct decoder *decoder_new(void)
{
    struct decoder *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    if (!msgpack_zone_init(&d->zone, ZONE_SIZE)) {
        free(d);
        return NULL;
    }
    return d;
}

void decoder_clear(struct decoder *d)
{
    for (uint32_t i = 0; i < d->command_count; i++)
        command_unref(d->held[i]);
    d->command_count = 0;
    msgpack_zone_clear(&d->zone);
}

void decoder_free(struct decoder *d)
{
    if (!d)
        return;
    decoder_clear(d);
    msgpack_zone_destroy(&d->zone);
    free(d);
}

static void refuse(struct params *p)
{
    if (!p->error)
        p->error = -EBADMSG;
}

static void require(struct params *p, bool condition)
{
    if (!condition)
        refuse(p);
}

/* The next parameter if it is of @type, else NULL. */
static const msgpack_object *take(struct params *p, msgpack_object_type type)
{
    if (p->error || p->left == 0 || p->at->type != type) {
        refuse(p);
        return NULL;
    }
    p->left--;
    return p->at++;
}

static uint64_t take_u64(struct params *p)
{
    const msgpack_object *o = take(p, MSGPACK_OBJECT_POSITIVE_INTEGER);
    return o ? o->via.u64 : 0;
}

static uint32_t take_u32(struct params *p)
{
    uint64_t value = take_u64(p);
    require(p, value <= UINT32_MAX);
    return p->error ? 0 : (uint32_t)value;
}

static uint64_t take_nonzero(struct params *p)
{
    uint64_t value = take_u64(p);
    require(p, value != 0);
    return value;
}

static bool take_bool(struct params *p)
{
    const msgpack_object *o = take(p, MSGPACK_OBJECT_BOOLEAN);
    return o && o->via.boolean;
}

/* Text that is safe to print on one line. */
static void take_text(struct params *p, char *out, size_t room)
{
    const msgpack_object *o = take(p, MSGPACK_OBJECT_STR);
    if (!o)
        return;
    uint32_t size = o->via.str.size;
    require(p, size < room);
    for (uint32_t i = 0; i < size && !p->error; i++) {
        unsigned char c = (unsigned char)o->via.str.ptr[i];
        require(p, c >= 0x20 && c != 0x7f);
    }
    if (p->error)
        return;
    if (size)
        memcpy(out, o->via.str.ptr, size);
    out[size] = '\0';
}

/* An array as parameters of its own. */
static struct params take_array(struct params *p, uint32_t count_max)
{
    struct params inner = {.decoder = p->decoder, .frame = p->frame};
    const msgpack_object *o = take(p, MSGPACK_OBJECT_ARRAY);
    require(p, o && o->via.array.size <= count_max);
    inner.error = p->error;
    if (!p->error) {
        inner.at = o->via.array.ptr;
        inner.left = o->via.array.size;
    }
    return inner;
}

/* @inner must have been used up. */
static void leave_array(struct params *p, const struct params *inner)
{
    if (!p->error)
        p->error = inner->error;
    require(p, inner->left == 0);
}

static struct ballot take_ballot(struct params *p)
{
    struct params inner = take_array(p, 2);
    struct ballot b = {.round = take_u64(&inner)};
    b.leader = take_u64(&inner);
    leave_array(p, &inner);
    /* Node ids begin at 1. Whether this one is a member's is for the core to say. */
    require(p, b.round <= ROUND_MAX);
    require(p, ballot_is_bottom(b) || b.leader != 0);
    return b;
}

static struct ballot take_real_ballot(struct params *p)
{
    struct ballot b = take_ballot(p);
    require(p, !ballot_is_bottom(b));
    return b;
}

static void release_framed(struct command *c)
{
    struct framed_command *f = (struct framed_command *)(void *)c; /* its first member */
    frame_unref(f->frame);
    free(f);
}

static struct command *hold_command(struct params *p, const struct command *fields)
{
    ASSERT(p->decoder->command_count < ENTRIES_MAX); /* arrays of entries are bounded */
    struct framed_command *f = malloc(sizeof *f);
    if (!f) {
        p->error = -ENOMEM;
        return NULL;
    }
    f->command = *fields;
    atomic_init(&f->command.refs, 1);
    f->command.release = release_framed;
    f->frame = frame_ref(p->frame);
    p->decoder->held[p->decoder->command_count++] = &f->command;
    return &f->command;
}

/* Bytes in the frame. */
static const uint8_t *take_bytes(struct params *p, uint32_t size_max, uint32_t *size)
{
    const msgpack_object *o = take(p, MSGPACK_OBJECT_BIN);
    require(p, o && o->via.bin.size <= size_max);
    *size = p->error ? 0 : o->via.bin.size;
    return p->error ? NULL : (const uint8_t *)o->via.bin.ptr;
}

static struct command *take_real_command(struct params *p)
{
    struct params inner = take_array(p, 5);
    struct command fields = {.node = take_nonzero(&inner)};
    fields.epoch = take_u64(&inner);
    fields.sequence = take_u64(&inner);
    fields.low = take_u64(&inner);
    fields.bytes = take_bytes(&inner, COMMAND_SIZE_MAX, &fields.size);
    leave_array(p, &inner);
    return p->error ? NULL : hold_command(p, &fields);
}

static struct command *take_command(struct params *p)
{
    if (p->error || p->left == 0 || p->at->type != MSGPACK_OBJECT_NIL)
        return take_real_command(p);
    take(p, MSGPACK_OBJECT_NIL);
    return command_noop();
}

/* [slot, time, command], or [ballot, slot, time, command] @with_ballot. */
static struct pvalue take_pvalue(struct params *p, bool with_ballot)
{
    struct params inner = take_array(p, 4);
    struct pvalue v = {0};
    if (with_ballot)
        v.ballot = take_real_ballot(&inner);
    v.slot = take_nonzero(&inner);
    v.time_ns = take_u64(&inner);
    v.command = take_command(&inner);
    leave_array(p, &inner);
    return v;
}

/* All entries of a message. Returns how many. */
static uint32_t take_pvalues(struct params *p, bool with_ballot)
{
    struct params inner = take_array(p, ENTRIES_MAX);
    uint32_t count = 0;
    while (inner.left && !inner.error)
        p->decoder->pvalues[count++] = take_pvalue(&inner, with_ballot);
    leave_array(p, &inner);
    return p->error ? 0 : count;
}

static void require_ascending(struct params *p, const struct pvalue *pvalues, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++)
        require(p, pvalues[i - 1].slot < pvalues[i].slot);
}

/* All holders of a message. Returns how many. */
static uint32_t take_holders(struct params *p)
{
    struct params list = take_array(p, MEMBERS_MAX);
    uint32_t count = 0;
    while (list.left && !list.error) {
        struct params inner = take_array(&list, 3);
        struct holder h = {.node = take_nonzero(&inner)};
        h.life = take_u64(&inner);
        h.left_ns = take_u64(&inner);
        leave_array(&list, &inner);
        p->decoder->holders[count++] = h;
    }
    leave_array(p, &list);
    return p->error ? 0 : count;
}

static void take_p1b(struct params *p, struct message *m)
{
    struct pvalue *pvalues = p->decoder->pvalues;
    m->p1b.asked = take_real_ballot(p);
    m->p1b.promised = take_ballot(p);
    m->p1b.slot_first = take_nonzero(p);
    m->p1b.collected = take_u64(p);
    m->p1b.slot_next = take_u64(p);
    m->p1b.count = take_pvalues(p, true);
    m->p1b.pvalues = pvalues;
    m->p1b.holder_count = take_holders(p);
    m->p1b.holders = p->decoder->holders;
    require_ascending(p, pvalues, m->p1b.count);
    /* A page lies where it was asked for, and the next one after it: else a candidate could be sent
     * around in circles, or miss a slot. */
    uint64_t last = m->p1b.count ? pvalues[m->p1b.count - 1].slot : m->p1b.slot_first;
    if (m->p1b.count)
        require(p, pvalues[0].slot >= m->p1b.slot_first);
    if (m->p1b.slot_next)
        require(p, m->p1b.slot_next > last);
}

static void take_p2a(struct params *p, struct message *m)
{
    struct pvalue *pvalues = p->decoder->pvalues;
    m->p2a.ballot = take_real_ballot(p);
    m->p2a.decided_through = take_u64(p);
    m->p2a.count = take_pvalues(p, false);
    m->p2a.pvalues = pvalues;
    require(p, m->p2a.count >= 1);
    for (uint32_t i = 0; i < m->p2a.count; i++)
        pvalues[i].ballot = m->p2a.ballot;
}

static void take_p2b(struct params *p, struct message *m)
{
    uint64_t *slots = p->decoder->slots;
    m->p2b.asked = take_real_ballot(p);
    m->p2b.promised = take_ballot(p);
    struct params inner = take_array(p, ENTRIES_MAX);
    uint32_t count = 0;
    while (inner.left && !inner.error)
        slots[count++] = take_nonzero(&inner);
    leave_array(p, &inner);
    m->p2b.count = count;
    m->p2b.slots = slots;
}

static void take_submit(struct params *p, struct message *m)
{
    struct params inner = take_array(p, ENTRIES_MAX);
    uint32_t count = 0;
    while (inner.left && !inner.error)
        p->decoder->commands[count++] = take_real_command(&inner);
    leave_array(p, &inner);
    require(p, count >= 1);
    m->submit.count = count;
    m->submit.commands = p->decoder->commands;
}

static void take_heartbeat_ack(struct params *p, struct message *m)
{
    m->heartbeat_ack.ballot = take_real_ballot(p);
    m->heartbeat_ack.promised = take_ballot(p);
    m->heartbeat_ack.sent_ns = take_u64(p);
    m->heartbeat_ack.granted = take_bool(p);
    m->heartbeat_ack.decided_through = take_u64(p);
    m->heartbeat_ack.checkpointed = take_u64(p);
    m->heartbeat_ack.wall_ns = take_u64(p);
}

static void take_lease(struct params *p, struct message *m)
{
    if (m->kind == MESSAGE_LEASE_ASK) {
        m->lease_ask.ballot = take_real_ballot(p);
        m->lease_ask.life = take_u64(p);
        m->lease_ask.sent_ns = take_u64(p);
    } else if (m->kind == MESSAGE_LEASE_GRANT) {
        m->lease_grant.ballot = take_real_ballot(p);
        m->lease_grant.life = take_u64(p);
        m->lease_grant.sent_ns = take_u64(p);
        m->lease_grant.left_ns = take_u64(p);
        m->lease_grant.bound = take_u64(p);
    } else {
        m->lease_ack.ballot = take_real_ballot(p);
        m->lease_ack.life = take_u64(p);
        m->lease_ack.through = take_u64(p);
    }
}

static void take_paxos(struct params *p, struct message *m)
{
    switch (m->kind) {
    case MESSAGE_PREVOTE:
        m->prevote.ballot = take_real_ballot(p);
        m->prevote.decided = take_u64(p);
        break;
    case MESSAGE_PREVOTE_ACK:
        m->prevote_ack.ballot = take_real_ballot(p);
        m->prevote_ack.promised = take_ballot(p);
        m->prevote_ack.decided = take_u64(p);
        m->prevote_ack.would_promise = take_bool(p);
        break;
    case MESSAGE_P1A:
        m->p1a.ballot = take_real_ballot(p);
        m->p1a.slot_first = take_nonzero(p);
        break;
    case MESSAGE_P1B:
        take_p1b(p, m);
        break;
    case MESSAGE_P2A:
        take_p2a(p, m);
        break;
    case MESSAGE_P2B:
        take_p2b(p, m);
        break;
    case MESSAGE_DECIDED:
        m->decided.ballot = take_real_ballot(p);
        m->decided.through = take_u64(p);
        break;
    case MESSAGE_HEARTBEAT:
        m->heartbeat.ballot = take_real_ballot(p);
        m->heartbeat.sent_ns = take_u64(p);
        m->heartbeat.decided_through = take_u64(p);
        m->heartbeat.collect_through = take_u64(p);
        break;
    case MESSAGE_HEARTBEAT_ACK:
        take_heartbeat_ack(p, m);
        break;
    case MESSAGE_SUBMIT:
        take_submit(p, m);
        break;
    case MESSAGE_READ:
        m->read.id = take_u64(p);
        break;
    case MESSAGE_READ_ACK:
        m->read_ack.id = take_u64(p);
        m->read_ack.slot = take_u64(p);
        m->read_ack.ok = take_bool(p);
        break;
    case MESSAGE_FETCH:
        m->fetch.first = take_nonzero(p);
        m->fetch.last = take_u64(p);
        require(p, m->fetch.first <= m->fetch.last);
        break;
    case MESSAGE_DECISIONS:
        m->decisions.slot_first = take_u64(p);
        m->decisions.count = take_pvalues(p, false);
        m->decisions.pvalues = p->decoder->pvalues;
        require_ascending(p, m->decisions.pvalues, m->decisions.count);
        break;
    case MESSAGE_RELEASE:
        m->release.ballot = take_real_ballot(p);
        m->release.successor = take_real_ballot(p);
        m->release.holder_count = take_holders(p);
        m->release.holders = p->decoder->holders;
        break;
    case MESSAGE_LEASE_ASK:
    case MESSAGE_LEASE_GRANT:
    case MESSAGE_LEASE_ACK:
        take_lease(p, m);
        break;
    case MESSAGE_KIND_COUNT:
        refuse(p);
        break;
    }
}

static void take_hello(struct params *p, struct peer_hello *h)
{
    h->protocol_min = take_u32(p);
    h->protocol_max = take_u32(p);
    require(p, h->protocol_min <= h->protocol_max);
    h->cluster_id = take_u64(p);
    h->node_id = take_nonzero(p);
    take_text(p, h->name, sizeof h->name);
    require(p, h->name[0] != '\0');
    struct params inner = take_array(p, MEMBERS_MAX);
    while (inner.left && !inner.error)
        h->pinned[h->member_count++] = take_u64(&inner);
    leave_array(p, &inner);
    h->version = take_u64(p);
    /* A later protocol may say more: it must still be possible to read which one it is. */
    if (!p->error)
        p->left = 0;
}

static void take_status(struct params *p, struct peer_status *s)
{
    s->applied = take_u64(p);
    s->checkpointed = take_u64(p);
    s->digest_slot = take_u64(p);
    s->digest[0] = take_u64(p);
    s->digest[1] = take_u64(p);
    s->verify_nonce = take_u64(p);
    s->mounted = take_bool(p);
    s->met = take_u64(p);
    s->capacity = take_u64(p);
    s->disk_short = take_bool(p);
}

static void take_alive(struct params *p, struct peer_alive *a)
{
    struct params inner = take_array(p, MEMBERS_MAX);
    while (inner.left && !inner.error)
        a->hears[a->count++] = take_nonzero(&inner);
    leave_array(p, &inner);
}

static void take_relay(struct params *p, struct peer_relay *r)
{
    r->origin = take_nonzero(p);
    r->target = take_nonzero(p);
    require(p, r->origin != r->target);
    r->bytes = take_bytes(p, RELAY_SIZE_MAX, &r->size);
    require(p, r->size >= 1);
}

static void take_join(struct params *p, struct peer_join *j)
{
    j->protocol_min = take_u32(p);
    j->protocol_max = take_u32(p);
    require(p, j->protocol_min <= j->protocol_max);
    j->cluster_id = take_u64(p);
    j->node_id = take_nonzero(p);
    uint32_t size;
    const uint8_t *secret = take_bytes(p, SECRET_SIZE, &size);
    require(p, size == SECRET_SIZE);
    if (!p->error)
        memcpy(j->secret, secret, SECRET_SIZE);
    take_text(p, j->name, sizeof j->name);
    take_text(p, j->address, sizeof j->address);
    require(p, j->name[0] != '\0' && j->address[0] != '\0');
    if (!p->error)
        p->left = 0; /* as in a hello */
}

static void take_joined(struct params *p, struct peer_joined *j)
{
    take_text(p, j->refused, sizeof j->refused);
    struct params list = take_array(p, MEMBERS_MAX);
    uint32_t seat_next = 0;
    while (list.left && !list.error) {
        struct params inner = take_array(&list, 5);
        uint32_t seat = take_u32(&inner);
        require(&inner, seat >= seat_next && seat < MEMBERS_MAX);
        if (!inner.error) {
            j->members[seat].node_id = take_nonzero(&inner);
            take_text(&inner, j->members[seat].name, sizeof j->members[seat].name);
            take_text(&inner, j->members[seat].address, sizeof j->members[seat].address);
            j->members[seat].votes = take_bool(&inner);
            require(&inner, j->members[seat].name[0] != '\0');
            require(&inner, j->members[seat].address[0] != '\0');
        }
        seat_next = seat + 1;
        leave_array(&list, &inner);
    }
    leave_array(p, &list);
}

static void take_snapshot_data(struct params *p, struct peer_snapshot_data *s)
{
    s->transfer = take_u64(p);
    s->offset = take_u64(p);
    s->is_last = take_bool(p);
    s->hash = take_u64(p);
    take_text(p, s->refused, sizeof s->refused);
    s->bytes = take_bytes(p, SNAPSHOT_PIECE_MAX, &s->size);
    require(p, s->offset <= UINT64_MAX - s->size);
}

static bool method_is(const msgpack_object *o, const char *method)
{
    return o->via.str.size == strlen(method) &&
           memcmp(o->via.str.ptr, method, o->via.str.size) == 0;
}

/* The transport's own notifications, by enum peer_kind; PEER_PAXOS has many. */
static const char *const peer_methods[] = {
    [PEER_HELLO] = METHOD_HELLO,
    [PEER_REFUSE] = METHOD_REFUSE,
    [PEER_PAXOS] = NULL,
    [PEER_STATUS] = METHOD_STATUS,
    [PEER_ALIVE] = METHOD_ALIVE,
    [PEER_RELAY] = METHOD_RELAY,
    [PEER_JOIN] = METHOD_JOIN,
    [PEER_JOINED] = METHOD_JOINED,
    [PEER_SNAPSHOT_GET] = METHOD_SNAPSHOT_GET,
    [PEER_SNAPSHOT_DATA] = METHOD_SNAPSHOT_DATA,
};

static enum peer_kind kind_of(const msgpack_object *method)
{
    for (size_t kind = 0; kind < ARRAY_COUNT(peer_methods); kind++)
        if (peer_methods[kind] && method_is(method, peer_methods[kind]))
            return (enum peer_kind)kind;
    return PEER_PAXOS;
}

static enum message_kind paxos_kind_of(const msgpack_object *method)
{
    int kind = 0;
    while (kind < MESSAGE_KIND_COUNT && !method_is(method, paxos_methods[kind]))
        kind++;
    return (enum message_kind)kind;
}

static void take_message(struct params *p, const msgpack_object *method, struct peer_message *m)
{
    m->kind = kind_of(method);
    switch (m->kind) {
    case PEER_HELLO:
        take_hello(p, &m->hello);
        break;
    case PEER_REFUSE:
        take_text(p, m->refuse.reason, sizeof m->refuse.reason);
        m->refuse.retired = take_bool(p);
        break;
    case PEER_PAXOS:
        m->paxos.kind = paxos_kind_of(method);
        take_paxos(p, &m->paxos);
        break;
    case PEER_STATUS:
        take_status(p, &m->status);
        break;
    case PEER_ALIVE:
        take_alive(p, &m->alive);
        break;
    case PEER_RELAY:
        take_relay(p, &m->relay);
        break;
    case PEER_JOIN:
        take_join(p, &m->join);
        break;
    case PEER_JOINED:
        take_joined(p, &m->joined);
        break;
    case PEER_SNAPSHOT_GET:
        m->snapshot_get.transfer = take_u64(p);
        m->snapshot_get.offset = take_u64(p);
        break;
    case PEER_SNAPSHOT_DATA:
        take_snapshot_data(p, &m->snapshot_data);
        break;
    }
}

static int decode(struct decoder *d, struct frame *frame, struct peer_message *m)
{
    int rc = msgpack_check(frame->bytes, frame->size, ELEMENTS_MAX);
    if (rc < 0)
        return rc;
    msgpack_object root;
    size_t offset = 0;
    msgpack_unpack_return ret =
        msgpack_unpack((const char *)frame->bytes, frame->size, &offset, &d->zone, &root);
    if (ret == MSGPACK_UNPACK_NOMEM_ERROR)
        return -ENOMEM;
    if (ret != MSGPACK_UNPACK_SUCCESS)
        return -EBADMSG;

    struct params top = {.at = &root, .left = 1, .decoder = d, .frame = frame};
    struct params outer = take_array(&top, 3);
    require(&outer, take_u64(&outer) == NOTIFICATION);
    const msgpack_object *method = take(&outer, MSGPACK_OBJECT_STR);
    struct params params = take_array(&outer, UINT32_MAX);
    if (!outer.error)
        take_message(&params, method, m);
    leave_array(&outer, &params);
    leave_array(&top, &outer);
    return top.error;
}

int codec_decode(struct decoder *d, struct frame *frame, struct peer_message *m)
{
    decoder_clear(d);
    memset(m, 0, sizeof *m);
    int rc = decode(d, frame, m);
    if (rc < 0)
        decoder_clear(d);
    return rc;
}

int codec_unwrap(struct decoder *d, struct peer_message *m)
{
    ASSERT(m->kind == PEER_RELAY);
    struct frame *inner = frame_new(m->relay.size);
    if (!inner)
        return -ENOMEM;
    memcpy(inner->bytes, m->relay.bytes, m->relay.size);
    int rc = codec_decode(d, inner, m);
    frame_unref(inner); /* its commands keep it */
    if (rc == 0 && m->kind != PEER_PAXOS) {
        decoder_clear(d);
        rc = -EBADMSG;
    }
    return rc;
}
