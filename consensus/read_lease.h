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

#include "consensus/configuration.h"
#include "consensus/outbox.h"
#include "consensus/paxos.h"
#include "consensus/pvalue_table.h"

#define READ_LEASE_NS (500 * NS_PER_MS)
#define READ_ASK_NS   (150 * NS_PER_MS) /* a holder renews this often */
/* A holder that made a decision wait for the end of its lease gets the next one after a pause,
 * which doubles from the one to the other; after PAUSE_FORGET_NS without such a wait it is new. */
#define READ_PAUSE_NS_MIN    (1 * NS_PER_S)
#define READ_PAUSE_NS_MAX    (60 * NS_PER_S)
#define READ_PAUSE_FORGET_NS (120 * NS_PER_S)
/* Who has kept a decision waiting for so long gets no renewal: it may ask on for ever. */
#define READ_PATIENCE_NS (50 * NS_PER_MS)

/* Acknowledged by a holder that will serve nothing any more. */
#define READ_ACKED_ALL UINT64_MAX

/* The holder's side. */
struct read_lease {
    uint64_t life;        /* of this process: an acknowledgement names it */
    struct ballot ballot; /* of the leader that granted it last */
    uint64_t until_ns;    /* 0: none */
    uint64_t bound;       /* serves nothing before this slot is applied */
    uint64_t ask_ns;      /* when to ask again */
    bool has_asked;       /* in this life: whoever never did holds nothing */
    bool is_over;         /* it will serve nothing any more in this life, and says so */

    struct ballot ack_ballot; /* of the p2as: the slots that it proposed through ... */
    uint64_t acked;           /* ... this one are held, or decided */
    bool ack_due;
};

void read_lease_init(struct read_lease *l, uint64_t life);
bool read_lease_is_valid(const struct read_lease *l, uint64_t now_ns);
void read_lease_drop(struct read_lease *l, struct outbox *o);
/* The node is about to leave: for the rest of this life it holds none. Without that all would wait
 * for the end of a lease whose holder is gone. */
void read_lease_end(struct read_lease *l, struct outbox *o);
void read_lease_on_tick(struct read_lease *l, uint64_t now_ns, struct outbox *o);
/* Ask member @leader, which leads with @ballot, when it is time. */
void read_lease_ask(struct read_lease *l, uint32_t leader, struct ballot ballot, uint64_t now_ns,
                    struct outbox *o);
/* From the leader followed. */
void read_lease_on_grant(struct read_lease *l, const struct message *m, uint64_t now_ns,
                         struct outbox *o);
void read_lease_on_p2a(struct read_lease *l, const struct message *m);
/* Acknowledge to member @leader, the one of `ack_ballot`, what is new: at most one SEND. */
void read_lease_acknowledge(struct read_lease *l, const struct pvalue_table *held, uint64_t decided,
                            uint32_t leader, struct outbox *o);

/* The leader's side: one for each seat. */
struct read_holder {
    uint64_t life;
    uint64_t until_ns;   /* it may hold a lease until then; 0: none */
    uint64_t acked;      /* slots <= acked at the leader's ballot are pending there, or applied */
    uint64_t waiting_ns; /* since when a decision waits for it; 0: none does */
    uint64_t pause_ns, paused_until_ns, delayed_ns; /* delayed_ns: when it last made one wait */
};

struct read_holders {
    struct read_holder at[MEMBERS_MAX];
    uint32_t out;           /* mask: until_ns is not 0 */
    uint64_t waited_out_ns; /* leases nobody can acknowledge for have ended by then: of former
                               lives, and of nodes without a seat */
};

void read_holders_clear(struct read_holders *h);
/* A former leader's. @seat: MEMBERS_MAX for a node that has none. */
void read_holders_inherit(struct read_holders *h, uint32_t seat, uint64_t life, uint64_t until_ns);
/* Another node has the seat now, or none. */
void read_holders_forget(struct read_holders *h, uint32_t seat);
bool read_holders_may_have(const struct read_holders *h, uint32_t seat, uint64_t now_ns);
/* Give or renew a lease that ends by @until_ns. Returns its length for the asker; 0: none, also
 * while the lease of a former life is out. */
uint64_t read_holders_grant(struct read_holders *h, uint32_t seat, uint64_t life, uint64_t until_ns,
                            uint64_t now_ns);
void read_holders_on_ack(struct read_holders *h, uint32_t seat, uint64_t life, uint64_t through,
                         uint64_t now_ns);
/* Nobody stands against the decision of @slot, which a majority accepted. */
bool read_holders_permit(struct read_holders *h, uint64_t slot, uint64_t now_ns, struct outbox *o);
/* Who holds one and has not acknowledged @slot. */
uint32_t read_holders_lacking(const struct read_holders *h, uint64_t slot, uint64_t now_ns);
/* When the last of them ends; 0: none is out. */
uint64_t read_holders_last_ns(const struct read_holders *h, uint64_t now_ns);
/* Those that are out, for a RELEASE: at most MEMBERS_MAX. @self: the leader's own seat. */
void read_holders_tell(const struct read_holders *h, const struct configuration *c, uint32_t self,
                       uint64_t now_ns, struct message *release, struct outbox *o);

#endif
