#include "node/rebirth.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "fs/rebase.h"
#include "node/wal.h"

static struct member alone_in(const struct config *c)
{
    ASSERT(c->member_count == 1);
    struct member alone = {.node = c->node_id};
    memcpy(alone.name, c->name, sizeof alone.name);
    memcpy(alone.address, c->listen, sizeof alone.address);
    return alone;
}

int rebirth_found(struct store *s, const struct config *c)
{
    struct member alone = alone_in(c);
    struct membership m;
    membership_begin(&m, &alone, 1);
    return store_begin_membership(s, &m);
}

int rebirth_store(struct store *s, const struct config *c, char *error, size_t error_size)
{
    struct member alone = alone_in(c);
    int rc = store_rebase(s, &alone);
    if (rc < 0)
        snprintf(error, error_size, "the members could not be replaced: %s", strerror(-rc));
    return rc;
}

int rebirth_log(const char *state_dir, uint64_t slot, char *error, size_t error_size)
{
    char dir[PATH_MAX];
    struct wal *wal;
    struct wal_recovered recovered;
    int size = snprintf(dir, sizeof dir, "%s/wal", state_dir);
    ASSERT(size > 0 && size < (int)sizeof dir);
    int rc = wal_open(dir, &wal, &recovered, error, error_size);
    if (rc < 0)
        return rc;
    rc = wal_collect(wal, slot);
    if (rc == 0)
        rc = wal_sync(wal);
    wal_close(wal);
    if (rc < 0)
        snprintf(error, error_size, "a new log could not be written: %s", strerror(-rc));
    return rc;
}
