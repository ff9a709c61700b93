/* node/node.h: one running daemon: what the files of node/ share. Loop thread, but where said.
 *
 *   main     arguments, the state directory's lock, exit codes
 *   start    log and store to a core; wiring of threads and callbacks
 *   forming  identities: who the members are, before anyone may vote
 *   news     a member that was away while all it knew were replaced
 *   members  who the members are now: transport and core follow the store; promotions
 *   changes  what `paxfs member` asks for
 *   admission a host knocks, and is let in
 *   expiry   sessions of hosts that have fallen silent end
 *   capacity what the state may take; what to do while the own disk is short
 *   quarantine a state that is wrong is set aside
 *   snapshots another member's state in the place of the own one, and the own one for others
 *   backups  the state, for a person to keep
 *   serving  requests and reads in, outcomes out; reaping; digests
 *   mounts   the FUSE frontend's coming and going
 *   status   what `paxfs status` answers, and members tell each other
 *   health   (health.h) whether anything is amiss
 *   digests  what `paxfs verify` answers; replicas that differ
 *   stop     the orderly end
 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include <stdatomic.h>
#include <uv.h>

#include "fs/forgets.h"
#include "fs/frontend.h"
#include "node/clients.h"
#include "node/config.h"
#include "node/driver.h"
#include "node/quarantine.h"
#include "node/reads.h"
#include "node/shares.h"
#include "node/scrubber.h"
#include "node/snapshot_receive.h"
#include "node/snapshot_send.h"
#include "rpc/admin.h"

enum {
    DIGESTS_KEPT = 64,
    CAUGHT_UP_SLOTS = 64, /* a learner that lags no more may vote */
};

#define TICK_MS              10
#define FRONTEND_EVERY_TICKS 10
#define STATUS_MS            500
#define DIGEST_EVERY_SLOTS   4096 /* the leader asks for a comparison this often */
#define VERIFY_TIMEOUT_NS    (5 * NS_PER_S)
#define PROGRESS_SLOTS       32 /* held slots or bytes from which the loop wants to hear at once */
#define PROGRESS_BYTES       (2 * MIB)
#define UP_NS                (2 * NS_PER_S) /* who told its status within that is up */
#define STOP_DRAIN_NS        (2 * NS_PER_S) /* for what waits, while new calls still come */
#define STOP_LIMIT_NS        (9 * NS_PER_S) /* then the process ends all the same */

/* Votes the log holds above what the store has applied, for the core. */
struct accepted {
    uint32_t count;
    struct pvalue pvalues[SLOTS_HELD_MAX];
};

struct digest_point {
    uint64_t slot, nonce;
    uint64_t digest[2];
};

struct member_state {
    struct peer_status status; /* as last told */
    uint64_t told_ns;          /* 0: never */
    uint64_t lag_slots;        /* of what it told, when it told it */
    bool diverged;             /* its digest differed from ours at one slot */
};

/* Sessions that this node has ended while it leads, so that it does so once. */
struct expiry {
    uint64_t leads_since_ns; /* 0: it does not */
    bool is_pending;         /* a command of it is under way */
    struct store_session asked;
    uint32_t count;
    struct store_session ended[SESSIONS_MAX];
};

struct disk_state {
    struct shares shares;
    uint64_t available; /* for who is not root, when last looked at */
    bool is_short;      /* below the floor, and not above twice that since */
    bool is_paused;     /* ... and the core is told nothing any more */
    uint64_t short_ns;
    int direction;     /* the voters can hold more (1) or less (-1) than the state may take ... */
    uint64_t since_ns; /* ... since then */
    bool is_asking;    /* a command that sets the capacity is under way */
};

struct change;    /* changes */
struct admission; /* admission */
struct backup;    /* backups */

/* One `paxfs verify` under way. */
struct verification {
    struct admin_request *request; /* NULL: none */
    uint64_t nonce, deadline_ns, slot;
    bool answered[MEMBERS_MAX];
    uint64_t digests[MEMBERS_MAX][2];
};

enum stop_phase { STOP_NOT, STOP_DRAINING, STOP_UNMOUNTING, STOP_CLOSING };

