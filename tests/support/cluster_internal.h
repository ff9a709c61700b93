/* tests/support/cluster_internal.h: what the files of cluster_sim share. */
#ifndef SUPPORT_CLUSTER_INTERNAL_H
#define SUPPORT_CLUSTER_INTERNAL_H

#include "tests/support/cluster_sim.h"
#include "tests/support/machine.h"

#define NODE_ID_FIRST UINT64_C(101) /* of index 0 */

/* A message on its way, with everything it points to. */
struct packet {
    uint32_t refs;
    struct message message;
    struct pvalue pvalues[];
};

enum sim_kind {
    SIM_DELIVER,
    SIM_TICK,
    SIM_FLUSH,
    SIM_SYNCED,
    SIM_APPLY,
    SIM_CLIENT,
    SIM_INSTALL, /* a snapshot has come */
    SIM_STOP,    /* a member no more */
};

struct sim_event {
    uint64_t at_ns, order; /* in this order */
    enum sim_kind kind;
    uint32_t node, from;
    uint32_t life; /* of the node; other lives' timers are void */
    struct packet *packet;
};

enum call_state { CALL_OPEN, CALL_DONE, CALL_LOST };

struct call {
    uint32_t node, life;
    uint32_t counter;
    bool is_read;
    enum call_state state;
    struct machine_change change; /* unless it is a read */
    uint64_t number;              /* sequence of a command, number of a read */
    uint64_t floor;               /* the counter when it began: the least it may answer */
    uint64_t value;
    uint32_t applied; /* times, as new: at most once */
};

/* An effect that waits for the disk: a message, or a fetch. */
struct held_effect {
    uint64_t after;
    uint32_t to;           /* mask of indexes of nodes, not of seats */
    struct packet *packet; /* NULL: a fetch */
    uint64_t first, last;
};

#define VECTOR(type)                                                                               \
    struct {                                                                                       \
        type *at;                                                                                  \
        size_t count, room;                                                                        \
    }

void *vector_grow(void *at, size_t *room, size_t count, size_t size);
#define vector_push(v, value)                                                                      \
    do {                                                                                           \
        (v)->at = vector_grow((v)->at, &(v)->room, (v)->count, sizeof *(v)->at);                   \
        (v)->at[(v)->count++] = (value);                                                           \
    } while (0)

/* The log holds all of @slot from record @records on. */
struct logged {
    uint64_t slot;
    size_t records;
};

/* Reads numbered <= read may be answered once `slot` is applied. */
struct read_index {
    uint64_t read, slot;
};

enum { BEATS_KEPT = 32 }; /* an answer may wait for the disk while others come */

struct sim_node {
    uint32_t index, life;
    uint64_t id;
    bool up;
    bool is_joiner;              /* not of those the cluster began with */
    bool is_leaving;             /* the core said so, or a peer: it stops */
    bool is_gone;                /* stopped for ever, or its host is lost */
    struct configuration seats;  /* as the core knows it: masks are of these */
    struct configuration joined; /* what a joiner was told: until it has a snapshot */
    uint64_t paused_until_ns;
    struct paxos *paxos;
    bool flush_pending, apply_pending;

    int64_t rate_ppm;
    uint64_t clock_offset_ns;
    int64_t wall_offset_ns;

    /* disk */
    VECTOR(struct persist) log;
    VECTOR(size_t)
    last_of_slot;            /* 1 + index of the last durable pvalue record of the slot; 0 none */
    size_t durable, syncing; /* records; of the sync under way */
    bool is_syncing;
    size_t life_base; /* records before this life's PERSIST 1 */
    uint64_t slow_sync_ns;
    uint64_t collected;
    VECTOR(struct held_effect) held;

