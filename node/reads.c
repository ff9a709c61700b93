#include "node/reads.h"

#include <errno.h>

#include <utlist.h>

#include "base/assert.h"
#include "base/clock.h"

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

int reads_init(struct reads *r, struct store *store, struct pending *pending,
               void (*wake)(void *context), void *context)
{
    *r = (struct reads){.store = store, .pending = pending};
    r->wake = wake;
    r->wake_context = context;
    pthread_mutex_init(&r->lock, NULL);
    queue_init(&r->ready, SIZE_MAX, SIZE_MAX); /* bounded by the callers that wait */
    for (int i = 0; i < READER_THREADS; i++) {
        int rc = pthread_create(&r->threads[i], NULL, reader_main, r);
        if (rc)
            return -rc;
        pthread_setname_np(r->threads[i], "reader");
    }
    return 0;
}

/* ---- leave to read here ---- */

/* True at this moment: then *@slot goes with it. A stint that is the same before and after lasted
 * meanwhile, if its time has not run out since. A hand-over ends the stint before the message
 * leaves that lets another decide. */
static bool leave_lasts(struct read_leave *l, uint64_t *slot)
{
    uint64_t stint = atomic_load(&l->stint);
    if (stint == 0)
        return false;
    *slot = atomic_load(&l->slot);
    uint64_t until_ns = atomic_load(&l->until_ns);
    return clock_now_ns() < until_ns && atomic_load(&l->stint) == stint;
}

/* @goes_on: whoever sees some of it old and some new sees nothing that never was. */
static void leave_publish(struct read_leave *l, uint64_t slot, uint64_t until_ns, bool goes_on)
{
    bool was_given = atomic_load_explicit(&l->stint, memory_order_relaxed) != 0;
    if (was_given && (until_ns == 0 || !goes_on))
        atomic_store(&l->stint, 0);
    if (until_ns == 0)
        return;
    atomic_store(&l->slot, slot);
    atomic_store(&l->until_ns, until_ns);
    if (!was_given || !goes_on)
        atomic_store(&l->stint, ++l->stints);
}

void reads_publish(struct reads *r, const struct paxos_view *view)
{
    leave_publish(&r->leading, view->decided, view->serving_until_ns, true);
    /* A lease that ended and began between two views may have a higher bound: which must not be
     * missed beside the new end. */
    const struct read_leave *held = &r->holding;
    bool is_renewed =
        view->lease.bound <= atomic_load_explicit(&held->slot, memory_order_relaxed) &&
        view->lease.until_ns >= atomic_load_explicit(&held->until_ns, memory_order_relaxed);
    leave_publish(&r->holding, view->lease.bound, view->lease.until_ns, is_renewed);
}

bool reads_may_begin(struct reads *r)
{
    uint64_t slot;
    if (leave_lasts(&r->leading, &slot))
        return true;
    return leave_lasts(&r->holding, &slot) && store_applied(r->store) >= slot;
}

static enum pending_verdict verdict_of_leader(struct reads *r, struct store_reader *reader,
                                              const struct read_set *set, uint64_t decided)
{
    if (store_read_slot(reader) >= decided)
        return PENDING_CLEAR;
    enum pending_verdict verdict = pending_check(r->pending, reader, set);
    return verdict == PENDING_CLEAR && !leave_lasts(&r->leading, &decided) ? PENDING_TOUCHED
                                                                           : verdict;
}

static enum pending_verdict verdict_of_holder(struct reads *r, struct store_reader *reader,
                                              const struct read_set *set, uint64_t bound)
{
    if (store_read_slot(reader) < bound)
        return store_applied(r->store) >= bound ? PENDING_RENEW : PENDING_TOUCHED;
    enum pending_verdict verdict = pending_check(r->pending, reader, set);
    bool lasts = leave_lasts(&r->holding, &bound) && store_read_slot(reader) >= bound;
    return verdict == PENDING_CLEAR && !lasts ? PENDING_TOUCHED : verdict;
}

