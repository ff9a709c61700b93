/* tests/support/cluster_sim.h: a whole cluster in one process, from one seed: the real core, a
 * simulated network, disks, clocks, clients, and a state machine; every invariant is checked after
 * each step. The same seed and the same calls give the same history. */
#ifndef SUPPORT_CLUSTER_SIM_H
#define SUPPORT_CLUSTER_SIM_H

#include "base/prng.h"
#include "consensus/membership.h"
#include "consensus/paxos.h"

struct cluster;

struct cluster_options {
    uint32_t nodes; /* it begins with these voters; 1..MEMBERS_MAX */
    uint64_t seed;
    uint64_t delay_ns_min, delay_ns_max; /* of a message; min == max keeps the order */
    uint32_t loss_permille, duplicate_permille, spike_permille;
    uint64_t spike_ns;                 /* at most; of a late message */
    uint64_t sync_ns_min, sync_ns_max; /* of one disk sync */
    uint64_t apply_ns_max;             /* until a decided slot is applied */
    uint64_t client_ns;                /* mean time between a client's calls; 0: no clients */
    uint32_t outstanding_max;          /* calls of one client */
    uint32_t padding_max;              /* bytes a command may carry in addition */
    uint32_t log_slots_max;            /* a node drops older ones of its log; 0: never by itself */
    uint64_t silence_ns; /* the leader ends the sessions of nodes so long silent; 0: never */
    bool clocks_drift;   /* rates within CLOCK_RATE_ERROR_PERCENT of each other */
    bool walls_jump;     /* wall clocks may say anything */
    bool trace;          /* keep lines for cluster_print_trace() */
};

/* A calm cluster: 0.1 ms links that keep order, 0.2 ms disks, no clients. */
struct cluster_options cluster_calm(uint32_t nodes, uint64_t seed);

struct cluster *cluster_new(const struct cluster_options *options);
void cluster_free(struct cluster *c);

/* What went wrong; NULL while nothing has. Nothing more happens in a cluster that failed. */
const char *cluster_failure(const struct cluster *c);
/* For checks of a test's own. */
void cluster_fail(struct cluster *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cluster_print_trace(const struct cluster *c);

/* What happened of the rarer things. */
struct cluster_counts {
    uint64_t reads, reads_local; /* answered; of them by a read lease, without a message */
    uint64_t snapshots, snapshots_torn;
    uint64_t changes;  /* of the voters */
    uint64_t expiries; /* sessions ended */
    uint64_t reopened, resubmitted;
};
struct cluster_counts cluster_counts(const struct cluster *c);

uint64_t cluster_now_ns(const struct cluster *c);
uint64_t cluster_steps(const struct cluster *c);
void cluster_run(struct cluster *c, uint64_t ns);
/* Run until @done(c, context) or @ns have passed; whether it came true. */
bool cluster_run_until(struct cluster *c, uint64_t ns,
                       bool (*done)(const struct cluster *c, const void *context),
                       const void *context);
/* Until one node leads, serves, and all that run follow it. Its index, or the node count. */
uint32_t cluster_elect(struct cluster *c, uint64_t ns);
/* The serving leader with the highest ballot; node count when there is none. */
uint32_t cluster_leader(const struct cluster *c);
struct paxos_view cluster_view(const struct cluster *c, uint32_t node);
uint64_t cluster_applied(const struct cluster *c, uint32_t node);
bool cluster_is_up(const struct cluster *c, uint32_t node);
/* A sync is under way: a crash now may lose what it writes. */
bool cluster_is_syncing(const struct cluster *c, uint32_t node);
/* Highest slot decided anywhere. */
uint64_t cluster_decided(const struct cluster *c);

/* Members. Nodes are known by an index that is never used again; those who join come behind the
 * ones the cluster began with. */
uint32_t cluster_count(const struct cluster *c); /* nodes that ever were */
/* As of the highest slot applied anywhere. */
const struct membership *cluster_membership(const struct cluster *c);
uint32_t cluster_node_of(const struct cluster *c, uint64_t id); /* index */
uint64_t cluster_id(const struct cluster *c, uint32_t node);
bool cluster_is_gone(const struct cluster *c, uint32_t node); /* for ever */
/* A node is to join, and to vote: besides the others, or in place of node @replaces; count: of
 * none. Any member that runs lets it in; the leader promotes it. Its index; MEMBERS_MAX: no more.
 */
uint32_t cluster_add(struct cluster *c, uint32_t replaces);
bool cluster_is_joining(const struct cluster *c); /* one that is not a member yet */
/* @via's client submits it. 0: it has no session now. */
uint64_t cluster_remove(struct cluster *c, uint32_t via, uint32_t node);
void cluster_lose(struct cluster *c, uint32_t node); /* its host and disk are gone for ever */
/* All that run have applied all, everyone who is to vote votes, everyone who left has stopped. */
bool cluster_is_settled(const struct cluster *c);

/* Clients. A session is opened by the first call. Ids are > 0. */
uint64_t cluster_increment(struct cluster *c, uint32_t node, uint32_t counter);
uint64_t cluster_read(struct cluster *c, uint32_t node, uint32_t counter);
bool cluster_is_done(const struct cluster *c, uint64_t id);
uint64_t cluster_value(const struct cluster *c, uint64_t id);
/* No call of @node's client is under way. */
bool cluster_is_idle(const struct cluster *c, uint32_t node);
bool cluster_all_done(const struct cluster *c);
uint64_t cluster_calls_done(const struct cluster *c);
void cluster_stop_clients(struct cluster *c);

/* Faults. */
void cluster_crash(struct cluster *c, uint32_t node); /* loses what was not synced */
void cluster_restart(struct cluster *c, uint32_t node);
void cluster_pause(struct cluster *c, uint32_t node, uint64_t ns);
/* Until when @node was to pause: what came meanwhile comes then, also if the pause is ended early.
 */
uint64_t cluster_paused_until_ns(const struct cluster *c, uint32_t node);
void cluster_cut(struct cluster *c, uint32_t from, uint32_t to, bool is_cut); /* one way */
void cluster_isolate(struct cluster *c, uint32_t node, bool is_cut);          /* both ways, all */
void cluster_heal(struct cluster *c);
void cluster_slow_disk(struct cluster *c, uint32_t node, uint64_t sync_ns); /* 0: as configured */
void cluster_hang_store(struct cluster *c, uint32_t node,
                        uint64_t ns); /* applies nothing; 0: ends */
void cluster_hand_over(struct cluster *c, uint32_t node);
void cluster_jump_wall(struct cluster *c, uint32_t node, int64_t ns);
/* No more loss, duplication, spikes. */
void cluster_calm_network(struct cluster *c);
/* @drop may look at every message on its way, and drop it; NULL: none. */
void cluster_filter(struct cluster *c,
                    bool (*drop)(void *context, uint32_t from, uint32_t to,
                                 const struct message *m),
                    void *context);
/* @late says how much later than others a message arrives; NULL: none does. */
void cluster_delay(struct cluster *c,
                   uint64_t (*late)(void *context, uint32_t from, uint32_t to,
                                    const struct message *m),
                   void *context);
/* From now on the node's clock gains so much on true time, or loses it. */
void cluster_set_clock_rate(struct cluster *c, uint32_t node, int64_t ppm);

/* Messages that left nodes for others, by kind, since the last reset. */
uint64_t cluster_sent(const struct cluster *c, enum message_kind kind);
void cluster_reset_sent(struct cluster *c);

#endif
