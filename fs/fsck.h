/* fs/fsck.h: checks the store of a stopped host, as of its last checkpoint, and changes no byte of
 * it. */
#ifndef FS_FSCK_H
#define FS_FSCK_H

#include <stdint.h>

struct store_fsck {
    /* A sentence of what is wrong. */
    void (*say)(void *context, const char *sentence);
    void *context;
    /* out */
    uint64_t problems; /* each was said, but of many only the first */
    uint64_t slot, inodes, records, bytes;
};

enum { FSCK_SAID_MAX = 50 };

/* Check all records, the digest, and that what points to another is right. The caller holds the
 * state directory's lock. 0: done, whatever was found; -errno: it cannot be read. */
int store_fsck(const char *state_dir, struct store_fsck *f);

#endif
