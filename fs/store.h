/* fs/store.h: the replicated state in LMDB: opened, changed in batches, read, checkpointed (DESIGN
 * §5).
 *
 * Changes: one thread (the store thread). Reads: any thread, through a reader. Nothing but 0 and
 * -errno leaves this module; an error of a change means that this host's disk failed or is full:
 * the batch is aborted and the node must leave the quorum. */
#ifndef FS_STORE_H
#define FS_STORE_H

#include <stdbool.h>
#include <sys/uio.h>

#include "consensus/command.h"
#include "consensus/membership.h"
#include "consensus/session.h"
#include "fs/command.h"

struct store;
struct store_reader;

/* Open STATE/`checkpoint`'s environment: put the saved metas back, remove LMDB's lock file, open,
 * pin that snapshot. A new directory gets an empty filesystem (root: mode 0755, owner 0:0, times
 * 0). 0; -EBADMSG: damaged; -errno; @error is what a person reads. */
int store_open(const char *state_dir, struct store **out, char *error, size_t error_size);
void store_close(struct store *s);

/* Committed, any thread: the last applied slot, its time, and the last one durable here. */
uint64_t store_applied(const struct store *s);
uint64_t store_time_ns(const struct store *s);
uint64_t store_checkpointed(const struct store *s);
/* Bytes the environment's file has grown by since the last checkpoint began. LMDB cannot reuse what
 * was freed since then (a small commit frees some 50 KiB): a checkpoint is due when this gets
 * large. Any thread. */
uint64_t store_grown(const struct store *s);
/* Bytes of the environment's file. Any thread. */
uint64_t store_file_size(const struct store *s);
/* The disk has room for a checkpoint, which must not fail. Any thread. */
bool store_has_room(const struct store *s);

/* ---- changes: store thread ---- */

/* What one slot did that the kernel caches of this host, or its open files, need to know. Valid
 * during the callback. */
enum fs_change_kind {
    FS_ENTRY_GONE, /* (parent, name) no longer names ino */
    FS_ORPHANED,   /* ino has no name any more; sessions may hold it: send FS_FORGET when this host
                      does not */
    FS_DATA,       /* bytes offset..offset+size of ino changed */
    FS_MTIME_SET,  /* somebody chose the mtime of ino: it may be one under which a kernel already
                      holds other pages of it, which the same mtime would make it keep */
    FS_DIGEST,     /* FS_VERIFY: digest[2] of the state after this slot, nonce */
};

struct fs_change {
    enum fs_change_kind kind;
    uint64_t slot, ino, parent, offset, size, nonce;
    uint64_t digest[2];
    const char *name;
    uint32_t name_size;
    uint64_t author; /* node id whose command it was */
};

struct store_applied {
    enum session_verdict verdict; /* NEW and REPEATED come with an outcome */
    struct fs_outcome outcome;
};

/* ---- members ---- */

/* The cluster begins: put @m into the state, before slot 1 and without a slot, the same on every
 * replica. Not while a batch is open; no other thread uses the store yet. 0 or -errno. */
int store_begin_membership(struct store *s, const struct membership *m);
/* The membership as of a commit no older than what store_applied() said before the call; empty: a
 * node that joins and has installed no snapshot yet. Any thread. */
void store_membership(struct store *s, struct membership *m);
/* Its version alone, cheap. Any thread. */
uint64_t store_membership_version(const struct store *s);

/* ---- changes, in batches ---- */

int store_begin(struct store *s);
/* Apply the command decided in @slot (the next one after the last) inside the open batch.
 * @on_change may be NULL. A command whose bytes do not decode is an agreed EINVAL. 0 or -errno
 * (abort). */
int store_apply(struct store *s, uint64_t slot, uint64_t time_ns, const struct command *command,
                struct store_applied *result,
                void (*on_change)(void *context, const struct fs_change *change), void *context);
int store_commit(struct store *s);
void store_abort(struct store *s);
/* True when something waits to be reaped by FS_REAP. Store thread. */
bool store_has_garbage(const struct store *s);

/* ---- checkpoint: begin on the store thread between batches, finish on any other thread ---- */

struct store_checkpoint;
/* Pin the last commit and copy the meta pages. One at a time. 0 or -errno. */
int store_checkpoint_begin(struct store *s, struct store_checkpoint **out);
/* Sync, write and rename `checkpoint`, release the one before. Blocks on the disk. Frees @c. Sets
 * store_checkpointed(). 0 or -errno: stop the node. */
int store_checkpoint_finish(struct store *s, struct store_checkpoint *c);

/* ---- snapshots for other hosts (DESIGN §5) ---- */

/* Write the whole replicated state, compacted, as one LMDB file to @fd (a pipe, mostly). Blocks
 * until the reader took it all; any thread but the store thread. While it runs LMDB reuses no page
 * that was freed since it began: the caller bounds its time (closing the read end ends it with
 * -EPIPE). 0 or -errno. */
int store_export(struct store *s, int fd);

/* A snapshot being received into a directory of its own, STATE/store.N. One at a time; one thread.
 * What an import that did not end left behind is removed by the next one, and by store_open(). */
struct store_import;
int store_import_begin(struct store *s, struct store_import **out);
/* 0 or -errno. -ENOSPC before the disk is full: what is left is the own log's and store's. */
int store_import_write(struct store_import *i, const void *bytes, size_t size);
/* All of it is there: sync it, check that it is a state of a later slot than the store's in which
 * @node (0: anybody) is a member, and pin it. Frees @i where it fails. Blocks on the disk. 0,
 * -EBADMSG (damaged), -ESTALE (no later than what the store holds, or than the joining of @node: a
 * member that lags has given it), -errno. */
