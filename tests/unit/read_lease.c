#include <criterion/criterion.h>

#include "consensus/lease.h"
#include "consensus/read_lease.h"
#include "tests/support/core_fixture.h"

static const struct ballot first = {5, 1}, second = {6, 2};
static struct read_lease lease;
static struct read_holders holders;
static struct pvalue_table held;

static struct message grant(struct ballot ballot, uint64_t sent_ns, uint64_t bound)
{
    return (struct message){.kind = MESSAGE_LEASE_GRANT,
                            .lease_grant = {.ballot = ballot,
                                            .life = 7,
                                            .sent_ns = sent_ns,
                                            .left_ns = READ_LEASE_NS,
                                            .bound = bound}};
}

static struct read_lease *fresh(void)
{
    read_lease_init(&lease, 7);
    return &lease;
}

/* ---- the holder ---- */

Test(read_lease, counts_from_the_sending_of_its_question_less_the_clocks_error)
{
    struct read_lease *l = fresh();
    struct message m = grant(first, 1000, 3);
    read_lease_on_grant(l, &m, 5000, fixture_outbox(3));
    cr_expect_eq(l->until_ns, 1000 + READ_LEASE_NS / 100 * 99);
    cr_expect(read_lease_is_valid(l, l->until_ns - 1));
    cr_expect_not(read_lease_is_valid(l, l->until_ns));
}

Test(read_lease, ignores_a_grant_of_another_life_and_one_that_came_too_late)
{
    struct read_lease *l = fresh();
    struct message m = grant(first, 1000, 3);
    m.lease_grant.life = 6;
    read_lease_on_grant(l, &m, 2000, fixture_outbox(3));
    cr_expect_eq(l->until_ns, 0);
    m = grant(first, 1000, 3);
    read_lease_on_grant(l, &m, 1000 + READ_LEASE_NS, fixture_outbox(3));
    cr_expect_eq(l->until_ns, 0);
    m = grant(first, 3000, 3);
    read_lease_on_grant(l, &m, 2000, fixture_outbox(3));
    cr_expect_eq(l->until_ns, 0, "an answer before the question");
}

Test(read_lease, a_renewal_in_time_keeps_the_bound_and_a_late_one_takes_the_new)
{
    struct read_lease *l = fresh();
    struct outbox *o = fixture_outbox(3);
    struct message m = grant(first, 1000, 3);
    read_lease_on_grant(l, &m, 1000, o);
    m = grant(second, 2000, 9);
    read_lease_on_grant(l, &m, 3000, o); /* also the successor's */
    cr_expect_eq(l->bound, 3);
    cr_expect_eq(ballot_cmp(l->ballot, second), 0);
    uint64_t late_ns = l->until_ns;
    m = grant(second, late_ns, 20);
    read_lease_on_grant(l, &m, late_ns, o);
    cr_expect_eq(l->bound, 20);
}

Test(read_lease, asks_again_only_after_a_while)
{
    struct read_lease *l = fresh();
    struct outbox *o = fixture_outbox(3);
    read_lease_ask(l, 1, first, 1000, o);
    read_lease_ask(l, 1, first, 1000 + READ_ASK_NS - 1, o);
    cr_expect_null(fixture_send(MESSAGE_LEASE_ASK, 1));
    read_lease_ask(l, 1, first, 1000 + READ_ASK_NS, o);
    cr_assert_not_null(fixture_send(MESSAGE_LEASE_ASK, 1));
    cr_expect_eq(fixture_send(MESSAGE_LEASE_ASK, 1)->message.lease_ask.sent_ns, 1000 + READ_ASK_NS);
}

static void hold(struct ballot ballot, uint64_t slot)
{
    struct pvalue p = fixture_pvalue(ballot, slot, 1);
    pvalue_table_put(&held, &p);
}

static void offer(struct ballot ballot, uint64_t slot, uint64_t decided_through)
{
    struct pvalue p = fixture_pvalue(ballot, slot, 1);
    struct message m = fixture_p2a(ballot, &p, 1);
    m.p2a.decided_through = decided_through;
    read_lease_on_p2a(&lease, &m);
}

static struct read_lease *asked(void)
{
    pvalue_table_clear(&held);
    held.base = 0;
    fresh();
    lease.has_asked = true;
    return &lease;
}

/* The slot acknowledged now; 0: none. */
static uint64_t acknowledged(uint64_t decided)
{
    struct outbox *o = fixture_outbox(3);
    read_lease_acknowledge(&lease, &held, decided, 1, o);
    const struct send *s = fixture_send(MESSAGE_LEASE_ACK, 0);
    if (s)
        cr_expect_eq(s->after, 0, "at once, not after the disk");
    return s ? s->message.lease_ack.through : 0;
}

