/* consensus/scout.h: wins phase 1 for one ballot (PMMC §2.3, Fig. 6(a)).
 *
 * Departures: before it takes a ballot the candidate asks who would promise it (prevote), which
 * changes nothing; the answers to its p1a come in pages. Pure. */
#ifndef CONSENSUS_SCOUT_H
#define CONSENSUS_SCOUT_H

#include "consensus/configuration.h"
#include "consensus/lease.h"
#include "consensus/outbox.h"
#include "consensus/paxos.h"
#include "consensus/pvalue_table.h"

#define SCOUT_RETRY_NS (50 * NS_PER_MS) /* an election is short; its messages are small */

enum scout_phase {
    SCOUT_IDLE,
    SCOUT_PREVOTE,
    SCOUT_PHASE1,
    SCOUT_LEADING, /* won: goes on towards voters that are to come */
};

struct scout {
    enum scout_phase phase;
    struct ballot ballot;
    uint64_t started_ns, retry_ns;
    uint32_t prevotes;            /* mask: would promise */
    uint32_t done;                /* mask: promised and reported all pages */
    uint64_t wanted[MEMBERS_MAX]; /* first slot of the page each is to send next; 0: not asked */
    uint64_t collected;           /* largest reported: slots <= it are decided */
    uint32_t collected_by;        /* by whom */
    struct pvalue_table *pmax;    /* per slot the reported pvalue of the highest ballot */
    uint64_t proposed;            /* leading: slots <= it are proposed, reports come too late */
    uint64_t reported;            /* highest slot put into pmax */
    /* Read leases that acceptors which promised early tell of; the latest end of each. */
    uint32_t reader_count;
    struct lease_reader readers[MEMBERS_MAX];
    uint64_t readers_until_ns; /* of those there was no room for */
};

enum scout_verdict { SCOUT_GOES_ON, SCOUT_WON, SCOUT_LOST };

void scout_init(struct scout *s, struct pvalue_table *pmax);
void scout_stop(struct scout *s);
/* It won: pmax is the leader's now. */
void scout_go_on(struct scout *s);
/* Another node has the seat now, or none. */
void scout_forget(struct scout *s, uint32_t member);

/* Ask everyone whether they would promise @ballot to a node that knows what was decided through
 * @decided; may be repeated with another. */
void scout_prevote(struct scout *s, struct ballot ballot, uint64_t decided, uint64_t now_ns,
                   struct outbox *o);
/* WON when a majority, of every configuration in play, would promise. */
enum scout_verdict scout_on_prevote_ack(struct scout *s, uint32_t from, const struct message *m,
                                        const struct in_play *play);

/* Phase 1 for @ballot, which the own acceptor has promised in this step or before. @decided: slots
 * <= it need no report. */
void scout_begin(struct scout *s, struct ballot ballot, uint64_t decided, uint64_t now_ns,
                 struct outbox *o);
/* WON (adopted) when a majority, of every configuration in play, promised and reported; LOST
 * (preempted) to @m->p1b.promised. */
enum scout_verdict scout_on_p1b(struct scout *s, uint32_t from, const struct message *m,
                                const struct in_play *play, uint64_t now_ns, struct outbox *o);
/* Ask again whoever has not answered; while leading only if their answers are needed. */
void scout_on_tick(struct scout *s, const struct in_play *play, uint64_t now_ns, struct outbox *o);

#endif
