/* What a cluster must go on doing under faults that return, and what it costs. */
#include <stdio.h>

#include "consensus/read_lease.h"
#include "tests/scenario/scenario.h"
#include "tests/support/cluster_internal.h"

/* ---- leaders ---- */

struct duel {
    uint32_t a, b;
};

/* Neither of the two hears the other, in anything; the acceptors hear both. */
static bool drop_between(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    const struct duel *d = context;
    (void)m;
    return (from == d->a && to == d->b) || (from == d->b && to == d->a);
}

/* PMMC §3. Red: lease_permits() is true. */
Test(progress, two_leaders_that_do_not_hear_each_other_do_not_duel_for_ever)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct cluster_options options = cluster_calm(5, seed);
        struct cluster *c = cluster_new(&options);
        struct duel d = {0, 1};
        cluster_filter(c, drop_between, &d);
        cr_assert(finishes(c, cluster_increment(c, 2, 0), STALL_NS_MAX));
        cluster_run(c, 5 * NS_PER_S);
        uint64_t round = cluster_view(c, 2).promised.round;
        for (int i = 0; i < 40; i++) {
            cr_expect(finishes(c, cluster_increment(c, 2, 0), 20 * NS_PER_MS), "seed %u",
                      (unsigned)seed);
            cluster_run(c, 100 * NS_PER_MS);
        }
        cr_expect_eq(cluster_view(c, 2).promised.round, round, "one of them leads, and stays");
        end(c);
    }
}

/* Each leader falls, or hands over, with commands at every stage. Red: propose_adopted() proposes
 * no-ops. */
Test(progress, five_nodes_and_many_leaders_keep_every_answered_command)
{
    struct cluster *c = cluster_of(5);
    uint32_t leaders = 0;
    uint64_t given = 0, round = 0;
    for (uint64_t i = 0; i < 24; i++) {
        uint32_t leader = cluster_elect(c, 2 * SOON), follower = other_than(leader, leader);
        cr_assert_lt(leader, 5);
        leaders |= UINT32_C(1) << leader;
        cr_expect_gt(cluster_view(c, leader).ballot.round, round);
        round = cluster_view(c, leader).ballot.round;
        uint64_t id = 0;
        for (int k = 0; k < 10; k++, given++) {
            id = cluster_increment(c, follower, 0);
            cluster_run(c, NS_PER_MS / 10);
        }
        cluster_run(c, i * NS_PER_MS / 20);
        if (i % 3 == 0)
            cluster_hand_over(c, leader);
        else
            cluster_crash(c, leader);
        cr_assert(finishes(c, id, SOON));
        uint64_t read = cluster_read(c, follower, 0);
        cr_assert(finishes(c, read, SOON));
        cr_expect_eq(cluster_value(c, read), given, "each once");
        cluster_run(c, NS_PER_S);
        cluster_restart(c, leader);
    }
    cr_expect_geq(__builtin_popcount(leaders), 3, "%#x", leaders);
    cr_expect(converges(c, 5));
    end(c);
}

Test(progress, a_cut_off_leader_that_still_believes_decides_nothing_and_stops_answering)
{
    struct cluster *c = cluster_of(5);
    uint32_t leader = cluster_elect(c, SOON), other = other_than(leader, leader);
    cr_assert(finishes(c, cluster_increment(c, leader, 0), SOON));
    cr_assert(finishes(c, cluster_increment(c, other, 0), SOON));
    cluster_run(c, NS_PER_S);
    cluster_isolate(c, leader, true);
    uint64_t mine = cluster_increment(c, leader, 0);
    cr_expect_eq(cluster_view(c, leader).role, ROLE_LEADER, "it proposed it");
    uint64_t early = cluster_read(c, leader, 0);
    cr_expect(finishes(c, early, NS_PER_MS), "it may still answer");
    cr_expect_eq(cluster_value(c, early), 2);
    uint64_t theirs = cluster_increment(c, other, 0);
    cr_expect(finishes(c, theirs, STALL_NS_MAX));
    cr_expect_eq(cluster_value(c, theirs), 3);
    uint64_t late = cluster_read(c, leader, 0);
    cr_expect_not(finishes(c, late, NS_PER_S));
    cr_expect_not(cluster_is_done(c, mine));
    cluster_heal(c);
    cr_expect(finishes(c, mine, SOON));
    cr_expect_eq(cluster_value(c, mine), 4, "after the others', once");
    cr_expect(finishes(c, late, SOON));
    end(c);
}

