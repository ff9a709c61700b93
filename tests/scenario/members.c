/* Members that come and go, on the simulated cluster: every invariant is checked after each step,
 * among them that whoever decides a slot has a majority of the voters that govern it. */
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

/* @nodes voters with a session each. */
static struct cluster *begin(uint32_t nodes, uint64_t log_slots_max)
{
    struct cluster_options options = cluster_calm(nodes, 5);
    options.log_slots_max = (uint32_t)log_slots_max;
    struct cluster *c = cluster_new(&options);
    cr_assert_eq(cluster_elect(c, SOON), 0);
    for (uint32_t i = 0; i < nodes; i++)
        cr_assert(finishes(c, cluster_increment(c, i, 1), SOON));
    return c;
}

static void decide(struct cluster *c, uint32_t node, uint32_t count)
{
    uint64_t last = 0;
    for (uint32_t i = 0; i < count; i++) {
        last = cluster_increment(c, node, 0);
        cluster_run(c, NS_PER_MS / 2);
    }
    cr_assert(finishes(c, last, SOON));
}

static struct configuration configuration(const struct cluster *c, uint32_t node)
{
    return cluster_view(c, node).configuration;
}

static bool is_settled(const struct cluster *c, const void *context)
{
    (void)context;
    return cluster_is_settled(c);
}

static bool settles(struct cluster *c)
{
    bool is_in_time = cluster_run_until(c, 20 * NS_PER_S, is_settled, NULL);
    if (cluster_failure(c))
        cr_expect_fail("%s", cluster_failure(c));
    return is_in_time;
}

/* One more; to vote. */
static uint32_t add(struct cluster *c)
{
    uint32_t node = cluster_add(c, cluster_count(c));
    cr_assert_lt(node, MEMBERS_MAX);
    return node;
}

static enum machine_kind decided_in(const struct cluster *c, uint64_t slot)
{
    const struct command *command = c->slots.at[slot].decided.command;
    cr_assert_not_null(command);
    return command_is_noop(command) ? 0 : machine_change_of(command).kind;
}

/* ---- which slots a change governs ---- */

/* Red: leader_decision() takes `voters` for every slot. */
Test(members, an_added_voter_counts_from_a_window_on_and_not_before)
{
    struct cluster *c = begin(1, 0);
    uint32_t added = add(c);
    RUN_UNTIL(c, 10 * NS_PER_S, configuration(c, 0).from > 0);
    cluster_isolate(c, added, true);
    uint64_t from = configuration(c, 0).from;
    cr_expect_eq(decided_in(c, from - WINDOW), MACHINE_PROMOTE);
    cluster_run(c, 3 * NS_PER_S);
    cr_expect_eq(cluster_decided(c), from - 1, "the one alone decides all before, and no more");
    cluster_isolate(c, added, false);
    RUN_UNTIL(c, SOON, cluster_decided(c) >= from);
    cr_expect(settles(c));
    end(c);
}

/* Red: leader_decision() takes `voters` for every slot. */
Test(members, a_removed_voter_counts_until_a_window_later)
{
    struct cluster *c = begin(2, 0);
    cluster_run(c, NS_PER_S);
    uint64_t call = cluster_remove(c, 0, 1);
    RUN_UNTIL(c, SOON, configuration(c, 0).from > 0);
    cluster_isolate(c, 1, true);
    uint64_t from = configuration(c, 0).from;
    cr_expect_eq(cluster_value(c, call), MEMBERSHIP_DONE);
    cr_expect_eq(decided_in(c, from - WINDOW), MACHINE_REMOVE);
    cluster_run(c, NS_PER_S / 2);
    cr_expect_lt(cluster_decided(c), from - 1, "it takes both");
    cluster_isolate(c, 1, false);
    RUN_UNTIL(c, SOON, cluster_decided(c) >= from - 1);
    cluster_isolate(c, 1, true);
    cr_expect(finishes(c, cluster_increment(c, 0, 0), SOON), "one alone, from then on");
    cluster_isolate(c, 1, false);
    cr_expect(settles(c));
    cr_expect(cluster_is_gone(c, 1));
    end(c);
}

