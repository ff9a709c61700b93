#include "tests/support/local_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <sys/mount.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "fs/forgets.h"

#define BATCH_MAX    64
#define REQUESTS_MAX 65536 /* more than a kernel has out */

/* What a slot did, kept until its batch is committed. */
struct change {
    struct change *next;
    struct fs_change change;
    char name[FILE_NAME_MAX + 1];
};

struct applied {
    struct request *request; /* NULL: a command of the store thread's own */
    struct store_applied result;
    struct change *changes, **changes_tail;
};

struct session_state {
    uint64_t node, epoch, sequence;
};

struct local_backend {
    struct local_backend_config config;
    char root[64], mountpoint[128], state_dir[128];
    int fuse_fd;
    struct store *store;
    struct inode_refs *inodes;
    struct forgets forgets;
    struct frontend *frontend; /* NULL: not mounted */
    struct queue changes, reads;
    pthread_t store_thread, read_thread, tick_thread;

    pthread_mutex_t apply_lock; /* the one that may change the store */
    struct session_state local, foreign;
    uint64_t slot;
    uint8_t *unheld; /* orphans the foreign session has yet to forget, as FS_FORGET wants them */
    uint32_t unheld_count;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool hold, unmounted, stopping;
    uint32_t came; /* requests since the hold began */
    uint32_t pass; /* of the held ones to let go */
    uint32_t cancelled;
    enum pending_verdict verdict; /* of the next `verdicts` reads */
    uint32_t verdicts;
    struct read_set looked_at; /* by the last read; its pointers are over */
};

static void check(int rc, const char *what)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "local_backend: %s: %s\n", what, strerror(rc == -1 ? errno : -rc));
    abort();
}

/* ---- applying ---- */

static void keep_change(void *context, const struct fs_change *change)
{
    struct applied *a = context;
    struct change *kept = calloc(1, sizeof(*kept));
    ASSERT(kept);
    kept->change = *change;
    if (change->name_size > 0)
        memcpy(kept->name, change->name, change->name_size);
    kept->change.name = kept->name;
    *a->changes_tail = kept;
    a->changes_tail = &kept->next;
}

static void apply(struct local_backend *b, struct session_state *session, const void *bytes,
                  uint32_t size, struct applied *a)
{
    /* Everything before is answered: only the sequences of this batch are open. */
    uint64_t low = session->sequence > BATCH_MAX ? session->sequence - BATCH_MAX : 1;
    struct command command = {
        .refs = 1,
        .size = size,
        .node = session->node,
        .epoch = session->epoch,
        .sequence = session->sequence,
        .low = low,
        .bytes = bytes,
    };
    a->changes_tail = &a->changes;
    check(store_apply(b->store, ++b->slot, clock_wall_ns(), &command, &a->result, keep_change, a),
          "store_apply");
}

static void note_unheld(struct local_backend *b, uint64_t ino)
{
    size_t size = (b->unheld_count + 1) * sizeof(ino);
    b->unheld = realloc(b->unheld, size);
    ASSERT(b->unheld);
    struct writer w = writer_of(b->unheld + b->unheld_count * sizeof(ino), sizeof(ino));
    write_u64(&w, ino);
    b->unheld_count++;
}

/* After the commit: the slot's own completion first. */
static void deliver(struct local_backend *b, struct applied *a)
{
    if (a->request) {
        ASSERT(a->result.verdict == SESSION_NEW);
        a->request->complete(a->request, 0, &a->result.outcome);
    }
    while (a->changes) {
        struct change *first = a->changes;
        if (first->change.kind == FS_ORPHANED)
            note_unheld(b, first->change.ino);
        forgets_on_change(&b->forgets, &first->change);
        if (b->frontend)
            frontend_on_change(b->frontend, &first->change);
        a->changes = first->next;
        free(first);
    }
}

static struct fs_outcome apply_alone(struct local_backend *b, struct session_state *session,
                                     const struct fs_command *command)
{
    struct applied a = {0};
    size_t room = COMMAND_SIZE_MAX;
    uint8_t *bytes = malloc(room);
    size_t size = fs_command_encode(command, bytes, room);
    ASSERT(size > 0);
    pthread_mutex_lock(&b->apply_lock);
    if (command->op != FS_SESSION_OPEN)
        session->sequence++;
    check(store_begin(b->store), "store_begin");
    apply(b, session, bytes, (uint32_t)size, &a);
    check(store_commit(b->store), "store_commit");
    deliver(b, &a);
    pthread_mutex_unlock(&b->apply_lock);
    free(bytes);
    return a.result.outcome;
}

