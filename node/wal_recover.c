/* Creation and replay of the log. What may be found after a crash, and what is damage:
 *
 *  - The newest segment ends with a batch that is not whole: torn, cut off. A batch is written only
 *    after the sync of the one before, so nothing whole of this use can follow it; if something
 * does, a synced batch was damaged.
 *  - A segment that was about to be begun again holds a torn first batch, and behind it whole
 * batches of former uses, all older than use_first.
 *  - Every use from use_first to the newest is there, and their batch numbers have no gap. */
#include "node/wal_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"

/* One line; what sscanf takes from it is written out again and compared, which makes it strict. */
#define FORMAT_OUT "paxfs-log version=1 salt=%016" PRIx64 " segment_size=%" PRIu64 "\n"
#define FORMAT_IN  "paxfs-log version=1 salt=%16" SCNx64 " segment_size=%" SCNu64
#define WINDOW_MIN MIB /* read at least so much, so that small batches cost no read each */

enum { FORMAT_SIZE_MAX = 256 };

struct recovery {
    struct wal *w;
    struct wal_recovered *out;
    struct {
        const struct segment *segment;
        uint64_t offset;
    } torn[2]; /* batches whose header arrived: at the end, and in a segment about to be begun */
    uint32_t torn_count;
    char *error;
    size_t error_size;
    uint32_t *ids; /* segments in the directory */
    uint32_t id_count, id_room;
    bool has_format, has_new, list_failed;
};

static int fail(struct recovery *r, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct recovery *r, int rc, const char *format, ...)
{
    if (r->error_size == 0)
        return rc;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->error, r->error_size, format, arguments);
    va_end(arguments);
    return rc;
}

static int fail_io(struct recovery *r, int rc, const char *what)
{
    return fail(r, rc, "%s: %s: %s; check the disk, then start again", r->w->directory, what,
                strerror(-rc));
}

/* What to do is the same for all damage: only the other members still know. */
#define REMEDY                                                                                     \
    "the disk lost or changed synced data, so this node must not vote with what is left; "         \
    "restore the file, or replace this member by a new one"

static int fail_damaged(struct recovery *r, const struct segment *s, uint64_t offset,
                        const char *what)
{
    char name[32];
    wal_segment_name(s->id, name);
    return fail(r, -EBADMSG, "%s/%s offset %" PRIu64 ": %s: " REMEDY, r->w->directory, name, offset,
                what);
}

/* ---- reading ---- */

/* @size bytes at @offset as a view of the window. */
static int window_at(struct wal *w, const struct segment *s, uint64_t offset, uint64_t size,
                     const uint8_t **bytes)
{
    ASSERT(offset % WAL_BLOCK_SIZE == 0);
    ASSERT(size <= w->segment_size - offset);
    bool held = w->window_segment == s && offset >= w->window_offset &&
                offset + size <= w->window_offset + w->window_size;
    if (!held) {
        uint64_t more = size < WINDOW_MIN ? WINDOW_MIN : size;
        if (more > w->segment_size - offset)
            more = w->segment_size - offset;
        if (more > w->batch_room)
            more = w->batch_room;
        w->window_segment = NULL;
        int rc = w->io.read(w->io.context, s->file, w->window, more, offset);
        if (rc < 0)
            return rc;
        w->window_segment = s;
        w->window_offset = offset;
        w->window_size = more;
        w->checked_size = 0;
    }
    *bytes = w->window + (offset - w->window_offset);
    return 0;
}

int wal_batch_at(struct wal *w, const struct segment *s, uint64_t offset,
                 struct batch_header *header, struct cursor *records)
{
    const uint8_t *bytes;
    if (offset >= w->segment_size)
        return 0;
    int rc = window_at(w, s, offset, WAL_BLOCK_SIZE, &bytes);
    if (rc < 0)
        return rc;
    if (!batch_peek(bytes, header))
        return 0;
    uint64_t size = batch_blocks_size(header->size);
    if (size > w->batch_room || size > w->segment_size - offset)
        return 0;
    rc = window_at(w, s, offset, size, &bytes);
    if (rc < 0)
        return rc;
    bool is_checked = w->checked_offset == offset && w->checked_size == size;
    if (!is_checked && !batch_is_whole(bytes, size, w->salt))
        return 0;
    w->checked_offset = offset;
    w->checked_size = size;
    *records = cursor_of(bytes + BATCH_HEADER_SIZE, header->size);
    return 1;
}

/* Find the first whole batch at or after @offset that was written in use @use_min or later, and has
 * at least @number. 1, 0, -errno. */
