#include "fs/orphan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "fs/chunk.h"
#include "fs/record.h"
#include "fs/xattr.h"

enum {
    FREED_AT_ONCE_BLOCKS = 256 * 8, /* a chunk has 8 blocks at least: 256 chunks at most */
    ORPHAN_VERSION = 1,
    KEY_SIZE = 1 + 8,                         /* kind, number */
    HELD_SIZE_MAX = 1 + 1 + SESSIONS_MAX * 8, /* version, count, node ids in ascending order */
    GARBAGE_SIZE = 1 + 8,                     /* version, blocks */
};

enum kind {
    HELD = 0,    /* ino -> who holds it */
    GARBAGE = 1, /* data id -> blocks of the chunks still there */
};

struct holders {
    uint32_t count;
    uint64_t nodes[SESSIONS_MAX];
};

static MDB_val orphan_key(uint8_t key[KEY_SIZE], enum kind kind, uint64_t number)
{
    key[0] = (uint8_t)kind;
    record_key_u64(key + 1, number);
    return record_val(key, KEY_SIZE);
}

static MDB_val holders_encode(const struct holders *h, uint8_t bytes[HELD_SIZE_MAX])
{
    struct writer w = writer_of(bytes, HELD_SIZE_MAX);
    write_u8(&w, ORPHAN_VERSION);
    write_u8(&w, (uint8_t)h->count);
    for (uint32_t i = 0; i < h->count; i++)
        write_u64(&w, h->nodes[i]);
    ASSERT(!w.failed);
    return record_val(bytes, w.size);
}

static int holders_decode(MDB_val value, struct holders *h)
{
    struct cursor c = cursor_of(value.mv_data, value.mv_size);
    if (cursor_u8(&c) != ORPHAN_VERSION)
        return -EBADMSG;
    h->count = cursor_u8(&c);
    if (h->count > SESSIONS_MAX)
        return -EBADMSG;
    for (uint32_t i = 0; i < h->count; i++)
        h->nodes[i] = cursor_u64(&c);
    return cursor_done(&c) ? 0 : -EBADMSG;
}

static int compare_nodes(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Sorted: the table's order is not the same on every replica. */
static void holders_of_all(const struct store *s, struct holders *h)
{
    h->count = 0;
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (s->sessions->sessions[i].node)
            h->nodes[h->count++] = s->sessions->sessions[i].node;
    qsort(h->nodes, h->count, sizeof h->nodes[0], compare_nodes);
}

static bool holders_remove(struct holders *h, uint64_t node)
{
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->nodes[i] != node)
            continue;
        h->count--;
        memmove(&h->nodes[i], &h->nodes[i + 1], (h->count - i) * sizeof h->nodes[0]);
        return true;
    }
    return false;
}

bool orphan_is_large(const struct inode *inode)
{
    return inode->attr.blocks > FREED_AT_ONCE_BLOCKS;
}

static int garbage_put(struct store *s, uint64_t number, uint64_t blocks)
{
    uint8_t key[KEY_SIZE], value[GARBAGE_SIZE];
    struct writer w = writer_of(value, sizeof value);
    write_u8(&w, ORPHAN_VERSION);
    write_u64(&w, blocks);
    ASSERT(!w.failed);
    return record_put(s, DB_ORPHANS, orphan_key(key, GARBAGE, number),
                      record_val(value, sizeof value));
}

/* Everything of @ino but its chunks, which are gone or have another number. */
static int inode_free(struct store *s, uint64_t ino, uint32_t xattr_count)
{
    ASSERT(s->meta.orphans > 0);
    s->meta.orphans--;
    int rc = xattr_count ? xattr_remove_all(s, ino) : 0;
    return rc ? rc : inode_remove(s, ino);
}

/* Nobody holds @inode any more. Its data becomes garbage under the data's own number. */
static int release(struct store *s, const struct inode *inode)
{
    if (orphan_is_large(inode)) {
        int rc = garbage_put(s, inode->data, inode->attr.blocks);
        if (rc)
            return rc;
        s->meta.garbage++;
    } else if (inode->attr.blocks) {
        uint64_t blocks = inode->attr.blocks, removed;
        int rc = chunk_remove(s, inode->data, 0, UINT64_MAX, UINT64_MAX, &removed, &blocks);
        if (rc)
            return rc;
        ASSERT(blocks == 0);
    }
    return inode_free(s, inode->attr.ino, inode->xattr_count);
}

