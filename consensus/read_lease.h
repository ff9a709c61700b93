/* consensus/read_lease.h: reads from the own store without a message (DESIGN §7 stage 2; proved in
 * tests/model/leases.py).
 *
 * The leader grants a lease to any member that asks; it ends no later than the leader's own. A slot
 * counts as decided only when a majority accepted it and every holder has acknowledged its p2a, or
 * that holder's lease has run out. Before a holder acknowledges, what the p2a touches is pending
 * there: reads of it wait. So nobody sees the new value while a holder can still serve the old one.
 *
 * All arithmetic uses the asker's send time; each side allows for the other's clock rate. Pure. */
#ifndef CONSENSUS_READ_LEASE_H
#define CONSENSUS_READ_LEASE_H

#include "consensus/message.h"
#include "consensus/paxos.h"

#define READ_LEASE_NS (500 * NS_PER_MS)
#define READ_ASK_NS   (150 * NS_PER_MS) /* a holder renews this often */
/* A holder that made a decision wait for the end of its lease gets the next one after a pause,
 * which doubles from the one to the other; after PAUSE_FORGET_NS without such a wait it is new. */
#define READ_PAUSE_NS_MIN    (1 * NS_PER_S)
#define READ_PAUSE_NS_MAX    (60 * NS_PER_S)
#define READ_PAUSE_FORGET_NS (120 * NS_PER_S)

/* The holder's side. */
struct read_lease {
    uint64_t life;          /* of this process: an acknowledgement names it */
    struct ballot ballot;   /* of the leader that granted it last */
    uint64_t until_ns;      /* 0: none */
    uint64_t bound;         /* serves nothing before this slot is applied */
    uint64_t ask_ns;        /* when to ask again */
    struct ballot ack_ballot; /* every slot decided or held at this ballot through ... */
    uint64_t acked;           /* ... this one has been acknowledged */
    bool ack_due;
};

/* The leader's side: one for each seat. */
struct read_holder {
    uint64_t life;
    uint64_t until_ns; /* it may hold a lease until then; 0: none */
    uint64_t acked;    /* slots <= acked at the leader's ballot are pending there, or applied */
    uint64_t pause_ns, paused_until_ns, delayed_ns; /* delayed_ns: when it last made one wait */
};

#endif
