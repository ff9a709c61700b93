#include "node/wal_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"

enum { ZEROS_SIZE = 256 << 10 };

static_assert(BATCH_HEADER_SIZE + BATCH_RECORD_SIZE + COMMAND_SIZE_MAX < BATCH_SIZE_MAX,
              "a batch has room for any record");
static_assert(BATCH_SIZE_MAX < WAL_SEGMENT_SIZE, "a segment has room for any batch");

bool wal_is_born(const char *dir)
{
    char path[WAL_PATH_SIZE + 32];
    snprintf(path, sizeof path, "%s/format", dir);
    return access(path, F_OK) == 0 || errno != ENOENT;
}

int wal_open(const char *dir, struct wal **out, struct wal_recovered *recovered, char *error,
             size_t error_size)
{
    struct wal_io io = wal_io_disk();
    return wal_open_with(&io, dir, WAL_SEGMENT_SIZE, out, recovered, error, error_size);
}

int wal_open_sized(const char *dir, uint64_t segment_size, struct wal **out,
                   struct wal_recovered *recovered, char *error, size_t error_size)
{
    struct wal_io io = wal_io_disk();
    return wal_open_with(&io, dir, segment_size, out, recovered, error, error_size);
}

/* ---- segments ---- */

void wal_path(const struct wal *w, const char *name, char path[WAL_PATH_SIZE + 32])
{
    int size = snprintf(path, WAL_PATH_SIZE + 32, "%s/%s", w->directory, name);
    ASSERT(size > 0 && size < WAL_PATH_SIZE + 32);
}

void wal_segment_name(uint32_t id, char name[32])
{
    int size = snprintf(name, 32, "segment.%08u", id);
    ASSERT(size > 0 && size < 32);
}

static int making_begin(struct wal *w)
{
    char path_new[WAL_PATH_SIZE + 32];
    wal_path(w, "segment.new", path_new);
    struct segment *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->id = w->id_next;
    s->file = w->io.create(w->io.context, path_new, w->segment_size);
    if (s->file < 0) {
        int rc = s->file;
        free(s);
        return rc;
    }
    w->making = s;
    return 0;
}

static void making_drop(struct wal *w)
{
    char path_new[WAL_PATH_SIZE + 32];
    wal_path(w, "segment.new", path_new);
    wal_segment_free(w, w->making);
    w->making = NULL;
    (void)w->io.remove(w->io.context, path_new); /* else the next start does */
}

/* It is written everywhere: give it its name, and keep it for when it is needed. */
static int making_end(struct wal *w)
{
    char name[32], path_new[WAL_PATH_SIZE + 32], path[WAL_PATH_SIZE + 32];
    wal_segment_name(w->making->id, name);
    wal_path(w, "segment.new", path_new);
    wal_path(w, name, path);
    int rc = w->io.sync(w->io.context, w->making->file);
    if (rc == 0)
        rc = w->io.rename(w->io.context, path_new, path);
    if (rc == 0)
        rc = w->io.sync_directory(w->io.context, w->directory);
    if (rc < 0)
        return rc;
    w->making->end = 0;
    w->spares[w->spare_count++] = w->making;
    w->making = NULL;
    w->id_next++;
    return 0;
}

/* The space of a new file is written before it is used: a sync into extents that never were writes
 * the filesystem's journal too (188 against 126 us alone; far more with three logs on one disk). */
static int making_continue(struct wal *w, uint64_t bytes)
{
    static _Alignas(WAL_BLOCK_SIZE) const uint8_t zeros[ZEROS_SIZE];
    struct segment *s = w->making;
    for (uint64_t done = 0; done < bytes && s->end < w->segment_size;) {
        uint64_t size = w->segment_size - s->end;
        size = size < ZEROS_SIZE ? size : ZEROS_SIZE;
        int rc = w->io.write(w->io.context, s->file, zeros, size, s->end);
        if (rc < 0)
            return rc;
        s->end += size;
        done += size;
    }
    return s->end < w->segment_size ? 0 : making_end(w);
}

int wal_prepare(struct wal *w, uint64_t bytes)
{
    if (w->failure || w->spare_count > 0)
        return w->failure;
    int rc = w->making ? 0 : making_begin(w);
    if (rc == 0)
        rc = making_continue(w, bytes);
    if (rc < 0 && w->making)
        making_drop(w);
    return rc;
}

void wal_segment_free(struct wal *w, struct segment *s)
{
    if (w->window_segment == s)
        w->window_segment = NULL;
    w->io.close(w->io.context, s->file);
    free(s->places);
    free(s);
}

