/* consensus/leader.h: proposes at one ballot once its scout was adopted (PMMC §2.3, Fig. 7).
 *
 * One commander per slot of the window, kept as a mask of votes rather than as a process (§4.1).
 * What is proposed, adopted or new, waits for the flush and leaves in batches. Serves reads under a
 * majority's leader leases once all it adopted is decided (§4.5). Pure. */
#ifndef CONSENSUS_LEADER_H
#define CONSENSUS_LEADER_H

#include "consensus/intake.h"
#include "consensus/lease.h"
#include "consensus/outbox.h"
#include "consensus/paxos.h"
#include "consensus/pvalue_table.h"
#include "consensus/read_lease.h"
#include "consensus/requests.h"
#include "consensus/wall.h"

/* Heartbeats that no majority answered, after which a leader gives up, so that the others' leases
 * end although they may still hear it: with LEASE_NS and an election it stays under two seconds. */
enum { LEADER_UNANSWERED_MAX = 7 };

struct commander {
    uint32_t votes;   /* mask of members that accepted */
    uint32_t tries;   /* p2as sent */
    uint64_t sent_ns; /* the last */
};

struct leader {
    bool active;
    struct ballot ballot;
    struct pvalue_table *proposals;      /* adopted (the scout's pmax) and proposed */
    struct commander commanders[WINDOW]; /* of slots below slot_in, at slot % WINDOW */
    uint64_t slot_in;                    /* next slot to propose in */
    uint64_t slot_sent;                  /* slots below had their first p2a */
    uint64_t collected;                  /* nothing is proposed before these are decided here */
    uint64_t adopted;                    /* slots <= this may hold another leader's pvalue */
    uint64_t announced;                  /* decided-through last told to everyone */
    uint64_t time_ns;                    /* last given */
    bool takes_forwarded;                /* whose turn it is */
    bool is_serving;                     /* as last noted */

    struct lease_held lease;
    uint64_t lease_before_ns; /* of a majority of the voters before the change ... */
    uint64_t lease_after_ns;  /* ... and of those from it on */
    uint64_t heartbeat_ns;    /* next */
    uint32_t unanswered;      /* heartbeats since a majority last answered */
    struct wall wall;
    uint64_t members_decided[MEMBERS_MAX], members_checkpointed[MEMBERS_MAX];
    struct intake intake;
    struct read_holders holders;
};

/* What a leader needs to know of the node around it. */
struct leader_view {
    uint64_t decided, applied;
    uint64_t now_ns, wall_ns;
    const struct configuration *configuration; /* governs slots <= applied + WINDOW */
    uint32_t promised; /* mask: promised the ballot and reported; kept from the scout */
    uint32_t self;     /* own seat */
};

void leader_init(struct leader *l, struct pvalue_table *proposals);
void leader_stop(struct leader *l);
/* @collected: largest that the scout's majority reported. @time_ns: no proposal is earlier. The
 * read leases a former leader had out are inherited afterwards. */
void leader_start(struct leader *l, struct ballot ballot, uint64_t collected, uint64_t time_ns,
                  const struct leader_view *v, struct outbox *o);

/* A voter reported late: slots <= @collected are decided, pvalues of slots <= @reported were merged
 * into the proposals. */
void leader_on_report(struct leader *l, uint64_t collected, uint64_t reported);
/* Another configuration, in @v; another node has the seats in @changed, or none. */
void leader_configure(struct leader *l, uint32_t changed, const struct leader_view *v);

void leader_on_p2b(struct leader *l, uint32_t from, const struct message *m);
/* The proposal of @slot, the first undecided, if a majority of its voters accepted it and no read
 * lease stands against it; or NULL. */
const struct pvalue *leader_decision(struct leader *l, uint64_t slot, const struct leader_view *v,
                                     struct outbox *o);
void leader_on_heartbeat_ack(struct leader *l, uint32_t from, const struct message *m,
                             const struct leader_view *v);
/* At most one SEND: the grant. Silence refuses. */
void leader_on_lease_ask(struct leader *l, uint32_t from, const struct message *m,
                         const struct leader_view *v, struct outbox *o);

/* Heartbeats, and p2as that were not answered: at most 1 + WINDOW SENDs. False when it is time to
 * give up: no majority answers. */
bool leader_on_tick(struct leader *l, const struct leader_view *v, struct outbox *o);
/* Propose what fits the window and send it: at most 1 + WINDOW SENDs. */
void leader_flush(struct leader *l, const struct leader_view *v, struct requests *own,
                  struct outbox *o);

/* All that a former leader may have decided is decided here. */
bool leader_is_ready(const struct leader *l, const struct leader_view *v);
bool leader_may_serve(const struct leader *l, const struct leader_view *v);
/* Until when a majority of every configuration in play gave a lease. */
uint64_t leader_lease_until_ns(const struct leader *l, const struct leader_view *v);
/* It has no vote from the change on, and decided everything before. */
bool leader_is_done(const struct leader_view *v);
/* The slot that the durable checkpoint of all in @everyone covers. */
uint64_t leader_collect_through(const struct leader *l, uint32_t everyone);

#endif
