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

/* ---- a change of voters ---- */

enum { FROM = 20 };

/* A leader at slot @decided + 1, with the slots through @last proposed, of voters 0..2 and, from
 * FROM on, 3..5. */
static struct leader *changing(uint64_t decided, uint64_t last, struct outbox *o)
{
    no_proposals();
    struct leader *l = started(0, decided, o);
    configuration = (struct configuration){
        .members = {1, 2, 3, 4, 5, 6}, .from = FROM, .voters_before = 0x07, .voters = 0x38};
    for (uint64_t slot = decided + 1; slot <= last; slot++) {
        struct pvalue p = fixture_pvalue(own, slot, 1);
        pvalue_table_put(&proposals, &p);
    }
    l->slot_in = l->slot_sent = last + 1;
    for (uint32_t i = 0; i < WINDOW; i++)
        l->commanders[i] = (struct commander){.tries = 1};
    return l;
}

static void accept_by(struct leader *l, uint32_t mask, uint64_t slot)
{
    struct message m = p2b(&slot);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (mask & UINT32_C(1) << i)
            leader_on_p2b(l, i, &m);
    }
}

Test(leader, counts_for_each_slot_the_voters_that_govern_it)
{
    struct outbox *o = fixture_outbox(6);
    struct leader *l = changing(FROM - 2, FROM, o);
    struct leader_view v = view(FROM - 2);
    accept_by(l, 0x38, FROM - 1);
    cr_expect_null(leader_decision(l, FROM - 1, &v, o));
    accept_by(l, 0x03, FROM - 1);
    cr_expect_not_null(leader_decision(l, FROM - 1, &v, o));
    v = view(FROM - 1);
    accept_by(l, 0x0f, FROM);
    cr_expect_null(leader_decision(l, FROM, &v, o));
    accept_by(l, 0x10, FROM);
    l->members_decided[3] = FROM - 1;
    l->members_decided[4] = FROM - 2;
    cr_expect_null(leader_decision(l, FROM, &v, o), "who leaves may have to tell the fifth");
    l->members_decided[4] = FROM - 1;
    cr_expect_not_null(leader_decision(l, FROM, &v, o));
}

Test(leader, proposes_only_where_a_majority_of_those_who_govern_has_promised)
{
    struct outbox *o = fixture_outbox(6);
    struct leader *l = changing(5, 5, o);
    configuration.voters = 0x39; /* this node stays one */
    struct leader_view v = view(5);
    leader_flush(l, &v, &requests, o);
    cr_expect_eq(l->slot_in, FROM, "no-ops lead to the change, not past it");
    v.promised = 0x3b;
    leader_flush(l, &v, &requests, o);
    cr_expect_eq(l->slot_in, FROM + 1, "and on until it governs");
}

/* Seen red with mutants/late-report-lost. */
Test(leader, proposes_again_what_new_voters_report_late_before_anything_new)
{
    struct outbox *o = fixture_outbox(6);
    struct leader *l = changing(5, FROM - 1, o);
    configuration.voters = 0x39; /* this node stays one */
    struct pvalue reported = fixture_pvalue((struct ballot){2, 1}, FROM + 1, 3);
    pvalue_table_put(&proposals, &reported);
    leader_on_report(l, 0, FROM + 1);
    for (uint32_t i = 3; i < 6; i++)
        wall_heard(&l->wall, i, 7, 1000);
    requests_submit(&requests, fixture_command(9));
    struct leader_view v = view(5);
    v.promised = 0x3b;
    leader_flush(l, &v, &requests, o);
    const struct pvalue *first = pvalue_table_get(&proposals, FROM);
    const struct pvalue *second = pvalue_table_get(&proposals, FROM + 1);
    const struct pvalue *third = pvalue_table_get(&proposals, FROM + 2);
    cr_assert(first && second && third);
    cr_expect(command_is_noop(first->command));
    cr_expect_eq(second->command, reported.command);
    cr_expect_eq(ballot_cmp(second->ballot, own), 0);
    cr_expect_eq(third->command, fixture_command(9));
}

