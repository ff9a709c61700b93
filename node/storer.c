#include "node/storer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/queue.h"

enum {
    BATCH_MAX = 256,           /* slots in one transaction */
    BATCH_BYTES_MAX = 8 << 20, /* command bytes in one transaction */
};

struct decided {
    struct queue_item item;
    uint64_t slot, time_ns, decided_ns, persisted;
    struct command *command; /* NULL: storer_tick(), storer_pause() */
};

/* A change, kept from apply to commit: nobody may hear of what could still be aborted. */
struct kept_change {
    struct fs_change change;
    size_t name_at; /* in names */
};

struct storer {
    struct store *store;
    uint64_t node_id;
    struct storer_callbacks callbacks;
    pthread_t thread, checkpointer;
    struct queue queue;
    atomic_bool has_garbage, stops;
    _Atomic uint64_t checkpoint_bytes;

    /* the batch; store thread alone */
    struct decided *batch[BATCH_MAX];
    struct store_applied results[BATCH_MAX];
    size_t changes_end[BATCH_MAX]; /* changes of slot i end here */
    struct kept_change *changes;
    size_t change_count, change_room;
    char *names;
    size_t names_size, names_room;

    /* checkpoints */
    uint64_t last_checkpoint_ns, bytes_since, written_since;
    uint64_t persisted; /* of the last slot applied */
    pthread_mutex_t lock;
    pthread_cond_t due, moved; /* moved: busy or pausing */
    bool pausing;
    struct store_checkpoint *pending; /* begun, to be finished by the checkpointer ... */
    uint64_t pending_persisted;       /* ... once this PERSIST is durable */
    bool busy, stopping, failed;
};

static void *grown(void *array, size_t *room, size_t needed, size_t element)
{
    if (needed <= *room)
        return array;
    size_t room_new = *room ? *room * 2 : 64;
    while (room_new < needed)
        room_new *= 2;
    array = realloc(array, room_new * element);
    ASSERT(array); /* a few hundred bytes a slot; without them nothing else works either */
    *room = room_new;
    return array;
}

static void keep_change(void *context, const struct fs_change *change)
{
    struct storer *s = context;
    s->changes = grown(s->changes, &s->change_room, s->change_count + 1, sizeof *s->changes);
    s->names = grown(s->names, &s->names_room, s->names_size + change->name_size + 1, 1);
    struct kept_change *kept = &s->changes[s->change_count++];
    kept->change = *change;
    kept->name_at = s->names_size;
    if (change->name_size)
        memcpy(s->names + s->names_size, change->name, change->name_size);
    s->names_size += change->name_size;
    s->names[s->names_size++] = '\0';
}

static int apply_batch(struct storer *s, size_t count)
{
    s->change_count = 0;
    s->names_size = 0;
    int rc = store_begin(s->store);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++) {
        const struct decided *d = s->batch[i];
        rc = store_apply(s->store, d->slot, d->time_ns, d->command, &s->results[i], keep_change, s);
        if (rc < 0) {
            store_abort(s->store);
            return rc;
        }
        s->changes_end[i] = s->change_count;
    }
    return store_commit(s->store);
}

/* With no room on the disk the batch was aborted whole: what was decided stays so, and waits. */
static int apply_batch_with_room(struct storer *s, size_t count)
{
    int rc = apply_batch(s, count);
    if (rc == -ENOSPC)
        log_event(LOG_ERROR, "event=store_waits why=\"no room on the disk\"");
    while (rc == -ENOSPC && !atomic_load(&s->stops)) {
        struct timespec pause = {.tv_nsec = STORE_AGAIN_MS * NS_PER_MS};
        nanosleep(&pause, NULL);
        rc = apply_batch(s, count);
    }
    return rc;
}

static void announce_batch(struct storer *s, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const struct decided *d = s->batch[i];
        if (d->command->node == s->node_id)
            s->callbacks.on_result(s->callbacks.context, d->command, d->decided_ns, &s->results[i]);
        for (; at < s->changes_end[i]; at++) {
            struct kept_change *kept = &s->changes[at];
            kept->change.name = s->names + kept->name_at;
            s->callbacks.on_change(s->callbacks.context, &kept->change);
        }
    }
}

