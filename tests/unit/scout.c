#include <criterion/criterion.h>

#include "consensus/scout.h"
#include "tests/support/core_fixture.h"

static struct pvalue_table pmax;
static struct scout scout;
static const struct ballot own = {5, 1};

static struct in_play play;

/* @members voters in the first seats, for all slots. */
static const struct in_play *all_of(uint32_t members)
{
    static const uint64_t nodes[MEMBERS_MAX] = {1, 2, 3, 4, 5, 6, 7};
    static struct configuration c;
    c = configuration_of(nodes, members);
    play = (struct in_play){&c, 1, WINDOW};
    return &play;
}

static struct scout *begun(uint32_t members, struct outbox *o)
{
    pvalue_table_clear(&pmax);
    scout_init(&scout, &pmax);
    scout_begin(&scout, own, 0, 0, o);
    all_of(members);
    return &scout;
}

Test(scout, keeps_of_each_slot_the_report_of_the_highest_ballot) /* pmax */
{
    struct outbox *o = fixture_outbox(3);
    struct scout *s = begun(3, o);
    struct pvalue high = fixture_pvalue((struct ballot){3, 1}, 1, 1);
    struct pvalue low = fixture_pvalue((struct ballot){2, 9}, 1, 2);
    struct message m = fixture_p1b(own, &high, 1);
    cr_expect_eq(scout_on_p1b(s, 0, &m, &play, 0, o), SCOUT_GOES_ON);
    m = fixture_p1b(own, &low, 1);
    cr_expect_eq(scout_on_p1b(s, 1, &m, &play, 0, o), SCOUT_WON);
    cr_expect_eq(pvalue_table_get(&pmax, 1)->command, high.command);
}

Test(scout, does_not_count_an_acceptor_twice)
{
    struct outbox *o = fixture_outbox(3);
    struct scout *s = begun(3, o);
    struct message m = fixture_p1b(own, NULL, 0);
    cr_expect_eq(scout_on_p1b(s, 1, &m, &play, 0, o), SCOUT_GOES_ON);
    cr_expect_eq(scout_on_p1b(s, 1, &m, &play, 0, o), SCOUT_GOES_ON);
    cr_expect_eq(scout_on_p1b(s, 2, &m, &play, 0, o), SCOUT_WON);
}

Test(scout, counts_an_acceptor_only_after_its_last_page)
{
    struct outbox *o = fixture_outbox(3);
    struct scout *s = begun(3, o);
    struct pvalue p = fixture_pvalue((struct ballot){1, 1}, 1, 1);
    struct message first = fixture_p1b(own, &p, 1), empty = fixture_p1b(own, NULL, 0);
    first.p1b.slot_next = 2;
    scout_on_p1b(s, 0, &empty, &play, 0, o);
    cr_expect_eq(scout_on_p1b(s, 1, &first, &play, 0, o), SCOUT_GOES_ON);
    cr_expect_eq(scout_on_p1b(s, 1, &first, &play, 0, o), SCOUT_GOES_ON, "the first page again");
    empty.p1b.slot_first = 2;
    cr_expect_eq(scout_on_p1b(s, 1, &empty, &play, 0, o), SCOUT_WON);
}

Test(scout, is_lost_to_a_higher_promise_and_deaf_to_other_ballots)
{
    struct outbox *o = fixture_outbox(3);
    struct scout *s = begun(3, o);
    struct message m = fixture_p1b((struct ballot){4, 1}, NULL, 0);
    m.p1b.promised = (struct ballot){9, 9};
    cr_expect_eq(scout_on_p1b(s, 1, &m, &play, 0, o), SCOUT_GOES_ON, "an answer to an earlier p1a");
    m.p1b.asked = own;
    cr_expect_eq(scout_on_p1b(s, 1, &m, &play, 0, o), SCOUT_LOST);
}

Test(scout, takes_a_page_it_has_no_room_for_as_lost)
{
    struct outbox *o = fixture_outbox(1);
    struct scout *s = begun(1, o);
    struct pvalue p = fixture_pvalue((struct ballot){1, 1}, SLOTS_HELD_MAX + 1, 1);
    struct message m = fixture_p1b(own, &p, 1);
    m.p1b.collected = 7;
    cr_expect_eq(scout_on_p1b(s, 0, &m, &play, 0, o), SCOUT_GOES_ON);
    cr_expect_eq(s->collected, 7, "yet it tells how far to catch up");
}

Test(scout, wins_a_prevote_with_a_majority_of_this_question)
{
    struct outbox *o = fixture_outbox(5);
    scout_init(&scout, &pmax);
    all_of(5);
    scout_prevote(&scout, own, 7, 0, o);
    cr_expect_eq(fixture_send(MESSAGE_PREVOTE, 0)->message.prevote.decided, 7);
    struct message m = {.kind = MESSAGE_PREVOTE_ACK,
                        .prevote_ack = {.ballot = own, .would_promise = true}};
    scout_on_prevote_ack(&scout, 0, &m, &play);
    cr_expect_eq(scout_on_prevote_ack(&scout, 0, &m, &play), SCOUT_GOES_ON);
    cr_expect_eq(scout_on_prevote_ack(&scout, 1, &m, &play), SCOUT_GOES_ON);
    cr_expect_eq(scout_on_prevote_ack(&scout, 2, &m, &play), SCOUT_WON);
}

