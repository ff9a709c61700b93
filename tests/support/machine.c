#include "tests/support/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"

enum { CHANGE_SIZE = 1 + 8 + 3 * 8 };
#define INVITATION_NS (3600 * NS_PER_S)

static void release_command(struct command *c)
{
    free(c);
}

static struct command *command_new(uint64_t node, uint32_t size, uint8_t **bytes)
{
    struct command *c = calloc(1, sizeof *c + size);
    ASSERT(c != NULL);
    *bytes = (uint8_t *)(c + 1);
    c->refs = 1;
    c->size = size;
    c->node = node;
    c->bytes = *bytes;
    c->release = release_command;
    return c;
}

static struct command *encode(uint64_t node, const struct machine_change *change)
{
    uint8_t *bytes;
    uint32_t size = CHANGE_SIZE + change->padding;
    struct command *c = command_new(node, size, &bytes);
    struct writer w = writer_of(bytes, size);
    write_u8(&w, (uint8_t)change->kind);
    write_u64(&w, change->op);
    for (size_t i = 0; i < ARRAY_COUNT(change->arguments); i++)
        write_u64(&w, change->arguments[i]);
    return c;
}

struct command *machine_open(uint64_t node, uint64_t life, uint64_t ended)
{
    struct machine_change open = {.kind = MACHINE_OPEN, .arguments = {life}};
    struct command *c = encode(node, &open);
    c->epoch = ended;
    return c;
}

struct command *machine_command(uint64_t node, uint64_t epoch, uint64_t sequence, uint64_t low,
                                const struct machine_change *change)
{
    struct command *c = encode(node, change);
    c->epoch = epoch;
    c->sequence = sequence;
    c->low = low;
    return c;
}

struct machine_change machine_change_of(const struct command *c)
{
    struct cursor at = cursor_of(c->bytes, c->size);
    struct machine_change change = {.kind = (enum machine_kind)cursor_u8(&at)};
    change.op = cursor_u64(&at);
    for (size_t i = 0; i < ARRAY_COUNT(change.arguments); i++)
        change.arguments[i] = cursor_u64(&at);
    ASSERT(!at.failed);
    return change;
}

bool machine_touches(const struct command *c, uint32_t counter)
{
    if (command_is_noop(c))
        return false;
    struct machine_change change = machine_change_of(c);
    return change.kind == MACHINE_INCREMENT && change.arguments[0] == counter;
}

void machine_init(struct machine *m)
{
    memset(m, 0, sizeof *m);
    m->sessions = calloc(1, sizeof *m->sessions);
    ASSERT(m->sessions != NULL);
}

void machine_deinit(struct machine *m)
{
    free(m->sessions);
    m->sessions = NULL;
}

static struct member member_of(uint64_t node)
{
    struct member member = {.node = node};
    snprintf(member.name, sizeof member.name, "n%" PRIu64, node);
    snprintf(member.address, sizeof member.address, "host%" PRIu64 ":1", node);
    return member;
}

void machine_begin(struct machine *m, const uint64_t *nodes, uint32_t count)
{
    struct member members[MEMBERS_MAX];
    for (uint32_t i = 0; i < count; i++)
        members[i] = member_of(nodes[i]);
    membership_begin(&m->membership, members, count);
}

static uint64_t apply_open(struct machine *m, const struct command *c,
                           const struct machine_change *change)
{
    bool changed;
    return session_open_after(m->sessions, c->node, change->arguments[0], c->epoch, &changed);
}

static enum membership_verdict apply_invite(struct machine *m, const uint64_t *arguments)
{
    struct member guest = member_of(arguments[0]);
    struct invitation v = {
        .expires_ns = m->time_ns + INVITATION_NS, .wants_vote = true, .replaces = arguments[1]};
    memcpy(v.secret, &guest.node, sizeof guest.node);
    memcpy(v.name, guest.name, sizeof v.name);
    return membership_invite(&m->membership, &v, m->time_ns);
}

static enum membership_verdict apply_join(struct machine *m, uint64_t node)
{
    struct member guest = member_of(node);
    uint8_t secret[SECRET_SIZE] = {0};
    memcpy(secret, &node, sizeof node);
    return membership_join(&m->membership, m->time_ns, secret, node, guest.name, guest.address);
}