/* Two halves of four, or two of five: nobody has a majority alone. */
Test(progress, no_part_without_a_majority_makes_progress)
{
    struct cluster *c = cluster_of(4);
    cr_assert_lt(cluster_elect(c, SOON), 4);
    for (uint32_t i = 0; i < 4; i++)
        cr_assert(finishes(c, cluster_increment(c, i, 0), SOON));
    for (uint32_t i = 0; i < 4; i++) {
        for (uint32_t k = 0; k < 4; k++)
            cluster_cut(c, i, k, i % 2 != k % 2);
    }
    cluster_run(c, LEASE_NS);
    uint64_t decided = cluster_decided(c), ids[4];
    for (uint32_t i = 0; i < 4; i++)
        ids[i] = cluster_increment(c, i, 0);
    cluster_run(c, 10 * NS_PER_S);
    cr_expect_eq(cluster_decided(c), decided);
    cluster_heal(c);
    for (uint32_t i = 0; i < 4; i++)
        cr_expect(finishes(c, ids[i], SOON));
    end(c);
}

/* ---- for long ---- */

enum { LOTS = 300 };

/* Two of five are cut off from the rest. Returns a node, of the majority unless @is_any. */
static uint32_t repartition(struct cluster *c, bool is_any)
{
    cluster_heal(c);
    uint32_t minority = 0;
    while (__builtin_popcount(minority) < 2)
        minority |= UINT32_C(1) << prng_below(&c->prng, 5);
    for (uint32_t i = 0; i < 5; i++) {
        for (uint32_t k = 0; k < 5; k++)
            cluster_cut(c, i, k, (minority >> i & 1) != (minority >> k & 1));
    }
    uint32_t node;
    do
        node = (uint32_t)prng_below(&c->prng, 5);
    while (!is_any && (minority >> node & 1));
    return node;
}

/* A new partition every @ns: the longest that a command given to a node waits. */
static uint64_t longest_wait(uint64_t ns, bool is_any)
{
    struct cluster *c = cluster_of(5);
    cr_assert_lt(cluster_elect(c, SOON), 5);
    for (uint32_t i = 0; i < 5; i++)
        cr_assert(finishes(c, cluster_increment(c, i, 0), SOON));
    uint64_t longest_ns = 0, sum_ns = 0, commands = 0, id = 0, began_ns = 0;
    for (int i = 0; i < LOTS && !cluster_failure(c); i++) {
        uint32_t node = repartition(c, is_any);
        uint64_t end_ns = cluster_now_ns(c) + ns;
        if (id == 0) {
            began_ns = cluster_now_ns(c);
            id = cluster_increment(c, node, 0);
        }
        if (finishes(c, id, ns)) {
            uint64_t waited_ns = cluster_now_ns(c) - began_ns;
            longest_ns = waited_ns > longest_ns ? waited_ns : longest_ns;
            sum_ns += waited_ns;
            commands++;
            id = 0;
        }
        if (cluster_now_ns(c) < end_ns)
            cluster_run(c, end_ns - cluster_now_ns(c));
    }
    cluster_heal(c);
    cr_expect(converges(c, 5));
    cr_assert_gt(commands, 0);
    printf("a partition every %.1f s: %u commands, the longest wait %.0f ms, on average %.0f ms\n",
           (double)ns / 1e9, (unsigned)commands, (double)longest_ns / 1e6,
           (double)sum_ns / 1e6 / (double)commands);
    end(c);
    return longest_ns;
}

/* A quarter of an hour. A command of the majority's side waits no longer than the longest stall
 * there may be. Red: LEASE_NS is 2.5 s; or a first suspicion takes so long. */
Test(progress, constant_repartitioning_delays_a_command_no_longer_than_a_stall)
{
    cr_expect_leq(longest_wait(3 * NS_PER_S, false), STALL_NS_MAX);
}

/* Partitions that change before a lease has ended, and commands of nodes on either side, which wait
 * there until they are on the right one. */
Test(progress, even_partitions_shorter_than_a_lease_let_commands_through)
{
    cr_expect_leq(longest_wait(700 * NS_PER_MS, true), 15 * NS_PER_S);
}

