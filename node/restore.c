#include "node/restore.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "fs/backup.h"
#include "fs/disk.h"
#include "fs/store.h"
#include "node/rebirth.h"

static const char marker[] = "restoring";

struct restore {
    int fd;
    const char *state_dir;
    struct restored *out;
    char *error;
    size_t error_size;
};

static int fail(const struct restore *r, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(const struct restore *r, int rc, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->error, r->error_size, format, arguments);
    va_end(arguments);
    return rc;
}

static int path_in(const struct restore *r, const char *name, char path[PATH_MAX])
{
    int size = snprintf(path, PATH_MAX, "%s/%s", r->state_dir, name);
    return size > 0 && size < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* ---- the directory ---- */

static bool is_one_of(const char *name, const char *const *names)
{
    while (*names && strcmp(name, *names) != 0)
        names++;
    return *names != NULL;
}

/* What a restore makes before it is a state directory. */
static bool is_leftover(const char *name)
{
    static const char *const names[] = {"checkpoint",  "checkpoint.new", "members",
                                        "members.new", "config.new",     NULL};
    return is_one_of(name, names) || strcmp(name, "wal") == 0 || strncmp(name, "store.", 6) == 0;
}

/* What there may be though it counts as empty. */
static bool is_harmless(const char *name)
{
    static const char *const names[] = {".", "..", "lock", "restoring", "restoring.new", NULL};
    return is_one_of(name, names);
}

static int remove_files(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return -errno;
    int rc = 0;
    struct dirent *entry;
    while (rc == 0 && (entry = readdir(d))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dirfd(d), entry->d_name, 0) < 0)
            rc = -errno;
    }
    closedir(d);
    return rc;
}

static int remove_leftover(const char *path)
{
    struct stat s;
    if (lstat(path, &s) < 0)
        return -errno;
    int rc = S_ISDIR(s.st_mode) ? remove_files(path) : 0;
    if (rc == 0 && remove(path) < 0)
        rc = -errno;
    return rc;
}

/* Of a restore that did not end. */
static int remove_leftovers(const struct restore *r)
{
    char path[PATH_MAX];
    DIR *dir = opendir(r->state_dir);
    if (!dir)
        return -errno;
    int rc = 0;
    struct dirent *entry;
    while (rc == 0 && (entry = readdir(dir))) {
        if (!is_leftover(entry->d_name))
            continue;
        rc = path_in(r, entry->d_name, path);
        if (rc == 0)
            rc = remove_leftover(path);
    }
    closedir(dir);
    return rc;
}

/* -EEXIST: a state directory; -ENOTEMPTY: something else is in it. */
static int check_empty(const struct restore *r)
{
    DIR *dir = opendir(r->state_dir);
    if (!dir)
        return -errno;
    bool has_marker = false, has_leftovers = false, has_others = false, has_config = false;
    struct dirent *entry;
    while ((entry = readdir(dir))) {
        has_marker |= strcmp(entry->d_name, marker) == 0;
        has_config |= strcmp(entry->d_name, "config") == 0;
        has_leftovers |= is_leftover(entry->d_name);
        has_others |= !is_leftover(entry->d_name) && !is_harmless(entry->d_name);
    }
    closedir(dir);
    if (has_config)
        return fail(r, -EEXIST,
                    "%s is a state directory already: it was left as it is; give a new "
                    "one",
                    r->state_dir);
    if (has_others || (has_leftovers && !has_marker))
        return fail(r, -ENOTEMPTY, "%s is not empty: give a new or an empty directory",
                    r->state_dir);
    return 0;
}

/* The descriptor of its lock, or -errno. */
static int take_directory(const struct restore *r)
{
    char parent[PATH_MAX];
    if (mkdir(r->state_dir, 0700) < 0 && errno != EEXIST)
        return fail(r, -errno, "%s cannot be made: %s", r->state_dir, strerror(errno));
    int rc = check_empty(r); /* before a lock file is put there */
    if (rc < 0)
        return rc;
    int lock = config_lock(r->state_dir);
    if (lock < 0)
        return fail(r, lock, "%s: %s", r->state_dir,
                    lock == -EWOULDBLOCK ? "another restore is at work there; wait for its end"
                                         : strerror(-lock));
    rc = check_empty(r);
    if (rc == 0 && chmod(r->state_dir, 0700) < 0)
        rc = fail(r, -errno, "%s: %s", r->state_dir, strerror(errno));
    if (rc == 0 && (rc = path_in(r, "..", parent)) == 0)
        rc = disk_sync_dir(parent);
    if (rc < 0) {
        close(lock);
        return rc;
    }
    return lock;
}

