#include "fs/environment.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "fs/checkpoint.h"
#include "fs/chunk.h"
#include "fs/disk.h"
#include "fs/inode.h"
#include "fs/members.h"
#include "fs/sessions.h"
#include "fs/store.h"

/* Addresses, not memory or disk: the map cannot grow while a checkpoint is pinned, and one always
 * is. As many as there are: some machines, and the thread sanitizer, have room for fewer. */
#ifdef __SANITIZE_THREAD__
#define MAP_SIZE_MAX (64 * GIB)
#else
#define MAP_SIZE_MAX (16 * 1024 * GIB)
#endif
#define MAP_SIZE_MIN (16 * GIB)

enum { READERS_MAX = 126 };

static const char *const db_names[DB_COUNT] = {
    [DB_META] = "sessions",   [DB_INODES] = "inodes",     [DB_DIRENTS] = "dirents",
    [DB_COOKIES] = "cookies", [DB_CHUNKS] = "chunks",     [DB_XATTRS] = "xattrs",
    [DB_ORPHANS] = "orphans", [DB_SESSIONS] = "sessions", [DB_STALE] = "stale",
};

/* ---- directories ---- */

int environment_path(char path[PATH_MAX], const struct store *s, const char *name, const char *file)
{
    int size = snprintf(path, PATH_MAX, "%s/%s%s%s", s->state_dir, name, file ? "/" : "",
                        file ? file : "");
    return size > 0 && size < PATH_MAX ? 0 : -ENAMETOOLONG;
}

uint64_t environment_number(const char *name)
{
    static const char prefix[] = "store.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return 0;
    const char *digits = name + sizeof prefix - 1;
    char *end;
    errno = 0;
    uint64_t number = strtoull(digits, &end, 10);
    bool is_plain = digits[0] >= '1' && digits[0] <= '9' && *end == '\0' && errno == 0;
    return is_plain ? number : 0;
}

int environment_exists(const struct store *s, const char *name)
{
    char path[PATH_MAX];
    int rc = environment_path(path, s, name, NULL);
    if (rc)
        return rc;
    if (access(path, F_OK) == 0)
        return 1;
    return errno == ENOENT ? 0 : -errno;
}

int environment_last(const struct store *s, uint64_t *number)
{
    *number = 0;
    DIR *dir = opendir(s->state_dir);
    if (!dir)
        return -errno;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        uint64_t n = environment_number(entry->d_name);
        *number = n > *number ? n : *number;
    }
    closedir(dir);
    return 0;
}

int environment_remove(const struct store *s, const char *name)
{
    char path[PATH_MAX];
    int rc = environment_path(path, s, name, NULL);
    return rc ? rc : disk_remove_env(path);
}

int environment_remove_others(const struct store *s)
{
    DIR *dir = opendir(s->state_dir);
    if (!dir)
        return -errno;
    int rc = 0;
    struct dirent *entry;
    while (rc == 0 && (entry = readdir(dir))) {
        const char *name = entry->d_name;
        bool is_one = environment_number(name) || strcmp(name, ENVIRONMENT_UNBORN) == 0;
        if (is_one && strcmp(name, s->name) != 0)
            rc = environment_remove(s, name);
    }
    closedir(dir);
    return rc;
}

/* ---- open and close ---- */

/* 0, or an LMDB code with no environment left. */
static int env_try(struct store *s, const char *path, uint64_t map_size)
{
    int rc = mdb_env_create(&s->env);
    if (rc)
        return rc;
    rc = mdb_env_set_mapsize(s->env, map_size);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(s->env, DB_COUNT);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(s->env, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_open(s->env, path, MDB_NOSYNC | MDB_NOTLS, 0600);
    MDB_stat stat;
    if (rc == 0)
        rc = mdb_env_stat(s->env, &stat);
    if (rc == 0) {
        s->page_size = stat.ms_psize;
        return 0;
    }
    mdb_env_close(s->env);
    s->env = NULL;
    return rc;
}

int environment_open(struct store *s, const char *name)
{
    char path[PATH_MAX];
    int rc = environment_path(path, s, name, NULL);
    if (rc)
        return rc;
    rc = ENOMEM;
    for (uint64_t size = MAP_SIZE_MAX; rc == ENOMEM && size >= MAP_SIZE_MIN; size /= 4)
        rc = env_try(s, path, size);
    return store_errno(rc);
}

void environment_close(struct store *s)
{
    if (s->pinned)
        mdb_txn_abort(s->pinned);
    if (s->pinned_in_doubt)
        mdb_txn_abort(s->pinned_in_doubt);
    s->pinned = s->pinned_in_doubt = NULL;
    if (s->env)
        mdb_env_close(s->env);
    s->env = NULL;
}

int environment_open_dbs(struct store *s, unsigned flags)
{
    for (int db = 0; db < DB_COUNT; db++) {
        int rc = mdb_dbi_open(s->txn, db_names[db], flags, &s->dbis[db]);
        if (rc)
            return rc == MDB_NOTFOUND ? -EBADMSG : store_errno(rc);
    }
    return 0;
}

/* What is in memory from the batch just opened. */
static int load(struct store *s)
{
    int rc = environment_open_dbs(s, 0);
    if (rc == 0)
        rc = store_meta_read(s, s->txn, &s->meta);
    if (rc == 0)
        rc = sessions_load(s);
    if (rc == 0)
        rc = members_load(s);
    if (rc == 0)
        rc = inode_cache_load(s);
    if (rc == 0)
        rc = chunk_scratch_load(s);
    return rc;
}

int environment_load(struct store *s)
{
    int rc = store_begin(s);
    if (rc)
        return rc;
    rc = load(s);
    if (rc == 0)
        rc = store_errno(mdb_txn_commit(s->txn)); /* changes nothing; keeps the dbis */
    else
        mdb_txn_abort(s->txn);
    s->txn = NULL;
    s->committed = s->meta;
    atomic_store(&s->applied, s->meta.applied);
    atomic_store(&s->time_ns, s->meta.time_ns);
    atomic_store(&s->checkpointed, s->meta.applied);
    store_count_pages(s);
    atomic_store(&s->pages_at_checkpoint, atomic_load(&s->pages));
    return rc;
}
