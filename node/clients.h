/* node/clients.h: this node's client session: requests of the frontend become numbered commands,
 * and find their outcome again (exactly once: DESIGN §4).
 *
 * Requests enter from any thread, become commands on the loop thread, and end on the store thread.
 * At most SESSION_OPEN_MAX are open above the lowest unanswered one; the rest wait in order. Nobody
 * is ever made to wait for room among these: each is one call of a process that waits (or one of
 * the few of the node itself), and leaves when its caller no longer does. So as many calls as the
 * kernel lets processes make bound their number, and WRITE_SIZE_MAX the bytes of each. */
#ifndef NODE_CLIENTS_H
#define NODE_CLIENTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "consensus/command.h"
#include "fs/request.h"
#include "fs/store.h"

/* Where the time of this host's changes goes, summed since the start; each stage begins where the
 * one before ends. */
struct stages {
    uint64_t changes;
    uint64_t queue_ns;  /* handed over by the frontend .. numbered on the loop */
    uint64_t decide_ns; /* .. decided, and handed to the store */
    uint64_t apply_ns;  /* .. committed */
    uint64_t answer_ns; /* .. written to the kernel */
};

struct clients {
    uint64_t node_id, life;
    _Atomic bool refused; /* the cluster knows a later life of this node: a copy of its directory */
    void (*wake)(void *context);
    void *wake_context;
    pthread_mutex_t lock;    /* of what follows */
    struct request *waiting; /* not yet commands; first come first */
    bool closed;
    uint64_t epoch; /* 0: the session is not open yet */
    uint64_t sequence_next,
        low; /* low: lowest unanswered; == sequence_next when all are answered */
    struct request *open[SESSION_OPEN_MAX]; /* at sequence % SESSION_OPEN_MAX */
    struct stages stages;
};

/* @wake is called (any thread) when clients_next() may have something. */
void clients_init(struct clients *c, uint64_t node_id, uint64_t life, void (*wake)(void *context),
                  void *context);
void clients_deinit(struct clients *c);

/* Any thread. Fails the request at once when the node is stopping or it is cancelled already. */
void clients_submit(struct clients *c, struct request *r);
/* Any thread. End @r with -ECANCELED if it has no number yet: it then never gets one. May come
 * before clients_submit(), not after the callback. */
void clients_cancel(struct clients *c, struct request *r);

/* The command that opens the session, for the core. The caller owns the reference. NULL: no memory.
 */
struct command *clients_session_open(struct clients *c);
/* Loop thread: the next request as a command, numbered; NULL when none waits, the session is not
 * open, or too many are unanswered. The caller owns the reference. */
struct command *clients_next(struct clients *c);

/* Store thread: a command of this node, handed to the store at @decided_ns, was applied. Returns
 * true when the session has just opened or room was made, so that clients_next() is worth a call.
 */
bool clients_on_result(struct clients *c, const struct command *command, uint64_t decided_ns,
                       const struct store_applied *result);
struct stages clients_stages(struct clients *c);

/* Commands submitted and not yet applied. */
uint32_t clients_open(struct clients *c);
/* End every request that waits, and every later one, with @error. Loop thread, core stopped. */
void clients_fail(struct clients *c, int error);

#endif
