#include "tests/support/fs_history.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/chunk.h"

void fs_history_init(struct fs_history *h, uint64_t seed)
{
    memset(h, 0, sizeof *h);
    h->prng.state = seed;
    for (size_t i = 0; i < HISTORY_INOS; i++)
        h->inos[i] = FS_ROOT_INO;
    for (size_t i = 0; i < ARRAY_COUNT(h->dirs); i++)
        h->dirs[i] = FS_ROOT_INO;
}

static uint64_t below(struct fs_history *h, uint64_t bound)
{
    return prng_below(&h->prng, bound);
}

void fs_history_note(struct fs_history *h, const struct fs_outcome *outcome)
{
    if (outcome->error || outcome->attr.ino == 0)
        return;
    h->inos[below(h, HISTORY_INOS)] = outcome->attr.ino;
    if (S_ISDIR(outcome->attr.mode))
        h->dirs[1 + below(h, ARRAY_COUNT(h->dirs) - 1)] = outcome->attr.ino;
}

static uint64_t some_ino(struct fs_history *h)
{
    if (below(h, 50) == 0)
        return below(h, 10000); /* likely nobody's */
    return h->inos[below(h, HISTORY_INOS)];
}

static uint64_t some_dir(struct fs_history *h)
{
    return below(h, 20) == 0 ? some_ino(h) : h->dirs[below(h, ARRAY_COUNT(h->dirs))];
}

static void some_name(struct fs_history *h, struct fs_command *c)
{
    int size = snprintf(h->name, sizeof h->name, "n%u", (unsigned)below(h, 8));
    if (below(h, 100) == 0) {
        size = FILE_NAME_MAX + (int)below(h, 2); /* the longest, or too long */
        memset(h->name, 'l', (size_t)size);
    }
    if (below(h, 200) == 0)
        size = snprintf(h->name, sizeof h->name, "%s", below(h, 2) ? "." : "..");
    c->name = h->name;
    c->name_size = (uint32_t)size;
}

static void some_new_name(struct fs_history *h, struct fs_command *c)
{
    int size = snprintf(h->new_name, sizeof h->new_name, "n%u", (unsigned)below(h, 8));
    c->new_parent = some_dir(h);
    c->new_name = h->new_name;
    c->new_name_size = (uint32_t)size;
}

/* Offsets and sizes near chunk boundaries matter most. */
static uint64_t some_size(struct fs_history *h, uint64_t bound)
{
    uint64_t size;
    switch (below(h, 4)) {
    case 0:
        size = below(h, 3) * CHUNK_SIZE + below(h, 3) - 1;
        break;
    case 1:
        size = below(h, 5000);
        break;
    case 2:
        size = below(h, 20);
        break;
    default:
        size = below(h, bound);
        break;
    }
    return size > bound ? bound : size;
}

static void some_data(struct fs_history *h, struct fs_command *c, uint64_t bound)
{
    uint64_t size = some_size(h, bound);
    uint8_t start = (uint8_t)prng_next(&h->prng);
    for (uint64_t i = 0; i < size; i++)
        h->data[i] = (uint8_t)(start + i * 31 + i / 256);
    c->data = h->data;
    c->data_size = (uint32_t)size;
}

static void some_attrs(struct fs_history *h, struct fs_command *c)
{
    c->ino = some_ino(h);
    c->set = (uint32_t)below(h, FS_SET_KILL_PRIV * 2);
    if (below(h, 3) == 0)
        c->set = FS_SET_SIZE;
    c->mode = (uint32_t)below(h, 010000);
    c->set_uid = (uint32_t)below(h, 3);
    c->set_gid = (uint32_t)below(h, 3);
    c->size = some_size(h, HISTORY_FILE_SIZE_MAX);
    if (below(h, 60) == 0)
        c->size = UINT64_MAX - below(h, 3);
    c->atime_ns = below(h, 1000);
    c->mtime_ns = below(h, 1000);
}

static void some_write(struct fs_history *h, struct fs_command *c)
{
    c->ino = some_ino(h);
    some_data(h, c, HISTORY_FILE_SIZE_MAX / 2);
    c->offset = some_size(h, HISTORY_FILE_SIZE_MAX - c->data_size);
    if (below(h, 100) == 0)
        c->offset = UINT64_MAX - below(h, 1000);
    c->flags = (uint32_t)below(h, 8) == 0 ? FS_WRITE_KILL_PRIV : 0;
    if (below(h, 6) == 0 && c->data_size < 3000)
        c->flags |= FS_WRITE_APPEND;
}