Test(read_lease, acknowledges_without_a_gap_what_is_held_at_the_leaders_ballot)
{
    asked();
    hold(first, 3);
    hold(second, 4);
    hold(second, 5);
    hold(second, 7);
    offer(second, 4, 0);
    cr_expect_eq(acknowledged(2), 0, "slot 3 is held at another ballot");
    hold(second, 3);
    cr_expect_eq(acknowledged(2), 5);
    cr_expect_eq(acknowledged(2), 0, "once");
    offer(second, 4, 0);
    cr_expect_eq(acknowledged(2), 5, "unless the p2a comes again");
    hold(second, 6);
    cr_expect_eq(acknowledged(2), 7);
}

Test(read_lease, what_its_leader_has_decided_needs_no_acknowledgement)
{
    asked();
    hold(second, 5);
    offer(second, 5, 4);
    cr_expect_eq(acknowledged(1), 5);
}

Test(read_lease, begins_anew_with_each_leader)
{
    asked();
    hold(first, 1);
    hold(first, 2);
    offer(first, 1, 0);
    cr_expect_eq(acknowledged(0), 2);
    hold(second, 1);
    offer(second, 1, 0);
    cr_expect_eq(acknowledged(0), 1, "slot 2 may get another value");
}

Test(read_lease, whoever_never_asked_acknowledges_nothing)
{
    asked();
    lease.has_asked = false;
    hold(first, 1);
    offer(first, 1, 0);
    cr_expect_eq(acknowledged(0), 0);
    read_lease_ask(&lease, 1, first, 0, fixture_outbox(3));
    cr_expect_eq(acknowledged(0), 1, "but then what came before as well");
}

Test(read_lease, who_is_about_to_leave_holds_none_again_and_acknowledges_all_that_is_to_come)
{
    struct read_lease *l = fresh();
    struct outbox *o = fixture_outbox(3);
    read_lease_ask(l, 1, first, 1000, o);
    struct message m = grant(first, 1000, 3);
    read_lease_on_grant(l, &m, 1000, o);
    cr_assert(read_lease_is_valid(l, 1000));
    struct pvalue p = fixture_pvalue(first, 9, 1); /* there is a gap before it */
    struct message p2a = fixture_p2a(first, &p, 1);
    read_lease_on_p2a(l, &p2a);
    read_lease_end(l, o);
    cr_expect_not(read_lease_is_valid(l, 1000));
    fixture_clear();
    read_lease_acknowledge(l, &held, 3, 1, o);
    const struct send *ack = fixture_send(MESSAGE_LEASE_ACK, 0);
    cr_assert_not_null(ack);
    cr_expect_eq(ack->message.lease_ack.through, READ_ACKED_ALL);
    m = grant(first, 2000, 3);
    read_lease_on_grant(l, &m, 2000, o);
    cr_expect_not(read_lease_is_valid(l, 2000));

    read_holders_clear(&holders);
    uint64_t left_ns = read_holders_grant(&holders, 2, 7, NS_PER_S, 0);
    cr_assert_gt(left_ns, 0);
    cr_expect_not(read_holders_permit(&holders, 9, 1000, o));
    read_holders_on_ack(&holders, 2, 7, READ_ACKED_ALL, 1000);
    cr_expect(read_holders_permit(&holders, 9, 1000, o));
    cr_expect_eq(read_holders_last_ns(&holders, 1000), 0);
    read_holders_forget(&holders, 2);
    cr_expect(read_holders_permit(&holders, 10, 1000, o), "nothing to wait out");
}

/* ---- the leader ---- */

static void granted(uint32_t seat, uint64_t life, uint64_t now_ns)
{
    read_holders_grant(&holders, seat, life, now_ns + NS_PER_S, now_ns);
}

Test(read_holders, a_lease_ends_within_the_leaders_own)
{
    read_holders_clear(&holders);
    uint64_t left_ns = read_holders_grant(&holders, 1, 7, 1000 + 100 * NS_PER_MS, 1000);
    cr_expect_leq(holders.at[1].until_ns, 1000 + 100 * NS_PER_MS);
    cr_expect_leq(lease_waited_ns(left_ns), 100 * NS_PER_MS + 100);
    cr_expect_eq(read_holders_grant(&holders, 1, 7, 1000 + NS_PER_S, 1000), READ_LEASE_NS);
    cr_expect_eq(holders.at[1].until_ns, 1000 + READ_LEASE_NS / 100 * 101);
}

Test(read_holders, a_decision_waits_for_all_of_them_or_for_the_end_of_their_leases)
{
    read_holders_clear(&holders);
    struct outbox *o = fixture_outbox(3);
    granted(1, 7, 1000);
    granted(2, 8, 1000);
    cr_expect_not(read_holders_permit(&holders, 5, 2000, o));
    read_holders_on_ack(&holders, 1, 7, 5, 2000);
    cr_expect_eq(read_holders_lacking(&holders, 5, 2000), 1 << 2);
    cr_expect_not(read_holders_permit(&holders, 5, 2000, o));
    read_holders_on_ack(&holders, 2, 7, 5, 2000); /* another life than the lease's */
    cr_expect_not(read_holders_permit(&holders, 5, 2000, o));
    read_holders_on_ack(&holders, 2, 8, 4, 2000);
    cr_expect_not(read_holders_permit(&holders, 5, 2000, o));
    cr_expect_not(read_holders_permit(&holders, 5, holders.at[2].until_ns - 1, o));
    cr_expect(read_holders_permit(&holders, 5, holders.at[2].until_ns, o));
}