/* Red: fill_window() proposes no no-ops up to `from`. */
Test(members, no_ops_bring_a_change_into_force_where_nobody_writes)
{
    struct cluster *c = begin(3, 0);
    uint32_t added = add(c);
    RUN_UNTIL(c, 10 * NS_PER_S, configuration(c, 0).from > 0);
    uint64_t from = configuration(c, 0).from, began_ns = cluster_now_ns(c);
    RUN_UNTIL(c, NS_PER_S, cluster_decided(c) >= from);
    cr_expect_leq(cluster_now_ns(c) - began_ns, 100 * NS_PER_MS);
    uint32_t noops = 0;
    for (uint64_t slot = from - WINDOW + 1; slot <= from; slot++)
        noops += decided_in(c, slot) == 0;
    cr_expect_geq(noops, WINDOW - 4);
    cr_expect(settles(c));
    cr_expect(configuration(c, 0).voters >>
                  configuration_seat(&c->nodes[0].seats, c->nodes[added].id) &
              1);
    uint64_t decided = cluster_decided(c);
    cluster_run(c, 5 * NS_PER_S);
    cr_expect_eq(cluster_decided(c), decided, "and then no more of them");
    end(c);
}

/* Red: membership_remove() does not compare slot and `from`. */
Test(members, a_change_before_the_last_one_governs_is_busy)
{
    struct cluster *c = begin(5, 0);
    cluster_run(c, NS_PER_S);
    uint64_t first = cluster_remove(c, 0, 3), second = cluster_remove(c, 0, 4);
    cr_expect(finishes(c, first, SOON));
    cr_expect(finishes(c, second, SOON));
    cr_expect_eq(cluster_value(c, first), MEMBERSHIP_DONE);
    cr_expect_eq(cluster_value(c, second), MEMBERSHIP_BUSY);
    cr_expect(settles(c));
    uint64_t again = cluster_remove(c, 0, 4);
    cr_expect(finishes(c, again, SOON));
    cr_expect_eq(cluster_value(c, again), MEMBERSHIP_DONE);
    cr_expect(settles(c));
    cr_expect_eq(__builtin_popcount(configuration(c, 0).voters), 3);
    end(c);
}

/* Red: membership_replace() does not start_leaving(). */
Test(members, a_replacement_is_one_change)
{
    struct cluster *c = begin(3, 0);
    cluster_lose(c, 2);
    uint32_t added = cluster_add(c, 2);
    cr_expect(settles(c));
    cr_expect_eq(cluster_counts(c).changes, 1);
    struct configuration now = configuration(c, 0);
    cr_expect_eq(__builtin_popcount(now.voters), 3);
    cr_expect_eq(configuration_seat(&now, cluster_id(c, 2)), MEMBERS_MAX);
    cr_expect(now.voters >> configuration_seat(&now, cluster_id(c, added)) & 1);
    cluster_crash(c, 1);
    cr_expect(finishes(c, cluster_increment(c, 0, 0), SOON), "with the vote of the new one");
    end(c);
}

/* ---- going on ---- */

/* Red: lead_on() does not ask leader_is_done(); or leader_on_lease_ask() grants to who is leaving.
 */
Test(members, a_removed_leader_hands_over_without_a_stall)
{
    struct cluster *c = begin(4, 0);
    cluster_run(c, NS_PER_S);
    cr_assert_neq(cluster_remove(c, 1, 0), 0);
    uint64_t longest_ns = 0;
    for (int i = 0; i < 200; i++) {
        uint64_t began_ns = cluster_now_ns(c);
        cr_assert(finishes(c, cluster_increment(c, 1, 0), SOON));
        if (cluster_now_ns(c) - began_ns > longest_ns)
            longest_ns = cluster_now_ns(c) - began_ns;
        cluster_run(c, 5 * NS_PER_MS);
    }
    cr_expect(cluster_is_gone(c, 0));
    cr_expect_lt(longest_ns, 50 * NS_PER_MS, "%u us", (unsigned)(longest_ns / 1000));
    cr_expect(settles(c));
    end(c);
}

