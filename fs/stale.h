/* fs/stale.h: what a truncation or a punched hole took out of a file and one slot could not delete.
 * A record says: of this data, the chunks first..last that were written before this slot are stale:
 * they count as holes, though st_blocks has them until FS_REAP, in bounded steps, has removed them
 * and then the record. What is written there later is newer than the record and not concerned.
 * Key: data id, slot; value: ino, first, last. 0 or -errno. */
#ifndef FS_STALE_H
#define FS_STALE_H

#include "fs/chunk.h"
#include "fs/inode.h"

/* Records of one file: a write looks through them for each of its chunks. */
enum { STALE_MAX = 1024 };

/* From a reader's snapshot or the batch: is the chunk @index, which @slot wrote, stale? */
int stale_covers(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t index, uint64_t slot,
                 bool *is_stale);

/* In the batch. */

/* 0; -ENOSPC: stale_add() of @range, if it is more than one slot may delete, would be one too many.
 */
int stale_check_room(const struct store *s, uint64_t data, struct chunk_range range);
/* What is stored of @inode in @range becomes stale: there is nothing but in the part @left. */
int stale_add(struct store *s, const struct inode *inode, struct chunk_range range,
              struct chunk_range left);
/* Free some of it, within what the slot may still delete. -ENOENT: there is none. */
int stale_reap(struct store *s);

#endif
