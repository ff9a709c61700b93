/* Reading by slot. The index knows for each batch the lowest and highest slot in it; which record
 * is the last of its slot is found by reading the batches of a window of slots in log order, and
 * remembering only where each slot was last seen. */
#include "node/wal_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { READ_SLOTS = 256 };
#define READ_BYTES (16 * MIB) /* of batches for one window, at most */

struct found {
    const struct segment *segment; /* NULL: the log does not hold the slot */
    uint32_t offset;               /* of the batch */
    uint32_t index;                /* of the record in it */
};

struct slots {
    uint64_t first, last;
    uint64_t next; /* lowest slot above last that the log holds, or may hold; 0: none */
    struct found found[READ_SLOTS];
};

static bool overlaps(uint64_t min, uint64_t max, uint64_t first, uint64_t last)
{
    return max >= first && min <= last && max != 0;
}

static uint64_t batch_bytes(const struct wal *w, uint64_t first, uint64_t last)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < w->live_count; i++) {
        const struct segment *s = w->live[i];
        if (!overlaps(s->slot_min, s->slot_max, first, last))
            continue;
        for (uint32_t j = 0; j < s->place_count; j++)
            if (overlaps(s->places[j].slot_min, s->places[j].slot_max, first, last))
                bytes += s->places[j].size;
    }
    return bytes;
}

static void offer_next(struct slots *slots, uint64_t slot)
{
    if (slots->next == 0 || slot < slots->next)
        slots->next = slot;
}

static int find_in_batch(struct wal *w, const struct segment *s, const struct batch_place *place,
                         struct slots *slots)
{
    struct batch_header header;
    struct cursor records;
    int rc = wal_batch_at(w, s, place->offset, &header, &records);
    if (rc <= 0)
        return rc < 0 ? rc : -EBADMSG;
    if (header.use != s->use)
        return -EBADMSG;
    struct batch_record record;
    for (uint32_t index = 0; (rc = batch_next_record(&records, &record)) > 0; index++) {
        if (record.slot > slots->last)
            offer_next(slots, record.slot);
        else if (record.slot >= slots->first)
            slots->found[record.slot - slots->first] = (struct found){s, place->offset, index};
    }
    return rc;
}

static int find_in_segment(struct wal *w, const struct segment *s, struct slots *slots)
{
    for (uint32_t i = 0; i < s->place_count; i++) {
        const struct batch_place *p = &s->places[i];
        if (p->slot_min > slots->last)
            offer_next(slots, p->slot_min);
        if (!overlaps(p->slot_min, p->slot_max, slots->first, slots->last))
            continue;
        int rc = find_in_batch(w, s, p, slots);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Where each slot of the window was written last. */
static int find_slots(struct wal *w, struct slots *slots)
{
    slots->next = 0;
    memset(slots->found, 0, sizeof slots->found);
    for (uint32_t i = 0; i < w->live_count; i++) {
        const struct segment *s = w->live[i];
        if (s->slot_max < slots->first)
            continue;
        if (s->slot_min > slots->last) {
            offer_next(slots, s->slot_min);
            continue;
        }
        int rc = find_in_segment(w, s, slots);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void command_free(struct command *c)
{
    free(c);
}

static struct command *command_of(const struct batch_record *record)
{
    struct command *c = malloc(sizeof *c + record->size);
    if (!c)
        return NULL;
    uint8_t *bytes = (uint8_t *)(c + 1);
    if (record->size > 0)
        memcpy(bytes, record->bytes, record->size);
    *c = (struct command){
        .size = record->size,
        .node = record->node,
        .epoch = record->epoch,
        .sequence = record->sequence,
        .low = record->low,
        .bytes = bytes,
        .release = command_free,
    };
    atomic_init(&c->refs, 1);
    return c;
}

static int read_found(struct wal *w, const struct found *f, struct pvalue *pvalue)
{
    struct batch_header header;
    struct cursor records;
    int rc = wal_batch_at(w, f->segment, f->offset, &header, &records);
    if (rc <= 0)
        return rc < 0 ? rc : -EBADMSG;
    struct batch_record record;
    for (uint32_t i = 0; i <= f->index; i++) {
        rc = batch_next_record(&records, &record);
        if (rc <= 0)
            return -EBADMSG;
    }
    *pvalue = (struct pvalue){
        .ballot = record.ballot,
        .slot = record.slot,
        .time_ns = record.time_ns,
        .command = command_of(&record),
    };
    return pvalue->command ? 0 : -ENOMEM;
}

/* A window from @first on, of batches of no more than @bytes_max, but for a single slot. */
static void choose_window(const struct wal *w, uint64_t first, uint64_t last, uint64_t bytes_max,
                          struct slots *slots)
{
    slots->first = first;
    slots->last = last - first < READ_SLOTS ? last : first + READ_SLOTS - 1;
    while (slots->last > first && batch_bytes(w, first, slots->last) > bytes_max)
        slots->last = first + (slots->last - first) / 2;
}

struct reading {
    uint64_t bytes, bytes_max;
    int (*each)(void *context, const struct pvalue *pvalue);
    void *context;
};

/* 1: enough. */
static int give_slots(struct wal *w, const struct slots *slots, struct reading *r)
{
    for (uint64_t i = 0; i <= slots->last - slots->first; i++) {
        const struct found *f = &slots->found[i];
        if (!f->segment)
            continue;
        struct pvalue pvalue;
        int rc = read_found(w, f, &pvalue);
        if (rc < 0)
            return rc;
        ASSERT(pvalue.slot == slots->first + i);
        r->bytes += pvalue.command->size;
        if (r->each(r->context, &pvalue) != 0 || r->bytes >= r->bytes_max)
            return 1;
    }
    return 0;
}

int wal_read(struct wal *w, uint64_t first, uint64_t last, uint64_t bytes_max,
             int (*each)(void *context, const struct pvalue *pvalue), void *context)
{
    if (w->failure)
        return w->failure;
    if (first <= w->state.collected)
        first = w->state.collected + 1;
    struct reading r = {.bytes_max = bytes_max, .each = each, .context = context};
    /* No more is searched at once than will be given, or a small answer out of large batches would
     * read many times its size. */
    uint64_t window_bytes = bytes_max < READ_BYTES ? bytes_max : READ_BYTES;
    struct slots *slots = malloc(sizeof *slots);
    if (!slots)
        return -ENOMEM;
    int rc = 0;
    while (rc == 0 && first != 0 && first <= last) {
        choose_window(w, first, last, window_bytes, slots);
        rc = find_slots(w, slots);
        if (rc == 0)
            rc = give_slots(w, slots, &r);
        first = slots->next;
    }
    free(slots);
    return rc < 0 ? rc : 0;
}
