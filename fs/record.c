#include "fs/record.h"

#include <errno.h>

#include "base/assert.h"

int record_get(const struct store *s, MDB_txn *txn, enum db db, MDB_val key, MDB_val *value)
{
    return store_errno(mdb_get(txn, s->dbis[db], &key, value));
}

int record_last_key(const struct store *s, enum db db, MDB_val *key)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(s->txn, s->dbis[db], &cursor);
    if (rc)
        return store_errno(rc);
    MDB_val value;
    rc = mdb_cursor_get(cursor, key, &value, MDB_LAST);
    mdb_cursor_close(cursor);
    return store_errno(rc);
}

int record_insert(struct store *s, enum db db, MDB_val key, MDB_val value)
{
    struct term term = digest_term(db, key, value);
    int rc = mdb_put(s->txn, s->dbis[db], &key, &value, MDB_NOOVERWRITE);
    if (rc)
        return rc == MDB_KEYEXIST ? -EIO : store_errno(rc);
    digest_add(s->meta.sum, term);
    return 0;
}

int record_put(struct store *s, enum db db, MDB_val key, MDB_val value)
{
    MDB_val old;
    int rc = record_get(s, s->txn, db, key, &old);
    if (rc && rc != -ENOENT)
        return rc;
    struct term stored;
    bool was_stored = rc == 0;
    if (was_stored)
        stored = digest_term(db, key, old);
    return record_replace(s, db, key, value, false, &stored, was_stored);
}

int record_replace(struct store *s, enum db db, MDB_val key, MDB_val value, bool is_last,
                   struct term *stored, bool was_stored)
{
    struct term term = digest_term(db, key, value);
    int rc = mdb_put(s->txn, s->dbis[db], &key, &value, is_last ? MDB_APPEND : 0);
    if (rc)
        return store_errno(rc);
    if (was_stored)
        digest_subtract(s->meta.sum, *stored);
    digest_add(s->meta.sum, term);
    *stored = term;
    return 0;
}

int record_remove(struct store *s, enum db db, MDB_val key, MDB_val value)
{
    struct term term = digest_term(db, key, value); /* before @value may go with its page */
    int rc = mdb_del(s->txn, s->dbis[db], &key, NULL);
    if (rc)
        return rc == MDB_NOTFOUND ? -EIO : store_errno(rc);
    digest_subtract(s->meta.sum, term);
    return 0;
}

int record_remove_at(struct store *s, enum db db, MDB_cursor *cursor, MDB_val key, MDB_val value)
{
    struct term term = digest_term(db, key, value);
    int rc = mdb_cursor_del(cursor, 0);
    if (rc)
        return store_errno(rc);
    digest_subtract(s->meta.sum, term);
    return 0;
}

int record_reserve(struct store *s, enum db db, MDB_val key, size_t size, bool is_last,
                   const struct term *old, void **room)
{
    MDB_val value = {.mv_size = size};
    unsigned flags = MDB_RESERVE | (is_last ? MDB_APPEND : 0);
    int rc = mdb_put(s->txn, s->dbis[db], &key, &value, flags);
    if (rc)
        return store_errno(rc);
    if (old)
        digest_subtract(s->meta.sum, *old);
    *room = value.mv_data;
    return 0;
}

void record_reserved(struct store *s, enum db db, MDB_val key, MDB_val value)
{
    digest_add(s->meta.sum, digest_term(db, key, value));
}
