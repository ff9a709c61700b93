/* fs/checkpoint.h: how a store whose environment is never synced on commit survives a power cut.
 *
 * LMDB runs with MDB_NOSYNC: after a power cut any of the pages written since the last sync may be
 * missing, the two meta pages among them. A checkpoint is a commit whose pages LMDB may not reuse
 * (a read transaction stays open on it), with its meta pages kept beside, in STATE/checkpoint. A
 * restart puts them back, so the tree that was synced is what is opened; then it pins that snapshot
 * again, or replaying the log would reuse its pages, and a second power cut would find neither
 * state. */
#ifndef FS_CHECKPOINT_H
#define FS_CHECKPOINT_H

#include "fs/state.h"

enum { CHECKPOINT_NAME_SIZE = 32, CHECKPOINT_PAGE_SIZE_MAX = 65536 };

/* What the file STATE/checkpoint says. */
struct checkpoint {
    char name[CHECKPOINT_NAME_SIZE]; /* of the environment's directory; NUL-terminated */
    uint64_t applied;
    uint32_t page_size;
    uint8_t *metas; /* the first two pages of data.mdb */
};

/* Read and check the file. 0; -ENOENT; -EBADMSG; -errno. */
int checkpoint_load(const char *state_dir, struct checkpoint *c);
int checkpoint_save(const char *state_dir, const struct checkpoint *c);
void checkpoint_free(struct checkpoint *c);

/* Pin the last commit of @s: open a read transaction on it. */
int checkpoint_pin(struct store *s, MDB_txn **pinned);
/* The meta pages as they are at the last commit, the name and slot with them. */
int checkpoint_take(struct store *s, struct checkpoint *c);

#endif
