#include "fs/store.h"

#include <errno.h>
#include <inttypes.h>
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
#include "fs/damage.h"
#include "fs/digest.h"
#include "fs/dirent.h"
#include "fs/disk.h"
#include "fs/environment.h"
#include "fs/inode.h"
#include "fs/members.h"
#include "fs/record.h"
#include "fs/sessions.h"

enum {
    FULL_DISK_BYTES = 1 << 20, /* free, for who is not root */
    CHECKPOINT_ROOM = 1 << 20, /* its file has two pages of LMDB's */
};

static const uint8_t meta_key[] = "meta";

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
    return record_put_unsummed(s, DB_META, key, value);
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

void store_count_pages(struct store *s)
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
    members_publish(s); /* before the slot says that it is there */
    atomic_store(&s->time_ns, s->meta.time_ns);
    atomic_store(&s->applied, s->meta.applied);
    store_count_pages(s);
    return 0;
}

void store_abort(struct store *s)
{
    if (s->txn)
        mdb_txn_abort(s->txn);
    s->txn = NULL;
    s->meta = s->committed;
    members_restore(s);
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
    uint64_t before = atomic_load(&s->pages_at_checkpoint), pages = atomic_load(&s->pages);
    return pages > before ? (pages - before) * s->page_size : 0; /* a snapshot may be smaller */
}

bool store_has_room(const struct store *s)
{
    return disk_has_room(s->state_dir, CHECKPOINT_ROOM) == 0;
}

uint64_t store_file_size(const struct store *s)
{
    return atomic_load(&s->pages) * atomic_load(&s->page_size);
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
    rc = environment_open_dbs(s, MDB_CREATE);
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
    int rc = environment_path(path, s, ENVIRONMENT_UNBORN, NULL);
    if (rc)
        return rc;
    rc = disk_remove_env(path);
    if (rc == 0)
        rc = disk_make_dir(path);
    if (rc)
        return rc;
    rc = environment_open(s, ENVIRONMENT_UNBORN);
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
    environment_close(s);
    if (rc == 0) {
        snprintf(c.name, sizeof c.name, "%s", ENVIRONMENT_FIRST);
        rc = checkpoint_save(s->state_dir, &c);
    }
    checkpoint_free(&c);
    inode_cache_clear(s->inodes);
    return rc;
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
    uint64_t number;
    rc = environment_last(s, &number);
    if (number > 0)
        return fail(-EBADMSG, error, error_size,
                    "%s/store.%" PRIu64 " is there but its checkpoint is missing", s->state_dir,
                    number);
    if (rc == 0)
        rc = create_env(s);
    return rc ? rc : checkpoint_load(s->state_dir, c);
}

static int finish_creation(struct store *s)
{
    int rc = environment_exists(s, s->name);
    if (rc)
        return rc < 0 ? rc : 0;
    char from[PATH_MAX], to[PATH_MAX];
    rc = environment_path(from, s, ENVIRONMENT_UNBORN, NULL);
    if (rc == 0)
        rc = environment_path(to, s, s->name, NULL);
    if (rc)
        return rc;
    if (rename(from, to))
        return -errno;
    return disk_sync_dir(s->state_dir);
}

/* Always the same, after a crash or not; see fs/checkpoint.h. */
static int open_at_checkpoint(struct store *s, const struct checkpoint *c)
{
    char path[PATH_MAX], lock[PATH_MAX];
    int rc = environment_path(path, s, s->name, "data.mdb");
    if (rc == 0)
        rc = environment_path(lock, s, s->name, "lock.mdb");
    if (rc == 0 && unlink(lock) && errno != ENOENT)
        rc = -errno;
    if (rc == 0)
        rc = disk_overwrite(path, c->metas, 2 * (size_t)c->page_size);
    if (rc == 0)
        rc = environment_open(s, s->name);
    if (rc == 0)
        rc = checkpoint_pin(s, &s->pinned);
    if (rc == 0)
        rc = environment_load(s);
    if (rc == 0 && s->meta.applied != c->applied)
        rc = -EBADMSG;
    if (rc == 0 && s->meta.next_ino == 0) /* a hollow one (fs/hollow.h): nobody may build on it */
        rc = -EBADMSG;
    return rc;
}

/* A reader waits while another one is to be let in alone: reads come all the time. */
static void init_locks(struct store *s)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&s->swap, &attributes);
    pthread_rwlockattr_destroy(&attributes);
    pthread_mutex_init(&s->lock, NULL);
}

struct store *store_new(const char *state_dir)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    init_locks(s);
    s->state_dir = strdup(state_dir);
    s->sessions = calloc(1, sizeof *s->sessions);
    s->inodes = inode_cache_new();
    s->scratch = chunk_scratch_new();
    s->exports = calloc(1, sizeof *s->exports);
    s->damage = damage_new();
    s->deletions_max = SLOT_DELETIONS_MAX;
    if (s->state_dir && s->sessions && s->inodes && s->scratch && s->exports && s->damage)
        return s;
    store_close(s);
    return NULL;
}

static int open_or_make(struct store *s, char *error, size_t error_size)
{
    struct checkpoint c = {.metas = NULL};
    int rc = find_checkpoint(s, &c, error, error_size);
    if (rc == 0) {
        memcpy(s->name, c.name, sizeof s->name);
        rc = finish_creation(s);
    }
    if (rc == 0)
        rc = environment_remove_others(s); /* of a snapshot that was not, or was, installed */
    if (rc == 0)
        rc = open_at_checkpoint(s, &c);
    checkpoint_free(&c);
    return rc;
}

int store_open(const char *state_dir, struct store **out, char *error, size_t error_size)
{
    if (error_size)
        error[0] = '\0';
    struct store *s = store_new(state_dir);
    if (!s)
        return fail(-ENOMEM, error, error_size, "out of memory");
    int rc = open_or_make(s, error, error_size);
    if (rc) {
        if (error_size && error[0] == '\0')
            fail(rc, error, error_size, "cannot open the store in %s: %s", state_dir,
                 rc == -EBADMSG  ? "it is damaged"
                 : rc == -EPROTO ? "an earlier paxfs made it; make the cluster anew and copy the "
                                   "files"
                                 : strerror(-rc));
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
    environment_close(s);
    inode_cache_free(s->inodes);
    chunk_scratch_free(s->scratch);
    free(s->exports);
    damage_free(s->damage);
    free(s->sessions);
    free(s->state_dir);
    pthread_mutex_destroy(&s->lock);
    pthread_rwlock_destroy(&s->swap);
    free(s);
}
