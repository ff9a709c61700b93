/* `paxfs backup`: one state of the store, streamed into a pipe that the command brought.
 *
 * First a command of no effect goes through the log: once it is applied here, everything that was
 * acknowledged anywhere before the backup was asked for is in the store, also where this host
 * lagged. Without a majority that does not come to pass: then the backup is of what this host has,
 * and says so. The store is exported by a thread of its own into a pipe, and by another one from
 * there, with header and trailer, into the command's. One at a time; the export holds on to pages,
 * so its time is bounded. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/backup.h"
#include "fs/damage.h"
#include "node/node.h"

#define BARRIER_NS     (5 * NS_PER_S)
#define BACKUP_IDLE_NS (60 * NS_PER_S)
#define BACKUP_NS_MAX  (2 * 3600 * NS_PER_S)

enum { PIPE_SIZE = 1 << 20 };

/* On its way through the log; outlives a backup that does not wait for it any more. */
struct barrier {
    struct backup *backup; /* NULL: nobody waits */
};

struct backup {
    struct node *node;
    struct admin_request *request;
    int out;
    uint64_t began_ns;
    struct barrier *barrier; /* NULL: passed, or given up */
    bool is_behind;          /* ... given up */

    bool is_running;
    pthread_t thread;
    struct backup_header header;
    uint64_t size;
    int rc;
    _Atomic bool is_cancelled, is_done;
};

/* ---- threads ---- */

struct export_run {
    struct store *store;
    int fd, rc;
    bool is_joined;
    pthread_t thread;
};

static void *export_main(void *argument)
{
    struct export_run *e = argument;
    e->rc = store_export(e->store, e->fd);
    close(e->fd); /* the end, for who reads */
    return NULL;
}

static int export_join(void *context)
{
    struct export_run *e = context;
    if (!e->is_joined)
        pthread_join(e->thread, NULL);
    e->is_joined = true;
    return e->rc;
}

static int export_begin(struct export_run *e, int *from)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE); /* only faster */
    e->fd = ends[1];
    int rc = -pthread_create(&e->thread, NULL, export_main, e);
    if (rc < 0) {
        close(ends[0]);
        close(ends[1]);
        return rc;
    }
    pthread_setname_np(e->thread, "export");
    *from = ends[0];
    return 0;
}

static int run(struct backup *b)
{
    struct export_run e = {.store = b->node->store};
    struct backup_patience patience = {.idle_ns = BACKUP_IDLE_NS,
                                       .deadline_ns = b->began_ns + BACKUP_NS_MAX,
                                       .is_cancelled = &b->is_cancelled};
    int from = -1;
    b->header = (struct backup_header){.cluster_id = b->node->config.cluster_id,
                                       .slot = store_applied(e.store),
                                       .time_ns = store_time_ns(e.store)};
    int rc = export_begin(&e, &from);
    if (rc < 0)
        return rc;
    rc = backup_write(from, b->out, &b->header, &patience, export_join, &e, &b->size);
    close(from); /* an export that goes on ends */
    export_join(&e);
    return rc;
}

static void *backup_main(void *argument)
{
    struct backup *b = argument;
    b->rc = run(b);
    close(b->out);
    b->out = -1;
    atomic_store(&b->is_done, true);
    return NULL;
}

/* ---- answers ---- */

static void answer_error(struct backup *b)
{
    char text[256];
    if (b->rc == -ETIMEDOUT)
        snprintf(text, sizeof text,
                 "backup: given up: nobody took any of it for %d s, or all of it took more than "
                 "%d h; write it to a faster disk",
                 (int)(BACKUP_IDLE_NS / NS_PER_S), (int)(BACKUP_NS_MAX / NS_PER_S / 3600));
    else if (b->rc == -ECANCELED)
        snprintf(text, sizeof text, "backup: the daemon is stopping; start it, then try again");
    else
        snprintf(text, sizeof text, "backup: the store could not be written out: %s; try again",
                 strerror(-b->rc));
    admin_reply_error(b->request, text);
}

