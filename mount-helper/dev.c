/* mount-helper/dev.c: `paxfs dev`: a cluster on this machine, to try things and for tests. */
#include "mount-helper/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "mount-helper/complain.h"
#include "mount-helper/daemon.h"
#include "mount-helper/dev_cluster.h"
#include "mount-helper/mounting.h"
#include "mount-helper/mountinfo.h"
#include "mount-helper/report.h"

#define DEFAULT_DIR  "paxfs-dev"
#define DEFAULT_PORT 7600
#define UP_MS        30000

static const char usage[] =
    "usage: paxfs dev up N [--dir D] [--base PORT]   start N nodes on 127.0.0.1 to 127.0.0.N\n"
    "       paxfs dev kill nK [--dir D]              SIGKILL, as a crash\n"
    "       paxfs dev start nK [--dir D]             start it again and mount it\n"
    "       paxfs dev stop nK [--dir D]              stop it as an operator would\n"
    "       paxfs dev add [--dir D]                  one more node joins\n"
    "       paxfs dev remove nK [--dir D]            it leaves the cluster for ever\n"
    "       paxfs dev replace nK [--dir D]           one more node takes its place\n"
    "       paxfs dev status [--dir D] [--json]      all nodes\n"
    "       paxfs dev verify [--dir D] [--json]      compare the replicas\n"
    "       paxfs dev down [--dir D] [--delete]      stop all; --delete removes D\n"
    "D is ./" DEFAULT_DIR " if not given.\n";

/* ---- up ---- */

/* A new cluster of the asked size, or the one that is there. */
static int up_prepare(const struct dev_arguments *a, struct dev_cluster *c)
{
    unsigned count;
    if (!a->operand || dev_parse_count(a->operand, MEMBERS_MAX, &count) < 0) {
        complain("dev up: how many nodes? paxfs dev up N, N from 1 to %d", MEMBERS_MAX);
        return -EINVAL;
    }
    if (mkdir(a->dir, 0755) < 0 && errno != EEXIST) {
        int error = errno;
        complain("cannot make %s: %s; check --dir", a->dir, strerror(error));
        return -error;
    }
    int rc = mountinfo_resolve(a->dir, c->dir);
    if (rc == 0)
        rc = dev_cluster_load(c);
    if (rc == 0 && (c->count != count || (a->port && a->port != c->port))) {
        complain("%s holds a cluster of %u on port %u; up %u without --base, or another --dir",
                 c->dir, c->count, c->port, c->count);
        return -EEXIST;
    }
    if (rc == -ENOENT) {
        c->count = count;
        c->port = a->port ? a->port : DEFAULT_PORT;
        rc = dev_cluster_save(c);
    }
    if (rc < 0)
        complain("cannot use %s: %s; use another --dir", a->dir, strerror(-rc));
    return rc;
}

static void write_cluster(const struct dev_cluster *c, char *out, size_t room)
{
    size_t used = 0;
    for (unsigned k = 1; k <= c->count && used < room; k++)
        used += (size_t)snprintf(out + used, room - used, "%sn%u=127.0.0.%u:%u", k > 1 ? "," : "",
                                 k, k, c->port);
}

/* Those that were not removed, into @nodes. Returns how many, or -errno. */
static int up_nodes(const struct dev_cluster *c, struct dev_node *nodes)
{
    int count = 0;
    for (unsigned k = 1; k <= c->count; k++) {
        int rc = dev_cluster_node(c, k, &nodes[count]);
        if (rc < 0)
            return rc;
        count += !dev_node_is_retired(&nodes[count]);
    }
    return count;
}

static int up_start(const struct dev_cluster *c, const struct dev_node *nodes, int count)
{
    struct daemon_child children[DEV_NODES_MAX];
    char cluster[DEV_NODES_MAX * 32];
    int rc = 0;
    write_cluster(c, cluster, sizeof(cluster));
    for (int k = 0; rc == 0 && k < count; k++)
        rc = dev_node_create(&nodes[k], cluster);
    for (int k = 0; rc == 0 && k < count; k++)
        rc = dev_node_launch(&nodes[k], &children[k]);
    for (int k = 0; rc == 0 && k < count; k++)
        rc = dev_node_mount(&nodes[k], &children[k]);
    return rc;
}

