/* consensus/configuration.h: which voters govern which slots (PMMC §4.2 "Reconfiguration").
 *
 * A member has a seat, an index below MEMBERS_MAX, for as long as it is one; a mask of members has
 * bit 1 << seat. A change of voters decided in slot s governs from slot s + WINDOW on, and changes
 * do not overlap: so of the slots not yet decided at most two configurations govern any. Learners
 * have a seat and no vote. Everyone with a seat promises and accepts; only the votes of voters of
 * the configuration that governs a slot count for it. Pure. */
#ifndef CONSENSUS_CONFIGURATION_H
#define CONSENSUS_CONFIGURATION_H

#include <stdbool.h>

#include "base/limits.h"

struct configuration {
    uint64_t members[MEMBERS_MAX]; /* node ids by seat; 0: free */
    uint64_t from;                 /* slots >= from are governed by `voters`, ... */
    uint32_t voters_before;        /* ... those below by these: masks of seats */
    uint32_t voters;
};

/* @count voters in the seats 0, 1, ...: the configuration a cluster begins with. */
struct configuration configuration_of(const uint64_t *nodes, uint32_t count);

/* The voters that govern @slot. */
static inline uint32_t configuration_voters(const struct configuration *c, uint64_t slot)
{
    return slot < c->from ? c->voters_before : c->voters;
}

/* Everyone with a seat. */
uint32_t configuration_everyone(const struct configuration *c);
/* Seat of @node; MEMBERS_MAX: it has none. */
uint32_t configuration_seat(const struct configuration *c, uint64_t node);

/* It votes on slots before the change, and has left from then on. */
static inline bool configuration_is_leaving(const struct configuration *c, uint32_t seat)
{
    return (c->voters_before & ~c->voters) >> seat & 1;
}

/* More than half of @voters are in @mask. */
static inline bool configuration_is_majority(uint32_t mask, uint32_t voters)
{
    return 2 * __builtin_popcount(mask & voters) > __builtin_popcount(voters);
}

/* ... of every configuration that governs a slot of first..last. */
bool configuration_is_majority_for(const struct configuration *c, uint32_t mask, uint64_t first,
                                   uint64_t last);

/* The slots that a node could propose in, and the configuration they are governed by. */
struct in_play {
    const struct configuration *configuration;
    uint64_t first, last;
};

static inline bool in_play_is_majority(const struct in_play *p, uint32_t mask)
{
    return configuration_is_majority_for(p->configuration, mask, p->first, p->last);
}

#endif
