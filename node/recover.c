#include "node/recover.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "fs/disk.h"
#include "fs/store.h"
#include "node/config.h"
#include "node/rebirth.h"
#include "node/wal.h"

enum { BATCH_SLOTS = 256, BATCH_BYTES = 16 << 20, JOURNAL_SIZE_MAX = 2048, AGAIN_MAX = 99 };

static const char journal_name[] = "recovering";

/* A directory that is looked at or worked on. */
struct work {
    const char *dir;
    struct recovery *r;
    struct config config; /* the former one */
    struct store *store;
    struct wal *wal; /* NULL: there is none */
    struct wal_recovered log;
    char *error;
    size_t error_size;
};

static int fail(const struct work *w, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(const struct work *w, int rc, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(w->error, w->error_size, format, arguments);
    va_end(arguments);
    return rc;
}

static int path_in(const struct work *w, const char *name, const char *suffix, char path[PATH_MAX])
{
    int size = snprintf(path, PATH_MAX, "%s/%s%s", w->dir, name, suffix);
    return size > 0 && size < PATH_MAX ? 0 : -ENAMETOOLONG;
}

static bool is_there(const struct work *w, const char *name)
{
    char path[PATH_MAX];
    return path_in(w, name, "", path) == 0 && access(path, F_OK) == 0;
}

/* ---- opening ---- */

static void close_state(struct work *w)
{
    if (w->wal)
        wal_close(w->wal);
    store_close(w->store);
    w->wal = NULL;
    w->store = NULL;
}

static int open_log(struct work *w)
{
    char dir[PATH_MAX];
    int rc = path_in(w, "wal", "", dir);
    if (rc < 0 || !wal_is_born(dir))
        return rc; /* then the store is all there is */
    rc = wal_open(dir, &w->wal, &w->log, w->error, w->error_size);
    if (rc == 0 && w->log.collected > store_applied(w->store))
        return fail(w, -EBADMSG,
                    "the log begins after slot %" PRIu64 " but the store ends at %" PRIu64
                    ": the store is an older one; put back the one that belongs to the log, or "
                    "move %s/wal away to keep the store alone",
                    w->log.collected, store_applied(w->store), w->dir);
    return rc;
}

/* On failure all is closed. */
static int open_state(struct work *w)
{
    if (!is_there(w, "checkpoint"))
        return fail(w, -EBADMSG,
                    "%s holds no files: no daemon ever stored any there; take another "
                    "host's directory",
                    w->dir);
    if (is_there(w, "quarantine"))
        return fail(w, -EBADMSG,
                    "%s was found damaged, as the file quarantine there says; take "
                    "another host's directory",
                    w->dir);
    int rc = store_open(w->dir, &w->store, w->error, w->error_size);
    if (rc < 0)
        return rc;
    if (w->config.has_joined && store_membership_version(w->store) == 0)
        rc = fail(w, -EBADMSG, "%s has joined and had no files yet; take another host's directory",
                  w->dir);
    if (rc == 0)
        rc = open_log(w);
    if (rc < 0)
        close_state(w);
    return rc;
}

/* ---- looking ---- */

static int look_at(void *context, const struct pvalue *pvalue)
{
    struct recovery *r = context;
    if (pvalue->slot == r->kept + 1) {
        r->kept++;
        r->time_ns = pvalue->time_ns;
    }
    if (pvalue->slot > r->kept)
        r->beyond++;
    else if (ballot_cmp(pvalue->ballot, r->ballot) > 0)
        r->ballot = pvalue->ballot;
    command_unref(pvalue->command);
    return 0;
}

static uint64_t count_voters(const struct membership *m)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        count += m->members[i].node != 0 && m->members[i].role == MEMBER_VOTER;
    return count;
}

static int look_into_store(const struct work *w)
{
    struct store_reader *reader;
    struct store_usage usage;
    int rc = store_reader_new(w->store, &reader);
    if (rc < 0)
        return rc;
    rc = store_read_begin(reader);
    if (rc == 0) {
        rc = store_usage(reader, &usage);
        store_read_end(reader);
    }
    store_reader_free(reader);
    if (rc < 0)
        return rc;
    w->r->inodes = usage.inodes;
    w->r->bytes = usage.bytes;
    return 0;
}