static void some_fallocate(struct fs_history *h, struct fs_command *c)
{
    static const uint32_t modes[] = {
        0,
        FALLOC_FL_KEEP_SIZE,
        FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
        FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
        FALLOC_FL_ZERO_RANGE,
        FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
        FALLOC_FL_COLLAPSE_RANGE,
    };
    c->ino = some_ino(h);
    c->mode = modes[below(h, ARRAY_COUNT(modes))];
    c->offset = some_size(h, HISTORY_FILE_SIZE_MAX / 2);
    c->size = some_size(h, HISTORY_FILE_SIZE_MAX / 2);
}

static void some_xattr(struct fs_history *h, struct fs_command *c)
{
    static const char *const names[] = {"user.a",    "user.b", "security.capability",
                                        "trusted.t", "user.",  "system.x"};
    c->ino = some_ino(h);
    c->name = names[below(h, ARRAY_COUNT(names))];
    c->name_size = (uint32_t)strlen(c->name);
    c->flags = below(h, 3) ? 0 : (uint32_t)below(h, 3);
    if (c->op == FS_SETXATTR)
        some_data(h, c, below(h, 40) ? 300 : XATTR_VALUE_SIZE_MAX + 1);
}

static void some_forget(struct fs_history *h, struct fs_command *c)
{
    c->ino_count = (uint32_t)below(h, 5);
    for (uint32_t i = 0; i < c->ino_count; i++) {
        uint64_t ino = htole64(some_ino(h));
        memcpy(h->forgotten + (size_t)i * 8, &ino, 8);
    }
    c->inos = h->forgotten;
}

static enum fs_op some_op(struct fs_history *h)
{
    static const uint8_t weights[FS_VERIFY + 1] = {
        [FS_CREATE] = 14,  [FS_MKDIR] = 8,       [FS_MKNOD] = 2,     [FS_SYMLINK] = 3,
        [FS_LINK] = 5,     [FS_UNLINK] = 8,      [FS_RMDIR] = 4,     [FS_RENAME] = 14,
        [FS_SETATTR] = 10, [FS_WRITE] = 18,      [FS_FALLOCATE] = 8, [FS_SETXATTR] = 6,
        [FS_FORGET] = 5,   [FS_REMOVEXATTR] = 3, [FS_REAP] = 2,
    };
    unsigned total = 0;
    for (size_t i = 0; i < sizeof weights; i++)
        total += weights[i];
    unsigned at = (unsigned)below(h, total);
    size_t op = 0;
    while (at >= weights[op])
        at -= weights[op++];
    return (enum fs_op)op;
}

struct fs_command fs_history_next(struct fs_history *h)
{
    static const uint32_t create_flags[] = {O_RDWR, O_EXCL, O_RDWR | O_TRUNC, O_RDONLY};
    static const uint32_t types[] = {S_IFREG, S_IFIFO, S_IFCHR, S_IFDIR, 0};
    struct fs_command c = {.op = some_op(h)};
    c.uid = (uint32_t)below(h, 3);
    c.gid = (uint32_t)below(h, 3);
    c.parent = some_dir(h);
    some_name(h, &c);
    c.mode = (uint32_t)below(h, 4) ? 0755 : (uint32_t)below(h, 010000);
    switch (c.op) {
    case FS_CREATE:
        c.flags = create_flags[below(h, ARRAY_COUNT(create_flags))];
        break;
    case FS_MKNOD:
        c.mode |= types[below(h, ARRAY_COUNT(types))];
        c.rdev = (uint32_t)below(h, 1000);
        break;
    case FS_SYMLINK:
        some_data(h, &c, below(h, 20) ? 60 : SYMLINK_MAX + 1);
        for (uint32_t i = 0; i < c.data_size; i++)
            h->data[i] |= 1;
        break;
    case FS_LINK:
        c.ino = some_ino(h);
        break;
    case FS_RENAME:
        some_new_name(h, &c);
        c.flags = below(h, 3) ? 0 : (uint32_t)below(h, 4); /* none, NOREPLACE, EXCHANGE, both */
        break;
    case FS_SETATTR:
        some_attrs(h, &c);
        break;
    case FS_WRITE:
        some_write(h, &c);
        break;
    case FS_FALLOCATE:
        some_fallocate(h, &c);
        break;
    case FS_SETXATTR:
    case FS_REMOVEXATTR:
        some_xattr(h, &c);
        break;
    case FS_FORGET:
        some_forget(h, &c);
        break;
    case FS_REAP:
        c.size = below(h, 20);
        break;
    case FS_MKDIR:
    case FS_UNLINK:
    case FS_RMDIR:
    case FS_SESSION_OPEN:
    case FS_VERIFY:
    case FS_INVITE: /* of members there are histories of their own */
    case FS_JOIN:
    case FS_PROMOTE:
    case FS_REPLACE:
    case FS_REMOVE:
    case FS_SET_ADDRESS:
    case FS_SESSION_EXPIRE:
    case FS_SET_CAPACITY:
        break;
    }
    return c;
}
