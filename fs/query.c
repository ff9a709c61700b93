#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/assert.h"
#include "fs/chunk.h"
#include "fs/digest.h"
#include "fs/dirent.h"
#include "fs/inode.h"
#include "fs/orphan.h"
#include "fs/reader.h"
#include "fs/record.h"
#include "fs/sessions.h"
#include "fs/store.h"
#include "fs/xattr.h"

static_assert(STORE_IOV_MAX >= 2 * (WRITE_SIZE_MAX / CHUNK_SIZE + 1),
              "each chunk may need a piece of bytes and one of zeroes");

static const uint8_t zeroes[CHUNK_SIZE];

static int get_inode(struct store_reader *r, uint64_t ino, struct inode *inode)
{
    ASSERT(r->is_open);
    int rc = inode_read(r->s, r->txn, ino, inode);
    return rc == -ENOENT ? -ESTALE : rc;
}

int store_getattr(struct store_reader *r, uint64_t ino, struct fs_attr *attr)
{
    struct inode inode;
    int rc = get_inode(r, ino, &inode);
    if (rc == 0)
        *attr = inode.attr;
    return rc;
}

int store_lookup(struct store_reader *r, uint64_t parent, const char *name, size_t name_size,
                 struct fs_attr *attr)
{
    struct inode dir;
    int rc = get_inode(r, parent, &dir);
    if (rc)
        return rc;
    if (name_size == 1 && name[0] == '.') { /* of a file handle: any inode, no directory alone */
        *attr = dir.attr;
        return 0;
    }
    if (!inode_is_dir(&dir))
        return -ENOTDIR;
    if (name_size == 2 && name[0] == '.' && name[1] == '.')
        return store_getattr(r, dir.parent, attr);
    if (name_size == 0 || name_size > FILE_NAME_MAX)
        return name_size ? -ENAMETOOLONG : -ENOENT;
    struct dirent_name n = {parent, name, name_size};
    struct dirent d;
    rc = dirent_get(r->s, r->txn, &n, &d);
    return rc ? rc : store_getattr(r, d.ino, attr);
}

/* ---- directories ---- */

struct listing {
    int (*each)(void *context, const struct store_dirent *entry);
    void *context;
};

static int list_one(void *context, const struct dirent *d, const char *name, size_t size)
{
    const struct listing *l = context;
    char terminated[FILE_NAME_MAX + 1];
    memcpy(terminated, name, size);
    terminated[size] = '\0';
    struct store_dirent entry = {
        .ino = d->ino,
        .cookie = d->cookie,
        .mode = d->mode,
        .name = terminated,
        .name_size = (uint32_t)size,
    };
    return l->each(l->context, &entry);
}

int store_readdir(struct store_reader *r, uint64_t ino, uint64_t cookie,
                  int (*each)(void *context, const struct store_dirent *entry), void *context)
{
    struct inode dir;
    int rc = get_inode(r, ino, &dir);
    if (rc)
        return rc;
    if (!inode_is_dir(&dir))
        return -ENOTDIR;
    struct listing l = {each, context};
    struct dirent dot = {ino, DIRENT_COOKIE_DOT, S_IFDIR};
    struct dirent dot_dot = {dir.parent, DIRENT_COOKIE_DOT_DOT, S_IFDIR};
    if (cookie < DIRENT_COOKIE_DOT && list_one(&l, &dot, ".", 1))
        return 0;
    if (cookie < DIRENT_COOKIE_DOT_DOT && list_one(&l, &dot_dot, "..", 2))
        return 0;
    return dirent_walk(r->s, r->txn, ino, cookie, list_one, &l);
}

/* ---- data ---- */

/* The pieces of one chunk from @start to @end within it. Returns how many, at most 2. */
static int chunk_pieces(const uint8_t *bytes, size_t stored, size_t start, size_t end,
                        struct iovec iov[2])
{
    int count = 0;
    if (start < stored) {
        size_t stop = end < stored ? end : stored;
        iov[count++] = (struct iovec){(void *)(uintptr_t)(bytes + start), stop - start};
        start = stop;
    }
    if (start < end)
        iov[count++] = (struct iovec){(void *)(uintptr_t)zeroes, end - start};
    return count;
}

