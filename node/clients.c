#include "node/clients.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include <utlist.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"

/* A command whose bytes came from a request. `request`, `prev` and `next` are under the clients'
 * lock; the node's reference is theirs until the command's result came. */
struct numbered {
    struct command command;
    uint8_t *own;                 /* bytes to free, or NULL: they are ... */
    struct command *former;       /* ... of this command, which was fenced */
    struct request *request;      /* NULL: ended already, by a snapshot */
    struct numbered *prev, *next; /* in `former` of the clients */
};

/* Commands that the core may have undecided: these, and two session opens. */
#define UNDECIDED_MAX (SUBMITS_MAX - 2)

static_assert(SESSION_OPEN_MAX <= UNDECIDED_MAX, "one epoch's commands fit the core");

static void numbered_release(struct command *c)
{
    struct numbered *n = container_of(c, struct numbered, command);
    free(n->own);
    if (n->former)
        command_unref(n->former);
    free(n);
}

/* NULL: no memory. */
static struct numbered *numbered_new(uint64_t node_id, uint64_t epoch)
{
    struct numbered *n = calloc(1, sizeof *n);
    if (n)
        n->command = (struct command){
            .refs = 1, .node = node_id, .epoch = epoch, .release = numbered_release};
    return n;
}

/* Takes @bytes. */
static void numbered_give(struct numbered *n, uint8_t *bytes, uint32_t size)
{
    n->own = bytes;
    n->command.bytes = bytes;
    n->command.size = size;
}

/* Takes the reference to @fenced; of a chain of them only the one that has the bytes is kept. */
static void numbered_take_over(struct numbered *n, struct command *fenced)
{
    struct numbered *before = container_of(fenced, struct numbered, command);
    n->former = before->former ? command_ref(before->former) : command_ref(fenced);
    n->command.bytes = fenced->bytes;
    n->command.size = fenced->size;
    command_unref(fenced);
}

void clients_init(struct clients *c, uint64_t node_id, uint64_t life, void (*wake)(void *context),
                  void *context)
{
    *c = (struct clients){.node_id = node_id, .life = life, .sequence_next = 1, .low = 1};
    c->wake = wake;
    c->wake_context = context;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->room, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

void clients_deinit(struct clients *c)
{
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->room);
}

/* ---- in ---- */

/* One larger than the bound enters when it is alone. */
static bool has_room(const struct clients *c, const struct request *r)
{
    return !r->patient || c->bytes == 0 ||
           (r->size <= CLIENT_BYTES_MAX && c->bytes <= CLIENT_BYTES_MAX - r->size);
}

static int submit_error(const struct clients *c, const struct request *r)
{
    return r->cancelled ? -ECANCELED : c->closed ? -EIO : 0;
}

/* The lock is held. 0, or why @r may not enter. */
static int wait_for_room(struct clients *c, const struct request *r)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(ROOM_WAIT_NS / NS_PER_S);
    int error = submit_error(c, r), rc = 0;
    while (error == 0 && !has_room(c, r)) {
        if (rc == ETIMEDOUT)
            return -ENOMEM;
        rc = pthread_cond_timedwait(&c->room, &c->lock, &until);
        error = submit_error(c, r);
    }
    return error;
}

void clients_submit(struct clients *c, struct request *r)
{
    r->submitted_ns = clock_now_ns();
    pthread_mutex_lock(&c->lock);
    int error = wait_for_room(c, r);
    bool is_first = !c->waiting;
    if (error == 0) {
        c->bytes += r->size;
        DL_APPEND(c->waiting, r);
        r->list = &c->waiting;
    }
    pthread_mutex_unlock(&c->lock);
    if (error)
        r->complete(r, error, NULL);
    else if (is_first)
        c->wake(c->wake_context);
}

static void take_out(struct request *r)
{
    DL_DELETE(*r->list, r);
    r->list = NULL;
}

/* @r is in no list and no table any more. */
static void end(struct clients *c, struct request *r, int error, const struct fs_outcome *outcome)
{
    struct command *fenced = r->fenced;
    r->fenced = NULL;
    pthread_mutex_lock(&c->lock);
    ASSERT(c->bytes >= r->size);
    c->bytes -= r->size;
    pthread_mutex_unlock(&c->lock);
    pthread_cond_broadcast(&c->room);
    if (fenced)
        command_unref(fenced);
    r->complete(r, error, outcome);
}