    /* store */
    struct machine machine;
    VECTOR(struct command *) pending; /* by slot: held and not yet applied; NULL: none */
    bool is_installing;
    uint32_t donor;                       /* index */
    uint64_t hung_until_ns;               /* applies nothing */
    struct machine_image checkpoint;      /* durable */
    struct machine_image next_checkpoint; /* once the log is durable through next_records */
    size_t next_records;                  /* 0: none under way */
    VECTOR(struct pvalue) decided;        /* not yet applied: from decided_first on */
    size_t decided_first;
    VECTOR(struct logged)
    untold;        /* decided; the core hears that it is applied once the log has it */
    uint64_t told; /* applied, as the core knows */

    /* client */
    uint64_t epoch, sequence, reads;
    uint64_t ended; /* epoch that has expired, as this client knows */
    bool is_opening;
    uint64_t keeper_call; /* the leader's care for the members: one at a time */
    uint64_t keeper_ns, leads_since_ns;
    VECTOR(uint64_t) open; /* calls under way */
    uint64_t read_ready;
    VECTOR(struct read_index) indexes; /* not yet reached */

    /* what others were told: never to be forgotten */
    struct ballot promised_sent;
    struct ballot promised_seen;
    VECTOR(struct ballot) voted; /* by slot */
    uint64_t decided_seen;

    uint64_t leaderless_ns; /* since when its core knows no leader; 0: it does */

    /* see cluster_observer.c */
    uint64_t decided_told; /* to a leader */
    struct ballot scouted;
    uint32_t reported;      /* mask of indexes: whose last page for `scouted` has come */
    struct ballot led_by;   /* of the p2as that have come: the highest */
    struct ballot released; /* the highest whose RELEASE came */
    struct ballot bound_to; /* the leader lease it gave last, by its own clock */
    uint64_t bound_until_ns;
    struct {
        uint64_t sent_ns, ns;
    } beats[BEATS_KEPT]; /* heartbeats that came: the leader's clock, the own one; newest last */
};

enum { TALLIES = 4 };

/* Who accepted a slot at a ballot, as its leader has heard. */
struct tally {
    struct ballot ballot;
    uint32_t nodes; /* mask of indexes */
};

/* What was proposed for a slot at a ballot. */
struct proposal {
    struct ballot ballot;
    struct command *command; /* NULL: not known */
    uint32_t voted;          /* mask of indexes */
};

struct slot_record {
    struct tally tallies[TALLIES];
    struct proposal proposals[TALLIES];
    struct proposal chosen; /* by a majority's votes, at the lowest ballot */
    struct pvalue decided;  /* command NULL: not yet */
    bool is_applied;
    uint64_t hash;
};

/* These voters govern the slots from `from` on. */
struct governing {
    uint64_t from;
    uint32_t voters; /* mask of indexes of nodes */
};

enum join_stage { JOIN_NONE, JOIN_INVITE, JOIN_COME, JOIN_GIVEN_UP, JOIN_DONE };

/* A node on its way in: a member puts its invitation, then its coming into the log. */
struct joining {
    enum join_stage stage;
    uint32_t via;  /* index of that member */
    uint64_t call; /* 0: none */
    uint64_t replaces;
};

struct cluster {
    struct cluster_options options;
    uint32_t count; /* of nodes that ever were; those who join come behind */
    struct prng prng;
    uint64_t now_ns, order, steps;
    char failure[512];
    VECTOR(struct sim_event) heap;
    struct sim_node nodes[MEMBERS_MAX];
    bool cut[MEMBERS_MAX][MEMBERS_MAX];
    struct effects *effects;
    bool (*drop)(void *context, uint32_t from, uint32_t to, const struct message *m);
    void *drop_context;
    uint64_t (*late)(void *context, uint32_t from, uint32_t to, const struct message *m);
    void *late_context;
    uint64_t sent[MESSAGE_KIND_COUNT];
    bool clients_stopped;
    struct joining joining[MEMBERS_MAX]; /* by index of the node to come */
    VECTOR(struct governing) governing;
    uint64_t expired[MEMBERS_MAX]; /* the last epoch of each node that was ended from outside */
    struct cluster_counts counts;

    VECTOR(struct call) calls; /* id = 1 + index */
    uint64_t calls_done;
    VECTOR(struct slot_record) slots;
    uint64_t decided_max;
    uint64_t floor[MACHINE_COUNTERS];

