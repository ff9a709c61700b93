#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "fs/checkpoint.h"
#include "fs/damage.h"
#include "fs/digest.h"
#include "fs/disk.h"
#include "fs/environment.h"
#include "fs/inode.h"
#include "fs/reader.h"
#include "fs/store.h"

enum {
    /* LMDB 0.9's file begins with two meta pages: a page header, magic, format, address, map size,
     * and in a pad of the next field the page size. */
    META_OFFSET = 16,
    META_PAGE_SIZE_OFFSET = 8 + 8,
    META_START_SIZE = 64,
    META_FORMAT = 1,
    PAGE_SIZE_MIN = 512,
};
#define META_MAGIC UINT32_C(0xBEEFC0DE)
/* So the last sync is short, and the log's, on the same disk, are not held up for long. */
#define SYNC_BYTES (32 * MIB)
/* What comes, however much it is, leaves that to the disk, or the own log and store, which go on
 * meanwhile, would be the ones that find it full, and stop the node. */
#define ROOM_LEFT      (256 * MIB)
#define ROOM_LEFT_PART 16 /* of a disk that is small */

struct store_import {
    struct store *s;
    struct store *next; /* what is received, in the end a store like any other */
    int fd;             /* -1: not open */
    uint64_t room_left; /* for others, on the disk */
    uint64_t unsynced;  /* bytes */
    char dir[PATH_MAX], path[PATH_MAX];
    struct checkpoint checkpoint; /* metas NULL: not finished */
};

/* ---- giving ---- */

int store_export(struct store *s, int fd)
{
    if (atomic_load(&s->is_refused))
        return -EBADMSG;
    pthread_mutex_lock(&s->lock);
    struct exports *exports = s->exports;
    MDB_env *env = s->env;
    exports->count++;
    pthread_mutex_unlock(&s->lock);

    int rc = store_errno(mdb_env_copyfd2(env, fd, MDB_CP_COMPACT));

    pthread_mutex_lock(&s->lock);
    exports->count--;
    bool is_last = exports->left && exports->count == 0;
    pthread_mutex_unlock(&s->lock);
    if (is_last) {
        mdb_env_close(env);
        free(exports);
    }
    return rc;
}

/* @old is not s's environment any more. Where it is still being exported, that goes on to its end,
 * though the files have no names. */