void clients_cancel(struct clients *c, struct request *r)
{
    pthread_mutex_lock(&c->lock);
    bool waits = r->list != NULL;
    if (waits)
        take_out(r);
    r->cancelled = true;
    pthread_mutex_unlock(&c->lock);
    pthread_cond_broadcast(&c->room);
    if (waits)
        end(c, r, -ECANCELED, NULL);
}

/* ---- to the core ---- */

struct command *clients_session_open(struct clients *c)
{
    enum { ROOM = 64 };
    struct fs_command open = {.op = FS_SESSION_OPEN, .nonce = c->life};
    uint8_t *bytes = malloc(ROOM);
    /* Its epoch is the one known to have ended: an old open that is decided again begins none. */
    struct numbered *n = numbered_new(c->node_id, c->fenced);
    if (!bytes || !n) {
        free(bytes);
        free(n);
        return NULL;
    }
    size_t size = fs_command_encode(&open, bytes, ROOM);
    ASSERT(size > 0);
    numbered_give(n, bytes, (uint32_t)size);
    pthread_mutex_lock(&c->lock);
    c->opening = true;
    pthread_mutex_unlock(&c->lock);
    return &n->command;
}

static struct request *take_waiting(struct clients *c)
{
    pthread_mutex_lock(&c->lock);
    struct request *r = c->waiting;
    if (r)
        take_out(r);
    pthread_mutex_unlock(&c->lock);
    return r;
}

static bool has_window_locked(const struct clients *c)
{
    uint64_t open = c->sequence_next - c->low;
    return open < SESSION_OPEN_MAX && open + c->former_count < UNDECIDED_MAX;
}

enum readiness { NOT_READY, READY, SESSION_NEEDED };

static enum readiness readiness_of(struct clients *c)
{
    pthread_mutex_lock(&c->lock);
    enum readiness ready = NOT_READY;
    if (c->epoch > c->fenced)
        ready = has_window_locked(c) ? READY : NOT_READY;
    else if (c->epoch && !c->opening)
        ready = SESSION_NEEDED;
    pthread_mutex_unlock(&c->lock);
    return ready;
}

/* Should the epoch have ended just now, @n will be fenced like others of it. */
static void number(struct clients *c, struct request *r, struct numbered *n)
{
    pthread_mutex_lock(&c->lock);
    n->request = r;
    r->numbered_ns = clock_now_ns();
    n->command.epoch = c->epoch;
    n->command.sequence = c->sequence_next++;
    n->command.low = c->low;
    ASSERT(!c->open[n->command.sequence % SESSION_OPEN_MAX]);
    c->open[n->command.sequence % SESSION_OPEN_MAX] = n;
    command_ref(&n->command);
    pthread_mutex_unlock(&c->lock);
}

struct command *clients_next(struct clients *c)
{
    enum readiness ready = readiness_of(c);
    if (ready == SESSION_NEEDED)
        return clients_session_open(c);
    struct request *r = ready == READY ? take_waiting(c) : NULL;
    if (!r)
        return NULL;
    struct numbered *n = numbered_new(c->node_id, 0); /* the epoch comes with the number */
    ASSERT(n); /* less than a page; without it nothing else works either */
    if (r->fenced)
        numbered_take_over(n, r->fenced);
    else
        numbered_give(n, request_bytes_take(r), r->size);
    r->fenced = NULL;
    number(c, r, n);
    return &n->command;
}

/* ---- out; the lock is held where a name says so ---- */

static struct numbered *find_locked(struct clients *c, uint64_t epoch, uint64_t sequence)
{
    struct numbered *n;
    if (epoch == c->epoch) {
        n = c->open[sequence % SESSION_OPEN_MAX];
        return n && n->command.sequence == sequence ? n : NULL;
    }
    DL_FOREACH(c->former, n)
    {
        if (n->command.epoch == epoch && n->command.sequence == sequence)
            return n;
    }
    return NULL;
}

/* Its result came: only now may the mark pass it (its outcome is no longer needed). */
static void forget_locked(struct clients *c, struct numbered *n)
{
    if (n->command.epoch != c->epoch) {
        DL_DELETE(c->former, n);
        c->former_count--;
        return;
    }
    c->open[n->command.sequence % SESSION_OPEN_MAX] = NULL;
    while (c->low < c->sequence_next && !c->open[c->low % SESSION_OPEN_MAX])
        c->low++;
}

static bool was_numbered_before(const struct request *a, const struct request *b)
{
    if (!b->fenced)
        return true;
    if (a->fenced->epoch != b->fenced->epoch)
        return a->fenced->epoch < b->fenced->epoch;
    return a->fenced->sequence < b->fenced->sequence;
}

