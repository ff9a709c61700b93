/* consensus/scout.h: wins phase 1 for one ballot (PMMC §2.3, Fig. 6(a)).
 *
 * Departures: before it takes a ballot the candidate asks who would promise it (prevote), which
 * changes nothing; the answers to its p1a come in pages. Pure. */
#ifndef CONSENSUS_SCOUT_H
#define CONSENSUS_SCOUT_H

#include "consensus/outbox.h"
#include "consensus/paxos.h"
#include "consensus/pvalue_table.h"

#define SCOUT_RETRY_NS (50 * NS_PER_MS) /* an election is short; its messages are small */

enum scout_phase { SCOUT_IDLE, SCOUT_PREVOTE, SCOUT_PHASE1 };

struct scout {
    enum scout_phase phase;
    uint32_t member_count;
    struct ballot ballot;
    uint64_t started_ns, retry_ns;
    uint32_t prevotes;            /* mask: would promise */
    uint32_t done;                /* mask: promised and reported all pages */
    uint64_t wanted[MEMBERS_MAX]; /* first slot of the page each is to send next */
    uint64_t collected;           /* largest reported: slots <= it are decided */
    uint32_t collected_by;        /* by whom */
    struct pvalue_table *pmax;    /* per slot the reported pvalue of the highest ballot */
};

enum scout_verdict { SCOUT_GOES_ON, SCOUT_WON, SCOUT_LOST };

void scout_init(struct scout *s, struct pvalue_table *pmax, uint32_t member_count);
void scout_stop(struct scout *s);

/* Ask everyone whether they would promise @ballot to a node that knows what was decided through
 * @decided; may be repeated with another. */
void scout_prevote(struct scout *s, struct ballot ballot, uint64_t decided, uint64_t now_ns,
                   struct outbox *o);
/* WON when a majority would promise. */
enum scout_verdict scout_on_prevote_ack(struct scout *s, uint32_t from, const struct message *m);

/* Phase 1 for @ballot, which the own acceptor has promised in this step or before. @decided: slots
 * <= it need no report. */
void scout_begin(struct scout *s, struct ballot ballot, uint64_t decided, uint64_t now_ns,
                 struct outbox *o);
/* WON (adopted) when a majority promised and reported; LOST (preempted) to @m->p1b.promised. */
enum scout_verdict scout_on_p1b(struct scout *s, uint32_t from, const struct message *m,
                                struct outbox *o);
/* Ask again whoever has not answered. */
void scout_on_tick(struct scout *s, uint64_t now_ns, struct outbox *o);

#endif
