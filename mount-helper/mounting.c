#include "mount-helper/mounting.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "mount-helper/complain.h"
#include "mount-helper/mountinfo.h"
#include "rpc/admin.h"

#define READ_AHEAD_KIB    4096 /* 1 MiB READs; the kernel's default makes them 128 KiB */
#define READ_AHEAD_MARK   8192
#define HAND_OVER_MS      30000
#define DETACH_ROUNDS_MAX 16 /* mounts stacked on one directory */
#define INIT_WAIT_NS      NS_PER_S
#define POLL_NS           (2 * NS_PER_MS)
#define PROBE_MS          2000

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number)
{
    interrupted = signal_number;
}

static void pause_ns(uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
    nanosleep(&t, NULL);
}

/* ---- what is there ---- */

/* Does the daemon say that it serves this very mount? By the device: a bind mount of it and one
 * that was moved have other directories. */
static bool is_the_daemons(const struct mountinfo *mount, const struct admin_response *status)
{
    char dir[PATH_MAX];
    struct mountinfo named;
    admin_get_text(admin_get(&status->result, "mount"), "dir", dir, sizeof(dir), "");
    return dir[0] && mountinfo_at(dir, &named) == 0 && named.major == mount->major &&
           named.minor == mount->minor;
}

/* Has the kernel ended the mount's connection? The one look into a mount here, by a child that is
 * given up where it has to wait. */
static bool is_disconnected(const struct mountinfo *mount)
{
    int rc = mounting_await_usable(mount->dir, PROBE_MS);
    return rc == -ENOTCONN || rc == -ECONNABORTED;
}

/* True unless it is known that no daemon serves this mount: one taken for dead is aborted, and its
 * users would lose what they have open. A daemon may have no mount to name yet (its helper is
 * between mount(2) and the hand-over), or its state directory may have been renamed: then the
 * connection tells. */
static bool is_served(const struct mountinfo *mount)
{
    struct admin_response response;
    int rc = admin_call(mount->source, "status", NULL, -1, PROBE_MS, &response);
    if (rc == -ECONNREFUSED)
        return false; /* its socket is there, and nobody listens: it was killed */
    if (rc == -ENOENT || rc == -ENOTDIR)
        return !is_disconnected(mount);
    if (rc < 0)
        return true;
    bool served = is_the_daemons(mount, &response);
    admin_response_deinit(&response);
    return served || !is_disconnected(mount);
}

enum mount_state mounting_state(const char *dir, const char *state_dir)
{
    struct mountinfo mount;
    if (mountinfo_at(dir, &mount) < 0 || strcmp(mount.type, PAXFS_MOUNT_TYPE) != 0)
        return MOUNT_NONE;
    if (!is_served(&mount))
        return MOUNT_DEAD;
    return strcmp(mount.source, state_dir) == 0 ? MOUNT_OURS : MOUNT_OTHER;
}

/* End what still waits inside a mount whose daemon is gone but, held by the kernel, not its
 * descriptor. Best effort: the control files may not be mounted. */
static void abort_connection(const struct mountinfo *mount)
{
    char path[96];
    snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", mount->minor);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "1", 1) != 1)
        complain("warning: cannot abort the dead mount at %s: %s", mount->dir, strerror(errno));
    close(fd);
}

int mounting_detach_dead(const char *dir)
{
    for (unsigned round = 0; round < DETACH_ROUNDS_MAX; round++) {
        struct mountinfo mount;
        if (mountinfo_at(dir, &mount) < 0 || strcmp(mount.type, PAXFS_MOUNT_TYPE) != 0 ||
            is_served(&mount))
            return 0;
        abort_connection(&mount);
        if (umount2(dir, MNT_DETACH) < 0)
            return -errno;
    }
    return -ELOOP;
}

int mounting_unmount(const char *dir, bool lazily)
{
    struct mountinfo mount;
    int rc = mountinfo_at(dir, &mount);
    if (rc == -ENOENT || (rc == 0 && strcmp(mount.type, PAXFS_MOUNT_TYPE) != 0))
        return -EINVAL;
    if (rc < 0)
        return rc;
    if (!is_served(&mount)) {
        abort_connection(&mount);
        lazily = true;
    }
    return umount2(dir, lazily ? MNT_DETACH : UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
}

/* ---- mount ---- */

static int read_ahead_path(const char *dir, char *path, size_t room)
{
    struct mountinfo mount;
    int rc = mountinfo_at(dir, &mount);
    if (rc == 0)
        snprintf(path, room, "/sys/class/bdi/%u:%u/read_ahead_kb", mount.major, mount.minor);
    return rc;
}

static void write_read_ahead(const char *path, unsigned kib)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return; /* slower reads are no reason to fail */
    dprintf(fd, "%u\n", kib);
    close(fd);
}

