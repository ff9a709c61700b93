#include "fs/orphan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "fs/chunk.h"
#include "fs/record.h"
#include "fs/stale.h"
#include "fs/xattr.h"

enum {
    FREED_AT_ONCE_BLOCKS = 256 * 8, /* a chunk has 8 blocks at least: 256 chunks at most */
    ORPHAN_VERSION = 1,
    KEY_SIZE = 1 + 8, /* kind, number */
    /* version, slot of the orphaning, count, node ids in ascending order */
    HELD_SIZE_MAX = 1 + 8 + 1 + SESSIONS_MAX * 8,
    NUMBERS_SIZE_MAX = 1 + 2 * 8, /* version, numbers */
};

enum kind {
    HELD = 0,     /* ino -> who holds it */
    GARBAGE = 1,  /* data id -> blocks of the chunks still there */
    RELEASED = 2, /* ino: nobody holds it; to be freed */
    ENDED = 3,    /* node -> slot at which its session ended, inode number from which on to look:
                     it holds nothing any more of what was an orphan then */
};

struct holders {
    uint64_t slot;
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
    write_u64(&w, h->slot);
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
    h->slot = cursor_u64(&c);
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
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        const struct session *session = &s->sessions->sessions[i];
        if (session->node != 0 && !session->is_expired)
            h->nodes[h->count++] = session->node;
    }
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

/* A record of @kind that says what waits to be reaped; counted where it is new. */
static int garbage_put(struct store *s, enum kind kind, uint64_t number, const uint64_t *numbers,
                       uint32_t count, bool is_new)
{
    uint8_t key[KEY_SIZE], value[NUMBERS_SIZE_MAX];
    struct writer w = writer_of(value, sizeof value);
    write_u8(&w, ORPHAN_VERSION);
    for (uint32_t i = 0; i < count; i++)
        write_u64(&w, numbers[i]);
    ASSERT(!w.failed);
    if (is_new)
        s->meta.garbage++;
    return record_put(s, DB_ORPHANS, orphan_key(key, kind, number), record_val(value, w.size));
}

static int garbage_decode(MDB_val value, uint64_t *numbers, uint32_t count)
{
    struct cursor c = cursor_of(value.mv_data, value.mv_size);
    if (cursor_u8(&c) != ORPHAN_VERSION)
        return -EBADMSG;
    for (uint32_t i = 0; i < count; i++)
        numbers[i] = cursor_u64(&c);
    return cursor_done(&c) ? 0 : -EBADMSG;
}

static int garbage_remove(struct store *s, enum kind kind, uint64_t number)
{
    uint8_t bytes[KEY_SIZE];
    MDB_val key = orphan_key(bytes, kind, number), value;
    int rc = record_get(s, s->txn, DB_ORPHANS, key, &value);
    if (rc)
        return rc;
    ASSERT(s->meta.garbage > 0);
    s->meta.garbage--;
    return record_remove(s, DB_ORPHANS, key, value);
}

int orphan_shed_data(struct store *s, struct inode *inode)
{
    int rc = garbage_put(s, GARBAGE, inode->data, &inode->attr.blocks, 1, true);
    if (rc)
        return rc;
    inode->data = s->meta.next_ino++;
    inode->attr.blocks = 0;
    return 0;
}

/* Deletions that free_some() needs for all of @inode, at most. */
static uint64_t cost_of(const struct inode *inode)
{
    uint64_t chunks = orphan_is_large(inode) ? 0 : inode->attr.blocks / 8;
    return chunks + inode->xattr_count + 1;
}

/* Free what the slot may still delete of @inode, which nobody holds; *@is_done: all of it. */
static int free_some(struct store *s, struct inode *inode, bool *is_done)
{
    int rc = orphan_is_large(inode) ? orphan_shed_data(s, inode) : 0;
    struct chunk_range all = {0, CHUNK_INDEX_MAX};
    if (rc == 0 && inode->attr.blocks)
        rc = chunk_remove(s, inode->data, &all, UINT64_MAX, &inode->attr.blocks);
    if (rc == 0 && inode->xattr_count)
        rc = xattr_remove_some(s, inode);
    if (rc)
        return rc;
    *is_done = s->deletions_left > 0;
    if (!*is_done)
        return inode_put(s, inode);
    ASSERT(inode->attr.blocks == 0 && inode->xattr_count == 0 && s->meta.orphans > 0);
    s->deletions_left--;
    s->meta.orphans--;
    return inode_remove(s, inode->attr.ino);
}

/* Nobody holds @inode any more. */
static int release(struct store *s, struct inode *inode)
{
    if (cost_of(inode) > s->deletions_left)
        return garbage_put(s, RELEASED, inode->attr.ino, NULL, 0, true);
    bool is_done = false;
    int rc = free_some(s, inode, &is_done);
    ASSERT(rc || is_done);
    return rc;
}