/* Red: read_lease_end() does nothing: all wait for the read lease of one that is gone. */
Test(members, a_removed_follower_stalls_nobody)
{
    struct cluster *c = begin(4, 0);
    cluster_run(c, NS_PER_S);
    cr_assert_neq(cluster_view(c, 3).lease.until_ns, 0);
    cr_assert_neq(cluster_remove(c, 1, 3), 0);
    uint64_t longest_ns = 0;
    for (int i = 0; i < 200; i++) {
        uint64_t began_ns = cluster_now_ns(c);
        cr_assert(finishes(c, cluster_increment(c, 1, 0), SOON));
        if (cluster_now_ns(c) - began_ns > longest_ns)
            longest_ns = cluster_now_ns(c) - began_ns;
        cluster_run(c, 5 * NS_PER_MS);
    }
    cr_expect(cluster_is_gone(c, 3));
    cr_expect_lt(longest_ns, HEARTBEAT_NS + 10 * NS_PER_MS, "%u us", (unsigned)(longest_ns / 1000));
    cr_expect(settles(c));
    end(c);
}

struct silence {
    struct cluster *c;
    uint32_t node, said; /* messages it sent although it has no seat */
};

static bool count_said(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    struct silence *s = context;
    (void)to;
    (void)m;
    bool has_left =
        configuration_seat(&s->c->nodes[from].seats, cluster_id(s->c, from)) == MEMBERS_MAX;
    s->said += from == s->node && has_left;
    return false;
}

/* Red: leave() in reconfiguration.c says no NOTE_LEFT. */
Test(members, a_removed_node_is_silent_and_stops)
{
    struct cluster *c = begin(4, 0);
    cluster_run(c, NS_PER_S);
    struct silence silence = {c, 3, 0};
    cluster_filter(c, count_said, &silence);
    cr_assert_neq(cluster_remove(c, 1, 3), 0);
    RUN_UNTIL(c, SOON, configuration_seat(&c->nodes[3].seats, cluster_id(c, 3)) == MEMBERS_MAX);
    decide(c, 1, 20);
    RUN_UNTIL(c, SOON, cluster_is_gone(c, 3));
    cr_expect_eq(silence.said, 0);
    end(c);
}

Test(members, a_node_that_missed_its_removal_disturbs_nobody_and_is_told)
{
    struct cluster *c = begin(4, 0);
    cluster_run(c, NS_PER_S);
    cluster_isolate(c, 3, true);
    cr_assert_neq(cluster_remove(c, 1, 3), 0);
    RUN_UNTIL(c, SOON, configuration_seat(&c->nodes[0].seats, cluster_id(c, 3)) == MEMBERS_MAX);
    cluster_run(c, 5 * NS_PER_S);
    cr_assert(cluster_is_up(c, 3));
    struct ballot ballot = cluster_view(c, 0).ballot;
    cluster_heal(c);
    for (int i = 0; i < 40; i++) {
        cr_expect(finishes(c, cluster_increment(c, 1, 0), 20 * NS_PER_MS));
        cluster_run(c, 20 * NS_PER_MS);
    }
    cr_expect_eq(ballot_cmp(cluster_view(c, 0).ballot, ballot), 0);
    cr_expect(cluster_is_gone(c, 3));
    end(c);
}

/* Red: scout_on_tick() asks nobody while leading; or may_propose() does not look at `promised`. */
Test(members, a_leader_asks_a_new_voter_it_needs_for_its_promise_and_goes_on)
{
    struct cluster *c = begin(1, 0);
    struct ballot ballot = cluster_view(c, 0).ballot;
    uint32_t added = add(c);
    struct losing p1a = {0, added, KIND(P1A)};
    cluster_filter(c, lose, &p1a);
    RUN_UNTIL(c, 10 * NS_PER_S, configuration(c, 0).from > 0);
    uint64_t from = configuration(c, 0).from;
    cluster_run(c, 3 * NS_PER_S);
    cr_expect_eq(cluster_decided(c), from - 1, "not a slot that it needs both for");
    cr_expect_eq(cluster_view(c, 0).slot_in, from, "nor does it propose there");
    cluster_filter(c, NULL, NULL);
    RUN_UNTIL(c, NS_PER_S, cluster_decided(c) >= from);
    cr_expect_eq(ballot_cmp(cluster_view(c, 0).ballot, ballot), 0, "the same leader, and ballot");
    cr_expect(settles(c));
    end(c);
}

