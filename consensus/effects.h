/* consensus/effects.h: what the core wants done, in order.
 *
 * The list owns one reference to each command in it and the arrays its messages point to, all until
 * effects_clear(); whoever performs an effect later takes a reference of its own. */
#ifndef CONSENSUS_EFFECTS_H
#define CONSENSUS_EFFECTS_H

#include "base/limits.h"
#include "consensus/message.h"

enum effect_kind {
    EFFECT_PERSIST,    /* append this record to the log; numbered */
    EFFECT_SEND,       /* to every member in a mask; may be lost */
    EFFECT_DECIDE,     /* slot decided; once per slot, in slot order */
    EFFECT_READ_READY, /* reads numbered <= read may be answered once `slot` is applied */
    EFFECT_FETCH, /* read decided slots first..last from the log and send `decisions` to a member */
    EFFECT_COLLECT, /* slots <= slot may leave the log */
    EFFECT_SNAPSHOT, /* no log holds the slots this node lacks: install a snapshot from a member,
                        then EVENT_INSTALLED. Repeated now and then while it is so */
    EFFECT_NOTE,    /* something an operator wants to read */
};

enum persist_kind {
    PERSIST_PROMISE,  /* ballot: promised, never to go back */
    PERSIST_ACCEPT,   /* pvalue: accepted at its ballot (implies the promise of that ballot) */
    PERSIST_DECISION, /* pvalue: a decided value that was fetched (ballot is bottom) */
    PERSIST_DECIDED,  /* slot: every slot <= it is decided as the log last holds it; a hint, for
                         which no message waits: unless it must last */
};

struct persist {
    enum persist_kind kind;
    uint64_t number;      /* 1, 2, ...: the log is written in this order */
    struct ballot ballot; /* PROMISE */
    uint64_t slot;        /* DECIDED */
    bool must_last;       /* DECIDED: sync it, a message waits for it */
    struct pvalue pvalue; /* ACCEPT, DECISION */
};

/* Members are named by their index in the configuration; node 0's bit is 1. */
struct send {
    uint32_t to;    /* mask of member indexes; the own index is a message to oneself, which is to be
                       delivered like any other */
    uint64_t after; /* leaves only once this PERSIST is durable; 0: at once */
    struct message message;
};

enum note_kind {
    NOTE_SUSPECT,    /* the failure detector gave the leader up */
    NOTE_CANDIDATE,  /* prevote won: scout for `ballot` starts */
    NOTE_LEADER,     /* this node became the leader: adopted, adopted slots not yet decided */
    NOTE_SERVING,    /* ... and may now answer reads */
    NOTE_PREEMPTED,  /* lost to `ballot` */
    NOTE_LEASE_LOST, /* own leader lease ran out without renewal */
    NOTE_FOLLOWING,  /* a leader with `ballot` is followed */
    NOTE_HANDOVER,   /* released to `ballot` */
    NOTE_BEHIND,     /* fetching from slot `slot` */
    NOTE_CAUGHT_UP,
    NOTE_CONFIGURED,   /* the voters change at slot `slot` */
    NOTE_LEFT,         /* this node has no seat any more */
    NOTE_READ_LEASE,   /* this node holds a read lease of `ballot`, from slot `slot` on */
    NOTE_READ_LEASE_LOST,
    NOTE_HOLDER_WAITED_OUT, /* leader: a decision waited for the end of a lease; `slot` is the seat */
};

struct note {
    enum note_kind kind;
    struct ballot ballot;
    uint64_t slot;
};

struct effect {
    enum effect_kind kind;
    union {
        struct persist persist;
        struct send send;
        struct pvalue decide;
        struct {
            uint64_t read, slot;
        } read_ready;
        struct {
            uint32_t to;    /* member index */
            uint64_t after; /* read the log only once this PERSIST is durable: until then the log's
                               last value of such a slot may be a vote that lost */
            uint64_t first, last;
        } fetch;
        struct {
            uint64_t slot;
        } collect;
        struct {
            uint32_t from; /* a member that has it */
        } snapshot;
        struct note note;
    };
};

enum {
    EFFECTS_PER_STEP_MAX = 2048, /* >= SLOTS_HELD_MAX DECIDEs, a page of PERSISTs, and the SENDs */
    EFFECTS_PVALUES_MAX = 4096,
    EFFECTS_HOLDERS_MAX = 8 * MEMBERS_MAX,
};

struct effects {
    uint32_t count;
    struct effect list[EFFECTS_PER_STEP_MAX];
    uint32_t pvalue_count, slot_count, command_count; /* arena use */
    struct pvalue pvalues[EFFECTS_PVALUES_MAX];
    uint64_t slots[EFFECTS_PVALUES_MAX];
    struct command *commands[SUBMITS_MAX];
    uint32_t holder_count;
    struct holder holders[EFFECTS_HOLDERS_MAX];
};

void effects_init(struct effects *e);
/* Forget all effects and drop their references. */
void effects_clear(struct effects *e);

#endif
