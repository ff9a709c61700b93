/* tests/support/memdisk.h: a disk in memory for the log, that can die, be full, and come back with
 * any subset of the 512-byte sectors written since the last sync.
 *
 * Names (create, rename, remove) arrive in order, as a journal writes them: a crash keeps some
 * first part of those since the last sync of their directory. One thread. */
#ifndef TESTS_SUPPORT_MEMDISK_H
#define TESTS_SUPPORT_MEMDISK_H

#include "base/prng.h"
#include "node/wal_io.h"

struct memdisk;

struct memdisk *memdisk_new(void);
void memdisk_free(struct memdisk *d);
struct wal_io memdisk_io(struct memdisk *d);

/* Operations that change something, so far. */
uint64_t memdisk_operations(const struct memdisk *d);
/* Let operation number @operation, and all after it, fail with -EIO; a write that dies may have
 * arrived in part, as any other. 0: never. */
void memdisk_die_at(struct memdisk *d, uint64_t operation);
/* Let the next write, or the next sync, of a segment fail once with @error (then: as if nothing).
 */
void memdisk_fail_write(struct memdisk *d, int error);
void memdisk_fail_sync(struct memdisk *d, int error);
/* Room for @count files more; then create fails with -ENOSPC. */
void memdisk_limit_files(struct memdisk *d, uint32_t count);

/* What is there after the power failed: a new disk. @d stays. */
struct memdisk *memdisk_crash(const struct memdisk *d, struct prng *p);
/* The same disk after the process alone died: all that was written is there, unsynced still. */
void memdisk_kill(struct memdisk *d);
/* A copy; all of it durable. */
struct memdisk *memdisk_copy(const struct memdisk *d);

/* The bytes of a file, to be damaged: changes are durable. NULL: no such file. */
uint8_t *memdisk_bytes(struct memdisk *d, const char *path, size_t *size);
/* Path of the file number @index, or NULL. */
const char *memdisk_path(const struct memdisk *d, uint32_t index);
void memdisk_remove_file(struct memdisk *d, const char *path);

#endif
