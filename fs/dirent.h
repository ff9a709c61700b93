/* fs/dirent.h: names in directories. Two records each: by name (parent, name -> ino, type, cookie),
 * and by cookie (parent, cookie -> ino, type, name), by which readdir goes on where it stopped
 * whatever came or went in between. */
#ifndef FS_DIRENT_H
#define FS_DIRENT_H

#include "fs/state.h"

enum {
    DIRENT_COOKIE_DOT = 1,
    DIRENT_COOKIE_DOT_DOT = 2,
    DIRENT_COOKIE_FIRST = 3,
};

struct dirent_name {
    uint64_t parent;
    const char *name; /* not NUL-terminated, 1..FILE_NAME_MAX bytes */
    size_t size;
};

struct dirent {
    uint64_t ino, cookie;
    uint32_t mode; /* type bits only */
};

/* From a reader's snapshot or the batch. 0, -ENOENT, -EBADMSG, -errno. */
int dirent_get(const struct store *s, MDB_txn *txn, const struct dirent_name *n, struct dirent *d);
/* 0: has no entry; -ENOTEMPTY; -errno. */
int dirent_check_empty(const struct store *s, MDB_txn *txn, uint64_t parent);
/* Entries with a cookie above @cookie, in order, until @each returns non-zero. @name is no string.
 */
int dirent_walk(const struct store *s, MDB_txn *txn, uint64_t parent, uint64_t cookie,
                int (*each)(void *context, const struct dirent *d, const char *name, size_t size),
                void *context);

/* In the batch; 0 or -errno. */
int dirent_add(struct store *s, const struct dirent_name *n, uint64_t ino, uint32_t mode);
/* @d is what dirent_get() gave. */
int dirent_remove(struct store *s, const struct dirent_name *n, const struct dirent *d);
/* Give the entry the name @to, free and in the same directory. It keeps its cookie: a loop of
 * readdir and rename must end. */
int dirent_rename(struct store *s, const struct dirent_name *n, const struct dirent *d,
                  const struct dirent_name *to);
/* The name keeps its cookie and gets another inode. */
int dirent_replace(struct store *s, const struct dirent_name *n, const struct dirent *d,
                   uint64_t ino, uint32_t mode);

#endif
