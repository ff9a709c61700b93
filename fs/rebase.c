#include "fs/rebase.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "fs/members.h"
#include "fs/orphan.h"
#include "fs/record.h"
#include "fs/sessions.h"

/* Its orphans are found by FS_REAP, of the new cluster. */
static int forget_session(struct store *s, struct session *session)
{
    uint8_t bytes[SESSION_KEY_SIZE];
    record_key_u64(bytes, session->node);
    MDB_val key = record_val(bytes, sizeof bytes), value;
    int rc = session->is_expired ? 0 : orphan_forget_all(s, session->node);
    if (rc == 0)
        rc = record_get(s, s->txn, DB_SESSIONS, key, &value);
    if (rc == 0)
        rc = record_remove(s, DB_SESSIONS, key, value);
    if (rc == 0)
        memset(session, 0, sizeof *session);
    return rc;
}

/* The slot and its time count: what was an orphan before it is told from what becomes one later. */
static int rebase(struct store *s, const struct member *alone)
{
    uint64_t version = s->membership.version;
    int rc = sessions_flush(s);
    s->meta.applied++;
    s->meta.time_ns++;
    for (size_t i = 0; rc == 0 && i < SESSIONS_MAX; i++)
        if (s->sessions->sessions[i].node)
            rc = forget_session(s, &s->sessions->sessions[i]);
    if (rc)
        return rc;
    membership_begin(&s->membership, alone, 1);
    s->membership.version = version + 1;
    return members_put(s);
}

int store_rebase(struct store *s, const struct member *alone)
{
    ASSERT(s->txn == NULL);
    if (membership_is_empty(&s->membership))
        return -EBADMSG;
    struct store_checkpoint *checkpoint;
    int rc = store_begin(s);
    if (rc)
        return rc;
    rc = rebase(s, alone);
    if (rc) {
        store_abort(s);
        return rc;
    }
    rc = store_commit(s);
    if (rc == 0)
        rc = store_checkpoint_begin(s, &checkpoint);
    return rc ? rc : store_checkpoint_finish(s, checkpoint);
}
