#include "tests/support/store_ops.h"

#include <endian.h>
#include <string.h>

#include "base/assert.h"

/* A command with a name that is a string. */
static struct fs_command named(enum fs_op op, uint64_t parent, const char *name)
{
    return (struct fs_command){
        .op = op, .parent = parent, .name = name, .name_size = (uint32_t)strlen(name)};
}

struct fs_outcome op_create(struct store_fixture *f, uint64_t parent, const char *name,
                            uint32_t mode, int flags)
{
    struct fs_command c = named(FS_CREATE, parent, name);
    c.mode = mode;
    c.flags = (uint32_t)flags;
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_mkdir(struct store_fixture *f, uint64_t parent, const char *name,
                           uint32_t mode)
{
    struct fs_command c = named(FS_MKDIR, parent, name);
    c.mode = mode;
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_mknod(struct store_fixture *f, uint64_t parent, const char *name,
                           uint32_t mode, uint32_t rdev)
{
    struct fs_command c = named(FS_MKNOD, parent, name);
    c.mode = mode;
    c.rdev = rdev;
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_symlink(struct store_fixture *f, uint64_t parent, const char *name,
                             const char *target)
{
    struct fs_command c = named(FS_SYMLINK, parent, name);
    c.data = target;
    c.data_size = (uint32_t)strlen(target);
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_link(struct store_fixture *f, uint64_t ino, uint64_t parent, const char *name)
{
    struct fs_command c = named(FS_LINK, parent, name);
    c.ino = ino;
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_unlink(struct store_fixture *f, uint64_t parent, const char *name)
{
    struct fs_command c = named(FS_UNLINK, parent, name);
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_rmdir(struct store_fixture *f, uint64_t parent, const char *name)
{
    struct fs_command c = named(FS_RMDIR, parent, name);
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_rename(struct store_fixture *f, uint64_t parent, const char *name,
                            uint64_t new_parent, const char *new_name, uint32_t flags)
{
    struct fs_command c = named(FS_RENAME, parent, name);
    c.new_parent = new_parent;
    c.new_name = new_name;
    c.new_name_size = (uint32_t)strlen(new_name);
    c.flags = flags;
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_write(struct store_fixture *f, uint64_t ino, uint64_t offset,
                           const void *bytes, size_t size, uint32_t flags)
{
    struct fs_command c = {.op = FS_WRITE, .ino = ino, .offset = offset, .data = bytes};
    c.data_size = (uint32_t)size;
    c.flags = flags;
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_truncate(struct store_fixture *f, uint64_t ino, uint64_t size)
{
    struct fs_command c = {.op = FS_SETATTR, .ino = ino, .set = FS_SET_SIZE, .size = size};
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_chmod(struct store_fixture *f, uint64_t ino, uint32_t mode)
{
    struct fs_command c = {.op = FS_SETATTR, .ino = ino, .set = FS_SET_MODE, .mode = mode};
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_fallocate(struct store_fixture *f, uint64_t ino, uint64_t offset,
                               uint64_t size, uint32_t mode)
{
    struct fs_command c = {.op = FS_FALLOCATE, .ino = ino, .offset = offset, .size = size};
    c.mode = mode;
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_setxattr(struct store_fixture *f, uint64_t ino, const char *name,
                              const void *value, size_t size, uint32_t flags)
{
    struct fs_command c = named(FS_SETXATTR, 0, name);
    c.ino = ino;
    c.data = value;
    c.data_size = (uint32_t)size;
    c.flags = flags;
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_removexattr(struct store_fixture *f, uint64_t ino, const char *name)
{
    struct fs_command c = named(FS_REMOVEXATTR, 0, name);
    c.ino = ino;
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_forget(struct store_fixture *f, uint64_t ino)
{
    uint64_t encoded = htole64(ino);
    struct fs_command c = {.op = FS_FORGET, .inos = (const uint8_t *)&encoded, .ino_count = 1};
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_reap(struct store_fixture *f, uint64_t chunks)
{
    struct fs_command c = {.op = FS_REAP, .size = chunks};
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_set_capacity(struct store_fixture *f, uint64_t bytes)
{
    struct fs_command c = {.op = FS_SET_CAPACITY, .size = bytes};
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_invite(struct store_fixture *f, const char *name, uint8_t secret,
                            uint64_t good_for_ns, bool is_voter, uint64_t replaces)
{
    uint8_t bytes[SECRET_SIZE];
    memset(bytes, secret, sizeof bytes);
    struct fs_command c = {
        .op = FS_INVITE,
        .name = name,
        .name_size = (uint32_t)strlen(name),
        .data = bytes,
        .data_size = sizeof bytes,
        .size = good_for_ns,
        .mode = is_voter ? FS_INVITE_VOTER : 0,
        .nonce = replaces,
    };
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_join(struct store_fixture *f, uint64_t node, uint8_t secret, const char *name,
                          const char *address)
{
    uint8_t bytes[SECRET_SIZE];
    memset(bytes, secret, sizeof bytes);
    struct fs_command c = {
        .op = FS_JOIN,
        .nonce = node,
        .name = name,
        .name_size = (uint32_t)strlen(name),
        .new_name = address,
        .new_name_size = (uint32_t)strlen(address),
        .data = bytes,
        .data_size = sizeof bytes,
    };
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_promote(struct store_fixture *f, uint64_t node)
{
    struct fs_command c = {.op = FS_PROMOTE, .nonce = node};
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_replace(struct store_fixture *f, uint64_t voter, uint64_t learner)
{
    struct fs_command c = {.op = FS_REPLACE, .nonce = voter, .ino = learner};
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_remove(struct store_fixture *f, uint64_t node)
{
    struct fs_command c = {.op = FS_REMOVE, .nonce = node};
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_set_address(struct store_fixture *f, uint64_t node, const char *address)
{
    struct fs_command c = {
        .op = FS_SET_ADDRESS,
        .nonce = node,
        .name = address,
        .name_size = (uint32_t)strlen(address),
    };
    return store_fixture_apply(f, &c);
}

struct fs_outcome op_expire(struct store_fixture *f, uint64_t node, uint64_t epoch,
                            uint64_t sequence)
{
    struct fs_command c = {.op = FS_SESSION_EXPIRE, .nonce = node, .ino = epoch, .size = sequence};
    return store_fixture_apply(f, &c);
}

uint64_t made(struct fs_outcome o)
{
    ASSERT(o.error == 0);
    ASSERT(o.attr.ino != 0);
    return o.attr.ino;
}

bool same_attr(struct fs_attr a, struct fs_attr b)
{
    bool same_object = a.ino == b.ino && a.mode == b.mode && a.nlink == b.nlink && a.uid == b.uid &&
                       a.gid == b.gid && a.rdev == b.rdev;
    bool same_times = a.atime_ns == b.atime_ns && a.mtime_ns == b.mtime_ns &&
                      a.ctime_ns == b.ctime_ns && a.btime_ns == b.btime_ns;
    return same_object && same_times && a.size == b.size && a.blocks == b.blocks;
}
