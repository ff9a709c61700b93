#include <errno.h>
#include <linux/falloc.h>

#include "fs/apply.h"
#include "fs/chunk.h"
#include "fs/orphan.h"
#include "fs/space.h"
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

/* There is room for @size bytes at @offset. Mostly there is even if nothing were stored there: then
 * nobody looks. */
static int check_room(struct apply *a, const struct inode *inode, uint64_t offset, uint64_t size)
{
    uint64_t chunks = size / CHUNK_SIZE + 2; /* that it may touch */
    if (space_check(&a->s->meta, chunks * space_of_chunk(CHUNK_SIZE)) == 0)
        return 0;
    uint64_t growth;
    int rc = chunk_growth(a->s, inode->data, offset, size, &growth);
    return rc ? rc : space_check(&a->s->meta, growth);
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
    rc = check_room(a, &inode, offset, size);
    if (rc)
        return rc;
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

/* Could all of it be written? What the file has may lie elsewhere: that counts in its favour. */
static int check_allocation(const struct apply *a, const struct inode *inode)
{
    uint64_t has = inode->attr.blocks * 512, wants = a->c->size;
    bool is_hole = a->c->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
    return is_hole || wants <= has ? 0 : space_check(&a->s->meta, wants - has);
}

/* Space is not set aside: what is allocated stays a hole until it is written. What could not be
 * written now is refused all the same. */
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
    rc = check_allocation(a, &inode);
    if (rc)
        return rc;

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
