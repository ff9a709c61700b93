#include "node/wal_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int sync_path(const char *path, int flags)
{
    int fd = open(path, flags | O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static int disk_sync_directory(void *context, const char *path)
{
    (void)context;
    return sync_path(path, O_DIRECTORY);
}

static int disk_make_directory(void *context, const char *path)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    char parent[4096];
    int size = snprintf(parent, sizeof parent, "%s/..", path);
    if (size < 0 || (size_t)size >= sizeof parent)
        return -ENAMETOOLONG;
    return disk_sync_directory(context, parent);
}

static int disk_list(void *context, const char *path,
                     void (*each)(void *argument, const char *name), void *argument)
{
    (void)context;
    DIR *directory = opendir(path);
    if (!directory)
        return -errno;
    errno = 0;
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(argument, entry->d_name);
        errno = 0;
    }
    int rc = -errno;
    closedir(directory);
    return rc;
}

static int64_t disk_read_file(void *context, const char *path, char *bytes, size_t room)
{
    (void)context;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t got = read(fd, bytes, room);
    int64_t rc = got < 0 ? -errno : got;
    close(fd);
    return rc;
}

static int disk_write_file(void *context, const char *path, const char *bytes, size_t size)
{
    (void)context;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    ssize_t put = write(fd, bytes, size);
    int rc = put < 0 ? -errno : (size_t)put != size ? -ENOSPC : 0;
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

static int disk_rename(void *context, const char *from, const char *to)
{
    (void)context;
    return rename(from, to) < 0 ? -errno : 0;
}

static int disk_remove(void *context, const char *path)
{
    (void)context;
    return unlink(path) < 0 ? -errno : 0;
}

/* tmpfs, among others, refuses O_DIRECT. */
static int open_direct(const char *path, int flags)
{
    int fd = open(path, flags | O_DIRECT | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EINVAL)
        fd = open(path, flags | O_RDWR | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

static int disk_open(void *context, const char *path)
{
    (void)context;
    int fd = open_direct(path, 0);
    if (fd < 0)
        return fd;
    /* A killed daemon may have left pages that no sync has seen; and after a failed sync the page
     * cache shows what the disk never got. */
    if (fdatasync(fd) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return fd;
}

static int disk_create(void *context, const char *path, uint64_t size)
{
    (void)context;
    int fd = open_direct(path, O_CREAT | O_TRUNC);
    if (fd < 0)
        return fd;
    int rc = 0;
    /* The size is final from here on: a later fdatasync has no metadata of the file to write. */
    if (fallocate(fd, 0, 0, (off_t)size) < 0 || fsync(fd) < 0)
        rc = -errno;
    if (rc < 0) {
        close(fd);
        unlink(path);
        return rc;
    }
    return fd;
}

static int64_t disk_size(void *context, int file)
{
    (void)context;
    struct stat status;
    return fstat(file, &status) < 0 ? -errno : status.st_size;
}

static int disk_read(void *context, int file, void *bytes, size_t size, uint64_t offset)
{
    (void)context;
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(file, (char *)bytes + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        done += (size_t)got;
    }
    return 0;
}

static int disk_write(void *context, int file, const void *bytes, size_t size, uint64_t offset)
{
    (void)context;
    for (size_t done = 0; done < size;) {
        ssize_t put = pwrite(file, (const char *)bytes + done, size - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        done += (size_t)put;
    }
    return 0;
}

static int disk_sync(void *context, int file)
{
    (void)context;
    return fdatasync(file) < 0 ? -errno : 0;
}

static void disk_close(void *context, int file)
{
    (void)context;
    close(file);
}

struct wal_io wal_io_disk(void)
{
    return (struct wal_io){
        .make_directory = disk_make_directory,
        .list = disk_list,
        .read_file = disk_read_file,
        .write_file = disk_write_file,
        .rename = disk_rename,
        .remove = disk_remove,
        .sync_directory = disk_sync_directory,
        .open = disk_open,
        .create = disk_create,
        .size = disk_size,
        .read = disk_read,
        .write = disk_write,
        .sync = disk_sync,
        .close = disk_close,
    };
}
