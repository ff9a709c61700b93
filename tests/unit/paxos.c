/* One node alone, told everything by hand. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "consensus/lease.h"
#include "consensus/paxos.h"
#include "consensus/read_lease.h"
#include "tests/support/core_fixture.h"

static struct effects out;
static uint64_t now_ns;

static struct paxos *node_of(uint32_t members, const struct paxos_recovered *recovered, bool fresh)
{
    struct paxos_config config = {
        .configuration = configuration_of((uint64_t[]){1, 2, 3}, members), .node = 1, .life = 1};
    config.seed = 7;
    now_ns = 10 * NS_PER_S;
    return paxos_init(calloc(1, paxos_size()), &config, recovered, fresh, now_ns);
}

static void node_free(struct paxos *p)
{
    effects_clear(&out);
    paxos_deinit(p);
    free(p);
}

static void step(struct paxos *p, struct event event)
{
    event.now_ns = now_ns;
    event.wall_ns = now_ns;
    effects_clear(&out);
    paxos_step(p, &event, &out);
}

static void tell(struct paxos *p, uint32_t from, struct message m)
{
    struct event event = {.kind = EVENT_MESSAGE};
    event.message.from = from;
    event.message.message = &m;
    step(p, event);
}

static const struct send *sent(enum message_kind kind)
{
    for (uint32_t i = 0; i < out.count; i++) {
        const struct effect *e = &out.list[i];
        if (e->kind == EFFECT_SEND && e->send.message.kind == kind)
            return &e->send;
    }
    return NULL;
}

static uint32_t count_of(enum effect_kind kind)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < out.count; i++)
        count += out.list[i].kind == kind;
    return count;
}

/* Make @p the leader with members 0 and 1 promising and reporting nothing; its ballot. */
static struct ballot lead(struct paxos *p)
{
    now_ns += NS_PER_S;
    step(p, (struct event){.kind = EVENT_TICK});
    cr_assert_not_null(sent(MESSAGE_PREVOTE));
    struct ballot ballot = sent(MESSAGE_PREVOTE)->message.prevote.ballot;
    for (uint32_t i = 0; i < 2; i++)
        tell(p, i,
             (struct message){.kind = MESSAGE_PREVOTE_ACK,
                              .prevote_ack = {.ballot = ballot, .would_promise = true}});
    const struct send *p1a = sent(MESSAGE_P1A);
    cr_assert_not_null(p1a);
    cr_expect_eq(p1a->after, 1, "a ballot is durable before its first p1a leaves");
    for (uint32_t i = 0; i < 2; i++)
        tell(p, i, fixture_p1b(ballot, NULL, 0));
    for (uint32_t i = 0; i < 2; i++)
        tell(p, i,
             (struct message){
                 .kind = MESSAGE_HEARTBEAT_ACK,
                 .heartbeat_ack = {
                     .ballot = ballot, .promised = ballot, .sent_ns = now_ns, .granted = true}});
    struct paxos_view v;
    paxos_view(p, &v);
    cr_assert_eq(v.role, ROLE_LEADER);
    return ballot;
}

Test(paxos, counts_only_p2bs_of_its_own_ballot)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    struct ballot ballot = lead(p);
    step(p, (struct event){.kind = EVENT_SUBMIT, .submit = fixture_command(1)});
    step(p, (struct event){.kind = EVENT_FLUSH});
    cr_assert_not_null(sent(MESSAGE_P2A));
    uint64_t slot = 1;
    struct ballot older = {ballot.round - 1, ballot.leader};
    struct message m = {.kind = MESSAGE_P2B, .p2b = {older, older, 1, &slot}};
    tell(p, 1, m);
    tell(p, 2, m);
    cr_expect_eq(count_of(EFFECT_DECIDE), 0);
    m = (struct message){.kind = MESSAGE_P2B, .p2b = {ballot, ballot, 1, &slot}};
    tell(p, 1, m);
    tell(p, 2, m);
    cr_expect_eq(count_of(EFFECT_DECIDE), 1);
    cr_expect_eq(count_of(EFFECT_PERSIST), 1, "the own log had no value for it yet");
    node_free(p);
}

