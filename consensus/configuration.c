#include "consensus/configuration.h"

#include "base/assert.h"

static_assert(MEMBERS_MAX < 32, "a mask of seats is a uint32_t");

struct configuration configuration_of(const uint64_t *nodes, uint32_t count)
{
    ASSERT(count >= 1);
    ASSERT(count <= MEMBERS_MAX);
    struct configuration c = {0};
    for (uint32_t i = 0; i < count; i++)
        c.members[i] = nodes[i];
    c.voters = c.voters_before = (UINT32_C(1) << count) - 1;
    return c;
}

uint32_t configuration_everyone(const struct configuration *c)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        mask |= (uint32_t)(c->members[i] != 0) << i;
    return mask;
}

uint32_t configuration_seat(const struct configuration *c, uint64_t node)
{
    uint32_t i = 0;
    while (i < MEMBERS_MAX && (node == 0 || c->members[i] != node))
        i++;
    return i;
}

bool configuration_is_majority_for(const struct configuration *c, uint32_t mask, uint64_t first,
                                   uint64_t last)
{
    if (first < c->from && !configuration_is_majority(mask, c->voters_before))
        return false;
    return last < c->from || configuration_is_majority(mask, c->voters);
}
