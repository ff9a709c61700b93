/* tests/scenario/scenario.h: what the scenarios share. */
#ifndef SCENARIO_SCENARIO_H
#define SCENARIO_SCENARIO_H

#include <criterion/criterion.h>

#include "consensus/lease.h"
#include "tests/support/cluster_sim.h"

#define SOON (3 * NS_PER_S)
/* DESIGN: a minority may die; others stall at most this long. */
#define STALL_NS_MAX (2 * NS_PER_S)

static inline struct cluster *cluster_of(uint32_t nodes)
{
    struct cluster_options options = cluster_calm(nodes, 42);
    return cluster_new(&options);
}

/* Every invariant was checked after each step. */
static inline void end(struct cluster *c)
{
    if (cluster_failure(c)) {
        cluster_print_trace(c);
        cr_expect_fail("%s", cluster_failure(c));
    }
    cluster_free(c);
}

static inline bool is_done(const struct cluster *c, const void *context)
{
    return cluster_is_done(c, *(const uint64_t *)context);
}

static inline bool finishes(struct cluster *c, uint64_t id, uint64_t ns)
{
    bool is_in_time = cluster_run_until(c, ns, is_done, &id);
    if (cluster_failure(c))
        cr_expect_fail("%s", cluster_failure(c));
    return is_in_time;
}

static inline bool all_equal(const struct cluster *c, const void *context)
{
    for (uint32_t i = 0; i < *(const uint32_t *)context; i++) {
        if (cluster_applied(c, i) != cluster_decided(c))
            return false;
    }
    return true;
}

static inline bool converges(struct cluster *c, uint32_t nodes)
{
    return cluster_run_until(c, SOON, all_equal, &nodes);
}

/* A member that is neither @a nor @b. */
static inline uint32_t other_than(uint32_t a, uint32_t b)
{
    uint32_t i = 0;
    while (i == a || i == b)
        i++;
    return i;
}

#endif
