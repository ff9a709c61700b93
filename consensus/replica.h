/* consensus/replica.h: learns decisions and hands them on in slot order (PMMC §2.1, Fig. 1).
 *
 * Departures: only a leader concludes that a slot is decided, and tells so in slot order: "decided
 * through s at ballot b" covers the slots one holds at a ballot >= b; the others are fetched from
 * another node's log, in order too. So every decision known here is below one number. Pure. */
#ifndef CONSENSUS_REPLICA_H
#define CONSENSUS_REPLICA_H

#include "consensus/outbox.h"
#include "consensus/pvalue_table.h"
#include "consensus/requests.h"

struct replica {
    uint32_t self;             /* seat */
    struct pvalue_table *held; /* the acceptor's */
    uint64_t decided;          /* slot_out - 1: every slot <= it is decided and was handed on */
    uint64_t applied, checkpointed;
    uint64_t time_ns; /* latest among the decided */
    uint64_t ticked_ns;
    uint64_t waiting_ns; /* for how long nothing was applied although something is decided */
    /* Number of the newest PERSIST when a slot was decided, at slot % SLOTS_HELD_MAX: once that is
     * durable the log holds the slot's decided value last. */
    uint64_t decided_after[SLOTS_HELD_MAX];
    uint64_t hinted;     /* PERSIST_DECIDED says so */
    uint64_t hint_ns;    /* when the next may be written */
    uint64_t remembered; /* ... and lasts, in this life */

    /* What is known to be decided beyond `decided`: */
    uint64_t known;         /* through this slot; */
    struct ballot known_at; /* as held, where it is held at this ballot or higher; */
    uint32_t known_by;      /* this member has it. */

    uint64_t fetch_first, fetch_last; /* asked for; last 0: nothing */
    uint32_t fetch_from;
    uint64_t fetch_retry_ns;
    bool is_behind; /* as noted */

    bool is_blank;      /* nothing can be applied before a snapshot is installed */
    uint64_t log_first; /* after an install: what the own log holds of slots below may have lost */
    uint64_t snapshot_first; /* a member's log gives no slot below */
    uint32_t snapshot_from;  /* who said so, or was named last */
    uint64_t snapshot_ns;    /* when to say again that one is needed */

    struct requests requests;
};

void replica_init(struct replica *r, struct pvalue_table *held, uint32_t self);
/* Another node has the seats in @changed, or none; the own one is @self. */
void replica_configure(struct replica *r, uint32_t changed, uint32_t self);

/* The store applied through @applied, durably through @checkpointed. */
void replica_on_applied(struct replica *r, uint64_t applied, uint64_t checkpointed);
void replica_on_tick(struct replica *r, uint64_t now_ns);
/* The store, or the log before it, hangs: this node should not lead. */
bool replica_is_stuck(const struct replica *r);

/* The next slot is decided: at most one PERSIST and one DECIDE. */
void replica_decide(struct replica *r, const struct pvalue *pvalue, struct outbox *o);
/* Slots <= @through are decided: those held at @ballot or higher as held. */
void replica_on_decided(struct replica *r, uint32_t from, struct ballot ballot, uint64_t through,
                        struct outbox *o);
/* ... and @from has them; nothing is known of what is held here. */
void replica_on_others_decided(struct replica *r, uint32_t from, uint64_t through);
/* Use what is known for what is held by now. */
void replica_advance(struct replica *r, struct outbox *o);
void replica_on_decisions(struct replica *r, uint32_t from, const struct message *m,
                          struct outbox *o);
void replica_on_fetch(const struct replica *r, uint32_t from, const struct message *m,
                      struct outbox *o);
/* Ask for what is missing, @leader first (MEMBERS_MAX: none known). */
void replica_fetch(struct replica *r, uint32_t leader, uint64_t now_ns, struct outbox *o);
/* No log known to this node gives the next slot. */
bool replica_needs_snapshot(const struct replica *r);
/* The store holds every slot <= @slot, durably, by a snapshot. */
void replica_on_installed(struct replica *r, uint64_t slot, uint64_t time_ns, struct outbox *o);
/* Hint to the log what is decided, now and then ... */
void replica_hint(struct replica *r, uint64_t now_ns, struct outbox *o);
/* ... and before a pvalue of @slot is persisted, so that what a restart finds above the last hint
 * always fits the table: a vote that does not fit would be a vote forgotten. */
void replica_hint_for(struct replica *r, uint64_t slot, struct outbox *o);
/* Hint that @slot is decided, if it is and no hint that lasts has said so: true when it does now,
 * as the newest PERSIST. */
bool replica_remember(struct replica *r, uint64_t slot, struct outbox *o);
/* Forward what waits: at most SUBMITS_MAX commands. */
void replica_forward(struct replica *r, uint32_t leader, uint64_t now_ns, struct outbox *o);

#endif
