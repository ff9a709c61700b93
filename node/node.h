/* node/node.h: one running daemon: what the files of node/ share. Loop thread, but where said.
 *
 *   main     arguments, the state directory's lock, exit codes
 *   start    log and store to a core; wiring of threads and callbacks
 *   forming  identities: who the members are, before anyone may vote
 *   serving  requests and reads in, outcomes out; reaping; digests
 *   mounts   the FUSE frontend's coming and going
 *   status   what `paxfs status` and `verify` answer
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
#include "node/reads.h"
#include "rpc/admin.h"

enum { DIGESTS_KEPT = 64 };

#define TICK_MS              10
#define FRONTEND_EVERY_TICKS 10
#define STATUS_MS            500
#define DIGEST_EVERY_SLOTS   4096 /* the leader asks for a comparison this often */
#define VERIFY_TIMEOUT_NS    (5 * NS_PER_S)
#define PROGRESS_SLOTS       32 /* held slots or bytes from which the loop wants to hear at once */
#define PROGRESS_BYTES       (2 * MIB)
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
    bool diverged;             /* its digest differed from ours at one slot */
};

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
    bool pins_conflict; /* a member is not who it was: said in status */

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
    _Atomic bool reap_done;
    uint64_t digest_asked_slot;
    struct digest_point points[DIGESTS_KEPT]; /* at index (count) % DIGESTS_KEPT */
    uint64_t point_count;
    struct member_state members[MEMBERS_MAX];
    struct verification verification;

    enum stop_phase stop_phase;
    uint64_t stop_ns;
    uint32_t closing; /* handles and modules not yet closed */
};

/* Index of a member in `config.members`, by node id; -1: none. */
int node_member_index(const struct node *n, uint64_t node_id);

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
void forming_fill_hello(void *context, struct peer_hello *hello);
const char *forming_on_hello(void *context, uint32_t index, const struct peer_hello *hello);

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

/* mounts */
void mounts_on_request(struct node *n, struct admin_request *r, const msgpack_object *params,
                       int fd);
/* A frontend told that its mount is gone. */
void mounts_on_unmounted(struct node *n);
/* Let go of the mount, if there is one; @done (may be NULL) runs once it is gone. */
void mounts_release(struct node *n, void (*done)(struct node *n));

/* status */
void status_on_request(struct node *n, struct admin_request *r);
void status_on_verify(struct node *n, struct admin_request *r);
void status_tell_peers(struct node *n);
/* Twice a second: tell the peers, ask for digests, end verifications that take too long. */
void status_tick(struct node *n);
void status_on_peer(struct node *n, uint32_t index, const struct peer_status *status);
void status_on_digest(struct node *n, const struct digest_point *point);

/* stop */
void stop_begin(struct node *n, const char *why);
void stop_tick(struct node *n);

#endif
