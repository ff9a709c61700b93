/* rpc/seats.c: which member is in which seat, and what becomes of the connections when that
 * changes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "rpc/transport_internal.h"

static bool is_same_id(uint64_t a, uint64_t b)
{
    return a == 0 || b == 0 || a == b;
}

static uint32_t find(const struct transport_member *members, const char *name)
{
    uint32_t seat = 0;
    while (seat < MEMBERS_MAX && (!members[seat].name[0] || strcmp(members[seat].name, name) != 0))
        seat++;
    return seat;
}

uint32_t seats_by_name(const struct transport *t, const char *name)
{
    return find(t->config.members, name);
}

uint32_t seats_by_id(const struct transport *t, uint64_t node_id)
{
    uint32_t seat = 0;
    ASSERT(node_id != 0); /* the codec refused those */
    while (seat < MEMBERS_MAX && t->peers[seat].node_id != node_id)
        seat++;
    return seat;
}

bool seats_dials(const struct transport *t, uint32_t index)
{
    const char *name = transport_name_of(t, index);
    return t->self != NOBODY && name[0] && strcmp(t->name, name) < 0;
}

uint32_t seats_mask(const struct transport *t, const struct peer_alive *alive)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < alive->count; i++) {
        uint32_t seat = seats_by_id(t, alive->hears[i]);
        if (seat != NOBODY)
            mask |= UINT32_C(1) << seat;
    }
    return mask;
}

/* Seat @index has a new member, or none. */
static void occupy(struct transport *t, uint32_t index)
{
    const struct transport_member *m = &t->config.members[index];
    struct peer *p = &t->peers[index];
    *p = (struct peer){.node_id = m->node_id, .backoff_ns = BACKOFF_NS_MIN, .relay = -1};
    snprintf(p->last_error, sizeof p->last_error, "%s",
             seats_dials(t, index) ? "not yet dialled" : "it has not dialled yet");
}

/* 0 or -EINVAL. */
static int read_address(struct transport *t, uint32_t index)
{
    struct peer *p = &t->peers[index];
    if (!t->config.members[index].name[0])
        return 0;
    int rc = address_parse(t->config.members[index].address, &p->address);
    p->has_address = rc == 0;
    if (rc < 0)
        snprintf(p->last_error, sizeof p->last_error, "its address is none");
    return rc;
}

static uint32_t own_seat(const struct transport *t)
{
    uint32_t seat = seats_by_name(t, t->name);
    if (seat != NOBODY && !is_same_id(t->config.members[seat].node_id, t->node_id))
        return NOBODY; /* another node has the name now */
    return seat;
}

int seats_init(struct transport *t)
{
    const struct transport_config *c = &t->config;
    if (c->self >= MEMBERS_MAX || !c->members[c->self].name[0] || !c->members[c->self].node_id)
        return -EINVAL;
    t->node_id = c->members[c->self].node_id;
    memcpy(t->name, c->members[c->self].name, sizeof t->name);
    t->self = c->self;
    int rc = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX && rc == 0; i++) {
        occupy(t, i);
        rc = read_address(t, i);
    }
    return rc;
}

/* Why the connections of seat @index cannot stay when @members are the members; NULL: they can. */
static const char *why_it_ends(const struct transport *t, uint32_t index,
                               const struct transport_member *members)
{
    const struct transport_member *was = &t->config.members[index], *is = &members[index];
    uint32_t seat = find(members, was->name);
    if (seat == NOBODY)
        return "no longer a member";
    if (!is_same_id(members[seat].node_id, t->peers[index].node_id))
        return "another node has its name now";
    if (seat != index)
        return "its seat has changed";
    if (seats_dials(t, index) && strcmp(was->address, is->address) != 0)
        return "its address has changed";
    return NULL;
}

/* All of a seat's, also such as are on their way out. What was said until now still leaves: it may
 * be what a successor waits for. */
static void end_connections(struct transport *t, uint32_t index, const char *reason)
{
    for (struct connection *c = t->connections; c && !t->closing; c = c->next) {
        if (c->index != index)
            continue;
        connection_flush(c);
        transport_end(t, c, reason);
    }
}

static void forget_relay(struct transport *t, uint32_t relay)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        if (t->peers[i].relay == (int)relay)
            transport_set_relay(t, i, -1);
}

/* The member stays, with another address or an id that was not known. */
static void update(struct transport *t, uint32_t index)
{
    struct peer *p = &t->peers[index];
    if (index == t->self)
        p->node_id = t->node_id;
    else if (t->config.members[index].node_id)
        p->node_id = t->config.members[index].node_id;
    read_address(t, index);
}

void transport_set_members(struct transport *t, const struct transport_member members[MEMBERS_MAX])
{
    ASSERT(!t->closing);
    bool is_new[MEMBERS_MAX];
    uint32_t own = find(members, t->name);
    bool is_out = own == NOBODY || !is_same_id(members[own].node_id, t->node_id);
    /* First what is told with the old seats, while they still are what everyone knows. */
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        is_new[i] = strcmp(t->config.members[i].name, members[i].name) != 0 ||
                    !is_same_id(members[i].node_id, t->peers[i].node_id);
        if (!t->config.members[i].name[0] || i == t->self)
            continue;
        const char *reason = is_out ? "this node is no member" : why_it_ends(t, i, members);
        if (reason)
            end_connections(t, i, reason);
        if (t->closing)
            return;
        if (is_new[i])
            forget_relay(t, i);
        if (reason && !is_new[i]) {
            t->peers[i].backoff_ns = BACKOFF_NS_MIN;
            t->peers[i].dial_at_ns = 0;
        }
    }
    memcpy(t->config.members, members, sizeof t->config.members);
    t->self = own_seat(t);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (is_new[i])
            occupy(t, i);
        update(t, i);
    }
}
