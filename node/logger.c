#include "node/logger.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"

/* A batch that grows past this is synced before more is appended, so that what waits for its first
 * records need not wait for the last. */
#define FLUSH_BYTES (4 * MIB)

/* How much further each batch brings the next segment than itself needs of this one. */
#define PREPARE_BYTES (16 * KIB)

#define ROOM_AGAIN_MS 100 /* on a full disk */

enum task_kind { TASK_RECORD, TASK_READ, TASK_COLLECT, TASK_CHECKPOINTED };

struct task {
    struct task *next;
    enum task_kind kind;
    union {
        struct persist record; /* holds a reference to its command */
        struct {
            uint32_t to;
            uint64_t first, last;
        } read;
        uint64_t collect, checkpointed;
    };
};

struct tasks {
    struct task *head, **tail;
    uint64_t records, bytes;
};

struct logger {
    struct logger_callbacks callbacks;
    struct wal_bound bound;
    pthread_t thread;

    struct tasks pending; /* the loop's: since its last commit */

    pthread_mutex_t lock;
    pthread_cond_t arrived;
    struct tasks queue;       /* under lock */
    bool stopping;            /* under lock */
    struct logger_view shown; /* under lock */

    /* The log thread's. */
    struct wal *wal;
    uint64_t appended; /* highest number handed to the wal */
    uint64_t durable;  /* highest number told to on_durable */
    bool must_sync;    /* something was appended that one may wait for */
    int failure;
    struct logger_view counts;
    struct pvalue reading[ENTRIES_MAX];
    uint32_t reading_count;
};

/* ---- lists of tasks ---- */

static void tasks_init(struct tasks *t)
{
    *t = (struct tasks){.head = NULL};
    t->tail = &t->head;
}

static bool has_command(const struct persist *record)
{
    return record->kind == PERSIST_ACCEPT || record->kind == PERSIST_DECISION;
}

static uint64_t record_bytes(const struct persist *record)
{
    return has_command(record) ? record->pvalue.command->size : 0;
}

static void tasks_add(struct tasks *t, struct task *task)
{
    task->next = NULL;
    *t->tail = task;
    t->tail = &task->next;
    if (task->kind == TASK_RECORD) {
        t->records++;
        t->bytes += record_bytes(&task->record);
    }
}

/* Move all of @from behind @to. */
static void tasks_move(struct tasks *to, struct tasks *from)
{
    if (!from->head)
        return;
    *to->tail = from->head;
    to->tail = from->tail;
    to->records += from->records;
    to->bytes += from->bytes;
    tasks_init(from);
}

static struct task *task_new(enum task_kind kind)
{
    struct task *task = calloc(1, sizeof *task);
    ASSERT(task); /* a record that is dropped would be a vote that is forgotten */
    task->kind = kind;
    return task;
}

static void task_free(struct task *task)
{
    if (task->kind == TASK_RECORD && has_command(&task->record))
        command_unref(task->record.pvalue.command);
    free(task);
}

/* ---- the log thread ---- */

static void fail(struct logger *l, int error, const char *what)
{
    if (l->failure)
        return;
    l->failure = error;
    log_event(LOG_ERROR, "event=log_failed doing=%s errno=%d error=\"%s\"", what, -error,
              strerror(-error));
    l->callbacks.on_failure(l->callbacks.context, error);
}

static void show(struct logger *l)
{
    if (!l->failure)
        wal_view(l->wal, &l->counts.wal);
    pthread_mutex_lock(&l->lock);
    l->shown = l->counts;
    pthread_mutex_unlock(&l->lock);
}

static void tell_durable(struct logger *l)
{
    if (l->failure || l->durable == l->appended)
        return;
    l->durable = l->appended;
    l->callbacks.on_durable(l->callbacks.context, l->durable);
}