static int look(const struct work *w)
{
    struct recovery *r = w->r;
    struct membership m;
    store_membership(w->store, &m);
    uint64_t founders = w->config.member_count; /* not yet in a checkpoint, in a young cluster */
    *r = (struct recovery){.from_cluster = w->config.cluster_id,
                           .voters = membership_is_empty(&m) ? founders : count_voters(&m),
                           .stored = store_applied(w->store),
                           .kept = store_applied(w->store),
                           .time_ns = store_time_ns(w->store),
                           .has_log = w->wal != NULL};
    memcpy(r->name, w->config.name, sizeof r->name);
    memcpy(r->listen, w->config.listen, sizeof r->listen);
    int rc = w->wal ? wal_read(w->wal, 1, UINT64_MAX, UINT64_MAX, look_at, r) : 0;
    r->decided = w->log.decided_through < r->kept ? w->log.decided_through : r->kept;
    if (r->decided < r->stored)
        r->decided = r->stored;
    if (rc == 0 && r->kept == 0)
        return fail(w, -EBADMSG,
                    "%s holds nothing: nothing has ever happened there; take another host's "
                    "directory, or begin with paxfs init",
                    w->dir);
    return rc < 0 ? rc : look_into_store(w);
}

/* ---- the journal ---- */

#define JOURNAL_FORMAT(x64, u64, s31, s63)                                                         \
    "version=1\ndate=" s31 "\nname=" s31 "\nlisten=" s63 "\nfrom=" x64 "\ncluster_id=" x64         \
    "\nnode_id=" x64 "\nvoters=" u64 "\nstored=" u64 "\ndecided=" u64 "\nkept=" u64                \
    "\nbeyond=" u64 "\nround=" u64 "\nof=" x64 "\ntime_ns=" u64 "\ninodes=" u64 "\nbytes=" u64     \
    "\nhas_log=%d\n"
enum { JOURNAL_FIELDS = 17 };

static int journal_write(const struct work *w)
{
    const struct recovery *r = w->r;
    char text[JOURNAL_SIZE_MAX];
    int size = snprintf(text, sizeof text, JOURNAL_FORMAT("%" PRIx64, "%" PRIu64, "%s", "%s"),
                        r->date, r->name, r->listen, r->from_cluster, r->cluster_id, r->node_id,
                        r->voters, r->stored, r->decided, r->kept, r->beyond, r->ballot.round,
                        r->ballot.leader, r->time_ns, r->inodes, r->bytes, r->has_log);
    ASSERT(size > 0 && size < JOURNAL_SIZE_MAX);
    return disk_replace(w->dir, journal_name, text, (size_t)size);
}

static_assert(MEMBER_NAME_MAX == 31 && ADDRESS_MAX == 63 && RECOVER_DATE_SIZE == 32,
              "as the format says");

/* 0; -ENOENT: none was begun. */
static int journal_read(const struct work *w)
{
    struct recovery *r = w->r;
    char path[PATH_MAX], text[JOURNAL_SIZE_MAX];
    size_t size;
    int has_log = 0;
    int rc = path_in(w, journal_name, "", path);
    if (rc == 0)
        rc = disk_read_all(path, text, sizeof text - 1, &size);
    if (rc < 0)
        return rc;
    text[size] = '\0';
    *r = (struct recovery){.kept = 0};
    int found = sscanf(text, JOURNAL_FORMAT("%" SCNx64, "%" SCNu64, "%31s", "%63s"), r->date,
                       r->name, r->listen, &r->from_cluster, &r->cluster_id, &r->node_id,
                       &r->voters, &r->stored, &r->decided, &r->kept, &r->beyond, &r->ballot.round,
                       &r->ballot.leader, &r->time_ns, &r->inodes, &r->bytes, &has_log);
    r->has_log = has_log;
    return found == JOURNAL_FIELDS
               ? 0
               : fail(w, -EBADMSG,
                      "%s is damaged; its former config is beside it as "
                      "config.before-recover-DATE: remove %s, rename that one back to "
                      "config, then run recover again",
                      path, path);
}

