#include "consensus/wall.h"

#include "base/assert.h"

void wall_init(struct wall *w, uint32_t member_count)
{
    *w = (struct wall){.member_count = member_count};
}

void wall_heard(struct wall *w, uint32_t member, uint64_t wall_ns, uint64_t now_ns)
{
    w->offset[member] = (int64_t)(wall_ns - now_ns);
    w->known |= UINT32_C(1) << member;
}

bool wall_is_known(const struct wall *w)
{
    return (uint32_t)__builtin_popcount(w->known) > w->member_count / 2;
}

uint64_t wall_bounded(const struct wall *w, uint64_t wall_ns, uint64_t now_ns)
{
    ASSERT(wall_is_known(w));
    int64_t sorted[MEMBERS_MAX]; /* ascending */
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->member_count; i++) {
        if (!(w->known & UINT32_C(1) << i))
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
