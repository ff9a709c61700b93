#include <criterion/criterion.h>

#include "consensus/leader.h"
#include "tests/support/core_fixture.h"

static struct pvalue_table proposals;
static struct leader leader;
static struct requests requests;
static const struct ballot own = {5, 1};

static struct configuration configuration;

/* Seat 0 of three voters; a majority promised. */
static struct leader_view view(uint64_t decided)
{
    return (struct leader_view){.decided = decided,
                                .applied = decided,
                                .now_ns = 1000,
                                .wall_ns = 7,
                                .configuration = &configuration,
                                .promised = 0x3};
}

/* A leader of three that caught up through @decided, with what @proposals holds adopted. */
static struct leader *started(uint64_t collected, uint64_t decided, struct outbox *o)
{
    requests_init(&requests);
    leader_init(&leader, &proposals);
    configuration = configuration_of((uint64_t[]){1, 2, 3}, 3);
    struct leader_view v = view(decided);
    leader_start(&leader, own, collected, 0, &v, o);
    for (uint32_t i = 0; i < 2; i++)
        wall_heard(&leader.wall, i, 7, 1000);
    return &leader;
}

static void no_proposals(void)
{
    pvalue_table_clear(&proposals);
    proposals.base = proposals.last = 0;
}

static struct message p2b(uint64_t *slot)
{
    return (struct message){.kind = MESSAGE_P2B, .p2b = {own, own, 1, slot}};
}

Test(leader, decides_at_a_majority_of_different_acceptors)
{
    no_proposals();
    struct outbox *o = fixture_outbox(3);
    struct leader *l = started(0, 0, o);
    requests_submit(&requests, fixture_command(1));
    struct leader_view v = view(0);
    leader_flush(l, &v, &requests, o);
    uint64_t slot = 1;
    struct message m = p2b(&slot);
    leader_on_p2b(l, 1, &m);
    leader_on_p2b(l, 1, &m);
    cr_expect_null(leader_decision(l, 1, &v, o), "one acceptor, twice");
    leader_on_p2b(l, 2, &m);
    cr_assert_not_null(leader_decision(l, 1, &v, o));
    cr_expect_eq(leader_decision(l, 1, &v, o)->command, fixture_command(1));
}

Test(leader, proposes_what_was_adopted_and_fills_gaps_with_no_ops_before_anything_new)
{
    no_proposals();
    struct pvalue adopted = fixture_pvalue((struct ballot){2, 1}, 3, 3);
    pvalue_table_put(&proposals, &adopted);
    struct outbox *o = fixture_outbox(3);
    struct leader *l = started(0, 0, o);
    requests_submit(&requests, fixture_command(9));
    struct leader_view v = view(0);
    leader_flush(l, &v, &requests, o);
    const struct message *m = &fixture_send(MESSAGE_P2A, 0)->message;
    cr_assert_eq(m->p2a.count, 4);
    cr_expect(command_is_noop(m->p2a.pvalues[0].command));
    cr_expect(command_is_noop(m->p2a.pvalues[1].command));
    cr_expect_eq(m->p2a.pvalues[2].command, adopted.command);
    cr_expect_eq(m->p2a.pvalues[2].time_ns, adopted.time_ns, "the time is part of the value");
    cr_expect_eq(m->p2a.pvalues[3].command, fixture_command(9));
    cr_expect_gt(m->p2a.pvalues[3].time_ns, adopted.time_ns);
}

Test(leader, proposes_nothing_before_it_caught_up_with_what_was_collected)
{
    no_proposals();
    struct outbox *o = fixture_outbox(3);
    struct leader *l = started(5, 3, o);
    requests_submit(&requests, fixture_command(1));
    struct leader_view v = view(3);
    leader_flush(l, &v, &requests, o);
    cr_expect_null(fixture_send(MESSAGE_P2A, 0));
    v = view(5);
    leader_flush(l, &v, &requests, o);
    cr_assert_not_null(fixture_send(MESSAGE_P2A, 0));
    cr_expect_eq(fixture_send(MESSAGE_P2A, 0)->message.p2a.pvalues[0].slot, 6);
}