static int find_batch(struct wal *w, const struct segment *s, uint64_t offset, uint64_t use_min,
                      uint64_t number, uint64_t *found)
{
    for (; offset < w->segment_size; offset += WAL_BLOCK_SIZE) {
        const uint8_t *bytes;
        int rc = window_at(w, s, offset, WAL_BLOCK_SIZE, &bytes);
        if (rc < 0)
            return rc;
        struct batch_header header;
        struct cursor records;
        if (!batch_peek(bytes, &header) || header.use < use_min || header.number < number)
            continue;
        rc = wal_batch_at(w, s, offset, &header, &records);
        if (rc < 0)
            return rc;
        if (rc > 0) {
            *found = offset;
            return 1;
        }
    }
    return 0;
}

/* Size of the torn batch at @offset, if its header arrived. */
static uint64_t torn_size(struct wal *w, const struct segment *s, uint64_t offset, uint64_t use,
                          uint64_t number)
{
    const uint8_t *bytes;
    struct batch_header header;
    if (offset >= w->segment_size || window_at(w, s, offset, WAL_BLOCK_SIZE, &bytes) < 0)
        return 0;
    if (!batch_peek(bytes, &header) || header.use != use || header.number != number)
        return 0;
    uint64_t size = batch_blocks_size(header.size);
    return size <= w->segment_size - offset ? size : 0;
}

/* A torn batch whose header is there is not only left out, it has to go: the next one is written at
 * its place under its number, and of that one a crash might leave just what the torn one lacked. */
static void note_torn(struct recovery *r, const struct segment *s, uint64_t offset, uint64_t use,
                      uint64_t number)
{
    uint64_t size = torn_size(r->w, s, offset, use, number);
    if (size == 0 || r->torn_count == ARRAY_COUNT(r->torn)) /* no crash leaves more */
        return;
    r->out->torn_bytes += size;
    r->torn[r->torn_count].segment = s;
    r->torn[r->torn_count++].offset = offset;
}

static int erase_torn(struct recovery *r)
{
    struct wal *w = r->w;
    memset(w->batch, 0, WAL_BLOCK_SIZE);
    for (uint32_t i = 0; i < r->torn_count; i++) {
        const struct segment *s = r->torn[i].segment;
        w->window_segment = NULL;
        int rc = w->io.write(w->io.context, s->file, w->batch, WAL_BLOCK_SIZE, r->torn[i].offset);
        if (rc == 0)
            rc = w->io.sync(w->io.context, s->file);
        if (rc < 0)
            return fail_io(r, rc, "write");
    }
    return 0;
}

/* ---- replay ---- */

static int replay_records(struct recovery *r, struct segment *s, const struct batch_header *header,
                          struct cursor records)
{
    struct batch_place place = {
        .offset = (uint32_t)s->end,
        .size = (uint32_t)batch_blocks_size(header->size),
    };
    struct batch_record record;
    uint32_t count = 0;
    int rc;
    while ((rc = batch_next_record(&records, &record)) > 0) {
        count++;
        if (place.slot_min == 0 || record.slot < place.slot_min)
            place.slot_min = record.slot;
        if (record.slot > place.slot_max)
            place.slot_max = record.slot;
    }
    if (rc < 0 || count != header->record_count)
        return fail_damaged(r, s, s->end, "a record that does not decode");
    rc = wal_segment_index(s, &place);
    return rc < 0 ? fail_io(r, rc, "replay") : 0;
}

/* Walk the batches of @s from its start. Sets s->end and *@state to what the last one says;
 * *@number is the next batch's. */
static int replay_segment(struct recovery *r, struct segment *s, struct batch_state *state,
                          uint64_t *number)
{
    struct wal *w = r->w;
    s->end = 0;
    s->slot_min = s->slot_max = 0;
    s->place_count = 0;
    *number = s->number;
    for (;;) {
        struct batch_header header;
        struct cursor records;
        int rc = wal_batch_at(w, s, s->end, &header, &records);
        if (rc < 0)
            return fail_io(r, rc, "read");
        if (rc == 0 || header.use != s->use || header.number != *number)
            return 0;
        if (ballot_cmp(header.state.promised, state->promised) < 0 ||
            header.state.use_first < state->use_first)
            return fail_damaged(r, s, s->end, "a promise or mark that goes back");
        rc = replay_records(r, s, &header, records);
        if (rc < 0)
            return rc;
        *state = header.state;
        s->end += batch_blocks_size(header.size);
        (*number)++;
    }
}

