#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/node.h"

enum { REAP_CHUNKS = 512 };

struct log_answer {
    struct queue_item item;
    uint32_t to, count;
    uint64_t slot_first;
    struct pvalue pvalues[];
};

struct digest_item {
    struct queue_item item;
    struct digest_point point;
};

void serving_wake(void *context)
{
    struct node *n = context;
    uv_async_send(&n->wake);
}

/* ---- from the frontend, any thread ---- */

void serving_submit(void *context, struct request *r)
{
    clients_submit(&((struct node *)context)->clients, r);
}

static void backend_read(void *context, struct request *r)
{
    reads_submit(&((struct node *)context)->reads, r);
}

static void backend_cancel(void *context, struct request *r)
{
    struct node *n = context;
    if (r->complete)
        clients_cancel(&n->clients, r);
    else
        reads_cancel(&n->reads, r);
}

static bool backend_read_may_begin(void *context)
{
    return reads_may_begin(&((struct node *)context)->reads);
}

static enum pending_verdict backend_read_verdict(void *context, struct store_reader *reader,
                                                 const struct read_set *set)
{
    return reads_verdict(&((struct node *)context)->reads, reader, set);
}

static void backend_unmounted(void *context)
{
    struct node *n = context;
    atomic_store(&n->unmounted, true);
    uv_async_send(&n->wake);
}

struct frontend_backend serving_backend(struct node *n)
{
    return (struct frontend_backend){.context = n,
                                     .submit = serving_submit,
                                     .read = backend_read,
                                     .cancel = backend_cancel,
                                     .read_may_begin = backend_read_may_begin,
                                     .read_verdict = backend_read_verdict,
                                     .unmounted = backend_unmounted};
}

/* ---- from the store thread ---- */

static void on_result(void *context, const struct command *command, uint64_t decided_ns,
                      const struct store_applied *result)
{
    struct node *n = context;
    if (clients_on_result(&n->clients, command, decided_ns, result))
        uv_async_send(&n->wake);
}

static void on_change(void *context, const struct fs_change *change)
{
    struct node *n = context;
    if (change->kind == FS_DIGEST) {
        struct digest_item *item = calloc(1, sizeof *item);
        if (!item)
            return; /* a comparison is missed; the next one comes */
        item->point = (struct digest_point){.slot = change->slot,
                                            .nonce = change->nonce,
                                            .digest = {change->digest[0], change->digest[1]}};
        if (queue_push(&n->digests, &item->item, 0) < 0)
            free(item);
        return;
    }
    forgets_on_change(&n->forgets, change);
    pthread_mutex_lock(&n->frontend_lock);
    if (n->frontend)
        frontend_on_change(n->frontend, change);
    pthread_mutex_unlock(&n->frontend_lock);
}

static void on_progress(void *context)
{
    struct node *n = context;
    atomic_store(&n->progress, true);
    if (atomic_load(&n->wants_progress))
        uv_async_send(&n->wake);
}

static void on_store_failure(void *context, const char *doing, int error)
{
    struct node *n = context;
    atomic_store(&n->failure_doing, doing);
    atomic_store(&n->failure, error);
    uv_async_send(&n->wake);
}

/* ---- from the log thread ---- */

static void on_durable(void *context, uint64_t number)
{
    struct node *n = context;
    pthread_mutex_lock(&n->durable_lock);
    atomic_store(&n->durable, number);
    pthread_mutex_unlock(&n->durable_lock);
    pthread_cond_signal(&n->durable_moved);
    uv_async_send(&n->wake);
}

static bool wait_durable(void *context, uint64_t number)
{
    struct node *n = context;
    pthread_mutex_lock(&n->durable_lock);
    while (atomic_load(&n->durable) < number && !n->log_failed)
        pthread_cond_wait(&n->durable_moved, &n->durable_lock);
    bool is_durable = atomic_load(&n->durable) >= number;
    pthread_mutex_unlock(&n->durable_lock);
    return is_durable;
}

