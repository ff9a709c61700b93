#include "node/clients.h"

#include <errno.h>
#include <stdlib.h>

#include <utlist.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"

/* A command whose bytes came from a request. */
struct own_command {
    struct command command;
    uint8_t *bytes;
};

static void own_command_release(struct command *c)
{
    struct own_command *own = container_of(c, struct own_command, command);
    free(own->bytes);
    free(own);
}

/* Takes @bytes. */
static struct command *own_command_new(uint64_t node_id, uint64_t epoch, uint8_t *bytes,
                                       uint32_t size)
{
    struct own_command *own = calloc(1, sizeof *own);
    if (!own)
        return NULL;
    own->bytes = bytes;
    own->command = (struct command){.refs = 1,
                                    .size = size,
                                    .node = node_id,
                                    .epoch = epoch,
                                    .bytes = bytes,
                                    .release = own_command_release};
    return &own->command;
}

void clients_init(struct clients *c, uint64_t node_id, uint64_t life, void (*wake)(void *context),
                  void *context)
{
    *c = (struct clients){.node_id = node_id, .life = life, .sequence_next = 1, .low = 1};
    c->wake = wake;
    c->wake_context = context;
    pthread_mutex_init(&c->lock, NULL);
}

void clients_deinit(struct clients *c)
{
    pthread_mutex_destroy(&c->lock);
}

void clients_submit(struct clients *c, struct request *r)
{
    r->submitted_ns = clock_now_ns();
    pthread_mutex_lock(&c->lock);
    int error = r->cancelled ? -ECANCELED : c->closed ? -EIO : 0;
    bool is_first = !c->waiting;
    if (error == 0) {
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

void clients_cancel(struct clients *c, struct request *r)
{
    pthread_mutex_lock(&c->lock);
    bool waits = r->list != NULL;
    if (waits)
        take_out(r);
    r->cancelled = true;
    pthread_mutex_unlock(&c->lock);
    if (waits)
        r->complete(r, -ECANCELED, NULL);
}

struct command *clients_session_open(struct clients *c)
{
    struct fs_command open = {.op = FS_SESSION_OPEN, .nonce = c->life};
    uint8_t *bytes = malloc(COMMAND_SIZE_MAX);
    if (!bytes)
        return NULL;
    uint32_t size = (uint32_t)fs_command_encode(&open, bytes, COMMAND_SIZE_MAX);
    ASSERT(size > 0);
    return own_command_new(c->node_id, 0, realloc(bytes, size), size);
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

struct command *clients_next(struct clients *c)
{
    pthread_mutex_lock(&c->lock);
    bool ready = c->epoch && c->sequence_next - c->low < SESSION_OPEN_MAX;
    pthread_mutex_unlock(&c->lock);
    if (!ready)
        return NULL;

    struct request *r = take_waiting(c);
    if (!r)
        return NULL;
    struct command *command = own_command_new(c->node_id, c->epoch, r->bytes, r->size);
    ASSERT(command); /* less than a page; without it nothing else works either */
    r->bytes = NULL;

    pthread_mutex_lock(&c->lock);
    r->sequence = c->sequence_next++;
    r->numbered_ns = clock_now_ns();
    c->open[r->sequence % SESSION_OPEN_MAX] = r;
    command->sequence = r->sequence;
    command->low = c->low;
    pthread_mutex_unlock(&c->lock);
    return command;
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
    c->epoch = result->outcome.epoch;
    pthread_mutex_unlock(&c->lock);
    log_event(LOG_INFO, "event=session_open epoch=%llu", (unsigned long long)c->epoch);
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

bool clients_on_result(struct clients *c, const struct command *command, uint64_t decided_ns,
                       const struct store_applied *result)
{
    if (command->sequence == 0)
        return on_session_opened(c, command, result);
    if (command->epoch != c->epoch)
        return false; /* of a former life: nobody waits for it */
    if (result->verdict == SESSION_SETTLED)
        return false; /* a repeat of one answered long ago */

    pthread_mutex_lock(&c->lock);
    struct request **at = &c->open[command->sequence % SESSION_OPEN_MAX];
    struct request *r = *at && (*at)->sequence == command->sequence ? *at : NULL;
    pthread_mutex_unlock(&c->lock);
    if (!r)
        return false; /* a repeat of one just answered */

    uint64_t applied_ns = clock_now_ns();
    struct stages took = {.changes = 1,
                          .queue_ns = r->numbered_ns - r->submitted_ns,
                          .decide_ns = decided_ns - r->numbered_ns,
                          .apply_ns = applied_ns - decided_ns};
    if (result->verdict == SESSION_FENCED)
        r->complete(r, -EIO, NULL);
    else
        r->complete(r, 0, &result->outcome);

    /* Answered: only now may the mark pass it (its outcome is no longer needed). */
    pthread_mutex_lock(&c->lock);
    *at = NULL;
    add_stages(&c->stages, &took, clock_now_ns() - applied_ns);
    bool was_full = c->sequence_next - c->low >= SESSION_OPEN_MAX;
    while (c->low < c->sequence_next && !c->open[c->low % SESSION_OPEN_MAX])
        c->low++;
    bool has_room = c->sequence_next - c->low < SESSION_OPEN_MAX;
    pthread_mutex_unlock(&c->lock);
    return was_full && has_room;
}

struct stages clients_stages(struct clients *c)
{
    pthread_mutex_lock(&c->lock);
    struct stages stages = c->stages;
    pthread_mutex_unlock(&c->lock);
    return stages;
}

uint32_t clients_open(struct clients *c)
{
    pthread_mutex_lock(&c->lock);
    uint32_t count = 0;
    for (uint64_t s = c->low; s < c->sequence_next; s++)
        count += c->open[s % SESSION_OPEN_MAX] != NULL;
    pthread_mutex_unlock(&c->lock);
    return count;
}

void clients_fail(struct clients *c, int error)
{
    pthread_mutex_lock(&c->lock);
    c->closed = true;
    pthread_mutex_unlock(&c->lock);
    struct request *r;
    while ((r = take_waiting(c)))
        r->complete(r, error, NULL);
    for (uint32_t i = 0; i < SESSION_OPEN_MAX; i++) {
        if (c->open[i])
            c->open[i]->complete(c->open[i], error, NULL);
        c->open[i] = NULL;
    }
}
