#include "fs/stale.h"

#include <errno.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "fs/record.h"

enum {
    STALE_VERSION = 1,
    KEY_SIZE = 8 + 8,           /* data id, slot */
    VALUE_SIZE = 1 + 8 + 8 + 8, /* version, ino, first, last */
};

struct stale {
    uint64_t data, slot, ino;
    struct chunk_range range;
};

static MDB_val stale_key(uint8_t key[KEY_SIZE], uint64_t data, uint64_t slot)
{
    record_key_u64(key, data);
    record_key_u64(key + 8, slot);
    return record_val(key, KEY_SIZE);
}

static int stale_put(struct store *s, const struct stale *t)
{
    uint8_t key[KEY_SIZE], value[VALUE_SIZE];
    struct writer w = writer_of(value, sizeof value);
    write_u8(&w, STALE_VERSION);
    write_u64(&w, t->ino);
    write_u64(&w, t->range.first);
    write_u64(&w, t->range.last);
    ASSERT(!w.failed);
    return record_put(s, DB_STALE, stale_key(key, t->data, t->slot),
                      record_val(value, sizeof value));
}

static int stale_decode(MDB_val key, MDB_val value, struct stale *t)
{
    if (key.mv_size != KEY_SIZE)
        return -EBADMSG;
    t->data = record_key_read_u64(key.mv_data);
    t->slot = record_key_read_u64((const uint8_t *)key.mv_data + 8);
    struct cursor c = cursor_of(value.mv_data, value.mv_size);
    if (cursor_u8(&c) != STALE_VERSION)
        return -EBADMSG;
    t->ino = cursor_u64(&c);
    t->range.first = cursor_u64(&c);
    t->range.last = cursor_u64(&c);
    return cursor_done(&c) ? 0 : -EBADMSG;
}

static int stale_remove(struct store *s, const struct stale *t)
{
    uint8_t bytes[KEY_SIZE];
    MDB_val key = stale_key(bytes, t->data, t->slot), value;
    int rc = record_get(s, s->txn, DB_STALE, key, &value);
    if (rc)
        return rc;
    ASSERT(s->meta.garbage > 0);
    s->meta.garbage--;
    return record_remove(s, DB_STALE, key, value);
}

/* The records of @data with a slot of @slot or more, in order, until @each returns non-zero, which
 * is the result. */
static int stale_walk(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t slot,
                      int (*each)(void *context, const struct stale *t), void *context)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, s->dbis[DB_STALE], &cursor);
    if (rc)
        return store_errno(rc);
    uint8_t start[KEY_SIZE];
    MDB_val key = stale_key(start, data, slot), value;
    rc = record_cursor_get(s, cursor, DB_STALE, &key, &value, MDB_SET_RANGE);
    while (rc == 0) {
        struct stale t;
        rc = stale_decode(key, value, &t);
        if (rc == 0 && t.data != data)
            break;
        if (rc == 0)
            rc = each(context, &t);
        if (rc == 0)
            rc = record_cursor_get(s, cursor, DB_STALE, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == -ENOENT ? 0 : rc;
}

static bool is_empty(const struct store *s, MDB_txn *txn)
{
    MDB_stat stat;
    return mdb_stat(txn, s->dbis[DB_STALE], &stat) == 0 && stat.ms_entries == 0;
}

static int covers(void *context, const struct stale *t)
{
    const uint64_t *index = context;
    return t->range.first <= *index && *index <= t->range.last;
}

int stale_covers(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t index, uint64_t slot,
                 bool *is_stale)
{
    *is_stale = false;
    if (is_empty(s, txn)) /* nearly always: spares each chunk a cursor */
        return 0;
    int rc = stale_walk(s, txn, data, slot + 1, covers, &index);
    *is_stale = rc > 0;
    return rc < 0 ? rc : 0;
}

struct survey {
    struct chunk_range range;
    uint32_t count; /* of records that reach beyond @range */
    struct stale within;
};

static int count_others(void *context, const struct stale *t)
{
    struct survey *y = context;
    bool is_within = y->range.first <= t->range.first && t->range.last <= y->range.last;
    y->count += !is_within;
    return 0;
}

int stale_check_room(const struct store *s, uint64_t data, struct chunk_range range)
{
    bool fits_slot = range.first > range.last || range.last - range.first < s->deletions_left;
    if (fits_slot || is_empty(s, s->txn))
        return 0;
    struct survey y = {.range = range};
    int rc = stale_walk(s, s->txn, data, 0, count_others, &y);
    if (rc)
        return rc;
    return y.count >= STALE_MAX ? -ENOSPC : 0;
}

static int find_within(void *context, const struct stale *t)
{
    struct survey *y = context;
    y->within = *t;
    return y->range.first <= t->range.first && t->range.last <= y->range.last;
}

/* A range within a newer one says nothing that the newer one does not. */
int stale_add(struct store *s, const struct inode *inode, struct chunk_range range,
              struct chunk_range left)
{
    struct survey y = {.range = range};
    int rc;
    while ((rc = stale_walk(s, s->txn, inode->data, 0, find_within, &y)) > 0) {
        rc = stale_remove(s, &y.within);
        if (rc)
            return rc;
    }
    if (rc)
        return rc;
    struct stale t = {inode->data, s->meta.applied, inode->attr.ino, left};
    s->meta.garbage++;
    return stale_put(s, &t);
}

static int stale_first(struct store *s, struct stale *t)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(s->txn, s->dbis[DB_STALE], &cursor);
    if (rc)
        return store_errno(rc);
    MDB_val key, value;
    rc = record_cursor_get(s, cursor, DB_STALE, &key, &value, MDB_FIRST);
    if (rc == 0)
        rc = stale_decode(key, value, t);
    mdb_cursor_close(cursor);
    return rc;
}

/* The chunks of @t; those of an inode that is gone, or was emptied, are garbage already. */
static int reap_chunks(struct store *s, struct stale *t)
{
    struct inode inode;
    int rc = inode_get(s, t->ino, &inode);
    bool is_gone = rc == -ENOENT || (rc == 0 && inode.data != t->data);
    if (is_gone) {
        t->range = (struct chunk_range){1, 0};
        return 0;
    }
    if (rc)
        return rc;
    uint64_t before = inode.attr.blocks;
    rc = chunk_remove(s, t->data, &t->range, t->slot, &inode.attr.blocks);
    if (rc == 0 && inode.attr.blocks != before)
        rc = inode_put(s, &inode);
    return rc;
}

int stale_reap(struct store *s)
{
    struct stale t;
    int rc = stale_first(s, &t);
    if (rc == 0)
        rc = reap_chunks(s, &t);
    if (rc)
        return rc;
    if (s->deletions_left == 0) /* for the record itself, too */
        return stale_put(s, &t);
    s->deletions_left--;
    return stale_remove(s, &t);
}