/* The newest segment: its end is the log's, if it is one. */
static int check_end(struct recovery *r, const struct segment *s, uint64_t number)
{
    uint64_t found;
    int rc = find_batch(r->w, s, s->end, s->use, number, &found);
    if (rc < 0)
        return fail_io(r, rc, "read");
    if (rc > 0)
        return fail_damaged(r, s, s->end, "a damaged batch before a good later one");
    note_torn(r, s, s->end, s->use, number);
    return 0;
}

static int compare_use(const void *a, const void *b)
{
    const struct segment *const *x = a, *const *y = b;
    return (*x)->use < (*y)->use ? -1 : (*x)->use > (*y)->use;
}

/* Segments with a good first batch, sorted by use: those before @use_first are spare. */
static void split_spares(struct wal *w, uint64_t use_first)
{
    uint32_t count = 0;
    while (count < w->live_count && w->live[count]->use < use_first)
        w->spares[w->spare_count++] = w->live[count++];
    w->live_count -= count;
    memmove(w->live, w->live + count, w->live_count * sizeof *w->live);
}

static int check_no_use_missing(struct recovery *r, uint64_t use_first)
{
    struct wal *w = r->w;
    for (uint32_t i = 0; i < w->live_count; i++)
        if (w->live[i]->use != use_first + i)
            return fail(r, -EBADMSG,
                        "%s: the segment of use %" PRIu64 " is missing, or its first batch is "
                        "damaged: " REMEDY,
                        w->directory, use_first + i);
    return 0;
}

/* Segments without a good first batch must hold nothing that is still needed. */
static int check_spares(struct recovery *r, const struct segment *newest, uint64_t number)
{
    struct wal *w = r->w;
    for (uint32_t i = 0; i < w->spare_count; i++) {
        const struct segment *s = w->spares[i];
        uint64_t found;
        if (s->use != 0)
            continue;
        int rc = find_batch(w, s, 0, w->state.use_first, 0, &found);
        if (rc < 0)
            return fail_io(r, rc, "read");
        if (rc > 0)
            return fail_damaged(r, s, 0, "a damaged batch before a good later one");
        note_torn(r, s, 0, newest->use + 1, number);
    }
    return 0;
}

static int replay(struct recovery *r)
{
    struct wal *w = r->w;
    if (w->live_count == 0)
        return fail(r, -EBADMSG, "%s: no segment begins with a good batch: " REMEDY, w->directory);
    qsort(w->live, w->live_count, sizeof *w->live, compare_use);

    /* The last mark says where to begin. */
    struct segment *newest = w->live[w->live_count - 1];
    struct batch_state state = {.use_first = 0};
    uint64_t number;
    int rc = replay_segment(r, newest, &state, &number);
    if (rc < 0)
        return rc;
    uint64_t use_first = state.use_first;
    if (use_first == 0 || use_first > newest->use)
        return fail_damaged(r, newest, 0, "an impossible mark");
    split_spares(w, use_first);
    rc = check_no_use_missing(r, use_first);
    if (rc < 0)
        return rc;

    state = (struct batch_state){.use_first = 0};
    for (uint32_t i = 0; i < w->live_count; i++) {
        struct segment *s = w->live[i];
        rc = replay_segment(r, s, &state, &number);
        if (rc < 0)
            return rc;
        bool is_last = i + 1 == w->live_count;
        if (!is_last && number != w->live[i + 1]->number)
            return fail_damaged(r, s, s->end, "a damaged batch before a good later one");
    }
    w->state = state;
    rc = check_end(r, newest, number);
    if (rc < 0)
        return rc;
    rc = check_spares(r, newest, number);
    if (rc < 0)
        return rc;

    w->number_next = number;
    w->use_next = newest->use + 1;
    return erase_torn(r);
}

static void report(struct recovery *r)
{
    const struct wal *w = r->w;
    r->out->promised = w->state.promised;
    r->out->decided_through = w->state.decided_through;
    r->out->collected = w->state.collected;
    for (uint32_t i = 0; i < w->live_count; i++)
        if (w->live[i]->slot_max > w->state.collected && w->live[i]->slot_max > r->out->slot_max)
            r->out->slot_max = w->live[i]->slot_max;
}

/* ---- the directory ---- */

static void on_name(void *argument, const char *name)
{
    struct recovery *r = argument;
    uint32_t id;
    char expected[32];
    if (strcmp(name, "format") == 0)
        r->has_format = true;
    else if (strcmp(name, "segment.new") == 0)
        r->has_new = true;
    else if (sscanf(name, "segment.%8" SCNu32, &id) == 1) {
        wal_segment_name(id, expected);
        if (strcmp(name, expected) != 0)
            return;
        if (r->id_count == r->id_room) {
            uint32_t room = r->id_room ? r->id_room * 2 : 64;
            uint32_t *ids = realloc(r->ids, room * sizeof *ids);
            if (!ids) {
                r->list_failed = true;
                return;
            }
            r->ids = ids;
            r->id_room = room;
        }
        r->ids[r->id_count++] = id;
    }
}

