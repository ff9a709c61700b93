/* node/wal.h: the write-ahead log on disk: segments of records, batches with one checksum and one
 * sync each (DESIGN §5). One thread at a time; node/logger gives it its own.
 *
 * A directory holds segments of WAL_SEGMENT_SIZE, preallocated and recycled rather than deleted. A
 * batch is {magic, use number of the segment, batch number, size, XXH3} and its records; it is
 * written only after the sync of the one before returned. A bad last batch is a torn tail and ends
 * the log; a bad batch before a good later one is corruption: reported, never cut off. Every
 * segment begins with the promise, the collected mark and decided-through, so a segment may go once
 * all votes in it are at or below the durable checkpoint and the collected mark. */
#ifndef NODE_WAL_H
#define NODE_WAL_H

#include <stddef.h>

#include "consensus/effects.h"

#define WAL_SEGMENT_SIZE (64 * MIB)

struct wal;

/* What replay found. */
struct wal_recovered {
    struct ballot promised;
    uint64_t decided_through; /* highest PERSIST_DECIDED */
    uint64_t collected;       /* slots <= collected have left the log */
    uint64_t slot_max;        /* highest slot with a pvalue; 0 none */
    bool fresh;               /* the log was made by this call: this node never promised, voted, nor
                                 gave a lease; false from the second start on, records or none */
    uint64_t torn_bytes; /* bytes of a torn tail that was cut off, as far as its header arrived;
                            0 mostly */
};

/* Open @dir (created if missing), replay what is there, and make durable what replay found. 0;
 * -EBADMSG: corruption before the synced end (@error says file, offset, and what to do); -errno. */
int wal_open(const char *dir, struct wal **out, struct wal_recovered *recovered, char *error,
             size_t error_size);

/* ... whose segments, if it is a new one, are of so many bytes: WAL_SEGMENT_SIZE, or a few times
 * smaller on a small disk. */
int wal_open_sized(const char *dir, uint64_t segment_size, struct wal **out,
                   struct wal_recovered *recovered, char *error, size_t error_size);

/* Whether @dir holds a log, good or damaged. */
bool wal_is_born(const char *dir);

/* Add a record to the batch in memory. Takes nothing; copies. 0, or -errno as wal_sync: a batch
 * that has no room left (8 MiB) is written and synced on the way. */
int wal_append(struct wal *w, const struct persist *record);
/* Bytes waiting in the batch; 0: nothing was appended since the last sync. */
uint64_t wal_batched(const struct wal *w);
/* Write the batch and fdatasync. 0; -ENOSPC: there is no room to begin another segment: nothing was
 * written, nothing is lost, and the same may be tried again later; any other -errno: the disk
 * failed: stop the node, never try again. A disk that gets full while a batch is written is -EIO.
 */
int wal_sync(struct wal *w);

/* The last value the log holds for each slot first..last, ascending, decided or not (the caller
 * knows which are): calls @each with a pvalue whose command is new (the callee owns the reference
 * it is given). Stops after @bytes_max command bytes or when @each returns non-zero. Slots not held
 * are left out. 0 or -errno; -EBADMSG where a record no longer matches its checksum. */
int wal_read(struct wal *w, uint64_t first, uint64_t last, uint64_t bytes_max,
             int (*each)(void *context, const struct pvalue *pvalue), void *context);

/* Make the next segment ahead of need, if there is no free one, by about @bytes of it. An error
 * does no harm yet: the same is tried again once it is needed. 0 or -errno. */
int wal_prepare(struct wal *w, uint64_t bytes);

/* Slots <= @slot may go: whole segments that hold nothing above it are recycled. 0; -ENOSPC as
 * wal_sync(): they stay for now; -errno. */
int wal_collect(struct wal *w, uint64_t slot);
/* What is kept whoever lags. */
struct wal_bound {
    uint64_t bytes, slots;
};
/* The oldest segments without which the log still holds so many bytes, or slots, are recycled, if
 * they hold nothing above @slot. 0 or -errno. */
int wal_bound(struct wal *w, const struct wal_bound *bound, uint64_t slot);

struct wal_view {
    uint32_t segments, segments_free;
    uint64_t bytes; /* on disk */
    uint64_t batches, records;
    uint64_t slot_first; /* lowest slot that wal_read can give; 0: none */
    uint64_t collected;  /* wal_read gives none <= this */
};
void wal_view(const struct wal *w, struct wal_view *view);
void wal_close(struct wal *w);

#endif