static uint64_t apply_change(struct machine *m, uint64_t slot, const struct machine_change *change)
{
    const uint64_t *a = change->arguments;
    switch (change->kind) {
    case MACHINE_INCREMENT:
        return ++m->counters[a[0] % MACHINE_COUNTERS];
    case MACHINE_INVITE:
        return apply_invite(m, a);
    case MACHINE_JOIN:
        return apply_join(m, a[0]);
    case MACHINE_PROMOTE:
        return membership_promote(&m->membership, slot, a[0]);
    case MACHINE_REPLACE:
        return membership_replace(&m->membership, slot, a[0], a[1]);
    case MACHINE_REMOVE:
        return membership_remove(&m->membership, slot, a[0]);
    case MACHINE_EXPIRE:
        return session_expire(m->sessions, a[0], a[1], a[2]);
    case MACHINE_OPEN:
        break;
    }
    ASSERT(!"a change");
    return 0;
}

static struct machine_result apply_command(struct machine *m, uint64_t slot,
                                           const struct command *c)
{
    struct machine_change change = machine_change_of(c);
    if (change.kind == MACHINE_OPEN)
        return (struct machine_result){SESSION_NEW, apply_open(m, c, &change)};
    const struct session_outcome *outcome;
    struct machine_result r = {0};
    r.verdict = session_judge(m->sessions, c->node, c->epoch, c->sequence, c->low, &outcome);
    if (r.verdict == SESSION_REPEATED)
        memcpy(&r.value, outcome->bytes, sizeof r.value);
    if (r.verdict != SESSION_NEW)
        return r;
    r.value = apply_change(m, slot, &change);
    session_record(m->sessions, c->node, c->sequence, &r.value, sizeof r.value);
    return r;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

static uint64_t hash_of(const struct membership *membership)
{
    uint8_t bytes[MEMBERSHIP_ENCODED_MAX];
    size_t size = membership_encode(membership, bytes);
    uint64_t hash = size;
    for (size_t i = 0; i < size; i++)
        hash = mix(hash, bytes[i]);
    return hash;
}

struct machine_result machine_apply(struct machine *m, const struct pvalue *p)
{
    ASSERT(p->slot == m->applied + 1);
    struct machine_result r = {0};
    const struct command *c = p->command;
    uint64_t version = m->membership.version;
    m->time_ns = p->time_ns > m->time_ns ? p->time_ns : m->time_ns + 1;
    membership_advance(&m->membership, p->slot);
    if (!command_is_noop(c))
        r = apply_command(m, p->slot, c);
    m->applied = p->slot;
    if (m->membership.version != version)
        m->hash = mix(m->hash, hash_of(&m->membership));
    m->hash = mix(m->hash, p->slot);
    m->hash = mix(m->hash, m->time_ns);
    m->hash = mix(m->hash, c->node);
    m->hash = mix(m->hash, c->sequence);
    m->hash = mix(m->hash, r.value * 8 + r.verdict);
    return r;
}

void machine_save(const struct machine *m, struct machine_image *image)
{
    size_t room = 0;
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        room += m->sessions->sessions[i].node ? sizeof(uint32_t) + SESSION_ENCODED_MAX : 0;
    machine_image_deinit(image);
    image->state = *m;
    image->state.sessions = NULL;
    image->bytes = malloc(room + 1);
    ASSERT(image->bytes != NULL);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        const struct session *s = &m->sessions->sessions[i];
        if (!s->node)
            continue;
        uint8_t *at = image->bytes + image->size;
        uint32_t size = (uint32_t)session_encode(s, at + sizeof(uint32_t));
        memcpy(at, &size, sizeof size);
        image->size += (uint32_t)sizeof size + size;
    }
}

void machine_load(struct machine *m, const struct machine_image *image)
{
    struct session_table *sessions = m->sessions;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (sessions->sessions[i].node)
            memset(&sessions->sessions[i], 0, sizeof sessions->sessions[i]);
    }
    *m = image->state;
    m->sessions = sessions;
    for (uint32_t at = 0; at < image->size;) {
        uint32_t size;
        memcpy(&size, image->bytes + at, sizeof size);
        int rc = session_decode(sessions, image->bytes + at + sizeof size, size);
        ASSERT(rc == 0);
        at += (uint32_t)sizeof size + size;
    }
}

void machine_image_deinit(struct machine_image *image)
{
    free(image->bytes);
    memset(image, 0, sizeof *image);
}
