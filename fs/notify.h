/* fs/notify.h: the thread that tells the kernel to drop what it caches. Nobody else does, since the
 * kernel may block it: an entry notice waits for every change in flight in that directory. Nobody
 * waits for this thread; handing a notice over never blocks and repeats coalesce. Any thread. */
#ifndef FS_NOTIFY_H
#define FS_NOTIFY_H

#include <stddef.h>
#include <stdint.h>

struct fuse_session;
struct notify;

struct notify_callbacks {
    void *context;
    /* From the notify thread, its last act. */
    void (*ended)(void *context);
};

/* 0 or -errno. The session stays the caller's, until ended() has been called. */
int notify_start(struct fuse_session *session, const struct notify_callbacks *callbacks,
                 struct notify **out);

/* Drop the cached name, so that the kernel forgets an inode that another host unlinked. A hint:
 * where too many wait it is dropped. */
void notify_entry(struct notify *n, uint64_t parent, const char *name, size_t name_size);
/* Drop the cached pages of @ino. Never dropped for want of room: at most one for each inode the
 * kernel holds. 0 or -ENOMEM. */
int notify_inode(struct notify *n, uint64_t ino);
uint64_t notify_count(struct notify *n);

/* End the thread after the notice it is at, if any; what still waits is dropped, as is what comes
 * later. Does not wait: ended() tells. */
void notify_stop(struct notify *n);
/* Once ended() was called, which may be the caller. */
void notify_free(struct notify *n);

#endif
