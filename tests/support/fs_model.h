/* tests/support/fs_model.h: the filesystem once more, small and slow, in plain memory: what apply
 * and the queries are compared with. It knows nothing of the store but the size of a chunk (for
 * st_blocks). */
#ifndef SUPPORT_FS_MODEL_H
#define SUPPORT_FS_MODEL_H

#include "fs/store.h"

struct model;

struct model *model_new(void);
void model_free(struct model *m);

/* A session of @node is opened; @is_anew: its former one ended. */
void model_session(struct model *m, uint64_t node, bool is_anew);
/* That of @node ended; it has none until it opens one. */
void model_session_end(struct model *m, uint64_t node);
/* Do @c as @node at @time_ns. @ino_made: the number that a new object gets: the choice is the
 * store's, if only it is new. */
struct fs_outcome model_apply(struct model *m, uint64_t node, uint64_t time_ns,
                              const struct fs_command *c, uint64_t ino_made);

/* So many bytes may be in use (fs/space.h); 0: any. */
void model_set_capacity(struct model *m, uint64_t bytes);
/* What is in use, garbage left out. */
uint64_t model_space(const struct model *m);

/* What nobody holds any more is freed when the store gets to it: forget what @exists denies. */
void model_reconcile(struct model *m, bool (*exists)(void *context, uint64_t ino), void *context);
/* @ino is such an inode, and not freed yet. */
bool model_is_doomed(const struct model *m, uint64_t ino);
uint64_t model_doomed_count(const struct model *m);

/* Everything in @m is in the snapshot, and nothing else; with garbage, more blocks may be in use
 * than the model thinks. False: @why says what differs. */
bool model_compare(const struct model *m, struct store_reader *r, bool has_garbage, char *why,
                   size_t why_size);

#endif
