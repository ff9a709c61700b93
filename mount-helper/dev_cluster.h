/* mount-helper/dev_cluster.h: the cluster in a directory D that `paxfs dev` works on: its own file
 * D/dev, and its nodes n1, n2, ... (dev_node.h). All complain by themselves; 0 or -errno. */
#ifndef MOUNT_HELPER_DEV_CLUSTER_H
#define MOUNT_HELPER_DEV_CLUSTER_H

#include "mount-helper/dev_node.h"

enum { DEV_NODES_MAX = 64 }; /* ever made, with those removed since */

#define DEV_START_MS 15000 /* until a mount answers, with a quorum */

/* What `paxfs dev` was called with. */
struct dev_arguments {
    const char *dir, *verb, *operand;
    unsigned port; /* 0: not given */
    bool json, delete;
};

struct dev_cluster {
    char dir[PATH_MAX];
    unsigned count; /* nodes ever made */
    unsigned port;
};

int dev_cluster_path(const struct dev_cluster *c, char *out); /* of D/dev; quiet */
int dev_cluster_load(struct dev_cluster *c);                  /* c->dir is set; quiet */
int dev_cluster_save(const struct dev_cluster *c);            /* quiet */
int dev_cluster_open(const char *dir, struct dev_cluster *c);
int dev_cluster_node(const struct dev_cluster *c, unsigned number, struct dev_node *n);
/* The node that @operand, "n2" say, names. */
int dev_cluster_named(const struct dev_cluster *c, const struct dev_arguments *a,
                      struct dev_node *n);
/* A node that runs, but not number @but. -ESRCH: none does. */
int dev_cluster_running(const struct dev_cluster *c, unsigned but, struct dev_node *n);

/* A number from 1 to @max. 0 or -EINVAL; quiet. */
int dev_parse_count(const char *text, unsigned max, unsigned *out);

/* The verbs that change who belongs to it: dev_members.c. Exit codes. */
int dev_add(const struct dev_arguments *a);
int dev_remove(const struct dev_arguments *a);
int dev_replace(const struct dev_arguments *a);

#endif
