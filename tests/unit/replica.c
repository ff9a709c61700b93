#include <criterion/criterion.h>

#include "consensus/paxos.h"
#include "consensus/reader.h"
#include "consensus/replica.h"
#include "tests/support/core_fixture.h"

static struct pvalue_table held;
static struct replica replica;

static struct replica *fresh(void)
{
    pvalue_table_clear(&held);
    held.base = 0;
    replica_init(&replica, &held, 0);
    return &replica;
}

static void hold(struct ballot ballot, uint64_t slot, uint64_t sequence)
{
    struct pvalue p = fixture_pvalue(ballot, slot, sequence);
    pvalue_table_put(&held, &p);
}

Test(replica, decides_as_held_only_what_it_holds_at_the_ballot_or_higher)
{
    struct replica *r = fresh();
    struct outbox *o = fixture_outbox(3);
    hold((struct ballot){2, 1}, 1, 1);
    hold((struct ballot){3, 1}, 2, 2);
    hold((struct ballot){1, 1}, 3, 3); /* may be another value */
    hold((struct ballot){2, 1}, 4, 4);
    replica_on_decided(r, 1, (struct ballot){2, 1}, 4, o);
    cr_expect_eq(r->decided, 2);
    replica_fetch(r, 1, 0, o);
    cr_assert_not_null(fixture_send(MESSAGE_FETCH, 0));
    cr_expect_eq(fixture_send(MESSAGE_FETCH, 0)->message.fetch.first, 3);
    struct pvalue fetched = fixture_pvalue((struct ballot){0}, 3, 9);
    struct message m = {.kind = MESSAGE_DECISIONS, .decisions = {0, 1, &fetched}};
    replica_on_decisions(r, 1, &m, o);
    cr_expect_eq(r->decided, 4, "and the held one after it");
    cr_expect_eq(fixture_effects(EFFECT_DECIDE), 4);
    cr_expect_eq(fixture_effects(EFFECT_PERSIST), 1);
    cr_expect_eq(fixture_effect(EFFECT_DECIDE, 2)->decide.command, fetched.command);
}

Test(replica, serves_a_fetched_slot_only_once_it_is_in_the_log)
{
    struct replica *r = fresh();
    struct outbox *o = fixture_outbox(3);
    hold((struct ballot){1, 1}, 1, 1); /* lost: what the disk has of slot 1 */
    struct pvalue fetched = fixture_pvalue((struct ballot){0}, 1, 9);
    struct message m = {.kind = MESSAGE_DECISIONS, .decisions = {0, 1, &fetched}};
    replica_on_decisions(r, 1, &m, o);
    struct message fetch = {.kind = MESSAGE_FETCH, .fetch = {1, 1}};
    replica_on_fetch(r, 2, &fetch, o);
    const struct effect *e = fixture_effect(EFFECT_FETCH, 0);
    cr_assert_not_null(e);
    cr_expect_eq(e->fetch.after, 1);
}

Test(replica, asks_the_leader_first_then_the_others)
{
    struct replica *r = fresh();
    struct outbox *o = fixture_outbox(3);
    replica_on_others_decided(r, 1, 5);
    replica_fetch(r, 2, 0, o);
    replica_fetch(r, 2, 1, o); /* too early */
    cr_assert_null(fixture_send(MESSAGE_FETCH, 1));
    cr_expect_eq(fixture_send(MESSAGE_FETCH, 0)->to, 1 << 2);
    replica_fetch(r, 2, RETRY_NS, o);
    cr_assert_not_null(fixture_send(MESSAGE_FETCH, 1));
    cr_expect_eq(fixture_send(MESSAGE_FETCH, 1)->to, 1 << 1);
}

Test(replica, serves_only_what_it_knows_decided)
{
    struct replica *r = fresh();
    struct outbox *o = fixture_outbox(3);
    hold((struct ballot){1, 1}, 1, 1);
    hold((struct ballot){1, 1}, 2, 2);
    replica_on_decided(r, 1, (struct ballot){1, 1}, 1, o);
    struct message fetch = {.kind = MESSAGE_FETCH, .fetch = {1, 2}};
    replica_on_fetch(r, 2, &fetch, o);
    cr_assert_not_null(fixture_effect(EFFECT_FETCH, 0));
    cr_expect_eq(fixture_effect(EFFECT_FETCH, 0)->fetch.last, 1);
    fetch.fetch.first = 2;
    replica_on_fetch(r, 2, &fetch, o);
    cr_expect_eq(fixture_effects(EFFECT_FETCH), 1);
}

Test(replica, hints_before_the_log_holds_more_than_a_restart_can)
{
    struct replica *r = fresh();
    struct outbox *o = fixture_outbox(3);
    r->decided = 10;
    replica_hint_for(r, SLOTS_HELD_MAX, o);
    cr_expect_eq(fixture_effects(EFFECT_PERSIST), 0);
    replica_hint_for(r, SLOTS_HELD_MAX + 1, o);
    cr_assert_eq(fixture_effects(EFFECT_PERSIST), 1);
    cr_expect_eq(fixture_effect(EFFECT_PERSIST, 0)->persist.slot, 10);
}

