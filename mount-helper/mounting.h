/* mount-helper/mounting.h: a paxfs mount comes and goes: mount(2), and its descriptor handed to the
 * daemon. Nothing here waits for a quorum: what has to ask a mount does it in a child, which is
 * ended when it waits. No connection is aborted whose daemon may be alive. */
#ifndef MOUNT_HELPER_MOUNTING_H
#define MOUNT_HELPER_MOUNTING_H

#include <stdbool.h>

#include "mount-helper/daemon.h"
#include "mount-helper/options.h"

/* Exit codes, as mount(8) has them. 16 is for who writes /etc/fstab. */
enum mount_exit {
    MOUNT_OK = 0,
    MOUNT_USAGE = 1, /* or no permission */
    MOUNT_SYSTEM = 2,
    MOUNT_BUG = 4,
    MOUNT_INTERRUPTED = 8,
    MOUNT_FAILED = 32,
};

struct mounting {
    struct daemon_launch launch; /* its state_dir: resolved */
    const char *dir;             /* resolved */
    struct mount_options options;
    bool fake, verbose;
};

/* Mount @m->launch.state_dir at @m->dir; starts the daemon unless one runs; takes away what a dead
 * one left there. Complains by itself. Returns a mount_exit. */
int mounting_mount(const struct mounting *m);

enum mount_state {
    MOUNT_NONE,  /* no paxfs mount at the directory */
    MOUNT_DEAD,  /* its daemon is gone: every call there fails */
    MOUNT_OURS,  /* served, of the asked state directory */
    MOUNT_OTHER, /* served, of another state directory */
};
enum mount_state mounting_state(const char *dir, const char *state_dir);

/* Detach every dead paxfs mount at @dir, also one that processes still stand in. 0 or -errno. */
int mounting_detach_dead(const char *dir);
/* Unmount @dir; @lazily: also when it is in use. 0; -EINVAL: no paxfs mount there; -EBUSY; -errno.
 */
int mounting_unmount(const char *dir, bool lazily);
/* Ask the mount for its root and its space. 0; -ETIMEDOUT: calls wait, for a quorum mostly; -errno.
 */
int mounting_await_usable(const char *dir, int timeout_ms);

#endif