int64_t store_read(struct store_reader *r, uint64_t ino, uint64_t offset, uint64_t size,
                   struct iovec *iov, int *count)
{
    int room = *count;
    *count = 0;
    struct inode inode;
    int rc = get_inode(r, ino, &inode);
    if (rc)
        return rc;
    if (!inode_is_file(&inode))
        return inode_is_dir(&inode) ? -EISDIR : -EINVAL;
    if (offset >= inode.attr.size)
        return 0;
    if (size > inode.attr.size - offset)
        size = inode.attr.size - offset;

    uint64_t done = 0;
    while (done < size && *count + 2 <= room) {
        uint64_t at = offset + done, start = at % CHUNK_SIZE;
        uint64_t end = CHUNK_SIZE - start < size - done ? CHUNK_SIZE : start + (size - done);
        const uint8_t *bytes = NULL;
        size_t stored;
        rc = chunk_read(r->s, r->txn, inode.data, at / CHUNK_SIZE, &bytes, &stored);
        if (rc)
            return rc;
        *count += chunk_pieces(bytes, stored, start, end, iov + *count);
        done += end - start;
    }
    return (int64_t)done;
}

int store_readlink(struct store_reader *r, uint64_t ino, const char **target, size_t *size)
{
    struct inode inode;
    int rc = get_inode(r, ino, &inode);
    if (rc)
        return rc;
    if (!S_ISLNK(inode.attr.mode))
        return -EINVAL;
    const uint8_t *bytes = NULL;
    rc = chunk_read(r->s, r->txn, inode.data, 0, &bytes, size);
    if (rc)
        return rc;
    if (*size != inode.attr.size)
        return -EBADMSG;
    *target = (const char *)bytes;
    return 0;
}

/* The first chunk that is stored, from @index on; UINT64_MAX: none. */
static int next_stored(struct store_reader *r, uint64_t data, uint64_t index, uint64_t *found,
                       size_t *size)
{
    *found = index;
    int rc = chunk_next(r->s, r->txn, data, found, size);
    if (rc == -ENOENT) {
        *found = UINT64_MAX;
        return 0;
    }
    return rc;
}

static int64_t seek_data(struct store_reader *r, const struct inode *inode, uint64_t offset)
{
    uint64_t index = offset / CHUNK_SIZE, found;
    size_t size;
    int rc = next_stored(r, inode->data, index, &found, &size);
    if (rc == 0 && found == index && offset % CHUNK_SIZE >= size)
        rc = next_stored(r, inode->data, index + 1, &found, &size);
    if (rc)
        return rc;
    if (found == UINT64_MAX)
        return -ENXIO;
    uint64_t start = found * CHUNK_SIZE;
    return (int64_t)(start > offset ? start : offset);
}

/* The end of the file is a hole. */
static int64_t seek_hole(struct store_reader *r, const struct inode *inode, uint64_t offset)
{
    uint64_t end = inode->attr.size;
    for (uint64_t index = offset / CHUNK_SIZE; index <= (end - 1) / CHUNK_SIZE; index++) {
        size_t size;
        int rc = chunk_size(r->s, r->txn, inode->data, index, &size);
        if (rc)
            return rc;
        uint64_t hole = index * CHUNK_SIZE + size;
        if (size < CHUNK_SIZE && hole < end)
            return (int64_t)(hole > offset ? hole : offset);
    }
    return (int64_t)end;
}

int64_t store_seek(struct store_reader *r, uint64_t ino, uint64_t offset, int whence)
{
    struct inode inode;
    int rc = get_inode(r, ino, &inode);
    if (rc)
        return rc;
    if (!inode_is_file(&inode))
        return -EINVAL;
    if (offset >= inode.attr.size)
        return -ENXIO;
    if (whence == SEEK_DATA)
        return seek_data(r, &inode, offset);
    return whence == SEEK_HOLE ? seek_hole(r, &inode, offset) : -EINVAL;
}

/* ---- attributes ---- */

int store_getxattr(struct store_reader *r, uint64_t ino, const char *name, const void **value,
                   size_t *size)
{
    struct inode inode;
    int rc = get_inode(r, ino, &inode);
    if (rc)
        return rc;
    size_t name_size = strlen(name);
    if (inode.xattr_count == 0 || name_size > XATTR_NAME_SIZE_MAX)
        return -ENODATA;
    MDB_val found;
    rc = xattr_get(r->s, r->txn, ino, name, name_size, &found);
    if (rc)
        return rc == -ENOENT ? -ENODATA : rc;
    *value = found.mv_data;
    *size = found.mv_size;
    return 0;
}

struct name_list {
    char *to;
    size_t room, size;
};

