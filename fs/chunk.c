#include "fs/chunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"
#include "fs/damage.h"
#include "fs/record.h"
#include "fs/space.h"
#include "fs/stale.h"

#define BLOCK_BYTES 4096u /* what st_blocks is rounded to */

enum { WRITTEN_BITS = 8192 };

struct chunk_scratch {
    uint8_t key_max[CHUNK_KEY_SIZE]; /* no stored chunk has a greater key */
    uint8_t
        written[WRITTEN_BITS / 8]; /* set for each chunk this batch wrote; others may share a bit */
    bool any_written;
    uint8_t bytes[CHUNK_SIZE];
};

/* What is stored of one chunk, and what it counts for. */
struct stored {
    const uint8_t *bytes; /* behind the head */
    size_t size;          /* 0: it is not stored */
    size_t live;          /* 0 when it is stale, else @size */
};

/* How one chunk changes: it gets @size bytes, the old ones first, then zeroes; of those, @count
 * from @from on are taken from @bytes, or are zeroes if that is NULL. */
struct edit {
    uint64_t data, index;
    size_t size, from, count;
    const uint8_t *bytes;
};

struct chunk_scratch *chunk_scratch_new(void)
{
    return calloc(1, sizeof(struct chunk_scratch));
}

void chunk_scratch_free(struct chunk_scratch *scratch)
{
    free(scratch);
}

void chunk_scratch_begin(struct chunk_scratch *scratch)
{
    if (scratch->any_written)
        memset(scratch->written, 0, sizeof scratch->written);
    scratch->any_written = false;
}

int chunk_scratch_load(struct store *s)
{
    MDB_val key;
    int rc = record_last_key(s, DB_CHUNKS, &key);
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    if (key.mv_size != CHUNK_KEY_SIZE)
        return -EBADMSG;
    memcpy(s->scratch->key_max, key.mv_data, CHUNK_KEY_SIZE);
    return 0;
}

static void chunk_key(uint8_t key[CHUNK_KEY_SIZE], uint64_t data, uint64_t index)
{
    record_key_u64(key, data);
    record_key_u64(key + 8, index);
}

static void put_hash(uint8_t to[CHUNK_HASH_SIZE], const void *bytes, size_t size)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, size));
    static_assert(sizeof canonical == CHUNK_HASH_SIZE, "128 bits");
    memcpy(to, &canonical, sizeof canonical);
}

static bool has_chunk_size(MDB_val value)
{
    return value.mv_size > CHUNK_HEAD_SIZE && value.mv_size <= CHUNK_HEAD_SIZE + CHUNK_SIZE;
}

static uint64_t slot_of(MDB_val value)
{
    return record_key_read_u64((const uint8_t *)value.mv_data + CHUNK_HASH_SIZE);
}

/* The whole value. */
static MDB_val value_of(const struct stored *stored)
{
    return record_val(stored->bytes - CHUNK_HEAD_SIZE, stored->size + CHUNK_HEAD_SIZE);
}

bool chunk_is_sound(MDB_val value)
{
    if (!has_chunk_size(value))
        return false;
    const uint8_t *bytes = value.mv_data;
    uint8_t hash[CHUNK_HASH_SIZE];
    put_hash(hash, bytes + CHUNK_HEAD_SIZE, value.mv_size - CHUNK_HEAD_SIZE);
    return memcmp(hash, bytes, sizeof hash) == 0;
}

static uint64_t blocks_of(size_t size)
{
    return (size + BLOCK_BYTES - 1) / BLOCK_BYTES * (BLOCK_BYTES / 512);
}

static void count_blocks(struct store *s, size_t old_size, size_t size, uint64_t *blocks)
{
    uint64_t was = blocks_of(old_size), is = blocks_of(size);
    ASSERT(*blocks + is >= was);
    *blocks = *blocks + is - was;
    s->meta.bytes = s->meta.bytes + (is - was) * 512;
    space_add(&s->meta, space_of_chunk(size));
    space_subtract(&s->meta, space_of_chunk(old_size));
}

