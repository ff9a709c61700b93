/* node/clients.h: this node's client session: requests of the frontend become numbered commands,
 * and find their outcome again (exactly once: DESIGN §4).
 *
 * Requests enter from any thread, become commands on the loop thread, and end on the store thread.
 * At most SESSION_OPEN_MAX are open above the lowest unanswered one; the rest wait in order. Each
 * is one call of a process that waits (or one of the few of the node itself), and leaves when its
 * caller no longer does. All together hold CLIENT_BYTES_MAX; a patient one (fs/request.h) that
 * finds no room waits for some, ROOM_WAIT_NS at most, and then ends with -ENOMEM. That long a FUSE
 * worker may read no INTERRUPT, which is what a call's patience allows for. One that is not patient
 * (the node's own: few, small, and from the loop, which must not wait) finds room always.
 *
 * The cluster may end the session of a node that was silent (FS_SESSION_EXPIRE). A command of an
 * epoch that has ended is FENCED: it was not applied, and never will be. Then the session is opened
 * anew, and what was fenced is numbered again in its old order, before all that waits. What is not
 * known to be fenced stays open under its former epoch until its own result comes. */
#ifndef NODE_CLIENTS_H
#define NODE_CLIENTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "consensus/command.h"
#include "fs/request.h"
#include "fs/store.h"

#define ROOM_WAIT_NS (2 * NS_PER_S)

/* Where the time of this host's changes goes, summed since the start; each stage begins where the
 * one before ends. */
struct stages {
    uint64_t changes;
    uint64_t queue_ns;  /* handed over by the frontend .. numbered on the loop */
    uint64_t decide_ns; /* .. decided, and handed to the store */
    uint64_t apply_ns;  /* .. committed */
    uint64_t answer_ns; /* .. written to the kernel */
};

struct numbered; /* a request's command, until its result came */

struct clients {
    uint64_t node_id, life;
    _Atomic bool refused; /* the cluster knows a later life of this node: a copy of its directory */
    void (*wake)(void *context);
    void *wake_context;
    pthread_mutex_t lock;    /* of what follows */
    pthread_cond_t room;     /* some was made, or who waits for it has to look again */
    struct request *waiting; /* not yet commands: first what was fenced, then first come first */
    uint64_t bytes;          /* of all changes that have not ended */
    bool closed;
    uint64_t epoch;  /* the newest; 0: the session was not open yet */
    uint64_t fenced; /* the highest that is known to have ended; == epoch: a new one is needed */
    bool opening;    /* a session open is on its way */
    uint64_t sequence_next,
        low; /* low: lowest without a result; == sequence_next when there is none */
    struct numbered *open[SESSION_OPEN_MAX]; /* of `epoch`, at sequence % SESSION_OPEN_MAX */
    struct numbered *former;                 /* of epochs before */
    uint32_t former_count;
    struct stages stages;
};

/* @wake is called (any thread) when clients_next() may have something. */
void clients_init(struct clients *c, uint64_t node_id, uint64_t life, void (*wake)(void *context),
                  void *context);
void clients_deinit(struct clients *c);

/* Any thread. Fails the request at once when the node is stopping or it is cancelled already; may
 * wait (see above). */
void clients_submit(struct clients *c, struct request *r);
/* Any thread. End @r with -ECANCELED if it has no number yet (or no longer one): it then never gets
 * one. May come before and during clients_submit(), not after the callback. */
void clients_cancel(struct clients *c, struct request *r);

/* Loop thread. The command that opens the session, for the core: the first one. The caller owns the
 * reference. NULL: no memory. */
struct command *clients_session_open(struct clients *c);
/* Loop thread: the next command for the core: a request, numbered; or, when the session was ended
 * by others, the one that opens it anew. NULL when there is none, the session is not open, or too
 * many are unanswered. The caller owns the reference. */
struct command *clients_next(struct clients *c);

/* Store thread: a command of this node, handed to the store at @decided_ns, was applied. Returns
 * true when clients_next() is worth a call: the session has just opened or ended, or room was made.
 */
bool clients_on_result(struct clients *c, const struct command *command, uint64_t decided_ns,
                       const struct store_applied *result);
/* A snapshot was installed into @store: the results of the slots that it skipped never come. End
 * what it says was applied, number anew what it says never will be. The store thread, or another
 * while that one is quiet. Calls the wake function. */
void clients_on_installed(struct clients *c, struct store *store);
struct stages clients_stages(struct clients *c);
/* Bytes of all changes that have not ended. */
uint64_t clients_bytes(struct clients *c);

/* End every request that waits, and every later one, with @error. Loop thread, core stopped. */
void clients_fail(struct clients *c, int error);

#endif
