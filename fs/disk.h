/* fs/disk.h: the few file operations of the store that LMDB does not do itself, in one place so
 * that a test can watch them or let them fail. 0 or -errno. */
#ifndef FS_DISK_H
#define FS_DISK_H

#include <stddef.h>
#include <stdint.h>

/* @bytes become the beginning of @path, which exists. Not synced. */
int disk_overwrite(const char *path, const void *bytes, size_t size);
/* The first @size bytes of an open file. -EBADMSG when there are fewer. */
int disk_read_start(int fd, void *bytes, size_t size);
/* All of @path, at most @room bytes; *@size of them. -EFBIG when there are more. */
int disk_read_all(const char *path, void *bytes, size_t room, size_t *size);
/* Replace @dir/@name by @bytes durably: temporary file, fsync, rename, fsync of the directory. */
int disk_replace(const char *dir, const char *name, const void *bytes, size_t size);
int disk_sync_dir(const char *dir);

int disk_make_dir(const char *path);
/* An LMDB environment's directory and its two files, as far as they are there. */
int disk_remove_env(const char *path);
/* A file that is written to its end, piece by piece. @path: what the hook is told. */
int disk_create(const char *path, int *fd);
int disk_append(int fd, const char *path, const void *bytes, size_t size);
int disk_sync(int fd, const char *path);
/* -ENOSPC: the disk of @path has less than @size bytes left for who is not root. */
int disk_has_room(const char *path, uint64_t size);
/* Bytes of the whole disk of @path; UINT64_MAX: it does not say. */
uint64_t disk_size(const char *path);

/* For tests: called before each step that changes the disk, with what it is; a non-zero result is
 * returned instead of doing it. Set while no store is open. */
extern int (*disk_hook)(const char *step, const char *path);

#endif