struct node {
    const char *state_dir;
    struct config config;
    uint64_t started_ns;
    int exit_code;

    uv_loop_t loop;
    uv_async_t wake; /* something is in a queue below, or an atomic moved */
    uv_check_t burst_end;
    uv_timer_t tick, status_tick;
    uv_signal_t sigterm, sigint;

    struct store *store;
    struct wal_recovered recovered;
    uint64_t life;             /* how many daemons started on this directory, this one included */
    struct accepted *accepted; /* until the core has it */
    struct logger *logger;
    struct storer *storer;
    struct transport *transport;
    struct admin_server *admin;
    struct driver *driver; /* NULL until the cluster is formed */
    struct clients clients;
    struct reads reads;
    pthread_t loop_thread;
    uint32_t strangers; /* seats whose name another node claims: said in status */
    struct {
        uint64_t leaderless_ns;         /* since when no leader is known; 0: one is */
        struct transport_member guest;  /* node_id 0: none */
        uint32_t seat;                  /* its, in the transport alone; MEMBERS_MAX: none is free */
        bool is_new;                    /* not yet told to the transport */
        uint64_t met_ns;                /* when it came, or was connected last */
    } news;

    /* The loop's copy of the store's; with version 0, before there is one: who config names. */
    struct membership membership;
    uint32_t self;    /* own seat */
    int listen_error; /* why the own address, which changed, cannot be listened on; 0: it is */
    bool has_left;
    uint64_t promoting;  /* node id: a command of it is under way; 0: none */
    uint64_t promote_ns; /* not before */
    struct change *changes;
    struct admission *admissions;
    struct backup *backup; /* NULL: none is being made */
    struct expiry expiry;
    struct disk_state disk;
    struct quarantine quarantine;
    struct scrubber *scrubber; /* NULL: none could be started */
    uint64_t damage_logged; /* how much had been found when that was last said */
    bool restarts;          /* the process begins anew once it has stopped */
    struct queue own_done; /* outcomes of commands of the node itself, for the loop */

    /* snapshots */
    struct pending *pending;                   /* what is held and not yet applied; any thread */
    struct snapshot_send *snapshot_send;       /* with the driver */
    struct snapshot_receive *snapshot_receive; /* with the driver */
    _Atomic bool store_is_quiet;               /* as was asked: the install may begin */
    bool is_installing;                        /* the core knows of it only once it is done */

    pthread_mutex_t durable_lock; /* the checkpoint thread waits for the log */
    pthread_cond_t durable_moved;
    bool log_failed;

    /* set by other threads, taken by the loop after uv_async_send(&wake) */
    _Atomic uint64_t durable;
    _Atomic bool progress, unmounted;
    _Atomic bool
        wants_progress;  /* the loop waits for the store; else the next tick is soon enough */
    _Atomic int failure; /* negative errno of a broken disk */
    _Atomic(const char *) failure_doing;
    struct queue from_log; /* answers of logger_read() */
    struct queue digests;  /* FS_DIGEST changes */

    uint64_t ticks;
    uint64_t durable_seen, applied_seen, checkpointed_seen;

    struct inode_refs *inodes; /* what the kernel holds, one mount after the other */
    struct forgets forgets;
    bool threads_left;             /* of a former mount: they hang, and may still use the store */
    pthread_mutex_t frontend_lock; /* the store thread uses it; the loop replaces it */
    struct frontend *frontend;     /* NULL: not mounted */
    char mount_dir[4096];
    bool read_only;

    bool reaping; /* an FS_REAP is under way */
    uint64_t digest_asked_slot;
    struct digest_point points[DIGESTS_KEPT]; /* at index (count) % DIGESTS_KEPT */
    uint64_t point_count;
    struct member_state members[MEMBERS_MAX]; /* by seat */
    struct verification verification;

    enum stop_phase stop_phase;
    uint64_t stop_ns;
    uint32_t closing; /* handles and modules not yet closed */
};

/* Every seat in turn that somebody has. */
#define NODE_EACH_SEAT(n, seat)                                                                    \
    for (uint32_t seat = 0; seat < MEMBERS_MAX; seat++)                                            \
        if ((n)->membership.members[seat].name[0])

