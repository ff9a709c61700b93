/* fs/xattr.h: extended attributes as records: ino, name -> value. What may be set is apply's to
 * say. */
#ifndef FS_XATTR_H
#define FS_XATTR_H

#include "fs/inode.h"

/* From a reader's snapshot or the batch; @value is a view. 0, -ENOENT, -errno. */
int xattr_get(const struct store *s, MDB_txn *txn, uint64_t ino, const char *name, size_t name_size,
              MDB_val *value);
/* Names, in order, until @each returns non-zero. 0 or -errno. */
int xattr_walk(const struct store *s, MDB_txn *txn, uint64_t ino,
               int (*each)(void *context, const char *name, size_t size), void *context);

/* In the batch; the counts in @inode follow, the caller puts it. 0 or -errno. */
int xattr_set(struct store *s, struct inode *inode, const char *name, size_t name_size,
              MDB_val value);
/* 0, -ENOENT, -errno. */
int xattr_remove(struct store *s, struct inode *inode, const char *name, size_t name_size);
/* As many as the slot may still delete. */
int xattr_remove_some(struct store *s, struct inode *inode);

#endif
