/* The rules of tests/model/leases.py, each with the history in which a stale read follows without
 * it: named after the rule. Beside each stands what was broken in the core to see it red. Three
 * rules of the model are not here: `inval`, `grace` and `kabs` speak of what the kernel caches, and
 * it is given timeouts of 0: it keeps nothing. */
#include <stdlib.h>

#include "consensus/paxos_node.h"
#include "consensus/read_lease.h"
#include "tests/scenario/scenario.h"
#include "tests/support/cluster_internal.h"
#include "tests/support/core_fixture.h"

enum { ANY = MEMBERS_MAX };

#define KIND(name) (UINT32_C(1) << MESSAGE_##name)

/* Messages of these kinds between these two are lost. */
struct losing {
    uint32_t from, to, kinds;
    uint64_t slot;   /* 0: any; else only a p2a that begins with it */
    uint32_t passed; /* so many come through first */
};

static bool is_hit(const struct losing *l, uint32_t from, uint32_t to, const struct message *m)
{
    return (l->kinds >> m->kind & 1) && (l->from == ANY || l->from == from) &&
           (l->to == ANY || l->to == to) &&
           (l->slot == 0 ||
            (m->kind == MESSAGE_P2A && m->p2a.count > 0 && m->p2a.pvalues[0].slot == l->slot));
}

static bool lose(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    struct losing *l = context;
    if (!is_hit(l, from, to, m))
        return false;
    if (l->passed == 0)
        return true;
    l->passed--;
    return false;
}

/* Any of a list that ends with NULL. */
static bool lose_any(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    struct losing *const *l = context;
    while (*l && !lose(*l, from, to, m))
        l++;
    return *l != NULL;
}

/* Three that have a session each, of which the others hold read leases of the leader's. */
struct three {
    struct cluster *c;
    uint32_t leader, one, two;
};

static struct three begin(uint64_t seed)
{
    struct cluster_options options = cluster_calm(3, seed);
    struct three t = {.c = cluster_new(&options)};
    t.leader = cluster_elect(t.c, SOON);
    t.one = other_than(t.leader, t.leader);
    t.two = other_than(t.leader, t.one);
    for (uint32_t i = 0; i < 3; i++)
        cr_assert(finishes(t.c, cluster_increment(t.c, i, 1), SOON));
    cluster_run(t.c, NS_PER_S);
    cr_assert_eq(cluster_leader(t.c), t.leader);
    return t;
}

static bool holds_read_lease(const struct cluster *c, uint32_t node)
{
    return cluster_view(c, node).lease.until_ns != 0;
}

/* Read counter 0 at @node: whether its read lease answered, at once. */
static bool reads_by_lease(struct cluster *c, uint32_t node)
{
    uint64_t before = cluster_counts(c).reads_local;
    cluster_read(c, node, 0);
    return cluster_counts(c).reads_local > before;
}

/* ... whether @node answered as the leader it believes to be. */
static bool reads_as_leader(struct cluster *c, uint32_t node)
{
    return finishes(c, cluster_read(c, node, 0), NS_PER_MS / 2);
}

/* Until the next message of @kind leaves. */
static void await_sent(struct cluster *c, enum message_kind kind)
{
    cluster_reset_sent(c);
    for (int i = 0; i < 100000 && cluster_sent(c, kind) == 0; i++)
        cluster_run(c, 20000);
    cr_assert_gt(cluster_sent(c, kind), 0);
}

/* ---- the leader's lease ---- */

/* Red: lease_granted() counts from the receipt (leader_on_heartbeat_ack() gives it v->now_ns). */
Test(leases, hbsend_answers_that_came_late_do_not_prolong_the_leaders_lease)
{
    struct three t = begin(1);
    await_sent(t.c, MESSAGE_HEARTBEAT);
    uint64_t paused_ns = 950 * NS_PER_MS, sent_ns = cluster_now_ns(t.c);
    cluster_pause(t.c, t.leader, paused_ns); /* the answers wait */
    cluster_run(t.c, paused_ns);
    cr_assert_eq(cluster_view(t.c, t.leader).role, ROLE_LEADER);
    cluster_isolate(t.c, t.leader, true);
    cr_assert(finishes(t.c, cluster_increment(t.c, t.one, 0), SOON));
    cr_expect_lt(cluster_now_ns(t.c), sent_ns + paused_ns + LEASE_COUNTED_NS, "counted so it ran");
    cr_expect_eq(cluster_view(t.c, t.leader).role, ROLE_LEADER, "it still believes");
    cr_expect_not(reads_as_leader(t.c, t.leader));
    end(t.c);
}

