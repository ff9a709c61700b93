#include "consensus/wall.h"

#include "base/assert.h"
#include "consensus/configuration.h"

void wall_init(struct wall *w)
{
    *w = (struct wall){0};
}

void wall_heard(struct wall *w, uint32_t member, uint64_t wall_ns, uint64_t now_ns)
{
    w->offset[member] = (int64_t)(wall_ns - now_ns);
    w->known |= UINT32_C(1) << member;
}

void wall_forget(struct wall *w, uint32_t member)
{
    w->known &= ~(UINT32_C(1) << member);
}

bool wall_is_known(const struct wall *w, uint32_t voters)
{
    return configuration_is_majority(w->known, voters);
}

uint64_t wall_bounded(const struct wall *w, uint32_t voters, uint64_t wall_ns, uint64_t now_ns)
{
    ASSERT(wall_is_known(w, voters));
    int64_t sorted[MEMBERS_MAX]; /* ascending */
    uint32_t count = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (!(w->known & voters & UINT32_C(1) << i))
            continue;
        uint32_t at = count++;
        for (; at > 0 && sorted[at - 1] > w->offset[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = w->offset[i];
    }
    /* Of an even number the lower one: too early only costs a nanosecond per slot. */
    uint64_t bound_ns = now_ns + (uint64_t)sorted[(count - 1) / 2] + WALL_AHEAD_NS;
    return wall_ns < bound_ns ? wall_ns : bound_ns;
}
