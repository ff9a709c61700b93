/* consensus/ballot.h: (round, leader id), compared round first (PMMC §2.2). Round 0 is bottom. */
#ifndef CONSENSUS_BALLOT_H
#define CONSENSUS_BALLOT_H

#include <stdbool.h>
#include <stdint.h>

/* A message with a higher round is refused. Each election takes the next one: at a thousand a
 * second that lasts 8,900 years, while one bad message could otherwise use up all that there are.
 */
#define ROUND_MAX (UINT64_C(1) << 48)

struct ballot {
    uint64_t round;
    uint64_t leader; /* node id */
};

static inline int ballot_cmp(struct ballot a, struct ballot b)
{
    if (a.round != b.round)
        return a.round < b.round ? -1 : 1;
    if (a.leader != b.leader)
        return a.leader < b.leader ? -1 : 1;
    return 0;
}

static inline bool ballot_is_bottom(struct ballot b)
{
    return b.round == 0;
}

#endif
