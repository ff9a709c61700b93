#include <criterion/criterion.h>
#include <errno.h>

#include "consensus/session.h"

static struct session_table table, copy;

static uint64_t open_session(uint64_t node, uint64_t life)
{
    bool changed;
    return session_open(&table, node, life, &changed);
}

static enum session_verdict judge(uint64_t epoch, uint64_t sequence, uint64_t low)
{
    const struct session_outcome *outcome;
    return session_judge(&table, 1, epoch, sequence, low, &outcome);
}

Test(session, a_repeated_open_changes_nothing)
{
    bool changed;
    cr_expect_eq(open_session(1, 77), 1);
    cr_expect_eq(session_open(&table, 1, 77, &changed), 1);
    cr_expect_not(changed);
    cr_expect_eq(session_open(&table, 1, 78, &changed), 2);
    cr_expect(changed);
    cr_expect_eq(session_open(&table, 1, 78, &changed), 2);
    cr_expect_not(changed);
}

Test(session, a_life_that_has_ended_opens_nothing)
{
    bool changed;
    open_session(1, 7);
    cr_assert_eq(judge(1, 1, 1), SESSION_NEW);
    for (uint64_t life = 1; life < 7; life++) {
        cr_expect_eq(session_open(&table, 1, life, &changed), 0);
        cr_expect_not(changed);
    }
    cr_expect_eq(session_find(&table, 1)->life, 7);
    cr_expect_eq(judge(1, 2, 1), SESSION_NEW, "the present one goes on");
    cr_expect_eq(open_session(2, 1), 1, "lives are each node's own");
}

Test(session, a_repeated_command_gets_its_outcome_again)
{
    open_session(1, 7);
    cr_assert_eq(judge(1, 1, 1), SESSION_NEW);
    session_record(&table, 1, 1, "ok", 2);
    const struct session_outcome *outcome;
    cr_assert_eq(session_judge(&table, 1, 1, 1, 1, &outcome), SESSION_REPEATED);
    cr_expect_eq(outcome->size, 2);
    cr_expect_arr_eq(outcome->bytes, "ok", 2);
}

Test(session, judges_by_epoch_and_mark)
{
    static const struct {
        const char *name;
        uint64_t epoch, sequence, low;
        enum session_verdict verdict;
    } cases[] = {
        {"first", 1, 1, 1, SESSION_NEW},
        {"other epoch", 2, 1, 1, SESSION_FENCED},
        {"no sequence", 1, 0, 0, SESSION_FENCED},
        {"too far above the mark", 1, SESSION_OPEN_MAX + 1, 1, SESSION_FENCED},
        {"raises the mark", 1, SESSION_OPEN_MAX + 1, 5, SESSION_NEW},
        {"below the mark", 1, 4, 1, SESSION_SETTLED},
        {"a mark above itself is not believed", 1, 9, 50, SESSION_NEW},
        {"so this is not settled", 1, 9, 1, SESSION_NEW},
    };
    open_session(1, 7);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(judge(cases[i].epoch, cases[i].sequence, cases[i].low), cases[i].verdict, "%s",
                     cases[i].name);
}

Test(session, is_refused_when_the_table_is_full)
{
    for (uint64_t node = 1; node <= SESSIONS_MAX; node++)
        cr_assert_eq(open_session(node, 1), 1);
    cr_expect_eq(open_session(SESSIONS_MAX + 1, 1), 0);
}

Test(session, survives_encoding)
{
    static uint8_t bytes[SESSION_ENCODED_MAX], again[SESSION_ENCODED_MAX];
    open_session(1, 6);
    open_session(1, 7);
    for (uint64_t sequence = 1; sequence <= 300; sequence++) {
        cr_assert_eq(judge(2, sequence, sequence > 200 ? sequence - 200 : 1), SESSION_NEW);
        session_record(&table, 1, sequence, &sequence, sizeof sequence);
    }
    size_t size = session_encode(session_find(&table, 1), bytes);
    cr_assert_eq(session_decode(&copy, bytes, size), 0);
    cr_assert_eq(session_encode(session_find(&copy, 1), again), size);
    cr_expect_arr_eq(bytes, again, size);
    for (size_t cut = 0; cut < size; cut += 7) {
        static struct session_table other;
        cr_expect_eq(session_decode(&other, bytes, cut), -EBADMSG);
    }
}

Test(session, expires_only_as_it_was_seen)
{
    static const struct {
        const char *name;
        uint64_t node, epoch, sequence;
        bool ends;
    } cases[] = {
        {"unknown node", 2, 1, 9, false}, {"other epoch", 1, 2, 9, false},
        {"heard since", 1, 1, 1, false},  {"as seen", 1, 1, 2, true},
        {"again", 1, 1, 2, false},
    };
    open_session(1, 7);
    for (uint64_t sequence = 1; sequence <= 2; sequence++) {
        cr_assert_eq(judge(1, sequence, 1), SESSION_NEW);
        session_record(&table, 1, sequence, "ok", 2);
    }
    cr_expect_eq(session_highest(session_find(&table, 1)), 2);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(session_expire(&table, cases[i].node, cases[i].epoch, cases[i].sequence),
                     cases[i].ends, "%s", cases[i].name);
}

Test(session, once_expired_applies_nothing_new_and_keeps_its_outcomes)
{
    static uint8_t bytes[SESSION_ENCODED_MAX];
    open_session(1, 7);
    cr_assert_eq(judge(1, 1, 1), SESSION_NEW);
    session_record(&table, 1, 1, "ok", 2);
    cr_assert(session_expire(&table, 1, 1, 1));
    cr_expect_eq(judge(1, 2, 2), SESSION_FENCED);
    cr_expect_eq(judge(1, 1, 1), SESSION_REPEATED, "never fenced: it was applied");
    size_t size = session_encode(session_find(&table, 1), bytes);
    cr_assert_eq(session_decode(&copy, bytes, size), 0);
    cr_expect(session_find(&copy, 1)->is_expired);
}

Test(session, an_expired_one_opens_anew_for_whoever_knows_that_it_ended)
{
    bool changed;
    open_session(1, 7);
    cr_assert(session_expire(&table, 1, 1, 0));
    cr_expect_eq(session_open_after(&table, 1, 7, 0, &changed), 1, "the first open, come again");
    cr_expect(session_find(&table, 1)->is_expired);
    cr_expect_eq(session_open_after(&table, 1, 7, 1, &changed), 2);
    cr_expect_not(changed, "what it held went when it expired");
    cr_expect_eq(judge(1, 1, 1), SESSION_FENCED);
    cr_expect_eq(judge(2, 1, 1), SESSION_NEW);
    cr_assert(session_expire(&table, 1, 2, 1));
    cr_expect_eq(session_open_after(&table, 1, 7, 1, &changed), 2, "the second, come again");
    cr_expect(session_find(&table, 1)->is_expired);
    cr_expect_eq(session_open_after(&table, 1, 8, 0, &changed), 3, "another life");
    cr_expect_not(session_find(&table, 1)->is_expired);
}
