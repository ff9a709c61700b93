/* fs/frontend_call.h: a kernel request that waits for the node, answered exactly once: by the
 * node's callback, by INTERRUPT (EINTR), by timeo or by the end of the frontend (EIO); whoever
 * claims it. Answered early, it is also taken back from the node, if it is not ordered yet.
 *
 * On a local disk no signal is seen to interrupt such a call, and programs do not expect it: timers
 * and children's ends must not make a write fail that happens none the less. So INTERRUPT answers
 * at once only where the caller is ending (Ctrl-C on a program without a handler, kill); else once
 * the call has waited longer than INTERRUPT_PATIENCE_NS, which with a quorum none does: then
 * handlers get their turn.
 *
 * Two references: whoever answers drops one, the node's callback the other. */
#ifndef FS_FRONTEND_CALL_H
#define FS_FRONTEND_CALL_H

#include "base/clock.h"
#include "base/limits.h"
#include "fs/frontend_internal.h"

/* What a read found, before anybody hears of it. */
struct found {
    int error;           /* 0, or a negative errno of the store: the answer */
    struct read_set set; /* what it looked at */
    void *memory;        /* freed once it is answered, or not; NULL: none */
    union {
        struct fs_attr attr;
        struct { /* in the snapshot, or in `memory` */
            const void *bytes;
            size_t size;
        } view;
        struct {
            char *bytes; /* in `memory` */
            size_t size;
            bool plus; /* with inodes, which the kernel then holds */
        } listing;
        struct {
            struct iovec pieces[STORE_IOV_MAX];
            int count;
        } data;
        int64_t offset;
        struct store_usage usage;
    } u;
};

/* A read: what to look up, and how to answer. Small, copied into the call where it has to wait. */
struct read_op {
    /* Into @found, whose set is the inode `ino` until this says otherwise. */
    void (*look)(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                 struct found *found);
    /* Where nothing failed; while the snapshot is open. */
    void (*reply)(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                  const struct found *found);
    uint64_t ino, offset;
    size_t size;
    int whence, open_flags;
    bool privileged;  /* the caller is */
    const char *name; /* NUL-terminated, or NULL */
    size_t name_size;
};

#define INTERRUPT_PATIENCE_NS (2 * NS_PER_S) /* the longest stall while a majority is there */

typedef void answer_fn(struct call *c, const struct fs_outcome *outcome);

struct call {
    struct request request;
    struct frontend *frontend;
    fuse_req_t fuse;
    pid_t caller; /* the thread that waits; 0: unknown */
    struct call *prev, *next;
    uint64_t since_ns;
    _Atomic int state;
    _Atomic bool interrupted; /* by a signal that its caller may survive */
    _Atomic uint32_t refs;
    union {
        struct {
            answer_fn *answer;
            uint64_t offset; /* of a WRITE, as the kernel has it */
            uint32_t size;
            int open_flags;  /* of a CREATE */
            bool look_again; /* EEXIST becomes ESTALE */
        } change;
        struct read_op read;
    } u;
    char name[]; /* u.read.name points here */
};

/* NULL: no memory; @fuse is still the caller's. */
struct call *call_new(struct frontend *f, fuse_req_t fuse, size_t name_room);
/* Let @c wait: from here on it may be interrupted. True: hand it to the node. False: it is answered
 * and gone. */
bool call_wait(struct call *c);
/* The right, and duty, to answer @c->fuse, which nothing else touches from now on. False: answered.
 */
bool call_claim(struct call *c);
void call_unref(struct call *c);

/* Answer what waited longer than @timeo_ns with EIO; 0: everything. */
void calls_fail(struct frontend *f, uint64_t now_ns, uint64_t timeo_ns);
/* How many were interrupted by a signal that did not end the caller. Under calls_lock. */
uint32_t calls_interrupted_locked(const struct frontend *f);
/* Answer with EINTR what was interrupted and need not be patient any longer. */
void calls_interrupt(struct frontend *f, uint64_t now_ns);

/* Answer with the errno for @error, 0 or a negative errno of the store: those that are no answer a
 * file operation can have become EIO. */
void reply_error(fuse_req_t fuse, int error);

#endif