static unsigned read_read_ahead(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t size = read(fd, text, sizeof(text) - 1);
    close(fd);
    return size > 0 ? (unsigned)strtoul(text, NULL, 10) : 0;
}

/* The kernel cuts the window to what the INIT answer says, which may come after the daemon took the
 * mount over. So the window was marked before with a size no answer has: once the mark is gone,
 * INIT is over and the window stays as we set it. */
static void raise_read_ahead(const char *path)
{
    uint64_t deadline = clock_now_ns() + INIT_WAIT_NS;
    while (read_read_ahead(path) == READ_AHEAD_MARK && clock_now_ns() < deadline)
        pause_ns(POLL_NS);
    write_read_ahead(path, READ_AHEAD_KIB);
}

/* Give the daemon the mounted descriptor. 0, or -errno with @error. */
static int hand_over(const struct mounting *m, int fuse_fd, char *error, size_t error_size)
{
    struct buffer params = {0};
    pack_map(&params, 3);
    pack_text(&params, "dir");
    pack_text(&params, m->dir);
    pack_text(&params, "read_only");
    pack_bool(&params, (m->options.flags & MS_RDONLY) != 0);
    pack_text(&params, "timeo_ns");
    pack_u64(&params, m->options.timeo_ns);

    struct admin_response response;
    int rc = admin_call(m->launch.state_dir, "mount", &params, fuse_fd, HAND_OVER_MS, &response);
    buffer_deinit(&params);
    if (rc < 0) {
        snprintf(error, error_size, "the daemon did not take the mount: %s; see its log",
                 strerror(-rc));
        return rc;
    }
    if (response.error[0]) {
        snprintf(error, error_size, "%s", response.error);
        rc = -EIO;
    }
    admin_response_deinit(&response);
    return rc;
}

static int mount_failed(const struct mounting *m, int error)
{
    complain("cannot mount %s on %s: mount: %s; %s", m->launch.state_dir, m->dir, strerror(error),
             error == EPERM ? "run as root, outside a container that forbids it"
                            : "see dmesg for the kernel's reason");
    if (error == EPERM)
        return MOUNT_USAGE;
    return error == ENODEV ? MOUNT_SYSTEM : MOUNT_FAILED;
}

static int mount_on(const struct mounting *m, int fuse_fd)
{
    char data[160], path[96] = "", error[512];
    snprintf(data, sizeof(data),
             "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", fuse_fd);
    if (mount(m->launch.state_dir, m->dir, PAXFS_MOUNT_TYPE, m->options.flags, data) < 0)
        return mount_failed(m, errno);
    if (read_ahead_path(m->dir, path, sizeof(path)) == 0)
        write_read_ahead(path, READ_AHEAD_MARK);
    int rc = hand_over(m, fuse_fd, error, sizeof(error));
    if (rc < 0) {
        umount2(m->dir, MNT_DETACH);
        complain("cannot mount %s on %s: %s", m->launch.state_dir, m->dir, error);
        return MOUNT_FAILED;
    }
    raise_read_ahead(path);
    if (m->verbose)
        printf("%s mounted on %s\n", m->launch.state_dir, m->dir);
    return MOUNT_OK;
}

/* A daemon whose state is below its own mount waits for itself, and whoever looks at the mount with
 * it. */
static bool is_below(const char *path, const char *dir)
{
    size_t size = strlen(dir);
    return strncmp(path, dir, size) == 0 &&
           (path[size] == '\0' || path[size] == '/' || dir[size - 1] == '/');
}

