/* fs/state.h: struct store from the inside: the environment, the open batch, and what the batch
 * keeps in memory until its commit. For fs/ alone; the store thread, but for what is said to be any
 * thread's. */
#ifndef FS_STATE_H
#define FS_STATE_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "consensus/membership.h"
#include "consensus/session.h"
#include "fs/meta.h"

/* Numbers enter the digest: never reuse one. */
enum db {
    DB_META = 0, /* in one tree with the sessions: both change with each commit, on one page */
    DB_INODES = 1,
    DB_DIRENTS = 2,
    DB_COOKIES = 3,
    DB_CHUNKS = 4,
    DB_XATTRS = 5,
    DB_ORPHANS = 6,
    DB_SESSIONS = 7,
    DB_STALE = 8,
    DB_COUNT
};

/* Records that one slot may delete besides those it names: what is more becomes garbage, which
 * FS_REAP frees in slots of its own. Every slot waits for the one before it, on every replica. */
enum { SLOT_DELETIONS_MAX = 1024 };

struct inode_cache;
struct chunk_scratch;
struct damage;
struct store_reader;

/* Copies of an environment that are being written (store_export). */
struct exports {
    uint32_t count;
    MDB_env *left; /* no store uses it any more: the last one closes it */
};

struct store {
    char *state_dir;
    char name[32]; /* of the environment's directory in state_dir */
    /* The store thread, and any thread that holds `swap`: another environment takes the place of
     * this one only where that lock is held alone (fs/import.c). */
    MDB_env *env;
    MDB_dbi dbis[DB_COUNT];
    _Atomic uint32_t page_size;
    struct exports *exports; /* of env; under `lock` */

    MDB_txn *txn;            /* the open batch, or NULL */
    struct meta meta;        /* as of the last applied command */
    struct meta committed;   /* ... of the last commit, to go back to */
    uint64_t deletions_max;  /* SLOT_DELETIONS_MAX; fewer in tests: the same on all replicas */
    uint64_t deletions_left; /* ... in the slot being applied */
    struct session_table *sessions;
    struct membership membership; /* as of the last applied command */
    bool membership_changed;      /* ... it is not what is published */
    struct inode_cache *inodes;
    struct chunk_scratch *scratch;
    struct damage *damage; /* any thread */

    _Atomic uint64_t applied, time_ns, checkpointed; /* committed; any thread */

    MDB_txn *pinned; /* keeps the pages of the last durable checkpoint; see fs/checkpoint.h */
    MDB_txn *pinned_in_doubt;   /* ... of one that failed: it may be what a restart finds */
    _Atomic bool checkpointing; /* between begin and finish; for ever after a failure */
    _Atomic bool importing;
    _Atomic bool is_refused; /* nothing is read; see fs/hollow.h */
    bool is_hollow;
    _Atomic uint64_t pages_at_checkpoint, pages; /* of the file */

    _Atomic uint64_t membership_version; /* of `published` */
    pthread_rwlock_t swap;               /* held, not alone, by each read */
    pthread_mutex_t lock;                /* of what follows */
    struct membership published;         /* changed by the store thread alone */
    struct store_reader *readers;        /* all there are */
};

/* The one border where LMDB's codes become -errno. MDB_NOTFOUND is -ENOENT. */
int store_errno(int code);
/* The numbers of a snapshot, or as the batch found them. 0, -EBADMSG, -errno. */
int store_meta_read(const struct store *s, MDB_txn *txn, struct meta *meta);
/* One with nothing in it and no environment; NULL: no memory. */
struct store *store_new(const char *state_dir);
/* Learn how large the file is. */
void store_count_pages(struct store *s);

#endif