static int look(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t index,
                struct stored *stored)
{
    uint8_t key[CHUNK_KEY_SIZE];
    chunk_key(key, data, index);
    MDB_val value;
    *stored = (struct stored){.size = 0};
    int rc = record_get(s, txn, DB_CHUNKS, record_val(key, sizeof key), &value);
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    if (!has_chunk_size(value))
        return -EBADMSG;
    bool is_stale;
    rc = stale_covers(s, txn, data, index, slot_of(value), &is_stale);
    stored->bytes = (const uint8_t *)value.mv_data + CHUNK_HEAD_SIZE;
    stored->size = value.mv_size - CHUNK_HEAD_SIZE;
    stored->live = rc || is_stale ? 0 : stored->size;
    return rc;
}

/* The bytes are those that were written. 0 or -EBADMSG. */
static int check_bytes(const struct store *s, uint64_t data, uint64_t index,
                       const struct stored *stored)
{
    if (chunk_is_sound(value_of(stored)))
        return 0;
    uint8_t key[CHUNK_KEY_SIZE];
    chunk_key(key, data, index);
    return damage_note(s, DB_CHUNKS, record_val(key, sizeof key));
}

int chunk_read(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t index,
               const uint8_t **bytes, size_t *size)
{
    struct stored stored;
    int rc = look(s, txn, data, index, &stored);
    if (rc == 0 && stored.live)
        rc = check_bytes(s, data, index, &stored);
    *size = rc ? 0 : stored.live;
    if (*size)
        *bytes = stored.bytes;
    return rc;
}

int chunk_size(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t index, size_t *size)
{
    struct stored stored;
    int rc = look(s, txn, data, index, &stored);
    *size = stored.live;
    return rc;
}

/* @key and @value are of a chunk of @data. 1: here it is; 0: it is stale; -ENOENT; -errno. */
static int next_step(const struct store *s, MDB_txn *txn, uint64_t data, MDB_val key, MDB_val value,
                     uint64_t *index)
{
    if (record_key_read_u64(key.mv_data) != data)
        return -ENOENT;
    *index = record_key_read_u64((const uint8_t *)key.mv_data + 8);
    if (!has_chunk_size(value))
        return -EBADMSG;
    bool is_stale;
    int rc = stale_covers(s, txn, data, *index, slot_of(value), &is_stale);
    return rc ? rc : !is_stale;
}