Test(leader, leaves_the_slots_after_it_lost_its_vote_to_another)
{
    struct outbox *o = fixture_outbox(6);
    struct leader *l = changing(5, 5, o);
    struct leader_view v = view(5);
    v.promised = 0x3f;
    requests_submit(&requests, fixture_command(1));
    leader_flush(l, &v, &requests, o);
    cr_expect_eq(l->slot_in, FROM);
    cr_expect_not(leader_is_done(&v));
    v = view(FROM - 1);
    cr_expect(leader_is_done(&v));
}

Test(leader, its_lease_needs_a_majority_of_every_configuration_in_play)
{
    struct outbox *o = fixture_outbox(6);
    struct leader *l = changing(FROM - 3, FROM - 2, o);
    struct leader_view v = view(FROM - 3);
    v.promised = 0x3f;
    l->adopted = 0;
    struct message m = {.kind = MESSAGE_HEARTBEAT_ACK,
                        .heartbeat_ack = {.ballot = own, .sent_ns = 1000, .granted = true}};
    for (uint32_t i = 0; i < 3; i++)
        leader_on_heartbeat_ack(l, i, &m, &v);
    cr_expect(leader_may_serve(l, &v), "no slot of the new one is used");
    l->slot_in = FROM;
    cr_expect_not(leader_may_serve(l, &v));
    for (uint32_t i = 3; i < 5; i++)
        leader_on_heartbeat_ack(l, i, &m, &v);
    cr_expect(leader_may_serve(l, &v));
}

Test(leader, serves_only_where_those_who_govern_next_are_known_and_have_promised)
{
    struct outbox *o = fixture_outbox(6);
    struct leader *l = changing(FROM - 1, FROM - 1, o);
    l->lease_before_ns = l->lease_after_ns = UINT64_MAX;
    l->adopted = 0;
    struct leader_view v = view(FROM - 1);
    cr_expect_not(leader_may_serve(l, &v), "an older leader could still decide the next slot");
    v.promised = 0x18;
    cr_expect(leader_may_serve(l, &v));
    v.decided = v.applied + WINDOW;
    cr_expect_not(leader_may_serve(l, &v));
}

Test(leader, decides_the_last_slot_before_a_change_once_the_new_voters_outlast_all_read_leases)
{
    struct outbox *o = fixture_outbox(6);
    struct leader *l = changing(FROM - 2, FROM - 1, o);
    struct leader_view v = view(FROM - 2);
    v.promised = 0x3f;
    accept_by(l, 0x07, FROM - 1);
    cr_expect_not_null(leader_decision(l, FROM - 1, &v, o), "no read lease is out");
    read_holders_inherit(&l->holders, 1, 7, 5000);
    read_holders_on_ack(&l->holders, 1, 7, FROM, 1000);
    cr_expect_null(leader_decision(l, FROM - 1, &v, o));
    l->lease_after_ns = 5000;
    cr_expect_not_null(leader_decision(l, FROM - 1, &v, o));
    v.promised = 0x07;
    cr_expect_null(leader_decision(l, FROM - 1, &v, o), "an older leader's ballot");
    v.now_ns = 5000;
    cr_expect_not_null(leader_decision(l, FROM - 1, &v, o), "it has ended");
}

Test(leader, decides_nothing_past_what_it_knows_of_the_voters_while_read_leases_are_out)
{
    no_proposals();
    struct outbox *o = fixture_outbox(3);
    struct leader *l = changing(WINDOW - 1, WINDOW, o);
    configuration = configuration_of((uint64_t[]){1, 2, 3}, 3);
    struct leader_view v = view(WINDOW - 1);
    l->lease_after_ns = UINT64_MAX;
    v.applied = 0;
    accept_by(l, 0x07, WINDOW);
    read_holders_inherit(&l->holders, 1, 7, 5000);
    read_holders_on_ack(&l->holders, 1, 7, WINDOW, 1000);
    cr_expect_null(leader_decision(l, WINDOW, &v, o));
    v.applied = 1;
    cr_expect_not_null(leader_decision(l, WINDOW, &v, o));
}

