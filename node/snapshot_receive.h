/* node/snapshot_receive.h: installs another member's state in the place of the own one.
 *
 * Pieces are pulled in order, a few asked ahead, from one member. A thread writes them beside the
 * own state, checks the whole, and once the store is quiet replaces it. What stalls or fails is
 * begun anew, with another member if there is one. One at a time.
 *
 * Loop thread; nothing here blocks, but snapshot_receive_free(). */
#ifndef NODE_SNAPSHOT_RECEIVE_H
#define NODE_SNAPSHOT_RECEIVE_H

#include "fs/store.h"
#include "rpc/codec.h"

#define SNAPSHOT_WINDOW       MIB             /* bytes asked for and not yet written */
#define SNAPSHOT_REPEAT_NS    (1 * NS_PER_S)  /* then what has not come is asked for again */
#define SNAPSHOT_STALL_NS     (5 * NS_PER_S)  /* ... and then another member */
#define SNAPSHOT_WANTED_NS    (10 * NS_PER_S) /* so long a wish is good for */
#define SNAPSHOT_PAUSE_NS     (1 * NS_PER_S)  /* after one that failed */
#define SNAPSHOT_PAUSE_NS_OWN (10 * NS_PER_S) /* ... because of the own disk */

struct snapshot_receive;

struct snapshot_receive_edges {
    void *context;
    struct store *store;
    uint64_t node; /* own id: a member in every state that may be installed */
    /* To the member with this node id; may be lost. */
    void (*send)(void *context, uint64_t node, const struct peer_message *m);
    /* snapshot_receive_drain() is worth a call. From any thread. */
    void (*wake)(void *context);
    /* A connected member that is not @node; 0: none. */
    uint64_t (*other)(void *context, uint64_t node);
    /* A whole one is here: make the store quiet, then call snapshot_receive_install(), or
     * snapshot_receive_abort(). */
    void (*on_whole)(void *context);
    /* The state is about to be replaced by that of @slot. From the thread. 0 or -errno. */
    int (*before_install)(void *context, uint64_t slot);
    /* It was, and the store is still quiet. From the thread. */
    void (*after_install)(void *context);
    /* It was: the store is of a later slot, durably; or it was not, since the store has come as far
     * by itself, or something failed and is tried again later. Either way it need not be quiet any
     * more. */
    void (*on_installed)(void *context, bool is_installed);
    /* The store can be used no more: stop the node. */
    void (*on_failure)(void *context, const char *doing, int error);
};

/* NULL: no memory. */
struct snapshot_receive *snapshot_receive_new(const struct snapshot_receive_edges *edges,
                                              uint64_t now_ns);
/* A snapshot is needed, and the member @from has one: asked for again while it is so. */
void snapshot_receive_want(struct snapshot_receive *r, uint64_t from, uint64_t now_ns);
void snapshot_receive_on_data(struct snapshot_receive *r, uint64_t from,
                              const struct peer_snapshot_data *data, uint64_t now_ns);
/* The connection to @node is gone. */
void snapshot_receive_on_gone(struct snapshot_receive *r, uint64_t node, uint64_t now_ns);
/* Take what the thread has done. */
void snapshot_receive_drain(struct snapshot_receive *r, uint64_t now_ns);
/* Now and then. */
void snapshot_receive_tick(struct snapshot_receive *r, uint64_t now_ns);

/* After on_whole(): the store is quiet, and stays so until on_installed(). */
void snapshot_receive_install(struct snapshot_receive *r);
/* End what is under way, unless it is being installed. @why for the log. */
void snapshot_receive_abort(struct snapshot_receive *r, const char *why);

enum snapshot_phase {
    SNAPSHOT_NONE,
    SNAPSHOT_RECEIVING,
    SNAPSHOT_CHECKING, /* all of it is here */
    SNAPSHOT_WHOLE,    /* waits for the store to be quiet */
    SNAPSHOT_INSTALLING,
    SNAPSHOT_ENDING, /* the thread of one that failed is waited for */
};

struct snapshot_receive_view {
    enum snapshot_phase phase;
    uint64_t from, bytes, since_ns;
    uint64_t installed;   /* how many were, since the start */
    char last_error[160]; /* why the last one failed; "" */
};
void snapshot_receive_view(const struct snapshot_receive *r, struct snapshot_receive_view *view);

/* End what is under way; waits for the thread. What is being installed is first: on_installed() is
 * not called for it. */
void snapshot_receive_free(struct snapshot_receive *r);

#endif
