/* rpc/relay.h: through whom to reach a member that the own connection does not reach. Pure.
 *
 * Members tell each other every ALIVE_NS whom they hear. A member that is silent here, or does not
 * hear us, is sent to through another one that hears it; one that nobody hears is dead, and costs
 * nothing. The lengths make sure of that order: by the time a member counts as silent here, the
 * others have told that they no longer hear it, if so it is. */
#ifndef RPC_RELAY_H
#define RPC_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"

#define ALIVE_NS       (200 * NS_PER_MS)
#define HEARS_NS       (2 * ALIVE_NS)        /* heard within that: told to others as heard */
#define RELAY_AFTER_NS (HEARS_NS + ALIVE_NS) /* silent for that: not reached directly */

/* The own connection to a member. */
struct relay_link {
    bool is_up;
    uint64_t heard_ns; /* when bytes came from it last, over any connection; 0: never */
    uint32_t hears;    /* mask: whom it hears, as it said last */
};

/* The mask of the members that are heard. */
uint32_t relay_hears(const struct relay_link *links, uint32_t count, uint64_t now_ns);

/* Who should pass on what goes to @target: its index, or -1 when the own connection does or nobody
 * can. @current is kept while it can; -1: none yet. */
int relay_choose(const struct relay_link *links, uint32_t count, uint32_t self, uint32_t target,
                 int current, uint64_t now_ns);

#endif