    VECTOR(char *) trace;
    size_t trace_next;
};

/* cluster_sim.c */
void cluster_schedule(struct cluster *c, uint64_t in_ns, enum sim_kind kind, struct sim_node *n);
uint32_t cluster_new_node(struct cluster *c); /* not up yet; MEMBERS_MAX: no more */
void cluster_transmit(struct cluster *c, struct sim_node *from, uint32_t to, struct packet *packet);
struct packet *packet_new(const struct message *m);
void packet_unref(struct packet *p);
void cluster_trace(struct cluster *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
uint64_t cluster_between(struct cluster *c, uint64_t low, uint64_t high);

/* cluster_node.c */
void node_boot(struct cluster *c, struct sim_node *n);
void node_crash(struct cluster *c, struct sim_node *n);
void node_deinit(struct sim_node *n);
void node_step(struct cluster *c, struct sim_node *n, struct event *event);
void node_on_flush(struct cluster *c, struct sim_node *n);
void node_on_synced(struct cluster *c, struct sim_node *n);
void node_on_apply(struct cluster *c, struct sim_node *n);
void node_fetch_snapshot(struct cluster *c, struct sim_node *n, uint32_t donor);
void node_on_installed(struct cluster *c, struct sim_node *n);
/* What it holds for @slot and has not applied; NULL: nothing. */
const struct command *node_pending(const struct sim_node *n, uint64_t slot);
bool node_is_blank(const struct sim_node *n);
uint64_t node_clock_ns(const struct cluster *c, const struct sim_node *n);

/* cluster_client.c */
void client_open(struct cluster *c, struct sim_node *n);
void client_on_timer(struct cluster *c, struct sim_node *n);
void client_on_crash(struct cluster *c, struct sim_node *n);
void client_on_applied(struct cluster *c, struct sim_node *n, const struct pvalue *p,
                       struct machine_result r);
void client_on_read_ready(struct cluster *c, struct sim_node *n, uint64_t read, uint64_t slot);
void client_on_slot(struct cluster *c, struct sim_node *n);
uint64_t client_increment(struct cluster *c, struct sim_node *n, uint32_t counter);
uint64_t client_read(struct cluster *c, struct sim_node *n, uint32_t counter);
uint64_t client_change(struct cluster *c, struct sim_node *n, struct machine_change change);
void client_on_installed(struct cluster *c, struct sim_node *n);

/* cluster_member.c: what nodes do about members: let them join, promote them, expire sessions. */
void member_on_tick(struct cluster *c, struct sim_node *n);

/* cluster_check.c: one function per invariant */
struct slot_record *check_record(struct cluster *c, uint64_t slot); /* until another is new */
bool check_is_same(const struct command *a, const struct command *b);
uint32_t check_governing(const struct cluster *c, uint64_t slot); /* mask of indexes */
void check_decision(struct cluster *c, struct sim_node *n, const struct pvalue *p);
void check_applied(struct cluster *c, struct sim_node *n, const struct pvalue *p,
                   struct machine_result r);
void check_step(struct cluster *c, struct sim_node *n);
void check_delivered(struct cluster *c, struct sim_node *n, uint32_t from, const struct message *m);
void check_message(struct cluster *c, struct sim_node *n, const struct message *m);
void check_recovered(struct cluster *c, struct sim_node *n, const struct paxos_recovered *r);

/* cluster_observer.c */
void observe_sent(struct cluster *c, struct sim_node *n, const struct message *m);
void observe_delivered(struct cluster *c, struct sim_node *n, uint32_t from,
                       const struct message *m);
void observe_persist(struct cluster *c, const struct sim_node *n, const struct persist *p);
void observe_serving(struct cluster *c, const struct sim_node *n, const struct paxos_view *v);
void observe_decision(struct cluster *c, const struct sim_node *n, uint64_t slot);
void observer_forget(struct slot_record *r);

#endif