static void answer(struct backup *b)
{
    struct buffer result = {0};
    if (b->rc < 0) {
        answer_error(b);
        return;
    }
    pack_map(&result, 3);
    pack_text(&result, "slot");
    pack_u64(&result, b->header.slot);
    pack_text(&result, "bytes");
    pack_u64(&result, b->size);
    pack_text(&result, "behind");
    pack_bool(&result, b->is_behind);
    admin_reply(b->request, &result);
    buffer_deinit(&result);
}

static void end(struct node *n)
{
    struct backup *b = n->backup;
    if (b->barrier)
        b->barrier->backup = NULL;
    if (b->out >= 0)
        close(b->out);
    log_event(b->rc < 0 ? LOG_WARN : LOG_INFO,
              "event=backup slot=%" PRIu64 " bytes=%" PRIu64 " ms=%" PRIu64 " error=\"%s\"",
              b->header.slot, b->size, (clock_now_ns() - b->began_ns) / NS_PER_MS,
              b->rc < 0 ? strerror(-b->rc) : "");
    answer(b);
    free(b);
    n->backup = NULL;
}

/* ---- on the loop ---- */

static void start(struct node *n)
{
    struct backup *b = n->backup;
    b->rc = -pthread_create(&b->thread, NULL, backup_main, b);
    if (b->rc < 0) {
        end(n);
        return;
    }
    pthread_setname_np(b->thread, "backup");
    b->is_running = true;
}

static void on_barrier(struct node *n, void *context, int error, const struct fs_outcome *outcome)
{
    (void)outcome;
    struct barrier *barrier = context;
    struct backup *b = barrier->backup;
    free(barrier);
    if (!b)
        return;
    ASSERT(b == n->backup);
    b->barrier = NULL;
    b->is_behind = error != 0;
    start(n);
}

/* NULL: a backup can be made. */
static const char *why_not(const struct node *n)
{
    if (n->backup)
        return "backup: another one is being made; wait for its end";
    if (n->stop_phase != STOP_NOT)
        return "backup: the daemon is stopping; start it, then try again";
    if (!n->driver)
        return "backup: the cluster has not begun: its members have not all met yet; start them";
    struct store_damage damage;
    if (n->quarantine.is_on || store_damage(n->store, &damage))
        return "backup: this host's store is damaged, as paxfs status says; ask another host's "
               "daemon";
    if (store_membership_version(n->store) == 0)
        return "backup: this host has joined and has no files yet; ask another one, or wait";
    return NULL;
}

static bool is_pipe(int fd)
{
    struct stat s;
    return fd >= 0 && fstat(fd, &s) == 0 && S_ISFIFO(s.st_mode);
}

void backups_on_request(struct node *n, struct admin_request *r, int fd)
{
    const char *why = why_not(n);
    if (!why && (!is_pipe(fd) || fcntl(fd, F_SETFL, O_NONBLOCK) < 0))
        why = "backup: no pipe came with the request: the command is of another version than this "
              "daemon";
    if (why) {
        if (fd >= 0)
            close(fd);
        admin_reply_error(r, why);
        return;
    }
    struct backup *b = calloc(1, sizeof *b);
    struct barrier *barrier = malloc(sizeof *barrier);
    ASSERT(b && barrier);
    barrier->backup = b;
    b->node = n;
    b->request = r;
    b->out = fd;
    b->began_ns = clock_now_ns();
    b->barrier = barrier;
    n->backup = b;
    (void)fcntl(fd, F_SETPIPE_SZ, PIPE_SIZE); /* only faster */
    struct fs_command verify = {.op = FS_VERIFY};
    serving_submit_own(n, &verify, on_barrier, barrier);
}

void backups_tick(struct node *n)
{
    struct backup *b = n->backup;
    if (!b)
        return;
    if (b->is_running) {
        if (!atomic_load(&b->is_done))
            return;
        pthread_join(b->thread, NULL);
        end(n);
        return;
    }
    if (clock_now_ns() - b->began_ns < BARRIER_NS)
        return;
    b->barrier->backup = NULL;
    b->barrier = NULL;
    b->is_behind = true;
    start(n);
}

void backups_stop(struct node *n)
{
    struct backup *b = n->backup;
    if (!b)
        return;
    atomic_store(&b->is_cancelled, true);
    if (b->is_running)
        pthread_join(b->thread, NULL);
    else
        b->rc = -ECANCELED;
    end(n);
}
