#include "consensus/detector.h"

#include "consensus/paxos.h"

#define FIRST_NS    (60 * NS_PER_MS) /* before the very first election ... */
#define STAGGER_NS  (40 * NS_PER_MS) /* ... and per member index */
#define DECREASE_NS (10 * NS_PER_MS) /* per heartbeat */
#define BRIEF_NS    (40 * NS_PER_MS)

void detector_init(struct detector *d, uint64_t seed, uint32_t self, uint64_t now_ns)
{
    d->prng.state = seed;
    d->self = self;
    d->timeout_ns = SUSPECT_NS_MIN;
    d->deadline_ns = now_ns + FIRST_NS + self * STAGGER_NS + prng_below(&d->prng, STAGGER_NS / 4);
}

void detector_wait(struct detector *d, uint64_t now_ns)
{
    d->deadline_ns = now_ns + d->timeout_ns + prng_below(&d->prng, d->timeout_ns / 4);
}

void detector_heard(struct detector *d, uint64_t now_ns)
{
    d->timeout_ns -= DECREASE_NS;
    if (d->timeout_ns < SUSPECT_NS_MIN)
        d->timeout_ns = SUSPECT_NS_MIN;
    detector_wait(d, now_ns);
}

void detector_lost(struct detector *d, uint64_t now_ns)
{
    d->timeout_ns += d->timeout_ns / 2;
    if (d->timeout_ns > SUSPECT_NS_MAX)
        d->timeout_ns = SUSPECT_NS_MAX;
    detector_wait(d, now_ns);
}

void detector_wait_briefly(struct detector *d, uint64_t now_ns)
{
    d->deadline_ns = now_ns + BRIEF_NS + prng_below(&d->prng, BRIEF_NS);
}