/* How long the last slot before the change is the next to decide, when the new majority's lease is
 * kept from the leader, or not. */
static uint64_t wait_for_new_lease(bool is_kept)
{
    struct cluster *c = begin(1, 0);
    uint32_t added = add(c);
    struct losing acks = {added, 0, KIND(HEARTBEAT_ACK)};
    if (is_kept)
        cluster_filter(c, lose, &acks);
    RUN_UNTIL(c, 10 * NS_PER_S, configuration(c, 0).from > 0);
    uint64_t from = configuration(c, 0).from;
    RUN_UNTIL(c, SOON, cluster_decided(c) >= from - 2);
    uint64_t began_ns = cluster_now_ns(c), served_ns = began_ns;
    while (cluster_decided(c) < from - 1 && cluster_now_ns(c) - began_ns < SOON) {
        if (cluster_view(c, added).lease.until_ns != 0)
            served_ns = cluster_now_ns(c);
        cluster_run(c, NS_PER_MS);
    }
    if (is_kept)
        cr_expect_geq(served_ns - began_ns, 100 * NS_PER_MS, "while a read lease is out");
    uint64_t waited_ns = cluster_now_ns(c) - began_ns;
    cluster_filter(c, NULL, NULL);
    cr_expect(settles(c));
    end(c);
    return waited_ns;
}

/* Its decision lets the new voters elect another leader, who would not know of the read leases.
 * Red: is_next_bound() returns true. */
Test(members, the_last_slot_before_a_change_waits_for_the_new_voters_lease)
{
    cr_expect_leq(wait_for_new_lease(false), 2 * NS_PER_MS);
    uint64_t waited_ns = wait_for_new_lease(true);
    cr_expect_geq(waited_ns, 100 * NS_PER_MS, "%u ms", (unsigned)(waited_ns / NS_PER_MS));
    cr_expect_leq(waited_ns, READ_LEASE_NS + 50 * NS_PER_MS, "or for the end of the read leases");
}

/* ---- snapshots ---- */

/* Red: paxos_init() does not take is_blank over. */
Test(members, a_joiner_installs_a_snapshot_then_catches_up_then_votes)
{
    struct cluster *c = begin(3, 20);
    decide(c, 0, 300);
    uint32_t added = add(c);
    RUN_UNTIL(c, 5 * NS_PER_S, cluster_is_up(c, added));
    cr_expect(cluster_view(c, added).needs_snapshot);
    cr_expect_eq(cluster_counts(c).snapshots, 0);
    uint32_t bit = UINT32_C(1) << configuration_seat(&c->nodes[0].seats, cluster_id(c, added));
    RUN_UNTIL(c, 10 * NS_PER_S, cluster_counts(c).snapshots > 0);
    cr_expect_not(configuration(c, 0).voters & bit, "a learner");
    RUN_UNTIL(c, 10 * NS_PER_S, configuration(c, 0).voters & bit);
    cr_expect_geq(cluster_applied(c, added) + 64, cluster_view(c, 0).decided - 2);
    cr_expect(settles(c));
    cluster_crash(c, 1);
    cluster_crash(c, 2);
    uint64_t stuck = cluster_increment(c, 0, 0);
    cr_expect_not(finishes(c, stuck, NS_PER_S), "2 of 4 are no majority");
    cluster_restart(c, 1);
    cr_expect(finishes(c, stuck, 2 * SOON), "3 are, the new one among them");
    end(c);
}

