/* tests/support/store_ops.h: file operations as one call each, on a store fixture. Names are
 * strings. */
#ifndef SUPPORT_STORE_OPS_H
#define SUPPORT_STORE_OPS_H

#include "tests/support/store_fixture.h"

struct fs_outcome op_create(struct store_fixture *f, uint64_t parent, const char *name,
                            uint32_t mode, int flags);
struct fs_outcome op_mkdir(struct store_fixture *f, uint64_t parent, const char *name,
                           uint32_t mode);
struct fs_outcome op_mknod(struct store_fixture *f, uint64_t parent, const char *name,
                           uint32_t mode, uint32_t rdev);
struct fs_outcome op_symlink(struct store_fixture *f, uint64_t parent, const char *name,
                             const char *target);
struct fs_outcome op_link(struct store_fixture *f, uint64_t ino, uint64_t parent, const char *name);
struct fs_outcome op_unlink(struct store_fixture *f, uint64_t parent, const char *name);
struct fs_outcome op_rmdir(struct store_fixture *f, uint64_t parent, const char *name);
struct fs_outcome op_rename(struct store_fixture *f, uint64_t parent, const char *name,
                            uint64_t new_parent, const char *new_name, uint32_t flags);
struct fs_outcome op_write(struct store_fixture *f, uint64_t ino, uint64_t offset,
                           const void *bytes, size_t size, uint32_t flags);
struct fs_outcome op_truncate(struct store_fixture *f, uint64_t ino, uint64_t size);
struct fs_outcome op_chmod(struct store_fixture *f, uint64_t ino, uint32_t mode);
struct fs_outcome op_fallocate(struct store_fixture *f, uint64_t ino, uint64_t offset,
                               uint64_t size, uint32_t mode);
struct fs_outcome op_setxattr(struct store_fixture *f, uint64_t ino, const char *name,
                              const void *value, size_t size, uint32_t flags);
struct fs_outcome op_removexattr(struct store_fixture *f, uint64_t ino, const char *name);
struct fs_outcome op_forget(struct store_fixture *f, uint64_t ino);
struct fs_outcome op_reap(struct store_fixture *f, uint64_t chunks);
struct fs_outcome op_set_capacity(struct store_fixture *f, uint64_t bytes);

/* Members. The secret is 16 times the byte @secret. */
struct fs_outcome op_invite(struct store_fixture *f, const char *name, uint8_t secret,
                            uint64_t good_for_ns, bool is_voter, uint64_t replaces);
struct fs_outcome op_join(struct store_fixture *f, uint64_t node, uint8_t secret, const char *name,
                          const char *address);
struct fs_outcome op_promote(struct store_fixture *f, uint64_t node);
struct fs_outcome op_replace(struct store_fixture *f, uint64_t voter, uint64_t learner);
struct fs_outcome op_remove(struct store_fixture *f, uint64_t node);
struct fs_outcome op_set_address(struct store_fixture *f, uint64_t node, const char *address);
struct fs_outcome op_expire(struct store_fixture *f, uint64_t node, uint64_t epoch,
                            uint64_t sequence);

/* The inode made; the operation must succeed. */
uint64_t made(struct fs_outcome o);
bool same_attr(struct fs_attr a, struct fs_attr b);

#endif
