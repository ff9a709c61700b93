#include "fs/record.h"

#include <errno.h>

#include <string.h>

#include "base/assert.h"
#include "fs/chunk.h"
#include "fs/damage.h"
#include "fs/members.h"
#include "fs/sessions.h"

enum {
    CHECK_SIZE = 8,
    KEY_SIZE_MAX = 511, /* LMDB's */
    VALUE_SIZE_MAX = 1 << 20,
};

/* ---- checks ---- */

static uint64_t check_of(struct term term)
{
    return term.half[0];
}

/* The meta record, the members and the sessions are in one tree. */
static enum db db_of(enum db db, MDB_val key)
{
    if (db != DB_SESSIONS && db != DB_META)
        return db;
    return key.mv_size == SESSION_KEY_SIZE ? DB_SESSIONS : DB_META;
}

/* What LMDB found: its value without the check, if that holds. */
static int check(const struct store *s, enum db db, MDB_val key, MDB_val *value)
{
    size_t least = CHECK_SIZE + (db == DB_CHUNKS ? CHUNK_HEAD_SIZE : 0);
    if (key.mv_size > KEY_SIZE_MAX || value->mv_size < least || value->mv_size > VALUE_SIZE_MAX)
        return damage_note(s, db, key);
    value->mv_size -= CHECK_SIZE;
    uint64_t stored = record_key_read_u64((const uint8_t *)value->mv_data + value->mv_size);
    bool is_whole = stored == check_of(digest_term(db, key, *value));
    return is_whole ? 0 : damage_note(s, db, key);
}

/* @value and its check; @term is its own. */
static int put(struct store *s, enum db db, MDB_val key, MDB_val value, struct term term,
               unsigned flags)
{
    MDB_val room = {.mv_size = value.mv_size + CHECK_SIZE};
    int rc = mdb_put(s->txn, s->dbis[db], &key, &room, flags | MDB_RESERVE);
    if (rc)
        return rc;
    memcpy(room.mv_data, value.mv_data, value.mv_size);
    record_key_u64((uint8_t *)room.mv_data + value.mv_size, check_of(term));
    return 0;
}

/* ---- records ---- */

int record_get(const struct store *s, MDB_txn *txn, enum db db, MDB_val key, MDB_val *value)
{
    int rc = store_errno(mdb_get(txn, s->dbis[db], &key, value));
    if (rc)
        return rc == -EBADMSG ? damage_note(s, db, key) : rc;
    return check(s, db, key, value);
}

int record_cursor_get(const struct store *s, MDB_cursor *cursor, enum db db, MDB_val *key,
                      MDB_val *value, MDB_cursor_op op)
{
    int rc = store_errno(mdb_cursor_get(cursor, key, value, op));
    if (rc)
        return rc == -EBADMSG ? damage_note(s, db, (MDB_val){0}) : rc;
    return check(s, db_of(db, *key), *key, value);
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
    int rc = put(s, db, key, value, term, MDB_NOOVERWRITE);
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
    int rc = put(s, db, key, value, term, is_last ? MDB_APPEND : 0);
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
    MDB_val value = {.mv_size = size + CHECK_SIZE};
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
    struct term term = digest_term(db, key, value);
    record_key_u64((uint8_t *)value.mv_data + value.mv_size, check_of(term));
    digest_add(s->meta.sum, term);
}

int record_put_unsummed(struct store *s, enum db db, MDB_val key, MDB_val value)
{
    return store_errno(put(s, db, key, value, digest_term(db, key, value), 0));
}