/* Hand a checkpoint to its thread, if one is due and the last one is done. */
static int checkpoint_if_due(struct storer *s)
{
    uint64_t now = clock_now_ns();
    uint64_t bytes_max = atomic_load(&s->checkpoint_bytes);
    bool is_due = s->bytes_since >= bytes_max ||
                  now - s->last_checkpoint_ns >= CHECKPOINT_INTERVAL_NS ||
                  store_grown(s->store) >= bytes_max ||
                  (bytes_max < CHECKPOINT_BYTES && s->written_since >= bytes_max);
    if (s->bytes_since == 0 || !is_due || !store_has_room(s->store))
        return 0;
    pthread_mutex_lock(&s->lock);
    bool busy = s->busy;
    pthread_mutex_unlock(&s->lock);
    if (busy)
        return 0;

    struct store_checkpoint *checkpoint;
    int rc = store_checkpoint_begin(s->store, &checkpoint);
    if (rc < 0)
        return rc;
    s->last_checkpoint_ns = now;
    s->bytes_since = s->written_since = 0;
    pthread_mutex_lock(&s->lock);
    s->pending = checkpoint;
    s->pending_persisted = s->persisted;
    s->busy = true;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->due);
    return 0;
}

/* Stand still, if that is asked, between two batches. */
static void pause_if_asked(struct storer *s)
{
    pthread_mutex_lock(&s->lock);
    bool asked = s->pausing;
    while (s->pausing && s->busy)
        pthread_cond_wait(&s->moved, &s->lock);
    bool is_quiet = s->pausing;
    pthread_mutex_unlock(&s->lock);
    if (!asked)
        return;
    if (is_quiet)
        s->callbacks.on_paused(s->callbacks.context);
    pthread_mutex_lock(&s->lock);
    while (s->pausing)
        pthread_cond_wait(&s->moved, &s->lock);
    pthread_mutex_unlock(&s->lock);
    atomic_store(&s->has_garbage, store_has_garbage(s->store));
}

static void free_decided(struct decided *d)
{
    if (d->command)
        command_unref(d->command);
    free(d);
}

static void free_batch(struct storer *s, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free_decided(s->batch[i]);
}

/* Returns the list without the batch it took from the front; sets @count. */
static struct queue_item *next_batch(struct storer *s, struct queue_item *list, size_t *count)
{
    size_t bytes = 0;
    uint64_t held = store_applied(s->store); /* an installed snapshot may have more than we gave */
    *count = 0;
    while (list && *count < BATCH_MAX && (*count == 0 || bytes < BATCH_BYTES_MAX)) {
        struct decided *d = container_of(list, struct decided, item);
        list = list->next;
        if (!d->command || d->slot <= held) {
            free_decided(d);
            continue;
        }
        bytes += d->command->size;
        s->batch[(*count)++] = d;
        s->bytes_since += d->command->size + 128; /* with what the log adds to it */
        s->written_since += d->command->size;
        s->persisted = d->persisted;
    }
    return list;
}

static void free_list(struct queue_item *list)
{
    while (list) {
        struct decided *d = container_of(list, struct decided, item);
        list = list->next;
        free_decided(d);
    }
}

static void *storer_main(void *argument)
{
    struct storer *s = argument;
    struct queue_item *list;
    while ((list = queue_take_all_wait(&s->queue))) {
        while (list) {
            size_t count;
            pause_if_asked(s);
            list = next_batch(s, list, &count);
            int rc = count ? apply_batch_with_room(s, count) : 0;
            if (rc == 0) {
                s->written_since += count ? COMMIT_BYTES : 0;
                pending_applied(s->callbacks.pending, store_applied(s->store));
                announce_batch(s, count);
                atomic_store(&s->has_garbage, store_has_garbage(s->store));
                rc = checkpoint_if_due(s);
            }
            free_batch(s, count);
            if (rc < 0) {
                free_list(list);
                s->callbacks.on_failure(s->callbacks.context, "apply", rc);
                return NULL;
            }
            s->callbacks.on_progress(s->callbacks.context);
        }
    }
    return NULL;
}