int store_import_finish(struct store_import *i, uint64_t node);
/* The slot of one that is finished. */
uint64_t store_import_slot(const struct store_import *i);
/* Replace the state: save the checkpoint that names the new directory (its rename is the switch),
 * then use it in the place of the old one, which is deleted. No batch may be open and none begins
 * meanwhile (the storer is quiet); readers wait. Frees @i, but for -EBUSY: a checkpoint is under
 * way, finish it first. 0; -ESTALE (the store has come as far since; nothing happened); any other
 * -errno: stop the node, a restart finds either state whole. */
int store_import_install(struct store *s, struct store_import *i);
void store_import_abort(struct store_import *i);

/* ---- sessions ---- */

struct store_session {
    uint64_t node, epoch;
    uint64_t sequence; /* highest applied, as FS_SESSION_EXPIRE names it */
};
/* Those that have not expired. Fills @list (room SESSIONS_MAX); returns how many, or -errno. */
int store_sessions(struct store_reader *r, struct store_session *list);
/* What @node's session remembers as of this snapshot, on its own: the caller frees it. 0 or -errno.
 */
struct store_outcomes;
int store_outcomes_read(struct store_reader *r, uint64_t node, struct store_outcomes **out);
/* What became of the command of @epoch with @sequence: NEW (undecided still), REPEATED with
 * @outcome, SETTLED, FENCED (another epoch: it never applies). 0 or -errno. */
int store_outcome_of(struct store_outcomes *o, uint64_t epoch, uint64_t sequence,
                     enum session_verdict *verdict, struct fs_outcome *outcome);
void store_outcomes_free(struct store_outcomes *o);

/* ---- reads ---- */

/* A snapshot: everything read between begin and end is of one slot. A reader belongs to one thread
 * at a time; it may be made once and used again and again. A thread reads with one reader at a time
 * and is not long about it, nor waits for a peer: an install waits for it, and all others for that.
 */
int store_reader_new(struct store *s, struct store_reader **out);
void store_reader_free(struct store_reader *r);
int store_read_begin(struct store_reader *r);
/* The slot of the snapshot (0: it cannot be read); between begin and end. */
uint64_t store_read_slot(const struct store_reader *r);
void store_read_end(struct store_reader *r);

/* 0, -ESTALE (no such inode), -errno. */
int store_getattr(struct store_reader *r, uint64_t ino, struct fs_attr *attr);
/* 0, -ENOENT, -ESTALE (no such parent), -ENOTDIR. "." and ".." are answered too. */
int store_lookup(struct store_reader *r, uint64_t parent, const char *name, size_t name_size,
                 struct fs_attr *attr);
/* Entries after @cookie (0: from the start), "." and ".." included, each with the cookie to go on
 * from; cookies are stable under change. Stops when @each returns non-zero. */
struct store_dirent {
    uint64_t ino, cookie;
    uint32_t mode;    /* type bits only */
    const char *name; /* NUL-terminated, valid during the callback */
    uint32_t name_size;
};
int store_readdir(struct store_reader *r, uint64_t ino, uint64_t cookie,
                  int (*each)(void *context, const struct store_dirent *entry), void *context);
/* Up to @size bytes at @offset as @iov pieces of the LMDB map (holes point to shared zeroes), valid
 * until store_read_end(). @count: room in, pieces out; STORE_IOV_MAX is enough for WRITE_SIZE_MAX
 * bytes. Returns bytes (short at the end of the file), or -errno. */
#define STORE_IOV_MAX 160
int64_t store_read(struct store_reader *r, uint64_t ino, uint64_t offset, uint64_t size,
                   struct iovec *iov, int *count);
/* Target as a view until store_read_end(). 0, -EINVAL (no symlink), -ESTALE. */
int store_readlink(struct store_reader *r, uint64_t ino, const char **target, size_t *size);
/* Value as a view. 0, -ENODATA, -ESTALE. */
int store_getxattr(struct store_reader *r, uint64_t ino, const char *name, const void **value,
                   size_t *size);
/* NUL-separated names into @list (@room 0: only the size). Bytes, -ERANGE, -ESTALE. */
int64_t store_listxattr(struct store_reader *r, uint64_t ino, char *list, size_t room);
/* Offset of the next data or hole at or after @offset (SEEK_DATA, SEEK_HOLE). Offset, -ENXIO. */
int64_t store_seek(struct store_reader *r, uint64_t ino, uint64_t offset, int whence);

struct store_usage {
    uint64_t inodes, bytes;         /* in the state: the same on every replica */
    uint64_t disk_total, disk_free; /* of this host's state directory */
    uint64_t orphans;
    uint64_t space, capacity; /* in the state: fs/space.h */
};
int store_usage(struct store_reader *r, struct store_usage *usage);

/* The orphans that the session of @node may hold: numbers >= @from, ascending, at most @room. How
 * many, or -errno. */
int64_t store_orphans(struct store_reader *r, uint64_t node, uint64_t from, uint64_t *inos,
                      size_t room);

struct store_digest {
    uint64_t slot;
    uint64_t digest[2];
};
int store_digest(struct store_reader *r, struct store_digest *digest);
/* Recompute the digest from every record (slow; tests and verify of a stopped node). */
int store_digest_recompute(struct store_reader *r, struct store_digest *digest);

#endif
