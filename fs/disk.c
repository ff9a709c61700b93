#include "fs/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

int (*disk_hook)(const char *step, const char *path);

static int before(const char *step, const char *path)
{
    return disk_hook ? disk_hook(step, path) : 0;
}

static int join(char path[PATH_MAX], const char *dir, const char *name, const char *suffix)
{
    int size = snprintf(path, PATH_MAX, "%s/%s%s", dir, name, suffix);
    return size > 0 && size < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* The descriptor is closed whatever happened; the first error counts. */
static int close_after(int fd, int rc)
{
    if (close(fd) && rc == 0)
        rc = -errno;
    return rc;
}

static int write_all(int fd, const void *bytes, size_t size)
{
    const char *from = bytes;
    while (size > 0) {
        ssize_t written = write(fd, from, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        from += written;
        size -= (size_t)written;
    }
    return 0;
}

static int read_all(int fd, void *bytes, size_t room, size_t *size)
{
    *size = 0;
    while (*size < room) {
        ssize_t got = read(fd, (char *)bytes + *size, room - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return 0;
        *size += (size_t)got;
    }
    return 0;
}

int disk_overwrite(const char *path, const void *bytes, size_t size)
{
    int rc = before("overwrite", path);
    if (rc)
        return rc;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return close_after(fd, write_all(fd, bytes, size));
}

int disk_read_start(int fd, void *bytes, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = pread(fd, (char *)bytes + got, size - got, (off_t)got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EBADMSG;
        got += (size_t)n;
    }
    return 0;
}

int disk_read_all(const char *path, void *bytes, size_t room, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = read_all(fd, bytes, room, size);
    char more;
    size_t left = 0;
    if (rc == 0 && *size == room)
        rc = read_all(fd, &more, 1, &left);
    if (rc == 0 && left > 0)
        rc = -EFBIG;
    return close_after(fd, rc);
}

int disk_sync_dir(const char *dir)
{
    int rc = before("sync-dir", dir);
    if (rc)
        return rc;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return close_after(fd, fsync(fd) ? -errno : 0);
}

static int write_synced(const char *path, const void *bytes, size_t size)
{
    int rc = before("write", path);
    if (rc)
        return rc;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    rc = write_all(fd, bytes, size);
    if (rc == 0)
        rc = before("sync", path);
    if (rc == 0 && fsync(fd))
        rc = -errno;
    return close_after(fd, rc);
}

int disk_replace(const char *dir, const char *name, const void *bytes, size_t size)
{
    char temporary[PATH_MAX], path[PATH_MAX];
    int rc = join(temporary, dir, name, ".new");
    if (rc == 0)
        rc = join(path, dir, name, "");
    if (rc == 0)
        rc = write_synced(temporary, bytes, size);
    if (rc == 0)
        rc = before("rename", path);
    if (rc)
        return rc;
    if (rename(temporary, path))
        return -errno;
    return disk_sync_dir(dir);
}

int disk_make_dir(const char *path)
{
    int rc = before("mkdir", path);
    if (rc)
        return rc;
    return mkdir(path, 0700) ? -errno : 0;
}

static int remove_one(const char *path)
{
    int rc = before("remove", path);
    if (rc)
        return rc;
    return remove(path) && errno != ENOENT ? -errno : 0;
}

int disk_remove_env(const char *path)
{
    char lock[PATH_MAX], data[PATH_MAX];
    int rc = join(lock, path, "lock.mdb", "");
    if (rc == 0)
        rc = join(data, path, "data.mdb", "");
    if (rc == 0)
        rc = remove_one(lock);
    if (rc == 0)
        rc = remove_one(data);
    return rc ? rc : remove_one(path);
}

int disk_create(const char *path, int *fd)
{
    int rc = before("create", path);
    if (rc)
        return rc;
    *fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return *fd < 0 ? -errno : 0;
}

int disk_append(int fd, const char *path, const void *bytes, size_t size)
{
    int rc = before("append", path);
    return rc ? rc : write_all(fd, bytes, size);
}

int disk_sync(int fd, const char *path)
{
    int rc = before("sync", path);
    if (rc)
        return rc;
    return fsync(fd) ? -errno : 0;
}

int disk_has_room(const char *path, uint64_t size)
{
    int rc = before("room", path);
    if (rc)
        return rc;
    struct statvfs disk;
    if (statvfs(path, &disk))
        return -errno;
    return disk.f_bavail < size / disk.f_frsize ? -ENOSPC : 0;
}

uint64_t disk_size(const char *path)
{
    struct statvfs disk;
    return statvfs(path, &disk) ? UINT64_MAX : (uint64_t)disk.f_blocks * disk.f_frsize;
}
