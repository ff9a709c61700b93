/* fs/inode_refs.h: which inodes the kernel of this host holds, and how often (its lookup counts),
 * and which inodes have no name any more. Any thread; sharded locks, never held across a call out.
 *
 * One for the whole life of the node, since inodes lose their names also while nothing is mounted.
 * The counts belong to one mount: they begin and end with it, and what comes late from a former one
 * is ignored.
 *
 * An orphan that the kernel does not hold is gathered for an FS_FORGET one gather later: a lookup
 * may have found it in a snapshot from before and be about to give it to the kernel. */
#ifndef FS_INODE_REFS_H
#define FS_INODE_REFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inode_refs;

struct inode_refs *inode_refs_new(void); /* NULL: no memory */
void inode_refs_free(struct inode_refs *refs);

/* A kernel begins to count, from nothing: the number of its mount, for get and put. */
uint64_t inode_refs_begin(struct inode_refs *refs);
/* The mount is gone, and the kernel holds nothing any more (unless another began since). */
void inode_refs_end(struct inode_refs *refs, uint64_t mount);
/* Count one more: before the answer that gives @ino to the kernel is written. 0 or -ENOMEM. */
int inode_refs_get(struct inode_refs *refs, uint64_t mount, uint64_t ino);
/* The kernel forgot @count of them, or an answer did not reach it. */
void inode_refs_put(struct inode_refs *refs, uint64_t mount, uint64_t ino, uint64_t count);
bool inode_refs_holds(struct inode_refs *refs, uint64_t ino);
/* @ino has no name any more. 0, or -ENOMEM: it will not be gathered. */
int inode_refs_orphaned(struct inode_refs *refs, uint64_t ino);
/* Take up to @room orphans that the kernel has not held since before the last gather. */
size_t inode_refs_gather(struct inode_refs *refs, uint64_t *inos, size_t room);
/* The inodes that the kernel holds: a list that the caller frees (NULL: none). 0 or -ENOMEM. */
int inode_refs_list(struct inode_refs *refs, uint64_t **inos, size_t *count);
/* How many inodes the kernel holds. */
uint64_t inode_refs_count(struct inode_refs *refs);

#endif