static void on_read(void *context, uint32_t to, uint64_t slot_first, struct pvalue *pvalues,
                    uint32_t count)
{
    struct node *n = context;
    struct log_answer *answer = malloc(sizeof *answer + count * sizeof *pvalues);
    ASSERT(answer);
    *answer = (struct log_answer){.to = to, .count = count, .slot_first = slot_first};
    if (count)
        memcpy(answer->pvalues, pvalues, count * sizeof *pvalues);
    if (queue_push(&n->from_log, &answer->item, 0) < 0) {
        for (uint32_t i = 0; i < count; i++)
            command_unref(pvalues[i].command);
        free(answer);
    }
    uv_async_send(&n->wake);
}

static void on_log_failure(void *context, int error)
{
    struct node *n = context;
    pthread_mutex_lock(&n->durable_lock);
    n->log_failed = true;
    pthread_mutex_unlock(&n->durable_lock);
    pthread_cond_broadcast(&n->durable_moved);
    on_store_failure(context, "write the log", error);
}

struct storer_callbacks serving_storer_callbacks(struct node *n)
{
    return (struct storer_callbacks){.context = n,
                                     .pending = n->pending,
                                     .on_paused = snapshots_on_paused,
                                     .on_result = on_result,
                                     .on_change = on_change,
                                     .on_progress = on_progress,
                                     .wait_durable = wait_durable,
                                     .on_failure = on_store_failure};
}

struct logger_callbacks serving_logger_callbacks(struct node *n)
{
    return (struct logger_callbacks){
        .context = n, .on_durable = on_durable, .on_read = on_read, .on_failure = on_log_failure};
}

/* ---- loop ---- */

void serving_on_view(void *context, const struct paxos_view *view)
{
    struct node *n = context;
    reads_publish(&n->reads, view);
    /* A wake-up of the loop for every batch applied would be one in five of all. */
    atomic_store(&n->wants_progress, reads_wait_for_store(&n->reads) ||
                                         view->slots_held >= PROGRESS_SLOTS ||
                                         view->bytes_held >= PROGRESS_BYTES);
}