/* Is the directory free for a mount, but for a dead one? Changes nothing. */
static int check_dir(const struct mounting *m)
{
    struct stat st;
    if (is_below(m->launch.state_dir, m->dir)) {
        complain("cannot mount on %s: it holds the state directory %s, which the mount would hide; "
                 "mount elsewhere",
                 m->dir, m->launch.state_dir);
        return MOUNT_FAILED;
    }
    switch (mounting_state(m->dir, m->launch.state_dir)) {
    case MOUNT_OURS:
        complain("%s is mounted on %s already; nothing to do", m->launch.state_dir, m->dir);
        return MOUNT_FAILED;
    case MOUNT_OTHER:
        complain("%s holds the mount of another state directory; unmount it first: umount %s",
                 m->dir, m->dir);
        return MOUNT_FAILED;
    case MOUNT_DEAD:
        return MOUNT_OK;
    case MOUNT_NONE:
        break;
    }
    if (stat(m->dir, &st) < 0 || !S_ISDIR(st.st_mode)) {
        complain("cannot mount on %s: not a directory; make it first: mkdir -p %s", m->dir, m->dir);
        return MOUNT_FAILED;
    }
    return MOUNT_OK;
}

/* Make the directory free for a mount, or say why it is not. */
static int clear_dir(const struct mounting *m)
{
    int rc = mounting_detach_dead(m->dir);
    if (rc == 0)
        return check_dir(m);
    complain("cannot detach the dead mount at %s: %s; run as root: umount -l %s", m->dir,
             strerror(-rc), m->dir);
    return rc == -EPERM ? MOUNT_USAGE : MOUNT_FAILED;
}

static int ensure_daemon(const struct mounting *m)
{
    char error[1024];
    struct daemon_child child;
    int rc = daemon_probe(m->launch.state_dir);
    if (rc == 0)
        return MOUNT_OK;
    if (rc != -ENOENT) {
        complain("the daemon of %s does not answer: %s; see its log, or stop it",
                 m->launch.state_dir, strerror(-rc));
        return MOUNT_FAILED;
    }
    rc = daemon_start(&m->launch, &child, error, sizeof(error));
    if (rc == 0)
        rc = daemon_await(&m->launch, &child, &interrupted, error, sizeof(error));
    if (rc == 0)
        return MOUNT_OK;
    complain("cannot mount %s: %s", m->launch.state_dir, error);
    return rc == -EINTR ? MOUNT_INTERRUPTED : MOUNT_FAILED;
}

static int remount(const struct mounting *m)
{
    if (mounting_state(m->dir, m->launch.state_dir) != MOUNT_OURS) {
        complain("cannot remount %s: %s is not mounted there; mount it first", m->dir,
                 m->launch.state_dir);
        return MOUNT_FAILED;
    }
    if (m->options.timeo_given) {
        complain("cannot remount %s: timeo= is settled when it is mounted; leave it out (with both "
                 "names, STATE_DIR and DIR, mount(8) does not add those of /etc/fstab), or unmount "
                 "and mount anew",
                 m->dir);
        return MOUNT_FAILED;
    }
    if (!m->fake && mount(NULL, m->dir, NULL, m->options.flags, NULL) < 0)
        return mount_failed(m, errno);
    return MOUNT_OK;
}

int mounting_mount(const struct mounting *m)
{
    /* Between mount(2) and the hand-over a signal must not leave a mount without a daemon. */
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    interrupted = 0;

    if (m->options.flags & MS_REMOUNT)
        return remount(m);
    int status = m->fake ? check_dir(m) : clear_dir(m);
    if (status != MOUNT_OK || m->fake)
        return status;
    int fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (fuse_fd < 0) {
        complain("cannot open /dev/fuse: %s; load the module: modprobe fuse", strerror(errno));
        return MOUNT_SYSTEM;
    }
    status = ensure_daemon(m);
    if (status == MOUNT_OK && interrupted) {
        complain("interrupted; nothing was mounted");
        status = MOUNT_INTERRUPTED;
    }
    if (status == MOUNT_OK)
        status = mount_on(m, fuse_fd);
    close(fuse_fd);
    return status;
}

/* ---- use ---- */

/* A child asks, since the answer may take for ever. Its exit code is the errno. */
static _Noreturn void ask_mount(const char *dir)
{
    struct statvfs space;
    struct stat st;
    if (statvfs(dir, &space) < 0 || stat(dir, &st) < 0)
        _exit(errno & 0xff);
    _exit(0);
}

int mounting_await_usable(const char *dir, int timeout_ms)
{
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        ask_mount(dir);
    }
    int rc = daemon_wait_gone(child, timeout_ms);
    if (rc < 0)
        kill(child, SIGKILL);
    if (rc == 0 || daemon_wait_gone(child, 1000) == 0) {
        int status;
        waitpid(child, &status, 0);
        if (rc == 0 && WIFEXITED(status))
            rc = -WEXITSTATUS(status);
    }
    return rc;
}
