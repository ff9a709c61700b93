#include "fs/frontend_call.h"

#include <errno.h>
#include <stdlib.h>

#include <utlist.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/caller.h"

enum call_state {
    CALL_ARMING,      /* its interrupt function is being set */
    CALL_INTERRUPTED, /* while arming: the worker answers */
    CALL_WAITING,
    CALL_CLAIMED,
};

struct call *call_new(struct frontend *f, fuse_req_t fuse, size_t name_room)
{
    struct call *c = calloc(1, sizeof(*c) + name_room);
    if (!c)
        return NULL;
    c->frontend = f;
    c->fuse = fuse;
    c->caller = fuse_req_ctx(fuse)->pid;
    atomic_init(&c->state, CALL_ARMING);
    atomic_init(&c->refs, 2);
    frontend_ref(f);
    return c;
}

void call_unref(struct call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    struct frontend *f = c->frontend;
    free(c->request.bytes);
    free(c);
    frontend_unref(f);
}

static void list_add(struct call *c)
{
    struct frontend *f = c->frontend;
    pthread_mutex_lock(&f->calls_lock);
    c->since_ns = clock_now_ns(); /* under the lock: the list is in order of time */
    DL_APPEND(f->calls, c);
    f->call_count++;
    pthread_mutex_unlock(&f->calls_lock);
}

static void list_remove_locked(struct call *c)
{
    struct frontend *f = c->frontend;
    DL_DELETE(f->calls, c);
    f->call_count--;
}

static void list_remove(struct call *c)
{
    pthread_mutex_lock(&c->frontend->calls_lock);
    list_remove_locked(c);
    pthread_mutex_unlock(&c->frontend->calls_lock);
}

static bool claim_state(struct call *c)
{
    int expected = CALL_WAITING;
    return atomic_compare_exchange_strong(&c->state, &expected, CALL_CLAIMED);
}

/* After this no interrupt callback runs or will run; it waits for one that does. Not from within
 * it, nor under a lock that it takes. */
static void disarm(struct call *c)
{
    fuse_req_interrupt_func(c->fuse, NULL, NULL);
}

bool call_claim(struct call *c)
{
    if (!claim_state(c))
        return false;
    list_remove(c);
    disarm(c);
    return true;
}

/* Claimed, and out of the list. Taken back before the answer: what its caller then does anew must
 * not meet it. */
static void answer_early(struct call *c, int error)
{
    struct frontend_backend *backend = &c->frontend->config.backend;
    backend->cancel(backend->context, &c->request);
    fuse_reply_err(c->fuse, error);
    call_unref(c);
}

/* From libfuse, which holds the request's lock: either a worker that read INTERRUPT, which also
 * holds a reference to the request; or fuse_req_interrupt_func() itself, which does not: an answer,
 * and with it the end of the request, would pull the lock away from under it. Therefore
 * CALL_ARMING. */
static void on_interrupt(fuse_req_t fuse, void *context)
{
    struct call *c = context;
    atomic_store(&c->interrupted,
                 true); /* before the look: a signal that comes later is the tick's */
    if (!caller_is_ending(c->caller))
        return;
    int expected = CALL_ARMING;
    if (atomic_compare_exchange_strong(&c->state, &expected, CALL_INTERRUPTED))
        return;
    if (!claim_state(c))
        return;
    list_remove(c);
    ASSERT(c->fuse == fuse);
    answer_early(c, EINTR);
}

/* The worker's, before hand-over: answers, and drops both references. */
static void give_up(struct call *c, int error)
{
    list_remove(c);
    disarm(c);
    fuse_reply_err(c->fuse, error);
    call_unref(c);
    call_unref(c);
}

bool call_wait(struct call *c)
{
    struct frontend *f = c->frontend;
    list_add(c);
    fuse_req_interrupt_func(c->fuse, on_interrupt, c);
    int expected = CALL_ARMING;
    if (!atomic_compare_exchange_strong(&c->state, &expected, CALL_WAITING)) {
        ASSERT(expected == CALL_INTERRUPTED);
        give_up(c, EINTR);
        return false;
    }
    /* frontend_stop() first sets this, then answers what is CALL_WAITING: one of us sees the other.
     */
    if (!atomic_load(&f->stopping))
        return true;
    if (claim_state(c)) {
        give_up(c, EIO);
        return false;
    }
    call_unref(c);
    return false;
}

static bool has_waited(const struct call *c, uint64_t now_ns, uint64_t limit_ns)
{
    return now_ns >= c->since_ns && now_ns - c->since_ns >= limit_ns;
}

/* Into @claimed, if nobody else has it. The lock is held: what is in the list is not answered yet.
 */
static void claim_locked(struct call *c, struct call **claimed)
{
    if (!claim_state(c))
        return;
    list_remove_locked(c);
    DL_APPEND(*claimed, c);
}

static void answer_all(struct call *claimed, int error)
{
    struct call *c, *after;
    DL_FOREACH_SAFE(claimed, c, after)
    {
        disarm(c);
        answer_early(c, error);
    }
}

void calls_fail(struct frontend *f, uint64_t now_ns, uint64_t timeo_ns)
{
    struct call *failed = NULL, *c, *after;
    pthread_mutex_lock(&f->calls_lock);
    DL_FOREACH_SAFE(f->calls, c, after)
    {
        if (timeo_ns > 0 && !has_waited(c, now_ns, timeo_ns))
            break;
        claim_locked(c, &failed);
    }
    pthread_mutex_unlock(&f->calls_lock);
    answer_all(failed, EIO);
}

uint32_t calls_interrupted_locked(const struct frontend *f)
{
    const struct call *c;
    uint32_t count = 0;
    DL_FOREACH(f->calls, c)
    {
        count += atomic_load(&c->interrupted);
    }
    return count;
}

void calls_interrupt(struct frontend *f, uint64_t now_ns)
{
    struct call *interrupted = NULL, *c, *after;
    pthread_mutex_lock(&f->calls_lock);
    DL_FOREACH_SAFE(f->calls, c, after)
    {
        /* The kernel sends INTERRUPT once: what comes after a harmless signal is for us to see. */
        if (atomic_load(&c->interrupted) &&
            (has_waited(c, now_ns, INTERRUPT_PATIENCE_NS) || caller_is_ending(c->caller)))
            claim_locked(c, &interrupted);
    }
    pthread_mutex_unlock(&f->calls_lock);
    answer_all(interrupted, EINTR);
}

void reply_error(fuse_req_t fuse, int error)
{
    switch (-error) {
    case 0:
    case ENOENT:
    case ESTALE:
    case ENOTDIR:
    case EISDIR:
    case ENODATA:
    case ERANGE:
    case EINVAL:
    case ENXIO:
    case ENOMEM:
    case ENAMETOOLONG:
    case EOPNOTSUPP:
    case EROFS:
        fuse_reply_err(fuse, -error);
        return;
    default:
        log_event(LOG_WARN, "event=read_failed error=%d", error);
        fuse_reply_err(fuse, EIO);
    }
}
