/* node/wal_batch.h: the bytes of one batch of the log: a header, records, zeroes up to whole
 * blocks.
 *
 * Pure. The checksum covers all of it: a header of another use of the segment, or a batch half of
 * which is older, never matches. It is seeded with the log's own random number (`salt`), so that a
 * user whose data is written here cannot make a batch up. All integers are little-endian. */
#ifndef NODE_WAL_BATCH_H
#define NODE_WAL_BATCH_H

#include "base/cursor.h"
#include "consensus/effects.h"

enum {
    BATCH_HEADER_SIZE = 80,
    BATCH_RECORD_SIZE = 69, /* of a record, without its command's bytes */
};

/* Each batch carries the whole state but for the pvalues, as it is with this batch: so does, then,
 * each segment's first, and a promise needs no record of its own. */
struct batch_state {
    struct ballot promised;
    uint64_t decided_through;
    uint64_t collected;
    uint64_t use_first; /* segments used before this one are free */
};

struct batch_header {
    uint64_t use;    /* of the segment: grows each time one is begun */
    uint64_t number; /* 1, 2, ... over the life of the log */
    struct batch_state state;
    uint32_t record_count;
    uint32_t size; /* of the records */
};

/* An accepted or decided pvalue; @bytes is a view of the batch. */
struct batch_record {
    enum persist_kind kind; /* PERSIST_ACCEPT or PERSIST_DECISION */
    struct ballot ballot;
    uint64_t slot, time_ns;
    uint64_t node, epoch, sequence, low;
    uint32_t size;
    const uint8_t *bytes;
};

/* Whole blocks of a batch whose records have @size bytes. */
uint64_t batch_blocks_size(uint64_t size);
void batch_write_record(struct writer *w, const struct persist *record);
/* Complete @bytes, whose records are in place: header, zeroes after them, checksum. Returns the
 * size in whole blocks. */
uint64_t batch_seal(uint8_t *bytes, const struct batch_header *header, uint64_t salt);
/* What the first block says, unchecked but for the magic: false when it is no header. */
bool batch_peek(const uint8_t *block, struct batch_header *header);
/* True when all of @bytes (batch_blocks_size() of them) match the checksum. */
bool batch_is_whole(const uint8_t *bytes, uint64_t size, uint64_t salt);
/* Next record of a checked batch. 1; 0 at the end; -EBADMSG. */
int batch_next_record(struct cursor *c, struct batch_record *record);

#endif
