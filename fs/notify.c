#include "fs/notify.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define HASH_NONFATAL_OOM          1
#define uthash_nonfatal_oom(entry) ((entry)->unlisted = true)
#include <uthash.h>

/* Entry notices kept. Dropping more is safe: the names are revalidated at each use, only the FORGET
 * that would free an orphan comes later, with the kernel's own memory pressure or at umount. */
#define ENTRIES_QUEUED_MAX 65536

struct notice {
    UT_hash_handle hh;
    bool unlisted;
    size_t name_size;
    /* the key: */
    uint64_t ino; /* the inode; the parent's where a name follows */
    char name[];  /* NUL-terminated; empty: the pages of ino */
};

#define KEY_SIZE(name_size) (sizeof(uint64_t) + (name_size))

struct notify {
    struct fuse_session *session;
    struct notify_callbacks callbacks;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct notice *queue; /* uthash keeps the order of arrival */
    size_t entry_count;
    bool stop;
};

/* Takes @notice, and frees it where an equal one waits already or no memory is left. */
static int enqueue(struct notify *n, struct notice *notice)
{
    size_t key_size = KEY_SIZE(notice->name_size);
    struct notice *same;
    pthread_mutex_lock(&n->lock);
    HASH_FIND(hh, n->queue, &notice->ino, key_size, same);
    bool full = notice->name_size > 0 && n->entry_count >= ENTRIES_QUEUED_MAX;
    if (same || full || n->stop) {
        pthread_mutex_unlock(&n->lock);
        free(notice);
        return 0;
    }
    HASH_ADD(hh, n->queue, ino, key_size, notice);
    bool unlisted = notice->unlisted;
    if (!unlisted && notice->name_size > 0)
        n->entry_count++;
    pthread_mutex_unlock(&n->lock);
    if (unlisted) {
        free(notice);
        return -ENOMEM;
    }
    pthread_cond_signal(&n->arrived);
    return 0;
}

static struct notice *notice_new(uint64_t ino, const char *name, size_t name_size)
{
    struct notice *notice = calloc(1, sizeof(*notice) + name_size + 1);
    if (!notice)
        return NULL;
    notice->ino = ino;
    notice->name_size = name_size;
    if (name_size > 0)
        memcpy(notice->name, name, name_size);
    return notice;
}

void notify_entry(struct notify *n, uint64_t parent, const char *name, size_t name_size)
{
    struct notice *notice = notice_new(parent, name, name_size);
    if (notice)
        (void)enqueue(n, notice);
}

int notify_inode(struct notify *n, uint64_t ino)
{
    struct notice *notice = notice_new(ino, NULL, 0);
    return notice ? enqueue(n, notice) : -ENOMEM;
}

uint64_t notify_count(struct notify *n)
{
    pthread_mutex_lock(&n->lock);
    uint64_t count = HASH_COUNT(n->queue);
    pthread_mutex_unlock(&n->lock);
    return count;
}

/* ENOENT and the like: the kernel does not hold it (any more), which is what was asked for. */
static void send_notice(struct notify *n, const struct notice *notice)
{
    if (notice->name_size > 0)
        (void)fuse_lowlevel_notify_inval_entry(n->session, notice->ino, notice->name,
                                               notice->name_size);
    else
        (void)fuse_lowlevel_notify_inval_inode(n->session, notice->ino, 0, 0);
}

/* The lock is held when called and when it returns. */
static void work_off_one(struct notify *n)
{
    struct notice *notice = n->queue;
    HASH_DEL(n->queue, notice);
    if (notice->name_size > 0)
        n->entry_count--;
    pthread_mutex_unlock(&n->lock);
    send_notice(n, notice);
    free(notice);
    pthread_mutex_lock(&n->lock);
}

void notify_free(struct notify *n)
{
    struct notice *notice, *after;
    HASH_ITER(hh, n->queue, notice, after)
    {
        HASH_DEL(n->queue, notice);
        free(notice);
    }
    pthread_cond_destroy(&n->arrived);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

static void *notify_main(void *context)
{
    struct notify *n = context;
    pthread_mutex_lock(&n->lock);
    while (!n->stop) {
        if (n->queue)
            work_off_one(n);
        else
            pthread_cond_wait(&n->arrived, &n->lock);
    }
    pthread_mutex_unlock(&n->lock);
    n->callbacks.ended(n->callbacks.context); /* may free @n */
    return NULL;
}

int notify_start(struct fuse_session *session, const struct notify_callbacks *callbacks,
                 struct notify **out)
{
    struct notify *n = calloc(1, sizeof(*n));
    if (!n)
        return -ENOMEM;
    n->session = session;
    n->callbacks = *callbacks;
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->arrived, NULL);
    int rc = -pthread_create(&n->thread, NULL, notify_main, n);
    if (rc < 0) {
        notify_free(n);
        return rc;
    }
    pthread_detach(n->thread);
    *out = n;
    return 0;
}

void notify_stop(struct notify *n)
{
    pthread_mutex_lock(&n->lock);
    n->stop = true;
    pthread_cond_signal(&n->arrived); /* under the lock: the thread may free @n once it has it */
    pthread_mutex_unlock(&n->lock);
}