static int up_await(const struct dev_cluster *c, const struct dev_node *nodes, int count)
{
    uint64_t deadline = clock_now_ns() + UP_MS * NS_PER_MS;
    for (int k = 0; k < count; k++) {
        uint64_t now = clock_now_ns();
        int left_ms = now < deadline ? (int)((deadline - now) / NS_PER_MS) : 0;
        int rc = mounting_await_usable(nodes[k].mnt, left_ms + 1);
        if (rc == 0)
            continue;
        complain("%s is mounted on %s but not usable: %s; see %s and paxfs dev status --dir %s",
                 nodes[k].name, nodes[k].mnt, strerror(-rc), nodes[k].log_path, c->dir);
        return rc;
    }
    return 0;
}

static int up(const struct dev_arguments *a, struct dev_node *nodes)
{
    struct dev_cluster c = {0};
    int rc = up_prepare(a, &c);
    int count = rc == 0 ? up_nodes(&c, nodes) : rc;
    rc = count < 0 ? count : up_start(&c, nodes, count);
    if (rc == 0)
        rc = up_await(&c, nodes, count);
    if (rc < 0)
        return EXIT_FAILED;
    printf("%d nodes are up; one directory, mounted %d times:\n", count, count);
    for (int k = 0; k < count; k++)
        printf("  %-4s %-20s %s\n", nodes[k].name, nodes[k].address, nodes[k].mnt);
    printf("try:       paxfs dev kill n1 --dir %s      (and start n1, status, verify)\n"
           "take down: paxfs dev down --dir %s         (--delete removes the data too)\n",
           c.dir, c.dir);
    return EXIT_FINE;
}

static int dev_up(const struct dev_arguments *a)
{
    struct dev_node *nodes = calloc(DEV_NODES_MAX + 1, sizeof(*nodes));
    int status = nodes ? up(a, nodes) : EXIT_FAILED;
    free(nodes);
    return status;
}

/* ---- one node ---- */

static int open_node(const struct dev_arguments *a, struct dev_cluster *c, struct dev_node *n)
{
    int rc = dev_cluster_open(a->dir, c);
    return rc < 0 ? rc : dev_cluster_named(c, a, n);
}

static int dev_kill(const struct dev_arguments *a)
{
    struct dev_cluster c;
    struct dev_node n;
    return open_node(a, &c, &n) == 0 && dev_node_kill(&n) == 0 ? EXIT_FINE : EXIT_FAILED;
}

static int dev_stop(const struct dev_arguments *a)
{
    struct dev_cluster c;
    struct dev_node n;
    if (open_node(a, &c, &n) < 0)
        return EXIT_FAILED;
    pid_t pid = dev_node_pid(&n);
    if (pid == 0) {
        complain("%s does not run; nothing to stop", n.name);
        return EXIT_FAILED;
    }
    kill(pid, SIGTERM);
    return dev_node_finish_stop(&n, pid) == 0 ? EXIT_FINE : EXIT_FAILED;
}

static int dev_start(const struct dev_arguments *a)
{
    struct dev_cluster c;
    struct dev_node n;
    return open_node(a, &c, &n) == 0 && dev_node_start(&n, DEV_START_MS) == 0 ? EXIT_FINE
                                                                              : EXIT_FAILED;
}

/* ---- all nodes ---- */

/* The best a node says, and never better than degraded while one is down. */
static int dev_status(const struct dev_arguments *a)
{
    struct dev_cluster c;
    struct dev_node n;
    if (dev_cluster_open(a->dir, &c) < 0)
        return 3;
    int best = 3, worst = 0, shown = 0;
    if (a->json)
        putchar('[');
    for (unsigned k = 1; k <= c.count; k++) {
        if (dev_cluster_node(&c, k, &n) < 0)
            return 3;
        if (dev_node_is_retired(&n))
            continue;
        if (shown++)
            fputs(a->json ? "," : "\n", stdout);
        int status = report_status(n.state, a->json);
        best = status < best ? status : best;
        worst = status > worst ? status : worst;
    }
    if (a->json)
        puts("]");
    if (best == 3)
        return 3;
    return best == 0 && worst > 0 ? 1 : best;
}

static int dev_verify(const struct dev_arguments *a)
{
    struct dev_cluster c;
    struct dev_node n;
    if (dev_cluster_open(a->dir, &c) < 0 || dev_cluster_running(&c, 0, &n) < 0)
        return EXIT_FAILED;
    return report_verify(n.state, a->json);
}

static int delete_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path) < 0 ? -1 : 0;
}

