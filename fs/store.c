#include "fs/store.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/assert.h"
#include "fs/checkpoint.h"
#include "fs/chunk.h"
#include "fs/digest.h"
#include "fs/dirent.h"
#include "fs/disk.h"
#include "fs/inode.h"
#include "fs/record.h"
#include "fs/sessions.h"

/* Addresses, not memory or disk: the map cannot grow while a checkpoint is pinned, and one always
 * is. As many as there are: some machines, and the thread sanitizer, have room for fewer. */
#ifdef __SANITIZE_THREAD__
#define MAP_SIZE_MAX (64 * GIB)
#else
#define MAP_SIZE_MAX (16 * 1024 * GIB)
#endif
#define MAP_SIZE_MIN (16 * GIB)

enum {
    READERS_MAX = 126,
    FULL_DISK_BYTES = 1 << 20, /* free, for who is not root */
};

static const char first_name[] = "store.1", unborn_name[] = "store.new";
static const uint8_t meta_key[] = "meta";

static const char *const db_names[DB_COUNT] = {
    [DB_META] = "sessions",   [DB_INODES] = "inodes",     [DB_DIRENTS] = "dirents",
    [DB_COOKIES] = "cookies", [DB_CHUNKS] = "chunks",     [DB_XATTRS] = "xattrs",
    [DB_ORPHANS] = "orphans", [DB_SESSIONS] = "sessions", [DB_STALE] = "stale",
};

int store_errno(int code)
{
    if (code >= 0)
        return -code;
    switch (code) {
    case MDB_NOTFOUND:
        return -ENOENT;
    case MDB_MAP_FULL:
        return -ENOSPC;
    case MDB_READERS_FULL:
        return -EMFILE;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
        return -EBADMSG;
    default:
        return -EIO;
    }
}

/* ---- batches ---- */

int store_meta_read(const struct store *s, MDB_txn *txn, struct meta *meta)
{
    MDB_val value;
    int rc = record_get(s, txn, DB_META, record_val(meta_key, sizeof meta_key - 1), &value);
    if (rc == 0)
        rc = meta_decode(value.mv_data, value.mv_size, meta);
    return rc == -ENOENT ? -EBADMSG : rc;
}

static int meta_store(struct store *s)
{
    uint8_t bytes[META_SIZE];
    meta_encode(&s->meta, bytes);
    MDB_val key = record_val(meta_key, sizeof meta_key - 1),
            value = record_val(bytes, sizeof bytes);
    return store_errno(mdb_put(s->txn, s->dbis[DB_META], &key, &value, 0));
}

int store_begin(struct store *s)
{
    ASSERT(s->txn == NULL);
    chunk_scratch_begin(s->scratch);
    return store_errno(mdb_txn_begin(s->env, NULL, 0, &s->txn));
}

/* Everything the batch kept in memory goes into its transaction. */
static int flush(struct store *s)
{
    int rc = inode_flush(s);
    if (rc == 0)
        rc = sessions_flush(s);
    return rc ? rc : meta_store(s);
}

static void count_pages(struct store *s)
{
    MDB_envinfo info;
    if (mdb_env_info(s->env, &info) == 0)
        atomic_store(&s->pages, info.me_last_pgno + 1);
}

/* LMDB makes EIO of a short write, and a disk that gets full makes writes short. */
static int explain_eio(const struct store *s, int rc)
{
    struct statvfs disk;
    if (rc != -EIO || statvfs(s->state_dir, &disk))
        return rc;
    return disk.f_bavail * disk.f_frsize < FULL_DISK_BYTES ? -ENOSPC : rc;
}

int store_commit(struct store *s)
{
    ASSERT(s->txn != NULL);
    int rc = flush(s);
    if (rc) {
        store_abort(s);
        return rc;
    }
    rc = store_errno(mdb_txn_commit(s->txn));
    s->txn = NULL; /* LMDB has freed it, also when it failed */
    if (rc) {
        store_abort(s);
        return explain_eio(s, rc);
    }
    s->committed = s->meta;
    atomic_store(&s->time_ns, s->meta.time_ns);
    atomic_store(&s->applied, s->meta.applied);
    count_pages(s);
    return 0;
}

void store_abort(struct store *s)
{
    if (s->txn)
        mdb_txn_abort(s->txn);
    s->txn = NULL;
    s->meta = s->committed;
    inode_cache_clear(s->inodes);
    /* The table in memory is ahead of the store: read it again. Where even that fails the table
     * stays empty and fences everybody, which is safe. */
    memset(s->sessions, 0, sizeof *s->sessions);
    if (store_begin(s) == 0) {
        if (sessions_load(s))
            memset(s->sessions, 0, sizeof *s->sessions);
        mdb_txn_abort(s->txn);
        s->txn = NULL;
    }
}

uint64_t store_applied(const struct store *s)
{
    return atomic_load(&s->applied);
}

uint64_t store_time_ns(const struct store *s)
{
    return atomic_load(&s->time_ns);
}