/* Red: CLOCK_RATE_ERROR_PERCENT is 0. */
Test(leases, margin_a_slow_clock_of_the_leader_is_allowed_for)
{
    uint64_t shortest_ns = UINT64_MAX;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct three t = begin(seed);
        cluster_set_clock_rate(t.c, t.leader, -4900);
        cluster_set_clock_rate(t.c, t.one, 4900);
        cluster_set_clock_rate(t.c, t.two, 4900);
        cluster_run(t.c, NS_PER_S);
        await_sent(t.c, MESSAGE_HEARTBEAT);
        cluster_run(t.c, NS_PER_MS);
        cluster_isolate(t.c, t.leader, true);
        cluster_pause(t.c, t.leader, 960 * NS_PER_MS); /* or it would give up before */
        uint64_t write = cluster_increment(t.c, t.one, 0), served_ns = 0;
        cluster_run(t.c, 970 * NS_PER_MS);
        while (!cluster_is_done(t.c, write) && !cluster_failure(t.c)) {
            if (reads_as_leader(t.c, t.leader))
                served_ns = cluster_now_ns(t.c);
        }
        cr_assert_gt(served_ns, 0);
        cr_expect_not(reads_as_leader(t.c, t.leader));
        if (cluster_now_ns(t.c) - served_ns < shortest_ns)
            shortest_ns = cluster_now_ns(t.c) - served_ns;
        end(t.c);
    }
    cr_expect_lt(shortest_ns, 25 * NS_PER_MS, "the other leases ended soon after");
}

/* Red: lease_permits() returns true. */
Test(leases, promise_nobody_is_promised_anything_under_a_lease)
{
    struct three t = begin(1);
    cluster_isolate(t.c, t.leader, true);
    cluster_reset_sent(t.c);
    uint64_t write = cluster_increment(t.c, t.one, 0), asked = 0;
    while (reads_as_leader(t.c, t.leader) && !cluster_failure(t.c)) {
        cr_expect_not(cluster_is_done(t.c, write));
        asked = cluster_sent(t.c, MESSAGE_PREVOTE);
        cluster_run(t.c, 5 * NS_PER_MS);
    }
    cr_expect_gt(asked, 0, "they wanted another");
    cr_expect(finishes(t.c, write, STALL_NS_MAX));
    end(t.c);
}

static struct paxos *lone_node(void)
{
    static const uint64_t nodes[] = {1, 2, 3};
    struct paxos_config config = {
        .configuration = configuration_of(nodes, 3), .node = 1, .life = 1, .seed = 7};
    struct paxos_recovered nothing = {0};
    void *memory = calloc(1, paxos_size());
    cr_assert_not_null(memory);
    return paxos_init(memory, &config, &nothing, true, NS_PER_S);
}

static void tell(struct paxos *p, uint64_t now_ns, uint32_t from, struct message m,
                 struct effects *out)
{
    struct event e = {.kind = EVENT_MESSAGE, .now_ns = now_ns, .wall_ns = now_ns};
    e.message.from = from;
    e.message.message = &m;
    effects_clear(out);
    paxos_step(p, &e, out);
}

/* A leader at its next ballot may no longer know what read leases it gave out at the one before. In
 * the core it has to get past its own acceptor too, so an acceptor is told by hand what no leader
 * does. Red: lease_permits() is true if only `leader` of the two ballots is the same. */
Test(leases, ballot_a_lease_binds_against_the_same_leaders_next_ballot)
{
    static struct effects out;
    struct paxos *p = lone_node();
    uint64_t now_ns = NS_PER_S;
    struct ballot leads = {1, 2}, next = {2, 2};
    tell(p, now_ns, 1, (struct message){.kind = MESSAGE_HEARTBEAT, .heartbeat = {.ballot = leads}},
         &out);
    struct message ask = {.kind = MESSAGE_P1A, .p1a = {.ballot = next, .slot_first = 1}};
    tell(p, now_ns + LEASE_GIVEN_NS - 1, 1, ask, &out);
    cr_expect_eq(out.count, 0, "silence");
    cr_expect_eq(p->acceptor.promised.round, 1);
    tell(p, now_ns + LEASE_GIVEN_NS, 1, ask, &out);
    cr_expect_eq(p->acceptor.promised.round, 2);
    effects_clear(&out);
    paxos_deinit(p);
    free(p);
}