static void session_open_for(struct local_backend *b, struct session_state *session, uint64_t node)
{
    session->node = node;
    struct fs_command open = {.op = FS_SESSION_OPEN, .nonce = node};
    session->epoch = apply_alone(b, session, &open).epoch;
    ASSERT(session->epoch > 0);
}

/* The foreign host has no kernel: it holds nothing. */
static void forget_unheld(struct local_backend *b)
{
    pthread_mutex_lock(&b->apply_lock);
    struct fs_command forget = {
        .op = FS_FORGET,
        .inos = b->unheld,
        .ino_count = b->unheld_count < 4096 ? b->unheld_count : 4096,
    };
    b->unheld = NULL;
    b->unheld_count = 0;
    pthread_mutex_unlock(&b->apply_lock);
    if (forget.ino_count > 0)
        apply_alone(b, &b->foreign, &forget);
    free((void *)forget.inos);
}

struct fs_outcome local_backend_apply(struct local_backend *b, const struct fs_command *command)
{
    struct fs_outcome outcome = apply_alone(b, &b->foreign, command);
    forget_unheld(b);
    return outcome;
}

/* ---- threads ---- */

static void wait_while_held(struct local_backend *b)
{
    pthread_mutex_lock(&b->lock);
    while (b->hold && b->pass == 0 && !b->stopping)
        pthread_cond_wait(&b->changed, &b->lock);
    if (b->pass > 0)
        b->pass--;
    pthread_mutex_unlock(&b->lock);
}

static bool is_stopping(struct local_backend *b)
{
    pthread_mutex_lock(&b->lock);
    bool stopping = b->stopping;
    pthread_mutex_unlock(&b->lock);
    return stopping;
}

static struct request *next_request(struct queue_item **items)
{
    struct request *r = container_of(*items, struct request, item);
    *items = (*items)->next;
    return r;
}

static void apply_batch(struct local_backend *b, struct queue_item **items)
{
    struct applied batch[BATCH_MAX] = {0};
    uint8_t *bytes[BATCH_MAX];
    size_t count = 0;
    pthread_mutex_lock(&b->apply_lock);
    check(store_begin(b->store), "store_begin");
    while (*items && count < BATCH_MAX) {
        struct request *r = next_request(items);
        batch[count].request = r;
        bytes[count] = request_bytes_take(r);
        b->local.sequence++;
        apply(b, &b->local, bytes[count], r->size, &batch[count]);
        count++;
    }
    check(store_commit(b->store), "store_commit");
    for (size_t i = 0; i < count; i++) {
        deliver(b, &batch[i]);
        free(bytes[i]);
    }
    pthread_mutex_unlock(&b->apply_lock);
}

static void reap(struct local_backend *b)
{
    pthread_mutex_lock(&b->apply_lock);
    bool garbage = store_has_garbage(b->store);
    pthread_mutex_unlock(&b->apply_lock);
    struct fs_command command = {.op = FS_REAP, .size = 1024};
    if (garbage)
        apply_alone(b, &b->local, &command);
}

static void *store_main(void *context)
{
    struct local_backend *b = context;
    struct queue_item *items;
    while ((items = queue_take_all_wait(&b->changes))) {
        wait_while_held(b);
        if (is_stopping(b)) {
            while (items) {
                struct request *r = next_request(&items);
                r->complete(r, -ESHUTDOWN, NULL);
            }
            continue;
        }
        while (items)
            apply_batch(b, &items);
        forget_unheld(b);
        reap(b);
    }
    return NULL;
}

static void *read_main(void *context)
{
    struct local_backend *b = context;
    struct queue_item *item;
    struct store_reader *reader;
    check(store_reader_new(b->store, &reader), "store_reader_new");
    while ((item = queue_take_one_wait(&b->reads))) {
        struct request *r = container_of(item, struct request, item);
        wait_while_held(b);
        if (is_stopping(b)) {
            r->run(r, -ESHUTDOWN, NULL);
            continue;
        }
        check(store_read_begin(reader), "store_read_begin");
        r->run(r, 0, reader);
        store_read_end(reader);
    }
    store_reader_free(reader);
    return NULL;
}

static void *tick_main(void *context)
{
    struct local_backend *b = context;
    while (!is_stopping(b)) {
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
        frontend_tick(b->frontend, clock_now_ns());
        forgets_tick(&b->forgets);
    }
    return NULL;
}

/* ---- the backend ---- */

/* Counted and queued at once: who has seen it counted finds it before all that comes later; who was
 * answered may begin a hold, which does not count it. */
