#include "fs/digest.h"

#include <errno.h>
#include <string.h>
#define XXH_STATIC_LINKING_ONLY /* a hash state on the stack */
#include <xxhash.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "fs/chunk.h"
#include "fs/damage.h"
#include "fs/members.h"
#include "fs/record.h"
#include "fs/sessions.h"

enum { TERM_BUFFER_SIZE = 1024 };

static struct term term_of(XXH128_hash_t hash)
{
    return (struct term){{hash.low64, hash.high64}};
}

/* What was hashed in one piece and what in several gives the same term. */
static struct term term_in_pieces(const void *head, size_t head_size, MDB_val value)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, head, head_size);
    XXH3_128bits_update(&state, value.mv_data, value.mv_size);
    return term_of(XXH3_128bits_digest(&state));
}

struct term digest_term(enum db db, MDB_val key, MDB_val value)
{
    uint8_t bytes[TERM_BUFFER_SIZE];
    struct writer w = writer_of(bytes, sizeof bytes);
    write_u8(&w, (uint8_t)db);
    write_u16(&w, (uint16_t)key.mv_size);
    write_u32(&w, (uint32_t)value.mv_size);
    write_bytes(&w, key.mv_data, key.mv_size);
    ASSERT(!w.failed); /* LMDB's keys have at most 511 bytes */

    if (db == DB_CHUNKS)
        value.mv_size = CHUNK_HEAD_SIZE;
    if (value.mv_size > w.room - w.size)
        return term_in_pieces(bytes, w.size, value);
    write_bytes(&w, value.mv_data, value.mv_size);
    return term_of(XXH3_128bits(bytes, w.size));
}

void digest_fold(const struct meta *m, uint64_t digest[2])
{
    uint8_t bytes[META_SIZE];
    meta_encode(m, bytes);
    XXH128_hash_t numbers = XXH3_128bits(bytes, META_NUMBERS_SIZE);
    digest[0] = m->sum[0];
    digest[1] = m->sum[1];
    digest_add(digest, term_of(numbers));
}

static int sum_db(const struct store *s, MDB_txn *txn, enum db db, uint64_t sum[2])
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, s->dbis[db], &cursor);
    if (rc)
        return store_errno(rc);
    MDB_val key, value;
    while ((rc = record_cursor_get(s, cursor, db, &key, &value, MDB_NEXT)) == 0) {
        if (db == DB_CHUNKS && !chunk_is_sound(value)) {
            mdb_cursor_close(cursor);
            return damage_note(s, db, key);
        }
        if (db != DB_SESSIONS || key.mv_size == SESSION_KEY_SIZE)
            digest_add(sum, digest_term(db, key, value));
        else if (members_is_key(key)) /* beside it the meta record, which has no term */
            digest_add(sum, digest_term(DB_META, key, value));
    }
    mdb_cursor_close(cursor);
    return rc == -ENOENT ? 0 : rc;
}

int digest_sum(const struct store *s, MDB_txn *txn, uint64_t sum[2])
{
    sum[0] = sum[1] = 0;
    for (int db = DB_META + 1; db < DB_COUNT; db++) {
        int rc = sum_db(s, txn, (enum db)db, sum);
        if (rc)
            return rc;
    }
    return 0;
}