/* PMMC §4.2. Red: collect() in paxos.c never calls outbox_collect(). */
Test(progress, memory_and_log_stay_bounded_over_a_long_run)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON);
    uint64_t slots_max = 0, kept_max = 0;
    for (int i = 0; i < 20000 && !cluster_failure(c); i++) {
        uint64_t id = cluster_increment(c, (uint32_t)i % 3, 0);
        if (i % 8 == 7)
            cr_assert(finishes(c, id, SOON));
        for (uint32_t n = 0; n < 3; n++) {
            struct paxos_view v = cluster_view(c, n);
            uint64_t kept = v.decided - c->nodes[n].collected;
            slots_max = v.slots_held > slots_max ? v.slots_held : slots_max;
            kept_max = kept > kept_max ? kept : kept_max;
        }
    }
    cr_expect_lt(leader, 3);
    cr_expect_geq(cluster_decided(c), 20000);
    cr_expect_leq(slots_max, WINDOW);
    /* A checkpoint is taken now and then, and told with the next heartbeat. */
    printf("at most %u slots in memory, %u in a log\n", (unsigned)slots_max, (unsigned)kept_max);
    cr_expect_leq(kept_max, 4000);
    cluster_run(c, NS_PER_S);
    for (uint32_t n = 0; n < 3; n++)
        cr_expect_eq(cluster_view(c, n).bytes_held, 0, "nothing of what is applied");
    end(c);
}

/* ---- cost ---- */

struct traffic {
    uint64_t p2as, p2bs, values, other_values; /* values: commands on the wire */
};

static bool count_traffic(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    struct traffic *t = context;
    (void)from;
    (void)to;
    if (m->kind == MESSAGE_P2A) {
        t->p2as++;
        t->values += m->p2a.count;
    }
    t->p2bs += m->kind == MESSAGE_P2B;
    t->other_values += m->kind == MESSAGE_DECISIONS ? m->decisions.count : 0;
    t->other_values += m->kind == MESSAGE_P1B ? m->p1b.count : 0;
    t->other_values += m->kind == MESSAGE_SUBMIT ? m->submit.count : 0;
    return false;
}

/* In the steady state each batch costs every other acceptor one p2a and one p2b, each command
 * travels to it once, and a decision is told by its number. What read leases add: one
 * acknowledgement of a few bytes per holder and batch, and a question and a grant per holder every
 * READ_ASK_NS. Red: send_p2a() is called twice in leader_flush(). */
Test(progress, a_batch_costs_each_acceptor_one_p2a_one_p2b_and_one_acknowledgement)
{
    enum { BATCHES = 50, BATCH = 20 };
    for (uint32_t nodes = 3; nodes <= 5; nodes += 2) {
        struct cluster *c = cluster_of(nodes);
        uint32_t leader = cluster_elect(c, SOON), others = nodes - 1;
        cr_assert(finishes(c, cluster_increment(c, leader, 0), SOON));
        cluster_run(c, NS_PER_S);
        for (uint32_t i = 0; i < nodes; i++)
            cr_assert(i == leader || cluster_view(c, i).lease.until_ns != 0);
        struct traffic t = {0};
        cluster_filter(c, count_traffic, &t);
        cluster_reset_sent(c);
        uint64_t began_ns = cluster_now_ns(c);
        for (int i = 0; i < BATCHES; i++) {
            uint64_t last = 0;
            for (int k = 0; k < BATCH; k++)
                last = cluster_increment(c, leader, 0);
            cr_assert(finishes(c, last, SOON));
        }
        cluster_run(c, NS_PER_MS); /* what is on its way */
        cr_expect_eq(t.p2as, BATCHES * others);
        cr_expect_eq(t.p2bs, BATCHES * others);
        cr_expect_eq(t.values, (uint64_t)BATCHES * BATCH * others, "no command twice");
        cr_expect_eq(t.other_values, 0);
        cr_expect_leq(cluster_sent(c, MESSAGE_DECIDED), BATCHES * others);
        cr_expect_eq(cluster_sent(c, MESSAGE_LEASE_ACK), BATCHES * others);
        uint64_t turns = (cluster_now_ns(c) - began_ns) / READ_ASK_NS + 1;
        cr_expect_leq(cluster_sent(c, MESSAGE_LEASE_ASK), turns * others);
        cr_expect_leq(cluster_sent(c, MESSAGE_LEASE_GRANT), turns * others);
        end(c);
    }
}
