#include "fs/dirent.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "fs/space.h"
#include "fs/record.h"

enum {
    KEY_SIZE_MAX = 8 + FILE_NAME_MAX,
    ENTRY_SIZE = 8 + 1 + 8,                        /* ino, type, cookie */
    COOKIE_KEY_SIZE = 8 + 8,                       /* parent, cookie */
    COOKIE_VALUE_SIZE_MAX = 8 + 1 + FILE_NAME_MAX, /* ino, type, name */
};

/* Both records of an entry as bytes. */
struct encoded {
    uint8_t key[KEY_SIZE_MAX], value[ENTRY_SIZE];
    uint8_t cookie_key[COOKIE_KEY_SIZE], cookie_value[COOKIE_VALUE_SIZE_MAX];
    size_t key_size, cookie_value_size;
};

static size_t name_key(const struct dirent_name *n, uint8_t key[KEY_SIZE_MAX])
{
    ASSERT(n->size > 0 && n->size <= FILE_NAME_MAX);
    record_key_u64(key, n->parent);
    memcpy(key + 8, n->name, n->size);
    return 8 + n->size;
}

static uint8_t type_of(uint32_t mode)
{
    return (uint8_t)((mode & S_IFMT) >> 12);
}

static void encode(const struct dirent_name *n, const struct dirent *d, struct encoded *e)
{
    e->key_size = name_key(n, e->key);
    struct writer w = writer_of(e->value, sizeof e->value);
    write_u64(&w, d->ino);
    write_u8(&w, type_of(d->mode));
    write_u64(&w, d->cookie);
    ASSERT(!w.failed);

    record_key_u64(e->cookie_key, n->parent);
    record_key_u64(e->cookie_key + 8, d->cookie);
    w = writer_of(e->cookie_value, sizeof e->cookie_value);
    write_u64(&w, d->ino);
    write_u8(&w, type_of(d->mode));
    write_bytes(&w, n->name, n->size);
    ASSERT(!w.failed);
    e->cookie_value_size = w.size;
}

static MDB_val key_of(const struct encoded *e)
{
    return record_val(e->key, e->key_size);
}

static MDB_val value_of(const struct encoded *e)
{
    return record_val(e->value, sizeof e->value);
}

static MDB_val cookie_key_of(const struct encoded *e)
{
    return record_val(e->cookie_key, sizeof e->cookie_key);
}

static MDB_val cookie_value_of(const struct encoded *e)
{
    return record_val(e->cookie_value, e->cookie_value_size);
}

int dirent_get(const struct store *s, MDB_txn *txn, const struct dirent_name *n, struct dirent *d)
{
    uint8_t key[KEY_SIZE_MAX];
    size_t key_size = name_key(n, key);
    MDB_val value;
    int rc = record_get(s, txn, DB_DIRENTS, record_val(key, key_size), &value);
    if (rc)
        return rc;
    struct cursor c = cursor_of(value.mv_data, value.mv_size);
    d->ino = cursor_u64(&c);
    d->mode = (uint32_t)cursor_u8(&c) << 12;
    d->cookie = cursor_u64(&c);
    return cursor_done(&c) ? 0 : -EBADMSG;
}

static int walk_step(MDB_val key, MDB_val value, uint64_t parent,
                     int (*each)(void *context, const struct dirent *d, const char *name,
                                 size_t size),
                     void *context)
{
    const uint8_t *at = key.mv_data;
    if (key.mv_size != COOKIE_KEY_SIZE)
        return -EBADMSG;
    if (record_key_read_u64(at) != parent)
        return 1;
    struct cursor c = cursor_of(value.mv_data, value.mv_size);
    struct dirent d = {.cookie = record_key_read_u64(at + 8)};
    d.ino = cursor_u64(&c);
    d.mode = (uint32_t)cursor_u8(&c) << 12;
    if (c.failed || c.left == 0 || c.left > FILE_NAME_MAX)
        return -EBADMSG;
    return each(context, &d, (const char *)c.at, c.left) ? 1 : 0;
}

