#include "node/fsck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>

#include "node/wal_internal.h"

/* The log is opened as ever, on a disk that takes nothing: what opening would cut off or make
 * durable stays as it is. */

static int make_directory(void *context, const char *path)
{
    (void)context, (void)path;
    return 0;
}

static int write_file(void *context, const char *path, const char *bytes, size_t size)
{
    (void)context, (void)path, (void)bytes, (void)size;
    return 0;
}

static int rename_nothing(void *context, const char *from, const char *to)
{
    (void)context, (void)from, (void)to;
    return 0;
}

static int create_nothing(void *context, const char *path, uint64_t size)
{
    (void)context, (void)path, (void)size;
    return -EROFS; /* nobody asks for it before something is appended */
}

static int open_for_reading(void *context, const char *path)
{
    (void)context;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int write_nothing(void *context, int file, const void *bytes, size_t size, uint64_t offset)
{
    (void)context, (void)file, (void)bytes, (void)size, (void)offset;
    return 0;
}

static int sync_nothing(void *context, int file)
{
    (void)context, (void)file;
    return 0;
}

static int count_pvalue(void *context, const struct pvalue *pvalue)
{
    ++*(uint64_t *)context;
    command_unref(pvalue->command);
    return 0;
}

int node_fsck_log(const char *state_dir, char *error, size_t error_size)
{
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/wal", state_dir);
    if (!wal_is_born(dir))
        return 0; /* it never started */
    struct wal_io io = wal_io_disk();
    io.make_directory = io.remove = io.sync_directory = make_directory;
    io.write_file = write_file;
    io.rename = rename_nothing;
    io.create = create_nothing;
    io.open = open_for_reading;
    io.write = write_nothing;
    io.sync = sync_nothing;
    struct wal *wal;
    struct wal_recovered recovered;
    uint64_t count = 0;
    int rc = wal_open_with(&io, dir, WAL_SEGMENT_SIZE, &wal, &recovered, error, error_size);
    if (rc < 0)
        return rc;
    rc = wal_read(wal, 1, UINT64_MAX, UINT64_MAX, count_pvalue, &count);
    if (rc < 0)
        snprintf(error, error_size, "a record no longer matches its checksum");
    wal_close(wal);
    return rc;
}