Test(leader, keeps_within_the_window_of_what_is_applied) /* R5 */
{
    no_proposals();
    struct pvalue adopted = fixture_pvalue((struct ballot){2, 1}, WINDOW + 10, 3);
    pvalue_table_put(&proposals, &adopted);
    struct outbox *o = fixture_outbox(3);
    struct leader *l = started(0, 0, o);
    struct leader_view v = view(0);
    leader_flush(l, &v, &requests, o);
    cr_expect_eq(l->slot_in, WINDOW + 1);
}

Test(leader, counts_its_lease_from_the_sending_of_the_heartbeat)
{
    no_proposals();
    struct outbox *o = fixture_outbox(3);
    struct leader *l = started(0, 0, o);
    struct message m = {.kind = MESSAGE_HEARTBEAT_ACK,
                        .heartbeat_ack = {.ballot = own, .sent_ns = 1000, .granted = true}};
    struct leader_view v = view(0);
    leader_on_heartbeat_ack(l, 0, &m, &v);
    cr_expect_not(leader_may_serve(l, &v), "one of three");
    leader_on_heartbeat_ack(l, 1, &m, &v);
    v.now_ns = 1000 + LEASE_COUNTED_NS - 1;
    cr_expect(leader_may_serve(l, &v));
    v.now_ns++;
    cr_expect_not(leader_may_serve(l, &v));
}

Test(leader, serves_no_reads_before_all_it_adopted_is_decided)
{
    no_proposals();
    struct pvalue adopted = fixture_pvalue((struct ballot){2, 1}, 2, 3);
    pvalue_table_put(&proposals, &adopted);
    struct outbox *o = fixture_outbox(3);
    struct leader *l = started(0, 0, o);
    l->lease_after_ns = UINT64_MAX;
    struct leader_view v = view(1);
    cr_expect_not(leader_may_serve(l, &v));
    v = view(2);
    cr_expect(leader_may_serve(l, &v));
}

Test(wall, never_runs_more_than_a_second_past_the_median)
{
    struct wall w;
    wall_init(&w);
    wall_heard(&w, 0, 2100 * NS_PER_S, 0);
    cr_expect_not(wall_is_known(&w, 0x7));
    wall_heard(&w, 1, 100 * NS_PER_S, 0);
    wall_heard(&w, 2, 101 * NS_PER_S, 0);
    cr_assert(wall_is_known(&w, 0x7));
    cr_expect_eq(wall_bounded(&w, 0x7, 2100 * NS_PER_S, 0), 102 * NS_PER_S);
    cr_expect_eq(wall_bounded(&w, 0x7, 50 * NS_PER_S, 0), 50 * NS_PER_S);
}

Test(lease, a_majority_of_members_holds_it)
{
    struct lease_held l;
    lease_reset(&l);
    lease_granted(&l, 0, 500);
    cr_expect_eq(lease_majority_until_ns(&l, 0x7), 0);
    lease_granted(&l, 2, 300);
    cr_expect_eq(lease_majority_until_ns(&l, 0x7), 300 + LEASE_COUNTED_NS);
    lease_granted(&l, 2, 100); /* late */
    cr_expect_eq(lease_majority_until_ns(&l, 0x7), 300 + LEASE_COUNTED_NS);
    cr_expect_eq(lease_majority_until_ns(&l, 0xf), 0);
    cr_expect_eq(lease_majority_until_ns(&l, 0x1), 500 + LEASE_COUNTED_NS);
}

Test(intake, takes_a_command_once_and_in_order)
{
    static struct intake in;
    intake_put(&in, 1, fixture_command(1));
    intake_put(&in, 1, fixture_command(2));
    intake_put(&in, 1, fixture_command(1));
    cr_expect_eq(in.end - in.first, 2);
    cr_expect_eq(intake_peek(&in), fixture_command(1));
    intake_drop(&in);
    cr_expect_eq(intake_peek(&in), fixture_command(2));
    intake_clear(&in);
    intake_put(&in, 1, fixture_command(1));
    cr_expect_eq(intake_peek(&in), fixture_command(1), "another ballot, another chance");
}