int dirent_walk(const struct store *s, MDB_txn *txn, uint64_t parent, uint64_t cookie,
                int (*each)(void *context, const struct dirent *d, const char *name, size_t size),
                void *context)
{
    if (cookie == UINT64_MAX)
        return 0;
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, s->dbis[DB_COOKIES], &cursor);
    if (rc)
        return store_errno(rc);
    uint8_t start[COOKIE_KEY_SIZE];
    record_key_u64(start, parent);
    record_key_u64(start + 8, cookie + 1);
    MDB_val key = record_val(start, sizeof start), value;
    rc = record_cursor_get(s, cursor, DB_COOKIES, &key, &value, MDB_SET_RANGE);
    int step = 0;
    while (rc == 0) {
        step = walk_step(key, value, parent, each, context);
        if (step)
            break;
        rc = record_cursor_get(s, cursor, DB_COOKIES, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (step < 0)
        return step;
    return rc == -ENOENT ? 0 : rc;
}

static int found_one(void *context, const struct dirent *d, const char *name, size_t size)
{
    (void)d, (void)name, (void)size;
    *(bool *)context = true;
    return 1;
}

int dirent_check_empty(const struct store *s, MDB_txn *txn, uint64_t parent)
{
    bool found = false;
    int rc = dirent_walk(s, txn, parent, 0, found_one, &found);
    return rc == 0 && found ? -ENOTEMPTY : rc;
}

int dirent_add(struct store *s, const struct dirent_name *n, uint64_t ino, uint32_t mode)
{
    struct dirent d = {.ino = ino, .cookie = s->meta.next_cookie++, .mode = mode & S_IFMT};
    struct encoded e;
    encode(n, &d, &e);
    space_add(&s->meta, space_of_name(n->size));
    int rc = record_insert(s, DB_DIRENTS, key_of(&e), value_of(&e));
    return rc ? rc : record_insert(s, DB_COOKIES, cookie_key_of(&e), cookie_value_of(&e));
}

int dirent_remove(struct store *s, const struct dirent_name *n, const struct dirent *d)
{
    struct encoded e;
    encode(n, d, &e);
    space_subtract(&s->meta, space_of_name(n->size));
    int rc = record_remove(s, DB_DIRENTS, key_of(&e), value_of(&e));
    return rc ? rc : record_remove(s, DB_COOKIES, cookie_key_of(&e), cookie_value_of(&e));
}

static int replace_cookie(struct store *s, const struct encoded *old, const struct encoded *new)
{
    struct term term = digest_term(DB_COOKIES, cookie_key_of(old), cookie_value_of(old));
    return record_replace(s, DB_COOKIES, cookie_key_of(new), cookie_value_of(new), false, &term,
                          true);
}

int dirent_rename(struct store *s, const struct dirent_name *n, const struct dirent *d,
                  const struct dirent_name *to)
{
    ASSERT(n->parent == to->parent);
    struct encoded old, new;
    encode(n, d, &old);
    encode(to, d, &new);
    space_add(&s->meta, space_of_name(to->size));
    space_subtract(&s->meta, space_of_name(n->size));
    int rc = record_remove(s, DB_DIRENTS, key_of(&old), value_of(&old));
    if (rc == 0)
        rc = record_insert(s, DB_DIRENTS, key_of(&new), value_of(&new));
    return rc ? rc : replace_cookie(s, &old, &new);
}

int dirent_replace(struct store *s, const struct dirent_name *n, const struct dirent *d,
                   uint64_t ino, uint32_t mode)
{
    struct encoded old, new;
    struct dirent replaced = {.ino = ino, .cookie = d->cookie, .mode = mode & S_IFMT};
    encode(n, d, &old);
    encode(n, &replaced, &new);
    struct term term = digest_term(DB_DIRENTS, key_of(&old), value_of(&old));
    int rc = record_replace(s, DB_DIRENTS, key_of(&new), value_of(&new), false, &term, true);
    return rc ? rc : replace_cookie(s, &old, &new);
}
