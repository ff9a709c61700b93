/* consensus/acceptor.h: the fault-tolerant memory of Paxos.
 *
 * Source: PMMC §2.2, Fig. 4 (invariants A1-A5); per slot only the latest pvalue is kept (§4.1), and
 * none for slots this node knows to be decided (§4.2). Departures: a p1b comes in pages; a promise
 * may be refused for a while by a leader lease. Pure. */
#ifndef CONSENSUS_ACCEPTOR_H
#define CONSENSUS_ACCEPTOR_H

#include "consensus/lease.h"
#include "consensus/outbox.h"
#include "consensus/pvalue_table.h"

struct acceptor {
    struct ballot promised; /* highest ballot adopted; never goes down (A1); durable by PERSIST */
    struct pvalue_table *held; /* accepted; slots <= decided may hold the decided value instead */
    struct lease_given lease;
    uint64_t silent_until_ns; /* after a restart: whom this node gave a lease is forgotten */

    uint64_t first_persist; /* number of the first PERSIST ever; 0: of a former life */

    /* p2b answers gathered until the flush, all for one ballot. */
    struct ballot answer_ballot;
    uint32_t answer_count;
    uint64_t answers[SLOTS_HELD_MAX];
};

void acceptor_init(struct acceptor *a, struct pvalue_table *held, struct ballot promised,
                   uint64_t silent_until_ns);

/* Would @ballot be promised now? Changes nothing. */
bool acceptor_would_promise(const struct acceptor *a, struct ballot ballot, uint64_t now_ns);
/* Promise @ballot, if nothing speaks against it; one PERSIST. */
bool acceptor_promise(struct acceptor *a, struct ballot ballot, uint64_t now_ns, struct outbox *o);

/* @from: seat of the candidate. @decided: slots <= it are decided as far as this node
 * knows, in order, and are not reported. Answers at most one page; silence is an answer that is to
 * come. */
void acceptor_on_p1a(struct acceptor *a, uint32_t from, const struct message *m, uint64_t decided,
                     uint64_t now_ns, struct outbox *o);
/* Accept what fits; the p2b waits for the flush. @out gains at most ENTRIES_MAX PERSISTs and a
 * SEND. */
void acceptor_on_p2a(struct acceptor *a, uint32_t from, const struct message *m, uint64_t decided,
                     struct outbox *o);
/* Whether a lease was given to the heartbeat's ballot. The answer leaves after `first_persist`: a
 * node that gave a lease must not come back as one that never voted, and so not keep silent. */
bool acceptor_on_heartbeat(struct acceptor *a, struct ballot ballot, uint64_t now_ns,
                           struct outbox *o);

/* Send the gathered p2bs to member @leader: at most SLOTS_HELD_MAX / ENTRIES_MAX messages. */
void acceptor_flush(struct acceptor *a, uint32_t leader, struct outbox *o);

#endif
