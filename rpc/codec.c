#include "rpc/codec.h"

#include <errno.h>
#include <msgpack.h>
#include <string.h>

#include "base/assert.h"
#include "rpc/methods.h"

enum {
    HEAD_SIZE_MAX = 1024, /* of a message, without its entries and commands */
    ENTRY_SIZE_MAX = 96,  /* of one entry, without its command's bytes: 7 integers of 9 and heads */
    HOLDER_SIZE_MAX = 28, /* 3 integers of 9 and a head */
    JOINED_SIZE_MAX = sizeof(struct peer_joined) + MEMBERS_MAX * 24,
};

static_assert(MESSAGE_BYTES + COMMAND_SIZE_MAX + ENTRIES_MAX * ENTRY_SIZE_MAX +
                      MEMBERS_MAX * HOLDER_SIZE_MAX + HEAD_SIZE_MAX <=
                  RELAY_SIZE_MAX,
              "a message that stopped taking entries at MESSAGE_BYTES fits a frame, also relayed");
static_assert(MEMBERS_MAX * 9 + MEMBER_NAME_MAX + sizeof((struct peer_refuse){0}.reason) + 128 <=
                  HEAD_SIZE_MAX,
              "hello and refuse fit, and alive");
static_assert(SECRET_SIZE + MEMBER_NAME_MAX + ADDRESS_MAX + 128 <= HEAD_SIZE_MAX, "join fits");
static_assert(sizeof((struct peer_snapshot_data){0}.refused) + 128 <= HEAD_SIZE_MAX,
              "a piece of a snapshot fits, but for its bytes");

const char *const paxos_methods[MESSAGE_KIND_COUNT] = {
    [MESSAGE_PREVOTE] = "prevote",
    [MESSAGE_PREVOTE_ACK] = "prevote_ack",
    [MESSAGE_P1A] = "p1a",
    [MESSAGE_P1B] = "p1b",
    [MESSAGE_P2A] = "p2a",
    [MESSAGE_P2B] = "p2b",
    [MESSAGE_DECIDED] = "decided",
    [MESSAGE_HEARTBEAT] = "heartbeat",
    [MESSAGE_HEARTBEAT_ACK] = "heartbeat_ack",
    [MESSAGE_SUBMIT] = "submit",
    [MESSAGE_READ] = "read",
    [MESSAGE_READ_ACK] = "read_ack",
    [MESSAGE_FETCH] = "fetch",
    [MESSAGE_DECISIONS] = "decisions",
    [MESSAGE_RELEASE] = "release",
    [MESSAGE_LEASE_ASK] = "lease_ask",
    [MESSAGE_LEASE_GRANT] = "lease_grant",
    [MESSAGE_LEASE_ACK] = "lease_ack",
};

/* Room was reserved for the whole message, so packing cannot fail half way, and a large command is
 * copied once, not again with every growth of the buffer. */
static int write_reserved(void *data, const char *bytes, size_t size)
{
    struct buffer *b = data;
    ASSERT(size <= b->room - b->size);
    memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
    return 0;
}

static void put_u64(msgpack_packer *p, uint64_t value)
{
    msgpack_pack_uint64(p, value);
}

static void put_bool(msgpack_packer *p, bool value)
{
    if (value)
        msgpack_pack_true(p);
    else
        msgpack_pack_false(p);
}

static void put_text(msgpack_packer *p, const char *text)
{
    size_t size = strlen(text);
    msgpack_pack_str(p, size);
    msgpack_pack_str_body(p, text, size);
}

static void put_bytes(msgpack_packer *p, const uint8_t *bytes, size_t size)
{
    msgpack_pack_bin(p, size);
    if (size)
        msgpack_pack_bin_body(p, bytes, size);
}

static void put_ballot(msgpack_packer *p, struct ballot b)
{
    msgpack_pack_array(p, 2);
    put_u64(p, b.round);
    put_u64(p, b.leader);
}

static void put_command(msgpack_packer *p, const struct command *c)
{
    if (command_is_noop(c)) {
        msgpack_pack_nil(p);
        return;
    }
    msgpack_pack_array(p, 5);
    put_u64(p, c->node);
    put_u64(p, c->epoch);
    put_u64(p, c->sequence);
    put_u64(p, c->low);
    put_bytes(p, c->bytes, c->size);
}

/* A pvalue whose ballot the message names once for all: [slot, time, command]. */
static void put_value(msgpack_packer *p, const struct pvalue *v)
{
    msgpack_pack_array(p, 3);
    put_u64(p, v->slot);
    put_u64(p, v->time_ns);
    put_command(p, v->command);
}

static void put_values(msgpack_packer *p, const struct pvalue *values, uint32_t count)
{
    msgpack_pack_array(p, count);
    for (uint32_t i = 0; i < count; i++)
        put_value(p, &values[i]);
}

