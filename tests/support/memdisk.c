#include "tests/support/memdisk.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { SECTOR = 512, FILES_MAX = 128, NAMES_MAX = 64, CHANGES_MAX = 64, PATH_SIZE = 128 };

struct file {
    uint8_t *now, *durable;
    bool *dirty; /* by sector */
    size_t size;
};

struct name {
    char path[PATH_SIZE];
    struct file *file;
};

struct names {
    struct name list[NAMES_MAX];
    uint32_t count;
};

enum change_kind { CHANGE_CREATE, CHANGE_RENAME, CHANGE_REMOVE };

struct change {
    enum change_kind kind;
    char path[PATH_SIZE], to[PATH_SIZE];
    struct file *file;
};

struct memdisk {
    struct file *files[FILES_MAX]; /* handles are indexes; kept until the disk is freed */
    uint32_t file_count;
    struct names now, durable;
    struct change changes[CHANGES_MAX]; /* from durable to now */
    uint32_t change_count;
    uint64_t operations, die_at;
    bool dead, limited;
    uint32_t files_left;
    int write_error, sync_error;
};

/* ---- files ---- */

static struct file *file_new(struct memdisk *d, size_t size)
{
    ASSERT(d->file_count < FILES_MAX);
    struct file *f = calloc(1, sizeof *f);
    ASSERT(f);
    f->size = size;
    f->now = calloc(1, size + SECTOR);
    f->durable = calloc(1, size + SECTOR);
    f->dirty = calloc(size / SECTOR + 1, sizeof *f->dirty);
    ASSERT(f->now && f->durable && f->dirty);
    d->files[d->file_count++] = f;
    return f;
}

static void file_sync(struct file *f)
{
    for (size_t i = 0; i <= f->size / SECTOR; i++) {
        if (f->dirty[i])
            memcpy(f->durable + i * SECTOR, f->now + i * SECTOR, SECTOR);
        f->dirty[i] = false;
    }
}

/* ---- names ---- */

static struct name *names_find(struct names *n, const char *path)
{
    for (uint32_t i = 0; i < n->count; i++)
        if (strcmp(n->list[i].path, path) == 0)
            return &n->list[i];
    return NULL;
}

static void names_remove(struct names *n, const char *path)
{
    struct name *name = names_find(n, path);
    if (name)
        *name = n->list[--n->count];
}

static void names_apply(struct names *n, const struct change *c)
{
    struct name name = {.file = c->file};
    const char *path = c->kind == CHANGE_RENAME ? c->to : c->path;
    memcpy(name.path, path, PATH_SIZE);
    names_remove(n, c->path);
    if (c->kind == CHANGE_REMOVE)
        return;
    names_remove(n, name.path);
    ASSERT(n->count < NAMES_MAX);
    n->list[n->count++] = name;
}

static void change_names(struct memdisk *d, enum change_kind kind, const char *path, const char *to,
                         struct file *file)
{
    ASSERT(d->change_count < CHANGES_MAX);
    struct change *c = &d->changes[d->change_count++];
    *c = (struct change){.kind = kind, .file = file};
    snprintf(c->path, sizeof c->path, "%s", path);
    snprintf(c->to, sizeof c->to, "%s", to);
    names_apply(&d->now, c);
}

/* ---- the table ---- */

/* True: this operation finds the power off. */
static bool dies(struct memdisk *d)
{
    d->operations++;
    if (d->die_at != 0 && d->operations >= d->die_at)
        d->dead = true;
    return d->dead;
}

static int mem_make_directory(void *context, const char *path)
{
    (void)context;
    (void)path;
    return 0;
}

static int mem_list(void *context, const char *path, void (*each)(void *argument, const char *name),
                    void *argument)
{
    struct memdisk *d = context;
    size_t size = strlen(path);
    for (uint32_t i = 0; i < d->now.count; i++) {
        const char *full = d->now.list[i].path;
        if (strncmp(full, path, size) == 0 && full[size] == '/')
            each(argument, full + size + 1);
    }
    return 0;
}

static int64_t mem_read_file(void *context, const char *path, char *bytes, size_t room)
{
    struct memdisk *d = context;
    struct name *name = names_find(&d->now, path);
    if (!name)
        return -ENOENT;
    size_t size = name->file->size < room ? name->file->size : room;
    memcpy(bytes, name->file->now, size);
    return (int64_t)size;
}

