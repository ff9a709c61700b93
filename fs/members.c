#include "fs/members.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "fs/store.h"

static const char record_key[] = "members";

static MDB_val members_key(void)
{
    return record_val(record_key, sizeof record_key - 1);
}

bool members_is_key(MDB_val key)
{
    return key.mv_size == sizeof record_key - 1 &&
           memcmp(key.mv_data, record_key, sizeof record_key - 1) == 0;
}

int members_load(struct store *s)
{
    memset(&s->membership, 0, sizeof s->membership);
    MDB_val value;
    int rc = record_get(s, s->txn, DB_META, members_key(), &value);
    if (rc == 0)
        rc = membership_decode(value.mv_data, value.mv_size, &s->membership);
    if (rc && rc != -ENOENT)
        return rc;
    s->membership_changed = true;
    members_publish(s);
    return 0;
}

int members_put(struct store *s)
{
    uint8_t bytes[MEMBERSHIP_ENCODED_MAX];
    size_t size = membership_encode(&s->membership, bytes);
    ASSERT(size > 0 && size <= sizeof bytes);
    s->membership_changed = true;
    return record_put(s, DB_META, members_key(), record_val(bytes, size));
}

int members_advance(struct store *s, uint64_t slot)
{
    if (membership_is_empty(&s->membership) || !membership_advance(&s->membership, slot))
        return 0;
    return members_put(s);
}

void members_publish(struct store *s)
{
    if (!s->membership_changed)
        return;
    s->membership_changed = false;
    pthread_mutex_lock(&s->lock);
    s->published = s->membership;
    pthread_mutex_unlock(&s->lock);
    atomic_store(&s->membership_version, s->membership.version);
}

void members_restore(struct store *s)
{
    s->membership = s->published; /* which this thread alone changes */
    s->membership_changed = false;
}

void store_membership(struct store *s, struct membership *m)
{
    pthread_mutex_lock(&s->lock);
    *m = s->published;
    pthread_mutex_unlock(&s->lock);
}

uint64_t store_membership_version(const struct store *s)
{
    return atomic_load(&s->membership_version);
}

int store_begin_membership(struct store *s, const struct membership *m)
{
    ASSERT(s->meta.applied == 0);
    ASSERT(membership_is_empty(&s->membership));
    ASSERT(!membership_is_empty(m));
    int rc = store_begin(s);
    if (rc)
        return rc;
    s->membership = *m;
    rc = members_put(s);
    if (rc) {
        store_abort(s);
        return rc;
    }
    return store_commit(s);
}
