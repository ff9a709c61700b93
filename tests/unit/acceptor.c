#include <criterion/criterion.h>

#include "consensus/acceptor.h"
#include "tests/support/core_fixture.h"

static struct pvalue_table held;
static struct acceptor acceptor;

static struct acceptor *with_promise(struct ballot promised)
{
    pvalue_table_clear(&held);
    held.base = 0;
    acceptor_init(&acceptor, &held, promised, 0);
    return &acceptor;
}

static struct message p1a(struct ballot ballot, uint64_t first)
{
    return (struct message){.kind = MESSAGE_P1A, .p1a = {ballot, first}};
}

Test(acceptor, accepts_a_p2a_only_in_a_ballot_not_below_its_promise) /* A2 */
{
    static const struct {
        const char *name;
        struct ballot promised, offered;
        bool accepted;
    } cases[] = {
        {"older", {2, 1}, {1, 9}, false},
        {"lower leader", {2, 2}, {2, 1}, false},
        {"same", {2, 1}, {2, 1}, true},
        {"newer", {2, 1}, {3, 1}, true},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct acceptor *a = with_promise(cases[i].promised);
        struct outbox *o = fixture_outbox(3);
        struct pvalue p = fixture_pvalue(cases[i].offered, 1, 1);
        struct message m = fixture_p2a(cases[i].offered, &p, 1);
        acceptor_on_p2a(a, 1, &m, 0, o);
        cr_expect_eq(pvalue_table_get(&held, 1) != NULL, cases[i].accepted, "%s", cases[i].name);
        cr_expect_eq(fixture_effects(EFFECT_PERSIST), cases[i].accepted, "%s", cases[i].name);
        cr_expect_geq(ballot_cmp(a->promised, cases[i].promised), 0, "%s", cases[i].name);
    }
}

Test(acceptor, sends_a_repeated_p2b_only_after_the_newest_persist)
{
    struct acceptor *a = with_promise((struct ballot){1, 1});
    struct outbox *o = fixture_outbox(3);
    struct pvalue p = fixture_pvalue((struct ballot){1, 1}, 1, 1);
    struct message m = fixture_p2a(p.ballot, &p, 1);
    acceptor_on_p2a(a, 1, &m, 0, o);
    acceptor_flush(a, 1, o);
    fixture_clear();
    acceptor_on_p2a(a, 1, &m, 0, o); /* the disk has not answered yet */
    acceptor_flush(a, 1, o);
    cr_assert_not_null(fixture_send(MESSAGE_P2B, 0));
    cr_expect_eq(fixture_effects(EFFECT_PERSIST), 0);
    cr_expect_eq(fixture_send(MESSAGE_P2B, 0)->after, 1);
}

Test(acceptor, does_not_vote_again_on_what_is_known_decided)
{
    struct acceptor *a = with_promise((struct ballot){1, 1});
    struct outbox *o = fixture_outbox(3);
    struct pvalue p = fixture_pvalue((struct ballot){1, 1}, 5, 1);
    struct message m = fixture_p2a(p.ballot, &p, 1);
    acceptor_on_p2a(a, 1, &m, 5, o); /* slot 5 was fetched */
    acceptor_flush(a, 1, o);
    cr_expect_eq(fixture_effects(EFFECT_PERSIST), 0, "it would replace the decision in the log");
    cr_expect_null(fixture_send(MESSAGE_P2B, 0));
}

Test(acceptor, promises_durably_before_it_answers)
{
    struct acceptor *a = with_promise((struct ballot){1, 1});
    struct outbox *o = fixture_outbox(3);
    struct message m = p1a((struct ballot){2, 2}, 1);
    acceptor_on_p1a(a, 1, &m, 0, 0, o);
    cr_assert_not_null(fixture_send(MESSAGE_P1B, 0));
    cr_expect_eq(fixture_send(MESSAGE_P1B, 0)->after, 1);
    cr_expect_eq(a->promised.round, 2);
}

Test(acceptor, reports_in_pages_what_is_not_known_decided)
{
    struct acceptor *a = with_promise((struct ballot){1, 1});
    struct outbox *o = fixture_outbox(3);
    for (uint64_t slot = 1; slot <= 100; slot++) {
        struct pvalue p = fixture_pvalue((struct ballot){1, 1}, slot, 1);
        pvalue_table_put(&held, &p);
    }
    struct message m = p1a((struct ballot){2, 2}, 1);
    acceptor_on_p1a(a, 1, &m, 10, 0, o);
    const struct message *page = &fixture_send(MESSAGE_P1B, 0)->message;
    cr_expect_eq(page->p1b.count, ENTRIES_MAX);
    cr_expect_eq(page->p1b.collected, 10);
    cr_expect_eq(page->p1b.pvalues[0].slot, 11);
    cr_expect_eq(page->p1b.slot_next, 11 + ENTRIES_MAX);
    m = p1a((struct ballot){2, 2}, page->p1b.slot_next);
    fixture_clear();
    acceptor_on_p1a(a, 1, &m, 10, 0, o);
    page = &fixture_send(MESSAGE_P1B, 0)->message;
    cr_expect_eq(page->p1b.slot_next, 0);
    cr_expect_eq(page->p1b.pvalues[page->p1b.count - 1].slot, 100);
}

