/* mount-helper/dev_node.h: one node of a cluster on this machine, as `paxfs dev` lays it out:
 *
 *   D/nK/state  D/nK/mnt  D/nK/paxfsd.pid  D/nK/paxfsd.log   on 127.0.0.K:PORT
 *   D/nK/removed   there once it was removed from the cluster
 */
#ifndef MOUNT_HELPER_DEV_NODE_H
#define MOUNT_HELPER_DEV_NODE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/limits.h"
#include "mount-helper/daemon.h"

struct dev_node {
    unsigned number; /* from 1 */
    char name[16];
    char address[ADDRESS_MAX + 1];
    char dir[PATH_MAX], state[PATH_MAX], mnt[PATH_MAX], pid_path[PATH_MAX], log_path[PATH_MAX];
};

/* Where node @number of the cluster in @cluster_dir (absolute) lives. 0 or -ENAMETOOLONG. */
int dev_node_init(struct dev_node *n, const char *cluster_dir, unsigned number, unsigned port);

/* All that follow complain by themselves: 0 or -errno. */

/* Make its directories, and its state where there is none yet. */
int dev_node_create(const struct dev_node *n, const char *cluster);
/* ... of a cluster that runs already, by a token of one of its members. */
int dev_node_join(const struct dev_node *n, const char *token);
/* It was removed from the cluster: it stays where it is, and is left out from now on. */
int dev_node_retire(const struct dev_node *n);
bool dev_node_is_retired(const struct dev_node *n);
/* Start its daemon without waiting for it; @child->pid is 0 when one runs already. */
int dev_node_launch(const struct dev_node *n, struct daemon_child *child);
/* Wait until it answers, and mount it, taking away a dead mount first. */
int dev_node_mount(const struct dev_node *n, const struct daemon_child *child);
/* All that, and wait until the mount answers; without a quorum in time it says so: 0. */
int dev_node_start(const struct dev_node *n, int timeout_ms);
/* The running daemon, or 0. */
pid_t dev_node_pid(const struct dev_node *n);
/* SIGKILL, and wait until it is gone. -ESRCH: it did not run. */
int dev_node_kill(const struct dev_node *n);
/* After a SIGTERM: wait until it is gone, then see that its mount is. SIGKILL when it does not go.
 * -EBUSY: a daemon that is not known by its pid (then 0) still answers. */
int dev_node_finish_stop(const struct dev_node *n, pid_t pid);

#endif
