#include "fs/checkpoint.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "fs/disk.h"
#include "fs/store.h"

/* The file: magic, version, name, applied, page size, two meta pages; XXH3 of all that. */
enum {
    CHECKPOINT_VERSION = 1,
    HEAD_SIZE = 8 + 4 + CHECKPOINT_NAME_SIZE + 8 + 4,
    PAGE_SIZE_MIN = 512,
};
#define CHECKPOINT_MAGIC UINT64_C(0x3174706373667870) /* "pxfscpt1" */
#define FILE_SIZE_LIMIT  (HEAD_SIZE + 2 * (size_t)CHECKPOINT_PAGE_SIZE_MAX + 8)

static const char file_name[] = "checkpoint";

struct store_checkpoint {
    MDB_txn *pinned;
    struct checkpoint checkpoint;
};

static int decode(const uint8_t *bytes, size_t size, struct checkpoint *c)
{
    if (size < HEAD_SIZE + 8)
        return -EBADMSG;
    struct cursor tail = cursor_of(bytes + size - 8, 8);
    if (cursor_u64(&tail) != XXH3_64bits(bytes, size - 8))
        return -EBADMSG;
    struct cursor r = cursor_of(bytes, size - 8);
    if (cursor_u64(&r) != CHECKPOINT_MAGIC || cursor_u32(&r) != CHECKPOINT_VERSION)
        return -EBADMSG;
    const uint8_t *name = cursor_bytes(&r, CHECKPOINT_NAME_SIZE);
    c->applied = cursor_u64(&r);
    c->page_size = cursor_u32(&r);
    if (r.failed || !memchr(name, '\0', CHECKPOINT_NAME_SIZE) || strchr((const char *)name, '/'))
        return -EBADMSG;
    memcpy(c->name, name, CHECKPOINT_NAME_SIZE);
    if (c->page_size < PAGE_SIZE_MIN || c->page_size > CHECKPOINT_PAGE_SIZE_MAX)
        return -EBADMSG;
    const uint8_t *metas = cursor_bytes(&r, 2 * (size_t)c->page_size);
    if (!cursor_done(&r))
        return -EBADMSG;
    c->metas = malloc(2 * (size_t)c->page_size);
    if (!c->metas)
        return -ENOMEM;
    memcpy(c->metas, metas, 2 * (size_t)c->page_size);
    return 0;
}

int checkpoint_load(const char *state_dir, struct checkpoint *c)
{
    memset(c, 0, sizeof *c);
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", state_dir, file_name) >= (int)sizeof path)
        return -ENAMETOOLONG;
    uint8_t *bytes = malloc(FILE_SIZE_LIMIT);
    if (!bytes)
        return -ENOMEM;
    size_t size;
    int rc = disk_read_all(path, bytes, FILE_SIZE_LIMIT, &size);
    if (rc == -EFBIG)
        rc = -EBADMSG;
    if (rc == 0)
        rc = decode(bytes, size, c);
    free(bytes);
    return rc;
}

int checkpoint_save(const char *state_dir, const struct checkpoint *c)
{
    size_t size = HEAD_SIZE + 2 * (size_t)c->page_size + 8;
    uint8_t *bytes = malloc(size);
    if (!bytes)
        return -ENOMEM;
    struct writer w = writer_of(bytes, size);
    write_u64(&w, CHECKPOINT_MAGIC);
    write_u32(&w, CHECKPOINT_VERSION);
    write_bytes(&w, c->name, sizeof c->name);
    write_u64(&w, c->applied);
    write_u32(&w, c->page_size);
    write_bytes(&w, c->metas, 2 * (size_t)c->page_size);
    write_u64(&w, XXH3_64bits(bytes, w.size));
    ASSERT(!w.failed && w.size == size);
    int rc = disk_replace(state_dir, file_name, bytes, size);
    free(bytes);
    return rc;
}

void checkpoint_free(struct checkpoint *c)
{
    free(c->metas);
    c->metas = NULL;
}

int checkpoint_pin(struct store *s, MDB_txn **pinned)
{
    return store_errno(mdb_txn_begin(s->env, NULL, MDB_RDONLY, pinned));
}

int checkpoint_take(struct store *s, struct checkpoint *c)
{
    ASSERT(s->txn == NULL);
    ASSERT(s->page_size <= CHECKPOINT_PAGE_SIZE_MAX);
    *c = (struct checkpoint){.applied = s->committed.applied, .page_size = s->page_size};
    static_assert(sizeof c->name == sizeof s->name, "the same name");
    memcpy(c->name, s->name, sizeof c->name);
    size_t size = 2 * (size_t)s->page_size;
    c->metas = malloc(size);
    if (!c->metas)
        return -ENOMEM;
    /* Nobody writes the metas meanwhile: the store thread is here. */
    int fd;
    int rc = store_errno(mdb_env_get_fd(s->env, &fd));
    if (rc == 0)
        rc = disk_read_start(fd, c->metas, size);
    if (rc)
        checkpoint_free(c);
    return rc;
}

int store_checkpoint_begin(struct store *s, struct store_checkpoint **out)
{
    if (atomic_exchange(&s->checkpointing, true))
        return -EBUSY;
    struct store_checkpoint *c = calloc(1, sizeof *c);
    int rc = c ? checkpoint_pin(s, &c->pinned) : -ENOMEM;
    if (rc == 0)
        rc = checkpoint_take(s, &c->checkpoint);
    if (rc) {
        if (c && c->pinned)
            mdb_txn_abort(c->pinned);
        free(c);
        atomic_store(&s->checkpointing, false);
        return rc;
    }
    atomic_store(&s->pages_at_checkpoint, atomic_load(&s->pages));
    *out = c;
    return 0;
}

int store_checkpoint_finish(struct store *s, struct store_checkpoint *c)
{
    int rc = store_errno(mdb_env_sync(s->env, 1));
    if (rc == 0)
        rc = checkpoint_save(s->state_dir, &c->checkpoint);
    if (rc == 0) {
        mdb_txn_abort(s->pinned);
        s->pinned = c->pinned;
        atomic_store(&s->checkpointed, c->checkpoint.applied);
        atomic_store(&s->checkpointing, false);
    } else {
        /* Nobody knows which of the two a restart will find: both stay pinned until the node stops,
         * which it must now. */
        s->pinned_in_doubt = c->pinned;
    }
    checkpoint_free(&c->checkpoint);
    free(c);
    return rc;
}