Test(read_holders, who_made_a_decision_wait_pauses_longer_each_time)
{
    read_holders_clear(&holders);
    struct outbox *o = fixture_outbox(3);
    uint64_t now_ns = NS_PER_S, pause_ns = READ_PAUSE_NS_MIN;
    for (int i = 0; i < 8; i++) {
        cr_assert(read_holders_may_have(&holders, 1, now_ns));
        granted(1, 7, now_ns);
        read_holders_permit(&holders, 5, now_ns, o);
        cr_expect_not(read_holders_may_have(&holders, 1, now_ns + READ_PATIENCE_NS),
                      "asking on does not make others wait on");
        now_ns = holders.at[1].until_ns;
        cr_assert(read_holders_permit(&holders, 5, now_ns, o));
        cr_expect_eq(fixture_effects(EFFECT_NOTE), (uint32_t)i + 1);
        cr_expect_not(read_holders_may_have(&holders, 1, now_ns + pause_ns - 1));
        now_ns += pause_ns;
        pause_ns = 2 * pause_ns < READ_PAUSE_NS_MAX ? 2 * pause_ns : READ_PAUSE_NS_MAX;
    }
}

Test(read_holders, who_answers_in_time_does_not_pause)
{
    read_holders_clear(&holders);
    struct outbox *o = fixture_outbox(3);
    granted(1, 7, 1000);
    read_holders_permit(&holders, 5, 1000, o);
    read_holders_on_ack(&holders, 1, 7, 5, 2000);
    cr_expect(read_holders_permit(&holders, 5, holders.at[1].until_ns, o));
    cr_expect_eq(fixture_effects(EFFECT_NOTE), 0);
    cr_expect(read_holders_may_have(&holders, 1, NS_PER_S));
}

Test(read_holders, a_repeated_acknowledgement_that_does_not_move_buys_no_renewal)
{
    read_holders_clear(&holders);
    granted(1, 7, 1000);
    read_holders_on_ack(&holders, 1, 7, 4, 1000);
    read_holders_permit(&holders, 5, 1000, fixture_outbox(3));
    read_holders_on_ack(&holders, 1, 7, 4, 2000);
    cr_expect_not(read_holders_may_have(&holders, 1, 1000 + READ_PATIENCE_NS));
}

Test(read_holders, the_lease_of_a_former_life_or_of_a_seat_given_up_is_waited_out)
{
    struct outbox *o = fixture_outbox(3);
    read_holders_clear(&holders);
    granted(1, 7, 1000);
    uint64_t until_ns = holders.at[1].until_ns;
    cr_expect_eq(read_holders_grant(&holders, 1, 8, 2 * NS_PER_S, 2000), 0, "restarted");
    read_holders_on_ack(&holders, 1, 8, 9, 2000);
    cr_expect_not(read_holders_permit(&holders, 5, until_ns - 1, o));
    cr_expect(read_holders_permit(&holders, 5, until_ns, o));

    read_holders_clear(&holders);
    granted(1, 7, 1000);
    read_holders_forget(&holders, 1);
    read_holders_on_ack(&holders, 1, 7, 9, 2000);
    cr_expect_not(read_holders_permit(&holders, 5, until_ns - 1, o));
    cr_expect(read_holders_permit(&holders, 5, until_ns, o));
}

Test(read_holders, what_a_former_leader_had_out_is_respected_and_told_on)
{
    read_holders_clear(&holders);
    struct outbox *o = fixture_outbox(3);
    struct configuration c = configuration_of((uint64_t[]){11, 12, 13}, 3);
    read_holders_inherit(&holders, 1, 7, 5000);
    read_holders_inherit(&holders, 1, 6, 7000);           /* two lives of a node */
    read_holders_inherit(&holders, MEMBERS_MAX, 9, 6000); /* has left */
    read_holders_on_ack(&holders, 1, 7, 9, 2000);
    struct message m = {.kind = MESSAGE_RELEASE};
    read_holders_tell(&holders, &c, 0, 2000, &m, o);
    cr_assert_eq(m.release.holder_count, 2);
    cr_expect_eq(m.release.holders[0].node, 12);
    cr_expect_eq(m.release.holders[0].life, 7);
    cr_expect_eq(m.release.holders[0].left_ns, 3000);
    cr_expect_eq(m.release.holders[1].life, 0, "nobody can acknowledge for it");
    cr_expect_eq(m.release.holders[1].left_ns, 5000);
    cr_expect_not(read_holders_permit(&holders, 5, 6999, o));
    cr_expect(read_holders_permit(&holders, 5, 7000, o));
}
