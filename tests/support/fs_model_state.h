/* tests/support/fs_model_state.h: the model from the inside, for fs_model.c and fs_model_compare.c.
 */
#ifndef SUPPORT_FS_MODEL_STATE_H
#define SUPPORT_FS_MODEL_STATE_H

#include "base/assert.h"
#include "fs/chunk.h"
#include "tests/support/fs_history.h"
#include "tests/support/fs_model.h"

enum {
    MODEL_NODES_MAX = 4096,
    MODEL_ENTRIES_MAX = 64,
    MODEL_XATTRS_MAX = 8,
    MODEL_CHUNKS_MAX = 64
};
static_assert(MODEL_CHUNKS_MAX * CHUNK_SIZE >= HISTORY_FILE_SIZE_MAX, "every file fits");

struct model_entry {
    char name[FILE_NAME_MAX + 1];
    uint64_t ino; /* 0: free */
};

struct model_xattr {
    char name[FILE_NAME_MAX + 1]; /* empty: free */
    uint8_t *value;
    size_t size;
};

struct model_node {
    struct fs_attr attr; /* ino 0: free */
    uint64_t up;         /* a directory's parent */
    struct model_entry entries[MODEL_ENTRIES_MAX];
    struct model_xattr xattrs[MODEL_XATTRS_MAX];
    uint8_t *data; /* MODEL_CHUNKS_MAX chunks, or NULL */
    size_t stored[MODEL_CHUNKS_MAX];
    uint64_t holders; /* of an orphan: a bit for each node id */
};

struct model {
    struct model_node *nodes[MODEL_NODES_MAX];
    uint64_t open_sessions;
    uint64_t capacity;
    uint64_t now;
    uint64_t caller;
    uint64_t ino_made, ino_last;
    const struct fs_command *c;
    struct fs_outcome out;
};

#endif
