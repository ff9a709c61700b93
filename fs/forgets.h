/* fs/forgets.h: lets go, in the log, of the orphans that this host's kernel does not hold: one
 * FS_FORGET at a time of what inode_refs gathered. Mounted or not: an orphan waits for every host
 * that has a session. */
#ifndef FS_FORGETS_H
#define FS_FORGETS_H

#include <stdatomic.h>

#include "fs/inode_refs.h"
#include "fs/request.h"
#include "fs/store.h"

struct forgets {
    struct inode_refs *inodes;
    void (*submit)(void *context, struct request *r); /* must not block */
    void *context;
    _Atomic bool in_flight;
    struct request request; /* while in_flight */
};

/* @inodes is borrowed, and with @f outlives every request submitted. */
void forgets_init(struct forgets *f, struct inode_refs *inodes,
                  void (*submit)(void *context, struct request *r), void *context);
/* From the store thread, after the commit: other kinds than FS_ORPHANED are ignored. */
void forgets_on_change(struct forgets *f, const struct fs_change *change);
/* About ten times a second, always from the same thread. */
void forgets_tick(struct forgets *f);

#endif