/* ---- doing it ---- */

struct replay {
    struct store *store;
    uint64_t next, last;
    uint32_t count;
};

static int replay_one(void *context, const struct pvalue *pvalue)
{
    struct replay *p = context;
    int rc = 1; /* a gap, or enough for one batch */
    if (pvalue->slot == p->next && p->next <= p->last && p->count < BATCH_SLOTS) {
        struct store_applied result;
        rc = store_apply(p->store, pvalue->slot, pvalue->time_ns, pvalue->command, &result, NULL,
                         NULL);
        p->next += rc == 0;
        p->count += rc == 0;
    }
    command_unref(pvalue->command);
    return rc;
}

/* What the log holds through slot `kept` goes into the store. */
static int apply_log(const struct work *w)
{
    struct replay p = {.store = w->store, .next = store_applied(w->store) + 1, .last = w->r->kept};
    while (w->wal && p.next <= p.last) {
        int rc = store_begin(w->store);
        if (rc < 0)
            return rc;
        p.count = 0;
        rc = wal_read(w->wal, p.next, p.last, BATCH_BYTES, replay_one, &p);
        if (rc < 0) {
            store_abort(w->store);
            return rc;
        }
        rc = store_commit(w->store);
        if (rc < 0)
            return rc;
        if (p.count == 0)
            break;
    }
    return store_applied(w->store) == w->r->kept
               ? 0
               : fail(w, -EBADMSG, "the log gives no more than slot %" PRIu64 " of %" PRIu64,
                      store_applied(w->store), w->r->kept);
}

static int begin_anew(const struct work *w, const struct config *c)
{
    struct membership m;
    store_membership(w->store, &m);
    if (membership_seat(&m, c->node_id) < MEMBERS_MAX)
        return 0; /* a former try came as far */
    /* A store that was not checkpointed since the cluster began has no members. Who they were makes
     * no difference to the files. */
    int rc = membership_is_empty(&m) ? rebirth_found(w->store, c) : 0;
    if (rc == 0)
        rc = apply_log(w);
    return rc < 0 ? rc : rebirth_store(w->store, c, w->error, w->error_size);
}

static int aside_path(const struct work *w, const char *name, char path[PATH_MAX])
{
    char suffix[RECOVER_DATE_SIZE + 32];
    snprintf(suffix, sizeof suffix, ".before-recover-%s", w->r->date);
    return path_in(w, name, suffix, path);
}

static bool is_aside(const struct work *w, const char *name)
{
    char path[PATH_MAX];
    return aside_path(w, name, path) == 0 && access(path, F_OK) == 0;
}

/* @name becomes @name.before-recover-DATE, if that is not there yet. */
static int set_aside(const struct work *w, const char *name)
{
    char from[PATH_MAX], to[PATH_MAX];
    int rc = path_in(w, name, "", from);
    if (rc == 0)
        rc = aside_path(w, name, to);
    if (rc < 0 || is_aside(w, name))
        return rc;
    if (rename(from, to) < 0 && errno != ENOENT)
        return -errno;
    return disk_sync_dir(w->dir);
}

/* Also in the daemon's log, where one looks first. */
static void tell_log(const struct work *w)
{
    char path[PATH_MAX];
    FILE *f = path_in(w, "paxfsd.log", "", path) == 0 ? fopen(path, "ae") : NULL;
    if (!f)
        return;
    fprintf(f,
            "time=%s level=warn node=%s event=recovered cluster=%016" PRIx64
            " from_cluster=%016" PRIx64 " stored=%" PRIu64 " decided=%" PRIu64 " kept=%" PRIu64
            " beyond=%" PRIu64 " record=RECOVERED-%s\n",
            w->r->date, w->r->name, w->r->cluster_id, w->r->from_cluster, w->r->stored,
            w->r->decided, w->r->kept, w->r->beyond, w->r->date);
    fclose(f);
}