static int segment_load(struct recovery *r, uint32_t id)
{
    struct wal *w = r->w;
    char name[32], path[WAL_PATH_SIZE + 32];
    wal_segment_name(id, name);
    wal_path(w, name, path);
    if (w->live_count == SEGMENTS_MAX || w->spare_count == SEGMENTS_MAX)
        return fail(r, -EFBIG, "%s: more than %d segments", w->directory, SEGMENTS_MAX);
    struct segment *s = calloc(1, sizeof *s);
    if (!s)
        return fail_io(r, -ENOMEM, "memory");
    s->id = id;
    s->file = w->io.open(w->io.context, path);
    if (s->file < 0) {
        int rc = s->file;
        free(s);
        return fail_io(r, rc, name);
    }
    w->spares[w->spare_count++] = s;
    if (id >= w->id_next)
        w->id_next = id + 1;

    int64_t size = w->io.size(w->io.context, s->file);
    if (size < 0)
        return fail_io(r, (int)size, name);
    if ((uint64_t)size != w->segment_size)
        return fail_damaged(r, s, (uint64_t)size, "the file has the wrong size");

    struct batch_header header;
    struct cursor records;
    int rc = wal_batch_at(w, s, 0, &header, &records);
    if (rc < 0)
        return fail_io(r, rc, name);
    if (rc == 0)
        return 0;
    s->use = header.use;
    s->number = header.number;
    w->live[w->live_count++] = s;
    w->spare_count--;
    return 0;
}

static int format_read(struct recovery *r)
{
    struct wal *w = r->w;
    char path[WAL_PATH_SIZE + 32], text[FORMAT_SIZE_MAX], again[FORMAT_SIZE_MAX];
    wal_path(w, "format", path);
    int64_t size = w->io.read_file(w->io.context, path, text, sizeof text - 1);
    if (size < 0)
        return fail_io(r, (int)size, "format");
    text[size] = '\0';
    uint64_t salt = 0, segment_size = 0;
    int count = sscanf(text, FORMAT_IN, &salt, &segment_size);
    snprintf(again, sizeof again, FORMAT_OUT, salt, segment_size);
    if (count != 2 || strcmp(text, again) != 0)
        return fail(r, -EBADMSG,
                    "%s/format: damaged, or written by a later version; restore the file, or start "
                    "a version that knows it",
                    w->directory);
    if (segment_size < WAL_BLOCK_SIZE || segment_size % WAL_BLOCK_SIZE != 0 ||
        segment_size > UINT32_MAX)
        return fail(r, -EBADMSG, "%s/format: segment_size is impossible: restore the file",
                    w->directory);
    w->salt = salt;
    w->segment_size = segment_size;
    return 0;
}

/* ---- birth ---- */

/* Without `format`: nothing, or what a crash left of a creation: the first batch alone in the first
 * segment. Anything more is a log whose format file was lost. */
static int check_unborn(struct recovery *r)
{
    struct wal *w = r->w;
    char path[WAL_PATH_SIZE + 32];
    if (r->id_count == 0)
        return 0;
    wal_path(w, "segment.00000001", path);
    bool more = r->id_count > 1 || r->ids[0] != 1;
    if (!more) {
        struct batch_header header;
        const uint8_t *block;
        struct segment s = {.file = w->io.open(w->io.context, path)};
        if (s.file < 0)
            return fail_io(r, s.file, "segment.00000001");
        int64_t size = w->io.size(w->io.context, s.file);
        int rc = 0;
        more = size != (int64_t)w->segment_size;
        if (!more)
            rc = window_at(w, &s, WAL_BLOCK_SIZE, WAL_BLOCK_SIZE, &block);
        more = more || (rc == 0 && batch_peek(block, &header));
        w->window_segment = NULL;
        w->io.close(w->io.context, s.file);
        if (rc < 0)
            return fail_io(r, rc, "segment.00000001");
    }
    if (more)
        return fail(r, -EBADMSG, "%s/format is missing, but segments are there: " REMEDY,
                    w->directory);
    int rc = w->io.remove(w->io.context, path);
    return rc < 0 ? fail_io(r, rc, "segment.00000001") : 0;
}

