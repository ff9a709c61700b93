/* One node alone, told everything by hand. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "consensus/lease.h"
#include "consensus/paxos.h"
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
