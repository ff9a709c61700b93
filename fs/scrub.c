#include "fs/scrub.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "fs/chunk.h"
#include "fs/damage.h"
#include "fs/reader.h"
#include "fs/record.h"

enum { RECORD_COST = 64 }; /* of a small one, in bytes */

/* To go on after @key: it and a zero byte sort directly behind it. */
static void go_behind(struct scrub *s, MDB_val key)
{
    ASSERT(key.mv_size < sizeof s->key);
    memcpy(s->key, key.mv_data, key.mv_size);
    s->key[key.mv_size] = 0;
    s->key_size = (uint32_t)key.mv_size + 1;
}

/* The record that is next. 0, -ENOENT (none in this database), -EBADMSG (damaged), -errno. */
static int check_next(struct store_reader *r, MDB_cursor *cursor, struct scrub *s, uint64_t *cost)
{
    enum db db = (enum db)s->db;
    MDB_val start = record_val(s->key, s->key_size), key = start, value = {0};
    MDB_cursor_op op = s->key_size ? MDB_SET_RANGE : MDB_FIRST;
    int rc = record_cursor_get(r->s, cursor, db, &key, &value, op);
    bool has_moved = key.mv_data != start.mv_data && key.mv_size < sizeof s->key;
    if (rc == -ENOENT || !has_moved)
        return rc == 0 || rc == -EBADMSG ? -EIO : rc; /* what leads to the rest is damaged */
    if (rc == 0 && db == DB_CHUNKS && !chunk_is_sound(value))
        rc = damage_note(r->s, db, key);
    go_behind(s, key);
    *cost += RECORD_COST + key.mv_size + value.mv_size;
    return rc;
}

/* What is left of a database, at most @left bytes. True: that is all of it. */
static bool scrub_db(struct store_reader *r, struct scrub *s, uint64_t *left)
{
    MDB_cursor *cursor;
    if (mdb_cursor_open(r->txn, r->s->dbis[s->db], &cursor)) {
        s->errors++;
        return true;
    }
    int rc = 0;
    while (*left > 0 && (rc == 0 || rc == -EBADMSG)) {
        uint64_t cost = 0;
        rc = check_next(r, cursor, s, &cost);
        s->records += cost > 0;
        s->errors += rc != 0 && rc != -ENOENT;
        s->bytes += cost;
        *left -= cost < *left ? cost : *left;
    }
    mdb_cursor_close(cursor);
    return rc != 0 && rc != -EBADMSG;
}

bool store_scrub(struct store_reader *r, struct scrub *s, uint64_t bytes)
{
    ASSERT(r->is_open);
    if (s->db == DB_COUNT || s->db == 0)
        *s = (struct scrub){.db = DB_META + 1, .passes = s->passes}; /* that is in the last one */
    while (bytes > 0 && s->db < DB_COUNT) {
        if (!scrub_db(r, s, &bytes))
            continue;
        s->db++;
        s->key_size = 0;
    }
    if (s->db < DB_COUNT)
        return false;
    s->passes++;
    return true;
}