static int list_name(void *context, const char *name, size_t size)
{
    struct name_list *l = context;
    if (l->size <= l->room && size + 1 <= l->room - l->size) {
        memcpy(l->to + l->size, name, size);
        l->to[l->size + size] = '\0';
    }
    l->size += size + 1;
    return 0;
}

int64_t store_listxattr(struct store_reader *r, uint64_t ino, char *list, size_t room)
{
    struct inode inode;
    int rc = get_inode(r, ino, &inode);
    if (rc)
        return rc;
    struct name_list l = {.to = list, .room = room};
    if (inode.xattr_count)
        rc = xattr_walk(r->s, r->txn, ino, list_name, &l);
    if (rc)
        return rc;
    return room && l.size > room ? -ERANGE : (int64_t)l.size;
}

/* ---- sessions ---- */

int store_sessions(struct store_reader *r, struct store_session *list)
{
    ASSERT(r->is_open);
    struct session_table *table = calloc(1, sizeof *table);
    if (!table)
        return -ENOMEM;
    int count = 0, rc = sessions_read(r->s, r->txn, table);
    for (size_t i = 0; rc == 0 && i < SESSIONS_MAX; i++) {
        const struct session *session = &table->sessions[i];
        if (session->node == 0 || session->is_expired)
            continue;
        list[count++] = (struct store_session){
            .node = session->node,
            .epoch = session->epoch,
            .sequence = session_highest(session),
        };
    }
    free(table);
    return rc ? rc : count;
}

struct store_outcomes {
    uint64_t node;
    struct session_table table; /* of that session alone; large, and hardly touched */
};

int store_outcomes_read(struct store_reader *r, uint64_t node, struct store_outcomes **out)
{
    ASSERT(r->is_open);
    struct store_outcomes *o = calloc(1, sizeof *o);
    if (!o)
        return -ENOMEM;
    o->node = node;
    int rc = sessions_read_one(r->s, r->txn, node, &o->table);
    if (rc) {
        free(o);
        return rc;
    }
    *out = o;
    return 0;
}

int store_outcome_of(struct store_outcomes *o, uint64_t epoch, uint64_t sequence,
                     enum session_verdict *verdict, struct fs_outcome *outcome)
{
    memset(outcome, 0, sizeof *outcome);
    const struct session_outcome *before = NULL;
    *verdict = session_judge(&o->table, o->node, epoch, sequence, 0, &before);
    return before ? fs_outcome_decode(before->bytes, before->size, outcome) : 0;
}

void store_outcomes_free(struct store_outcomes *o)
{
    free(o);
}

/* ---- the whole ---- */

static int get_meta(struct store_reader *r, struct meta *meta)
{
    ASSERT(r->is_open);
    return store_meta_read(r->s, r->txn, meta);
}

uint64_t store_read_slot(const struct store_reader *r)
{
    struct meta meta;
    ASSERT(r->is_open);
    return store_meta_read(r->s, r->txn, &meta) == 0 ? meta.applied : 0;
}

int store_usage(struct store_reader *r, struct store_usage *usage)
{
    struct meta meta;
    int rc = get_meta(r, &meta);
    if (rc)
        return rc;
    struct statvfs disk;
    if (statvfs(r->s->state_dir, &disk))
        return -errno;
    *usage = (struct store_usage){
        .inodes = meta.inodes,
        .bytes = meta.bytes,
        .disk_total = (uint64_t)disk.f_blocks * disk.f_frsize,
        .disk_free = (uint64_t)disk.f_bavail * disk.f_frsize,
        .orphans = meta.orphans,
        .space = meta.space,
        .capacity = meta.capacity,
    };
    return 0;
}

int64_t store_orphans(struct store_reader *r, uint64_t node, uint64_t from, uint64_t *inos,
                      size_t room)
{
    return orphan_list(r->s, r->txn, node, from, inos, room);
}

int store_digest(struct store_reader *r, struct store_digest *digest)
{
    struct meta meta;
    int rc = get_meta(r, &meta);
    if (rc)
        return rc;
    digest->slot = meta.applied;
    digest_fold(&meta, digest->digest);
    return 0;
}

int store_digest_recompute(struct store_reader *r, struct store_digest *digest)
{
    struct meta meta;
    int rc = get_meta(r, &meta);
    if (rc == 0)
        rc = digest_sum(r->s, r->txn, meta.sum);
    if (rc)
        return rc;
    digest->slot = meta.applied;
    digest_fold(&meta, digest->digest);
    return 0;
}