uint64_t store_checkpointed(const struct store *s)
{
    return atomic_load(&s->checkpointed);
}

uint64_t store_grown(const struct store *s)
{
    return (atomic_load(&s->pages) - atomic_load(&s->pages_at_checkpoint)) * s->page_size;
}

bool store_has_garbage(const struct store *s)
{
    return s->committed.garbage > 0;
}

/* ---- open and close ---- */

__attribute__((format(printf, 4, 5))) static int fail(int rc, char *error, size_t error_size,
                                                      const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, error_size, format, arguments);
    va_end(arguments);
    return rc;
}

static int path_of(char path[PATH_MAX], const struct store *s, const char *name, const char *file)
{
    int size = snprintf(path, PATH_MAX, "%s/%s%s%s", s->state_dir, name, file ? "/" : "",
                        file ? file : "");
    return size > 0 && size < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int remove_file(const struct store *s, const char *name, const char *file)
{
    char path[PATH_MAX];
    int rc = path_of(path, s, name, file);
    if (rc)
        return rc;
    return unlink(path) && errno != ENOENT ? -errno : 0;
}

/* 0, or an LMDB code with no environment left. */
static int env_try(struct store *s, const char *path, uint64_t map_size)
{
    int rc = mdb_env_create(&s->env);
    if (rc)
        return rc;
    rc = mdb_env_set_mapsize(s->env, map_size);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, DB_COUNT);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(s->env, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_open(s->env, path, MDB_NOSYNC | MDB_NOTLS, 0600);
    MDB_stat stat;
    if (rc == 0)
        rc = mdb_env_stat(s->env, &stat);
    if (rc == 0) {
        s->page_size = stat.ms_psize;
        return 0;
    }
    mdb_env_close(s->env);
    s->env = NULL;
    return rc;
}

static int env_open(struct store *s, const char *name)
{
    char path[PATH_MAX];
    int rc = path_of(path, s, name, NULL);
    if (rc)
        return rc;
    rc = ENOMEM;
    for (uint64_t size = MAP_SIZE_MAX; rc == ENOMEM && size >= MAP_SIZE_MIN; size /= 4)
        rc = env_try(s, path, size);
    return store_errno(rc);
}

static void env_close(struct store *s)
{
    if (s->pinned)
        mdb_txn_abort(s->pinned);
    if (s->pinned_in_doubt)
        mdb_txn_abort(s->pinned_in_doubt);
    s->pinned = s->pinned_in_doubt = NULL;
    if (s->env)
        mdb_env_close(s->env);
    s->env = NULL;
}

static int dbis_open(struct store *s, unsigned flags)
{
    for (int db = 0; db < DB_COUNT; db++) {
        int rc = mdb_dbi_open(s->txn, db_names[db], flags, &s->dbis[db]);
        if (rc)
            return rc == MDB_NOTFOUND ? -EBADMSG : store_errno(rc);
    }
    return 0;
}

/* An empty filesystem, at slot 0. */
static int create_root(struct store *s)
{
    s->meta = (struct meta){.next_ino = FS_ROOT_INO, .next_cookie = DIRENT_COOKIE_FIRST};
    struct inode root = {
        .attr = {.mode = S_IFDIR | 0755, .nlink = 2, .size = 4096},
        .parent = FS_ROOT_INO,
        .data = FS_ROOT_INO,
    };
    return inode_add(s, &root);
}

static int create_contents(struct store *s)
{
    int rc = store_begin(s);
    if (rc)
        return rc;
    rc = dbis_open(s, MDB_CREATE);
    if (rc == 0)
        rc = create_root(s);
    if (rc == 0)
        return store_commit(s);
    mdb_txn_abort(s->txn);
    s->txn = NULL;
    return rc;
}

/* The environment is made under another name, and `checkpoint` names the one it gets: so a
 * checkpoint without its directory is a creation to be finished, and a directory without checkpoint
 * a loss. */
static int create_env(struct store *s)
{
    char path[PATH_MAX];
    int rc = path_of(path, s, unborn_name, NULL);
    if (rc)
        return rc;
    rc = remove_file(s, unborn_name, "data.mdb");
    if (rc == 0)
        rc = remove_file(s, unborn_name, "lock.mdb");
    if (rc)
        return rc;
    if (mkdir(path, 0700) && errno != EEXIST)
        return -errno;
    rc = env_open(s, unborn_name);
    if (rc == 0)
        rc = create_contents(s);
    if (rc == 0)
        rc = store_errno(mdb_env_sync(s->env, 1));
    if (rc == 0)
        rc = disk_sync_dir(path);
    if (rc == 0)
        rc = disk_sync_dir(s->state_dir); /* the directory lasts before a checkpoint speaks of it */
    struct checkpoint c = {.metas = NULL};
    if (rc == 0)
        rc = checkpoint_take(s, &c);
    env_close(s);
    if (rc == 0) {
        snprintf(c.name, sizeof c.name, "%s", first_name);
        rc = checkpoint_save(s->state_dir, &c);
    }
    checkpoint_free(&c);
    inode_cache_clear(s->inodes);
    return rc;
}

static int exists(const struct store *s, const char *name)
{
    char path[PATH_MAX];
    int rc = path_of(path, s, name, NULL);
    if (rc)
        return rc;
    if (access(path, F_OK) == 0)
        return 1;
    return errno == ENOENT ? 0 : -errno;
}

/* Load `checkpoint`; make the environment if there is neither. */
static int find_checkpoint(struct store *s, struct checkpoint *c, char *error, size_t error_size)
{
    int rc = checkpoint_load(s->state_dir, c);
    if (rc == -EBADMSG)
        return fail(rc, error, error_size, "%s/checkpoint is damaged: restore it or join anew",
                    s->state_dir);
    if (rc != -ENOENT)
        return rc;
    rc = exists(s, first_name);
    if (rc > 0)
        return fail(-EBADMSG, error, error_size, "%s/%s is there but its checkpoint is missing",
                    s->state_dir, first_name);
    if (rc == 0)
        rc = create_env(s);
    return rc ? rc : checkpoint_load(s->state_dir, c);
}

static int finish_creation(struct store *s)
{
    int rc = exists(s, s->name);
    if (rc)
        return rc < 0 ? rc : 0;
    char from[PATH_MAX], to[PATH_MAX];
    rc = path_of(from, s, unborn_name, NULL);
    if (rc == 0)
        rc = path_of(to, s, s->name, NULL);
    if (rc)
        return rc;
    if (rename(from, to))
        return -errno;
    return disk_sync_dir(s->state_dir);
}

/* What is in memory from the batch just opened. */
static int load(struct store *s)
{
    int rc = dbis_open(s, 0);
    if (rc == 0)
        rc = store_meta_read(s, s->txn, &s->meta);
    if (rc == 0)
        rc = sessions_load(s);
    if (rc == 0)
        rc = inode_cache_load(s);
    if (rc == 0)
        rc = chunk_scratch_load(s);
    return rc;
}

static int load_in_batch(struct store *s)
{
    int rc = store_begin(s);
    if (rc)
        return rc;
    rc = load(s);
    if (rc == 0)
        rc = store_errno(mdb_txn_commit(s->txn)); /* changes nothing; keeps the dbis */
    else
        mdb_txn_abort(s->txn);
    s->txn = NULL;
    s->committed = s->meta;
    atomic_store(&s->applied, s->meta.applied);
    atomic_store(&s->time_ns, s->meta.time_ns);
    atomic_store(&s->checkpointed, s->meta.applied);
    count_pages(s);
    atomic_store(&s->pages_at_checkpoint, atomic_load(&s->pages));
    return rc;
}

/* Always the same, after a crash or not; see fs/checkpoint.h. */
static int open_at_checkpoint(struct store *s, const struct checkpoint *c)
{
    char path[PATH_MAX];
    int rc = path_of(path, s, s->name, "data.mdb");
    if (rc == 0)
        rc = remove_file(s, s->name, "lock.mdb");
    if (rc == 0)
        rc = disk_overwrite(path, c->metas, 2 * (size_t)c->page_size);
    if (rc == 0)
        rc = env_open(s, s->name);
    if (rc == 0)
        rc = checkpoint_pin(s, &s->pinned);
    if (rc == 0)
        rc = load_in_batch(s);
    if (rc == 0 && s->meta.applied != c->applied)
        rc = -EBADMSG;
    return rc;
}

static struct store *store_new(const char *state_dir)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->state_dir = strdup(state_dir);
    s->sessions = calloc(1, sizeof *s->sessions);
    s->inodes = inode_cache_new();
    s->scratch = chunk_scratch_new();
    s->deletions_max = SLOT_DELETIONS_MAX;
    if (s->state_dir && s->sessions && s->inodes && s->scratch)
        return s;
    store_close(s);
    return NULL;
}

int store_open(const char *state_dir, struct store **out, char *error, size_t error_size)
{
    if (error_size)
        error[0] = '\0';
    struct store *s = store_new(state_dir);
    if (!s)
        return fail(-ENOMEM, error, error_size, "out of memory");
    struct checkpoint c = {.metas = NULL};
    int rc = find_checkpoint(s, &c, error, error_size);
    if (rc == 0) {
        memcpy(s->name, c.name, sizeof s->name);
        rc = finish_creation(s);
    }
    if (rc == 0)
        rc = open_at_checkpoint(s, &c);
    checkpoint_free(&c);
    if (rc) {
        if (error_size && error[0] == '\0')
            fail(rc, error, error_size, "cannot open the store in %s: %s", state_dir,
                 rc == -EBADMSG ? "it is damaged" : strerror(-rc));
        store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    if (s->txn)
        mdb_txn_abort(s->txn);
    env_close(s);
    inode_cache_free(s->inodes);
    chunk_scratch_free(s->scratch);
    free(s->sessions);
    free(s->state_dir);
    free(s);
}
