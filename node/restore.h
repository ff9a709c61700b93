/* node/restore.h: a backup becomes the state directory of a new cluster, of this host alone.
 *
 *   1. The whole file is read and checked before anything is changed.
 *   2. STATE/restoring is written. As long as there is no `config` no daemon starts there, and a
 *      restore that finds `restoring` begins anew.
 *   3. The store is made of the file, its members are replaced, the log begins after its slot.
 *   4. `config` is written: now it is a state directory. */
#ifndef NODE_RESTORE_H
#define NODE_RESTORE_H

#include "node/config.h"

struct restored {
    struct config config;
    uint64_t slot, time_ns; /* of the backup's state, and the time of that slot */
    uint64_t from_cluster;  /* id of the cluster that it was made of */
};

/* @fd: the backup, a file. 0; -EBADMSG: it is none; -EEXIST, -ENOTEMPTY: @state_dir is in use, and
 * was left as it is; -EINVAL; -EWOULDBLOCK; -errno; @error is what a person reads. What is left of
 * one that failed does no harm, and is cleared by the next one. */
int restore_run(int fd, const char *state_dir, const char *name, const char *listen,
                struct restored *out, char *error, size_t error_size);

#endif
