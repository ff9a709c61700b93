/* consensus/message.h: what nodes say to each other. See docs/PROTOCOL.md for what is durable when.
 *
 * A message is a view: its arrays belong to whoever made it (the step's effects, or the decoder)
 * and live until that is cleared. Messages may be lost, repeated and reordered. */
#ifndef CONSENSUS_MESSAGE_H
#define CONSENSUS_MESSAGE_H

#include "consensus/pvalue.h"

enum message_kind {
    MESSAGE_PREVOTE, /* candidate: would you promise this ballot? changes nothing */
    MESSAGE_PREVOTE_ACK,
    MESSAGE_P1A, /* scout, one page */
    MESSAGE_P1B,
    MESSAGE_P2A, /* commanders, many slots */
    MESSAGE_P2B,
    MESSAGE_DECIDED,   /* leader: decided through this slot, for those who hold the pvalues */
    MESSAGE_HEARTBEAT, /* leader: asks for the leader lease; failure detector */
    MESSAGE_HEARTBEAT_ACK,
    MESSAGE_SUBMIT, /* replica to leader: commands to propose */
    MESSAGE_READ,   /* replica to leader: read index, please */
    MESSAGE_READ_ACK,
    MESSAGE_FETCH, /* decided values of slots first..last, please */
    MESSAGE_DECISIONS,
    MESSAGE_RELEASE, /* leader gives up: its lease no longer binds from `successor` on */
    MESSAGE_LEASE_ASK, /* member to leader: a read lease, please (read_lease.h) */
    MESSAGE_LEASE_GRANT,
    MESSAGE_LEASE_ACK, /* holder to leader: what was proposed is pending here */
    MESSAGE_KIND_COUNT
};

/* A read lease that is out. */
struct holder {
    uint64_t node, life;
    uint64_t left_ns; /* at the sending, by the sender's clock: it ends no later */
};

struct message {
    enum message_kind kind;
    union {
        struct {
            struct ballot ballot; /* the ballot the candidate would take */
            uint64_t decided;     /* in order, known to the candidate */
        } prevote;
        struct {
            struct ballot ballot;   /* as asked */
            struct ballot promised; /* of the answering acceptor */
            uint64_t decided;       /* in order, known there: the candidate fetches it */
            bool would_promise;
        } prevote_ack;
        struct {
            struct ballot ballot;
            uint64_t slot_first; /* pvalues from here on, please */
        } p1a;
        struct {
            struct ballot asked;    /* the p1a's ballot */
            struct ballot promised; /* held now; higher than asked is pre-emption */
            uint64_t slot_first;    /* as asked */
            uint64_t collected;     /* all slots <= this are decided and no longer reported here: a
                                       candidate catches up to it before it proposes */
            uint64_t slot_next;     /* next page starts here; 0: this was the last page */
            uint32_t count;         /* <= ENTRIES_MAX */
            struct pvalue *pvalues;
            /* Promised while the lease of a leader that has released it would still run: the read
             * leases that leader had out, which the candidate must respect. */
            uint32_t holder_count; /* <= MEMBERS_MAX */
            struct holder *holders;
        } p1b;
        struct {
            struct ballot ballot;     /* of every entry; entries' own ballot field is the same */
            uint64_t decided_through; /* as in decided */
            uint32_t count;           /* 1..ENTRIES_MAX */
            struct pvalue *pvalues;
        } p2a;
        struct {
            struct ballot asked;    /* the p2a's ballot */
            struct ballot promised; /* held now; higher than asked is pre-emption */
            uint32_t count;         /* slots accepted, <= ENTRIES_MAX; 0 with pre-emption */
            uint64_t *slots;
        } p2b;
        struct {
            struct ballot ballot;
            uint64_t through; /* slots <= through that one holds at a ballot >= ballot are decided
                                 as held; others are fetched */
        } decided;
        struct {
            struct ballot ballot;
            uint64_t sent_ns; /* leader's clock; echoed */
            uint64_t decided_through;
            uint64_t collect_through; /* every member's durable checkpoint covers it */
        } heartbeat;
        struct {
            struct ballot ballot; /* the heartbeat's */
            struct ballot promised;
            uint64_t sent_ns;         /* echoed */
            bool granted;             /* a lease of LEASE_NS from the receipt was given */
            uint64_t decided_through; /* in order, known here; below applied + WINDOW */
            uint64_t checkpointed;    /* covered by the own durable checkpoint */
            uint64_t wall_ns;         /* own wall clock, for the leader's bound on time */
        } heartbeat_ack;
        struct {
            uint32_t count; /* 1..ENTRIES_MAX */
            struct command **commands;
        } submit;
        struct {
            uint64_t id; /* of the asker; grows */
        } read;
        struct {
            uint64_t id;
            uint64_t slot; /* the read index: apply through here, then read */
            bool ok;       /* false: not a leader that may serve reads; ask another, later */
        } read_ack;
        struct {
            uint64_t first, last;
        } fetch;
        struct {
            uint64_t slot_first; /* the sender's log gives no slot below; 0: it has them all */
            uint32_t count; /* decided values, ascending slots; ballots are bottom */
            struct pvalue *pvalues;
        } decisions;
        struct {
            struct ballot ballot;    /* the leader's, given up */
            struct ballot successor; /* may be promised at once, as may any higher one */
            uint32_t holder_count;   /* <= MEMBERS_MAX: the read leases still out */
            struct holder *holders;
        } release;
        struct {
            struct ballot ballot; /* of the leader asked */
            uint64_t life;        /* of the asking process */
            uint64_t sent_ns;     /* the asker's clock; echoed */
        } lease_ask;
        struct {
            struct ballot ballot;
            uint64_t life, sent_ns; /* echoed */
            uint64_t left_ns;       /* from sent_ns on */
            uint64_t bound;         /* highest slot proposed or adopted */
        } lease_grant;
        struct {
            struct ballot ballot; /* of the p2as */
            uint64_t life;
            uint64_t through; /* every slot <= through proposed at the ballot is pending here, or
                                 known to be decided */
        } lease_ack;
    };
};

#endif
