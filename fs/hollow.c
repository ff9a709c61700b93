#include "fs/hollow.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "fs/checkpoint.h"
#include "fs/disk.h"
#include "fs/environment.h"
#include "fs/members.h"

static const char aside_suffix[] = ".bad";

static int newest_name(const char *state_dir, char *name, size_t room)
{
    struct store *s = store_new(state_dir);
    if (!s)
        return -ENOMEM;
    uint64_t number;
    int rc = environment_last(s, &number);
    if (rc == 0 && number > 0)
        snprintf(name, room, "store.%" PRIu64, number);
    store_close(s);
    return rc;
}

int store_environment_name(const char *state_dir, char *name, size_t room)
{
    struct checkpoint c;
    name[0] = '\0';
    int rc = checkpoint_load(state_dir, &c);
    if (rc == -EBADMSG || rc == -ENOENT)
        return newest_name(state_dir, name, room);
    if (rc)
        return rc;
    snprintf(name, room, "%s", c.name);
    checkpoint_free(&c);
    return 0;
}

uint64_t store_checkpoint_slot(const char *state_dir)
{
    struct checkpoint c;
    if (checkpoint_load(state_dir, &c))
        return 0;
    uint64_t slot = c.applied;
    checkpoint_free(&c);
    return slot;
}

void store_refuse(struct store *s)
{
    atomic_store(&s->is_refused, true);
}

/* ---- setting aside ---- */

static int remove_aside(const struct store *s)
{
    DIR *dir = opendir(s->state_dir);
    if (!dir)
        return -errno;
    int rc = 0;
    struct dirent *entry;
    while (rc == 0 && (entry = readdir(dir))) {
        size_t size = strlen(entry->d_name), suffix = sizeof aside_suffix - 1;
        bool is_one = strncmp(entry->d_name, "store.", 6) == 0 && size > suffix &&
                      strcmp(entry->d_name + size - suffix, aside_suffix) == 0;
        if (is_one)
            rc = environment_remove(s, entry->d_name);
    }
    closedir(dir);
    return rc;
}

static int set_aside(const struct store *s, const char *bad)
{
    int rc = bad[0] ? environment_exists(s, bad) : 0;
    if (rc <= 0)
        return rc;
    char from[PATH_MAX], to[PATH_MAX], name[64];
    snprintf(name, sizeof name, "%.32s%s", bad, aside_suffix);
    rc = environment_path(from, s, bad, NULL);
    if (rc == 0)
        rc = environment_path(to, s, name, NULL);
    if (rc == 0)
        rc = remove_aside(s);
    if (rc)
        return rc;
    if (rename(from, to))
        return -errno;
    return disk_sync_dir(s->state_dir);
}

/* ---- a hollow one ---- */

static int fill(struct store *s, uint64_t slot, const struct membership *m)
{
    int rc = store_begin(s);
    if (rc)
        return rc;
    rc = environment_open_dbs(s, MDB_CREATE);
    s->meta = (struct meta){.applied = slot};
    s->membership = *m;
    if (rc == 0 && !membership_is_empty(m))
        rc = members_put(s);
    if (rc) {
        mdb_txn_abort(s->txn);
        s->txn = NULL;
        return rc;
    }
    return store_commit(s);
}

static int make(struct store *s, uint64_t slot, const struct membership *m)
{
    char path[PATH_MAX];
    uint64_t last;
    int rc = environment_last(s, &last);
    snprintf(s->name, sizeof s->name, "store.%" PRIu64, last + 1);
    if (rc == 0)
        rc = environment_path(path, s, s->name, NULL);
    if (rc == 0)
        rc = disk_make_dir(path);
    if (rc == 0)
        rc = environment_open(s, s->name);
    if (rc == 0)
        rc = fill(s, slot, m);
    if (rc == 0)
        rc = store_errno(mdb_env_sync(s->env, 1));
    if (rc == 0)
        rc = disk_sync_dir(path);
    return rc ? rc : disk_sync_dir(s->state_dir);
}

/* Only what is opened thus again needs it: the checkpoint of a store that holds something. */
static int name_it(struct store *s)
{
    struct checkpoint c = {.metas = NULL};
    int rc = checkpoint_take(s, &c);
    if (rc == 0)
        rc = checkpoint_save(s->state_dir, &c);
    checkpoint_free(&c);
    return rc;
}

int store_open_hollow(const char *state_dir, const char *bad, uint64_t slot,
                      const struct membership *m, struct store **out)
{
    struct store *s = store_new(state_dir);
    if (!s)
        return -ENOMEM;
    int rc = set_aside(s, bad);
    if (rc == 0)
        rc = make(s, slot, m);
    if (rc == 0)
        rc = name_it(s);
    if (rc == 0)
        rc = environment_remove_others(s);
    if (rc == 0)
        rc = checkpoint_pin(s, &s->pinned);
    if (rc == 0)
        rc = environment_load(s);
    if (rc) {
        store_close(s);
        return rc;
    }
    s->is_hollow = true;
    store_refuse(s);
    *out = s;
    return 0;
}
