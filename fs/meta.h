/* fs/meta.h: the replicated state's single numbers, one record, written once a batch. */
#ifndef FS_META_H
#define FS_META_H

#include <stddef.h>
#include <stdint.h>

struct meta {
    uint64_t applied, time_ns; /* last slot, and the greatest time of a slot so far */
    uint64_t next_ino;         /* inode numbers are never reused */
    uint64_t next_cookie;      /* nor are readdir cookies; 1 and 2 are "." and ".." */
    uint64_t inodes, bytes;    /* in use; bytes as st_blocks counts them */
    uint64_t orphans;          /* inodes without a name */
    uint64_t garbage;          /* records that say what waits to be reaped */
    uint64_t space, capacity;  /* what all of it takes, and may; see fs/space.h */
    uint64_t sum[2];           /* of all records but this one; see fs/digest.h */
};

/* Format version, then the fields above. META_NUMBERS_SIZE bytes of it are the numbers without sum.
 */
enum { META_NUMBERS_SIZE = 1 + 10 * 8, META_SIZE = META_NUMBERS_SIZE + 2 * 8 };

void meta_encode(const struct meta *m, uint8_t bytes[META_SIZE]);
/* 0, -EPROTO (of an earlier format), -EBADMSG. */
int meta_decode(const void *bytes, size_t size, struct meta *m);

#endif