/* Never across a mount: what is below one is the cluster's, not ours to delete. */
static int delete_cluster(const struct dev_cluster *c)
{
    char path[PATH_MAX];
    struct dev_node n;
    for (unsigned k = 1; k <= c->count; k++) {
        struct mountinfo mount;
        if (dev_cluster_node(c, k, &n) < 0)
            return -ENAMETOOLONG;
        if (mountinfo_at(n.mnt, &mount) == 0) {
            complain("%s is still mounted; unmount it: paxfs umount -l %s", n.mnt, n.mnt);
            return -EBUSY;
        }
        if (daemon_probe(n.state) != -ENOENT) {
            complain("%s still runs; its data is kept", n.name);
            return -EBUSY;
        }
        if (nftw(n.dir, delete_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 && errno != ENOENT) {
            complain("cannot delete %s: %s; delete it by hand", n.dir, strerror(errno));
            return -EIO;
        }
    }
    if (dev_cluster_path(c, path) == 0)
        unlink(path);
    if (rmdir(c->dir) < 0 && errno != ENOTEMPTY && errno != EBUSY)
        complain("warning: cannot delete %s: %s", c->dir, strerror(errno));
    return 0;
}

static int dev_down(const struct dev_arguments *a)
{
    struct dev_cluster c;
    struct dev_node n;
    pid_t pids[DEV_NODES_MAX + 1] = {0};
    int rc = 0;
    if (dev_cluster_open(a->dir, &c) < 0)
        return EXIT_FAILED;
    for (unsigned k = 1; k <= c.count; k++) {
        if (dev_cluster_node(&c, k, &n) < 0)
            return EXIT_FAILED;
        pids[k] = dev_node_pid(&n);
        if (pids[k] > 0)
            kill(pids[k], SIGTERM);
    }
    for (unsigned k = 1; k <= c.count; k++) {
        if (dev_cluster_node(&c, k, &n) < 0)
            return EXIT_FAILED;
        int stopped = dev_node_finish_stop(&n, pids[k]);
        rc = rc < 0 ? rc : stopped;
    }
    if (a->delete &&delete_cluster(&c) < 0)
        return EXIT_FAILED;
    return rc == 0 ? EXIT_FINE : EXIT_FAILED;
}

/* ---- arguments ---- */

static int read_arguments(int argc, char **argv, struct dev_arguments *a)
{
    static const struct option long_options[] = {
        {"dir", required_argument, NULL, 'd'}, {"base", required_argument, NULL, 'b'},
        {"json", no_argument, NULL, 'j'},      {"delete", no_argument, NULL, 'x'},
        {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        switch (option) {
        case 'd':
            a->dir = optarg;
            break;
        case 'b':
            if (dev_parse_count(optarg, 65535, &a->port) < 0) {
                complain("dev: --base %s is no port; give 1 to 65535", optarg);
                return -EINVAL;
            }
            break;
        case 'j':
            a->json = true;
            break;
        case 'x':
            a->delete = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return 1;
        default:
            fputs(usage, stderr);
            return -EINVAL;
        }
    }
    if (optind < argc)
        a->verb = argv[optind++];
    if (optind < argc)
        a->operand = argv[optind++];
    if (!a->verb || optind < argc) {
        fputs(usage, stderr);
        return -EINVAL;
    }
    return 0;
}

int command_dev(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct dev_arguments *a);
        bool needs_root;
    } verbs[] = {
        {"up", dev_up, true},          {"kill", dev_kill, true},
        {"start", dev_start, true},    {"stop", dev_stop, true},
        {"status", dev_status, false}, {"verify", dev_verify, false},
        {"down", dev_down, true},      {"add", dev_add, true},
        {"remove", dev_remove, true},  {"replace", dev_replace, true},
    };
    struct dev_arguments a = {.dir = DEFAULT_DIR};
    int rc = read_arguments(argc, argv, &a);
    if (rc != 0)
        return rc < 0 ? EXIT_FAILED : EXIT_FINE;
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        if (strcmp(a.verb, verbs[i].name) != 0)
            continue;
        if (verbs[i].needs_root && geteuid() != 0) {
            complain("dev %s mounts and unmounts: only root may; use sudo", a.verb);
            return EXIT_FAILED;
        }
        return verbs[i].run(&a);
    }
    complain("dev: '%s' is no verb of it; see paxfs dev --help", a.verb);
    return EXIT_FAILED;
}