static void *checkpointer_main(void *argument)
{
    struct storer *s = argument;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        while (!s->pending && !s->stopping)
            pthread_cond_wait(&s->due, &s->lock);
        struct store_checkpoint *checkpoint = s->pending;
        uint64_t persisted = s->pending_persisted;
        s->pending = NULL;
        if (!checkpoint)
            break;
        pthread_mutex_unlock(&s->lock);
        int rc = -EIO;
        if (s->callbacks.wait_durable(s->callbacks.context, persisted))
            rc = store_checkpoint_finish(s->store, checkpoint);
        if (rc < 0)
            s->callbacks.on_failure(s->callbacks.context, "checkpoint", rc);
        else
            s->callbacks.on_progress(s->callbacks.context);
        pthread_mutex_lock(&s->lock);
        s->failed = s->busy = rc < 0; /* after a failed sync nothing on that disk proves anything */
        pthread_cond_signal(&s->moved);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int storer_start(struct store *store, uint64_t node_id, const struct storer_callbacks *callbacks,
                 struct storer **out)
{
    struct storer *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->store = store;
    s->node_id = node_id;
    s->callbacks = *callbacks;
    s->last_checkpoint_ns = clock_now_ns();
    atomic_store(&s->checkpoint_bytes, CHECKPOINT_BYTES);
    queue_init(&s->queue, SIZE_MAX,
               SIZE_MAX); /* the core's SLOTS_HELD_MAX and HELD_BYTES_MAX bound it */
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->due, NULL);
    pthread_cond_init(&s->moved, NULL);
    int rc = -pthread_create(&s->thread, NULL, storer_main, s);
    if (rc == 0) {
        rc = -pthread_create(&s->checkpointer, NULL, checkpointer_main, s);
        if (rc < 0) {
            queue_close(&s->queue);
            pthread_join(s->thread, NULL);
        }
    }
    if (rc < 0) {
        free(s);
        return rc;
    }
    pthread_setname_np(s->thread, "store");
    pthread_setname_np(s->checkpointer, "checkpoint");
    *out = s;
    return 0;
}

void storer_set_checkpoint_bytes(struct storer *s, uint64_t bytes)
{
    atomic_store(&s->checkpoint_bytes, bytes);
}

void storer_apply(struct storer *s, const struct pvalue *decided, uint64_t persisted)
{
    struct decided *d = malloc(sizeof *d);
    ASSERT(d);
    *d = (struct decided){.slot = decided->slot,
                          .time_ns = decided->time_ns,
                          .decided_ns = clock_now_ns(),
                          .persisted = persisted,
                          .command = command_ref(decided->command)};
    if (queue_push(&s->queue, &d->item, d->command->size) < 0) { /* stopping */
        command_unref(d->command);
        free(d);
    }
}

void storer_tick(struct storer *s)
{
    struct decided *d = calloc(1, sizeof *d);
    if (d && queue_push(&s->queue, &d->item, 0) < 0)
        free(d);
}

void storer_pause(struct storer *s)
{
    pthread_mutex_lock(&s->lock);
    s->pausing = true;
    pthread_mutex_unlock(&s->lock);
    storer_tick(s); /* it may wait for something to do */
}

void storer_resume(struct storer *s)
{
    pthread_mutex_lock(&s->lock);
    s->pausing = false;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->moved);
}

bool storer_has_garbage(const struct storer *s)
{
    return atomic_load(&s->has_garbage);
}

void storer_stop(struct storer *s)
{
    atomic_store(&s->stops, true);
    queue_close(&s->queue);
    storer_resume(s);
    pthread_join(s->thread, NULL);
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->due);
    pthread_join(s->checkpointer, NULL); /* after the checkpoint under way, if there is one */

    /* The next start then replays nothing. Losing it costs only time: the log has everything. */
    struct store_checkpoint *checkpoint;
    if (!s->failed && s->bytes_since && store_has_room(s->store) &&
        s->callbacks.wait_durable(s->callbacks.context, s->persisted) &&
        store_checkpoint_begin(s->store, &checkpoint) == 0)
        (void)store_checkpoint_finish(s->store, checkpoint);

    free_list(queue_take_all(&s->queue));
    queue_deinit(&s->queue);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->due);
    pthread_cond_destroy(&s->moved);
    free(s->changes);
    free(s->names);
    free(s);
}
