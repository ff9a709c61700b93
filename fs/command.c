#include "fs/command.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "consensus/membership.h"

/* The groups of fields a command may have, in the order in which they are written. */
enum {
    HAS_INO = 1 << 0,
    HAS_PARENT = 1 << 1,
    HAS_NAME = 1 << 2,
    HAS_NEW_NAME = 1 << 3, /* new_parent, new_name */
    HAS_MODE = 1 << 4,
    HAS_RDEV = 1 << 5,
    HAS_FLAGS = 1 << 6,
    HAS_ATTRS = 1 << 7, /* set, set_uid, set_gid, atime_ns, mtime_ns */
    HAS_OFFSET = 1 << 8,
    HAS_SIZE = 1 << 9,
    HAS_NONCE = 1 << 10,
    HAS_DATA = 1 << 11,
    HAS_INOS = 1 << 12,
    HAS_ADDRESS = 1 << 13,   /* new_name alone */
    NAME_IS_XATTR = 1 << 14, /* may contain '/' */
};

static const struct layout {
    const char *name;
    unsigned has;
} layouts[] = {
    [FS_CREATE] = {"create", HAS_PARENT | HAS_NAME | HAS_MODE | HAS_FLAGS},
    [FS_MKDIR] = {"mkdir", HAS_PARENT | HAS_NAME | HAS_MODE},
    [FS_MKNOD] = {"mknod", HAS_PARENT | HAS_NAME | HAS_MODE | HAS_RDEV},
    [FS_SYMLINK] = {"symlink", HAS_PARENT | HAS_NAME | HAS_DATA},
    [FS_LINK] = {"link", HAS_INO | HAS_PARENT | HAS_NAME},
    [FS_UNLINK] = {"unlink", HAS_PARENT | HAS_NAME},
    [FS_RMDIR] = {"rmdir", HAS_PARENT | HAS_NAME},
    [FS_RENAME] = {"rename", HAS_PARENT | HAS_NAME | HAS_NEW_NAME | HAS_FLAGS},
    [FS_SETATTR] = {"setattr", HAS_INO | HAS_ATTRS | HAS_MODE | HAS_SIZE},
    [FS_WRITE] = {"write", HAS_INO | HAS_OFFSET | HAS_FLAGS | HAS_DATA},
    [FS_FALLOCATE] = {"fallocate", HAS_INO | HAS_OFFSET | HAS_SIZE | HAS_MODE},
    [FS_SETXATTR] = {"setxattr", HAS_INO | HAS_NAME | HAS_FLAGS | HAS_DATA | NAME_IS_XATTR},
    [FS_REMOVEXATTR] = {"removexattr", HAS_INO | HAS_NAME | NAME_IS_XATTR},
    [FS_FORGET] = {"forget", HAS_INOS},
    [FS_REAP] = {"reap", HAS_SIZE},
    [FS_SESSION_OPEN] = {"session-open", HAS_NONCE},
    [FS_VERIFY] = {"verify", HAS_NONCE},
    [FS_INVITE] = {"invite", HAS_NAME | HAS_MODE | HAS_SIZE | HAS_NONCE | HAS_DATA},
    [FS_JOIN] = {"join", HAS_NAME | HAS_ADDRESS | HAS_NONCE | HAS_DATA},
    [FS_PROMOTE] = {"promote", HAS_NONCE},
    [FS_REPLACE] = {"replace", HAS_INO | HAS_NONCE},
    [FS_REMOVE] = {"remove", HAS_NONCE},
    [FS_SET_ADDRESS] = {"set-address", HAS_NAME | HAS_NONCE},
    [FS_SESSION_EXPIRE] = {"session-expire", HAS_INO | HAS_SIZE | HAS_NONCE},
    [FS_SET_CAPACITY] = {"set-capacity", HAS_SIZE},
};

static const struct layout *layout_of(unsigned op)
{
    return op < ARRAY_COUNT(layouts) && layouts[op].name ? &layouts[op] : NULL;
}

const char *fs_op_name(enum fs_op op)
{
    const struct layout *l = layout_of(op);
    return l ? l->name : "unknown";
}

static void put_name(struct writer *w, const char *name, uint32_t size)
{
    if (size > UINT16_MAX) {
        w->failed = true;
        return;
    }
    write_u16(w, (uint16_t)size);
    write_bytes(w, name, size);
}

static void put_fields(struct writer *w, const struct fs_command *c, unsigned has)
{
    if (has & HAS_INO)
        write_u64(w, c->ino);
    if (has & HAS_PARENT)
        write_u64(w, c->parent);
    if (has & HAS_NAME)
        put_name(w, c->name, c->name_size);
    if (has & HAS_NEW_NAME) {
        write_u64(w, c->new_parent);
        put_name(w, c->new_name, c->new_name_size);
    }
    if (has & HAS_ADDRESS)
        put_name(w, c->new_name, c->new_name_size);
    if (has & HAS_MODE)
        write_u32(w, c->mode);
    if (has & HAS_RDEV)
        write_u32(w, c->rdev);
    if (has & HAS_FLAGS)
        write_u32(w, c->flags);
    if (has & HAS_ATTRS) {
        write_u32(w, c->set);
        write_u32(w, c->set_uid);
        write_u32(w, c->set_gid);
        write_u64(w, c->atime_ns);
        write_u64(w, c->mtime_ns);
    }
    if (has & HAS_OFFSET)
        write_u64(w, c->offset);
    if (has & HAS_SIZE)
        write_u64(w, c->size);
    if (has & HAS_NONCE)
        write_u64(w, c->nonce);
    if (has & HAS_DATA) {
        write_u32(w, c->data_size);
        write_bytes(w, c->data, c->data_size);
    }
    if (has & HAS_INOS) {
        write_u32(w, c->ino_count);
        write_bytes(w, c->inos, (size_t)c->ino_count * 8);
    }
}

