/* consensus/wall.h: the bound on the time a leader gives its proposals (DESIGN "Time").
 *
 * One clock in 2100 must not fix every later timestamp there: a proposal's time is never more than
 * WALL_AHEAD_NS past the median of the clocks that the heartbeat answers told. Pure. */
#ifndef CONSENSUS_WALL_H
#define CONSENSUS_WALL_H

#include <stdbool.h>

#include "base/limits.h"

#define WALL_AHEAD_NS NS_PER_S

struct wall {
    uint32_t known;              /* mask */
    int64_t offset[MEMBERS_MAX]; /* of the member's wall clock against this node's event clock */
};

void wall_init(struct wall *w);
void wall_heard(struct wall *w, uint32_t member, uint64_t wall_ns, uint64_t now_ns);
void wall_forget(struct wall *w, uint32_t member);
/* Enough clocks of @voters are known for the median to mean something. */
bool wall_is_known(const struct wall *w, uint32_t voters);
/* @wall_ns, the own clock, within the bound. */
uint64_t wall_bounded(const struct wall *w, uint32_t voters, uint64_t wall_ns, uint64_t now_ns);

#endif