static int reserve_place(struct segment *s)
{
    if (s->place_count < s->place_room)
        return 0;
    uint32_t room = s->place_room ? s->place_room * 2 : 64;
    struct batch_place *places = realloc(s->places, room * sizeof *places);
    if (!places)
        return -ENOMEM;
    s->places = places;
    s->place_room = room;
    return 0;
}

int wal_segment_index(struct segment *s, const struct batch_place *place)
{
    if (place->slot_max == 0)
        return 0;
    int rc = reserve_place(s);
    if (rc < 0)
        return rc;
    s->places[s->place_count++] = *place;
    if (s->slot_min == 0 || place->slot_min < s->slot_min)
        s->slot_min = place->slot_min;
    if (place->slot_max > s->slot_max)
        s->slot_max = place->slot_max;
    return 0;
}

/* Begin the next segment: a spare one, else a new one. */
static int segment_begin(struct wal *w)
{
    if (w->live_count == SEGMENTS_MAX)
        return -EFBIG;
    int rc = wal_prepare(w, w->segment_size); /* mostly there is one */
    if (rc < 0)
        return rc;
    ASSERT(w->spare_count > 0);
    struct segment *s = w->spares[--w->spare_count];
    s->use = w->use_next++;
    s->number = w->number_next;
    s->end = 0;
    s->slot_min = s->slot_max = 0;
    s->place_count = 0;
    w->live[w->live_count++] = s;
    return 0;
}

int wal_segment_remove(struct wal *w, struct segment *s)
{
    char name[32], path[WAL_PATH_SIZE + 32];
    wal_segment_name(s->id, name);
    wal_path(w, name, path);
    wal_segment_free(w, s);
    return w->io.remove(w->io.context, path);
}

/* ---- append and sync ---- */

static void batch_reset(struct wal *w)
{
    w->records = writer_of(w->batch + BATCH_HEADER_SIZE, w->batch_room - BATCH_HEADER_SIZE);
    w->record_count = 0;
    w->slot_min = w->slot_max = 0;
    w->dirty = false;
}

static int append_pvalue(struct wal *w, const struct persist *record)
{
    const struct pvalue *p = &record->pvalue;
    ASSERT(p->slot > 0);
    ASSERT(p->command->size <= COMMAND_SIZE_MAX);
    uint64_t size = BATCH_RECORD_SIZE + p->command->size;
    if (size > w->records.room - w->records.size) {
        int rc = wal_sync(w);
        if (rc < 0)
            return rc;
    }
    batch_write_record(&w->records, record);
    ASSERT(!w->records.failed);

    w->record_count++;
    if (w->slot_min == 0 || p->slot < w->slot_min)
        w->slot_min = p->slot;
    if (p->slot > w->slot_max)
        w->slot_max = p->slot;
    return 0;
}

static void raise_promised(struct wal *w, struct ballot ballot)
{
    if (ballot_cmp(ballot, w->state.promised) > 0)
        w->state.promised = ballot;
}

int wal_append(struct wal *w, const struct persist *record)
{
    if (w->failure)
        return w->failure;
    int rc = 0;
    switch (record->kind) {
    case PERSIST_PROMISE:
        raise_promised(w, record->ballot);
        break;
    case PERSIST_ACCEPT:
        rc = append_pvalue(w, record);
        raise_promised(w, record->pvalue.ballot);
        break;
    case PERSIST_DECISION:
        rc = append_pvalue(w, record);
        break;
    case PERSIST_DECIDED:
        if (record->slot > w->state.decided_through)
            w->state.decided_through = record->slot;
        break;
    }
    if (rc < 0)
        return rc;
    w->dirty = true;
    w->records_total++;
    return 0;
}

uint64_t wal_batched(const struct wal *w)
{
    return w->dirty ? BATCH_HEADER_SIZE + w->records.size : 0;
}

/* The batch goes into the last live segment. 0; -errno: nothing was written yet. */
static int find_place(struct wal *w)
{
    uint64_t size = batch_blocks_size(w->records.size);
    const struct segment *s = w->live_count > 0 ? w->live[w->live_count - 1] : NULL;
    return s && size <= w->segment_size - s->end ? 0 : segment_begin(w);
}