size_t fs_command_encode(const struct fs_command *c, void *bytes, size_t room)
{
    const struct layout *l = layout_of(c->op);
    ASSERT(l != NULL);
    struct writer w = writer_of(bytes, room);
    write_u8(&w, FS_COMMAND_VERSION);
    write_u8(&w, (uint8_t)c->op);
    write_u32(&w, c->uid);
    write_u32(&w, c->gid);
    put_fields(&w, c, l->has);
    return w.failed ? 0 : w.size;
}

/* A name that is too long decodes: ENAMETOOLONG is an answer. */
static void get_name(struct cursor *r, const char **name, uint32_t *size, bool is_xattr)
{
    *size = cursor_u16(r);
    *name = (const char *)cursor_bytes(r, *size);
    if (!*name || *size == 0 || memchr(*name, '\0', *size) ||
        (!is_xattr && memchr(*name, '/', *size)))
        r->failed = true;
}

static void get_fields(struct cursor *r, struct fs_command *c, unsigned has)
{
    if (has & HAS_INO)
        c->ino = cursor_u64(r);
    if (has & HAS_PARENT)
        c->parent = cursor_u64(r);
    if (has & HAS_NAME)
        get_name(r, &c->name, &c->name_size, has & NAME_IS_XATTR);
    if (has & HAS_NEW_NAME) {
        c->new_parent = cursor_u64(r);
        get_name(r, &c->new_name, &c->new_name_size, false);
    }
    if (has & HAS_ADDRESS)
        get_name(r, &c->new_name, &c->new_name_size, false);
    if (has & HAS_MODE)
        c->mode = cursor_u32(r);
    if (has & HAS_RDEV)
        c->rdev = cursor_u32(r);
    if (has & HAS_FLAGS)
        c->flags = cursor_u32(r);
    if (has & HAS_ATTRS) {
        c->set = cursor_u32(r);
        c->set_uid = cursor_u32(r);
        c->set_gid = cursor_u32(r);
        c->atime_ns = cursor_u64(r);
        c->mtime_ns = cursor_u64(r);
    }
    if (has & HAS_OFFSET)
        c->offset = cursor_u64(r);
    if (has & HAS_SIZE)
        c->size = cursor_u64(r);
    if (has & HAS_NONCE)
        c->nonce = cursor_u64(r);
    if (has & HAS_DATA) {
        c->data_size = cursor_u32(r);
        c->data = cursor_bytes(r, c->data_size);
    }
    if (has & HAS_INOS) {
        c->ino_count = cursor_u32(r);
        if (c->ino_count > FORGET_INOS_MAX)
            r->failed = true;
        c->inos = cursor_bytes(r, (size_t)c->ino_count * 8);
    }
}

/* What an op cannot do without, and no answer is agreed for. */
static bool is_sane(const struct fs_command *c)
{
    switch (c->op) {
    case FS_WRITE:
        return c->data_size <= WRITE_SIZE_MAX;
    case FS_INVITE:
        return c->name_size <= MEMBER_NAME_MAX && c->data_size == SECRET_SIZE &&
               (c->mode & ~(uint32_t)FS_INVITE_VOTER) == 0;
    case FS_JOIN:
        return c->name_size <= MEMBER_NAME_MAX && c->new_name_size <= ADDRESS_MAX &&
               c->data_size == SECRET_SIZE && c->nonce != 0;
    case FS_PROMOTE:
    case FS_REMOVE:
        return c->nonce != 0;
    case FS_REPLACE:
    case FS_SESSION_EXPIRE:
        return c->nonce != 0 && c->ino != 0;
    case FS_SET_ADDRESS:
        return c->nonce != 0 && c->name_size <= ADDRESS_MAX;
    case FS_CREATE:
    case FS_MKDIR:
    case FS_MKNOD:
    case FS_SYMLINK:
    case FS_LINK:
    case FS_UNLINK:
    case FS_RMDIR:
    case FS_RENAME:
    case FS_SETATTR:
    case FS_FALLOCATE:
    case FS_SETXATTR:
    case FS_REMOVEXATTR:
    case FS_FORGET:
    case FS_REAP:
    case FS_SESSION_OPEN:
    case FS_VERIFY:
    case FS_SET_CAPACITY:
        return true;
    }
    return false;
}

int fs_command_decode(const void *bytes, size_t size, struct fs_command *c)
{
    memset(c, 0, sizeof *c);
    if (size > COMMAND_SIZE_MAX)
        return -EBADMSG;
    struct cursor r = cursor_of(bytes, size);
    uint8_t version = cursor_u8(&r), op = cursor_u8(&r);
    const struct layout *l = layout_of(op);
    if (version != FS_COMMAND_VERSION || !l)
        return -EBADMSG;
    c->op = (enum fs_op)op;
    c->uid = cursor_u32(&r);
    c->gid = cursor_u32(&r);
    get_fields(&r, c, l->has);
    return cursor_done(&r) && is_sane(c) ? 0 : -EBADMSG;
}
