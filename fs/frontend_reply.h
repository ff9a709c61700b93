/* fs/frontend_reply.h: attributes and entries as FUSE wants them, with timeouts of 0 (DESIGN §7
 * stage 1). */
#ifndef FS_FRONTEND_REPLY_H
#define FS_FRONTEND_REPLY_H

#include "fs/frontend_internal.h"

/* Times as 64-bit two's complement: years 1677 to 2262. */
uint64_t time_to_ns(struct timespec t);

struct stat attr_to_stat(const struct fs_attr *attr);
struct fuse_entry_param attr_to_entry(const struct fs_attr *attr);

/* Give the inode to the kernel: counted before the answer, taken back where it did not arrive. */
void reply_entry(struct frontend *f, fuse_req_t fuse, const struct fs_attr *attr);
void reply_create(struct frontend *f, fuse_req_t fuse, const struct fs_attr *attr, int flags);

/* How a file is opened with open(2)'s @flags. A descriptor that only writes, or appends, is served
 * without the page cache: there the kernel cuts a write(2) at each page it has not read, so that
 * another host's append could fall into the middle of one; and what it cached is dropped at the
 * next look anyway, since the mtime is another. */
struct fuse_file_info open_as(int flags);

#endif