void serving_on_read_ready(void *context, uint64_t read, uint64_t slot)
{
    struct node *n = context;
    reads_on_index(&n->reads, read, slot);
    if (!reads_wait_for_store(&n->reads))
        return;
    /* 1. wanted, 2. looked: the store thread applies, then looks whether it is wanted. */
    atomic_store(&n->wants_progress, true);
    reads_on_applied(&n->reads, store_applied(n->store));
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void drain_progress(struct node *n)
{
    bool moved = atomic_exchange(&n->progress, false);
    /* In this order: what is checkpointed was applied before. */
    uint64_t checkpointed = store_checkpointed(n->store);
    uint64_t stored = store_applied(n->store);
    uint64_t applied = min_u64(stored, driver_logged(n->driver));
    if (moved)
        reads_on_applied(&n->reads, stored);
    if (n->is_installing)
        return; /* what comes may hold changes of the members that the core has yet to hear of */
    members_follow(n); /* after what is stored was looked at: never of an older slot */
    if (applied == n->applied_seen && checkpointed == n->checkpointed_seen)
        return;
    if (checkpointed != n->checkpointed_seen)
        logger_checkpointed(n->logger, checkpointed);
    n->applied_seen = applied;
    n->checkpointed_seen = checkpointed;
    struct event event = {
        .kind = EVENT_APPLIED,
        .applied = {.applied = applied, .checkpointed = min_u64(checkpointed, applied)}};
    driver_step(n->driver, &event);
}

static void drain_log_answers(struct node *n)
{
    struct queue_item *item = queue_take_all(&n->from_log);
    while (item) {
        struct log_answer *answer = container_of(item, struct log_answer, item);
        item = item->next;
        driver_on_decisions(n->driver, answer->to, answer->slot_first, answer->pvalues,
                            answer->count);
        free(answer);
    }
}

static void drain_digests(struct node *n)
{
    struct queue_item *item = queue_take_all(&n->digests);
    while (item) {
        struct digest_item *digest = container_of(item, struct digest_item, item);
        item = item->next;
        digests_on_own(n, &digest->point);
        free(digest);
    }
}

static void drain_submits(struct node *n)
{
    struct command *command;
    while ((command = clients_next(&n->clients))) {
        struct event event = {.kind = EVENT_SUBMIT, .submit = command};
        driver_step(n->driver, &event);
        command_unref(command);
    }
}

static void drain_reads(struct node *n)
{
    uint64_t number = reads_gather(&n->reads);
    if (number == 0)
        return;
    struct event event = {.kind = EVENT_READ, .read = number};
    driver_step(n->driver, &event);
}

void serving_drain(struct node *n)
{
    int failure = atomic_load(&n->failure);
    if (failure == -EBADMSG && n->stop_phase == STOP_NOT)
        (void)quarantine_begin(n, "damaged: found while applying a change");
    if (failure && n->stop_phase == STOP_NOT) {
        log_event(
            LOG_ERROR,
            "event=disk_failed doing=\"%s\" error=\"%s\" what_to_do=\"this node stops; look at "
            "the disk of %s, then start it again\"",
            atomic_load(&n->failure_doing), strerror(-failure), n->state_dir);
        n->exit_code = 1;
        stop_begin(n, "disk_failed");
    }
    if (!n->driver || capacity_is_paused(n))
        return;
    if (atomic_load(&n->clients.refused) && n->stop_phase == STOP_NOT) {
        log_event(
            LOG_ERROR,
            "event=session_refused life=%llu what_to_do=\"the cluster knows a later life of this "
            "host: %s is an old copy of its state directory; put back the newest\"",
            (unsigned long long)n->life, n->state_dir);
        n->exit_code = 1;
        stop_begin(n, "old_copy");
    }
    uint64_t durable = atomic_load(&n->durable);
    if (durable > n->durable_seen) {
        n->durable_seen = durable;
        driver_on_durable(n->driver, durable);
    }
    snapshots_drain(n);
    drain_progress(n);
    drain_log_answers(n);
    drain_digests(n);
    serving_drain_own(n);
    drain_submits(n);
    drain_reads(n);
}

/* ---- requests of the node itself ---- */

struct own_request {
    struct request request; /* its item is the queue's, once it is done */
    struct node *node;
    void (*done)(struct node *n, void *context, int error, const struct fs_outcome *outcome);
    void *context;
    int error;
    struct fs_outcome outcome;
};

/* The store thread, or the loop at the end. */
static void own_request_complete(struct request *r, int error, const struct fs_outcome *outcome)
{
    struct own_request *own = container_of(r, struct own_request, request);
    own->error = error;
    if (outcome)
        own->outcome = *outcome;
    struct node *n = own->node;
    int rc = queue_push(&n->own_done, &r->item, 0);
    ASSERT(rc == 0); /* no bound, and closed by nobody */
    uv_async_send(&n->wake);
}

void serving_submit_own(struct node *n, const struct fs_command *c,
                        void (*done)(struct node *n, void *context, int error,
                                     const struct fs_outcome *outcome),
                        void *context)
{
    uint8_t bytes[512];
    size_t size = fs_command_encode(c, bytes, sizeof bytes);
    ASSERT(size > 0);
    struct own_request *own = calloc(1, sizeof *own);
    uint8_t *copy = malloc(size);
    ASSERT(own && copy);
    memcpy(copy, bytes, size);
    own->node = n;
    own->done = done;
    own->context = context;
    own->request =
        (struct request){.bytes = copy, .size = (uint32_t)size, .complete = own_request_complete};
    clients_submit(&n->clients, &own->request);
}

void serving_drain_own(struct node *n)
{
    struct queue_item *item = queue_take_all(&n->own_done);
    while (item) {
        struct own_request *own = container_of(item, struct own_request, request.item);
        item = item->next;
        if (own->done)
            own->done(n, own->context, own->error, own->error ? NULL : &own->outcome);
        free(own->request.bytes);
        free(own);
    }
}

static void on_reaped(struct node *n, void *context, int error, const struct fs_outcome *outcome)
{
    (void)context, (void)error, (void)outcome; /* what is left is asked for again */
    n->reaping = false;
    serving_reap(n);
}

void serving_reap(struct node *n)
{
    if (n->reaping || !n->driver || n->stop_phase != STOP_NOT || !storer_has_garbage(n->storer) ||
        driver_view(n->driver)->serving_until_ns == 0)
        return;
    n->reaping = true;
    struct fs_command reap = {.op = FS_REAP, .size = REAP_CHUNKS};
    serving_submit_own(n, &reap, on_reaped, NULL);
}

void serving_ask_digest(struct node *n, uint64_t nonce)
{
    struct fs_command verify = {.op = FS_VERIFY, .nonce = nonce};
    serving_submit_own(n, &verify, NULL, NULL);
}