static void take_in(struct local_backend *b, struct queue *q, struct request *r)
{
    pthread_mutex_lock(&b->lock);
    b->came++;
    check(queue_push(q, &r->item, 1), "queue_push");
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void backend_submit(void *context, struct request *r)
{
    struct local_backend *b = context;
    take_in(b, &b->changes, r);
}

static void backend_read(void *context, struct request *r)
{
    struct local_backend *b = context;
    take_in(b, &b->reads, r);
}

/* As if all that came were ordered already. */
static void backend_cancel(void *context, struct request *r)
{
    struct local_backend *b = context;
    (void)r;
    pthread_mutex_lock(&b->lock);
    b->cancelled++;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static bool backend_read_may_begin(void *context)
{
    struct local_backend *b = context;
    return !b->config.reads_wait;
}

/* Whoever was answered was so after the commit: any snapshot has it. */
static enum pending_verdict backend_read_verdict(void *context, struct store_reader *r,
                                                 const struct read_set *set)
{
    struct local_backend *b = context;
    (void)r;
    pthread_mutex_lock(&b->lock);
    enum pending_verdict verdict = b->config.reads_touched ? PENDING_TOUCHED : PENDING_CLEAR;
    if (b->verdicts > 0)
        verdict = b->verdict;
    b->verdicts -= b->verdicts > 0;
    b->looked_at = *set;
    pthread_mutex_unlock(&b->lock);
    return verdict;
}

void local_backend_judge(struct local_backend *b, enum pending_verdict verdict, uint32_t count)
{
    pthread_mutex_lock(&b->lock);
    b->verdict = verdict;
    b->verdicts = count;
    pthread_mutex_unlock(&b->lock);
}

uint32_t local_backend_verdicts_left(struct local_backend *b)
{
    pthread_mutex_lock(&b->lock);
    uint32_t left = b->verdicts;
    pthread_mutex_unlock(&b->lock);
    return left;
}

struct read_set local_backend_looked_at(struct local_backend *b)
{
    pthread_mutex_lock(&b->lock);
    struct read_set set = b->looked_at;
    pthread_mutex_unlock(&b->lock);
    set.name = NULL;
    set.children = NULL;
    return set;
}

static void backend_unmounted(void *context)
{
    struct local_backend *b = context;
    pthread_mutex_lock(&b->lock);
    ASSERT(!b->unmounted); /* told once */
    b->unmounted = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

void local_backend_hold(struct local_backend *b, bool hold)
{
    pthread_mutex_lock(&b->lock);
    b->hold = hold;
    b->came = 0;
    b->pass = 0;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

void local_backend_let_go(struct local_backend *b, uint32_t count)
{
    pthread_mutex_lock(&b->lock);
    b->pass += count;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

void local_backend_wait_held(struct local_backend *b, uint32_t count)
{
    pthread_mutex_lock(&b->lock);
    while (b->came < count)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

void local_backend_wait_cancelled(struct local_backend *b, uint32_t count)
{
    pthread_mutex_lock(&b->lock);
    while (b->cancelled < count)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

void local_backend_wait_unmounted(struct local_backend *b)
{
    pthread_mutex_lock(&b->lock);
    while (!b->unmounted)
        pthread_cond_wait(&b->changed, &b->lock);
    pthread_mutex_unlock(&b->lock);
}

void local_backend_wait_notified(struct local_backend *b)
{
    struct frontend_view view;
    do {
        sched_yield();
        frontend_view(b->frontend, &view);
    } while (view.notify_queued > 0);
}

static uint64_t orphan_count(struct local_backend *b)
{
    struct store_reader *reader;
    struct store_usage usage;
    check(store_reader_new(b->store, &reader), "store_reader_new");
    check(store_read_begin(reader), "store_read_begin");
    check(store_usage(reader, &usage), "store_usage");
    store_read_end(reader);
    store_reader_free(reader);
    return usage.orphans;
}

void local_backend_settle(struct local_backend *b)
{
    while (orphan_count(b) > 0) {
        forgets_tick(&b->forgets);
        reap(b);
        sched_yield();
    }
}

/* ---- start and stop ---- */

static void enter_namespace(struct local_backend *b)
{
    strcpy(b->root, "/mnt"); /* is there already: nothing to leave behind */
    check(unshare(CLONE_NEWNS), "unshare");
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount /");
    check(mount("tmpfs", b->root, "tmpfs", 0, NULL), "mount tmpfs");
    snprintf(b->mountpoint, sizeof(b->mountpoint), "%s/mnt", b->root);
    check(mkdir(b->mountpoint, 0755), "mkdir");
}

int local_backend_mount_fuse(struct local_backend *b)
{
    char options[128];
    b->fuse_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    check(b->fuse_fd, "/dev/fuse");
    snprintf(options, sizeof(options),
             "fd=%d,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other",
             b->fuse_fd);
    check(mount("paxfs", b->mountpoint, "fuse.paxfs", b->config.read_only ? MS_RDONLY : 0, options),
          "mount");
    return b->fuse_fd;
}

struct frontend_config local_backend_frontend_config(struct local_backend *b, int fuse_fd)
{
    return (struct frontend_config){
        .store = b->store,
        .inodes = b->inodes,
        .node_id = LOCAL_NODE,
        .fuse_fd = fuse_fd,
        .mountpoint = b->mountpoint,
        .timeo_ns = b->config.timeo_ns,
        .workers = b->config.workers ? b->config.workers : 4,
        .backend =
            {
                .context = b,
                .submit = backend_submit,
                .read = backend_read,
                .read_may_begin = backend_read_may_begin,
                .read_verdict = backend_read_verdict,
                .cancel = backend_cancel,
                .unmounted = backend_unmounted,
            },
    };
}

void local_backend_mount(struct local_backend *b)
{
    struct frontend_config config = local_backend_frontend_config(b, local_backend_mount_fuse(b));
    struct frontend *f;
    b->unmounted = false;
    check(frontend_start(&config, &f), "frontend_start");
    pthread_mutex_lock(&b->apply_lock);
    b->frontend = f;
    pthread_mutex_unlock(&b->apply_lock);
}

void local_backend_unmount(struct local_backend *b)
{
    /* The store thread may be in frontend_on_change(): not while it is freed. */
    pthread_mutex_lock(&b->apply_lock);
    struct frontend *f = b->frontend;
    b->frontend = NULL;
    pthread_mutex_unlock(&b->apply_lock);
    if (f)
        frontend_stop(f);
}

struct local_backend *local_backend_start(const struct local_backend_config *config)
{
    char error[256];
    struct local_backend *b = calloc(1, sizeof(*b));
    ASSERT(b);
    b->config = *config;
    if (config->mountpoint)
        snprintf(b->mountpoint, sizeof(b->mountpoint), "%s", config->mountpoint);
    else
        enter_namespace(b);
    if (config->state_dir)
        snprintf(b->state_dir, sizeof(b->state_dir), "%s", config->state_dir);
    else
        snprintf(b->state_dir, sizeof(b->state_dir), "%.64s/state", b->root);
    if (mkdir(b->state_dir, 0700) < 0 && errno != EEXIST)
        check(-1, b->state_dir);
    pthread_mutex_init(&b->lock, NULL);
    pthread_mutex_init(&b->apply_lock, NULL);
    pthread_cond_init(&b->changed, NULL);
    queue_init(&b->changes, REQUESTS_MAX, REQUESTS_MAX);
    queue_init(&b->reads, REQUESTS_MAX, REQUESTS_MAX);
    check(store_open(b->state_dir, &b->store, error, sizeof(error)), b->state_dir);
    b->slot = store_applied(b->store);
    b->inodes = inode_refs_new();
    ASSERT(b->inodes);
    forgets_init(&b->forgets, b->inodes, backend_submit, b);
    session_open_for(b, &b->local, LOCAL_NODE);
    session_open_for(b, &b->foreign, FOREIGN_NODE);
    local_backend_mount(b);
    pthread_create(&b->store_thread, NULL, store_main, b);
    pthread_create(&b->read_thread, NULL, read_main, b);
    if (config->ticks)
        pthread_create(&b->tick_thread, NULL, tick_main, b);
    return b;
}

const char *local_backend_mountpoint(const struct local_backend *b)
{
    return b->mountpoint;
}

struct frontend *local_backend_frontend(struct local_backend *b)
{
    return b->frontend;
}

struct store *local_backend_store(struct local_backend *b)
{
    return b->store;
}

pid_t local_backend_fork(struct local_backend *b)
{
    pid_t child = fork();
    check(child, "fork");
    if (child == 0)
        close(b->fuse_fd);
    return child;
}

void local_backend_stop(struct local_backend *b)
{
    if (b->config.ticks) { /* the tick thread uses the frontend */
        pthread_mutex_lock(&b->lock);
        bool hold = b->hold;
        b->stopping = true;
        pthread_mutex_unlock(&b->lock);
        pthread_join(b->tick_thread, NULL);
        pthread_mutex_lock(&b->lock);
        b->stopping = false;
        b->hold = hold;
        pthread_mutex_unlock(&b->lock);
    }
    local_backend_unmount(b);
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    queue_close(&b->changes);
    queue_close(&b->reads);
    pthread_join(b->store_thread, NULL);
    pthread_join(b->read_thread, NULL);
    queue_deinit(&b->changes);
    queue_deinit(&b->reads);
    store_close(b->store);
    inode_refs_free(b->inodes);
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->apply_lock);
    pthread_mutex_destroy(&b->lock);
    if (b->root[0])
        umount2(b->root, MNT_DETACH);
    free(b);
}
