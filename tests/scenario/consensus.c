/* Named histories on the simulated cluster; each ends with every invariant checked. */
#include "tests/scenario/scenario.h"

/* ---- elections ---- */

Test(scenario, the_first_member_leads_within_300_ms_of_the_start)
{
    struct cluster *c = cluster_of(3);
    cr_expect_eq(cluster_elect(c, 300 * NS_PER_MS), 0);
    end(c);
}

Test(scenario, a_single_member_leads_itself_also_after_a_restart)
{
    struct cluster *c = cluster_of(1);
    uint64_t first = cluster_increment(c, 0, 0);
    cr_expect(finishes(c, first, 300 * NS_PER_MS));
    cluster_crash(c, 0);
    cluster_restart(c, 0);
    uint64_t began_ns = cluster_now_ns(c);
    cr_expect_eq(cluster_elect(c, LEASE_GIVEN_NS + 300 * NS_PER_MS), 0);
    cr_expect_geq(cluster_now_ns(c) - began_ns, LEASE_GIVEN_NS / 100 * 98, "silent, as any other");
    uint64_t read = cluster_read(c, 0, 0);
    cr_expect(finishes(c, read, 300 * NS_PER_MS));
    cr_expect_eq(cluster_value(c, read), 1);
    end(c);
}

Test(scenario, after_the_leaders_crash_others_serve_again_within_two_seconds)
{
    for (uint32_t nodes = 3; nodes <= 5; nodes += 2) {
        struct cluster *c = cluster_of(nodes);
        uint32_t leader = cluster_elect(c, SOON);
        uint32_t follower = other_than(leader, leader);
        cr_assert(finishes(c, cluster_increment(c, follower, 0), SOON));
        cluster_crash(c, leader);
        uint64_t id = cluster_increment(c, follower, 0);
        cr_expect(finishes(c, id, STALL_NS_MAX), "%u nodes", nodes);
        uint64_t read = cluster_read(c, follower, 0);
        cr_expect(finishes(c, read, 100 * NS_PER_MS), "%u nodes", nodes);
        cr_expect_eq(cluster_value(c, read), 2);
        end(c);
    }
}

struct duel {
    uint32_t a, b;
};

/* Each of the two hears the acceptors but not the other's heartbeats. */
static bool drop_heartbeats_between(void *context, uint32_t from, uint32_t to,
                                    const struct message *m)
{
    const struct duel *d = context;
    bool is_between = (from == d->a && to == d->b) || (from == d->b && to == d->a);
    return is_between && (m->kind == MESSAGE_HEARTBEAT || m->kind == MESSAGE_P2A);
}

Test(scenario, duelling_candidates_do_not_stop_the_cluster)
{
    struct cluster *c = cluster_of(5);
    struct duel d = {0, 1};
    cluster_filter(c, drop_heartbeats_between, &d);
    uint32_t leader = cluster_elect(c, NS_PER_S);
    (void)leader; /* 1 may never follow 0 */
    uint64_t id = cluster_increment(c, 2, 0);
    cr_expect(finishes(c, id, STALL_NS_MAX));
    cluster_run(c, 5 * NS_PER_S);
    struct ballot ballot = cluster_view(c, 2).ballot;
    cluster_run(c, 5 * NS_PER_S);
    cr_expect_eq(ballot_cmp(cluster_view(c, 2).ballot, ballot), 0, "leases keep the leader");
    end(c);
}

Test(scenario, candidates_at_the_same_moment_cost_no_second_lease)
{
    for (uint64_t seed = 1; seed <= 60; seed++) { /* some are a duel */
        struct cluster_options options = cluster_calm(5, seed);
        options.delay_ns_min = options.delay_ns_max = 5 * NS_PER_MS;
        struct cluster *c = cluster_new(&options);
        uint32_t leader = cluster_elect(c, SOON), follower = other_than(leader, leader);
        cr_assert(finishes(c, cluster_increment(c, follower, 0), SOON));
        cluster_run(c, NS_PER_S);
        cluster_crash(c, leader);
        uint64_t id = cluster_increment(c, follower, 0);
        cr_expect(finishes(c, id, STALL_NS_MAX), "seed %u", (unsigned)seed);
        end(c);
    }
}