static void put_pvalues(msgpack_packer *p, const struct pvalue *values, uint32_t count)
{
    msgpack_pack_array(p, count);
    for (uint32_t i = 0; i < count; i++) {
        msgpack_pack_array(p, 4);
        put_ballot(p, values[i].ballot);
        put_u64(p, values[i].slot);
        put_u64(p, values[i].time_ns);
        put_command(p, values[i].command);
    }
}

static void put_holders(msgpack_packer *p, const struct holder *holders, uint32_t count)
{
    ASSERT(count <= MEMBERS_MAX);
    msgpack_pack_array(p, count);
    for (uint32_t i = 0; i < count; i++) {
        msgpack_pack_array(p, 3);
        put_u64(p, holders[i].node);
        put_u64(p, holders[i].life);
        put_u64(p, holders[i].left_ns);
    }
}

/* [2, method, [ ... */
static void put_head(msgpack_packer *p, const char *method, size_t params)
{
    msgpack_pack_array(p, 3);
    put_u64(p, NOTIFICATION);
    put_text(p, method);
    msgpack_pack_array(p, params);
}

static void put_election(msgpack_packer *p, const struct message *m, const char *method)
{
    if (m->kind == MESSAGE_PREVOTE) {
        put_head(p, method, 2);
        put_ballot(p, m->prevote.ballot);
        put_u64(p, m->prevote.decided);
    } else if (m->kind == MESSAGE_PREVOTE_ACK) {
        put_head(p, method, 4);
        put_ballot(p, m->prevote_ack.ballot);
        put_ballot(p, m->prevote_ack.promised);
        put_u64(p, m->prevote_ack.decided);
        put_bool(p, m->prevote_ack.would_promise);
    } else if (m->kind == MESSAGE_P1A) {
        put_head(p, method, 2);
        put_ballot(p, m->p1a.ballot);
        put_u64(p, m->p1a.slot_first);
    } else {
        ASSERT(m->kind == MESSAGE_P1B && m->p1b.count <= ENTRIES_MAX);
        put_head(p, method, 7);
        put_ballot(p, m->p1b.asked);
        put_ballot(p, m->p1b.promised);
        put_u64(p, m->p1b.slot_first);
        put_u64(p, m->p1b.collected);
        put_u64(p, m->p1b.slot_next);
        put_pvalues(p, m->p1b.pvalues, m->p1b.count);
        put_holders(p, m->p1b.holders, m->p1b.holder_count);
    }
}

static void put_p2a(msgpack_packer *p, const struct message *m, const char *method)
{
    ASSERT(m->p2a.count >= 1 && m->p2a.count <= ENTRIES_MAX);
    put_head(p, method, 3);
    put_ballot(p, m->p2a.ballot);
    put_u64(p, m->p2a.decided_through);
    put_values(p, m->p2a.pvalues, m->p2a.count);
}

static void put_p2b(msgpack_packer *p, const struct message *m, const char *method)
{
    ASSERT(m->p2b.count <= ENTRIES_MAX);
    put_head(p, method, 3);
    put_ballot(p, m->p2b.asked);
    put_ballot(p, m->p2b.promised);
    msgpack_pack_array(p, m->p2b.count);
    for (uint32_t i = 0; i < m->p2b.count; i++)
        put_u64(p, m->p2b.slots[i]);
}

static void put_submit(msgpack_packer *p, const struct message *m, const char *method)
{
    ASSERT(m->submit.count >= 1 && m->submit.count <= ENTRIES_MAX);
    put_head(p, method, 1);
    msgpack_pack_array(p, m->submit.count);
    for (uint32_t i = 0; i < m->submit.count; i++) {
        ASSERT(!command_is_noop(m->submit.commands[i]));
        put_command(p, m->submit.commands[i]);
    }
}

static void put_heartbeat(msgpack_packer *p, const struct message *m, const char *method)
{
    put_head(p, method, 4);
    put_ballot(p, m->heartbeat.ballot);
    put_u64(p, m->heartbeat.sent_ns);
    put_u64(p, m->heartbeat.decided_through);
    put_u64(p, m->heartbeat.collect_through);
}

static void put_heartbeat_ack(msgpack_packer *p, const struct message *m, const char *method)
{
    put_head(p, method, 7);
    put_ballot(p, m->heartbeat_ack.ballot);
    put_ballot(p, m->heartbeat_ack.promised);
    put_u64(p, m->heartbeat_ack.sent_ns);
    put_bool(p, m->heartbeat_ack.granted);
    put_u64(p, m->heartbeat_ack.decided_through);
    put_u64(p, m->heartbeat_ack.checkpointed);
    put_u64(p, m->heartbeat_ack.wall_ns);
}

