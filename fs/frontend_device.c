#include "fs/frontend_device.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/log.h"

#define READAHEAD_KIB 4096

/* linux/fuse.h of Debian 12 is older than this. */
#define INIT_DIRECT_IO_ALLOW_MMAP (UINT32_C(1) << (36 - 32))

static ssize_t device_read(int fd, void *bytes, size_t room, void *context)
{
    (void)context;
    return read(fd, bytes, room);
}

static void on_wake(int signal_number)
{
    (void)signal_number; /* that it came is all: read() ends with EINTR */
}

void device_wake_prepare(void)
{
    struct sigaction action = {.sa_handler = on_wake}; /* no SA_RESTART */
    sigaction(SIGUSR1, &action, NULL);
    sigset_t wake;
    sigemptyset(&wake);
    sigaddset(&wake, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
}

void device_wake(pthread_t reader)
{
    pthread_kill(reader, SIGUSR1);
}

/* The first answer of a session is INIT's. libfuse 3.14.0 takes FUSE_CAP_PARALLEL_DIROPS as wanted,
 * and then does not tell the kernel. */
static void amend_init(const struct frontend *f, struct iovec *iov, int count)
{
    struct fuse_init_out init;
    if (count != 2 || iov[1].iov_len < sizeof(init)) /* an error, or a kernel before 2015 */
        return;
    memcpy(&init, iov[1].iov_base, sizeof(init));
    if (f->capable & FUSE_CAP_PARALLEL_DIROPS)
        init.flags |= FUSE_PARALLEL_DIROPS;
    /* Shared mappings of descriptors without page cache (see open_as()); Linux before 6.6 ignores
     * it and refuses those with ENODEV. */
    init.flags |= FUSE_INIT_EXT;
    init.flags2 |= INIT_DIRECT_IO_ALLOW_MMAP;
    memcpy(iov[1].iov_base, &init, sizeof(init));
}

static ssize_t device_writev(int fd, struct iovec *iov, int count, void *context)
{
    struct frontend *f = context;
    bool is_notice = ((struct fuse_out_header *)iov[0].iov_base)->unique == 0;
    if (!is_notice && !atomic_load_explicit(&f->init_answered, memory_order_relaxed) &&
        !atomic_exchange(&f->init_answered, true))
        amend_init(f, iov, count);
    ssize_t size = writev(fd, iov, count);
    /* What a notice asked for was not there (any more), or the mount is gone; libfuse would print
     * all but ENOENT to stderr. */
    if (size < 0 && (is_notice || atomic_load(&f->stopping)))
        errno = ENOENT;
    return size;
}

const struct fuse_custom_io device_io = {.read = device_read, .writev = device_writev};

int device_minor(const char *mountpoint, uint32_t *minor)
{
    struct statx st;
    if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &st) < 0)
        return -errno;
    if (st.stx_dev_major != 0) /* a disk */
        return -ENODEV;
    *minor = st.stx_dev_minor;
    return 0;
}

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t size = write(fd, text, strlen(text));
    int error = size < 0 ? -errno : 0;
    close(fd);
    return error;
}

void device_raise_readahead(uint32_t minor)
{
    char path[64], text[16];
    snprintf(path, sizeof(path), "/sys/class/bdi/0:%u/read_ahead_kb", minor);
    snprintf(text, sizeof(text), "%d", READAHEAD_KIB);
    int rc = write_file(path, text);
    if (rc < 0)
        log_event(LOG_INFO, "event=readahead_unchanged error=%d", rc);
}

void device_abort(uint32_t minor)
{
    char path[64];
    snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", minor);
    int rc = write_file(path, "1");
    if (rc < 0 && rc != -ENOENT) /* ENOENT: it is gone, or fusectl is not mounted */
        log_event(LOG_INFO, "event=abort_failed error=%d", rc);
}

bool device_is_connected(int fd)
{
    struct pollfd device = {.fd = fd};
    return poll(&device, 1, 0) == 0; /* else POLLERR, which is always asked for */
}

void device_detach(const char *mountpoint, uint32_t minor)
{
    uint32_t found;
    if (device_minor(mountpoint, &found) < 0 || found != minor)
        return; /* unmounted already: what is there now is another's */
    if (umount2(mountpoint, MNT_DETACH) < 0)
        log_event(LOG_WARN, "event=detach_failed error=%d", -errno);
}

void device_blind(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return;
    dup3(null, fd, O_CLOEXEC);
    close(null);
}
