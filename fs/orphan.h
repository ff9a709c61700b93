/* fs/orphan.h: inodes without a name that somebody may still use, and what is left of large ones.
 *
 * An orphan remembers which sessions may hold it: all that were live when its last name went. When
 * the last of them has let go it is freed; the data of a large one becomes garbage, and so does
 * what one slot cannot free: FS_REAP frees it in bounded steps. All in the batch; 0 or -errno. */
#ifndef FS_ORPHAN_H
#define FS_ORPHAN_H

#include "fs/inode.h"

/* @inode has lost its last name and was put. */
int orphan_add(struct store *s, struct inode *inode);
/* @node lets go of @ino; unknown ones are ignored. */
int orphan_forget(struct store *s, uint64_t ino, uint64_t node);
/* @node lets go of all it holds: its former session ended. They may be many: FS_REAP looks. */
int orphan_forget_all(struct store *s, uint64_t node);
/* What @node may hold: numbers >= @from, ascending, at most @room. How many, or -errno. */
int64_t orphan_list(const struct store *s, MDB_txn *txn, uint64_t node, uint64_t from,
                    uint64_t *inos, size_t room);
/* Free garbage of any kind, as much as the slot may still delete. */
int orphan_reap(struct store *s);
/* Make @inode's chunks garbage under their own number and give @inode a new, empty data id: a large
 * file is emptied in no time. The caller puts the inode. */
int orphan_shed_data(struct store *s, struct inode *inode);
/* So much data that it is not freed within one slot. */
bool orphan_is_large(const struct inode *inode);

#endif
