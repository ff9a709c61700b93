/* fs/scrub.h: reads everything now and then, so that damage is found while other hosts are whole.
 * In small steps, each of a snapshot of its own, so that none keeps LMDB from reusing pages. */
#ifndef FS_SCRUB_H
#define FS_SCRUB_H

#include "fs/store.h"

enum { SCRUB_KEY_SIZE_MAX = 512 };

/* How far it has come; all zero: at the beginning. */
struct scrub {
    uint32_t db;
    uint32_t key_size; /* of the key to go on from */
    uint8_t key[SCRUB_KEY_SIZE_MAX];
    uint64_t bytes, records, errors; /* of this pass */
    uint64_t passes;                 /* that came to the end */
};

/* Between store_read_begin() and _end(): check what comes next, about @bytes of it. What is damaged
 * is noted (fs/damage.h), counted, and passed over. True: that was the end of a pass; the numbers
 * of it stand until the next call. */
bool store_scrub(struct store_reader *r, struct scrub *s, uint64_t bytes);

#endif