/* start */
int node_open_state(struct node *n, char *error, size_t error_size);
int node_open_edges(struct node *n, char *error, size_t error_size);
/* The core starts to take part. The cluster is formed. */
int node_start_core(struct node *n);

/* forming */
/* Hash of the members' ids as known; 0 while one is not. */
uint64_t forming_met(const struct node *n);
/* A member told what it has met: form, if all agree. */
void forming_on_status(struct node *n);
/* Once the members are pinned: begin the membership in a store that has none. 0 or -errno. */
int forming_begin_membership(struct node *n);
/* As long as the cluster is not formed here. Why @hello is refused, or NULL. */
const char *forming_judge(struct node *n, uint32_t seat, const struct peer_hello *hello);

/* news */
/* @hello is of nobody this host knows: the reason to refuse it once more, or NULL: nothing to tell. */
const char *news_on_unknown(struct node *n, const struct peer_hello *hello);
/* The guest takes a free seat of @members, if there is one. */
void news_for_transport(struct node *n, struct transport_member members[MEMBERS_MAX]);
/* Whose messages are not for the core. */
bool news_is_guest(const struct node *n, uint32_t seat);
/* As the membership has them, and the guest. */
uint64_t news_node_at(const struct node *n, uint32_t seat);
uint32_t news_seat_of(const struct node *n, uint64_t node_id);
/* A snapshot is wanted although the core does not ask for one. */
bool news_is_wanted(const struct node *n);
/* The membership has changed: it knows better now. */
void news_forget(struct node *n);
/* Twice a second. */
void news_tick(struct node *n);

/* members */
/* At the start: the store's membership, or else the one config knows. 0, or -EPERM with @error:
 * this host has left. */
int members_open(struct node *n, char *error, size_t error_size);
void members_for_transport(const struct membership *membership,
                           struct transport_member members[MEMBERS_MAX]);
/* The store may have another membership: transport, core and this node follow it. Before the
 * EVENT_APPLIED of what it was changed in. */
void members_follow(struct node *n);
/* A snapshot is in the place of the store: as members_follow(), but the core, which is next told so
 * with EVENT_INSTALLED, in the same turn of the loop, hears of the members by that alone. Gives
 * the configuration for it. */
struct configuration members_installed(struct node *n);
/* This host has left for good, as the log or another member says: stop. */
void members_leave(struct node *n);
void members_fill_hello(void *context, struct peer_hello *hello);
const char *members_on_hello(void *context, uint32_t seat, const struct peer_hello *hello);
const char *members_on_unknown(void *context, const struct peer_hello *hello);
void members_on_refused(void *context, uint32_t seat, const char *reason);
/* Twice a second: promote who has caught up; notice that this host has left. */
void members_tick(struct node *n);
/* Everyone with a seat, as a mask. */
uint32_t members_everyone(const struct node *n);
/* The voters of @voters, a mask, that are up and have caught up as far as this node knows. */
uint32_t members_ready(const struct node *n, uint32_t voters);
bool members_is_up(const struct node *n, uint32_t seat);
/* The voters as masks: from slot `from` on, and, the same once that is applied, below it. */
uint32_t members_voters(const struct node *n);
uint32_t members_voters_before(const struct node *n);
/* The name of a member, by node id; NULL: nobody's. */
const char *members_name(const struct node *n, uint64_t node_id);

/* changes */
/* @r is answered here or later, if @method is one of those; else false. */
bool changes_on_request(struct node *n, struct admin_request *r, const char *method,
                        const msgpack_object *params);
/* Now and then: answer what has come to pass, or takes too long. */
void changes_tick(struct node *n);
/* Answer all: the daemon stops. */
void changes_stop(struct node *n);

/* admission */
void admission_on_join(void *context, struct join_request *r, const struct peer_join *join);
void admission_tick(struct node *n);
void admission_stop(struct node *n);

/* expiry: twice a second */
void expiry_tick(struct node *n);

