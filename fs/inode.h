/* fs/inode.h: one object of the filesystem: what stat shows and a little more.
 *
 * Inside a batch inodes are changed in a small cache and written when they are pushed out of it or
 * the batch ends: a hundred files made in one directory write the directory's inode once. */
#ifndef FS_INODE_H
#define FS_INODE_H

#include <sys/stat.h>

#include "fs/attr.h"
#include "fs/state.h"

struct inode {
    struct fs_attr attr;
    uint64_t parent;      /* of a directory; the root is its own */
    uint64_t data;        /* the chunks' key; the inode number until a large file is emptied */
    uint32_t xattr_count; /* 0 saves the look-up of security.capability at each write */
    uint32_t xattr_bytes; /* of names and values */
    uint64_t slot;        /* of the last change */
    uint64_t author;      /* node id whose command that was */
};

static inline bool inode_is_dir(const struct inode *i)
{
    return S_ISDIR(i->attr.mode);
}

static inline bool inode_is_file(const struct inode *i)
{
    return S_ISREG(i->attr.mode);
}

/* From a reader's snapshot. 0, -ENOENT, -EBADMSG, -errno. */
int inode_read(const struct store *s, MDB_txn *txn, uint64_t ino, struct inode *inode);
/* In the batch. 0, -ENOENT, -EBADMSG, -errno. */
int inode_get(struct store *s, uint64_t ino, struct inode *inode);
int inode_put(struct store *s, const struct inode *inode);
/* Give @inode the next number and put it. */
int inode_add(struct store *s, struct inode *inode);
int inode_remove(struct store *s, uint64_t ino);
/* Write what has changed. */
int inode_flush(struct store *s);

struct inode_cache *inode_cache_new(void);
/* Learn from the open batch what is stored. 0 or -errno. */
int inode_cache_load(struct store *s);
void inode_cache_free(struct inode_cache *cache);
/* Forget all, changed or not: the batch was aborted. */
void inode_cache_clear(struct inode_cache *cache);

#endif
