/* node/reads.h: reads that wait until the local store holds every change completed before they
 * began, and the threads that then run them.
 *
 * A worker first asks reads_is_current(), which needs no other thread: it is true on a leader under
 * its lease whose store has applied all it decided. Else the read goes to the loop, takes part in
 * the next read index, waits for that slot, and runs on a reader thread. Those that wait are as
 * many as callers of the kernel wait for them: one leaves when its caller no longer does. */
#ifndef NODE_READS_H
#define NODE_READS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "fs/request.h"
#include "fs/store.h"

enum { READER_THREADS = 2 };

struct reads {
    struct store *store;
    void (*wake)(void *context);
    void *wake_context;
    struct queue ready; /* for the reader threads */
    pthread_t threads[READER_THREADS];

    pthread_mutex_t lock;     /* of the lists, which any thread may shorten */
    struct request *incoming; /* from the frontend's threads */
    struct request *asked;    /* wait for a read index, by number */
    struct request *indexed;  /* wait for a slot to be applied, by slot */
    bool closed;

    uint64_t number; /* of the newest read; loop thread */

    /* What a leader may serve from, for reads_is_current(). `stint` is 0 while it may not, and
     * differs between two stretches in which it may. */
    _Atomic uint64_t stint, decided, until_ns;
    uint64_t stints;
};

int reads_init(struct reads *r, struct store *store, void (*wake)(void *context), void *context);

/* Any thread. */
bool reads_is_current(struct reads *r);
void reads_submit(struct reads *r, struct request *request);
/* End @request with -ECANCELED if its turn has not come. May come before reads_submit(), not after
 * the callback. */
void reads_cancel(struct reads *r, struct request *request);

/* Loop thread. Publish what the core says, before any effect of the same step is performed: a
 * hand-over must not overtake it. @until_ns 0: not serving. */
void reads_publish(struct reads *r, uint64_t decided, uint64_t until_ns);
/* Loop thread: take what came in. Returns the number to give the core's EVENT_READ, or 0 if none.
 */
uint64_t reads_gather(struct reads *r);
/* Reads up to @number may run once @slot is applied. */
void reads_on_index(struct reads *r, uint64_t number, uint64_t slot);
/* Some wait for the store: reads_on_applied() is worth a call. */
bool reads_wait_for_store(struct reads *r);
/* The store applied through @applied. */
void reads_on_applied(struct reads *r, uint64_t applied);
/* End every read that waits, and every later one, with @error; stop the threads. */
void reads_stop(struct reads *r, int error);

#endif