static void put_lease(msgpack_packer *p, const struct message *m, const char *method)
{
    if (m->kind == MESSAGE_LEASE_ASK) {
        put_head(p, method, 3);
        put_ballot(p, m->lease_ask.ballot);
        put_u64(p, m->lease_ask.life);
        put_u64(p, m->lease_ask.sent_ns);
    } else if (m->kind == MESSAGE_LEASE_GRANT) {
        put_head(p, method, 5);
        put_ballot(p, m->lease_grant.ballot);
        put_u64(p, m->lease_grant.life);
        put_u64(p, m->lease_grant.sent_ns);
        put_u64(p, m->lease_grant.left_ns);
        put_u64(p, m->lease_grant.bound);
    } else {
        ASSERT(m->kind == MESSAGE_LEASE_ACK);
        put_head(p, method, 3);
        put_ballot(p, m->lease_ack.ballot);
        put_u64(p, m->lease_ack.life);
        put_u64(p, m->lease_ack.through);
    }
}

static void put_paxos(msgpack_packer *p, const struct message *m)
{
    ASSERT(m->kind < MESSAGE_KIND_COUNT);
    const char *method = paxos_methods[m->kind];
    switch (m->kind) {
    case MESSAGE_PREVOTE:
    case MESSAGE_PREVOTE_ACK:
    case MESSAGE_P1A:
    case MESSAGE_P1B:
        put_election(p, m, method);
        break;
    case MESSAGE_P2A:
        put_p2a(p, m, method);
        break;
    case MESSAGE_P2B:
        put_p2b(p, m, method);
        break;
    case MESSAGE_DECIDED:
        put_head(p, method, 2);
        put_ballot(p, m->decided.ballot);
        put_u64(p, m->decided.through);
        break;
    case MESSAGE_HEARTBEAT:
        put_heartbeat(p, m, method);
        break;
    case MESSAGE_HEARTBEAT_ACK:
        put_heartbeat_ack(p, m, method);
        break;
    case MESSAGE_SUBMIT:
        put_submit(p, m, method);
        break;
    case MESSAGE_READ:
        put_head(p, method, 1);
        put_u64(p, m->read.id);
        break;
    case MESSAGE_READ_ACK:
        put_head(p, method, 3);
        put_u64(p, m->read_ack.id);
        put_u64(p, m->read_ack.slot);
        put_bool(p, m->read_ack.ok);
        break;
    case MESSAGE_FETCH:
        put_head(p, method, 2);
        put_u64(p, m->fetch.first);
        put_u64(p, m->fetch.last);
        break;
    case MESSAGE_DECISIONS:
        ASSERT(m->decisions.count <= ENTRIES_MAX);
        put_head(p, method, 2);
        put_u64(p, m->decisions.slot_first);
        put_values(p, m->decisions.pvalues, m->decisions.count);
        break;
    case MESSAGE_RELEASE:
        put_head(p, method, 3);
        put_ballot(p, m->release.ballot);
        put_ballot(p, m->release.successor);
        put_holders(p, m->release.holders, m->release.holder_count);
        break;
    case MESSAGE_LEASE_ASK:
    case MESSAGE_LEASE_GRANT:
    case MESSAGE_LEASE_ACK:
        put_lease(p, m, method);
        break;
    case MESSAGE_KIND_COUNT:
        break;
    }
}

static void put_hello(msgpack_packer *p, const struct peer_hello *h)
{
    ASSERT(h->member_count <= MEMBERS_MAX);
    put_head(p, METHOD_HELLO, 7);
    put_u64(p, h->protocol_min);
    put_u64(p, h->protocol_max);
    put_u64(p, h->cluster_id);
    put_u64(p, h->node_id);
    put_text(p, h->name);
    msgpack_pack_array(p, h->member_count);
    for (uint32_t i = 0; i < h->member_count; i++)
        put_u64(p, h->pinned[i]);
    put_u64(p, h->version);
}

static void put_status(msgpack_packer *p, const struct peer_status *s)
{
    put_head(p, METHOD_STATUS, 10);
    put_u64(p, s->applied);
    put_u64(p, s->checkpointed);
    put_u64(p, s->digest_slot);
    put_u64(p, s->digest[0]);
    put_u64(p, s->digest[1]);
    put_u64(p, s->verify_nonce);
    put_bool(p, s->mounted);
    put_u64(p, s->met);
    put_u64(p, s->capacity);
    put_bool(p, s->disk_short);
}

static void put_relay(msgpack_packer *p, const struct peer_relay *r)
{
    put_head(p, METHOD_RELAY, 3);
    put_u64(p, r->origin);
    put_u64(p, r->target);
    put_bytes(p, r->bytes, r->size);
}