Test(paxos, a_late_p2b_refusal_of_an_earlier_ballot_preempts_nobody)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    struct ballot ballot = lead(p), older = {ballot.round - 1, ballot.leader};
    tell(p, 1, (struct message){.kind = MESSAGE_P2B, .p2b = {.asked = older, .promised = ballot}});
    struct paxos_view v;
    paxos_view(p, &v);
    cr_expect_eq(v.role, ROLE_LEADER);
    node_free(p);
}

Test(paxos, a_fetched_value_found_in_the_log_says_that_all_below_it_is_decided)
{
    struct pvalue accepted[] = {fixture_pvalue((struct ballot){3, 2}, 5, 1),
                                fixture_pvalue((struct ballot){0}, 6, 2),
                                fixture_pvalue((struct ballot){4, 2}, 7, 3)};
    struct paxos_recovered r = {.promised = {3, 2}, .applied = 4, .count = 3, .accepted = accepted};
    struct paxos *p = node_of(3, &r, false);
    struct paxos_view v;
    paxos_view(p, &v);
    cr_expect_eq(v.promised.round, 4, "a vote implies the promise");
    step(p, (struct event){.kind = EVENT_TICK});
    cr_expect_eq(count_of(EFFECT_DECIDE), 2);
    paxos_view(p, &v);
    cr_expect_eq(v.decided, 6);
    node_free(p);
}

Test(paxos, a_node_that_gave_its_first_lease_says_so_only_when_it_cannot_forget_that_it_lived)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    struct ballot ballot = {1, 2};
    struct message m = {.kind = MESSAGE_HEARTBEAT, .heartbeat = {.ballot = ballot}};
    for (int i = 0; i < 2; i++) {
        tell(p, 1, m);
        cr_assert_not_null(sent(MESSAGE_HEARTBEAT_ACK));
        cr_expect(sent(MESSAGE_HEARTBEAT_ACK)->message.heartbeat_ack.granted);
        cr_expect_eq(sent(MESSAGE_HEARTBEAT_ACK)->after, 1);
    }
    node_free(p);
}

Test(paxos, never_collects_beyond_its_own_checkpoint)
{
    struct paxos_recovered r = {.applied = 50, .checkpointed = 20};
    struct paxos *p = node_of(3, &r, false);
    tell(p, 1,
         (struct message){.kind = MESSAGE_HEARTBEAT,
                          .heartbeat = {.ballot = {1, 2}, .collect_through = 40}});
    cr_assert_eq(count_of(EFFECT_COLLECT), 1);
    struct paxos_view v;
    paxos_view(p, &v);
    cr_expect_eq(v.collect_through, 20);
    node_free(p);
}

Test(paxos, passive_nodes_forward_and_wait_where_no_leader_is_known)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    step(p, (struct event){.kind = EVENT_SUBMIT, .submit = fixture_command(1)});
    step(p, (struct event){.kind = EVENT_FLUSH});
    cr_expect_null(sent(MESSAGE_SUBMIT));
    tell(p, 1, (struct message){.kind = MESSAGE_HEARTBEAT, .heartbeat = {.ballot = {1, 2}}});
    step(p, (struct event){.kind = EVENT_FLUSH});
    cr_assert_not_null(sent(MESSAGE_SUBMIT));
    cr_expect_eq(sent(MESSAGE_SUBMIT)->to, 1 << 1);
    node_free(p);
}

