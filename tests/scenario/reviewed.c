/* Histories that a reading of the core against its own rules brought up. Beside each stands what
 * was wrong, or what to break, to see it red. */
#include <stdlib.h>
#include "consensus/paxos_node.h"
#include "tests/scenario/scenario.h"
#include "tests/support/cluster_internal.h"

#define KIND(name) (UINT32_C(1) << MESSAGE_##name)

/* Run until @condition, at most @ns; it must come true. */
#define RUN_UNTIL(c, ns, condition)                                                                \
    do {                                                                                           \
        uint64_t end_ns_ = cluster_now_ns(c) + (ns);                                               \
        while (!(condition) && cluster_now_ns(c) < end_ns_ && !cluster_failure(c))                 \
            cluster_run(c, NS_PER_MS / 20);                                                        \
        if (cluster_failure(c))                                                                    \
            cr_expect_fail("%s", cluster_failure(c));                                              \
        cr_assert(condition);                                                                      \
    } while (0)

struct losing {
    uint32_t from, to, kinds; /* MEMBERS_MAX: of anyone, to anyone */
};

static bool lose(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    const struct losing *l = context;
    return (l->kinds >> m->kind & 1) && (l->from == MEMBERS_MAX || l->from == from) &&
           (l->to == MEMBERS_MAX || l->to == to);
}

/* @nodes voters with a session each, of which node 0 leads. */
static struct cluster *begin(uint32_t nodes)
{
    struct cluster_options options = cluster_calm(nodes, 5);
    struct cluster *c = cluster_new(&options);
    cr_assert_eq(cluster_elect(c, SOON), 0);
    for (uint32_t i = 0; i < nodes; i++)
        cr_assert(finishes(c, cluster_increment(c, i, 1), SOON));
    cluster_run(c, NS_PER_S);
    return c;
}

/* ---- restarts ---- */

/* A learner that was removed may not know it yet, and its lease still runs: the lone voter that
 * comes back knows of neither. Red: paxos_init() is silent only where there are others. */
Test(reviewed, a_lone_voter_that_restarts_waits_for_the_lease_of_a_learner_it_removed)
{
    struct cluster *c = begin(1);
    uint32_t learner = cluster_add(c, cluster_count(c));
    struct losing acks = {learner, 0, KIND(HEARTBEAT_ACK)}; /* nobody promotes it */
    cluster_filter(c, lose, &acks);
    RUN_UNTIL(c, 10 * NS_PER_S,
              cluster_is_up(c, learner) && cluster_applied(c, learner) == cluster_decided(c));
    cr_assert(finishes(c, cluster_increment(c, 0, 0), SOON));
    RUN_UNTIL(c, SOON, cluster_view(c, learner).lease.until_ns != 0);
    struct losing decided = {0, learner, KIND(DECIDED) | KIND(HEARTBEAT) | KIND(LEASE_GRANT)};
    cluster_run(c, 20 * NS_PER_MS);
    cluster_filter(c, lose, &decided); /* it acknowledges its removal, and does not hear of it */
    cr_assert_neq(cluster_remove(c, 0, learner), 0);
    RUN_UNTIL(c, SOON,
              configuration_seat(&c->nodes[0].seats, cluster_id(c, learner)) == MEMBERS_MAX);
    cluster_isolate(c, learner, true);
    cr_assert_neq(cluster_view(c, learner).lease.until_ns, 0);
    cluster_run(c, 120 * NS_PER_MS); /* the log knows it too */
    cluster_crash(c, 0);
    cluster_restart(c, 0);
    cr_assert_eq(__builtin_popcount(configuration_everyone(&c->nodes[0].seats)), 1);
    uint64_t write = cluster_increment(c, 0, 0);
    cr_expect(finishes(c, write, STALL_NS_MAX)); /* check_holders() looks at the learner */
    end(c);
}
