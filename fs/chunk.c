#include "fs/chunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"
#include "fs/record.h"

#define BLOCK_BYTES 4096u /* what st_blocks is rounded to */

enum { WRITTEN_BITS = 8192 };

struct chunk_scratch {
    uint8_t key_max[CHUNK_KEY_SIZE]; /* no stored chunk has a greater key */
    uint8_t
        written[WRITTEN_BITS / 8]; /* set for each chunk this batch wrote; others may share a bit */
    bool any_written;
    uint8_t bytes[CHUNK_SIZE];
};

/* How one chunk changes: it gets @size bytes, the old ones first, then zeroes; of those, @count
 * from
 * @from on are taken from @bytes, or are zeroes if that is NULL. */
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

bool chunk_is_sound(MDB_val value)
{
    if (value.mv_size <= CHUNK_HASH_SIZE || value.mv_size > CHUNK_HASH_SIZE + CHUNK_SIZE)
        return false;
    const uint8_t *bytes = value.mv_data;
    uint8_t hash[CHUNK_HASH_SIZE];
    put_hash(hash, bytes + CHUNK_HASH_SIZE, value.mv_size - CHUNK_HASH_SIZE);
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
}

int chunk_read(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t index,
               const uint8_t **bytes, size_t *size)
{
    uint8_t key[CHUNK_KEY_SIZE];
    chunk_key(key, data, index);
    MDB_val value;
    *size = 0;
    int rc = record_get(s, txn, DB_CHUNKS, record_val(key, sizeof key), &value);
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    if (value.mv_size <= CHUNK_HASH_SIZE || value.mv_size > CHUNK_HASH_SIZE + CHUNK_SIZE)
        return -EBADMSG;
    *bytes = (const uint8_t *)value.mv_data + CHUNK_HASH_SIZE;
    *size = value.mv_size - CHUNK_HASH_SIZE;
    return 0;
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
    rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    mdb_cursor_close(cursor);
    if (rc)
        return store_errno(rc);
    if (record_key_read_u64(key.mv_data) != data)
        return -ENOENT;
    *index = record_key_read_u64((const uint8_t *)key.mv_data + 8);
    *size = value.mv_size - CHUNK_HASH_SIZE;
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

static int edit_remove(struct store *s, MDB_val key, const uint8_t *old, size_t old_size)
{
    if (old_size == 0)
        return 0;
    return record_remove(s, DB_CHUNKS, key,
                         record_val(old - CHUNK_HASH_SIZE, old_size + CHUNK_HASH_SIZE));
}

static int edit_store(struct store *s, MDB_val key, const struct edit *e, const uint8_t *old,
                      size_t old_size)
{
    struct term term;
    if (old_size)
        term = digest_term(DB_CHUNKS, key,
                           record_val(old - CHUNK_HASH_SIZE, old_size + CHUNK_HASH_SIZE));
    size_t kept = old_size < e->size ? old_size : e->size;
    bool is_kept = kept > 0 && (e->from > 0 || e->count < kept);
    if (is_kept && !outlives_put(s, e, old_size)) {
        memcpy(s->scratch->bytes, old, kept);
        old = s->scratch->bytes;
    }

    bool is_last = memcmp(key.mv_data, s->scratch->key_max, CHUNK_KEY_SIZE) > 0;
    void *room;
    int rc = record_reserve(s, DB_CHUNKS, key, e->size + CHUNK_HASH_SIZE, is_last,
                            old_size ? &term : NULL, &room);
    if (rc)
        return rc;
    if (is_last)
        memcpy(s->scratch->key_max, key.mv_data, CHUNK_KEY_SIZE);
    mark_written(s->scratch, e);
    uint8_t *value = room;
    fill(value + CHUNK_HASH_SIZE, e, old, is_kept ? kept : 0);
    put_hash(value, value + CHUNK_HASH_SIZE, e->size);
    record_reserved(s, DB_CHUNKS, key, record_val(value, e->size + CHUNK_HASH_SIZE));
    return 0;
}

static int edit_chunk(struct store *s, const struct edit *e, const uint8_t *old, size_t old_size,
                      uint64_t *blocks)
{
    ASSERT(e->size <= CHUNK_SIZE && e->from + e->count <= e->size);
    uint8_t bytes[CHUNK_KEY_SIZE];
    chunk_key(bytes, e->data, e->index);
    MDB_val key = record_val(bytes, sizeof bytes);
    int rc =
        e->size == 0 ? edit_remove(s, key, old, old_size) : edit_store(s, key, e, old, old_size);
    if (rc == 0)
        count_blocks(s, old_size, e->size, blocks);
    return rc;
}

int chunk_write(struct store *s, uint64_t data, uint64_t offset, const void *bytes, uint64_t size,
                uint64_t *blocks)
{
    const uint8_t *from = bytes;
    while (size > 0) {
        uint64_t index = offset / CHUNK_SIZE, start = offset % CHUNK_SIZE;
        uint64_t count = CHUNK_SIZE - start < size ? CHUNK_SIZE - start : size;
        const uint8_t *old = NULL;
        size_t old_size;
        int rc = chunk_read(s, s->txn, data, index, &old, &old_size);
        if (rc)
            return rc;
        size_t new_size = start + count > old_size ? start + count : old_size;
        struct edit e = {data, index, new_size, start, count, from};
        rc = edit_chunk(s, &e, old, old_size, blocks);
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
    const uint8_t *old = NULL;
    size_t old_size;
    int rc = chunk_read(s, s->txn, data, index, &old, &old_size);
    if (rc || old_size <= from)
        return rc;
    struct edit e = {.data = data, .index = index, .size = from};
    if (end < old_size)
        e = (struct edit){data, index, old_size, from, end - from, NULL};
    return edit_chunk(s, &e, old, old_size, blocks);
}

int chunk_punch(struct store *s, uint64_t data, uint64_t offset, uint64_t end, uint64_t *blocks)
{
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
    uint64_t removed;
    return chunk_remove(s, data, first + 1, last - 1, UINT64_MAX, &removed, blocks);
}

int chunk_remove(struct store *s, uint64_t data, uint64_t first, uint64_t last, uint64_t budget,
                 uint64_t *removed, uint64_t *blocks)
{
    *removed = 0;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(s->txn, s->dbis[DB_CHUNKS], &cursor);
    if (rc)
        return store_errno(rc);
    uint8_t start[CHUNK_KEY_SIZE];
    chunk_key(start, data, first);
    MDB_val key = record_val(start, sizeof start), value;
    rc = store_errno(mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE));
    while (rc == 0 && *removed < budget) {
        uint8_t copy[CHUNK_KEY_SIZE];
        memcpy(copy, key.mv_data, sizeof copy);
        if (record_key_read_u64(copy) != data || record_key_read_u64(copy + 8) > last)
            break;
        size_t size = value.mv_size - CHUNK_HASH_SIZE;
        rc = record_remove_at(s, DB_CHUNKS, cursor, record_val(copy, sizeof copy), value);
        if (rc)
            break;
        count_blocks(s, size, 0, blocks);
        ++*removed;
        rc = store_errno(mdb_cursor_get(cursor, &key, &value, MDB_NEXT));
    }
    mdb_cursor_close(cursor);
    return rc == -ENOENT ? 0 : rc;
}