static int write_record(const struct work *w)
{
    char name[RECOVER_DATE_SIZE + 16], text[RECOVER_TEXT_SIZE];
    snprintf(name, sizeof name, "RECOVERED-%s", w->r->date);
    recover_text(w->r, text);
    return disk_replace(w->dir, name, text, strlen(text));
}

static int finish(const struct work *w)
{
    char path[PATH_MAX];
    int rc = path_in(w, journal_name, "", path);
    if (rc == 0 && unlink(path) < 0)
        rc = -errno;
    if (rc == 0)
        rc = disk_sync_dir(w->dir);
    if (rc == 0)
        tell_log(w);
    return rc;
}

static int replace_state(struct work *w, const struct config *c)
{
    int rc = open_state(w);
    if (rc < 0)
        return rc;
    rc = begin_anew(w, c);
    uint64_t slot = store_applied(w->store);
    close_state(w);
    if (rc == 0)
        rc = set_aside(w, "wal");
    return rc < 0 ? rc : rebirth_log(w->dir, slot, w->error, w->error_size);
}

/* From wherever a former try ended. */
static int go_on(struct work *w)
{
    struct config c;
    const struct recovery *r = w->r;
    if (is_there(w, "config") && is_aside(w, "config")) /* so it is the new one */
        return finish(w);
    int rc = config_renew(&c, r->name, r->listen, w->error, w->error_size);
    if (rc < 0)
        return rc;
    c.cluster_id = r->cluster_id;
    c.node_id = c.members[0].node_id = r->node_id;
    rc = set_aside(w, "config");
    if (rc == 0)
        rc = set_aside(w, "members");
    if (rc == 0)
        rc = replace_state(w, &c);
    if (rc == 0)
        rc = write_record(w);
    if (rc == 0)
        rc = config_finish_join(w->dir, &c);
    return rc < 0 ? rc : finish(w);
}

/* One that nothing was set aside under yet. */
static int choose_date(const struct work *w)
{
    struct recovery *r = w->r;
    time_t seconds = (time_t)(clock_wall_ns() / NS_PER_S);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t size = strftime(r->date, sizeof r->date, "%Y-%m-%dT%H:%M:%SZ", &tm);
    for (int again = 2; is_aside(w, "config") || is_aside(w, "wal"); again++) {
        if (again > AGAIN_MAX)
            return -EEXIST;
        snprintf(r->date + size, sizeof r->date - size, "-%d", again);
    }
    return 0;
}

static int begin(struct work *w)
{
    struct config renewed;
    int rc = open_state(w);
    if (rc < 0)
        return rc;
    rc = look(w);
    close_state(w);
    if (rc == 0)
        rc = config_renew(&renewed, w->config.name, w->config.listen, w->error, w->error_size);
    if (rc < 0)
        return rc;
    if (choose_date(w) < 0)
        return fail(w, -EEXIST, "%s was recovered again and again this second; try later", w->dir);
    w->r->cluster_id = renewed.cluster_id;
    w->r->node_id = renewed.node_id;
    rc = journal_write(w);
    return rc < 0 ? rc : go_on(w);
}

/* ---- both ---- */

static int run(struct work *w, bool is_forced)
{
    int rc = journal_read(w);
    if (rc == 0 && !is_forced)
        return fail(w, -EINPROGRESS,
                    "%s: its recovery was begun and did not end; end it: paxfs recover "
                    "--force-new-cluster --state %s",
                    w->dir, w->dir);
    if (rc == 0)
        return go_on(w);
    if (rc != -ENOENT)
        return rc;
    rc = config_load(w->dir, &w->config, w->error, w->error_size);
    if (rc < 0)
        return rc;
    if (is_forced)
        return begin(w);
    rc = open_state(w);
    if (rc < 0)
        return rc;
    rc = look(w);
    close_state(w);
    return rc;
}

