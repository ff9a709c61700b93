/* fs/backup.h: a backup, as `paxfs backup` writes it and `paxfs restore` reads it: one state of the
 * store, as store_export() gives it, between a header and a trailer by which a file that is another
 * one, was cut, or was changed is known.
 *
 *   header   magic, version, cluster id, slot, time of that slot; XXH3 of those
 *   body     an LMDB file
 *   trailer  magic, size of the body; XXH3 of all before it
 *
 * Integers are little-endian. Streaming over descriptors; any thread; 0 or -errno. */
#ifndef FS_BACKUP_H
#define FS_BACKUP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BACKUP_HEADER_SIZE = 8 + 4 + 3 * 8 + 8, BACKUP_TRAILER_SIZE = 8 + 8 + 8 };

struct backup_header {
    uint64_t cluster_id;
    uint64_t slot;    /* all that was applied up to this one is in it, perhaps more */
    uint64_t time_ns; /* of that slot */
};

/* How long one waits for the reader of a pipe. */
struct backup_patience {
    uint64_t idle_ns;     /* while it takes nothing */
    uint64_t deadline_ns; /* by clock_now_ns(): for all of it */
    const _Atomic bool *is_cancelled;
};

/* Write a backup of what comes out of @in, until its end, to @out, which does not block. @is_whole
 * is asked at the end of @in: 0, or the error of who fed it, and then there is no trailer: what was
 * written is no backup. *@size: bytes written. 0; -ETIMEDOUT; -ECANCELED; -EPIPE; -errno. */
int backup_write(int in, int out, const struct backup_header *h, const struct backup_patience *p,
                 int (*is_whole)(void *context), void *context, uint64_t *size);

/* Read the backup that all of @fd, a file, is; hand its body to @take (NULL: only check it) piece
 * by piece, before it is known whether the end is right. 0; -EBADMSG: no backup, or a damaged one:
 * @error is what a person reads; what @take returned; -errno. */
int backup_read(int fd, struct backup_header *h,
                int (*take)(void *context, const void *bytes, size_t size), void *context,
                char *error, size_t error_size);

#endif