static void leave_to_exports(struct store *s, struct store *old)
{
    mdb_txn_abort(old->pinned);
    old->pinned = NULL;
    pthread_mutex_lock(&s->lock);
    if (old->exports->count > 0) {
        old->exports->left = old->env;
        old->exports = NULL;
        old->env = NULL;
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- receiving ---- */

/* @is_named: `checkpoint` may speak of its directory. */
static void import_free(struct store_import *i, bool is_named)
{
    if (i->fd >= 0)
        close(i->fd);
    checkpoint_free(&i->checkpoint);
    store_close(i->next);
    if (!is_named)
        (void)disk_remove_env(i->dir); /* else the next one does it, or a restart */
    atomic_store(&i->s->importing, false);
    free(i);
}

static int make_file(struct store_import *i)
{
    struct store *s = i->s, *next = i->next;
    int rc = environment_remove_others(s);
    if (rc)
        return rc;
    snprintf(next->name, sizeof next->name, "store.%" PRIu64, environment_number(s->name) + 1);
    rc = environment_path(i->dir, s, next->name, NULL);
    if (rc == 0)
        rc = environment_path(i->path, s, next->name, "data.mdb");
    if (rc == 0)
        rc = disk_make_dir(i->dir);
    return rc ? rc : disk_create(i->path, &i->fd);
}

int store_import_begin(struct store *s, struct store_import **out)
{
    if (atomic_exchange(&s->importing, true))
        return -EBUSY;
    struct store_import *i = calloc(1, sizeof *i);
    if (!i) {
        atomic_store(&s->importing, false);
        return -ENOMEM;
    }
    i->s = s;
    i->fd = -1;
    uint64_t part = disk_size(s->state_dir) / ROOM_LEFT_PART;
    i->room_left = part < ROOM_LEFT ? part : ROOM_LEFT;
    i->next = store_new(s->state_dir);
    int rc = i->next ? make_file(i) : -ENOMEM;
    if (rc) {
        import_free(i, i->dir[0] == '\0');
        return rc;
    }
    *out = i;
    return 0;
}

void store_import_abort(struct store_import *i)
{
    import_free(i, false);
}

int store_import_write(struct store_import *i, const void *bytes, size_t size)
{
    ASSERT(i->fd >= 0);
    int rc = disk_has_room(i->s->state_dir, i->room_left + size);
    if (rc == 0)
        rc = disk_append(i->fd, i->path, bytes, size);
    i->unsynced += size;
    if (rc || i->unsynced < SYNC_BYTES)
        return rc;
    i->unsynced = 0;
    return disk_sync(i->fd, i->path);
}

static int sync_all(struct store_import *i)
{
    int rc = disk_sync(i->fd, i->path);
    if (rc == 0)
        rc = disk_sync_dir(i->dir);
    if (rc == 0)
        rc = disk_sync_dir(i->s->state_dir);
    return rc;
}

/* LMDB believes what it finds there. */
static int check_meta_page(int fd, uint64_t offset, uint32_t *page_size)
{
    uint8_t bytes[META_START_SIZE];
    ssize_t got = pread(fd, bytes, sizeof bytes, (off_t)offset);
    if (got != sizeof bytes)
        return got < 0 ? -errno : -EBADMSG;
    struct cursor c = cursor_of(bytes + META_OFFSET, sizeof bytes - META_OFFSET);
    uint32_t magic = cursor_u32(&c), format = cursor_u32(&c);
    cursor_bytes(&c, META_PAGE_SIZE_OFFSET);
    *page_size = cursor_u32(&c);
    bool is_size = *page_size >= PAGE_SIZE_MIN && *page_size <= CHECKPOINT_PAGE_SIZE_MAX &&
                   (*page_size & (*page_size - 1)) == 0;
    return magic == META_MAGIC && format == META_FORMAT && is_size ? 0 : -EBADMSG;
}

static int check_meta_pages(int fd)
{
    uint32_t page_size, again;
    int rc = check_meta_page(fd, 0, &page_size);
    if (rc == 0)
        rc = check_meta_page(fd, page_size, &again);
    return rc == 0 && again != page_size ? -EBADMSG : rc;
}

/* All pages are in the file: a page beyond its end would be a signal. */
static int check_size(const struct store *next, int fd)
{
    MDB_envinfo info;
    struct stat s;
    int rc = store_errno(mdb_env_info(next->env, &info));
    if (rc)
        return rc;
    if (fstat(fd, &s))
        return -errno;
    uint64_t pages = (uint64_t)s.st_size / next->page_size;
    return info.me_last_pgno < pages ? 0 : -EBADMSG;
}

static int check_digest(const struct store *next)
{
    uint64_t sum[2];
    int rc = digest_sum(next, next->pinned, sum);
    return rc == 0 && memcmp(sum, next->meta.sum, sizeof sum) != 0 ? -EBADMSG : rc;
}

/* A hollow store has nothing of its own slot either. */
static bool is_news(const struct store *s, uint64_t applied)
{
    uint64_t own = store_applied(s);
    return applied > own || (s->is_hollow && applied == own);
}

static int open_received(struct store_import *i, uint64_t node)
{
    struct store *next = i->next;
    int rc = check_meta_pages(i->fd);
    if (rc == 0)
        rc = environment_open(next, next->name);
    if (rc == 0)
        rc = check_size(next, i->fd);
    if (rc == 0)
        rc = environment_load(next);
    if (rc == 0) /* after the databases were opened: so they can be read in it */
        rc = checkpoint_pin(next, &next->pinned);
    if (rc == 0 && membership_is_empty(&next->membership))
        rc = -EBADMSG;
    if (rc == 0 && !is_news(i->s, next->meta.applied))
        rc = -ESTALE;
    if (rc == 0 && node != 0 && membership_seat(&next->membership, node) == MEMBERS_MAX)
        rc = -ESTALE;
    if (rc == 0)
        rc = check_digest(next);
    /* Nothing was written yet, so these are the metas of what was pinned. */
    return rc ? rc : checkpoint_take(next, &i->checkpoint);
}

int store_import_finish(struct store_import *i, uint64_t node)
{
    ASSERT(i->fd >= 0);
    int rc = sync_all(i);
    if (rc == 0)
        rc = open_received(i, node);
    if (rc) {
        import_free(i, false);
        return rc;
    }
    close(i->fd);
    i->fd = -1;
    return 0;
}

uint64_t store_import_slot(const struct store_import *i)
{
    ASSERT(i->checkpoint.metas != NULL);
    return i->checkpoint.applied;
}

/* ---- in the place of the old state ---- */

#define EXCHANGE(a, b)                                                                             \
    do {                                                                                           \
        __typeof__(a) exchanged_ = (a);                                                            \
        (a) = (b);                                                                                 \
        (b) = exchanged_;                                                                          \
    } while (0)

/* What belongs to the environment; what both have of their own stays: locks, readers. */
static void exchange(struct store *s, struct store *next)
{
    EXCHANGE(s->env, next->env);
    EXCHANGE(s->exports, next->exports);
    EXCHANGE(s->pinned, next->pinned);
    EXCHANGE(s->sessions, next->sessions);
    EXCHANGE(s->inodes, next->inodes);
    EXCHANGE(s->scratch, next->scratch);
    for (int db = 0; db < DB_COUNT; db++)
        EXCHANGE(s->dbis[db], next->dbis[db]);
    char name[sizeof s->name];
    memcpy(name, s->name, sizeof name);
    memcpy(s->name, next->name, sizeof name);
    memcpy(next->name, name, sizeof name);
    s->page_size = atomic_load(&next->page_size);
    s->meta = next->meta;
    s->committed = next->committed;
    s->membership = next->membership;
    s->published = next->published;
}

/* As a commit does: the slot last, but for what is not above it. */
static void announce(struct store *s, const struct store *next)
{
    atomic_store(&s->membership_version, s->published.version);
    atomic_store(&s->time_ns, s->meta.time_ns);
    atomic_store(&s->applied, s->meta.applied);
    atomic_store(&s->checkpointed, s->meta.applied);
    atomic_store(&s->pages, atomic_load(&next->pages));
    atomic_store(&s->pages_at_checkpoint, atomic_load(&next->pages));
}

static void take_over(struct store *s, struct store *next)
{
    pthread_rwlock_wrlock(&s->swap);
    pthread_mutex_lock(&s->lock);
    reader_detach_all(s);
    exchange(s, next);
    pthread_mutex_unlock(&s->lock);
    announce(s, next);
    damage_forget(s);
    s->is_hollow = false;
    atomic_store(&s->is_refused, false);
    pthread_rwlock_unlock(&s->swap);
}

int store_import_install(struct store *s, struct store_import *i)
{
    ASSERT(i->s == s);
    ASSERT(i->checkpoint.metas != NULL);
    ASSERT(s->txn == NULL);
    if (atomic_exchange(&s->checkpointing, true))
        return -EBUSY;
    if (!is_news(s, i->checkpoint.applied)) {
        import_free(i, false);
        atomic_store(&s->checkpointing, false);
        return -ESTALE;
    }
    int rc = checkpoint_save(s->state_dir, &i->checkpoint);
    if (rc) {
        /* Nobody knows which of the two a restart will find: both stay, and `checkpointing`, until
         * the node stops, which it must now. */
        import_free(i, true);
        return rc;
    }
    take_over(s, i->next);
    (void)environment_remove(s, i->next->name); /* else a restart does it */
    leave_to_exports(s, i->next);
    import_free(i, true);
    atomic_store(&s->checkpointing, false);
    return 0;
}