/* Red: on_installed() clears `held`. */
Test(members, a_laggard_votes_before_its_snapshot_and_keeps_the_votes_above_it)
{
    struct cluster *c = begin(3, 20);
    cluster_isolate(c, 2, true);
    cluster_run(c, NS_PER_S); /* its read lease ends */
    decide(c, 0, 400);
    cluster_run(c, NS_PER_S);
    cr_assert_gt(c->nodes[0].collected, cluster_applied(c, 2));
    cr_assert_gt(c->nodes[1].collected, cluster_applied(c, 2), "its slots left every log");
    cluster_crash(c, 1);
    cluster_isolate(c, 2, false);
    cr_expect(finishes(c, cluster_increment(c, 0, 0), SOON), "with its vote");
    /* One that the leader does not hear of. */
    struct losing votes = {2, 0, KIND(P2B)};
    cluster_filter(c, lose, &votes);
    uint64_t voted = cluster_view(c, 0).slot_in;
    uint64_t write = cluster_increment(c, 0, 0);
    cluster_run(c, 2 * NS_PER_MS);
    votes = (struct losing){MEMBERS_MAX, MEMBERS_MAX,
                            KIND(P2A) | KIND(P2B)}; /* nor does it ask again */
    cr_assert_eq(cluster_counts(c).snapshots, 0);
    RUN_UNTIL(c, 10 * NS_PER_S, cluster_counts(c).snapshots > 0 && cluster_is_up(c, 2));
    cluster_run(c, 2 * NS_PER_S);
    cr_expect_not(cluster_view(c, 2).needs_snapshot);
    cr_expect_eq(cluster_applied(c, 2), voted - 1);
    cr_expect_not(cluster_is_done(c, write));
    cluster_crash(c, 0);
    cluster_filter(c, NULL, NULL);
    cluster_restart(c, 1);
    uint64_t read = cluster_read(c, 2, 0);
    cr_expect(finishes(c, read, 3 * SOON));
    cr_expect_eq(cluster_value(c, read), 402, "the last one was voted for here alone");
    cluster_restart(c, 0);
    cr_expect(converges(c, 3));
    end(c);
}

/* The leader of a moment that has to fetch what no log gives steps back, and proposes nothing. Red:
 * fill_window() does not compare `decided` and `collected`. */
Test(members, a_candidate_that_lacks_what_others_collected_does_not_lead)
{
    struct cluster *c = begin(3, 20);
    cluster_isolate(c, 2, true);
    cluster_run(c, NS_PER_S); /* its read lease ends */
    decide(c, 0, 150);        /* fewer than a candidate may lack */
    cluster_run(c, NS_PER_S);
    uint64_t decided = cluster_decided(c);
    cr_assert_gt(c->nodes[1].collected, cluster_applied(c, 2));
    cluster_crash(c, 0);
    struct losing others_run = {1, MEMBERS_MAX, KIND(PREVOTE)};
    cluster_filter(c, lose, &others_run);
    cluster_run(c, 3 * NS_PER_S / 2); /* nobody is bound any more */
    cluster_isolate(c, 2, false);
    cluster_reset_sent(c);
    while (cluster_applied(c, 2) < decided && cluster_now_ns(c) < 60 * NS_PER_S) {
        cr_expect_eq(cluster_sent(c, MESSAGE_P2A), 0);
        cr_expect_neq(cluster_leader(c), 2);
        cluster_run(c, NS_PER_MS);
    }
    cr_expect_gt(cluster_sent(c, MESSAGE_P1A), 0, "it ran");
    cr_expect_gt(cluster_counts(c).snapshots, 0);
    cluster_filter(c, NULL, NULL);
    uint64_t read = cluster_read(c, 1, 0);
    cr_expect(finishes(c, read, 2 * SOON));
    cr_expect_eq(cluster_value(c, read), 150);
    end(c);
}

/* ---- seats ---- */

static uint64_t be_late(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    (void)to;
    (void)m;
    return from == *(const uint32_t *)context ? 30 * NS_PER_MS : 0;
}

