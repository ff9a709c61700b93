/* fs/apply.h: one command on the open batch: the same outcome and the same state everywhere, for
 * ever.
 *
 * Nothing from the host: no clock, no uid tables, no free space. The functions here and in
 * apply_*.c return 0, a positive errno that all replicas agree on (nothing has changed then), or a
 * negative one: this host's disk failed and the batch is to be aborted. */
#ifndef FS_APPLY_H
#define FS_APPLY_H

#include "fs/dirent.h"
#include "fs/inode.h"
#include "fs/store.h"

#define FILE_SIZE_MAX ((uint64_t)INT64_MAX)

enum {
    LINK_MAX_COUNT = 65000, /* names of one file, as on ext4 */
};

struct apply {
    struct store *s;
    const struct fs_command *c;
    uint64_t slot, time_ns;
    uint64_t author; /* node id */
    struct fs_outcome *outcome;
    void (*on_change)(void *context, const struct fs_change *change);
    void *context;
};

/* Dispatch. */
int apply_command(struct apply *a);

/* apply_entry.c: what makes names and takes them away */
int apply_create(struct apply *a);
int apply_mkdir(struct apply *a);
int apply_mknod(struct apply *a);
int apply_symlink(struct apply *a);
int apply_link(struct apply *a);
int apply_unlink(struct apply *a);
int apply_rmdir(struct apply *a);
/* apply_rename.c */
int apply_rename(struct apply *a);
/* apply_data.c */
int apply_write(struct apply *a);
int apply_fallocate(struct apply *a);
/* Set the size of a regular file; the caller puts @inode. */
int apply_size(struct apply *a, struct inode *inode, uint64_t size);
/* apply_attr.c */
int apply_setattr(struct apply *a);
int apply_setxattr(struct apply *a);
int apply_removexattr(struct apply *a);
/* @inode's content changes, whoever does it: security.capability falls, and, if @kill_priv, suid
 * and sgid (of what the group may execute). The caller puts @inode. */
int apply_drop_privileges(struct apply *a, struct inode *inode, bool kill_priv);

/* apply_member.c: all ops that change the membership; the answer is outcome.verdict */
int apply_membership(struct apply *a);

/* ---- shared ---- */

/* ESTALE when there is none. */
int apply_inode(struct apply *a, uint64_t ino, struct inode *inode);
/* ... ENOTDIR; ENOENT when it was removed and cannot get entries any more. */
int apply_dir(struct apply *a, uint64_t ino, struct inode *inode);
/* ENAMETOOLONG; EINVAL for "." and "..", which the kernel resolves. */
int apply_name(struct dirent_name *n, uint64_t parent, const char *name, uint32_t size);
/* ENOENT. */
int apply_find(struct apply *a, const struct dirent_name *n, struct dirent *d);
/* EEXIST. */
int apply_absent(struct apply *a, const struct dirent_name *n);
/* @inode changed at this slot: ctime; put it. */
int apply_put_changed(struct apply *a, struct inode *inode);
/* ... also its content: mtime. */
int apply_put_modified(struct apply *a, struct inode *inode);
/* One name fewer; when it was the last, an orphan. The caller does not put @inode. */
int apply_unlinked(struct apply *a, struct inode *inode);

void apply_emit_gone(struct apply *a, const struct dirent_name *n, uint64_t ino);
void apply_emit_mtime(struct apply *a, uint64_t ino);
void apply_emit_data(struct apply *a, uint64_t ino, uint64_t offset, uint64_t size);

#endif