/* False: the logger stops. */
static bool wait_for_room(struct logger *l)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ROOM_AGAIN_MS * (long)NS_PER_MS;
    until.tv_sec += until.tv_nsec / (long)NS_PER_S;
    until.tv_nsec %= (long)NS_PER_S;
    pthread_mutex_lock(&l->lock);
    bool timed_out = false;
    while (!l->stopping && !timed_out)
        timed_out = pthread_cond_timedwait(&l->arrived, &l->lock, &until) == ETIMEDOUT;
    bool goes_on = !l->stopping;
    pthread_mutex_unlock(&l->lock);
    return goes_on;
}

/* Whoever waits for what is in the batch waits on: nothing of it was written. */
static int sync_with_room(struct logger *l)
{
    int rc = wal_sync(l->wal);
    if (rc == -ENOSPC)
        log_event(LOG_ERROR, "event=log_waits why=\"no room on the disk for its next file\"");
    while (rc == -ENOSPC && wait_for_room(l))
        rc = wal_sync(l->wal);
    return rc;
}

static void flush(struct logger *l)
{
    if (l->failure || wal_batched(l->wal) == 0)
        return;
    uint64_t begin = clock_now_ns(), bytes = wal_batched(l->wal);
    int rc = sync_with_room(l);
    uint64_t took = clock_now_ns() - begin;
    if (rc < 0) {
        fail(l, rc, "sync");
        return;
    }
    l->counts.syncs++;
    l->counts.sync_ns_total += took;
    if (took > l->counts.sync_ns_max)
        l->counts.sync_ns_max = took;
    l->must_sync = false;
    show(l); /* whoever hears of it sees it counted */
    tell_durable(l);
    (void)wal_prepare(l->wal, bytes + PREPARE_BYTES);
}

static void do_record(struct logger *l, const struct persist *record)
{
    if (l->failure)
        return;
    if (wal_batched(l->wal) + record_bytes(record) > FLUSH_BYTES)
        flush(l);
    int rc = l->failure ? l->failure : wal_append(l->wal, record);
    if (rc < 0) {
        fail(l, rc, "append");
        return;
    }
    ASSERT(record->number > l->appended);
    l->appended = record->number;
    if (record->kind != PERSIST_DECIDED || record->must_last)
        l->must_sync = true;
}

static int on_pvalue(void *context, const struct pvalue *pvalue)
{
    struct logger *l = context;
    l->reading[l->reading_count++] = *pvalue;
    return l->reading_count == ENTRIES_MAX;
}

static void do_read(struct logger *l, uint32_t to, uint64_t first, uint64_t last)
{
    if (l->must_sync)
        flush(l); /* the log reads back only what is on disk */
    if (l->failure)
        return;
    l->reading_count = 0;
    int rc = wal_read(l->wal, first, last, MESSAGE_BYTES, on_pvalue, l);
    if (rc < 0) {
        for (uint32_t i = 0; i < l->reading_count; i++)
            command_unref(l->reading[i].command);
        fail(l, rc, "read");
        return;
    }
    struct wal_view view;
    wal_view(l->wal, &view);
    l->callbacks.on_read(l->callbacks.context, to, view.collected ? view.collected + 1 : 0,
                         l->reading, l->reading_count);
}

static void do_collect(struct logger *l, uint64_t slot)
{
    if (l->must_sync)
        flush(l);
    if (l->failure)
        return;
    int rc = wal_collect(l->wal, slot);
    if (rc < 0 && rc != -ENOSPC) /* it is asked for again */
        fail(l, rc, "collect");
}

static void do_checkpointed(struct logger *l, uint64_t slot)
{
    if (l->must_sync)
        flush(l);
    if (l->failure)
        return;
    int rc = wal_bound(l->wal, &l->bound, slot);
    if (rc < 0 && rc != -ENOSPC)
        fail(l, rc, "collect");
}

static void do_task(struct logger *l, const struct task *task)
{
    switch (task->kind) {
    case TASK_RECORD:
        do_record(l, &task->record);
        break;
    case TASK_READ:
        do_read(l, task->read.to, task->read.first, task->read.last);
        break;
    case TASK_COLLECT:
        do_collect(l, task->collect);
        break;
    case TASK_CHECKPOINTED:
        do_checkpointed(l, task->checkpointed);
        break;
    }
}

