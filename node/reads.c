#include "node/reads.h"

#include <errno.h>

#include "base/assert.h"
#include "base/clock.h"

enum { READS_MAX = 4096 };

static void *reader_main(void *argument)
{
    struct reads *r = argument;
    struct store_reader *reader = NULL;
    int error = store_reader_new(r->store, &reader);
    struct queue_item *item;
    while ((item = queue_take_one_wait(&r->ready))) {
        struct request *request = container_of(item, struct request, item);
        int rc = error ? error : store_read_begin(reader);
        request->run(request, rc, rc ? NULL : reader);
        if (rc == 0)
            store_read_end(reader);
    }
    if (reader)
        store_reader_free(reader);
    return NULL;
}

int reads_init(struct reads *r, struct store *store, void (*wake)(void *context), void *context)
{
    *r = (struct reads){.store = store};
    r->asked_tail = &r->asked;
    r->indexed_tail = &r->indexed;
    queue_init(&r->incoming, READS_MAX, SIZE_MAX);
    queue_on_arrival(&r->incoming, wake, context);
    queue_init(&r->ready, SIZE_MAX, SIZE_MAX); /* bounded by what came through incoming */
    for (int i = 0; i < READER_THREADS; i++) {
        int rc = pthread_create(&r->threads[i], NULL, reader_main, r);
        if (rc)
            return -rc;
        pthread_setname_np(r->threads[i], "reader");
    }
    return 0;
}

/* 1. `decided` read while the stint lasts covers every change completed before: only this leader
 *    decides, and it publishes before it tells anyone.
 * 2. The stint lasted, if it is the same before and after and its lease has not run out since.
 *    A hand-over ends the stint before the message leaves that lets another decide. */
bool reads_is_current(struct reads *r)
{
    uint64_t stint = atomic_load(&r->stint);
    if (stint == 0)
        return false;
    uint64_t decided = atomic_load(&r->decided);
    uint64_t until_ns = atomic_load(&r->until_ns);
    if (atomic_load(&r->stint) != stint || clock_now_ns() >= until_ns)
        return false;
    return store_applied(r->store) >= decided;
}

void reads_publish(struct reads *r, uint64_t decided, uint64_t until_ns)
{
    bool was_serving = atomic_load_explicit(&r->stint, memory_order_relaxed) != 0;
    if (until_ns == 0) {
        if (was_serving)
            atomic_store(&r->stint, 0);
        return;
    }
    atomic_store(&r->decided, decided);
    atomic_store(&r->until_ns, until_ns);
    if (!was_serving)
        atomic_store(&r->stint, ++r->stints);
}

void reads_submit(struct reads *r, struct request *request)
{
    if (queue_push_wait(&r->incoming, &request->item, 0) < 0)
        request->run(request, -EIO, NULL);
}

static void append(struct queue_item ***tail, struct queue_item *item)
{
    item->next = NULL;
    **tail = item;
    *tail = &item->next;
}

uint64_t reads_gather(struct reads *r)
{
    struct queue_item *item = queue_take_all(&r->incoming);
    if (!item)
        return 0;
    r->number++;
    while (item) {
        struct queue_item *next = item->next;
        container_of(item, struct request, item)->read = r->number;
        append(&r->asked_tail, item);
        item = next;
    }
    return r->number;
}

static void make_ready(struct reads *r, struct queue_item *item)
{
    struct request *request = container_of(item, struct request, item);
    if (queue_push(&r->ready, item, 0) < 0)
        request->run(request, -EIO, NULL);
}

void reads_on_index(struct reads *r, uint64_t number, uint64_t slot)
{
    uint64_t applied = store_applied(r->store);
    while (r->asked && container_of(r->asked, struct request, item)->read <= number) {
        struct queue_item *item = r->asked;
        r->asked = item->next;
        if (!r->asked)
            r->asked_tail = &r->asked;
        if (slot <= applied && !r->indexed) {
            make_ready(r, item);
        } else {
            container_of(item, struct request, item)->read = slot; /* from now on: the slot */
            append(&r->indexed_tail, item);
        }
    }
}

void reads_on_applied(struct reads *r, uint64_t applied)
{
    while (r->indexed && container_of(r->indexed, struct request, item)->read <= applied) {
        struct queue_item *item = r->indexed;
        r->indexed = item->next;
        if (!r->indexed)
            r->indexed_tail = &r->indexed;
        make_ready(r, item);
    }
}

static void fail_all(struct queue_item *item, int error)
{
    while (item) {
        struct queue_item *next = item->next;
        struct request *request = container_of(item, struct request, item);
        request->run(request, error, NULL);
        item = next;
    }
}

void reads_stop(struct reads *r, int error)
{
    reads_publish(r, 0, 0);
    queue_close(&r->incoming);
    queue_close(&r->ready);
    for (int i = 0; i < READER_THREADS; i++)
        pthread_join(r->threads[i], NULL);
    fail_all(queue_take_all(&r->incoming), error);
    fail_all(r->asked, error);
    fail_all(r->indexed, error);
    r->asked = r->indexed = NULL;
    queue_deinit(&r->incoming);
    queue_deinit(&r->ready);
}