/* Red: paxos_init() gives acceptor_init() a silent_until_ns of 0. */
Test(leases, silent_who_forgot_the_lease_it_gave_promises_nobody)
{
    struct three t = begin(1);
    await_sent(t.c, MESSAGE_HEARTBEAT);
    cluster_run(t.c, NS_PER_MS);
    cluster_isolate(t.c, t.leader, true);
    for (uint32_t i = 0; i < 3; i++) {
        if (i == t.leader)
            continue;
        cluster_crash(t.c, i);
        cluster_restart(t.c, i);
    }
    cluster_reset_sent(t.c);
    client_open(t.c, &t.c->nodes[t.one]); /* something to decide */
    uint64_t asked = 0, decided = cluster_decided(t.c);
    while (reads_as_leader(t.c, t.leader) && !cluster_failure(t.c)) {
        cr_expect_eq(cluster_decided(t.c), decided);
        asked = cluster_sent(t.c, MESSAGE_PREVOTE);
        cluster_run(t.c, NS_PER_MS);
    }
    cr_expect_gt(asked, 0, "they wanted another");
    cr_expect(finishes(t.c, cluster_increment(t.c, t.one, 0), STALL_NS_MAX));
    end(t.c);
}

/* Or two lives could lead with one ballot, and decide two values for a slot. Red: ask() in scout.c
 * uses outbox_send(). */
Test(leases, fresh_a_ballot_that_a_crash_forgets_was_told_to_nobody)
{
    int forgotten = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct three t = begin(seed);
        struct losing others_run = {t.two, ANY, KIND(PREVOTE), 0, 0};
        cluster_filter(t.c, lose, &others_run);
        cluster_slow_disk(t.c, t.one, 300 * NS_PER_MS);
        cluster_crash(t.c, t.leader);
        struct ballot before = cluster_view(t.c, t.one).promised;
        cluster_reset_sent(t.c);
        for (int i = 0; i < 3000 && ballot_cmp(cluster_view(t.c, t.one).promised, before) == 0; i++)
            cluster_run(t.c, NS_PER_MS);
        cluster_run(t.c, 5 * NS_PER_MS);
        struct ballot taken = cluster_view(t.c, t.one).promised;
        cr_assert_gt(ballot_cmp(taken, before), 0, "it runs");
        cr_expect_eq(cluster_sent(t.c, MESSAGE_P1A), 0);
        cr_expect_lt(ballot_cmp(cluster_view(t.c, t.two).promised, taken), 0);
        cluster_crash(t.c, t.one); /* half of the time the sync under way is lost */
        cluster_restart(t.c, t.one);
        forgotten += ballot_cmp(cluster_view(t.c, t.one).promised, taken) < 0;
        cluster_slow_disk(t.c, t.one, 0);
        cluster_filter(t.c, NULL, NULL);
        cluster_restart(t.c, t.leader);
        cr_expect(finishes(t.c, cluster_increment(t.c, t.two, 0), 2 * SOON));
        end(t.c);
    }
    cr_expect_gt(forgotten, 0);
}

