#include "fs/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#include "base/assert.h"

static int begin(struct store_reader *r)
{
    ASSERT(!r->is_open);
    pthread_rwlock_rdlock(&r->s->swap);
    int rc = store_errno(r->txn ? mdb_txn_renew(r->txn)
                                : mdb_txn_begin(r->s->env, NULL, MDB_RDONLY, &r->txn));
    r->is_open = rc == 0;
    if (rc)
        pthread_rwlock_unlock(&r->s->swap);
    return rc;
}

int store_reader_new(struct store *s, struct store_reader **out)
{
    struct store_reader *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->s = s;
    pthread_mutex_lock(&s->lock);
    DL_APPEND(s->readers, r);
    pthread_mutex_unlock(&s->lock);
    int rc = begin(r); /* is there room for one more? */
    if (rc) {
        store_reader_free(r);
        return rc;
    }
    store_read_end(r);
    *out = r;
    return 0;
}

void store_reader_free(struct store_reader *r)
{
    if (!r)
        return;
    ASSERT(!r->is_open);
    struct store *s = r->s;
    pthread_rwlock_rdlock(&s->swap);
    pthread_mutex_lock(&s->lock);
    DL_DELETE(s->readers, r);
    pthread_mutex_unlock(&s->lock);
    if (r->txn)
        mdb_txn_abort(r->txn);
    pthread_rwlock_unlock(&s->swap);
    free(r);
}

int store_read_begin(struct store_reader *r)
{
    return atomic_load(&r->s->is_refused) ? -EBADMSG : begin(r);
}

void store_read_end(struct store_reader *r)
{
    ASSERT(r->is_open);
    mdb_txn_reset(r->txn);
    r->is_open = false;
    pthread_rwlock_unlock(&r->s->swap);
}

void reader_detach_all(struct store *s)
{
    struct store_reader *r;
    DL_FOREACH(s->readers, r)
    {
        ASSERT(!r->is_open);
        if (r->txn)
            mdb_txn_abort(r->txn);
        r->txn = NULL;
    }
}
