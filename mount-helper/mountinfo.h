/* mount-helper/mountinfo.h: what is mounted where, from /proc/self/mountinfo: no call goes into a
 * mount, so none can wait for a quorum or hang on a dead daemon. */
#ifndef MOUNT_HELPER_MOUNTINFO_H
#define MOUNT_HELPER_MOUNTINFO_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define PAXFS_MOUNT_TYPE "fuse.paxfs"

struct mountinfo {
    unsigned major, minor;
    char dir[PATH_MAX];
    char type[64];
    char source[PATH_MAX]; /* a paxfs mount: its state directory */
};

/* The topmost mount at exactly @dir (absolute, resolved). 0; -ENOENT: none; other -errno. */
int mountinfo_at(const char *dir, struct mountinfo *out);
/* The @index-th paxfs mount, from 0, in the order of mounting. 0; -ENOENT: no such; other -errno.
 */
int mountinfo_paxfs(unsigned index, struct mountinfo *out);
/* An absolute path without symlinks, also where its last part is a mount that does not answer.
 * @out has PATH_MAX bytes. 0 or -errno. */
int mountinfo_resolve(const char *path, char *out);

#endif