static bool drop_p1a(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    (void)to;
    return m->kind == MESSAGE_P1A && from == *(const uint32_t *)context;
}

Test(scenario, a_leader_that_hears_nobody_gives_way)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), follower = other_than(leader, leader);
    cr_assert(finishes(c, cluster_increment(c, follower, 0), SOON));
    for (uint32_t i = 0; i < 3; i++)
        cluster_cut(c, i, leader, true); /* its heartbeats still arrive */
    uint64_t id = cluster_increment(c, follower, 0);
    cr_expect(finishes(c, id, STALL_NS_MAX + NS_PER_S / 2));
    end(c);
}

Test(scenario, a_returning_node_with_a_high_promise_does_not_disrupt)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), lone = other_than(leader, leader);
    cr_assert(finishes(c, cluster_increment(c, leader, 0), SOON));
    /* Cut off right after it took a ballot: its p1as are lost, its promise stays. */
    uint32_t old = leader;
    uint64_t round = cluster_view(c, lone).promised.round;
    cluster_filter(c, drop_p1a, &lone);
    cluster_crash(c, old);
    for (int i = 0; i < 300 && cluster_view(c, lone).promised.round == round; i++)
        cluster_run(c, 10 * NS_PER_MS);
    round = cluster_view(c, lone).promised.round;
    cluster_filter(c, NULL, NULL);
    cluster_isolate(c, lone, true);
    cluster_restart(c, old);
    cr_assert(finishes(c, cluster_increment(c, old, 0), 2 * SOON));
    cr_assert_leq(cluster_view(c, old).promised.round, round, "it led nowhere");
    cluster_run(c, 3 * NS_PER_S);
    cluster_heal(c);
    for (int i = 0; i < 30; i++) {
        uint64_t id = cluster_increment(c, old, 0);
        cr_expect(finishes(c, id, 50 * NS_PER_MS), "no stall, command %d", i);
        cluster_run(c, 50 * NS_PER_MS);
    }
    cr_expect(converges(c, 3));
    cr_expect_eq(cluster_view(c, lone).promised.round, cluster_view(c, old).promised.round,
                 "and it votes again");
    end(c);
}

Test(scenario, a_cut_off_node_takes_no_ballots)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), lone = other_than(leader, leader);
    struct ballot promised = cluster_view(c, lone).promised;
    cluster_isolate(c, lone, true);
    cluster_run(c, 20 * NS_PER_S);
    cr_expect_eq(ballot_cmp(cluster_view(c, lone).promised, promised), 0);
    cluster_heal(c);
    cluster_run(c, NS_PER_S);
    cr_expect_eq(cluster_leader(c), leader);
    cr_expect_eq(cluster_view(c, lone).leader, cluster_view(c, leader).leader);
    end(c);
}

/* ---- the log ---- */

/* Loses the p2as of slots 2 and 4 to everyone else, as long as it is on. */
static bool drop_some_p2as(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    (void)from;
    (void)to;
    uint64_t base = *(const uint64_t *)context;
    return m->kind == MESSAGE_P2A &&
           (m->p2a.pvalues[0].slot == base + 2 || m->p2a.pvalues[0].slot == base + 4);
}

Test(scenario, a_log_with_holes_is_filled_by_the_next_leader)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), follower = other_than(leader, leader);
    cr_assert(finishes(c, cluster_increment(c, leader, 0), SOON));
    cr_assert(finishes(c, cluster_increment(c, follower, 0), SOON));
    uint64_t base = cluster_decided(c);
    cluster_filter(c, drop_some_p2as, &base);
    for (int i = 0; i < 5; i++) {
        cluster_increment(c, leader, 0);
        cluster_run(c, NS_PER_MS);
    }
    cr_expect_eq(cluster_decided(c), base + 1, "in order only");
    cluster_crash(c, leader);
    cluster_filter(c, NULL, NULL);
    uint64_t read = cluster_read(c, follower, 0);
    cr_expect(finishes(c, read, SOON));
    cr_expect_eq(cluster_value(c, read), 5, "slots 3 and 5 had their majority; 2 and 4 are no-ops");
    cluster_restart(c, leader);
    cr_expect(converges(c, 3));
    end(c);
}

