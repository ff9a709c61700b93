/* node/storer.h: the store thread: applies decided slots in order, in batches, and answers the
 * requests it applied. A second thread writes checkpoints, so that no batch waits for a sync. */
#ifndef NODE_STORER_H
#define NODE_STORER_H

#include "consensus/pvalue.h"
#include "fs/pending.h"
#include "fs/store.h"

#define CHECKPOINT_INTERVAL_NS (5 * NS_PER_S)
#define CHECKPOINT_BYTES       (64 * MIB) /* command bytes after which a checkpoint is due at once */
/* ... or growth of the store's file: what a checkpoint pins is not reused, and a small commit takes
 * about 54 KiB of pages. */
#define CHECKPOINT_GROWN (64 * MIB)
#define COMMIT_BYTES     (54 * KIB)

/* On a full disk what is decided waits, and is tried again. */
#define STORE_AGAIN_MS 100

struct storer;

struct storer_callbacks {
    void *context;
    struct pending *pending; /* hears what is committed, before anybody else does */
    /* All from the store thread, after the commit, in slot order; for each slot first the result,
     * if the command is of this node, then its changes. */
    void (*on_result)(void *context, const struct command *command, uint64_t decided_ns,
                      const struct store_applied *result);
    void (*on_change)(void *context, const struct fs_change *change);
    /* store_applied() or store_checkpointed() moved. From either thread. */
    void (*on_progress)(void *context);
    /* Wait until PERSIST @number is durable. From the checkpoint thread, or storer_stop()'s caller.
     * False: the log failed, and never will be. */
    bool (*wait_durable)(void *context, uint64_t number);
    /* The store is quiet, as storer_pause() asked. From the store thread. */
    void (*on_paused)(void *context);
    /* The local disk failed: what is not committed is lost here. From either thread. */
    void (*on_failure)(void *context, const char *doing, int error);
};

/* @s stays the caller's. @node_id tells own commands. 0 or -errno. */
int storer_start(struct store *s, uint64_t node_id, const struct storer_callbacks *callbacks,
                 struct storer **out);
/* A checkpoint is due after so many bytes, of commands or growth; at first CHECKPOINT_BYTES, and
 * CHECKPOINT_GROWN. With fewer, for a small disk, also after so many bytes of pages written: those
 * that they replace stay until the next checkpoint, and the file grows by as much, between two, as
 * is ever written. Any thread. */
void storer_set_checkpoint_bytes(struct storer *s, uint64_t bytes);
/* Loop thread, in slot order. A reference to the command is taken. Never blocks: the core bounds
 * what is decided and not applied. @persisted: the PERSISTs of this slot are numbered no higher; a
 * checkpoint that covers it waits for them. */
void storer_apply(struct storer *s, const struct pvalue *decided, uint64_t persisted);
/* Look whether a checkpoint is due though nothing is decided. Loop thread, now and then. */
void storer_tick(struct storer *s);
/* Loop thread: be quiet after the batch at hand and the checkpoint under way, then say so
 * (on_paused); nothing of the store is then changed here until storer_resume(). What is decided
 * meanwhile waits. */
void storer_pause(struct storer *s);
/* Loop thread: go on. Of what waits, the slots that the store holds by now are dropped, without a
 * result or a change. */
void storer_resume(struct storer *s);
/* Orphans that nobody holds wait to be reaped. Any thread. */
bool storer_has_garbage(const struct storer *s);
/* Apply what is queued, write a last checkpoint, stop both threads. */
void storer_stop(struct storer *s);

#endif
