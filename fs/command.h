/* fs/command.h: changes as bytes, and their outcomes as bytes. Pure; any thread.
 *
 * All that could differ between hosts travels in the command: uid, gid, mode after umask; the time
 * comes with the slot. Little-endian, with a format version; how an old version applies never
 * changes. Decoded names and data are views of the bytes decoded from. */
#ifndef FS_COMMAND_H
#define FS_COMMAND_H

#include <stddef.h>

#include "base/limits.h"
#include "fs/attr.h"

#define FS_COMMAND_VERSION 1

enum { FORGET_INOS_MAX = 4096 };

/* Which fields of struct fs_command each op uses is said beside it; uid and gid are always the
 * caller's. Numbers are on disk: never reuse one. */
enum fs_op {
    FS_CREATE = 1,  /* parent name mode flags(O_EXCL, O_TRUNC, access mode): regular file; an
                       existing  one is opened, and emptied with O_TRUNC, unless O_EXCL: where its
                       mode surely  lets uid and gid do so; ESTALE: not surely, or not a regular file,
                       and the  kernel is to look again */
    FS_MKDIR = 2,   /* parent name mode */
    FS_MKNOD = 3,   /* parent name mode rdev */
    FS_SYMLINK = 4, /* parent name data(target) */
    FS_LINK = 5,    /* ino parent name */
    FS_UNLINK = 6,  /* parent name */
    FS_RMDIR = 7,   /* parent name */
    FS_RENAME = 8,  /* parent name new_parent new_name flags(RENAME_NOREPLACE, RENAME_EXCHANGE) */
    FS_SETATTR = 9, /* ino set + the fields it names */
    FS_WRITE = 10,  /* ino offset data flags(FS_WRITE_*) */
    FS_FALLOCATE = 11,   /* ino offset size mode(FALLOC_FL_*) */
    FS_SETXATTR = 12,    /* ino name data(value) flags(XATTR_CREATE, XATTR_REPLACE) */
    FS_REMOVEXATTR = 13, /* ino name */
    FS_FORGET = 14, /* inos, FORGET_INOS_MAX at most: this session holds these orphans no more */
    FS_REAP = 15,   /* size: delete up to this many records of garbage */
    FS_SESSION_OPEN = 16, /* nonce; sequence 0 */
    FS_VERIFY = 17,       /* nonce: every replica takes the digest at this slot */
    /* Membership (consensus/membership.h). Their outcome's error is 0; `verdict` tells. */
    FS_INVITE = 18, /* name data(secret) size(ns it is good for) mode(FS_INVITE_*) nonce(node id of
                       the voter it is to replace, or 0) */
    FS_JOIN = 19,   /* nonce(node id) data(secret) name new_name(address) */
    FS_PROMOTE = 20,      /* nonce(node id) */
    FS_REPLACE = 21,      /* nonce(node id of the voter) ino(... of the learner) */
    FS_REMOVE = 22,       /* nonce(node id) */
    FS_SET_ADDRESS = 23,  /* nonce(node id) name(address) */
    FS_SESSION_EXPIRE = 24, /* nonce(node id) ino(epoch) size(the highest sequence that was applied
                               of it when its silence was noticed: had it renewed itself since, by
                               any command, nothing happens) */
    FS_SET_CAPACITY = 25, /* size: bytes the state may take (fs/space.h); 0: no bound */
};

enum { FS_INVITE_VOTER = 1 << 0 };

enum fs_set { /* bits of fs_command.set */
              FS_SET_MODE = 1 << 0,
              FS_SET_UID = 1 << 1,
              FS_SET_GID = 1 << 2,
              FS_SET_SIZE = 1 << 3,
              FS_SET_ATIME = 1 << 4,
              FS_SET_MTIME = 1 << 5,
              FS_SET_ATIME_NOW = 1 << 6, /* the slot's time */
              FS_SET_MTIME_NOW = 1 << 7,
              FS_SET_KILL_PRIV = 1
                                 << 8, /* truncate by an unprivileged caller: suid and sgid fall */
};

enum {
    FS_WRITE_APPEND = 1 << 0,    /* at the end of the file as it is at apply */
    FS_WRITE_KILL_PRIV = 1 << 1, /* suid and sgid fall; security.capability always does */
};

struct fs_command {
    enum fs_op op;
    uint32_t uid, gid;
    uint64_t ino, parent, new_parent;
    const char *name, *new_name; /* not NUL-terminated */
    uint32_t name_size, new_name_size;
    uint32_t mode, rdev, flags, set;
    uint32_t set_uid, set_gid;
    uint64_t offset, size;
    uint64_t atime_ns, mtime_ns;
    uint64_t nonce;
    const void *data;
    uint32_t data_size;
    const uint8_t *inos; /* FS_FORGET: count little-endian u64s */
    uint32_t ino_count;
};

/* Encoded size is at most COMMAND_SIZE_MAX for what FUSE can ask. Returns the size, or 0 when @room
 * is too small. */
size_t fs_command_encode(const struct fs_command *c, void *bytes, size_t room);
/* 0 or -EBADMSG. Checks bounds, the op, the version, names (no '/', no NUL, not empty). */
int fs_command_decode(const void *bytes, size_t size, struct fs_command *c);
const char *fs_op_name(enum fs_op op);

/* What all replicas agree a command did. */
struct fs_outcome {
    int error;           /* 0, or a positive errno */
    struct fs_attr attr; /* of the object made, found, changed or written; when error is 0 */
    uint64_t offset;     /* FS_WRITE: where the data went */
    uint64_t epoch;      /* FS_SESSION_OPEN */
    uint32_t verdict;    /* membership: enum membership_verdict */
    uint64_t from;       /* membership: the slot from which a change of voters governs; 0: none */
};

/* At most OUTCOME_SIZE_MAX bytes. */
size_t fs_outcome_encode(const struct fs_outcome *o, void *bytes, size_t room);
int fs_outcome_decode(const void *bytes, size_t size, struct fs_outcome *o);

#endif
