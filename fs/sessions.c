#include "fs/sessions.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "fs/record.h"

int sessions_read(const struct store *s, MDB_txn *txn, struct session_table *table)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, s->dbis[DB_SESSIONS], &cursor);
    if (rc)
        return store_errno(rc);
    MDB_val key, value;
    while ((rc = record_cursor_get(s, cursor, DB_SESSIONS, &key, &value, MDB_NEXT)) == 0) {
        if (key.mv_size != SESSION_KEY_SIZE)
            continue;
        rc = session_decode(table, value.mv_data, value.mv_size);
        if (rc)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == -ENOENT ? 0 : rc;
}

int sessions_read_one(const struct store *s, MDB_txn *txn, uint64_t node,
                      struct session_table *table)
{
    uint8_t key[SESSION_KEY_SIZE];
    record_key_u64(key, node);
    MDB_val value;
    int rc = record_get(s, txn, DB_SESSIONS, record_val(key, sizeof key), &value);
    if (rc == 0)
        return session_decode(table, value.mv_data, value.mv_size);
    return rc == -ENOENT ? 0 : rc;
}

int sessions_load(struct store *s)
{
    memset(s->sessions, 0, sizeof *s->sessions);
    int rc = sessions_read(s, s->txn, s->sessions);
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        s->sessions->sessions[i].dirty = false;
    return rc;
}

static int session_write(struct store *s, struct session *session)
{
    ASSERT(session->node != 0);
    uint8_t key[SESSION_KEY_SIZE], value[SESSION_ENCODED_MAX];
    record_key_u64(key, session->node);
    size_t size = session_encode(session, value);
    ASSERT(size <= sizeof value);
    int rc = record_put(s, DB_SESSIONS, record_val(key, sizeof key), record_val(value, size));
    if (rc == 0)
        session->dirty = false;
    return rc;
}

int sessions_flush(struct store *s)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &s->sessions->sessions[i];
        int rc = session->dirty ? session_write(s, session) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

/* The one with the lowest node id: the table's order is not the same on every replica. */
static struct session *find_left(struct store *s)
{
    struct session *found = NULL;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &s->sessions->sessions[i];
        if (session->node == 0)
            return NULL; /* there is room */
        if (session->is_expired && membership_seat(&s->membership, session->node) == MEMBERS_MAX &&
            (!found || session->node < found->node))
            found = session;
    }
    return found;
}

int sessions_make_room(struct store *s)
{
    struct session *session = find_left(s);
    if (!session)
        return 0;
    uint8_t bytes[SESSION_KEY_SIZE];
    record_key_u64(bytes, session->node);
    MDB_val key = record_val(bytes, sizeof bytes), value;
    int rc = record_get(s, s->txn, DB_SESSIONS, key, &value);
    if (rc == 0)
        rc = record_remove(s, DB_SESSIONS, key, value);
    if (rc && rc != -ENOENT) /* in memory alone, since this batch */
        return rc;
    memset(session, 0, sizeof *session);
    return 0;
}