static int mem_write_file(void *context, const char *path, const char *bytes, size_t size)
{
    struct memdisk *d = context;
    struct file *f = file_new(d, size);
    memcpy(f->now, bytes, size);
    memset(f->dirty, true, (size / SECTOR + 1) * sizeof *f->dirty);
    change_names(d, CHANGE_CREATE, path, "", f);
    if (dies(d))
        return -EIO;
    file_sync(f);
    return 0;
}

static int mem_rename(void *context, const char *from, const char *to)
{
    struct memdisk *d = context;
    struct name *name = names_find(&d->now, from);
    if (!name)
        return -ENOENT;
    change_names(d, CHANGE_RENAME, from, to, name->file);
    return dies(d) ? -EIO : 0;
}

static int mem_remove(void *context, const char *path)
{
    struct memdisk *d = context;
    struct name *name = names_find(&d->now, path);
    if (!name)
        return -ENOENT;
    change_names(d, CHANGE_REMOVE, path, "", name->file);
    return dies(d) ? -EIO : 0;
}

static int mem_sync_directory(void *context, const char *path)
{
    struct memdisk *d = context;
    (void)path;
    if (dies(d))
        return -EIO;
    for (uint32_t i = 0; i < d->change_count; i++)
        names_apply(&d->durable, &d->changes[i]);
    d->change_count = 0;
    return 0;
}

static int handle_of(struct memdisk *d, const struct file *f)
{
    for (uint32_t i = 0; i < d->file_count; i++)
        if (d->files[i] == f)
            return (int)i;
    return -EBADF;
}

static int mem_open(void *context, const char *path)
{
    struct memdisk *d = context;
    struct name *name = names_find(&d->now, path);
    if (!name)
        return -ENOENT;
    if (dies(d))
        return -EIO;
    file_sync(name->file);
    return handle_of(d, name->file);
}

static int mem_create(void *context, const char *path, uint64_t size)
{
    struct memdisk *d = context;
    if (d->limited && d->files_left == 0)
        return -ENOSPC;
    d->files_left--;
    struct file *f = file_new(d, size);
    change_names(d, CHANGE_CREATE, path, "", f);
    return dies(d) ? -EIO : handle_of(d, f);
}

static int64_t mem_size(void *context, int file)
{
    struct memdisk *d = context;
    return (int64_t)d->files[file]->size;
}

static bool is_aligned(size_t size, uint64_t offset)
{
    return size % WAL_BLOCK_SIZE == 0 && offset % WAL_BLOCK_SIZE == 0;
}

static int mem_read(void *context, int file, void *bytes, size_t size, uint64_t offset)
{
    struct memdisk *d = context;
    struct file *f = d->files[file];
    ASSERT(is_aligned(size, offset));
    if (d->dead || offset + size > f->size)
        return -EIO;
    memcpy(bytes, f->now + offset, size);
    return 0;
}

static int mem_write(void *context, int file, const void *bytes, size_t size, uint64_t offset)
{
    struct memdisk *d = context;
    struct file *f = d->files[file];
    ASSERT(is_aligned(size, offset));
    ASSERT(((uintptr_t)bytes) % WAL_BLOCK_SIZE == 0);
    ASSERT(offset + size <= f->size); /* or the size would change, and a sync write metadata */
    if (d->dead)
        return -EIO;
    if (d->write_error) {
        int rc = d->write_error;
        d->write_error = 0;
        return rc;
    }
    memcpy(f->now + offset, bytes, size);
    memset(f->dirty + offset / SECTOR, true, size / SECTOR * sizeof *f->dirty);
    return dies(d) ? -EIO : 0;
}

static int mem_sync(void *context, int file)
{
    struct memdisk *d = context;
    if (d->sync_error) {
        int rc = d->sync_error;
        d->sync_error = 0;
        return rc;
    }
    if (dies(d))
        return -EIO;
    file_sync(d->files[file]);
    return 0;
}

static void mem_close(void *context, int file)
{
    (void)context;
    (void)file;
}

struct wal_io memdisk_io(struct memdisk *d)
{
    return (struct wal_io){
        .context = d,
        .make_directory = mem_make_directory,
        .list = mem_list,
        .read_file = mem_read_file,
        .write_file = mem_write_file,
        .rename = mem_rename,
        .remove = mem_remove,
        .sync_directory = mem_sync_directory,
        .open = mem_open,
        .create = mem_create,
        .size = mem_size,
        .read = mem_read,
        .write = mem_write,
        .sync = mem_sync,
        .close = mem_close,
    };
}