/* The first batch is durable before the log has a name: a log without a good batch is damaged. */
static int create_files(struct wal *w)
{
    char text[FORMAT_SIZE_MAX], path_new[WAL_PATH_SIZE + 32], path[WAL_PATH_SIZE + 32];
    if (getrandom(&w->salt, sizeof w->salt, 0) != (ssize_t)sizeof w->salt)
        return -EIO;
    int size = snprintf(text, sizeof text, FORMAT_OUT, w->salt, w->segment_size);
    ASSERT(size > 0 && (size_t)size < sizeof text);
    wal_path(w, "format.new", path_new);
    wal_path(w, "format", path);

    w->dirty = true;
    int rc = wal_sync(w);
    if (rc == 0)
        rc = w->io.write_file(w->io.context, path_new, text, (size_t)size);
    if (rc == 0)
        rc = w->io.rename(w->io.context, path_new, path);
    if (rc == 0)
        rc = w->io.sync_directory(w->io.context, w->directory);
    return rc;
}

static int create(struct recovery *r)
{
    struct wal *w = r->w;
    int rc = check_unborn(r);
    if (rc < 0)
        return rc;
    w->id_next = 1;
    w->number_next = 1;
    w->use_next = 1;
    w->state.use_first = 1;
    r->out->fresh = true;
    rc = create_files(w);
    return rc < 0 ? fail_io(r, rc, "creating the log") : 0;
}

/* ---- opening ---- */

static int allocate_buffers(struct wal *w)
{
    w->batch_room = w->segment_size < BATCH_SIZE_MAX ? w->segment_size : BATCH_SIZE_MAX;
    w->batch = aligned_alloc(WAL_BLOCK_SIZE, w->batch_room);
    w->window = aligned_alloc(WAL_BLOCK_SIZE, w->batch_room);
    if (!w->batch || !w->window)
        return -ENOMEM;
    w->records = writer_of(w->batch + BATCH_HEADER_SIZE, w->batch_room - BATCH_HEADER_SIZE);
    return 0;
}

static int load(struct recovery *r)
{
    int rc = 0;
    for (uint32_t i = 0; i < r->id_count && rc == 0; i++)
        rc = segment_load(r, r->ids[i]);
    if (rc == 0)
        rc = replay(r);
    while (rc == 0 && r->w->spare_count > SPARES_MAX) {
        rc = wal_segment_remove(r->w, r->w->spares[--r->w->spare_count]);
        if (rc < 0)
            return fail_io(r, rc, "removing a spare segment");
    }
    return rc;
}

static int open_directory(struct recovery *r)
{
    struct wal *w = r->w;
    char path[WAL_PATH_SIZE + 32];
    int rc = w->io.make_directory(w->io.context, w->directory);
    /* A killed daemon may have left a name that a power cut would still take away, together with
     * what is synced into that file from here on. */
    if (rc == 0)
        rc = w->io.sync_directory(w->io.context, w->directory);
    if (rc == 0)
        rc = w->io.list(w->io.context, w->directory, on_name, r);
    if (rc == 0 && r->list_failed)
        rc = -ENOMEM;
    if (rc == 0 && r->has_new) {
        wal_path(w, "segment.new", path);
        rc = w->io.remove(w->io.context, path);
    }
    if (rc < 0)
        return fail_io(r, rc, "the log's directory");

    if (r->has_format) {
        rc = format_read(r);
        if (rc < 0)
            return rc;
    }
    rc = allocate_buffers(w);
    if (rc < 0)
        return fail_io(r, rc, "memory");
    rc = r->has_format ? load(r) : create(r);
    if (rc == 0)
        report(r);
    return rc;
}

int wal_open_with(const struct wal_io *io, const char *directory, uint64_t segment_size,
                  struct wal **out, struct wal_recovered *recovered, char *error, size_t error_size)
{
    ASSERT(segment_size % WAL_BLOCK_SIZE == 0 && segment_size > WAL_BLOCK_SIZE);
    *recovered = (struct wal_recovered){.fresh = false};
    if (error_size > 0)
        error[0] = '\0';
    struct wal *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    w->io = *io;
    w->segment_size = segment_size;
    struct recovery r = {.w = w, .out = recovered, .error = error, .error_size = error_size};
    int rc = 0;
    if (strlen(directory) >= sizeof w->directory)
        rc = fail(&r, -ENAMETOOLONG, "the path of the log is too long");
    if (rc == 0) {
        memcpy(w->directory, directory, strlen(directory) + 1);
        rc = open_directory(&r);
    }
    free(r.ids);
    if (rc < 0) {
        wal_close(w);
        return rc;
    }
    *out = w;
    return 0;
}