static void do_tasks(struct logger *l, struct task *task)
{
    while (task) {
        struct task *next = task->next;
        do_task(l, task);
        task_free(task);
        task = next;
    }
    if (l->must_sync)
        flush(l);
    /* What is left is PERSIST_DECIDED: a hint, for which no sync is made. */
    tell_durable(l);
    show(l);
}

/* Wait for tasks; NULL when there will be none any more. */
static struct task *take(struct logger *l)
{
    pthread_mutex_lock(&l->lock);
    while (!l->queue.head && !l->stopping)
        pthread_cond_wait(&l->arrived, &l->lock);
    struct task *all = l->queue.head;
    tasks_init(&l->queue);
    pthread_mutex_unlock(&l->lock);
    return all;
}

static void *log_thread(void *argument)
{
    struct logger *l = argument;
    struct task *all;
    while ((all = take(l)))
        do_tasks(l, all);
    flush(l);
    return NULL;
}

/* ---- the loop's side ---- */

int logger_start(struct wal *w, const struct logger_callbacks *callbacks, struct logger **out)
{
    struct wal_bound bound = {.bytes = LOG_BYTES_MAX, .slots = LOG_SLOTS_MAX};
    return logger_start_with(w, &bound, callbacks, out);
}

int logger_start_with(struct wal *w, const struct wal_bound *bound,
                      const struct logger_callbacks *callbacks, struct logger **out)
{
    struct logger *l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    l->wal = w;
    l->callbacks = *callbacks;
    l->bound = *bound;
    tasks_init(&l->pending);
    tasks_init(&l->queue);
    wal_view(w, &l->counts.wal);
    l->shown = l->counts;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->arrived, NULL);
    int rc = pthread_create(&l->thread, NULL, log_thread, l);
    if (rc != 0) {
        pthread_mutex_destroy(&l->lock);
        pthread_cond_destroy(&l->arrived);
        free(l);
        return -rc;
    }
    pthread_setname_np(l->thread, "log");
    *out = l;
    return 0;
}

void logger_append(struct logger *l, const struct persist *record)
{
    struct task *task = task_new(TASK_RECORD);
    task->record = *record;
    if (has_command(record))
        command_ref(record->pvalue.command);
    tasks_add(&l->pending, task);
}

void logger_commit(struct logger *l)
{
    if (!l->pending.head)
        return;
    pthread_mutex_lock(&l->lock);
    tasks_move(&l->queue, &l->pending);
    pthread_mutex_unlock(&l->lock);
    pthread_cond_signal(&l->arrived);
}

/* Reads and collects keep their place behind the records appended before, which they may be about.
 */
void logger_read(struct logger *l, uint32_t to, uint64_t first, uint64_t last)
{
    struct task *task = task_new(TASK_READ);
    task->read.to = to;
    task->read.first = first;
    task->read.last = last;
    tasks_add(&l->pending, task);
    logger_commit(l);
}

void logger_collect(struct logger *l, uint64_t slot)
{
    struct task *task = task_new(TASK_COLLECT);
    task->collect = slot;
    tasks_add(&l->pending, task);
    logger_commit(l);
}

void logger_checkpointed(struct logger *l, uint64_t slot)
{
    struct task *task = task_new(TASK_CHECKPOINTED);
    task->checkpointed = slot;
    tasks_add(&l->pending, task);
    logger_commit(l);
}

void logger_view(struct logger *l, struct logger_view *view)
{
    pthread_mutex_lock(&l->lock);
    *view = l->shown;
    view->queued_records = l->queue.records;
    view->queued_bytes = l->queue.bytes;
    pthread_mutex_unlock(&l->lock);
}

void logger_stop(struct logger *l)
{
    logger_commit(l);
    pthread_mutex_lock(&l->lock);
    l->stopping = true;
    pthread_mutex_unlock(&l->lock);
    pthread_cond_signal(&l->arrived);
    pthread_join(l->thread, NULL);
    wal_close(l->wal);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->arrived);
    free(l);
}
