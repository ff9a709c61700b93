/* node/reads.h: reads that wait until the local store holds every change completed before they
 * began, and the threads that then run them.
 *
 * A worker first asks reads_may_begin(): on a leader under its lease, and under a read lease
 * (consensus/read_lease.h), it reads from its own snapshot, and reads_verdict() tells whether that
 * may be the answer. Neither needs another thread. Else the read goes to the loop, takes part in
 * the next read index, waits for that slot, and runs on a reader thread. Those that wait are as
 * many as callers of the kernel wait for them: one leaves when its caller no longer does.
 *
 * Why a leader or holder may answer. Be t a moment after the read began at which this host leads
 * and serves, or holds a lease whose bound its snapshot covers. Every change completed before the
 * read began was decided before t. A leader decided it itself, or had decided it when it began to
 * serve; a holder acknowledged its slot, or had not to, as it held no lease then: the bound covers
 * it. So its slot is pending here or applied (both are marked before anybody is told), and
 * pending_check() knows of it. */
#ifndef NODE_READS_H
#define NODE_READS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "consensus/paxos.h"
#include "fs/pending.h"
#include "fs/request.h"
#include "fs/store.h"

enum { READER_THREADS = 2 };

/* Leave to read from the own store, as the loop publishes it for all threads. */
struct read_leave {
    /* 0 while there is none; differs between two stretches, and when one changes so that its old
     * parts and its new ones do not go together. */
    _Atomic uint64_t stint;
    _Atomic uint64_t slot; /* a leader's: decided; a holder's: the lease's bound */
    _Atomic uint64_t until_ns;
    uint64_t stints; /* loop thread */
};

struct reads {
    struct store *store;
    struct pending *pending;
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

    struct read_leave leading, holding;
};

int reads_init(struct reads *r, struct store *store, struct pending *pending,
               void (*wake)(void *context), void *context);

/* Any thread. True: a read may be tried from a snapshot taken from now on. */
bool reads_may_begin(struct reads *r);
/* Any thread. Whether what was read from @reader's snapshot, of which @set tells, is current. */
enum pending_verdict reads_verdict(struct reads *r, struct store_reader *reader,
                                   const struct read_set *set);
/* Any thread. */
void reads_submit(struct reads *r, struct request *request);
/* End @request with -ECANCELED if its turn has not come. May come before reads_submit(), not after
 * the callback. */
void reads_cancel(struct reads *r, struct request *request);

/* Loop thread. Publish what the core says, before any effect of the same step is performed: a
 * hand-over must not overtake it. */
void reads_publish(struct reads *r, const struct paxos_view *view);
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