/* Red: leader_configure(), or forget_seats(), forgets nothing. */
Test(members, a_seat_that_is_used_again_counts_nothing_of_its_former_owner)
{
    struct cluster *c = begin(4, 0);
    cluster_run(c, NS_PER_S);
    uint32_t old = 3, leader = cluster_leader(c);
    const struct paxos *p = c->nodes[leader].paxos;
    cr_assert_neq(leader, old);
    uint32_t seat = configuration_seat(&p->configuration, cluster_id(c, old));
    cr_assert_gt(p->leader.members_decided[seat], 0);
    cr_assert_gt(p->leader.lease.until_ns[seat], 0);
    cluster_delay(c, be_late, &old); /* what it says comes after it has left */
    cr_assert_neq(cluster_remove(c, 1, old), 0);
    RUN_UNTIL(c, 5 * NS_PER_S,
              configuration_seat(&p->configuration, cluster_id(c, old)) == MEMBERS_MAX);
    uint32_t added = add(c);
    struct losing all = {added, MEMBERS_MAX, UINT32_MAX};
    cluster_filter(c, lose, &all);
    RUN_UNTIL(c, 5 * NS_PER_S,
              configuration_seat(&p->configuration, cluster_id(c, added)) < MEMBERS_MAX);
    cr_assert_eq(configuration_seat(&p->configuration, cluster_id(c, added)), seat);
    cluster_run(c, NS_PER_S);
    cr_assert_eq(cluster_leader(c), leader);
    cr_expect_eq(p->leader.members_decided[seat], 0);
    cr_expect_eq(p->leader.lease.until_ns[seat], 0);
    cr_expect_eq(p->scout.done >> seat & 1, 0);
    cr_expect_eq(p->leader.holders.out >> seat & 1, 0);
    cr_expect_eq(p->heard_ns[seat], 0);
    cluster_filter(c, NULL, NULL);
    cr_expect(settles(c));
    end(c);
}

/* Red: configuration_is_majority() counts everyone in the mask. */
Test(members, learners_never_vote_and_hold_read_leases)
{
    struct cluster *c = begin(3, 0);
    decide(c, 0, 80);
    uint32_t learner = add(c);
    struct losing acks = {learner, MEMBERS_MAX, KIND(HEARTBEAT_ACK)}; /* nobody promotes it */
    cluster_filter(c, lose, &acks);
    RUN_UNTIL(c, 10 * NS_PER_S,
              cluster_is_up(c, learner) && cluster_applied(c, learner) == cluster_decided(c));
    decide(c, 0, 1); /* its acknowledgement tells how far it is */
    RUN_UNTIL(c, SOON, cluster_view(c, learner).lease.until_ns != 0);
    uint64_t before = cluster_counts(c).reads_local;
    uint64_t read = cluster_read(c, learner, 0);
    cr_expect_eq(cluster_counts(c).reads_local, before + 1);
    cr_expect_eq(cluster_value(c, read), 81);

    uint32_t seat = configuration_seat(&c->nodes[0].seats, cluster_id(c, learner));
    cr_assert_not(configuration(c, 0).voters >> seat & 1);
    cluster_crash(c, 1);
    cluster_crash(c, 2);
    uint64_t write = cluster_increment(c, 0, 0), slot = cluster_decided(c) + 1;
    cluster_run(c, READ_LEASE_NS + 100 * NS_PER_MS); /* what the two held has ended */
    cr_expect_neq(c->nodes[0].paxos->leader.commanders[slot % WINDOW].votes >> seat & 1, 0,
                  "it accepts");
    cr_expect_not(cluster_is_done(c, write), "and does not count");
    cluster_crash(c, 0);
    cluster_reset_sent(c);
    cluster_run(c, 10 * NS_PER_S);
    cr_expect_eq(cluster_view(c, learner).role, ROLE_FOLLOWER);
    cr_expect_eq(cluster_sent(c, MESSAGE_P1A), 0, "nor does it run");
    cluster_filter(c, NULL, NULL);
    for (uint32_t i = 0; i < 3; i++)
        cluster_restart(c, i);
    cr_expect(settles(c));
    cr_expect(configuration(c, 0).voters >> seat & 1, "until it is a voter");
    end(c);
}