/* capacity */
/* First of all. 0 or -errno. */
int capacity_open(struct node *n);
/* Ten times a second: leave the quorum when the disk is short, and come back. */
void capacity_look(struct node *n);
/* Twice a second: the leader keeps what the state may take. */
void capacity_tick(struct node *n);
/* What this host can hold of files, in bytes of fs/space.h; 0: while it gets a snapshot, which lies
 * beside what it has, that is not known. */
uint64_t capacity_own(struct node *n);
/* The core is told nothing: whatever is for it waits, or is lost as on the wire. */
bool capacity_is_paused(const struct node *n);

/* snapshots */
/* At the start, once log and store are open: if a snapshot was installed, the log forgets what it
 * holds up to its slot. 0 or -errno. */
int snapshots_recover(const char *state_dir, struct store *store, struct wal *wal);
/* Note durably that the snapshot of @slot is about to be installed, for snapshots_recover(). */
int snapshots_note(const char *state_dir, const struct store *store, uint64_t slot);
/* Before the core starts. @is_blank: there is no state here to give to others. 0 or -errno. */
int snapshots_open(struct node *n, bool is_blank);
/* For the driver: on_snapshot(). */
void snapshots_on_wanted(void *context, uint32_t from);
/* For the storer: on_paused(). */
void snapshots_on_paused(void *context);
void snapshots_on_message(struct node *n, uint32_t seat, const struct peer_message *m);
/* The connection to the member in @seat broke. */
void snapshots_on_gone(struct node *n, uint32_t seat);
/* What the threads have done, what takes too long; at least every tick. */
void snapshots_drain(struct node *n);
/* Before the storer stops. */
void snapshots_stop(struct node *n);

/* backups */
/* Takes @fd, the pipe's end to write to, or -1; @r is answered once all is written. */
void backups_on_request(struct node *n, struct admin_request *r, int fd);
void backups_tick(struct node *n);
/* Before the store closes. */
void backups_stop(struct node *n);

/* serving */
struct frontend_backend serving_backend(struct node *n);
struct storer_callbacks serving_storer_callbacks(struct node *n);
struct logger_callbacks serving_logger_callbacks(struct node *n);
void serving_on_view(void *context, const struct paxos_view *view);
void serving_on_read_ready(void *context, uint64_t read, uint64_t slot);
/* Take everything other threads left for the loop, and what the session may submit. */
void serving_drain(struct node *n);
/* Reap, if there is garbage and this node leads. */
void serving_reap(struct node *n);
/* Put an FS_VERIFY into the log. */
void serving_ask_digest(struct node *n, uint64_t nonce);
void serving_wake(void *context);
/* Of a command of the node's own. */
void serving_submit(void *context, struct request *r);
/* Put @c into the log; @done, which may be NULL, runs on the loop, once: with what it did, or with
 * @error, a negative errno, and no @outcome. */
void serving_submit_own(struct node *n, const struct fs_command *c,
                        void (*done)(struct node *n, void *context, int error,
                                     const struct fs_outcome *outcome),
                        void *context);
/* Run what is done of those. */
void serving_drain_own(struct node *n);

/* mounts */
void mounts_on_request(struct node *n, struct admin_request *r, const msgpack_object *params,
                       int fd);
/* A frontend told that its mount is gone. */
void mounts_on_unmounted(struct node *n);
/* Let go of the mount, if there is one; @done (may be NULL) runs once it is gone. */
void mounts_release(struct node *n, void (*done)(struct node *n));

/* status */
void status_on_request(struct node *n, struct admin_request *r);
void status_tell_peers(struct node *n);
/* Twice a second: tell the peers, ask for digests, end verifications that take too long. */
void status_tick(struct node *n);
void status_on_peer(struct node *n, uint32_t seat, const struct peer_status *status);

/* digests */
void digests_on_verify(struct node *n, struct admin_request *r);
/* The own store has taken one. */
void digests_on_own(struct node *n, const struct digest_point *point);
void digests_on_peer(struct node *n, uint32_t seat, const struct peer_status *status);
/* The last own one; all 0: none yet. */
const struct digest_point *digests_newest(const struct node *n);
/* Twice a second: ask for digests, end verifications that take too long. */
void digests_tick(struct node *n);

/* stop */
void stop_begin(struct node *n, const char *why);
void stop_tick(struct node *n);

#endif
