/* Histories that a reading of the core against its own rules brought up. Beside each stands what
 * was wrong, or what to break, to see it red. */
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

/* ---- who has left can be asked no more ---- */

static bool has_left(const struct cluster *c, uint32_t node)
{
    bool has_seat = configuration_seat(&c->nodes[node].seats, cluster_id(c, node)) < MEMBERS_MAX;
    return cluster_is_gone(c, node) || !has_seat;
}

/* The log of @node has just said what is decided: it says so again in a while. */
static void await_hint(struct cluster *c, uint32_t node)
{
    const struct replica *r = &c->nodes[node].paxos->replica;
    uint64_t hint_ns = r->hint_ns;
    cr_assert(finishes(c, cluster_increment(c, node, 0), SOON));
    RUN_UNTIL(c, SOON, r->hint_ns != hint_ns);
}

/* Of two voters @removed goes; the other one crashes as soon as it has gone, and comes back. */
static void remove_and_crash(uint32_t removed)
{
    struct cluster *c = begin(2);
    uint32_t heir = 1 - removed;
    await_hint(c, heir);
    cr_assert_neq(cluster_remove(c, heir, removed), 0);
    RUN_UNTIL(c, 2 * SOON, has_left(c, removed));
    cluster_lose(c, removed);
    cluster_crash(c, heir);
    cluster_restart(c, heir);
    uint64_t write = cluster_increment(c, heir, 0);
    cr_expect(finishes(c, write, STALL_NS_MAX), "%u was removed", removed);
    end(c);
}

/* The heir of all that was decided before the change must not forget that it was: nobody else can
 * tell. Red: on_heartbeat() does not wait for the hint of the last slot before the change. */
Test(reviewed, the_last_voter_that_stays_remembers_what_was_decided_before_the_others_left)
{
    remove_and_crash(0);
    remove_and_crash(1);
}

Test(reviewed, a_single_voter_that_is_replaced_may_stop_at_once)
{
    struct cluster *c = begin(1);
    uint32_t heir = cluster_add(c, 0);
    RUN_UNTIL(c, 20 * NS_PER_S, has_left(c, 0));
    cluster_lose(c, 0);
    cluster_crash(c, heir);
    cluster_restart(c, heir);
    uint64_t write = cluster_increment(c, heir, 0);
    cr_expect(finishes(c, write, STALL_NS_MAX));
    end(c);
}

/* ---- hand-over ---- */

/* How long it takes until the first slot after the change is decided, when the one voter is
 * replaced by a node whose store applies nothing for @hung_ns. */
static uint64_t replace_by_slow(uint64_t hung_ns)
{
    struct cluster *c = begin(1);
    for (uint32_t i = 0; i < 80; i++) /* who lags by so much has to catch up first */
        cr_assert(finishes(c, cluster_increment(c, 0, 0), SOON));
    uint32_t heir = cluster_add(c, 0);
    uint64_t changes = cluster_counts(c).changes;
    RUN_UNTIL(c, 20 * NS_PER_S, cluster_counts(c).changes > changes);
    cluster_hang_store(c, heir, hung_ns);
    uint64_t from = cluster_view(c, 0).configuration.from, began_ns = cluster_now_ns(c);
    RUN_UNTIL(c, SOON, cluster_decided(c) >= from);
    uint64_t took_ns = cluster_now_ns(c) - began_ns;
    cr_expect(finishes(c, cluster_increment(c, heir, 0), SOON));
    end(c);
    return took_ns;
}

/* Red: choose_successor() takes whoever is far enough, also if it does not know of its vote. */
Test(reviewed, a_replaced_leader_hands_over_as_soon_as_its_successor_knows_of_the_change)
{
    uint64_t quick_ns = replace_by_slow(0), slow_ns = replace_by_slow(80 * NS_PER_MS);
    cr_expect_leq(quick_ns, 60 * NS_PER_MS, "%u us", (unsigned)(quick_ns / 1000));
    cr_expect_leq(slow_ns, 80 * NS_PER_MS + HEARTBEAT_NS + 60 * NS_PER_MS, "%u us",
                  (unsigned)(slow_ns / 1000));
}

/* ---- holders of read leases ---- */

/* Red: read_holders_grant() gives the next life a lease at once. */
Test(reviewed, a_holder_that_dies_again_and_again_does_not_make_writes_crawl)
{
    struct cluster *c = begin(3);
    uint64_t end_ns = cluster_now_ns(c) + 20 * NS_PER_S, stalled_ns = 0;
    uint64_t crash_ns = cluster_now_ns(c);
    while (cluster_now_ns(c) < end_ns) {
        if (cluster_now_ns(c) >= crash_ns) {
            cluster_crash(c, 2);
            cluster_restart(c, 2);
            crash_ns = cluster_now_ns(c) + 800 * NS_PER_MS;
        }
        uint64_t began_ns = cluster_now_ns(c), write = cluster_increment(c, 0, 0);
        cr_assert(finishes(c, write, READ_LEASE_NS + 50 * NS_PER_MS));
        if (cluster_now_ns(c) - began_ns > 20 * NS_PER_MS)
            stalled_ns += cluster_now_ns(c) - began_ns;
        cluster_run(c, NS_PER_MS);
    }
    cr_expect_leq(stalled_ns, 3 * NS_PER_S, "%u ms", (unsigned)(stalled_ns / NS_PER_MS));
    end(c);
}

/* A steady cluster: the leader writes one thing, a follower reads another. */
Test(reviewed, reads_of_quiet_objects_go_by_lease_and_cost_the_writes_nothing)
{
    struct cluster *c = begin(3);
    cluster_reset_sent(c);
    struct cluster_counts before = cluster_counts(c);
    uint64_t longest_ns = 0;
    enum { WRITES = 2000 };
    for (uint32_t i = 0; i < WRITES; i++) {
        uint64_t began_ns = cluster_now_ns(c), write = cluster_increment(c, 0, 0);
        cluster_read(c, 1, 1);
        cr_assert(finishes(c, write, SOON));
        cluster_read(c, 2, 1);
        if (cluster_now_ns(c) - began_ns > longest_ns)
            longest_ns = cluster_now_ns(c) - began_ns;
    }
    struct cluster_counts after = cluster_counts(c);
    uint64_t reads = after.reads - before.reads, local = after.reads_local - before.reads_local;
    cr_expect_geq(local, 2 * WRITES - 4, "%u of %u", (unsigned)local, (unsigned)reads);
    cr_expect_leq(cluster_sent(c, MESSAGE_READ), 4);
    /* There and back, two syncs, and the loops' batching. */
    cr_expect_leq(longest_ns, NS_PER_MS, "%u us", (unsigned)(longest_ns / 1000));
    cr_expect_leq(cluster_sent(c, MESSAGE_LEASE_ACK), 2 * WRITES);
    cr_expect_leq(cluster_sent(c, MESSAGE_P2A), 2 * WRITES);
    cr_expect_leq(cluster_sent(c, MESSAGE_P2B), 2 * WRITES);
    end(c);
}

/* Two of three followers die at once, with leases: one end of theirs, not two. */
Test(reviewed, two_holders_that_die_at_once_delay_writes_once)
{
    struct cluster *c = begin(5);
    cluster_crash(c, 3);
    cluster_crash(c, 4);
    uint64_t began_ns = cluster_now_ns(c);
    for (int i = 0; i < 20; i++)
        cr_assert(finishes(c, cluster_increment(c, 0, 0), SOON));
    cr_expect_leq(cluster_now_ns(c) - began_ns, READ_LEASE_NS + 60 * NS_PER_MS);
    end(c);
}
