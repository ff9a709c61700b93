#include "node/shares.h"

#include <stdbool.h>

#include "base/limits.h"
#include "node/storer.h"
#include "node/wal.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct shares shares_of(uint64_t total)
{
    struct shares s = {
        .segment = total >= 4 * GIB ? WAL_SEGMENT_SIZE
                   : total >= GIB   ? WAL_SEGMENT_SIZE / 2
                                    : WAL_SEGMENT_SIZE / 4,
        .log = min_u64(LOG_BYTES_MAX, total / 16),
        .checkpoint = min_u64(CHECKPOINT_BYTES, max_u64(total / 16, 4 * MIB)),
        .reserve = min_u64(max_u64(GIB, total / 20), total / 10),
        .floor = min_u64(64 * MIB, total / 25),
    };
    /* The one written to, the next one, and one that is kept for what it holds besides. */
    s.log_whole = s.log + s.checkpoint + 3 * s.segment;
    /* Since the last one, while the next one is written, and in pieces too small to be of use. On a
     * large disk a checkpoint may wait for its time instead: five seconds of commits. */
    bool is_small = s.checkpoint < CHECKPOINT_BYTES;
    s.slack = is_small ? 3 * s.checkpoint : min_u64(512 * MIB, total / 8);
    return s;
}

uint64_t shares_for_files(const struct shares *s, uint64_t available)
{
    uint64_t others = s->log_whole + s->slack + s->reserve;
    return available > others ? available - others : 0;
}