/* Red: leader_is_ready() does not ask for decided >= adopted. */
Test(leases, ready_a_new_leader_serves_nothing_before_what_it_adopted_is_decided)
{
    struct three t = begin(1);
    /* It decides for itself alone, with the vote of two. */
    struct losing told = {t.leader, t.two, KIND(DECIDED) | KIND(HEARTBEAT), 0, 0};
    cluster_cut(t.c, t.leader, t.one, true);
    cluster_filter(t.c, lose, &told);
    uint64_t write = cluster_increment(t.c, t.leader, 0);
    cr_assert(finishes(t.c, write, SOON));
    uint64_t slot = cluster_decided(t.c);
    cr_assert_lt(cluster_view(t.c, t.two).decided, slot);
    cluster_crash(t.c, t.leader);
    struct losing second = {t.two, ANY, KIND(PREVOTE), 0, 0};
    cluster_filter(t.c, lose, &second);
    for (int i = 0; i < 60000 && cluster_view(t.c, t.one).role != ROLE_LEADER; i++)
        cluster_run(t.c, NS_PER_MS / 20);
    cr_assert_eq(cluster_view(t.c, t.one).role, ROLE_LEADER);
    cr_assert_lt(cluster_view(t.c, t.one).decided, slot);
    struct losing votes = {t.two, t.one, KIND(P2B), 0, 0};
    cluster_filter(t.c, lose, &votes);
    cluster_run(t.c, HEARTBEAT_NS); /* it has its lease */
    cr_expect_eq(cluster_view(t.c, t.one).role, ROLE_LEADER);
    cr_expect_lt(cluster_view(t.c, t.one).decided, slot);
    uint64_t read = cluster_read(t.c, t.one, 0);
    cr_expect_not(finishes(t.c, read, 100 * NS_PER_MS));
    cluster_filter(t.c, NULL, NULL);
    cr_expect(finishes(t.c, read, SOON));
    cr_expect_eq(cluster_value(t.c, read), 1);
    end(t.c);
}

/* Red: acceptor_flush() uses outbox_send(). */
Test(leases, durable_a_vote_that_a_crash_forgets_was_never_counted)
{
    int forgotten = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct three t = begin(seed);
        cluster_isolate(t.c, t.two, true);
        cluster_run(t.c, READ_LEASE_NS * 2); /* nobody waits for its read lease */
        cluster_slow_disk(t.c, t.one, 300 * NS_PER_MS);
        cluster_run(t.c, 20 * NS_PER_MS);
        uint64_t write = cluster_increment(t.c, t.leader, 0), slot = cluster_decided(t.c) + 1;
        cluster_run(t.c, 50 * NS_PER_MS);
        cr_expect_not(cluster_is_done(t.c, write));
        bool has_voted = cluster_view(t.c, t.one).slots_held > 0;
        cluster_crash(t.c, t.one);
        cluster_isolate(t.c, t.two, false);
        cluster_isolate(t.c, t.leader, true);
        cluster_slow_disk(t.c, t.one, 0);
        cluster_restart(t.c, t.one);
        uint64_t other = cluster_increment(t.c, t.two, 0);
        cr_expect(finishes(t.c, other, 2 * SOON));
        forgotten += has_voted && cluster_value(t.c, other) == 1;
        cr_expect_geq(cluster_decided(t.c), slot);
        cluster_heal(t.c);
        cr_expect(finishes(t.c, write, SOON));
        uint64_t read = cluster_read(t.c, t.one, 0);
        cr_expect(finishes(t.c, read, SOON));
        cr_expect_eq(cluster_value(t.c, read), 2, "both, once");
        end(t.c);
    }
    cr_expect_gt(forgotten, 0);
}

/* ---- the read leases ---- */

struct lateness {
    uint32_t to;
    enum message_kind kind;
    uint64_t ns;
};

static uint64_t be_late(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    const struct lateness *l = context;
    (void)from;
    return l->to == to && l->kind == m->kind ? l->ns : 0;
}

/* Red: read_lease_on_grant() counts from now_ns. */
Test(leases, send_a_grant_that_came_late_is_counted_from_the_question)
{
    struct three t = begin(1);
    struct lateness late = {t.two, MESSAGE_LEASE_GRANT, 450 * NS_PER_MS};
    struct losing more = {t.two, ANY, KIND(LEASE_ASK), 0, 1};
    cluster_delay(t.c, be_late, &late);
    cluster_filter(t.c, lose, &more);
    while (more.passed > 0)
        cluster_run(t.c, 100000);
    uint64_t asked_ns = cluster_now_ns(t.c);
    cluster_run(t.c, late.ns + NS_PER_MS);
    cr_assert(holds_read_lease(t.c, t.two));
    cr_expect(reads_by_lease(t.c, t.two));
    cluster_isolate(t.c, t.two, true);
    cr_assert(finishes(t.c, cluster_increment(t.c, t.leader, 0), SOON));
    cr_expect_lt(cluster_now_ns(t.c), asked_ns + late.ns + READ_LEASE_NS * 99 / 100,
                 "counted from the receipt it ran");
    cr_expect_not(reads_by_lease(t.c, t.two));
    end(t.c);
}