static void put_alive(msgpack_packer *p, const struct peer_alive *a)
{
    ASSERT(a->count <= MEMBERS_MAX);
    put_head(p, METHOD_ALIVE, 1);
    msgpack_pack_array(p, a->count);
    for (uint32_t i = 0; i < a->count; i++)
        put_u64(p, a->hears[i]);
}

static void put_join(msgpack_packer *p, const struct peer_join *j)
{
    put_head(p, METHOD_JOIN, 7);
    put_u64(p, j->protocol_min);
    put_u64(p, j->protocol_max);
    put_u64(p, j->cluster_id);
    put_u64(p, j->node_id);
    put_bytes(p, j->secret, sizeof j->secret);
    put_text(p, j->name);
    put_text(p, j->address);
}

/* [refused, [[seat, node_id, name, address, votes], ...]] */
static void put_joined(msgpack_packer *p, const struct peer_joined *j)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        count += j->members[i].node_id != 0;
    put_head(p, METHOD_JOINED, 2);
    put_text(p, j->refused);
    msgpack_pack_array(p, count);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (j->members[i].node_id == 0)
            continue;
        msgpack_pack_array(p, 5);
        put_u64(p, i);
        put_u64(p, j->members[i].node_id);
        put_text(p, j->members[i].name);
        put_text(p, j->members[i].address);
        put_bool(p, j->members[i].votes);
    }
}

static void put_snapshot_data(msgpack_packer *p, const struct peer_snapshot_data *s)
{
    ASSERT(s->size <= SNAPSHOT_PIECE_MAX);
    put_head(p, METHOD_SNAPSHOT_DATA, 6);
    put_u64(p, s->transfer);
    put_u64(p, s->offset);
    put_bool(p, s->is_last);
    put_u64(p, s->hash);
    put_text(p, s->refused);
    put_bytes(p, s->bytes, s->size);
}

static size_t pvalues_size(const struct pvalue *values, uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += ENTRY_SIZE_MAX + values[i].command->size;
    return size;
}

/* An upper bound of what @m's entries take. */
static size_t entries_size(const struct message *m)
{
    size_t size = 0;
    if (m->kind == MESSAGE_P1B)
        size = pvalues_size(m->p1b.pvalues, m->p1b.count) +
               (size_t)m->p1b.holder_count * HOLDER_SIZE_MAX;
    else if (m->kind == MESSAGE_RELEASE)
        size = (size_t)m->release.holder_count * HOLDER_SIZE_MAX;
    else if (m->kind == MESSAGE_P2A)
        size = pvalues_size(m->p2a.pvalues, m->p2a.count);
    else if (m->kind == MESSAGE_DECISIONS)
        size = pvalues_size(m->decisions.pvalues, m->decisions.count);
    else if (m->kind == MESSAGE_P2B)
        size = (size_t)m->p2b.count * ENTRY_SIZE_MAX;
    else if (m->kind == MESSAGE_SUBMIT)
        for (uint32_t i = 0; i < m->submit.count; i++)
            size += ENTRY_SIZE_MAX + m->submit.commands[i]->size;
    return size;
}

int codec_encode(const struct peer_message *m, struct buffer *out)
{
    size_t body = 0;
    if (m->kind == PEER_PAXOS)
        body = entries_size(&m->paxos);
    else if (m->kind == PEER_RELAY)
        body = m->relay.size;
    else if (m->kind == PEER_JOINED)
        body = JOINED_SIZE_MAX;
    else if (m->kind == PEER_SNAPSHOT_DATA)
        body = m->snapshot_data.size;
    int rc = buffer_reserve(out, HEAD_SIZE_MAX + body);
    if (rc < 0)
        return rc;
    msgpack_packer p;
    msgpack_packer_init(&p, out, write_reserved);
    switch (m->kind) {
    case PEER_HELLO:
        put_hello(&p, &m->hello);
        break;
    case PEER_REFUSE:
        put_head(&p, METHOD_REFUSE, 2);
        put_text(&p, m->refuse.reason);
        put_bool(&p, m->refuse.retired);
        break;
    case PEER_PAXOS:
        put_paxos(&p, &m->paxos);
        break;
    case PEER_STATUS:
        put_status(&p, &m->status);
        break;
    case PEER_ALIVE:
        put_alive(&p, &m->alive);
        break;
    case PEER_RELAY:
        put_relay(&p, &m->relay);
        break;
    case PEER_JOIN:
        put_join(&p, &m->join);
        break;
    case PEER_JOINED:
        put_joined(&p, &m->joined);
        break;
    case PEER_SNAPSHOT_GET:
        put_head(&p, METHOD_SNAPSHOT_GET, 2);
        put_u64(&p, m->snapshot_get.transfer);
        put_u64(&p, m->snapshot_get.offset);
        break;
    case PEER_SNAPSHOT_DATA:
        put_snapshot_data(&p, &m->snapshot_data);
        break;
    }
    return 0;
}
