#include "mount-helper/dev_node.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mount-helper/complain.h"
#include "mount-helper/joining.h"
#include "mount-helper/mounting.h"
#include "node/config.h"

#define KILL_MS 10000
#define STOP_MS 12000 /* the daemon promises 10 s */

static int set_path(char *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int set_path(char *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(out, PATH_MAX, format, arguments);
    va_end(arguments);
    return size < 0 || size >= PATH_MAX ? -ENAMETOOLONG : 0;
}

int dev_node_init(struct dev_node *n, const char *cluster_dir, unsigned number, unsigned port)
{
    *n = (struct dev_node){.number = number};
    snprintf(n->name, sizeof(n->name), "n%u", number);
    snprintf(n->address, sizeof(n->address), "127.0.0.%u:%u", number, port);
    if (set_path(n->dir, "%s/%s", cluster_dir, n->name) < 0 ||
        set_path(n->state, "%s/state", n->dir) < 0 || set_path(n->mnt, "%s/mnt", n->dir) < 0 ||
        set_path(n->pid_path, "%s/paxfsd.pid", n->dir) < 0 ||
        set_path(n->log_path, "%s/paxfsd.log", n->dir) < 0)
        return -ENAMETOOLONG;
    return 0;
}

static int make_dir(const char *path)
{
    if (mkdir(path, 0755) == 0 || errno == EEXIST)
        return 0;
    int rc = -errno;
    complain("cannot make %s: %s; check the path", path, strerror(-rc));
    return rc;
}

static bool has_config(const struct dev_node *n)
{
    char path[PATH_MAX];
    return set_path(path, "%s/config", n->state) == 0 && access(path, F_OK) == 0;
}

static int make_dirs(const struct dev_node *n)
{
    int rc = make_dir(n->dir);
    /* A dead mount answers mkdir with ENOTCONN: whatever is mounted there is looked at later. */
    if (rc == 0 && mounting_state(n->mnt, n->state) == MOUNT_NONE)
        rc = make_dir(n->mnt);
    return rc;
}

int dev_node_join(const struct dev_node *n, const char *text)
{
    struct token token;
    if (token_parse(text, &token) < 0) {
        complain("%s: the daemon gave no token; it is of another version than paxfs", n->name);
        return -EBADMSG;
    }
    int rc = make_dirs(n);
    return rc < 0 ? rc : joining_join(n->state, n->address, &token);
}

int dev_node_retire(const struct dev_node *n)
{
    char path[PATH_MAX];
    if (set_path(path, "%s/removed", n->dir) < 0)
        return -ENAMETOOLONG;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        complain("cannot make %s: %s", path, strerror(errno));
    else
        close(fd);
    return fd < 0 ? -EIO : 0;
}

bool dev_node_is_retired(const struct dev_node *n)
{
    char path[PATH_MAX];
    return set_path(path, "%s/removed", n->dir) == 0 && access(path, F_OK) == 0;
}

int dev_node_create(const struct dev_node *n, const char *cluster)
{
    struct config c = {0};
    char error[512];
    int rc = make_dirs(n);
    if (rc < 0 || has_config(n))
        return rc;
    rc = config_parse_cluster(&c, cluster, n->name, error, sizeof(error));
    if (rc == 0)
        rc = config_init(n->state, &c, error, sizeof(error));
    if (rc < 0)
        complain("%s: %s", n->name, error);
    return rc;
}

static struct daemon_launch launch_of(const struct dev_node *n)
{
    return (struct daemon_launch){
        .state_dir = n->state,
        .log_path = n->log_path,
        .pid_path = n->pid_path,
    };
}

int dev_node_launch(const struct dev_node *n, struct daemon_child *child)
{
    char error[1024];
    struct daemon_launch launch = launch_of(n);
    child->pid = 0;
    if (dev_node_pid(n) > 0)
        return 0;
    int rc = daemon_start(&launch, child, error, sizeof(error));
    if (rc < 0)
        complain("%s: %s", n->name, error);
    return rc;
}

int dev_node_mount(const struct dev_node *n, const struct daemon_child *child)
{
    char error[1024];
    struct daemon_launch launch = launch_of(n);
    if (child->pid > 0) {
        int rc = daemon_await(&launch, child, NULL, error, sizeof(error));
        if (rc < 0) {
            complain("%s: %s", n->name, error);
            return rc;
        }
    }
    if (mounting_state(n->mnt, n->state) == MOUNT_OURS)
        return 0;
    struct mounting m = {.launch = launch, .dir = n->mnt};
    return mounting_mount(&m) == MOUNT_OK ? 0 : -EIO;
}

int dev_node_start(const struct dev_node *n, int timeout_ms)
{
    struct daemon_child child;
    int rc = dev_node_launch(n, &child);
    if (rc == 0)
        rc = dev_node_mount(n, &child);
    if (rc < 0)
        return rc;
    rc = mounting_await_usable(n->mnt, timeout_ms);
    if (rc == -ETIMEDOUT) {
        printf("%s: mounted on %s; waiting for a quorum\n", n->name, n->mnt);
        return 0;
    }
    if (rc < 0)
        complain("%s is mounted on %s but not usable: %s; see %s", n->name, n->mnt, strerror(-rc),
                 n->log_path);
    return rc;
}

pid_t dev_node_pid(const struct dev_node *n)
{
    return daemon_pid(n->pid_path, n->state);
}

int dev_node_kill(const struct dev_node *n)
{
    pid_t pid = dev_node_pid(n);
    if (pid == 0 || kill(pid, SIGKILL) < 0) {
        complain("%s does not run; nothing to kill", n->name);
        return -ESRCH;
    }
    if (daemon_wait_gone(pid, KILL_MS) == 0)
        return 0;
    complain("%s (pid %d) survives SIGKILL: it waits in the kernel; paxfs dev start %s frees it",
             n->name, (int)pid, n->name);
    return -ETIMEDOUT;
}

int dev_node_finish_stop(const struct dev_node *n, pid_t pid)
{
    int rc = pid > 0 ? daemon_wait_gone(pid, STOP_MS) : 0;
    if (rc < 0) {
        complain("%s (pid %d) did not stop within %d s and gets SIGKILL; see %s", n->name, (int)pid,
                 STOP_MS / 1000, n->log_path);
        kill(pid, SIGKILL);
        daemon_wait_gone(pid, KILL_MS);
    }
    if (daemon_probe(n->state) != -ENOENT) {
        complain("%s: a daemon still runs on %s; stop it: paxfs stop --state %s", n->name, n->state,
                 n->state);
        return -EBUSY;
    }
    int detached = mounting_detach_dead(n->mnt);
    if (detached < 0) {
        complain("%s: cannot detach %s: %s; run as root: umount -l %s", n->name, n->mnt,
                 strerror(-detached), n->mnt);
        return detached;
    }
    return rc;
}
