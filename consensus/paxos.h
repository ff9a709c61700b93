/* consensus/paxos.h: one Paxos node: acceptor, leader and replica in one state machine.
 *
 * Source: PMMC (Van Renesse & Altinbuken 2015), collocated roles (§4.4), state reduction (§4.1),
 * garbage collection (§4.2), stable storage (§4.3), read-only commands (§4.5), leases and failure
 * detection (§3, §4.5). Departures are listed in docs/PROTOCOL.md.
 * Pure: no I/O, clock, allocation or randomness. Owned by the loop thread, or by the simulator. */
#ifndef CONSENSUS_PAXOS_H
#define CONSENSUS_PAXOS_H

#include "consensus/configuration.h"
#include "consensus/effects.h"

/* Timing; all in nanoseconds of the event's clock. */
#define LEASE_NS                                                                                   \
    (1000 * NS_PER_MS)             /* leader lease, from the heartbeat's send (leader) or receipt */
#define CLOCK_RATE_ERROR_PERCENT 1 /* bound on how much faster one clock runs than another */
#define HEARTBEAT_NS             (100 * NS_PER_MS)
#define SUSPECT_NS_MIN           (300 * NS_PER_MS) /* failure detector's timeout: AIMD between these */
#define SUSPECT_NS_MAX           (900 * NS_PER_MS)
#define STUCK_NS                 (1000 * NS_PER_MS) /* a node that applies nothing for so long does not lead */
#define RETRY_NS                 (250 * NS_PER_MS) /* before an unanswered request or page is sent again */

struct paxos_config {
    struct configuration configuration; /* as of the last applied slot */
    uint64_t node;                      /* own id; it has a seat */
    uint64_t life;                      /* of this process: no other life of the node has it */
    uint64_t seed;                      /* of the jitter */
    bool is_blank; /* the store holds no state at all, not even the first: install a snapshot */
};

/* What the log and the store remember, for paxos_init(). */
struct paxos_recovered {
    struct ballot promised;
    uint64_t applied;      /* the store holds every slot <= this; all of them are decided */
    uint64_t checkpointed; /* ... durably */
    uint64_t time_ns;      /* time of the last applied slot */
    uint32_t count;        /* accepted pvalues above applied, one per slot, any order */
    const struct pvalue *accepted;
};

enum event_kind {
    EVENT_TICK,    /* time passed; at least every 20 ms */
    EVENT_MESSAGE, /* from a member, oneself included */
    EVENT_SUBMIT,  /* an own client's command: keep it until it is decided, propose or forward it */
    EVENT_READ,    /* an own client wants to read: number `read`, growing by one */
    EVENT_APPLIED, /* the store applied every slot <= `applied`, durably every one <=
                      `checkpointed`. A checkpoint is durable only after the log is, with all those
                      slots' records: or nobody may be left who can tell another node what was
                      decided there */
    EVENT_FLUSH,   /* end of a batch of events: send what was gathered (p2a, p2b, decided, ...) */
    EVENT_HANDOVER, /* give the leadership to the best other voter, if one can take it */
    EVENT_CONFIGURE, /* the membership changed in a slot that the store applied. Before the
                        EVENT_APPLIED that covers that slot: the leader proposes up to WINDOW slots
                        beyond what is applied, and must know who governs them */
    EVENT_INSTALLED, /* the store holds a snapshot: every slot <= `slot`, durably */
};

struct event {
    enum event_kind kind;
    uint64_t now_ns;  /* never goes back; CLOCK_BOOTTIME */
    uint64_t wall_ns; /* CLOCK_REALTIME; may do anything */
    union {
        struct {
            uint32_t from;                 /* seat */
            const struct message *message; /* borrowed; command references are taken as needed */
        } message;
        struct command *submit; /* borrowed; node == own id; never refused if fewer than SUBMITS_MAX
                                   are undecided (the caller counts) */
        uint64_t read;
        struct {
            uint64_t applied, checkpointed;
        } applied;
        const struct configuration *configure; /* borrowed */
        struct {
            uint64_t slot, time_ns; /* time of that slot */
            const struct configuration *configuration; /* as of it; borrowed */
        } installed;
    };
};

struct paxos;

/* Bytes of a struct paxos, for the caller to allocate. */
uint64_t paxos_size(void);

/* @memory: paxos_size() bytes, zeroed. A restarted acceptor answers no p1a until a whole lease has
 * passed after @now_ns; @fresh: this node never voted in any former life (no such silence). */
struct paxos *paxos_init(void *memory, const struct paxos_config *config,
                         const struct paxos_recovered *recovered, bool fresh, uint64_t now_ns);
void paxos_deinit(struct paxos *p);

/**
 * Tell @p about @event; append to @out what must now be done. PERSISTs are numbered; a SEND marked
 * `after n` leaves this machine only once PERSIST n is durable, others at once. DECIDE comes once
 * per slot, in slot order. Cannot fail and does not allocate: @out, cleared before each step, has
 * room.
 */
void paxos_step(struct paxos *p, const struct event *event, struct effects *out);

enum paxos_role { ROLE_FOLLOWER, ROLE_CANDIDATE, ROLE_LEADER };

/* What status and the local read path want to know; consistent between steps. */
struct paxos_view {
    enum paxos_role role;
    struct ballot ballot; /* the highest seen to lead: own when leader */
    uint64_t leader;      /* node id of the leader followed, 0: none known */
    struct ballot promised;
    uint64_t decided; /* in order, known here (slot_out - 1 of the paper) */
    uint64_t applied;
    uint64_t slot_in;          /* leader: next slot to propose */
    uint64_t serving_until_ns; /* leader that may answer reads from `decided` until then; else 0 */
    uint64_t collect_through;
    uint32_t submits; /* own commands not yet decided */
    uint32_t slots_held;
    uint64_t bytes_held;
    struct configuration configuration;
    bool needs_snapshot;
    struct { /* read lease held here */
        uint64_t until_ns; /* 0: none */
        uint64_t bound;    /* nothing is to be served before this slot is applied */
    } lease;
    struct { /* by seat */
        uint64_t decided, checkpointed; /* as last told in a heartbeat answer; leader only */
        uint64_t heard_ns;              /* when anything last came from it; 0 never */
        uint64_t lease_until_ns;        /* leader only: it may hold a read lease until then */
    } members[MEMBERS_MAX];
};

void paxos_view(const struct paxos *p, struct paxos_view *view);

#endif
