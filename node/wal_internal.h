/* node/wal_internal.h: what the files of the log share: wal.c (append, sync, collect),
 * wal_recover.c (create, replay), wal_read.c (by slot).
 *
 * On disk: `format` (text: version, salt, segment size; its rename is the log's birth) and
 * `segment.N`, all of one size, made as `segment.new` and renamed when allocated and synced. The
 * name says nothing of the order: the use number in each batch does. Live are the segments from
 * use_first (in the last batch's header) to the newest; a segment of an older use is free, and its
 * first block is overwritten only after the header that says so is durable. */
#ifndef NODE_WAL_INTERNAL_H
#define NODE_WAL_INTERNAL_H

#include "node/wal.h"
#include "node/wal_batch.h"
#include "node/wal_io.h"

#define BATCH_SIZE_MAX (8 * MIB) /* in memory and on disk; more becomes several batches */

enum {
    SEGMENTS_MAX = 8192, /* live ones: half a terabyte of log */
    SPARES_MAX = 4,      /* free ones that are kept */
    WAL_PATH_SIZE = 4096,
};

/* A batch that holds pvalues. */
struct batch_place {
    uint32_t offset, size;
    uint64_t slot_min, slot_max;
};

struct segment {
    int file;
    uint32_t id;                 /* in its name */
    uint64_t use;                /* 0: never used, as far as one can tell */
    uint64_t number;             /* of its first batch */
    uint64_t end;                /* where the next batch goes */
    uint64_t slot_min, slot_max; /* 0: no pvalue */
    struct batch_place *places;
    uint32_t place_count, place_room;
};

struct wal {
    struct wal_io io;
    char directory[WAL_PATH_SIZE];
    uint64_t segment_size, batch_room, salt;
    int failure; /* -errno of the first failed write or sync; final */

    struct segment *live[SEGMENTS_MAX]; /* by use, the last one is written to */
    struct segment *spares[SEGMENTS_MAX];
    uint32_t live_count, spare_count;
    struct segment *making; /* the next spare one, as segment.new; written up to its end */
    uint32_t id_next;
    uint64_t number_next, use_next;
    struct batch_state state; /* with all that was appended */

    /* The batch in memory. */
    uint8_t *batch;
    struct writer records; /* into batch, after the header */
    uint32_t record_count;
    uint64_t slot_min, slot_max;
    bool dirty;

    /* What was last read: of one segment, from an offset on. */
    uint8_t *window;
    const struct segment *window_segment;
    uint64_t window_offset, window_size;
    uint64_t checked_offset,
        checked_size; /* the batch in it whose checksum was right; size 0: none */

    uint64_t batches, records_total;
};

/* wal_open() with another disk and another segment size for a new log. */
int wal_open_with(const struct wal_io *io, const char *directory, uint64_t segment_size,
                  struct wal **out, struct wal_recovered *recovered, char *error,
                  size_t error_size);

void wal_segment_free(struct wal *w, struct segment *s);
/* Free it and its file, which may come back after a crash, as a spare one: nothing to sync. */
int wal_segment_remove(struct wal *w, struct segment *s);
/* Put a batch into the segment's index. 0 or -ENOMEM. */
int wal_segment_index(struct segment *s, const struct batch_place *place);
void wal_path(const struct wal *w, const char *name, char path[WAL_PATH_SIZE + 32]);
void wal_segment_name(uint32_t id, char name[32]);

/* The batch at @offset, checked, as a view until the next call. 1; 0: there is no whole batch;
 * -errno: the disk failed. */
int wal_batch_at(struct wal *w, const struct segment *s, uint64_t offset,
                 struct batch_header *header, struct cursor *records);

#endif