static bool drop_decided(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    (void)context;
    (void)from;
    (void)to;
    return m->kind == MESSAGE_P2B;
}

Test(scenario, what_a_leader_proposed_survives_its_death_before_the_decision)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), follower = other_than(leader, leader);
    cr_assert(finishes(c, cluster_increment(c, follower, 0), SOON));
    cluster_filter(c, drop_decided, NULL);
    uint64_t id = cluster_increment(c, follower, 0);
    cluster_run(c, 5 * NS_PER_MS); /* accepted everywhere, decided nowhere */
    cr_expect_not(cluster_is_done(c, id));
    cluster_crash(c, leader);
    cluster_filter(c, NULL, NULL);
    cr_expect(finishes(c, id, STALL_NS_MAX));
    cr_expect_eq(cluster_value(c, id), 2, "once, although its origin sends it again");
    end(c);
}

Test(scenario, a_node_that_missed_much_catches_up_from_another_log)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), lone = other_than(leader, leader);
    cluster_isolate(c, lone, true);
    for (int i = 0; i < 3000; i++) {
        cluster_increment(c, leader, 0);
        cluster_run(c, NS_PER_MS / 2);
    }
    cluster_isolate(c, lone, false);
    cr_expect(converges(c, 3));
    end(c);
}

Test(scenario, a_crash_of_all_nodes_loses_nothing_answered)
{
    struct cluster *c = cluster_of(3);
    cluster_elect(c, SOON);
    for (int i = 0; i < 50; i++)
        cr_assert(finishes(c, cluster_increment(c, 1, 0), SOON));
    for (uint32_t i = 0; i < 3; i++)
        cluster_crash(c, i);
    for (uint32_t i = 0; i < 3; i++)
        cluster_restart(c, i);
    cr_assert_lt(cluster_elect(c, SOON), 3);
    uint64_t read = cluster_read(c, 2, 0);
    cr_expect(finishes(c, read, SOON));
    cr_expect_eq(cluster_value(c, read), 50);
    end(c);
}

/* ---- who is fit to lead ---- */

/* More than a candidate may lack, decided by @node and those it reaches. */
static void decide_much(struct cluster *c, uint32_t node)
{
    uint64_t last = 0;
    for (int i = 0; i < 2 * WINDOW; i++) {
        last = cluster_increment(c, node, 0);
        cluster_run(c, NS_PER_MS / 2);
    }
    cr_assert(finishes(c, last, SOON));
}

static bool drop_decisions(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    (void)context;
    (void)from;
    (void)to;
    return m->kind == MESSAGE_DECISIONS;
}

Test(scenario, a_member_far_behind_does_not_become_the_leader)
{
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct cluster_options options = cluster_calm(3, seed);
        struct cluster *c = cluster_new(&options);
        cr_assert_eq(cluster_elect(c, SOON), 0);
        cr_assert(finishes(c, cluster_increment(c, 2, 0), SOON));
        cluster_crash(c, 0);
        cr_assert(finishes(c, cluster_increment(c, 1, 0), SOON));
        decide_much(c, 1);
        cluster_crash(c, 1);
        cluster_restart(c, 0);
        cluster_filter(c, drop_decisions, NULL); /* to catch up would take for ever */
        uint64_t id = cluster_increment(c, 2, 0);
        cr_expect(finishes(c, id, STALL_NS_MAX), "seed %u", (unsigned)seed);
        cr_expect_eq(cluster_leader(c), 2);
        cluster_filter(c, NULL, NULL);
        cluster_restart(c, 1);
        cr_expect(converges(c, 3));
        end(c);
    }
}

Test(scenario, a_leader_whose_store_hangs_hands_over)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), follower = other_than(leader, leader);
    cr_assert(finishes(c, cluster_increment(c, follower, 0), SOON));
    cluster_hang_store(c, leader, 60 * NS_PER_S);
    uint32_t other = other_than(leader, follower);
    uint64_t mine = 0, theirs = 0;
    for (int i = 0; i < WINDOW / 2 + 20; i++) {
        mine = cluster_increment(c, follower, 0);
        theirs = cluster_increment(c, other, 1);
    }
    cr_expect(finishes(c, mine, STALL_NS_MAX));
    cr_expect(finishes(c, theirs, STALL_NS_MAX));
    uint32_t next = cluster_leader(c);
    cr_expect_neq(next, leader);
    cluster_run(c, 10 * NS_PER_S);
    cr_expect_eq(cluster_leader(c), next, "and nobody hands it back");
    cluster_crash(c, next);
    cluster_run(c, 5 * NS_PER_S);
    cr_expect_eq(cluster_leader(c), other_than(leader, next), "nor does it run");
    cluster_hang_store(c, leader, 0);
    cluster_restart(c, next);
    cr_expect(converges(c, 3));
    end(c);
}