Test(paxos, a_leader_preempted_before_its_lease_lets_the_acceptors_promise_the_winner)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    struct ballot ballot = lead(p), higher = {ballot.round, ballot.leader + 1};
    now_ns += LEASE_NS; /* as good as never given */
    tell(p, 1,
         (struct message){.kind = MESSAGE_HEARTBEAT_ACK,
                          .heartbeat_ack = {.ballot = ballot, .promised = higher}});
    struct paxos_view v;
    paxos_view(p, &v);
    cr_expect_eq(v.role, ROLE_FOLLOWER);
    cr_assert_not_null(sent(MESSAGE_RELEASE));
    const struct message *m = &sent(MESSAGE_RELEASE)->message;
    cr_expect_eq(ballot_cmp(m->release.ballot, ballot), 0);
    cr_expect_eq(ballot_cmp(m->release.successor, higher), 0);
    node_free(p);
}

Test(paxos, says_no_to_a_candidate_that_lacks_more_than_a_window)
{
    struct paxos_recovered r = {.applied = 1000};
    struct paxos *p = node_of(3, &r, true);
    struct message m = {.kind = MESSAGE_PREVOTE, .prevote = {.ballot = {5, 2}}};
    m.prevote.decided = 1000 - WINDOW;
    tell(p, 1, m);
    cr_expect(sent(MESSAGE_PREVOTE_ACK)->message.prevote_ack.would_promise);
    m.prevote.decided--;
    tell(p, 1, m);
    cr_expect_not(sent(MESSAGE_PREVOTE_ACK)->message.prevote_ack.would_promise);
    cr_expect_eq(sent(MESSAGE_PREVOTE_ACK)->message.prevote_ack.decided, 1000);
    node_free(p);
}

/* Ticks for @ns; how often it asked for votes. */
static uint32_t prevotes_in(struct paxos *p, uint64_t ns)
{
    uint32_t count = 0;
    for (uint64_t end_ns = now_ns + ns; now_ns < end_ns; now_ns += 20 * NS_PER_MS) {
        step(p, (struct event){.kind = EVENT_TICK});
        count += sent(MESSAGE_PREVOTE) != NULL;
    }
    return count;
}

Test(paxos, does_not_run_while_its_store_hangs)
{
    struct pvalue accepted = fixture_pvalue((struct ballot){0}, 5, 1); /* known decided */
    struct paxos_recovered r = {.promised = {3, 2}, .applied = 4, .count = 1};
    r.accepted = &accepted;
    struct paxos *p = node_of(3, &r, false);
    cr_expect_gt(prevotes_in(p, STUCK_NS + 100 * NS_PER_MS), 0, "it may only be slow");
    cr_expect_eq(prevotes_in(p, 10 * NS_PER_S), 0);
    struct event applied = {.kind = EVENT_APPLIED};
    applied.applied.applied = 5;
    step(p, applied);
    cr_expect_gt(prevotes_in(p, NS_PER_S), 0);
    node_free(p);
}

/* ---- members ---- */

static struct configuration three_with_learner(void)
{
    struct configuration c = configuration_of((uint64_t[]){1, 2, 3}, 3);
    c.members[3] = 4;
    return c;
}

static void configure(struct paxos *p, const struct configuration *c)
{
    step(p, (struct event){.kind = EVENT_CONFIGURE, .configure = c});
}

Test(paxos, a_learner_asks_what_was_decided_but_never_runs)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    struct configuration c = three_with_learner();
    c.voters = c.voters_before = 0x0e;
    configure(p, &c);
    now_ns += NS_PER_S;
    step(p, (struct event){.kind = EVENT_TICK});
    cr_assert_not_null(sent(MESSAGE_PREVOTE));
    struct ballot ballot = sent(MESSAGE_PREVOTE)->message.prevote.ballot;
    for (uint32_t i = 0; i < 4; i++) {
        tell(p, i,
             (struct message){
                 .kind = MESSAGE_PREVOTE_ACK,
                 .prevote_ack = {.ballot = ballot, .decided = 5, .would_promise = true}});
        cr_expect_null(sent(MESSAGE_P1A));
    }
    step(p, (struct event){.kind = EVENT_FLUSH});
    cr_expect_not_null(sent(MESSAGE_FETCH), "it learns where the others are");
    node_free(p);
}

