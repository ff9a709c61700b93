/* consensus/reconfiguration.c: who has a seat (PMMC §4.2). All that is remembered of a seat belongs
 * to the node that had it: another one begins with nothing. */
#include <stddef.h>

#include "base/assert.h"
#include "consensus/paxos_node.h"

static uint32_t changed_seats(const struct configuration *a, const struct configuration *b)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        mask |= (uint32_t)(a->members[i] != b->members[i]) << i;
    return mask;
}

static void forget_seats(struct paxos *p, uint32_t changed)
{
    for (uint32_t seats = changed; seats != 0; seats &= seats - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(seats);
        p->heard_ns[i] = 0;
        scout_forget(&p->scout, i);
    }
    if (p->leader_index < MEMBERS_MAX && (changed & UINT32_C(1) << p->leader_index))
        p->leader_index = MEMBERS_MAX;
}

static void leave(struct paxos *p)
{
    p->leader_index = MEMBERS_MAX;
    read_lease_drop(&p->lease, &p->box);
    outbox_note(&p->box, NOTE_LEFT, p->following, p->configuration.from);
}

void paxos_configure(struct paxos *p, const struct configuration *c)
{
    bool had_seat = paxos_has_seat(p);
    uint32_t self = configuration_seat(c, p->config.node);
    if (had_seat && self != p->self && p->role != ROLE_FOLLOWER)
        election_resign(p); /* to the members as they were */

    uint32_t changed = changed_seats(&p->configuration, c);
    bool is_change_of_voters =
        c->from != p->configuration.from || c->voters != p->configuration.voters;
    p->configuration = *c;
    p->self = self;
    p->box.everyone = configuration_everyone(c);
    p->box.others = p->box.everyone & ~(UINT32_C(1) << self);
    forget_seats(p, changed);
    replica_configure(&p->replica, changed, self);
    struct leader_view v = paxos_leader_view(p);
    leader_configure(&p->leader, changed, &v);
    if (is_change_of_voters)
        outbox_note(&p->box, NOTE_CONFIGURED, p->following, c->from);
    if (paxos_has_seat(p) && configuration_is_leaving(c, self))
        read_lease_end(&p->lease, &p->box);
    if (paxos_has_seat(p))
        election_on_configuration(p);
    else if (had_seat)
        leave(p);
}