Test(scenario, a_leader_whose_log_hangs_hands_over)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), follower = other_than(leader, leader);
    cr_assert(finishes(c, cluster_increment(c, follower, 0), SOON));
    cluster_slow_disk(c, leader, 60 * NS_PER_S);
    cr_expect(finishes(c, cluster_increment(c, follower, 0), SOON), "two others vote");
    cluster_run(c, STUCK_NS + NS_PER_S);
    cr_expect_neq(cluster_leader(c), leader);
    cr_expect_lt(cluster_leader(c), 3);
    cr_expect(finishes(c, cluster_increment(c, follower, 0), SOON));
    end(c);
}

Test(scenario, a_member_catches_up_and_leads_where_the_one_ahead_cannot)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON);
    uint32_t lone = other_than(leader, leader), hung = other_than(leader, lone);
    cr_assert(finishes(c, cluster_increment(c, lone, 0), SOON));
    cluster_isolate(c, lone, true);
    decide_much(c, leader);
    cluster_hang_store(c, hung, 60 * NS_PER_S);
    cr_assert(finishes(c, cluster_increment(c, leader, 0), SOON));
    cluster_run(c, STUCK_NS + HEARTBEAT_NS);
    cluster_crash(c, leader);
    cluster_isolate(c, lone, false);
    uint64_t id = cluster_increment(c, lone, 0);
    cr_expect(finishes(c, id, SOON));
    cr_expect_eq(cluster_leader(c), lone);
    cluster_hang_store(c, hung, 0);
    cluster_restart(c, leader);
    cr_expect(converges(c, 3));
    end(c);
}

/* ---- partitions and leases ---- */

Test(scenario, a_minority_makes_no_progress_and_answers_no_reads)
{
    struct cluster *c = cluster_of(5);
    uint32_t leader = cluster_elect(c, SOON);
    uint32_t partner = other_than(leader, leader);
    cr_assert(finishes(c, cluster_increment(c, leader, 0), SOON));
    cr_assert(finishes(c, cluster_increment(c, partner, 0), SOON));
    for (uint32_t i = 0; i < 5; i++) {
        if (i != leader && i != partner)
            cluster_isolate(c, i, true);
    }
    cluster_run(c, LEASE_NS);
    uint64_t decided = cluster_decided(c);
    uint64_t write = cluster_increment(c, leader, 0), read = cluster_read(c, leader, 0);
    cluster_run(c, 10 * NS_PER_S);
    cr_expect_eq(cluster_decided(c), decided);
    cr_expect_not(cluster_is_done(c, write));
    cr_expect_not(cluster_is_done(c, read));
    cluster_heal(c);
    cr_expect(finishes(c, write, SOON));
    cr_expect(finishes(c, read, SOON));
    end(c);
}

Test(scenario, a_cut_off_leader_serves_no_longer_than_its_lease_and_the_others_wait_for_it)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON);
    cluster_run(c, NS_PER_S);
    cluster_isolate(c, leader, true);
    uint64_t cut_ns = cluster_now_ns(c);
    while (cluster_leader(c) == leader && cluster_now_ns(c) - cut_ns < SOON)
        cluster_run(c, NS_PER_MS);
    cr_expect_leq(cluster_now_ns(c) - cut_ns, LEASE_COUNTED_NS + NS_PER_MS);
    while (cluster_leader(c) == 3 && cluster_now_ns(c) - cut_ns < SOON)
        cluster_run(c, NS_PER_MS);
    cr_expect_neq(cluster_leader(c), leader);
    cr_expect_geq(cluster_now_ns(c) - cut_ns, LEASE_GIVEN_NS - HEARTBEAT_NS);
    cr_expect_leq(cluster_now_ns(c) - cut_ns, STALL_NS_MAX);
    end(c);
}