Test(acceptor, under_a_lease_promises_nobody_else_until_it_ends)
{
    struct acceptor *a = with_promise((struct ballot){1, 1});
    struct outbox *o = fixture_outbox(3);
    cr_assert(acceptor_on_heartbeat(a, (struct ballot){1, 1}, 1000, o));
    cr_expect_not(acceptor_would_promise(a, (struct ballot){2, 2}, 1000 + LEASE_NS));
    cr_expect_not(acceptor_would_promise(a, (struct ballot){2, 1}, 1000 + LEASE_NS), "same leader");
    cr_expect_not(acceptor_on_heartbeat(a, (struct ballot){2, 2}, 2000, o));
    cr_expect(acceptor_would_promise(a, (struct ballot){2, 2}, 1000 + LEASE_GIVEN_NS));
}

Test(acceptor, gives_no_lease_below_its_promise)
{
    struct acceptor *a = with_promise((struct ballot){3, 2});
    cr_expect_not(acceptor_on_heartbeat(a, (struct ballot){3, 1}, 1, fixture_outbox(3)));
}

Test(acceptor, a_released_lease_lets_the_successor_in_and_what_is_higher)
{
    struct acceptor *a = with_promise((struct ballot){1, 1});
    struct outbox *o = fixture_outbox(3);
    struct ballot old = {1, 1}, successor = {2, 2};
    cr_assert(acceptor_on_heartbeat(a, old, 1000, o));
    struct message m = {.kind = MESSAGE_RELEASE,
                        .release = {.ballot = old, .successor = successor}};
    lease_release(&a->lease, &m, 1500);
    cr_expect(acceptor_would_promise(a, successor, 2000));
    cr_expect(acceptor_would_promise(a, (struct ballot){3, 3}, 2000));
    cr_expect_not(acceptor_would_promise(a, (struct ballot){2, 1}, 2000));
    cr_expect_not(acceptor_on_heartbeat(a, old, 2000, o), "a late heartbeat");
    cr_expect(acceptor_promise(a, successor, 2000, o));
    cr_expect(acceptor_on_heartbeat(a, successor, 2001, o));
}

Test(acceptor, keeps_silent_after_a_restart)
{
    struct acceptor *a = with_promise((struct ballot){1, 1});
    a->silent_until_ns = 5000;
    cr_expect_not(acceptor_would_promise(a, (struct ballot){2, 2}, 4999));
    cr_expect(acceptor_would_promise(a, (struct ballot){2, 2}, 5000));
}

Test(acceptor, an_early_promise_tells_of_the_read_leases_that_are_out)
{
    struct acceptor *a = with_promise((struct ballot){1, 1});
    struct outbox *o = fixture_outbox(3);
    struct holder out[] = {{7, 3, 100 * NS_PER_MS}, {8, 4, 1 * NS_PER_MS}};
    struct message m = {.kind = MESSAGE_RELEASE,
                        .release = {{1, 1}, {2, 2}, ARRAY_COUNT(out), out}};
    cr_assert(acceptor_on_heartbeat(a, (struct ballot){1, 1}, 1000, o));
    lease_release(&a->lease, &m, 2000);
    m = p1a((struct ballot){2, 2}, 1);
    acceptor_on_p1a(a, 1, &m, 0, 50 * NS_PER_MS, o);
    cr_assert_not_null(fixture_send(MESSAGE_P1B, 0));
    const struct message *answer = &fixture_send(MESSAGE_P1B, 0)->message;
    cr_assert_eq(answer->p1b.holder_count, 1, "the other has ended");
    cr_expect_eq(answer->p1b.holders[0].node, 7);
    cr_expect_eq(answer->p1b.holders[0].life, 3);
    cr_expect_gt(answer->p1b.holders[0].left_ns, 51 * NS_PER_MS);
    cr_expect_lt(answer->p1b.holders[0].left_ns, 52 * NS_PER_MS);

    acceptor_on_p1a(a, 1, &m, 0, 60 * NS_PER_MS, o); /* lost: asked again */
    cr_expect_eq(fixture_send(MESSAGE_P1B, 1)->message.p1b.holder_count, 1);
    acceptor_on_p1a(a, 1, &m, 0, 1000 + LEASE_GIVEN_NS, o);
    cr_expect_eq(fixture_send(MESSAGE_P1B, 2)->message.p1b.holder_count, 0);
}
