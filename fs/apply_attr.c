#include <errno.h>
#include <linux/xattr.h>
#include <string.h>

#include "fs/apply.h"
#include "fs/record.h"
#include "fs/space.h"
#include "fs/xattr.h"

static const char capability[] = "security.capability";

enum {
    XATTR_COUNT_MAX = 255, /* of one inode: their names fit the 64 KiB that listxattr can return */
    XATTR_TOTAL_MAX_BYTES = 1 << 20, /* names and values of one inode: freed within one slot */
    SETATTR_KNOWN = (FS_SET_KILL_PRIV << 1) - 1,
};

int apply_drop_privileges(struct apply *a, struct inode *inode, bool kill_priv)
{
    if (kill_priv) {
        inode->attr.mode &= ~(uint32_t)S_ISUID;
        if (inode->attr.mode & S_IXGRP) /* without it the bit is for mandatory locks */
            inode->attr.mode &= ~(uint32_t)S_ISGID;
    }
    if (inode->xattr_count == 0)
        return 0;
    int rc = xattr_remove(a->s, inode, capability, sizeof capability - 1);
    return rc == -ENOENT ? 0 : rc;
}

/* True when the caller chose the mtime: it is not greater than all before. */
static bool set_times(const struct apply *a, struct fs_attr *attr)
{
    uint32_t set = a->c->set;
    if (set & FS_SET_ATIME)
        attr->atime_ns = a->c->atime_ns;
    if (set & FS_SET_ATIME_NOW)
        attr->atime_ns = a->time_ns;
    if (set & (FS_SET_MTIME_NOW | FS_SET_SIZE))
        attr->mtime_ns = a->time_ns;
    bool is_chosen = (set & FS_SET_MTIME) && !(set & FS_SET_MTIME_NOW);
    if (is_chosen)
        attr->mtime_ns = a->c->mtime_ns;
    return is_chosen;
}

int apply_setattr(struct apply *a)
{
    uint32_t set = a->c->set;
    struct inode inode;
    if (set & ~(uint32_t)SETATTR_KNOWN)
        return EINVAL;
    int rc = apply_inode(a, a->c->ino, &inode);
    if (rc)
        return rc;
    if (set & FS_SET_SIZE) {
        rc = apply_size(a, &inode, a->c->size);
        if (rc)
            return rc;
    }
    if (set & FS_SET_MODE)
        inode.attr.mode = (inode.attr.mode & S_IFMT) | (a->c->mode & 07777);
    if (set & FS_SET_UID)
        inode.attr.uid = a->c->set_uid;
    if (set & FS_SET_GID)
        inode.attr.gid = a->c->set_gid;
    bool kill_priv = set & (FS_SET_UID | FS_SET_GID | FS_SET_KILL_PRIV);
    if (!inode_is_dir(&inode) && (kill_priv || (set & FS_SET_SIZE))) {
        rc = apply_drop_privileges(a, &inode, kill_priv);
        if (rc)
            return rc;
    }
    if (set_times(a, &inode.attr))
        apply_emit_mtime(a, inode.attr.ino);
    if (set)
        rc = apply_put_changed(a, &inode);
    a->outcome->attr = inode.attr;
    return rc;
}

static bool starts_with(const struct fs_command *c, const char *prefix)
{
    size_t size = strlen(prefix);
    return c->name_size >= size && memcmp(c->name, prefix, size) == 0;
}

static int check_xattr_name(const struct fs_command *c)
{
    static const char *const namespaces[] = {"user.", "trusted.", "security."};
    if (c->name_size > XATTR_NAME_SIZE_MAX)
        return ERANGE;
    for (size_t i = 0; i < ARRAY_COUNT(namespaces); i++)
        if (starts_with(c, namespaces[i]))
            return c->name_size > strlen(namespaces[i]) ? 0 : EINVAL;
    return EOPNOTSUPP;
}

/* @old_size: bytes the attribute takes now, name included; 0: there is none. */
static int check_xattr_room(const struct apply *a, const struct inode *inode, uint32_t old_size)
{
    uint64_t bytes = inode->xattr_bytes - old_size + a->c->name_size + (uint64_t)a->c->data_size;
    bool is_full = old_size == 0 && inode->xattr_count >= XATTR_COUNT_MAX;
    return is_full || bytes > XATTR_TOTAL_MAX_BYTES ? ENOSPC : 0;
}

int apply_setxattr(struct apply *a)
{
    const struct fs_command *c = a->c;
    int rc = check_xattr_name(c);
    if (rc)
        return rc;
    if (c->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
        return EINVAL;
    if (c->data_size > XATTR_VALUE_SIZE_MAX)
        return E2BIG;
    struct inode inode;
    rc = apply_inode(a, c->ino, &inode);
    if (rc)
        return rc;
    MDB_val old;
    rc = xattr_get(a->s, a->s->txn, c->ino, c->name, c->name_size, &old);
    if (rc && rc != -ENOENT)
        return rc;
    bool exists = rc == 0;
    if (exists && (c->flags & XATTR_CREATE))
        return EEXIST;
    if (!exists && (c->flags & XATTR_REPLACE))
        return ENODATA;
    rc = check_xattr_room(a, &inode, exists ? c->name_size + (uint32_t)old.mv_size : 0);
    if (rc)
        return rc;
    uint64_t before = exists ? space_of_xattr(c->name_size, old.mv_size) : 0;
    uint64_t after = space_of_xattr(c->name_size, c->data_size);
    rc = space_check(&a->s->meta, after > before ? after - before : 0);
    if (rc)
        return rc;
    rc = xattr_set(a->s, &inode, c->name, c->name_size, record_val(c->data, c->data_size));
    if (rc == 0)
        rc = apply_put_changed(a, &inode);
    a->outcome->attr = inode.attr;
    return rc;
}

int apply_removexattr(struct apply *a)
{
    int rc = check_xattr_name(a->c);
    if (rc)
        return rc;
    struct inode inode;
    rc = apply_inode(a, a->c->ino, &inode);
    if (rc)
        return rc;
    rc = xattr_remove(a->s, &inode, a->c->name, a->c->name_size);
    if (rc)
        return rc == -ENOENT ? ENODATA : rc;
    rc = apply_put_changed(a, &inode);
    a->outcome->attr = inode.attr;
    return rc;
}