/* Among those that were fenced as @r was, in their old order. */
static void wait_again_locked(struct clients *c, struct request *r)
{
    struct request *after = c->waiting;
    while (after && !was_numbered_before(r, after))
        after = after->next;
    if (after)
        DL_PREPEND_ELEM(c->waiting, after, r);
    else
        DL_APPEND(c->waiting, r);
    r->list = &c->waiting;
}

/* An epoch has ended that was not known to have. */
static bool note_fenced_locked(struct clients *c, uint64_t epoch)
{
    if (epoch > c->epoch || epoch <= c->fenced)
        return false;
    c->fenced = epoch;
    return true;
}

/* @n was never applied, and never will be. */
static void number_anew(struct clients *c, struct numbered *n)
{
    pthread_mutex_lock(&c->lock);
    struct request *r = n->request;
    int error = submit_error(c, r);
    n->request = NULL;
    r->fenced = command_ref(&n->command);
    if (error == 0)
        wait_again_locked(c, r);
    pthread_mutex_unlock(&c->lock);
    if (error)
        end(c, r, error, NULL);
}

/* Requests of the epoch before go on to wait for their own results. */
static void begin_epoch_locked(struct clients *c, uint64_t epoch)
{
    for (uint64_t sequence = c->low; sequence < c->sequence_next; sequence++) {
        struct numbered **at = &c->open[sequence % SESSION_OPEN_MAX];
        if (!*at)
            continue;
        DL_APPEND(c->former, *at);
        c->former_count++;
        *at = NULL;
    }
    c->epoch = epoch;
    c->sequence_next = c->low = 1;
}

static bool on_session_opened(struct clients *c, const struct command *command,
                              const struct store_applied *result)
{
    struct fs_command open;
    if (fs_command_decode(command->bytes, command->size, &open) < 0 || open.nonce != c->life)
        return false; /* of a former life */
    if (result->outcome.error) {
        atomic_store(&c->refused, true);
        return true;
    }
    pthread_mutex_lock(&c->lock);
    bool is_new = result->outcome.epoch > c->epoch;
    if (command->epoch == c->fenced) /* the latest that was asked for */
        c->opening = false;
    if (is_new)
        begin_epoch_locked(c, result->outcome.epoch);
    pthread_mutex_unlock(&c->lock);
    if (is_new)
        log_event(LOG_INFO, "event=session_open epoch=%llu",
                  (unsigned long long)result->outcome.epoch);
    return true;
}

static void add_stages(struct stages *sum, const struct stages *took, uint64_t answer_ns)
{
    sum->changes += took->changes;
    sum->queue_ns += took->queue_ns;
    sum->decide_ns += took->decide_ns;
    sum->apply_ns += took->apply_ns;
    sum->answer_ns += answer_ns;
}

static void answer(struct clients *c, struct numbered *n, uint64_t decided_ns,
                   const struct fs_outcome *outcome)
{
    struct request *r = n->request;
    uint64_t applied_ns = clock_now_ns();
    struct stages took = {.changes = 1,
                          .queue_ns = r->numbered_ns - r->submitted_ns,
                          .decide_ns = decided_ns - r->numbered_ns,
                          .apply_ns = applied_ns - decided_ns};
    end(c, r, 0, outcome);
    pthread_mutex_lock(&c->lock);
    n->request = NULL;
    add_stages(&c->stages, &took, clock_now_ns() - applied_ns);
    pthread_mutex_unlock(&c->lock);
}

bool clients_on_result(struct clients *c, const struct command *command, uint64_t decided_ns,
                       const struct store_applied *result)
{
    if (command->sequence == 0)
        return on_session_opened(c, command, result);
    bool is_fenced = result->verdict == SESSION_FENCED;
    pthread_mutex_lock(&c->lock);
    struct numbered *n = find_locked(c, command->epoch, command->sequence);
    bool has_ended = is_fenced && note_fenced_locked(c, command->epoch);
    pthread_mutex_unlock(&c->lock);
    if (has_ended)
        log_event(LOG_WARN, "event=session_ended epoch=%llu", (unsigned long long)command->epoch);
    if (!n)
        return has_ended; /* a repeat, or of a former life: nobody waits for it */

    if (n->request && is_fenced) {
        number_anew(c, n);
    } else if (n->request) {
        ASSERT(result->verdict != SESSION_SETTLED); /* the mark never passed it */
        answer(c, n, decided_ns, &result->outcome);
    }
    pthread_mutex_lock(&c->lock);
    bool was_full = !has_window_locked(c);
    forget_locked(c, n);
    bool has_room_now = was_full && has_window_locked(c);
    pthread_mutex_unlock(&c->lock);
    command_unref(&n->command);
    return has_ended || is_fenced || has_room_now;
}