Test(scenario, a_restarted_acceptor_keeps_silent_for_a_lease)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON);
    uint32_t one = other_than(leader, leader), two = other_than(leader, one);
    cluster_run(c, NS_PER_S);
    cluster_crash(c, one);
    cluster_restart(c, one);
    cluster_crash(c, two); /* what it promised is known to nobody */
    cluster_restart(c, two);
    cluster_isolate(c, leader, true); /* it may still serve */
    uint64_t cut_ns = cluster_now_ns(c);
    struct ballot promised = cluster_view(c, one).promised;
    cluster_run(c, LEASE_NS - 10 * NS_PER_MS);
    cr_expect_eq(ballot_cmp(cluster_view(c, one).promised, promised), 0);
    cr_expect_eq(ballot_cmp(cluster_view(c, two).promised, promised), 0);
    cluster_run(c, NS_PER_S);
    cr_expect_lt(cluster_leader(c), 3, "then they elect");
    cr_expect_leq(cluster_now_ns(c) - cut_ns, STALL_NS_MAX);
    end(c);
}

Test(scenario, a_hand_over_stalls_nobody)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), follower = other_than(leader, leader);
    cr_assert(finishes(c, cluster_increment(c, follower, 0), SOON));
    for (int i = 0; i < 10; i++) {
        leader = cluster_leader(c);
        cr_assert_lt(leader, 3);
        cluster_hand_over(c, leader);
        uint64_t write = cluster_increment(c, follower, 0), read = cluster_read(c, leader, 0);
        cr_expect(finishes(c, write, 20 * NS_PER_MS), "write %d", i);
        cr_expect(finishes(c, read, 30 * NS_PER_MS), "read %d", i);
        cr_expect_neq(cluster_leader(c), leader);
        cluster_run(c, 200 * NS_PER_MS);
    }
    end(c);
}

/* ---- cost ---- */

Test(scenario, a_command_costs_one_round_and_few_messages)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON);
    cr_assert(finishes(c, cluster_increment(c, leader, 0), SOON));
    cluster_run(c, NS_PER_S);
    cluster_reset_sent(c);
    for (int i = 0; i < 100; i++)
        cr_assert(finishes(c, cluster_increment(c, leader, 0), SOON));
    cr_expect_eq(cluster_sent(c, MESSAGE_P2A), 2 * 100);
    cr_expect_eq(cluster_sent(c, MESSAGE_P2B), 2 * 100);
    cr_expect_leq(cluster_sent(c, MESSAGE_DECIDED), 2 * 100);
    cr_expect_eq(cluster_sent(c, MESSAGE_P1A) + cluster_sent(c, MESSAGE_FETCH), 0);
    end(c);
}

Test(scenario, commands_of_one_burst_share_their_messages)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), follower = other_than(leader, leader);
    cr_assert(finishes(c, cluster_increment(c, follower, 0), SOON));
    cluster_run(c, NS_PER_S);
    cluster_reset_sent(c);
    uint64_t last = 0;
    for (int i = 0; i < 60; i++)
        last = cluster_increment(c, follower, 0);
    cr_assert(finishes(c, last, SOON));
    cr_expect_eq(cluster_sent(c, MESSAGE_SUBMIT), 1);
    cr_expect_eq(cluster_sent(c, MESSAGE_P2A), 2);
    cr_expect_eq(cluster_sent(c, MESSAGE_P2B), 2);
    end(c);
}

Test(scenario, reads_of_a_follower_share_one_question)
{
    struct cluster *c = cluster_of(3);
    uint32_t leader = cluster_elect(c, SOON), follower = other_than(leader, leader);
    cluster_reset_sent(c);
    uint64_t last = 0;
    for (int i = 0; i < 50; i++)
        last = cluster_read(c, follower, 0);
    cr_assert(finishes(c, last, SOON));
    cr_expect_leq(cluster_sent(c, MESSAGE_READ), 2);
    last = cluster_read(c, leader, 0);
    cr_assert(finishes(c, last, NS_PER_MS));
    cr_expect_leq(cluster_sent(c, MESSAGE_READ), 2, "a serving leader asks nobody");
    end(c);
}