int orphan_shed_data(struct store *s, struct inode *inode)
{
    int rc = garbage_put(s, inode->data, inode->attr.blocks);
    if (rc)
        return rc;
    s->meta.garbage++;
    inode->data = s->meta.next_ino++;
    inode->attr.blocks = 0;
    return 0;
}

int orphan_add(struct store *s, const struct inode *inode)
{
    ASSERT(inode->attr.nlink == 0);
    s->meta.orphans++;
    struct holders h;
    holders_of_all(s, &h);
    if (h.count == 0)
        return release(s, inode);
    uint8_t key[KEY_SIZE], value[HELD_SIZE_MAX];
    return record_insert(s, DB_ORPHANS, orphan_key(key, HELD, inode->attr.ino),
                         holders_encode(&h, value));
}

/* @value: of the held orphan @ino, as stored. */
static int forget_at(struct store *s, uint64_t ino, MDB_val value, uint64_t node)
{
    struct holders h;
    int rc = holders_decode(value, &h);
    if (rc || !holders_remove(&h, node))
        return rc;
    uint8_t bytes[KEY_SIZE], left[HELD_SIZE_MAX];
    MDB_val key = orphan_key(bytes, HELD, ino);
    if (h.count > 0)
        return record_put(s, DB_ORPHANS, key, holders_encode(&h, left));
    rc = record_remove(s, DB_ORPHANS, key, value);
    if (rc)
        return rc;
    struct inode inode;
    rc = inode_get(s, ino, &inode);
    return rc ? rc : release(s, &inode);
}

int orphan_forget(struct store *s, uint64_t ino, uint64_t node)
{
    uint8_t key[KEY_SIZE];
    MDB_val value;
    int rc = record_get(s, s->txn, DB_ORPHANS, orphan_key(key, HELD, ino), &value);
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    return forget_at(s, ino, value, node);
}

/* The first record of @kind with a number >= *@number. 0, -ENOENT, -errno. */
static int orphan_next(struct store *s, enum kind kind, uint64_t *number, MDB_val *value)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(s->txn, s->dbis[DB_ORPHANS], &cursor);
    if (rc)
        return store_errno(rc);
    uint8_t bytes[KEY_SIZE];
    MDB_val key = orphan_key(bytes, kind, *number);
    rc = mdb_cursor_get(cursor, &key, value, MDB_SET_RANGE);
    mdb_cursor_close(cursor);
    if (rc)
        return store_errno(rc);
    const uint8_t *found = key.mv_data;
    if (key.mv_size != KEY_SIZE)
        return -EBADMSG;
    if (found[0] != kind)
        return -ENOENT;
    *number = record_key_read_u64(found + 1);
    return 0;
}

int orphan_forget_all(struct store *s, uint64_t node)
{
    int rc;
    MDB_val value = {0};
    for (uint64_t ino = 0; (rc = orphan_next(s, HELD, &ino, &value)) == 0; ino++) {
        rc = forget_at(s, ino, value, node);
        if (rc)
            return rc;
    }
    return rc == -ENOENT ? 0 : rc;
}

/* Free up to *@budget chunks of the garbage @number. */
static int reap_one(struct store *s, uint64_t number, MDB_val value, uint64_t *budget)
{
    struct cursor c = cursor_of(value.mv_data, value.mv_size);
    if (cursor_u8(&c) != ORPHAN_VERSION)
        return -EBADMSG;
    uint64_t blocks = cursor_u64(&c), removed;
    if (!cursor_done(&c))
        return -EBADMSG;
    int rc = chunk_remove(s, number, 0, UINT64_MAX, *budget, &removed, &blocks);
    if (rc)
        return rc;
    *budget -= removed;
    if (blocks > 0)
        return garbage_put(s, number, blocks);
    uint8_t key[KEY_SIZE];
    rc = record_get(s, s->txn, DB_ORPHANS, orphan_key(key, GARBAGE, number), &value);
    if (rc)
        return rc;
    ASSERT(s->meta.garbage > 0);
    s->meta.garbage--;
    return record_remove(s, DB_ORPHANS, orphan_key(key, GARBAGE, number), value);
}

int orphan_reap(struct store *s, uint64_t budget)
{
    while (budget > 0) {
        uint64_t number = 0;
        MDB_val value = {0};
        int rc = orphan_next(s, GARBAGE, &number, &value);
        if (rc == 0)
            rc = reap_one(s, number, value, &budget);
        if (rc)
            return rc == -ENOENT ? 0 : rc;
    }
    return 0;
}
