#include "fs/frontend_reply.h"

#include <errno.h>
#include <fcntl.h>

#include "base/limits.h"

/* What stdio and others take for their buffers: fewer, larger requests; below malloc's threshold
 * for mapping. */
#define BLOCK_SIZE_PREFERRED 65536

static struct timespec time_of_ns(uint64_t ns)
{
    int64_t signed_ns = (int64_t)ns;
    int64_t second = (int64_t)NS_PER_S;
    int64_t rest = signed_ns % second;
    if (rest < 0)
        rest += second; /* before 1970 */
    return (struct timespec){.tv_sec = (signed_ns - rest) / second, .tv_nsec = rest};
}

uint64_t time_to_ns(struct timespec t)
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)t.tv_sec, (int64_t)NS_PER_S, &ns) ||
        __builtin_add_overflow(ns, (int64_t)t.tv_nsec, &ns))
        ns = t.tv_sec < 0 ? INT64_MIN + (int64_t)NS_PER_S : INT64_MAX;
    return (uint64_t)ns;
}

struct stat attr_to_stat(const struct fs_attr *attr)
{
    return (struct stat){
        .st_ino = attr->ino,
        .st_mode = attr->mode,
        .st_nlink = attr->nlink,
        .st_uid = attr->uid,
        .st_gid = attr->gid,
        .st_rdev = attr->rdev,
        .st_size = (off_t)attr->size,
        .st_blksize = BLOCK_SIZE_PREFERRED,
        .st_blocks = (blkcnt_t)attr->blocks,
        .st_atim = time_of_ns(attr->atime_ns),
        .st_mtim = time_of_ns(attr->mtime_ns),
        .st_ctim = time_of_ns(attr->ctime_ns),
    };
}

struct fuse_entry_param attr_to_entry(const struct fs_attr *attr)
{
    return (struct fuse_entry_param){.ino = attr->ino, .attr = attr_to_stat(attr)};
}

void reply_entry(struct frontend *f, fuse_req_t fuse, const struct fs_attr *attr)
{
    struct fuse_entry_param entry = attr_to_entry(attr);
    if (inode_refs_get(f->config.inodes, f->mount, attr->ino) < 0) {
        fuse_reply_err(fuse, ENOMEM);
        return;
    }
    if (fuse_reply_entry(fuse, &entry) < 0)
        inode_refs_put(f->config.inodes, f->mount, attr->ino, 1);
}

struct fuse_file_info open_as(int flags)
{
    /* No keep_cache: what is cached is dropped, and read anew. */
    return (struct fuse_file_info){
        .direct_io = (flags & O_ACCMODE) == O_WRONLY || (flags & O_APPEND),
    };
}

void reply_create(struct frontend *f, fuse_req_t fuse, const struct fs_attr *attr, int flags)
{
    struct fuse_entry_param entry = attr_to_entry(attr);
    struct fuse_file_info file = open_as(flags);
    if (inode_refs_get(f->config.inodes, f->mount, attr->ino) < 0) {
        fuse_reply_err(fuse, ENOMEM);
        return;
    }
    if (fuse_reply_create(fuse, &entry, &file) < 0)
        inode_refs_put(f->config.inodes, f->mount, attr->ino, 1);
}