/* Red: CLOCK_RATE_ERROR_PERCENT is 0. */
Test(leases, margin_a_slow_clock_of_a_holder_is_allowed_for)
{
    struct three t = begin(1);
    cluster_set_clock_rate(t.c, t.leader, 4900);
    cluster_set_clock_rate(t.c, t.two, -4900);
    cluster_run(t.c, NS_PER_S);
    cr_assert(holds_read_lease(t.c, t.two));
    cluster_isolate(t.c, t.two, true);
    uint64_t write = cluster_increment(t.c, t.leader, 0), served_ns = 0;
    while (!cluster_is_done(t.c, write) && !cluster_failure(t.c)) {
        if (reads_by_lease(t.c, t.two))
            served_ns = cluster_now_ns(t.c);
        cluster_read(t.c, t.leader, 1); /* so that it looks at its clock */
        cluster_run(t.c, NS_PER_MS / 4);
    }
    cr_expect_gt(served_ns + 20 * NS_PER_MS, cluster_now_ns(t.c), "until shortly before");
    for (int i = 0; i < 40; i++) {
        cr_expect_not(reads_by_lease(t.c, t.two));
        cluster_run(t.c, NS_PER_MS / 2);
    }
    end(t.c);
}

struct grants {
    const struct cluster *c;
    uint32_t to;
    uint64_t at_ns, left_ns; /* the last one's */
};

static bool see_grants(void *context, uint32_t from, uint32_t to, const struct message *m)
{
    struct grants *g = context;
    (void)from;
    if (m->kind == MESSAGE_LEASE_GRANT && to == g->to) {
        g->at_ns = cluster_now_ns(g->c);
        g->left_ns = m->lease_grant.left_ns;
    }
    return false;
}

/* Red: leader_on_lease_ask() grants until v->now_ns + 2 * READ_LEASE_NS. */
Test(leases, within_a_read_lease_ends_with_the_leaders_own)
{
    int reached = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct cluster_options options = cluster_calm(5, seed);
        struct cluster *c = cluster_new(&options);
        uint32_t leader = cluster_elect(c, SOON), holder = other_than(leader, leader);
        for (uint32_t i = 0; i < 5; i++)
            cr_assert(finishes(c, cluster_increment(c, i, 1), SOON));
        cluster_run(c, NS_PER_S);
        struct grants grants = {.c = c, .to = holder};
        cluster_filter(c, see_grants, &grants);
        await_sent(c, MESSAGE_HEARTBEAT);
        cluster_run(c, NS_PER_MS);
        uint32_t other = 5;
        for (uint32_t i = 0; i < 5; i++) { /* the leader and the holder hear each other only */
            if (i == leader || i == holder)
                continue;
            other = i;
            for (uint32_t k = 0; k < 2; k++) {
                cluster_cut(c, i, k ? leader : holder, true);
                cluster_cut(c, k ? leader : holder, i, true);
            }
        }
        cr_assert(finishes(c, cluster_increment(c, other, 0), STALL_NS_MAX));
        bool is_cut_short = grants.left_ns < READ_LEASE_NS / 101 * 100;
        reached +=
            is_cut_short && cluster_now_ns(c) < grants.at_ns + READ_LEASE_NS / 100 * 99 - NS_PER_MS;
        cr_expect_not(reads_by_lease(c, holder));
        end(c);
    }
    cr_expect_gt(reached, 0, "a whole lease ran on after the decision of the others");
}

/* Red: read_holders_permit() returns true. */
Test(leases, ask_a_decision_waits_for_all_who_hold_a_read_lease)
{
    struct three t = begin(1);
    cr_assert(holds_read_lease(t.c, t.two));
    cluster_isolate(t.c, t.two, true);
    uint64_t began_ns = cluster_now_ns(t.c);
    uint64_t write = cluster_increment(t.c, t.leader, 0);
    int served = 0;
    while (!cluster_is_done(t.c, write) && !cluster_failure(t.c)) {
        served += reads_by_lease(t.c, t.two);
        cluster_run(t.c, NS_PER_MS);
    }
    cr_expect_gt(served, 100, "it serves what was, for all that time");
    cr_expect_not(reads_by_lease(t.c, t.two));
    cr_expect_leq(cluster_now_ns(t.c) - began_ns, READ_LEASE_NS / 100 * 101 + 25 * NS_PER_MS);
    end(t.c);
}