enum pending_verdict reads_verdict(struct reads *r, struct store_reader *reader,
                                   const struct read_set *set)
{
    uint64_t slot;
    if (leave_lasts(&r->leading, &slot))
        return verdict_of_leader(r, reader, set, slot);
    if (leave_lasts(&r->holding, &slot))
        return verdict_of_holder(r, reader, set, slot);
    return PENDING_TOUCHED;
}

/* ---- reads that wait ---- */

static void append(struct request **list, struct request *request)
{
    DL_APPEND(*list, request);
    request->list = list;
}

static void take_out(struct request *request)
{
    DL_DELETE(*request->list, request);
    request->list = NULL;
}

void reads_submit(struct reads *r, struct request *request)
{
    pthread_mutex_lock(&r->lock);
    int error = request->cancelled ? -ECANCELED : r->closed ? -EIO : 0;
    bool is_first = !r->incoming;
    if (error == 0)
        append(&r->incoming, request);
    pthread_mutex_unlock(&r->lock);
    if (error)
        request->run(request, error, NULL);
    else if (is_first)
        r->wake(r->wake_context);
}

void reads_cancel(struct reads *r, struct request *request)
{
    pthread_mutex_lock(&r->lock);
    bool waits = request->list != NULL;
    if (waits)
        take_out(request);
    request->cancelled = true;
    pthread_mutex_unlock(&r->lock);
    if (waits)
        request->run(request, -ECANCELED, NULL);
}

uint64_t reads_gather(struct reads *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t number = r->incoming ? ++r->number : 0;
    struct request *request;
    while ((request = r->incoming)) {
        take_out(request);
        request->read = number;
        append(&r->asked, request);
    }
    pthread_mutex_unlock(&r->lock);
    return number;
}

static void make_ready(struct reads *r, struct request *request)
{
    if (queue_push(&r->ready, &request->item, 0) < 0)
        request->run(request, -EIO, NULL);
}

/* The first of @list if its number is at most @limit; it is taken out. */
static struct request *take_up_to(struct reads *r, struct request **list, uint64_t limit)
{
    pthread_mutex_lock(&r->lock);
    struct request *request = *list && (*list)->read <= limit ? *list : NULL;
    if (request)
        take_out(request);
    pthread_mutex_unlock(&r->lock);
    return request;
}

/* From one list into the next under one lock: in between it could not be cancelled. */
static bool index_one(struct reads *r, uint64_t number, uint64_t slot, uint64_t applied)
{
    pthread_mutex_lock(&r->lock);
    struct request *request = r->asked && r->asked->read <= number ? r->asked : NULL;
    bool ready = slot <= applied && !r->indexed;
    if (request) {
        take_out(request);
        request->read = slot; /* from now on: the slot */
        if (!ready)
            append(&r->indexed, request);
    }
    pthread_mutex_unlock(&r->lock);
    if (request && ready)
        make_ready(r, request);
    return request != NULL;
}

void reads_on_index(struct reads *r, uint64_t number, uint64_t slot)
{
    uint64_t applied = store_applied(r->store);
    while (index_one(r, number, slot, applied)) {
    }
}

bool reads_wait_for_store(struct reads *r)
{
    pthread_mutex_lock(&r->lock);
    bool wait = r->indexed != NULL;
    pthread_mutex_unlock(&r->lock);
    return wait;
}

void reads_on_applied(struct reads *r, uint64_t applied)
{
    struct request *request;
    while ((request = take_up_to(r, &r->indexed, applied)))
        make_ready(r, request);
}

static void fail_all(struct reads *r, struct request **list, int error)
{
    struct request *request;
    while ((request = take_up_to(r, list, UINT64_MAX)))
        request->run(request, error, NULL);
}

void reads_stop(struct reads *r, int error)
{
    reads_publish(r, &(struct paxos_view){.decided = 0});
    pthread_mutex_lock(&r->lock);
    r->closed = true;
    pthread_mutex_unlock(&r->lock);
    queue_close(&r->ready);
    for (int i = 0; i < READER_THREADS; i++)
        pthread_join(r->threads[i], NULL);
    fail_all(r, &r->incoming, error);
    fail_all(r, &r->asked, error);
    fail_all(r, &r->indexed, error);
    queue_deinit(&r->ready);
}