static int run_locked(const char *state_dir, bool is_forced, struct recovery *r, char *error,
                      size_t error_size)
{
    struct work w = {.dir = state_dir, .r = r, .error = error, .error_size = error_size};
    *r = (struct recovery){.kept = 0};
    error[0] = '\0';
    if (!is_there(&w, "config") && !is_there(&w, journal_name))
        return fail(&w, -ENOENT, "%s is not a state directory (it has no file `config`)",
                    state_dir);
    int lock = config_lock(state_dir);
    if (lock < 0)
        return fail(&w, lock, "%s: %s", state_dir,
                    lock == -EWOULDBLOCK ? "a daemon runs on it; stop it: paxfs stop"
                                         : strerror(-lock));
    int rc = run(&w, is_forced);
    close(lock);
    if (rc < 0 && error[0] == '\0')
        return fail(&w, rc, "%s: %s", state_dir,
                    rc == -ENOSPC ? "the disk is full; make room, then run it again"
                                  : strerror(-rc));
    return rc;
}

int recover_look(const char *state_dir, struct recovery *r, char *error, size_t error_size)
{
    return run_locked(state_dir, false, r, error, error_size);
}

int recover_force(const char *state_dir, struct recovery *r, char *error, size_t error_size)
{
    return run_locked(state_dir, true, r, error, error_size);
}

/* ---- in sentences ---- */

struct text {
    char *out;
    size_t size;
};

static void add(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *t, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(t->out + t->size, RECOVER_TEXT_SIZE - t->size, format, arguments);
    va_end(arguments);
    t->size += size > 0 ? (size_t)size : 0;
    ASSERT(t->size < RECOVER_TEXT_SIZE);
}

static void add_found(struct text *t, const struct recovery *r)
{
    char when[64] = "never";
    time_t seconds = (time_t)(r->time_ns / NS_PER_S);
    struct tm tm;
    if (r->time_ns && gmtime_r(&seconds, &tm))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
    add(t,
        "found:  %s (%s) of cluster %016" PRIx64 ", which had %" PRIu64 " voters\n"
        "        %" PRIu64 " files and directories, %" PRIu64 " MiB\n"
        "        last change: slot %" PRIu64 ", at %s by the leader's clock\n",
        r->name, r->listen, r->from_cluster, r->voters, r->inodes, r->bytes / MIB, r->kept, when);
    if (!ballot_is_bottom(r->ballot))
        add(t, "        its values came by ballots up to %" PRIu64 ".%016" PRIx64 "\n",
            r->ballot.round, r->ballot.leader);
    if (!r->has_log)
        add(t, "        there is no log: only what the store held is there\n");
}

static void add_kept(struct text *t, const struct recovery *r)
{
    add(t, "kept:   slots through %" PRIu64 ", which are known to be decided\n", r->decided);
    if (r->kept > r->decided)
        add(t,
            "        slots %" PRIu64 " to %" PRIu64 ", which this host had accepted: they may have "
            "been acknowledged,\n"
            "        or not; they are taken as decided, so a change that nobody was told of may "
            "be there\n",
            r->decided + 1, r->kept);
    if (r->beyond)
        add(t,
            "lost:   %" PRIu64 " slots that this host had accepted above slot %" PRIu64
            ", since what comes before\n"
            "        them is not here\n",
            r->beyond, r->kept + 1);
    if (r->voters > 1)
        add(t,
            "lost:   perhaps more: whatever the other hosts decided without this one, after slot "
            "%" PRIu64 "\n",
            r->kept);
}

void recover_text(const struct recovery *r, char *out)
{
    struct text t = {.out = out};
    bool is_done = r->date[0] != '\0';
    if (is_done)
        add(&t, "paxfs recover --force-new-cluster, %s\n", r->date);
    add_found(&t, r);
    add_kept(&t, r);
    if (!is_done)
        return;
    add(&t,
        "done:   this directory is the cluster %016" PRIx64 " now, of this host alone, as node "
        "%016" PRIx64 "\n"
        "        the former log, config and members are beside it, as *.before-recover-%s:\n"
        "        delete them once all is well\n"
        "next:   look whether the files are right; bring in other hosts: paxfs member add\n"
        "        the former cluster's other directories never belong to this one: keep them "
        "apart,\n"
        "        and let those hosts join anew with new ones\n",
        r->cluster_id, r->node_id, r->date);
}
