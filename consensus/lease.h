/* consensus/lease.h: the leader lease (PMMC §4.5; DESIGN "Election"; proved in model/leases.py).
 *
 * An acceptor that gave a lease promises no other ballot until it ends. One at a time, to one
 * ballot, counted by the acceptor from the receipt of the heartbeat and by the leader from its
 * sending; each side allows for the other's clock rate. Pure. */
#ifndef CONSENSUS_LEASE_H
#define CONSENSUS_LEASE_H

#include "base/limits.h"
#include "consensus/message.h"
#include "consensus/paxos.h"

#define LEASE_GIVEN_NS   (LEASE_NS / 100 * (100 + CLOCK_RATE_ERROR_PERCENT))
#define LEASE_COUNTED_NS (LEASE_NS / 100 * (100 - CLOCK_RATE_ERROR_PERCENT))

/* @ns of another node's clock, on the safe side when this node waits for its end. */
static inline uint64_t lease_waited_ns(uint64_t ns)
{
    return ns + ns / 100 * CLOCK_RATE_ERROR_PERCENT + 100;
}

/* ... of a read lease that a message tells of. None runs for longer than a leader's lease: one bad
 * message must not make all decisions wait, and be handed on from leader to leader. */
static inline uint64_t lease_told_ns(uint64_t left_ns)
{
    return lease_waited_ns(left_ns < LEASE_NS ? left_ns : LEASE_NS);
}

/* A read lease that is out, until when by this node's clock. */
struct lease_reader {
    uint64_t node, life, until_ns;
};

/* The acceptor's side. Not durable: a restarted acceptor is silent instead. */
struct lease_given {
    struct ballot ballot; /* bottom: never given */
    uint64_t until_ns;
    bool released;           /* its leader gave it up ... */
    struct ballot successor; /* ... in favour of this ballot, or any higher one, ... */
    uint32_t reader_count;   /* ... which must respect the read leases that were out */
    struct lease_reader readers[MEMBERS_MAX];
};

/* May a ballot other than the lease's be promised, as far as the lease goes? */
bool lease_permits(const struct lease_given *l, struct ballot ballot, uint64_t now_ns);
/* Give or renew; false when another ballot's lease is still running. */
bool lease_give(struct lease_given *l, struct ballot ballot, uint64_t now_ns);
void lease_release(struct lease_given *l, const struct message *m, uint64_t now_ns);
/* It was released and would still run: a promise now comes early. */
bool lease_is_released(const struct lease_given *l, uint64_t now_ns);

/* The leader's side. */
struct lease_held {
    uint64_t until_ns[MEMBERS_MAX];
};

void lease_reset(struct lease_held *l);
/* The heartbeat sent at @sent_ns was granted by @member. */
void lease_granted(struct lease_held *l, uint32_t member, uint64_t sent_ns);
void lease_forget(struct lease_held *l, uint32_t member);
/* Until when the leases of a majority of @voters run. */
uint64_t lease_majority_until_ns(const struct lease_held *l, uint32_t voters);

#endif
