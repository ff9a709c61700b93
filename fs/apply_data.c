#include <errno.h>
#include <linux/falloc.h>

#include "fs/apply.h"
#include "fs/chunk.h"
#include "fs/orphan.h"
#include "fs/stale.h"

static int check_file(const struct inode *inode)
{
    if (inode_is_dir(inode))
        return EISDIR;
    return inode_is_file(inode) ? 0 : EINVAL;
}

/* @offset + @size does not pass the largest file; compared so that no sum can wrap. */
static bool fits(uint64_t offset, uint64_t size)
{
    return offset <= FILE_SIZE_MAX && size <= FILE_SIZE_MAX - offset;
}

int apply_write(struct apply *a)
{
    struct inode inode;
    int rc = apply_inode(a, a->c->ino, &inode);
    if (rc == 0)
        rc = check_file(&inode);
    if (rc)
        return rc;
    uint64_t offset = a->c->flags & FS_WRITE_APPEND ? inode.attr.size : a->c->offset;
    uint64_t size = a->c->data_size;
    if (!fits(offset, size))
        return EFBIG;
    if (size > 0) {
        rc = chunk_write(a->s, inode.data, offset, a->c->data, size, &inode.attr.blocks);
        if (rc == 0)
            rc = apply_drop_privileges(a, &inode, a->c->flags & FS_WRITE_KILL_PRIV);
        if (rc)
            return rc;
        if (offset + size > inode.attr.size)
            inode.attr.size = offset + size;
        rc = apply_put_modified(a, &inode);
        apply_emit_data(a, inode.attr.ino, offset, size);
    }
    a->outcome->attr = inode.attr;
    a->outcome->offset = offset;
    return rc;
}

/* The bytes from @offset to @end become zeroes; the caller puts @inode. ENOSPC: so much that is
 * stale hides in the file already that first some of it must be reaped. */
static int punch(struct apply *a, struct inode *inode, uint64_t offset, uint64_t end)
{
    if (offset >= end)
        return 0;
    uint64_t last = (end - 1) / CHUNK_SIZE;
    struct chunk_range whole = {offset / CHUNK_SIZE + 1, last ? last - 1 : 0}, left;
    int rc = stale_check_room(a->s, inode->data, whole);
    if (rc)
        return rc == -ENOSPC ? ENOSPC : rc;
    rc = chunk_punch(a->s, inode->data, offset, end, &left, &inode->attr.blocks);
    bool is_done = left.first > left.last;
    return rc || is_done ? rc : stale_add(a->s, inode, whole, left);
}

int apply_size(struct apply *a, struct inode *inode, uint64_t size)
{
    int rc = check_file(inode);
    if (rc)
        return rc;
    if (size > FILE_SIZE_MAX)
        return EFBIG;
    uint64_t old = inode->attr.size;
    if (size == 0 && orphan_is_large(inode))
        rc = orphan_shed_data(a->s, inode);
    else if (size < old) /* to the last byte a file can have: so stale records take in older ones */
        rc = punch(a, inode, size, FILE_SIZE_MAX);
    if (rc)
        return rc;
    inode->attr.size = size;
    apply_emit_data(a, inode->attr.ino, size < old ? size : old,
                    size < old ? old - size : size - old);
    return 0;
}

/* 0, or the errno for a mode the kernel should not have let through. */
static int check_fallocate(const struct fs_command *c)
{
    switch (c->mode) {
    case 0:
    case FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
    case FALLOC_FL_ZERO_RANGE:
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
        break;
    default:
        return EOPNOTSUPP;
    }
    if (c->size == 0)
        return EINVAL;
    return fits(c->offset, c->size) ? 0 : EFBIG;
}

/* Space is not set aside: what is allocated stays a hole until it is written. */
int apply_fallocate(struct apply *a)
{
    struct inode inode;
    int rc = check_fallocate(a->c);
    if (rc == 0)
        rc = apply_inode(a, a->c->ino, &inode);
    if (rc)
        return rc;
    if (inode_is_dir(&inode))
        return EISDIR;
    if (!inode_is_file(&inode))
        return ENODEV;

    uint64_t end = a->c->offset + a->c->size, old = inode.attr.size;
    if (a->c->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
        uint64_t stored_end = end < old ? end : old;
        rc = punch(a, &inode, a->c->offset, stored_end);
        if (rc)
            return rc;
        apply_emit_data(a, inode.attr.ino, a->c->offset, a->c->size);
    }
    rc = apply_drop_privileges(a, &inode, false);
    if (rc)
        return rc;
    if (!(a->c->mode & FALLOC_FL_KEEP_SIZE) && end > old) {
        inode.attr.size = end;
        apply_emit_data(a, inode.attr.ino, old, end - old);
    }
    rc = apply_put_modified(a, &inode);
    a->outcome->attr = inode.attr;
    return rc;
}
