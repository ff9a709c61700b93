#include "fs/inode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "fs/record.h"
#include "fs/space.h"

enum {
    INODE_VERSION = 1,
    INODE_SIZE = 1 + 7 * 4 + 11 * 8,
    CACHE_SIZE = 1024, /* a power of two */
};

struct cached {
    struct inode inode; /* ino 0: free */
    struct term stored;
    bool is_stored, dirty;
};

struct inode_cache {
    struct cached cached[CACHE_SIZE]; /* at ino % CACHE_SIZE */
    uint32_t dirty_count;
    uint16_t dirty[CACHE_SIZE]; /* their places */
    uint64_t ino_max;           /* no stored inode has a larger number */
};

struct inode_cache *inode_cache_new(void)
{
    return calloc(1, sizeof(struct inode_cache));
}

void inode_cache_free(struct inode_cache *cache)
{
    free(cache);
}

void inode_cache_clear(struct inode_cache *cache)
{
    uint64_t ino_max = cache->ino_max; /* stays a bound */
    memset(cache, 0, sizeof *cache);
    cache->ino_max = ino_max;
}

int inode_cache_load(struct store *s)
{
    MDB_val key;
    int rc = record_last_key(s, DB_INODES, &key);
    if (rc == 0)
        s->inodes->ino_max = record_key_read_u64(key.mv_data);
    return rc == -ENOENT ? 0 : rc;
}

static void inode_encode(const struct inode *i, uint8_t bytes[INODE_SIZE])
{
    struct writer w = writer_of(bytes, INODE_SIZE);
    write_u8(&w, INODE_VERSION);
    write_u32(&w, i->attr.mode);
    write_u32(&w, i->attr.nlink);
    write_u32(&w, i->attr.uid);
    write_u32(&w, i->attr.gid);
    write_u32(&w, i->attr.rdev);
    write_u32(&w, i->xattr_count);
    write_u32(&w, i->xattr_bytes);
    write_u64(&w, i->attr.size);
    write_u64(&w, i->attr.blocks);
    write_u64(&w, i->attr.atime_ns);
    write_u64(&w, i->attr.mtime_ns);
    write_u64(&w, i->attr.ctime_ns);
    write_u64(&w, i->attr.btime_ns);
    write_u64(&w, i->parent);
    write_u64(&w, i->data);
    write_u64(&w, i->slot);
    write_u64(&w, i->author);
    write_u64(&w, i->attr.ino);
    ASSERT(!w.failed && w.size == INODE_SIZE);
}

static int inode_decode(MDB_val value, uint64_t ino, struct inode *i)
{
    struct cursor c = cursor_of(value.mv_data, value.mv_size);
    if (cursor_u8(&c) != INODE_VERSION)
        return -EBADMSG;
    i->attr.mode = cursor_u32(&c);
    i->attr.nlink = cursor_u32(&c);
    i->attr.uid = cursor_u32(&c);
    i->attr.gid = cursor_u32(&c);
    i->attr.rdev = cursor_u32(&c);
    i->xattr_count = cursor_u32(&c);
    i->xattr_bytes = cursor_u32(&c);
    i->attr.size = cursor_u64(&c);
    i->attr.blocks = cursor_u64(&c);
    i->attr.atime_ns = cursor_u64(&c);
    i->attr.mtime_ns = cursor_u64(&c);
    i->attr.ctime_ns = cursor_u64(&c);
    i->attr.btime_ns = cursor_u64(&c);
    i->parent = cursor_u64(&c);
    i->data = cursor_u64(&c);
    i->slot = cursor_u64(&c);
    i->author = cursor_u64(&c);
    i->attr.ino = cursor_u64(&c);
    return cursor_done(&c) && i->attr.ino == ino ? 0 : -EBADMSG;
}

int inode_read(const struct store *s, MDB_txn *txn, uint64_t ino, struct inode *inode)
{
    uint8_t key[8];
    record_key_u64(key, ino);
    MDB_val value;
    int rc = record_get(s, txn, DB_INODES, record_val(key, sizeof key), &value);
    return rc ? rc : inode_decode(value, ino, inode);
}