/* Red: the grant's bound is 0. */
Test(leases, bound_a_holder_that_lacks_a_decided_slot_serves_nothing_before_it)
{
    struct three t = begin(1);
    struct losing values = {ANY, t.two, KIND(P2A) | KIND(DECISIONS), 0, 0};
    cluster_filter(t.c, lose, &values);
    cr_assert(finishes(t.c, cluster_increment(t.c, t.leader, 0), SOON));
    uint64_t slot = cluster_decided(t.c);
    cluster_run(t.c, READ_PAUSE_NS_MIN + NS_PER_S); /* it made a decision wait */
    struct paxos_view v = cluster_view(t.c, t.two);
    cr_assert_neq(v.lease.until_ns, 0, "and got a lease again");
    cr_assert_lt(cluster_applied(t.c, t.two), slot);
    cr_expect_geq(v.lease.bound, slot);
    cr_expect_not(reads_by_lease(t.c, t.two));
    cluster_filter(t.c, NULL, NULL);
    cluster_run(t.c, NS_PER_S);
    cr_expect(reads_by_lease(t.c, t.two), "once it has it");
    end(t.c);
}

/* A leader knows of slots that another may have decided before it knows that they are. Red:
 * leader_on_lease_ask() does not ask leader_may_serve(), and names v->decided. */
Test(leases, adopted_a_new_leader_lets_nobody_read_before_what_it_adopted)
{
    struct cluster *c = cluster_of(5);
    cr_assert_eq(cluster_elect(c, SOON), 0);
    for (uint32_t i = 0; i < 5; i++)
        cr_assert(finishes(c, cluster_increment(c, i, 1), SOON));
    cluster_run(c, NS_PER_S);
    cluster_isolate(c, 3, true);
    cluster_isolate(c, 4, true);
    cluster_run(c, 2 * READ_LEASE_NS); /* what the two hold has ended */
    struct losing told = {0, ANY, KIND(DECIDED) | KIND(HEARTBEAT), 0, 0};
    cluster_filter(c, lose, &told);
    cr_assert(finishes(c, cluster_increment(c, 0, 0), SOON));
    uint64_t slot = cluster_decided(c);
    cluster_crash(c, 0);
    cluster_crash(c, 1);
    cluster_heal(c);
    struct losing values = {3, ANY, KIND(P2A), 0, 0}, others_run = {2, ANY, KIND(PREVOTE), 0, 0};
    struct losing fourth_runs = {4, ANY, KIND(PREVOTE), 0, 0};
    struct losing *all[] = {&values, &others_run, &fourth_runs, NULL};
    cluster_filter(c, lose_any, all);
    for (int i = 0; i < 4000 && cluster_view(c, 3).role != ROLE_LEADER; i++)
        cluster_run(c, NS_PER_MS);
    cr_assert_eq(cluster_view(c, 3).role, ROLE_LEADER);
    cluster_reset_sent(c);
    for (int i = 0; i < 50; i++) {
        cluster_run(c, 10 * NS_PER_MS);
        cr_expect_not(reads_by_lease(c, 4));
    }
    cr_expect_eq(cluster_view(c, 3).role, ROLE_LEADER);
    cr_expect_lt(cluster_view(c, 3).decided, slot, "it adopted what it cannot decide");
    cr_expect_gt(cluster_sent(c, MESSAGE_LEASE_ASK), 0);
    cluster_filter(c, NULL, NULL);
    cluster_run(c, NS_PER_S);
    cr_expect(reads_by_lease(c, 4));
    end(c);
}

/* What is held is pending: reads of it wait. Red: read_lease_acknowledge() goes over a gap
 * (`through` is held->last). */
Test(leases, pend_a_holder_acknowledges_only_what_it_holds_without_a_gap)
{
    struct three t = begin(1);
    uint64_t slot = cluster_view(t.c, t.leader).slot_in;
    struct losing first = {ANY, t.two, KIND(P2A), slot, 0};
    cluster_filter(t.c, lose, &first);
    uint64_t write = cluster_increment(t.c, t.leader, 0);
    cluster_run(t.c, NS_PER_MS);
    uint64_t next = cluster_increment(t.c, t.leader, 1);
    cluster_run(t.c, 20 * NS_PER_MS);
    cr_assert_geq(cluster_view(t.c, t.two).slots_held, 1, "it holds the slot after");
    cr_expect(reads_by_lease(t.c, t.two));
    cr_expect_not(cluster_is_done(t.c, write));
    cr_expect_not(cluster_is_done(t.c, next));
    cr_assert(finishes(t.c, write, SOON), "its lease has ended");
    cr_expect_not(reads_by_lease(t.c, t.two));
    end(t.c);
}

