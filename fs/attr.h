/* fs/attr.h: what stat shows, in one struct; times in nanoseconds since 1970. */
#ifndef FS_ATTR_H
#define FS_ATTR_H

#include <stdint.h>

#define FS_ROOT_INO UINT64_C(1)

struct fs_attr {
    uint64_t ino;
    uint64_t size;   /* bytes */
    uint64_t blocks; /* of 512 bytes */
    uint64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
    uint32_t mode; /* type and permissions */
    uint32_t nlink;
    uint32_t uid, gid;
    uint32_t rdev;
};

#endif