Test(paxos, a_leader_asks_the_new_voters_for_promises_at_once)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    struct ballot ballot = lead(p);
    struct configuration c = three_with_learner();
    configure(p, &c);
    cr_expect_null(sent(MESSAGE_P1A), "learners do not count");
    c.from = WINDOW;
    c.voters = 0x0c; /* who have not promised yet */
    configure(p, &c);
    cr_assert_not_null(sent(MESSAGE_P1A));
    cr_expect_eq(ballot_cmp(sent(MESSAGE_P1A)->message.p1a.ballot, ballot), 0);
    node_free(p);
}

Test(paxos, a_leader_that_lost_its_vote_hands_over_to_a_voter_of_the_new_configuration)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    lead(p);
    for (uint32_t i = 1; i < 3; i++)
        tell(p, i, (struct message){.kind = MESSAGE_READ});
    struct configuration c = three_with_learner();
    c.from = 1;
    c.voters = 0x0c;
    configure(p, &c);
    step(p, (struct event){.kind = EVENT_TICK});
    cr_assert_not_null(sent(MESSAGE_RELEASE));
    cr_expect_eq(sent(MESSAGE_RELEASE)->message.release.successor.leader, 3);
    node_free(p);
}

Test(paxos, a_node_without_a_seat_is_silent)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    struct configuration c = three_with_learner();
    c.members[0] = 0;
    c.voters = c.voters_before = 0x06;
    configure(p, &c);
    cr_expect_eq(count_of(EFFECT_NOTE), 2, "configured, left");
    cr_expect_eq(prevotes_in(p, 2 * NS_PER_S), 0);
    tell(p, 1, (struct message){.kind = MESSAGE_HEARTBEAT, .heartbeat = {.ballot = {1, 2}}});
    cr_expect_eq(out.count, 0);
    node_free(p);
}

Test(paxos, a_message_of_a_node_without_a_seat_is_ignored)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    tell(p, 3, (struct message){.kind = MESSAGE_PREVOTE, .prevote = {.ballot = {9, 4}}});
    cr_expect_eq(out.count, 0);
    node_free(p);
}

/* ---- read leases ---- */

Test(paxos, a_release_tells_of_the_read_leases_that_are_out)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    struct ballot ballot = lead(p);
    tell(p, 2,
         (struct message){.kind = MESSAGE_LEASE_ASK,
                          .lease_ask = {.ballot = ballot, .life = 77, .sent_ns = 5}});
    cr_assert_not_null(sent(MESSAGE_LEASE_GRANT));
    struct paxos_view v;
    paxos_view(p, &v);
    cr_expect_gt(v.members[2].lease_until_ns, now_ns);
    tell(p, 1, (struct message){.kind = MESSAGE_READ});
    step(p, (struct event){.kind = EVENT_HANDOVER});
    cr_assert_not_null(sent(MESSAGE_RELEASE));
    const struct message *m = &sent(MESSAGE_RELEASE)->message;
    cr_assert_eq(m->release.holder_count, 1);
    cr_expect_eq(m->release.holders[0].node, 3);
    cr_expect_eq(m->release.holders[0].life, 77);
    node_free(p);
}

Test(paxos, a_new_leader_respects_the_read_leases_that_early_promises_tell_of)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    now_ns += NS_PER_S;
    step(p, (struct event){.kind = EVENT_TICK});
    struct ballot ballot = sent(MESSAGE_PREVOTE)->message.prevote.ballot;
    for (uint32_t i = 0; i < 2; i++)
        tell(p, i,
             (struct message){.kind = MESSAGE_PREVOTE_ACK,
                              .prevote_ack = {.ballot = ballot, .would_promise = true}});
    struct holder holders[] = {{3, 77, READ_LEASE_NS}, {1, 1, READ_LEASE_NS}};
    struct message m = fixture_p1b(ballot, NULL, 0);
    m.p1b.holder_count = ARRAY_COUNT(holders);
    m.p1b.holders = holders;
    tell(p, 0, fixture_p1b(ballot, NULL, 0));
    tell(p, 1, m);
    struct paxos_view v;
    paxos_view(p, &v);
    cr_assert_eq(v.role, ROLE_LEADER);
    cr_expect_gt(v.members[2].lease_until_ns, now_ns + READ_LEASE_NS);
    cr_expect_eq(v.members[0].lease_until_ns, 0, "its own");
    node_free(p);
}

