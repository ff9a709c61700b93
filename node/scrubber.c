#include "node/scrubber.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"

struct scrubber {
    struct store *store;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stopped;
    bool stopping;
    struct scrub shown; /* under lock */
};

/* Wait; false: it is to stop. */
static bool rest(struct scrubber *s, uint64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t sum = (uint64_t)until.tv_nsec + ns;
    until.tv_sec += (time_t)(sum / NS_PER_S);
    until.tv_nsec = (long)(sum % NS_PER_S);
    pthread_mutex_lock(&s->lock);
    int rc = 0;
    while (!s->stopping && rc == 0)
        rc = pthread_cond_timedwait(&s->stopped, &s->lock, &until);
    bool goes_on = !s->stopping;
    pthread_mutex_unlock(&s->lock);
    return goes_on;
}

static bool step(struct scrubber *s, struct store_reader *reader, struct scrub *scrub)
{
    if (store_read_begin(reader))
        return false; /* there is nothing to check: later */
    bool is_end = store_scrub(reader, scrub, SCRUB_STEP_BYTES);
    store_read_end(reader);
    pthread_mutex_lock(&s->lock);
    s->shown = *scrub;
    pthread_mutex_unlock(&s->lock);
    return is_end;
}

static void *scrubber_main(void *argument)
{
    struct scrubber *s = argument;
    struct scrub scrub = {0};
    struct store_reader *reader = NULL;
    uint64_t pause_ns = SCRUB_STEP_NS;
    while (rest(s, pause_ns)) {
        bool is_ready = reader || store_reader_new(s->store, &reader) == 0;
        pause_ns = is_ready && step(s, reader, &scrub) ? SCRUB_PAUSE_NS : SCRUB_STEP_NS;
    }
    store_reader_free(reader);
    return NULL;
}

struct scrubber *scrubber_start(struct store *store)
{
    struct scrubber *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->store = store;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->stopped, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&s->lock, NULL);
    if (pthread_create(&s->thread, NULL, scrubber_main, s)) {
        free(s);
        return NULL;
    }
    pthread_setname_np(s->thread, "scrub");
    return s;
}

void scrubber_view(struct scrubber *s, struct scrub *view)
{
    *view = (struct scrub){0};
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    *view = s->shown;
    pthread_mutex_unlock(&s->lock);
}

void scrubber_stop(struct scrubber *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_mutex_unlock(&s->lock);
    pthread_cond_signal(&s->stopped);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->stopped);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
