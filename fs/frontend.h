/* fs/frontend.h: FUSE, low level: kernel requests in, answers out. Thin: check, copy, hand over.
 *
 * Worker threads read /dev/fuse; reads are answered there when the node says that what they found
 * is current, else after a read index; changes are handed to the node and answered when applied. A
 * notify thread, and only it, sends cache invalidations, which may block. Stage 1 of DESIGN §7:
 * entry and attribute timeouts are 0. */
#ifndef FS_FRONTEND_H
#define FS_FRONTEND_H

#include "fs/pending.h"
#include "fs/request.h"
#include "fs/store.h"

struct frontend;

/* What the node does for the frontend. Any thread. */
struct frontend_backend {
    void *context;
    /* Take @r (bytes set): order it, then complete() it once. Blocks for two seconds at most, and
     * only while the node holds so much already that it has no room: a worker that waits reads no
     * INTERRUPT. */
    void (*submit)(void *context, struct request *r);
    /* Take @r: run() it once the local store holds every change completed before this call. */
    void (*read)(void *context, struct request *r);
    /* Nobody waits for @r any more, which was, or is about to be, given to submit() or read(): end
     * it with -ECANCELED at once, if it is not ordered yet; else it ends as it would have. */
    void (*cancel)(void *context, struct request *r);
    /* True: a read may be tried now, from a snapshot taken after this call: this host leads and
     * serves, or holds a read lease. */
    bool (*read_may_begin)(void *context);
    /* After reading from the snapshot of @r, before answering: CLEAR, what was read is as new as
     * this moment; TOUCHED, hand it to read(); RENEW, take another snapshot and read again. */
    enum pending_verdict (*read_verdict)(void *context, struct store_reader *r,
                                         const struct read_set *set);
    /* The mount is gone (umount, or a broken descriptor). From a worker thread; once. */
    void (*unmounted)(void *context);
};

struct frontend_config {
    struct store *store;
    struct inode_refs *inodes; /* the node's, who feeds it the orphans; outlives the frontend */
    uint64_t node_id;          /* this host's: its own changes need no notice to its kernel */
    int fuse_fd;               /* /dev/fuse, mounted already; the frontend closes it, always */
    const char *mountpoint;    /* copied */
    uint64_t timeo_ns;         /* calls that waited this long fail with EIO; 0: wait for ever */
    uint32_t workers;
    struct frontend_backend backend;
};

/* Serve. 0 or -errno. */
int frontend_start(const struct frontend_config *config, struct frontend **out);

/* From the store thread, in slot order, after the commit; a slot's own completion comes first. */
void frontend_on_change(struct frontend *f, const struct fs_change *change);
/* Another state is in the place of the store, and nobody tells what is different: the kernel drops
 * the pages of all it holds. Any thread. */
void frontend_on_installed(struct frontend *f);

/* From the loop, about ten times a second: end what waited longer than timeo, and what a signal
 * interrupted some time ago. */
void frontend_tick(struct frontend *f, uint64_t now_ns);

struct frontend_view {
    uint32_t waiting;      /* requests not yet answered */
    uint32_t interrupted;  /* of them: by a signal that did not end the caller */
    uint64_t oldest_ns;    /* how long the oldest of them has waited */
    uint64_t inodes_known; /* the kernel holds */
    uint64_t requests;     /* since the start */
    uint64_t notify_queued;
};
void frontend_view(struct frontend *f, struct frontend_view *view);

/* The node was told that this one's mount is gone (see unmounted()). */
bool frontend_has_ended(const struct frontend *f);
/* True: the kernel serves this mount at its directory. False: it was unmounted, lazily perhaps, or
 * another one is there. Does not block. */
bool frontend_is_mounted(const struct frontend *f);

/* Answer what still waits with EIO, from now on answer everything new that would wait with EIO,
 * detach the mount, stop the threads, free. Requests the node still has may complete later: their
 * callbacks stay harmless. Bounded: about a second. False: a thread hangs in the kernel, and may
 * still use the store and the backend. */
bool frontend_stop(struct frontend *f);

#endif