static int batch_write(struct wal *w)
{
    uint64_t size = batch_blocks_size(w->records.size);
    struct segment *s = w->live[w->live_count - 1];
    struct batch_header header = {
        .use = s->use,
        .number = w->number_next,
        .state = w->state,
        .record_count = w->record_count,
        .size = (uint32_t)w->records.size,
    };
    uint64_t sealed = batch_seal(w->batch, &header, w->salt);
    ASSERT(sealed == size);

    int rc = reserve_place(s);
    if (rc == 0)
        rc = w->io.write(w->io.context, s->file, w->batch, size, s->end);
    if (rc == 0)
        rc = w->io.sync(w->io.context, s->file);
    if (w->window_segment == s)
        w->window_segment = NULL; /* it may hold what was there before */
    if (rc < 0)
        return rc;

    struct batch_place place = {(uint32_t)s->end, (uint32_t)size, w->slot_min, w->slot_max};
    rc = wal_segment_index(s, &place);
    ASSERT(rc == 0);
    s->end += size;
    w->number_next++;
    w->batches++;
    return 0;
}

int wal_sync(struct wal *w)
{
    if (w->failure)
        return w->failure;
    if (!w->dirty)
        return 0;
    int rc = find_place(w);
    if (rc == -ENOSPC)
        return rc;
    /* Final: after a failed fdatasync the kernel may have dropped the pages, and a second one that
     * succeeds proves nothing. */
    if (rc == 0)
        rc = batch_write(w);
    w->failure = rc == -ENOSPC ? -EIO : rc;
    if (w->failure)
        return w->failure;
    batch_reset(w);
    return 0;
}

/* ---- collect ---- */

/* How many of the oldest segments hold nothing above @slot. Only from the oldest on: what is live
 * stays without gaps, so that a missing segment is seen at the next start. */
static uint32_t count_collectable(const struct wal *w, uint64_t slot)
{
    uint32_t count = 0;
    while (count + 1 < w->live_count && w->live[count]->slot_max <= slot)
        count++;
    return count;
}

int wal_collect(struct wal *w, uint64_t slot)
{
    if (w->failure)
        return w->failure;
    if (slot <= w->state.collected)
        return 0;
    w->state.collected = slot;
    w->dirty = true; /* goes with the next batch, unless something is overwritten because of it */
    uint32_t count = count_collectable(w, slot);
    if (count == 0)
        return 0;

    w->state.use_first = w->live[count]->use;
    int rc = wal_sync(w); /* the mark is durable first */
    if (rc < 0)
        return rc;

    struct segment *gone[SEGMENTS_MAX];
    memcpy(gone, w->live, count * sizeof *gone);
    w->live_count -= count;
    memmove(w->live, w->live + count, w->live_count * sizeof *w->live);
    for (uint32_t i = 0; i < count; i++) {
        if (w->spare_count < SPARES_MAX) {
            w->spares[w->spare_count++] = gone[i];
            continue;
        }
        rc = wal_segment_remove(w, gone[i]);
        if (rc < 0)
            w->failure = rc;
    }
    return w->failure;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t slot_last(const struct wal *w)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < w->live_count; i++)
        last = max_u64(last, w->live[i]->slot_max);
    return last;
}

int wal_bound(struct wal *w, const struct wal_bound *bound, uint64_t slot)
{
    uint64_t through = 0, last = slot_last(w);
    uint32_t collectable = count_collectable(w, slot);
    for (uint32_t i = 0; i < collectable; i++) {
        uint64_t gone = max_u64(through, w->live[i]->slot_max);
        bool has_bytes = (w->live_count - i - 1) * w->segment_size >= bound->bytes;
        bool has_slots = last - gone >= bound->slots;
        if (!has_bytes && !has_slots)
            break;
        through = gone;
    }
    return wal_collect(w, through);
}

/* ---- the rest ---- */

/* The oldest segments may hold slots that are collected already. */
static uint64_t slot_first(const struct wal *w)
{
    uint64_t first = 0;
    for (uint32_t i = 0; i < w->live_count; i++) {
        const struct segment *s = w->live[i];
        if (s->slot_max <= w->state.collected)
            continue;
        uint64_t slot = s->slot_min > w->state.collected ? s->slot_min : w->state.collected + 1;
        if (first == 0 || slot < first)
            first = slot;
    }
    return first;
}

void wal_view(const struct wal *w, struct wal_view *view)
{
    *view = (struct wal_view){
        .segments = w->live_count,
        .segments_free = w->spare_count,
        .bytes = (w->live_count + w->spare_count + (w->making != NULL)) * w->segment_size,
        .batches = w->batches,
        .records = w->records_total,
        .slot_first = slot_first(w),
        .collected = w->state.collected,
    };
}

void wal_close(struct wal *w)
{
    if (!w)
        return;
    if (w->making)
        making_drop(w);
    for (uint32_t i = 0; i < w->live_count; i++)
        wal_segment_free(w, w->live[i]);
    for (uint32_t i = 0; i < w->spare_count; i++)
        wal_segment_free(w, w->spares[i]);
    free(w->batch);
    free(w->window);
    free(w);
}