static int cached_write(struct store *s, struct cached *c)
{
    uint8_t key[8], value[INODE_SIZE];
    record_key_u64(key, c->inode.attr.ino);
    inode_encode(&c->inode, value);
    bool is_last = c->inode.attr.ino > s->inodes->ino_max;
    int rc = record_replace(s, DB_INODES, record_val(key, sizeof key),
                            record_val(value, sizeof value), is_last, &c->stored, c->is_stored);
    if (rc)
        return rc;
    if (is_last)
        s->inodes->ino_max = c->inode.attr.ino;
    c->is_stored = true;
    c->dirty = false;
    return 0;
}

/* The place for @ino, with whatever other inode was there written and gone. */
static int cache_place(struct store *s, uint64_t ino, struct cached **place)
{
    struct cached *c = &s->inodes->cached[ino % CACHE_SIZE];
    *place = c;
    if (c->inode.attr.ino == ino)
        return 0;
    if (c->dirty) {
        int rc = cached_write(s, c);
        if (rc)
            return rc;
    }
    memset(c, 0, sizeof *c);
    return 0;
}

static int cache_load(struct store *s, uint64_t ino, struct cached **place)
{
    int rc = cache_place(s, ino, place);
    struct cached *c = *place;
    if (rc || c->inode.attr.ino == ino)
        return rc;

    uint8_t key[8];
    record_key_u64(key, ino);
    MDB_val value;
    rc = record_get(s, s->txn, DB_INODES, record_val(key, sizeof key), &value);
    if (rc)
        return rc;
    rc = inode_decode(value, ino, &c->inode);
    if (rc) {
        memset(c, 0, sizeof *c);
        return rc;
    }
    c->stored = digest_term(DB_INODES, record_val(key, sizeof key), value);
    c->is_stored = true;
    return 0;
}

int inode_get(struct store *s, uint64_t ino, struct inode *inode)
{
    if (ino == 0)
        return -ENOENT;
    struct cached *c;
    int rc = cache_load(s, ino, &c);
    if (rc == 0)
        *inode = c->inode;
    return rc;
}

static void cache_mark_dirty(struct inode_cache *cache, struct cached *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    /* A place pushed out and dirty again is listed twice at most by chance: a full list means that
     * everything is looked through. */
    if (cache->dirty_count < CACHE_SIZE)
        cache->dirty[cache->dirty_count++] = (uint16_t)(c - cache->cached);
}

int inode_put(struct store *s, const struct inode *inode)
{
    ASSERT(inode->attr.ino != 0);
    struct cached *c;
    int rc = cache_load(s, inode->attr.ino, &c);
    if (rc && rc != -ENOENT)
        return rc;
    c->inode = *inode;
    cache_mark_dirty(s->inodes, c);
    return 0;
}

int inode_add(struct store *s, struct inode *inode)
{
    inode->attr.ino = s->meta.next_ino++;
    s->meta.inodes++;
    space_add(&s->meta, SPACE_INODE);
    struct cached *c;
    int rc = cache_place(s, inode->attr.ino, &c);
    if (rc)
        return rc;
    c->inode = *inode;
    cache_mark_dirty(s->inodes, c);
    return 0;
}

int inode_remove(struct store *s, uint64_t ino)
{
    struct cached *c;
    int rc = cache_load(s, ino, &c);
    if (rc)
        return rc;
    ASSERT(s->meta.inodes > 0);
    s->meta.inodes--;
    space_subtract(&s->meta, SPACE_INODE);

    bool is_stored = c->is_stored;
    memset(c, 0, sizeof *c); /* its place may stay listed as dirty: harmless */
    if (!is_stored)
        return 0;
    uint8_t key[8];
    record_key_u64(key, ino);
    MDB_val value;
    rc = record_get(s, s->txn, DB_INODES, record_val(key, sizeof key), &value);
    if (rc)
        return rc;
    return record_remove(s, DB_INODES, record_val(key, sizeof key), value);
}

static int flush_place(struct store *s, uint32_t place)
{
    struct cached *c = &s->inodes->cached[place];
    return c->dirty ? cached_write(s, c) : 0;
}

int inode_flush(struct store *s)
{
    struct inode_cache *cache = s->inodes;
    bool all = cache->dirty_count == CACHE_SIZE;
    uint32_t count = cache->dirty_count;
    cache->dirty_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        int rc = flush_place(s, all ? i : cache->dirty[i]);
        if (rc)
            return rc;
    }
    return 0;
}