/* ---- the tests' side ---- */

struct memdisk *memdisk_new(void)
{
    struct memdisk *d = calloc(1, sizeof *d);
    ASSERT(d);
    return d;
}

void memdisk_free(struct memdisk *d)
{
    if (!d)
        return;
    for (uint32_t i = 0; i < d->file_count; i++) {
        free(d->files[i]->now);
        free(d->files[i]->durable);
        free(d->files[i]->dirty);
        free(d->files[i]);
    }
    free(d);
}

uint64_t memdisk_operations(const struct memdisk *d)
{
    return d->operations;
}

void memdisk_die_at(struct memdisk *d, uint64_t operation)
{
    d->die_at = operation;
}

void memdisk_fail_write(struct memdisk *d, int error)
{
    d->write_error = error;
}

void memdisk_fail_sync(struct memdisk *d, int error)
{
    d->sync_error = error;
}

void memdisk_limit_files(struct memdisk *d, uint32_t count)
{
    d->limited = true;
    d->files_left = count;
}

/* Which of the sectors that were on their way arrive. */
enum arrival {
    ARRIVE_NONE,
    ARRIVE_FIRST,
    ARRIVE_LAST,
    ARRIVE_FEW,
    ARRIVE_HALF,
    ARRIVE_MOST,
    ARRIVE_ALL,
    ARRIVALS
};

static bool arrives(enum arrival arrival, uint64_t cut, uint64_t index, struct prng *p)
{
    switch (arrival) {
    case ARRIVE_NONE:
        return false;
    case ARRIVE_FIRST:
        return index < cut;
    case ARRIVE_LAST:
        return index >= cut;
    case ARRIVE_FEW:
        return prng_below(p, 8) == 0;
    case ARRIVE_HALF:
        return prng_below(p, 2) == 0;
    case ARRIVE_MOST:
        return prng_below(p, 8) != 0;
    case ARRIVE_ALL:
    case ARRIVALS:
        return true;
    }
    return true;
}

static struct file *crash_file(struct memdisk *to, const struct file *from, struct prng *p)
{
    struct file *f = file_new(to, from->size);
    memcpy(f->durable, from->durable, from->size);
    uint64_t dirty = 0, index = 0;
    for (size_t i = 0; i <= from->size / SECTOR; i++)
        dirty += from->dirty[i];
    enum arrival arrival = (enum arrival)prng_below(p, ARRIVALS);
    uint64_t cut = prng_below(p, dirty + 1);
    for (size_t i = 0; i <= from->size / SECTOR; i++)
        if (from->dirty[i] && arrives(arrival, cut, index++, p))
            memcpy(f->durable + i * SECTOR, from->now + i * SECTOR, SECTOR);
    memcpy(f->now, f->durable, from->size);
    return f;
}

struct memdisk *memdisk_crash(const struct memdisk *d, struct prng *p)
{
    struct memdisk *after = memdisk_new();
    struct names names = d->durable;
    uint64_t kept = prng_below(p, d->change_count + UINT64_C(1));
    for (uint64_t i = 0; i < kept; i++)
        names_apply(&names, &d->changes[i]);
    for (uint32_t i = 0; i < names.count; i++)
        names.list[i].file = crash_file(after, names.list[i].file, p);
    after->now = names;
    after->durable = names;
    return after;
}

void memdisk_kill(struct memdisk *d)
{
    d->dead = false;
    d->die_at = 0;
}

struct memdisk *memdisk_copy(const struct memdisk *d)
{
    struct memdisk *copy = memdisk_new();
    struct names names = d->now;
    for (uint32_t i = 0; i < names.count; i++) {
        const struct file *from = names.list[i].file;
        struct file *f = file_new(copy, from->size);
        memcpy(f->now, from->now, from->size);
        memcpy(f->durable, from->now, from->size);
        names.list[i].file = f;
    }
    copy->now = names;
    copy->durable = names;
    return copy;
}

uint8_t *memdisk_bytes(struct memdisk *d, const char *path, size_t *size)
{
    struct name *name = names_find(&d->now, path);
    if (!name)
        return NULL;
    file_sync(name->file);
    *size = name->file->size;
    return name->file->now;
}

const char *memdisk_path(const struct memdisk *d, uint32_t index)
{
    return index < d->now.count ? d->now.list[index].path : NULL;
}

void memdisk_remove_file(struct memdisk *d, const char *path)
{
    names_remove(&d->now, path);
    names_remove(&d->durable, path);
}