Test(leader, a_seat_that_changes_hands_begins_with_nothing)
{
    struct outbox *o = fixture_outbox(3);
    struct leader *l = changing(5, 6, o);
    configuration = configuration_of((uint64_t[]){1, 2, 3}, 3);
    struct leader_view v = view(5);
    accept_by(l, 0x03, 6);
    l->members_decided[1] = 5;
    lease_granted(&l->lease, 0, 1000);
    lease_granted(&l->lease, 1, 1000);
    read_holders_inherit(&l->holders, 1, 7, 5000);
    leader_configure(l, 0, &v);
    cr_expect_gt(l->lease_after_ns, 0);
    leader_configure(l, 1 << 1, &v);
    cr_expect_eq(l->lease_after_ns, 0);
    cr_expect_eq(l->members_decided[1], 0);
    v.now_ns = 6000;
    cr_expect_null(leader_decision(l, 6, &v, o), "the vote was another node's");
    v.now_ns = 1000;
    accept_by(l, 0x04, 6);
    cr_expect_null(leader_decision(l, 6, &v, o), "its read lease is waited out");
    v.now_ns = 5000;
    cr_expect_not_null(leader_decision(l, 6, &v, o));
}

/* ---- read leases ---- */

static void ask_for_lease(struct leader *l, const struct leader_view *v, struct outbox *o)
{
    fixture_clear();
    struct message m = {.kind = MESSAGE_LEASE_ASK,
                        .lease_ask = {.ballot = own, .life = 7, .sent_ns = 500}};
    leader_on_lease_ask(l, 1, &m, v, o);
}

Test(leader, grants_read_leases_only_while_it_serves_and_names_all_it_proposed)
{
    no_proposals();
    struct outbox *o = fixture_outbox(3);
    struct leader *l = started(4, 4, o);
    struct leader_view v = view(4);
    l->slot_in = 9;
    ask_for_lease(l, &v, o);
    cr_expect_null(fixture_send(MESSAGE_LEASE_GRANT, 0), "no leader lease");
    l->lease_after_ns = 1000 + NS_PER_S;
    ask_for_lease(l, &v, o);
    cr_assert_not_null(fixture_send(MESSAGE_LEASE_GRANT, 0));
    const struct message *m = &fixture_send(MESSAGE_LEASE_GRANT, 0)->message;
    cr_expect_eq(m->lease_grant.bound, 8);
    cr_expect_eq(m->lease_grant.sent_ns, 500);
    cr_expect_eq(m->lease_grant.left_ns, READ_LEASE_NS);
    l->adopted = 5;
    ask_for_lease(l, &v, o);
    cr_expect_null(fixture_send(MESSAGE_LEASE_GRANT, 0), "not all it adopted is decided");
}

Test(leader, grants_no_read_lease_to_a_member_that_is_far_behind)
{
    no_proposals();
    struct outbox *o = fixture_outbox(3);
    struct leader *l = started(0, ENTRIES_MAX + 1, o);
    struct leader_view v = view(ENTRIES_MAX + 1);
    l->lease_after_ns = 1000 + NS_PER_S;
    ask_for_lease(l, &v, o);
    cr_expect_null(fixture_send(MESSAGE_LEASE_GRANT, 0));
    l->members_decided[1] = 1;
    ask_for_lease(l, &v, o);
    cr_expect_not_null(fixture_send(MESSAGE_LEASE_GRANT, 0));
}

Test(leader, sends_a_p2a_again_also_to_a_holder_that_voted_and_did_not_acknowledge)
{
    struct outbox *o = fixture_outbox(3);
    struct leader *l = changing(5, 6, o);
    configuration = configuration_of((uint64_t[]){1, 2, 3}, 3);
    struct leader_view v = view(5);
    accept_by(l, 0x07, 6);
    read_holders_inherit(&l->holders, 1, 7, 9 * NS_PER_S);
    v.now_ns = NS_PER_S;
    fixture_clear();
    leader_on_tick(l, &v, o);
    cr_assert_not_null(fixture_send(MESSAGE_P2A, 0));
    cr_expect_eq(fixture_send(MESSAGE_P2A, 0)->to, 1 << 1);
}