Test(replica, keeps_a_request_until_its_own_decision)
{
    struct replica *r = fresh();
    struct requests *q = &r->requests;
    requests_submit(q, fixture_command(1));
    requests_submit(q, fixture_command(2));
    requests_sent(q, 5);
    requests_decided(q, fixture_command(3));
    cr_expect_eq(q->count, 2);
    requests_resend_old(q, 4);
    cr_expect_eq(requests_peek(q), fixture_command(2));
    requests_resend_old(q, 5);
    cr_expect_eq(requests_peek(q), fixture_command(1), "the older one first again");
    requests_decided(q, fixture_command(1));
    cr_expect_eq(q->count, 1);
}

Test(reader, an_answer_covers_only_reads_that_began_before_it_was_asked_for)
{
    struct reader r;
    reader_init(&r, 1000);
    struct outbox *o = fixture_outbox(3);
    reader_on_read(&r, 1);
    reader_flush(&r, 1, 0, o);
    reader_on_read(&r, 2);
    reader_flush(&r, 1, 1, o);
    cr_assert_null(fixture_send(MESSAGE_READ, 1), "one question at a time");
    struct message ack = {
        .kind = MESSAGE_READ_ACK,
        .read_ack = {.id = fixture_send(MESSAGE_READ, 0)->message.read.id, .slot = 7, .ok = true}};
    reader_on_ack(&r, &ack, 2, o);
    cr_expect_eq(fixture_effect(EFFECT_READ_READY, 0)->read_ready.read, 1);
    reader_on_ack(&r, &ack, 2, o);
    cr_expect_eq(fixture_effects(EFFECT_READ_READY), 1, "a repeated answer");
    reader_flush(&r, 1, 3, o);
    cr_expect_not_null(fixture_send(MESSAGE_READ, 1));
}

Test(reader, an_answer_to_a_former_life_matches_nothing)
{
    struct reader r;
    reader_init(&r, UINT64_MAX);
    struct outbox *o = fixture_outbox(3);
    reader_on_read(&r, 1);
    reader_flush(&r, 1, 0, o);
    struct message ack = {.kind = MESSAGE_READ_ACK, .read_ack = {.id = 1, .slot = 7, .ok = true}};
    reader_on_ack(&r, &ack, 2, o);
    cr_expect_eq(fixture_effects(EFFECT_READ_READY), 0);
}

static const struct effect *asked_for_snapshot(struct replica *r, uint32_t leader, uint64_t now_ns)
{
    struct outbox *o = fixture_outbox(3);
    replica_fetch(r, leader, now_ns, o);
    cr_expect_null(fixture_send(MESSAGE_FETCH, 0), "it fetches nothing meanwhile");
    return fixture_effect(EFFECT_SNAPSHOT, 0);
}

Test(replica, needs_a_snapshot_where_the_log_asked_begins_later)
{
    struct replica *r = fresh();
    struct outbox *o = fixture_outbox(3);
    replica_on_others_decided(r, 1, 100);
    struct message m = {.kind = MESSAGE_DECISIONS, .decisions = {.slot_first = 1}};
    replica_on_decisions(r, 2, &m, o);
    cr_expect_not(replica_needs_snapshot(r));
    m.decisions.slot_first = 50;
    replica_on_decisions(r, 2, &m, o);
    cr_expect(replica_needs_snapshot(r));
    const struct effect *e = asked_for_snapshot(r, 1, 1000);
    cr_assert_not_null(e);
    cr_expect_eq(e->snapshot.from, 2);
    cr_expect_null(asked_for_snapshot(r, 1, 2000), "said once in a while");
    e = asked_for_snapshot(r, 1, 10 * NS_PER_S);
    cr_assert_not_null(e);
    cr_expect_eq(e->snapshot.from, 1, "another one in turn");
}

Test(replica, a_blank_one_decides_nothing_before_it_is_installed)
{
    struct replica *r = fresh();
    r->is_blank = true;
    cr_expect_null(asked_for_snapshot(r, MEMBERS_MAX, 1000), "of whom?");
    cr_assert_not_null(asked_for_snapshot(r, 2, 1000));
    cr_expect_eq(fixture_effect(EFFECT_SNAPSHOT, 0)->snapshot.from, 2);
    struct outbox *o = fixture_outbox(3);
    hold((struct ballot){1, 1}, 1, 1);
    replica_on_decided(r, 2, (struct ballot){1, 1}, 1, o);
    replica_advance(r, o);
    struct pvalue p = fixture_pvalue((struct ballot){0}, 1, 9);
    struct message m = {.kind = MESSAGE_DECISIONS, .decisions = {0, 1, &p}};
    replica_on_decisions(r, 2, &m, o);
    cr_expect_eq(r->decided, 0);
    replica_on_installed(r, 1, 5, o);
    cr_expect_eq(r->decided, 1);
    cr_expect_eq(r->applied, 1);
    cr_expect_not(replica_needs_snapshot(r));
    cr_expect_eq(fixture_effects(EFFECT_DECIDE), 0);
}

Test(replica, gives_others_no_slot_that_it_has_only_as_a_snapshot)
{
    struct replica *r = fresh();
    struct outbox *o = fixture_outbox(3);
    hold((struct ballot){1, 1}, 3, 1); /* a vote that lost */
    replica_on_installed(r, 10, 5, o);
    struct message fetch = {.kind = MESSAGE_FETCH, .fetch = {3, 12}};
    replica_on_fetch(r, 2, &fetch, o);
    cr_expect_null(fixture_effect(EFFECT_FETCH, 0));
    cr_assert_not_null(fixture_send(MESSAGE_DECISIONS, 0));
    cr_expect_eq(fixture_send(MESSAGE_DECISIONS, 0)->message.decisions.slot_first, 11);
}
