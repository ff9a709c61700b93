/* node/logger.h: the log thread: owns the wal; one sync per batch, then tells the loop.
 *
 * Group commit: while one sync runs, records gather; no delay is added when idle. */
#ifndef NODE_LOGGER_H
#define NODE_LOGGER_H

#include "node/wal.h"

struct logger;

struct logger_callbacks {
    void *context;
    /* From the log thread. Every PERSIST numbered <= @number is durable; a PERSIST_DECIDED, which
     * is a hint, counts at once when nothing before it waits for a sync, and goes to disk with the
     * next. */
    void (*on_durable)(void *context, uint64_t number);
    /* From the log thread: the answer to logger_read(). @pvalues ascending; the callee owns the
     * command references, not the array. @slot_first: the log gives no slot below; 0: it has them
     * all, from the first one on. */
    void (*on_read)(void *context, uint32_t to, uint64_t slot_first, struct pvalue *pvalues,
                    uint32_t count);
    /* From the log thread: the disk failed; no record after the last on_durable is to be trusted.
     */
    void (*on_failure)(void *context, int error);
};

/* Takes @w. 0, or -errno: @w stays the caller's. */
int logger_start(struct wal *w, const struct logger_callbacks *callbacks, struct logger **out);
/* ... with another bound than LOG_BYTES_MAX and LOG_SLOTS_MAX. */
int logger_start_with(struct wal *w, const struct wal_bound *bound,
                      const struct logger_callbacks *callbacks, struct logger **out);
/* Any one thread (the loop). A reference to the command is taken. Never blocks; bounded by what the
 * core keeps in memory. */
void logger_append(struct logger *l, const struct persist *record);
/* Make all appended so far durable: called once per batch, after the appends. */
void logger_commit(struct logger *l);
/* Read decided slots for member @to; one answer, of at most ENTRIES_MAX slots and MESSAGE_BYTES. */
void logger_read(struct logger *l, uint32_t to, uint64_t first, uint64_t last);
/* Slots <= @slot may go: every member has them durably, or they came with a snapshot. */
void logger_collect(struct logger *l, uint64_t slot);
/* The own durable checkpoint covers @slot: what is beyond the bound may go up to there, whoever
 * lags. */
void logger_checkpointed(struct logger *l, uint64_t slot);

struct logger_view {
    struct wal_view wal;
    uint64_t syncs, sync_ns_total, sync_ns_max;
    uint64_t queued_records, queued_bytes;
};
void logger_view(struct logger *l, struct logger_view *view);
/* Sync what is queued, stop the thread, close the wal. */
void logger_stop(struct logger *l);

#endif