Test(scout, needs_a_majority_of_each_configuration_in_play)
{
    static const struct configuration change = {
        .members = {1, 2, 3, 4, 5, 6}, .from = 100, .voters_before = 0x7, .voters = 0x38};
    struct outbox *o = fixture_outbox(6);
    struct scout *s = begun(6, o);
    play = (struct in_play){&change, 90, 110};
    struct message m = fixture_p1b(own, NULL, 0);
    for (uint32_t i = 0; i < 4; i++)
        cr_expect_eq(scout_on_p1b(s, i, &m, &play, 0, o), SCOUT_GOES_ON);
    cr_expect_eq(scout_on_p1b(s, 4, &m, &play, 0, o), SCOUT_WON);
}

Test(scout, goes_on_while_leading_only_towards_voters_it_needs)
{
    struct outbox *o = fixture_outbox(6);
    struct scout *s = begun(3, o);
    struct message m = fixture_p1b(own, NULL, 0);
    scout_on_p1b(s, 0, &m, &play, 0, o);
    cr_assert_eq(scout_on_p1b(s, 1, &m, &play, 0, o), SCOUT_WON);
    scout_go_on(s);
    fixture_clear();
    scout_on_tick(s, &play, NS_PER_S, o);
    cr_expect_null(fixture_send(MESSAGE_P1A, 0));

    static const struct configuration change = {
        .members = {1, 2, 3, 4, 5, 6}, .from = 100, .voters_before = 0x7, .voters = 0x38};
    play = (struct in_play){&change, 50, 110};
    scout_forget(s, 3); /* a node that was not there */
    scout_on_tick(s, &play, NS_PER_S, o);
    cr_assert_not_null(fixture_send(MESSAGE_P1A, 3));
    cr_expect_null(fixture_send(MESSAGE_P1A, 4), "not again those who promised");
    cr_expect_eq(fixture_send(MESSAGE_P1A, 1)->to, 1 << 3);
    cr_expect_eq(fixture_send(MESSAGE_P1A, 1)->message.p1a.slot_first, 50);
}

Test(scout, merges_late_reports_only_of_slots_not_yet_proposed)
{
    struct outbox *o = fixture_outbox(3);
    struct scout *s = begun(3, o);
    struct message m = fixture_p1b(own, NULL, 0);
    scout_on_p1b(s, 0, &m, &play, 0, o);
    scout_on_p1b(s, 1, &m, &play, 0, o);
    scout_go_on(s);
    static const struct configuration change = {
        .members = {1, 2, 3}, .from = 1, .voters_before = 0x3, .voters = 0x4};
    play = (struct in_play){&change, 1, 110};
    s->proposed = 4;
    struct pvalue late[] = {fixture_pvalue((struct ballot){3, 1}, 4, 1),
                            fixture_pvalue((struct ballot){3, 1}, 5, 2)};
    m = fixture_p1b(own, late, 2);
    cr_expect_eq(scout_on_p1b(s, 2, &m, &play, 0, o), SCOUT_WON);
    cr_expect_null(pvalue_table_get(&pmax, 4));
    cr_assert_not_null(pvalue_table_get(&pmax, 5));
    cr_expect_eq(s->reported, 5);
}

Test(scout, forgets_what_the_node_before_promised)
{
    struct outbox *o = fixture_outbox(3);
    struct scout *s = begun(3, o);
    struct message m = fixture_p1b(own, NULL, 0);
    scout_on_p1b(s, 1, &m, &play, 0, o);
    scout_forget(s, 1);
    cr_expect_eq(scout_on_p1b(s, 2, &m, &play, 0, o), SCOUT_GOES_ON);
}

Test(scout, unites_the_read_leases_that_early_promises_tell_of)
{
    struct outbox *o = fixture_outbox(3);
    struct scout *s = begun(3, o);
    struct holder one = {9, 7, 1000}, other[] = {{9, 7, 5000}, {8, 2, 10}};
    struct message m = fixture_p1b(own, NULL, 0);
    m.p1b.holders = &one;
    m.p1b.holder_count = 1;
    scout_on_p1b(s, 0, &m, &play, 100000, o);
    m.p1b.holders = other;
    m.p1b.holder_count = 2;
    scout_on_p1b(s, 1, &m, &play, 100000, o);
    cr_assert_eq(s->reader_count, 2);
    cr_expect_geq(s->readers[0].until_ns, 105050, "the latest end, by the slowest clock");
}

Test(scout, believes_in_no_read_lease_that_is_longer_than_a_leaders)
{
    struct outbox *o = fixture_outbox(3);
    struct scout *s = begun(3, o);
    struct holder endless[] = {{9, 7, UINT64_MAX}, {8, 2, 3600 * NS_PER_S}};
    struct message m = fixture_p1b(own, NULL, 0);
    m.p1b.holders = endless;
    m.p1b.holder_count = 2;
    scout_on_p1b(s, 0, &m, &play, NS_PER_S, o);
    cr_assert_eq(s->reader_count, 2);
    for (uint32_t i = 0; i < 2; i++)
        cr_expect_eq(s->readers[i].until_ns, NS_PER_S + lease_waited_ns(LEASE_NS));
}