/* Red: may_read_here() of the simulator's client does not look at what is pending (in the daemon
 * that is fs/pending.c). */
Test(leases, pend_reads_of_what_is_acknowledged_and_not_applied_wait)
{
    struct three t = begin(1);
    struct losing told = {t.leader, t.two, KIND(DECIDED) | KIND(HEARTBEAT) | KIND(READ_ACK), 0, 0};
    cluster_filter(t.c, lose, &told);
    cr_assert(finishes(t.c, cluster_increment(t.c, t.leader, 0), 10 * NS_PER_MS), "at once");
    cr_assert_lt(cluster_applied(t.c, t.two), cluster_decided(t.c));
    uint64_t before = cluster_counts(t.c).reads_local;
    uint64_t read = cluster_read(t.c, t.two, 0), elsewhere = cluster_read(t.c, t.two, 1);
    cr_expect_eq(cluster_counts(t.c).reads_local, before + 1, "of another counter");
    cr_expect(cluster_is_done(t.c, elsewhere));
    cr_expect_not(cluster_is_done(t.c, read));
    cluster_filter(t.c, NULL, NULL);
    cr_expect(finishes(t.c, read, SOON));
    cr_expect_eq(cluster_value(t.c, read), 1);
    end(t.c);
}

/* The life before may have left answers behind; nothing here does, as the kernel keeps none, so the
 * wait is what is to be seen. Red: read_holders_on_ack() does not compare lives. */
Test(leases, inc_a_new_life_cannot_acknowledge_for_the_lease_of_the_one_before)
{
    struct three t = begin(1);
    await_sent(t.c, MESSAGE_LEASE_GRANT);
    cluster_run(t.c, 150 * NS_PER_MS); /* both have asked */
    cr_assert(holds_read_lease(t.c, t.two));
    uint64_t until_ns = cluster_view(t.c, t.leader).members[t.two].lease_until_ns;
    cr_assert_neq(until_ns, 0);
    struct losing asks = {t.two, ANY, KIND(LEASE_ASK), 0, 0}; /* it never gets one of its own */
    cluster_filter(t.c, lose, &asks);
    cluster_crash(t.c, t.two);
    cluster_restart(t.c, t.two);
    cluster_run(t.c, 120 * NS_PER_MS); /* it follows */
    cr_assert_gt(cluster_sent(t.c, MESSAGE_LEASE_ASK), 0);
    uint64_t began_ns = cluster_now_ns(t.c);
    cluster_reset_sent(t.c);
    uint64_t write = cluster_increment(t.c, t.leader, 0);
    cr_expect(finishes(t.c, write, SOON));
    cr_expect_gt(cluster_now_ns(t.c) - began_ns, READ_LEASE_NS / 4);
    cr_expect_geq(cluster_sent(t.c, MESSAGE_LEASE_ACK), 2, "of one, and of the new life");
    end(t.c);
}

/* Red: add_readers() in acceptor.c returns at once. */
Test(leases, relh_who_is_elected_early_knows_the_read_leases_that_are_out)
{
    struct three t = begin(1);
    cr_assert(holds_read_lease(t.c, t.two));
    cluster_isolate(t.c, t.two, true);
    cluster_hand_over(t.c, t.leader);
    uint64_t began_ns = cluster_now_ns(t.c);
    uint64_t write = cluster_increment(t.c, t.one, 0);
    int served = 0;
    bool has_led = false;
    while (!cluster_is_done(t.c, write) && !cluster_failure(t.c)) {
        served += reads_by_lease(t.c, t.two);
        has_led |= served && cluster_leader(t.c) == t.one;
        cluster_run(t.c, NS_PER_MS);
    }
    cr_expect_gt(served, 100);
    cr_expect(has_led, "at once, while the lease of the third was out");
    cr_expect_not(reads_by_lease(t.c, t.two));
    cr_expect_leq(cluster_now_ns(t.c) - began_ns, READ_LEASE_NS / 100 * 103 + 25 * NS_PER_MS);
    end(t.c);
}
