/* fs/request.h: a file operation that waits: for its slot (a change), or for the local store to be
 * as new as the moment it began (a read). Answered to the kernel exactly once.
 *
 * The frontend makes it, the node calls it back exactly once, also after the frontend has answered
 * the kernel early (interrupt, timeo); the callback frees it. An early answer cancels: what is not
 * ordered yet then never will be. So those that wait are no more than there are callers. */
#ifndef FS_REQUEST_H
#define FS_REQUEST_H

#include "base/queue.h"
#include "consensus/command.h"
#include "fs/command.h"

struct store_reader;

struct request {
    struct queue_item item; /* the node's, from hand-over to callback */
    /* The list it waits in, until it is taken; NULL: none. The node's, as is what follows. */
    struct request **list, *prev, *next;
    bool cancelled; /* before the hand-over, which is then its end */
    bool patient;   /* a change whose submit may wait for room (node/clients.h); the caller's */
    /* A change: encoded fs_command (bytes owned by the request until the node takes them into a
     * struct command; see request_bytes_take). NULL: a read. */
    uint8_t *bytes;
    uint32_t size;
    /* What it was, where its session ended before it was applied: it is numbered anew. The node's.
     */
    struct command *fenced;
    uint64_t read;                      /* number of the read; set by the node */
    uint64_t submitted_ns, numbered_ns; /* when; set by the node */
    /* A change's end: @outcome, or NULL with @error (a negative errno: shutdown, -ENOMEM,
     * -ECANCELED). Store thread, or loop, or who cancels or submits. */
    void (*complete)(struct request *r, int error, const struct fs_outcome *outcome);
    /* A read's turn: the store is new enough: @reader is open. Reader thread; or with @error set
     * and @reader NULL: the loop at shutdown, or who cancels. */
    void (*run)(struct request *r, int error, struct store_reader *reader);
};

/* The bytes of a change, which are from now on the caller's to free(). Before its callback. */
uint8_t *request_bytes_take(struct request *r);

#endif
