/* consensus/detector.h: when to stop waiting for a leader (PMMC §3).
 *
 * The timeout adapts: longer by half after a lost election, a little shorter with every heartbeat
 * (AIMD). Jitter, and the member's index, keep candidates apart. Pure. */
#ifndef CONSENSUS_DETECTOR_H
#define CONSENSUS_DETECTOR_H

#include <stdbool.h>

#include "base/prng.h"

struct detector {
    struct prng prng;
    uint32_t self;
    uint64_t timeout_ns;
    uint64_t deadline_ns; /* silence until then is suspicious */
};

/* The member with index 0 should win the very first election. */
void detector_init(struct detector *d, uint64_t seed, uint32_t self, uint64_t now_ns);
void detector_heard(struct detector *d, uint64_t now_ns); /* from the leader */
void detector_lost(struct detector *d, uint64_t now_ns);  /* an election: back off */
void detector_wait(struct detector *d, uint64_t now_ns);  /* a whole timeout from now */
/* A candidate asks again soon: the leases of a dead leader may just have ended. */
void detector_wait_briefly(struct detector *d, uint64_t now_ns);
static inline bool detector_suspects(const struct detector *d, uint64_t now_ns)
{
    return now_ns >= d->deadline_ns;
}

#endif
