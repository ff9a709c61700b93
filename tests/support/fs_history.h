/* tests/support/fs_history.h: random commands from a seed, mostly sensible: few names, inodes that
 * were made lately, sizes around chunk boundaries. Deterministic: the seed and the outcomes decide.
 */
#ifndef SUPPORT_FS_HISTORY_H
#define SUPPORT_FS_HISTORY_H

#include "base/prng.h"
#include "fs/command.h"

enum { HISTORY_INOS = 24, HISTORY_FILE_SIZE_MAX = 400000 };

struct fs_history {
    struct prng prng;
    uint64_t inos[HISTORY_INOS]; /* made lately, any kind; repeats are fine */
    uint64_t dirs[8];
    uint8_t data[HISTORY_FILE_SIZE_MAX];
    char name[300], new_name[32];
    uint8_t forgotten[8 * 4];
};

void fs_history_init(struct fs_history *h, uint64_t seed);
/* The next command; views of @h, until the next call. */
struct fs_command fs_history_next(struct fs_history *h);
/* What came of it, so that later commands hit what is there. */
void fs_history_note(struct fs_history *h, const struct fs_outcome *outcome);

#endif
