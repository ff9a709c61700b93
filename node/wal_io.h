/* node/wal_io.h: the few things the log asks of a disk, as a table, so that tests can lose, tear
 * and refuse writes. Paths are whole paths; every call gives 0 (or a handle, a size) or -errno. */
#ifndef NODE_WAL_IO_H
#define NODE_WAL_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAL_BLOCK_SIZE 4096 /* unit and alignment of all reads and writes of segments */

struct wal_io {
    void *context;
    int (*make_directory)(void *context, const char *path); /* 0 too when it is there; durable */
    int (*list)(void *context, const char *path, void (*each)(void *argument, const char *name),
                void *argument);
    /* Small files: read whole (returns bytes read), or created, written and synced. */
    int64_t (*read_file)(void *context, const char *path, char *bytes, size_t room);
    int (*write_file)(void *context, const char *path, const char *bytes, size_t size);
    int (*rename)(void *context, const char *from, const char *to);
    int (*remove)(void *context, const char *path);
    int (*sync_directory)(void *context, const char *path);
    /* Segments. Opening one that exists makes what was written before durable, and what is read
     * afterwards comes from the disk. */
    int (*open)(void *context, const char *path);
    /* New, empty file with @size bytes allocated, all of it durable but for its name. */
    int (*create)(void *context, const char *path, uint64_t size);
    int64_t (*size)(void *context, int file);
    /* All @size bytes or an error; @bytes, @size and @offset are multiples of WAL_BLOCK_SIZE. */
    int (*read)(void *context, int file, void *bytes, size_t size, uint64_t offset);
    int (*write)(void *context, int file, const void *bytes, size_t size, uint64_t offset);
    int (*sync)(void *context, int file);
    void (*close)(void *context, int file);
};

/* The real one: past the page cache (O_DIRECT) where the filesystem knows that. */
struct wal_io wal_io_disk(void);

#endif