int orphan_add(struct store *s, struct inode *inode)
{
    ASSERT(inode->attr.nlink == 0);
    s->meta.orphans++;
    struct holders h;
    holders_of_all(s, &h);
    h.slot = s->meta.applied;
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
static int orphan_next(const struct store *s, MDB_txn *txn, enum kind kind, uint64_t *number,
                       MDB_val *value)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, s->dbis[DB_ORPHANS], &cursor);
    if (rc)
        return store_errno(rc);
    uint8_t bytes[KEY_SIZE];
    MDB_val key = orphan_key(bytes, kind, *number);
    rc = record_cursor_get(s, cursor, DB_ORPHANS, &key, value, MDB_SET_RANGE);
    mdb_cursor_close(cursor);
    if (rc)
        return rc;
    const uint8_t *found = key.mv_data;
    if (key.mv_size != KEY_SIZE)
        return -EBADMSG;
    if (found[0] != kind)
        return -ENOENT;
    *number = record_key_read_u64(found + 1);
    return 0;
}

static bool holders_has(const struct holders *h, uint64_t node)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (h->nodes[i] == node)
            return true;
    return false;
}

int64_t orphan_list(const struct store *s, MDB_txn *txn, uint64_t node, uint64_t from,
                    uint64_t *inos, size_t room)
{
    size_t count = 0;
    for (uint64_t ino = from; count < room; ino++) {
        MDB_val value;
        struct holders h;
        int rc = orphan_next(s, txn, HELD, &ino, &value);
        if (rc == -ENOENT)
            break;
        if (rc == 0)
            rc = holders_decode(value, &h);
        if (rc)
            return rc;
        if (holders_has(&h, node))
            inos[count++] = ino;
    }
    return (int64_t)count;
}

int orphan_forget_all(struct store *s, uint64_t node)
{
    if (s->meta.orphans == 0)
        return 0;
    uint8_t key[KEY_SIZE];
    MDB_val value;
    int rc = record_get(s, s->txn, DB_ORPHANS, orphan_key(key, ENDED, node), &value);
    if (rc && rc != -ENOENT)
        return rc;
    uint64_t numbers[] = {s->meta.applied, 0};
    return garbage_put(s, ENDED, node, numbers, 2, rc == -ENOENT);
}

static int reap_data(struct store *s, uint64_t number, MDB_val value)
{
    uint64_t blocks;
    int rc = garbage_decode(value, &blocks, 1);
    struct chunk_range all = {0, CHUNK_INDEX_MAX};
    if (rc == 0)
        rc = chunk_remove(s, number, &all, UINT64_MAX, &blocks);
    if (rc)
        return rc;
    return blocks ? garbage_put(s, GARBAGE, number, &blocks, 1, false)
                  : garbage_remove(s, GARBAGE, number);
}

static int reap_inode(struct store *s, uint64_t ino)
{
    struct inode inode;
    bool is_done = false;
    int rc = inode_get(s, ino, &inode);
    if (rc == 0)
        rc = free_some(s, &inode, &is_done);
    else if (rc == -ENOENT)
        rc = -EIO; /* the store contradicts itself */
    return rc || !is_done ? rc : garbage_remove(s, RELEASED, ino);
}

/* The next held orphan at or above *@ino: @node does not hold it if it was one before @slot. */
static int end_one(struct store *s, uint64_t node, uint64_t slot, uint64_t *ino)
{
    MDB_val value = {0};
    struct holders h;
    int rc = orphan_next(s, s->txn, HELD, ino, &value);
    if (rc == 0)
        rc = holders_decode(value, &h);
    if (rc)
        return rc;
    uint64_t found = *ino;
    *ino = found + 1;
    s->deletions_left--;
    return h.slot < slot ? forget_at(s, found, value, node) : 0;
}

static int reap_session(struct store *s, uint64_t node, MDB_val value)
{
    uint64_t numbers[2]; /* slot, ino */
    int rc = garbage_decode(value, numbers, 2);
    while (rc == 0 && s->deletions_left > 0)
        rc = end_one(s, node, numbers[0], &numbers[1]);
    if (rc == 0)
        return garbage_put(s, ENDED, node, numbers, 2, false);
    if (rc != -ENOENT)
        return rc;
    s->deletions_left--;
    return garbage_remove(s, ENDED, node);
}

/* -ENOENT: there is none. */
static int reap_one(struct store *s)
{
    uint64_t number = 0;
    MDB_val value = {0};
    int rc = orphan_next(s, s->txn, ENDED, &number, &value);
    if (rc == 0)
        return reap_session(s, number, value);
    number = 0;
    if (rc == -ENOENT)
        rc = orphan_next(s, s->txn, RELEASED, &number, &value);
    if (rc == 0)
        return reap_inode(s, number);
    number = 0;
    if (rc == -ENOENT)
        rc = orphan_next(s, s->txn, GARBAGE, &number, &value);
    if (rc == 0)
        return reap_data(s, number, value);
    return rc == -ENOENT ? stale_reap(s) : rc;
}

int orphan_reap(struct store *s)
{
    int rc = 0;
    while (rc == 0 && s->deletions_left > 0)
        rc = reap_one(s);
    return rc == -ENOENT ? 0 : rc;
}