/* ---- the store ---- */

static int take_bytes(void *context, const void *bytes, size_t size)
{
    return store_import_write(context, bytes, size);
}

/* Takes @import. */
static int read_in(const struct restore *r, struct store *s, struct store_import *import)
{
    struct backup_header header;
    int rc = backup_read(r->fd, &header, take_bytes, import, r->error, r->error_size);
    if (rc < 0) {
        store_import_abort(import);
        return rc;
    }
    rc = store_import_finish(import, 0);
    if (rc == -ESTALE)
        return fail(r, -EBADMSG,
                    "nothing had ever happened in that cluster: begin with paxfs init");
    if (rc == -EBADMSG)
        return fail(r, rc, "what is in it is no state of a paxfs; take another one");
    if (rc < 0)
        return rc;
    uint64_t slot = store_import_slot(import);
    rc = store_import_install(s, import);
    if (rc == 0 && slot < header.slot)
        return fail(r, -EBADMSG, "it is older than it says; take another one");
    return rc;
}

static int fill_store(const struct restore *r, struct store *s)
{
    struct store_import *import;
    int rc = store_import_begin(s, &import);
    if (rc == 0)
        rc = read_in(r, s, import);
    if (rc < 0)
        return rc;
    r->out->slot = store_applied(s);
    r->out->time_ns = store_time_ns(s);
    rc = rebirth_store(s, &r->out->config, r->error, r->error_size);
    return rc < 0 ? rc : rebirth_log(r->state_dir, store_applied(s), r->error, r->error_size);
}

static int make_store(const struct restore *r)
{
    struct store *s;
    int rc = store_open(r->state_dir, &s, r->error, r->error_size);
    if (rc < 0)
        return rc;
    rc = fill_store(r, s);
    store_close(s);
    return rc;
}

/* ---- all of it ---- */

static int make_state(const struct restore *r)
{
    static const char text[] = "A restore is being made here, or was not finished: run it again.\n";
    char path[PATH_MAX];
    int rc = disk_replace(r->state_dir, marker, text, sizeof text - 1);
    if (rc == 0)
        rc = remove_leftovers(r);
    if (rc == 0)
        rc = make_store(r);
    if (rc == 0)
        rc = config_finish_join(r->state_dir, &r->out->config);
    if (rc == 0)
        rc = path_in(r, marker, path);
    if (rc == 0)
        (void)unlink(path); /* beside config it means nothing */
    return rc;
}

/* Nothing is to be left that takes room. */
static void give_up(const struct restore *r)
{
    char path[PATH_MAX];
    if (remove_leftovers(r) == 0 && path_in(r, marker, path) == 0)
        (void)unlink(path);
}

static int check_file(const struct restore *r)
{
    struct backup_header header;
    int rc = backup_read(r->fd, &header, NULL, NULL, r->error, r->error_size);
    r->out->from_cluster = header.cluster_id;
    return rc;
}

int restore_run(int fd, const char *state_dir, const char *name, const char *listen,
                struct restored *out, char *error, size_t error_size)
{
    struct restore r = {
        .fd = fd, .state_dir = state_dir, .out = out, .error = error, .error_size = error_size};
    *out = (struct restored){.slot = 0};
    error[0] = '\0';
    int rc = config_renew(&out->config, name, listen, error, error_size);
    if (rc == 0)
        rc = check_file(&r);
    int lock = rc == 0 ? take_directory(&r) : rc;
    if (lock >= 0) {
        rc = make_state(&r);
        if (rc < 0)
            give_up(&r);
        close(lock);
    } else {
        rc = lock;
    }
    if (rc < 0 && error[0] == '\0')
        return fail(&r, rc, "%s: %s", state_dir,
                    rc == -ENOSPC ? "the disk is full; make room, then run it again"
                                  : strerror(-rc));
    return rc;
}
