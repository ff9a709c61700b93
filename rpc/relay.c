#include "rpc/relay.h"

static uint32_t bit(uint32_t index)
{
    return UINT32_C(1) << index;
}

/* @now_ns was taken before the bytes may have come. */
static uint64_t silence(const struct relay_link *link, uint64_t now_ns)
{
    return now_ns > link->heard_ns ? now_ns - link->heard_ns : 0;
}

static bool is_heard(const struct relay_link *link, uint64_t now_ns)
{
    return link->is_up && silence(link, now_ns) <= HEARS_NS;
}

uint32_t relay_hears(const struct relay_link *links, uint32_t count, uint64_t now_ns)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < count; i++)
        if (is_heard(&links[i], now_ns))
            mask |= bit(i);
    return mask;
}

/* A link that heals carries the two directions' lost bytes again at different times: hearing it is
 * not yet being heard. */
static bool is_reached(const struct relay_link *link, uint32_t self, uint64_t now_ns)
{
    if (silence(link, now_ns) > RELAY_AFTER_NS)
        return false;
    return !link->is_up || (link->hears & bit(self)); /* just lost: it is dialled anew first */
}

int relay_choose(const struct relay_link *links, uint32_t count, uint32_t self, uint32_t target,
                 int current, uint64_t now_ns)
{
    int chosen = -1;
    if (target == self || is_reached(&links[target], self, now_ns))
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        if (i == self || i == target || !is_heard(&links[i], now_ns) ||
            !(links[i].hears & bit(target)))
            continue;
        if ((int)i == current)
            return current;
        if (chosen < 0)
            chosen = (int)i;
    }
    return chosen;
}