/* ---- after a snapshot ---- */

/* Its command stays with the core until it is decided (again), and so in its place here. */
static void end_skipped(struct clients *c, struct numbered *n, const struct fs_outcome *outcome)
{
    pthread_mutex_lock(&c->lock);
    struct request *r = n->request;
    n->request = NULL;
    pthread_mutex_unlock(&c->lock);
    end(c, r, 0, outcome);
}

/* 0 or -errno: then nothing happened, and the core has the command decided again. */
static int settle_skipped(struct clients *c, struct numbered *n, struct store_outcomes *o,
                          uint64_t *fenced)
{
    enum session_verdict verdict;
    struct fs_outcome outcome;
    int rc = store_outcome_of(o, n->command.epoch, n->command.sequence, &verdict, &outcome);
    if (rc < 0 || verdict == SESSION_NEW) /* its result will come */
        return rc;
    ASSERT(verdict != SESSION_SETTLED); /* the mark never passed it */
    if (verdict == SESSION_REPEATED) {
        end_skipped(c, n, &outcome);
        return 0;
    }
    if (n->command.epoch > *fenced)
        *fenced = n->command.epoch;
    number_anew(c, n);
    return 0;
}

/* Those that wait for their results. */
static uint32_t list_open(struct clients *c, struct numbered *list[UNDECIDED_MAX])
{
    struct numbered *n;
    uint32_t count = 0;
    pthread_mutex_lock(&c->lock);
    DL_FOREACH(c->former, n)
    {
        if (n->request)
            list[count++] = n;
    }
    for (uint64_t sequence = c->low; sequence < c->sequence_next; sequence++) {
        n = c->open[sequence % SESSION_OPEN_MAX];
        if (n && n->request)
            list[count++] = n;
    }
    pthread_mutex_unlock(&c->lock);
    return count;
}

/* Nobody else takes something out meanwhile; what the loop adds is later than the snapshot. */
static int settle_all(struct clients *c, struct store_outcomes *o)
{
    struct numbered *list[UNDECIDED_MAX];
    uint64_t fenced = 0;
    uint32_t count = list_open(c, list);
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = settle_skipped(c, list[i], o, &fenced);
    pthread_mutex_lock(&c->lock);
    note_fenced_locked(c, fenced);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static int read_outcomes(const struct clients *c, struct store *store, struct store_outcomes **out)
{
    struct store_reader *r = NULL;
    int rc = store_reader_new(store, &r);
    if (rc == 0)
        rc = store_read_begin(r);
    if (rc == 0) {
        rc = store_outcomes_read(r, c->node_id, out);
        store_read_end(r);
    }
    store_reader_free(r);
    return rc;
}

void clients_on_installed(struct clients *c, struct store *store)
{
    struct store_outcomes *o = NULL;
    int rc = read_outcomes(c, store, &o);
    if (rc == 0)
        rc = settle_all(c, o);
    store_outcomes_free(o);
    if (rc < 0)
        log_event(LOG_WARN, "event=outcomes_unread error=%d", rc);
    c->wake(c->wake_context);
}

struct stages clients_stages(struct clients *c)
{
    pthread_mutex_lock(&c->lock);
    struct stages stages = c->stages;
    pthread_mutex_unlock(&c->lock);
    return stages;
}

uint64_t clients_bytes(struct clients *c)
{
    pthread_mutex_lock(&c->lock);
    uint64_t bytes = c->bytes;
    pthread_mutex_unlock(&c->lock);
    return bytes;
}

/* The one that waits longest for its result; none: NULL. */
static struct numbered *take_numbered(struct clients *c)
{
    pthread_mutex_lock(&c->lock);
    struct numbered *n = c->former;
    if (!n && c->low < c->sequence_next)
        n = c->open[c->low % SESSION_OPEN_MAX];
    if (n)
        forget_locked(c, n);
    pthread_mutex_unlock(&c->lock);
    return n;
}

void clients_fail(struct clients *c, int error)
{
    pthread_mutex_lock(&c->lock);
    c->closed = true;
    pthread_mutex_unlock(&c->lock);
    pthread_cond_broadcast(&c->room);
    struct request *r;
    while ((r = take_waiting(c)))
        end(c, r, error, NULL);
    struct numbered *n;
    while ((n = take_numbered(c))) {
        if (n->request)
            end(c, n->request, error, NULL);
        command_unref(&n->command);
    }
}