static struct paxos *with_lease(void)
{
    struct paxos_recovered nothing = {0};
    struct paxos *p = node_of(3, &nothing, true);
    tell(p, 1, (struct message){.kind = MESSAGE_HEARTBEAT, .heartbeat = {.ballot = {1, 2}}});
    step(p, (struct event){.kind = EVENT_FLUSH});
    cr_assert_not_null(sent(MESSAGE_LEASE_ASK));
    const struct message *ask = &sent(MESSAGE_LEASE_ASK)->message;
    struct message grant = {.kind = MESSAGE_LEASE_GRANT,
                            .lease_grant = {.ballot = {1, 2},
                                            .life = ask->lease_ask.life,
                                            .sent_ns = ask->lease_ask.sent_ns,
                                            .left_ns = READ_LEASE_NS,
                                            .bound = 4}};
    tell(p, 2, grant);
    struct paxos_view v;
    paxos_view(p, &v);
    cr_assert_eq(v.lease.until_ns, 0, "not the leader's");
    tell(p, 1, grant);
    paxos_view(p, &v);
    cr_assert_gt(v.lease.until_ns, now_ns);
    cr_assert_eq(v.lease.bound, 4);
    return p;
}

Test(paxos, a_lease_outlives_its_leader_and_grants_of_an_older_one_are_ignored)
{
    struct paxos *p = with_lease();
    struct paxos_view v;
    tell(p, 2, (struct message){.kind = MESSAGE_HEARTBEAT, .heartbeat = {.ballot = {2, 3}}});
    paxos_view(p, &v);
    uint64_t until_ns = v.lease.until_ns;
    cr_expect_gt(until_ns, now_ns);
    now_ns += 1000;
    tell(p, 1,
         (struct message){
             .kind = MESSAGE_LEASE_GRANT,
             .lease_grant = {
                 .ballot = {1, 2}, .life = 1, .sent_ns = now_ns, .left_ns = READ_LEASE_NS}});
    paxos_view(p, &v);
    cr_expect_eq(v.lease.until_ns, until_ns);
    now_ns += READ_LEASE_NS;
    step(p, (struct event){.kind = EVENT_TICK});
    paxos_view(p, &v);
    cr_expect_eq(v.lease.until_ns, 0);
    node_free(p);
}

Test(paxos, an_installed_snapshot_ends_the_lease_and_keeps_votes_above_it)
{
    struct paxos *p = with_lease();
    struct pvalue pvalues[] = {fixture_pvalue((struct ballot){1, 2}, 10, 1),
                               fixture_pvalue((struct ballot){1, 2}, 11, 2)};
    tell(p, 1, fixture_p2a((struct ballot){1, 2}, pvalues, 2));
    struct configuration c = three_with_learner();
    struct event e = {.kind = EVENT_INSTALLED};
    e.installed.slot = 10;
    e.installed.time_ns = 6;
    e.installed.configuration = &c;
    step(p, e);
    struct paxos_view v;
    paxos_view(p, &v);
    cr_expect_eq(v.decided, 10);
    cr_expect_eq(v.applied, 10);
    cr_expect_eq(v.slots_held, 1);
    cr_expect_eq(v.promised.round, 1);
    cr_expect_eq(v.lease.until_ns, 0);
    cr_expect_eq(v.configuration.members[3], 4);
    cr_expect_eq(count_of(EFFECT_DECIDE), 0);
    cr_expect_eq(count_of(EFFECT_COLLECT), 1);
    node_free(p);
}
