#include "mount-helper/dev_cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount-helper/complain.h"
#include "mount-helper/mountinfo.h"

int dev_cluster_path(const struct dev_cluster *c, char *out)
{
    int size = snprintf(out, PATH_MAX, "%s/dev", c->dir);
    return size < 0 || size >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int dev_cluster_load(struct dev_cluster *c)
{
    char path[PATH_MAX];
    if (dev_cluster_path(c, path) < 0)
        return -ENAMETOOLONG;
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    int fields = fscanf(file, "nodes=%u base=%u", &c->count, &c->port);
    fclose(file);
    if (fields != 2 || c->count < 1 || c->count > DEV_NODES_MAX || c->port < 1 || c->port > 65535)
        return -EBADMSG;
    return 0;
}

int dev_cluster_save(const struct dev_cluster *c)
{
    char path[PATH_MAX];
    if (dev_cluster_path(c, path) < 0)
        return -ENAMETOOLONG;
    FILE *file = fopen(path, "we");
    if (!file)
        return -errno;
    fprintf(file, "nodes=%u\nbase=%u\n", c->count, c->port);
    return fclose(file) == 0 ? 0 : -errno;
}

int dev_cluster_node(const struct dev_cluster *c, unsigned number, struct dev_node *n)
{
    int rc = dev_node_init(n, c->dir, number, c->port);
    if (rc < 0)
        complain("the path of %s is too long; use a shorter --dir", c->dir);
    return rc;
}

int dev_cluster_open(const char *dir, struct dev_cluster *c)
{
    int rc = mountinfo_resolve(dir, c->dir);
    if (rc == 0)
        rc = dev_cluster_load(c);
    if (rc < 0)
        complain("no dev cluster in %s (%s); make one: paxfs dev up 3 --dir %s", dir, strerror(-rc),
                 dir);
    return rc;
}

int dev_parse_count(const char *text, unsigned max, unsigned *out)
{
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno || end == text || *end || text[0] == '-' || value < 1 || value > max)
        return -EINVAL;
    *out = (unsigned)value;
    return 0;
}

int dev_cluster_named(const struct dev_cluster *c, const struct dev_arguments *a,
                      struct dev_node *n)
{
    unsigned number;
    if (!a->operand || a->operand[0] != 'n' ||
        dev_parse_count(a->operand + 1, c->count, &number) < 0) {
        complain("dev %s: which node? n1 to n%u", a->verb, c->count);
        return -EINVAL;
    }
    return dev_cluster_node(c, number, n);
}

int dev_cluster_running(const struct dev_cluster *c, unsigned but, struct dev_node *n)
{
    for (unsigned k = 1; k <= c->count; k++) {
        if (k == but)
            continue;
        int rc = dev_cluster_node(c, k, n);
        if (rc < 0)
            return rc;
        if (!dev_node_is_retired(n) && dev_node_pid(n) > 0)
            return 0;
    }
    complain("no node runs in %s; start them: paxfs dev up %u --dir %s", c->dir, c->count, c->dir);
    return -ESRCH;
}
