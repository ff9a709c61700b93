/* consensus/paxos_node.h: what struct paxos is made of; for paxos.c, election.c and the tests. */
#ifndef CONSENSUS_PAXOS_NODE_H
#define CONSENSUS_PAXOS_NODE_H

#include "consensus/acceptor.h"
#include "consensus/detector.h"
#include "consensus/leader.h"
#include "consensus/paxos.h"
#include "consensus/read_lease.h"
#include "consensus/reader.h"
#include "consensus/replica.h"
#include "consensus/scout.h"

struct paxos {
    struct paxos_config config;
    struct configuration configuration;
    uint32_t self;            /* seat; MEMBERS_MAX: none (any more), so it is silent */
    uint64_t now_ns, wall_ns; /* of the current step */
    struct outbox box;
    enum paxos_role role;
    uint64_t round_max;      /* highest round seen anywhere */
    struct ballot following; /* highest ballot known to be adopted; never goes down */
    uint32_t leader_index;   /* its leader's seat while it is trusted; MEMBERS_MAX: none */
    uint64_t collect_through;
    uint64_t heard_ns[MEMBERS_MAX];
    uint64_t told_persist; /* what is told of the slots before a change of voters waits for it */

    struct pvalue_table held;      /* acceptor and replica */
    struct pvalue_table proposals; /* scout (pmax) and leader */
    struct acceptor acceptor;
    struct scout scout;
    struct leader leader;
    struct replica replica;
    struct reader reader;
    struct detector detector;
    struct read_lease lease;
};

static inline bool paxos_leads(const struct paxos *p)
{
    return p->role == ROLE_LEADER;
}

static inline bool paxos_has_seat(const struct paxos *p)
{
    return p->self < MEMBERS_MAX;
}

struct in_play paxos_in_play(const struct paxos *p);
struct leader_view paxos_leader_view(const struct paxos *p);
void paxos_saw_round(struct paxos *p, struct ballot ballot);

/* election.c: who leads. */
void election_on_tick(struct paxos *p);
void election_on_message(struct paxos *p, uint32_t from, const struct message *m);
/* A message of the leader of @ballot came from @from: follow it, unless it was replaced. */
void election_follow(struct paxos *p, uint32_t from, struct ballot ballot);
/* This leader learnt that an acceptor promised @ballot. */
void election_on_preemption(struct paxos *p, struct ballot ballot);
/* The own acceptor may have promised to another in this step. */
void election_check_promise(struct paxos *p);
void election_hand_over(struct paxos *p);
/* Lead and run no longer: this node must not, or cannot go on. */
void election_resign(struct paxos *p);
/* The configuration changed while this node leads: go on with phase 1 where it is needed. */
void election_on_configuration(struct paxos *p);

/* reconfiguration.c: who has a seat. */
void paxos_configure(struct paxos *p, const struct configuration *c);

#endif