int chunk_next(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t *index, size_t *size)
{
    uint8_t bytes[CHUNK_KEY_SIZE];
    chunk_key(bytes, data, *index);
    MDB_val key = record_val(bytes, sizeof bytes), value;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, s->dbis[DB_CHUNKS], &cursor);
    if (rc)
        return store_errno(rc);
    rc = record_cursor_get(s, cursor, DB_CHUNKS, &key, &value, MDB_SET_RANGE);
    while (rc == 0) {
        rc = next_step(s, txn, data, key, value, index);
        if (rc == 0)
            rc = record_cursor_get(s, cursor, DB_CHUNKS, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (rc < 0)
        return rc;
    *size = value.mv_size - CHUNK_HEAD_SIZE;
    return 0;
}

static size_t written_bit(uint64_t data, uint64_t index)
{
    return (size_t)((data * UINT64_C(0x9e3779b97f4a7c15) + index) % WRITTEN_BITS);
}

static void mark_written(struct chunk_scratch *scratch, const struct edit *e)
{
    size_t bit = written_bit(e->data, e->index);
    scratch->written[bit / 8] |= (uint8_t)(1u << bit % 8);
    scratch->any_written = true;
}

/* The old bytes outlive the put that replaces them if their pages are still those of the last
 * commit, which LMDB does not touch before the next. What the batch wrote itself, and what is small
 * enough to lie in a leaf page among others, may be moved or freed under us. */
static bool outlives_put(const struct store *s, const struct edit *e, size_t old_size)
{
    size_t bit = written_bit(e->data, e->index);
    bool was_written = s->scratch->written[bit / 8] >> bit % 8 & 1;
    return !was_written && old_size > s->page_size / 2;
}

static void fill(uint8_t *to, const struct edit *e, const uint8_t *old, size_t old_size)
{
    size_t end = e->from + e->count;
    size_t head = old_size < e->from ? old_size : e->from;
    if (head)
        memcpy(to, old, head);
    if (head < e->from)
        memset(to + head, 0, e->from - head);
    if (e->count && e->bytes)
        memcpy(to + e->from, e->bytes, e->count);
    else if (e->count)
        memset(to + e->from, 0, e->count);
    if (old_size > end)
        memcpy(to + end, old + end, old_size - end);
    size_t filled = old_size > end ? old_size : end;
    if (e->size > filled)
        memset(to + filled, 0, e->size - filled);
}

static int edit_store(struct store *s, MDB_val key, const struct edit *e,
                      const struct stored *stored)
{
    struct term term;
    if (stored->size)
        term = digest_term(DB_CHUNKS, key, value_of(stored));
    const uint8_t *old = stored->bytes;
    size_t kept = stored->live < e->size ? stored->live : e->size;
    bool is_kept = kept > 0 && (e->from > 0 || e->count < kept);
    if (is_kept) { /* or what is damaged would get a hash that fits it */
        int rc = check_bytes(s, e->data, e->index, stored);
        if (rc)
            return rc;
    }
    if (is_kept && !outlives_put(s, e, stored->size)) {
        memcpy(s->scratch->bytes, old, kept);
        old = s->scratch->bytes;
    }

    bool is_last = memcmp(key.mv_data, s->scratch->key_max, CHUNK_KEY_SIZE) > 0;
    void *room;
    int rc = record_reserve(s, DB_CHUNKS, key, e->size + CHUNK_HEAD_SIZE, is_last,
                            stored->size ? &term : NULL, &room);
    if (rc)
        return rc;
    if (is_last)
        memcpy(s->scratch->key_max, key.mv_data, CHUNK_KEY_SIZE);
    mark_written(s->scratch, e);
    uint8_t *value = room;
    fill(value + CHUNK_HEAD_SIZE, e, old, is_kept ? kept : 0);
    put_hash(value, value + CHUNK_HEAD_SIZE, e->size);
    record_key_u64(value + CHUNK_HASH_SIZE, s->meta.applied);
    record_reserved(s, DB_CHUNKS, key, record_val(value, e->size + CHUNK_HEAD_SIZE));
    return 0;
}

/* Where @e leaves no bytes, some were there. */
static int edit_chunk(struct store *s, const struct edit *e, const struct stored *stored,
                      uint64_t *blocks)
{
    ASSERT(e->size <= CHUNK_SIZE && e->from + e->count <= e->size);
    uint8_t bytes[CHUNK_KEY_SIZE];
    chunk_key(bytes, e->data, e->index);
    MDB_val key = record_val(bytes, sizeof bytes);
    int rc = e->size == 0 ? record_remove(s, DB_CHUNKS, key, value_of(stored))
                          : edit_store(s, key, e, stored);
    if (rc == 0)
        count_blocks(s, stored->size, e->size, blocks);
    return rc;
}

/* The size of a chunk that held @old, once its bytes from @start on are @count others. */
static size_t size_written(const struct stored *old, uint64_t start, uint64_t count)
{
    return start + count > old->live ? start + count : old->live;
}

int chunk_growth(struct store *s, uint64_t data, uint64_t offset, uint64_t size, uint64_t *growth)
{
    uint64_t before = 0, after = 0;
    while (size > 0) {
        uint64_t index = offset / CHUNK_SIZE, start = offset % CHUNK_SIZE;
        uint64_t count = CHUNK_SIZE - start < size ? CHUNK_SIZE - start : size;
        struct stored old;
        int rc = look(s, s->txn, data, index, &old);
        if (rc)
            return rc;
        before += space_of_chunk(old.size);
        after += space_of_chunk(size_written(&old, start, count));
        offset += count;
        size -= count;
    }
    *growth = after > before ? after - before : 0;
    return 0;
}

int chunk_write(struct store *s, uint64_t data, uint64_t offset, const void *bytes, uint64_t size,
                uint64_t *blocks)
{
    const uint8_t *from = bytes;
    while (size > 0) {
        uint64_t index = offset / CHUNK_SIZE, start = offset % CHUNK_SIZE;
        uint64_t count = CHUNK_SIZE - start < size ? CHUNK_SIZE - start : size;
        struct stored old;
        int rc = look(s, s->txn, data, index, &old);
        if (rc)
            return rc;
        struct edit e = {data, index, size_written(&old, start, count), start, count, from};
        rc = edit_chunk(s, &e, &old, blocks);
        if (rc)
            return rc;
        offset += count;
        size -= count;
        if (from)
            from += count;
    }
    return 0;
}

/* The part from @from to @end of one chunk; what is stored never ends in punched bytes. */
static int punch_part(struct store *s, uint64_t data, uint64_t index, uint64_t from, uint64_t end,
                      uint64_t *blocks)
{
    struct stored old;
    int rc = look(s, s->txn, data, index, &old);
    if (rc || old.live <= from)
        return rc;
    struct edit e = {.data = data, .index = index, .size = from};
    if (end < old.live)
        e = (struct edit){data, index, old.live, from, end - from, NULL};
    return edit_chunk(s, &e, &old, blocks);
}

int chunk_punch(struct store *s, uint64_t data, uint64_t offset, uint64_t end,
                struct chunk_range *left, uint64_t *blocks)
{
    *left = (struct chunk_range){1, 0};
    if (offset >= end)
        return 0;
    uint64_t first = offset / CHUNK_SIZE, last = (end - 1) / CHUNK_SIZE;
    if (first == last)
        return punch_part(s, data, first, offset % CHUNK_SIZE, (end - 1) % CHUNK_SIZE + 1, blocks);
    int rc = punch_part(s, data, first, offset % CHUNK_SIZE, CHUNK_SIZE, blocks);
    if (rc == 0)
        rc = punch_part(s, data, last, 0, (end - 1) % CHUNK_SIZE + 1, blocks);
    if (rc || last - first < 2)
        return rc;
    *left = (struct chunk_range){first + 1, last - 1};
    return chunk_remove(s, data, left, UINT64_MAX, blocks);
}

/* What @cursor stands on, if it was written before @slot. */
static int remove_at(struct store *s, MDB_cursor *cursor, const uint8_t *key, MDB_val value,
                     uint64_t slot, uint64_t *blocks)
{
    if (!has_chunk_size(value))
        return -EBADMSG;
    if (slot_of(value) >= slot)
        return 0;
    size_t size = value.mv_size - CHUNK_HEAD_SIZE;
    int rc = record_remove_at(s, DB_CHUNKS, cursor, record_val(key, CHUNK_KEY_SIZE), value);
    if (rc == 0)
        count_blocks(s, size, 0, blocks);
    return rc;
}

int chunk_remove(struct store *s, uint64_t data, struct chunk_range *range, uint64_t slot,
                 uint64_t *blocks)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(s->txn, s->dbis[DB_CHUNKS], &cursor);
    if (rc)
        return store_errno(rc);
    uint8_t start[CHUNK_KEY_SIZE];
    chunk_key(start, data, range->first);
    MDB_val key = record_val(start, sizeof start), value;
    rc = record_cursor_get(s, cursor, DB_CHUNKS, &key, &value, MDB_SET_RANGE);
    while (rc == 0) {
        uint8_t copy[CHUNK_KEY_SIZE];
        memcpy(copy, key.mv_data, sizeof copy);
        uint64_t index = record_key_read_u64(copy + 8);
        bool is_beyond = record_key_read_u64(copy) != data || index > range->last;
        if (is_beyond) {
            rc = -ENOENT;
            break;
        }
        range->first = index;
        if (s->deletions_left == 0)
            break;
        s->deletions_left--;
        rc = remove_at(s, cursor, copy, value, slot, blocks);
        if (rc == 0)
            rc = record_cursor_get(s, cursor, DB_CHUNKS, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (rc == -ENOENT) {
        *range = (struct chunk_range){1, 0};
        return 0;
    }
    return rc;
}
