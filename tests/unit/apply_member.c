#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/state.h"
#include "tests/support/store_copy.h"
#include "tests/support/store_ops.h"

static struct store_fixture f;
#define ROOT FS_ROOT_INO
#define DAY  (24 * 3600 * NS_PER_S)

static void setup(void)
{
    store_fixture_init_cluster(&f, 3);
}

static void teardown(void)
{
    store_fixture_deinit(&f);
}

TestSuite(apply_member, .init = setup, .fini = teardown);

static struct membership members(void)
{
    struct membership m;
    store_membership(f.store, &m);
    return m;
}

static struct member member(uint64_t node)
{
    struct membership m = members();
    uint32_t seat = membership_seat(&m, node);
    return seat < MEMBERS_MAX ? m.members[seat] : (struct member){.node = 0};
}

static bool same_digest(struct store_digest a, struct store_digest b)
{
    return a.slot == b.slot && a.digest[0] == b.digest[0] && a.digest[1] == b.digest[1];
}

static void expect_sound(void)
{
    cr_expect(same_digest(store_fixture_digest(&f), store_fixture_digest_recompute(&f)));
}

static void expect_verdict(struct fs_outcome o, enum membership_verdict verdict)
{
    cr_expect_eq(o.error, 0);
    cr_expect_eq(o.verdict, verdict, "%s, not %s", membership_reason(o.verdict),
                 membership_reason(verdict));
}

static void noops(uint64_t count)
{
    store_fixture_begin(&f);
    for (uint64_t i = 0; i < count; i++)
        store_fixture_apply_bytes(&f, command_noop());
    store_fixture_commit(&f);
}

/* Node 9 has become a learner that wants a vote. */
static void let_join(void)
{
    expect_verdict(op_invite(&f, "new", 1, DAY, true, 0), MEMBERSHIP_DONE);
    expect_verdict(op_join(&f, 9, 1, "new", "10.0.0.9:1"), MEMBERSHIP_DONE);
}

Test(apply_member, a_cluster_begins_with_its_members_and_no_slot)
{
    struct store_fixture g;
    store_fixture_init_cluster(&g, 3);
    struct membership m = members();
    cr_expect_eq(m.version, 1);
    cr_expect_eq(store_membership_version(f.store), 1);
    cr_expect_eq(membership_seat(&m, 2), 1);
    cr_expect_str_eq(m.members[2].name, "n03");
    cr_expect_str_eq(m.members[2].address, "10.0.0.3:7600");
    cr_expect_eq(store_applied(f.store), 1, "the session's");
    cr_expect(same_digest(store_fixture_digest(&f), store_fixture_digest(&g)));
    expect_sound();
    store_fixture_deinit(&g);
}

Test(apply_member, the_members_are_part_of_the_digest)
{
    struct store_fixture g;
    store_fixture_init_cluster(&g, 2);
    cr_expect_not(same_digest(store_fixture_digest(&f), store_fixture_digest(&g)));
    store_fixture_deinit(&g);
}

Test(apply_member, a_guest_becomes_a_learner_and_then_a_voter)
{
    let_join();
    struct member learner = member(9);
    cr_expect(learner.role == MEMBER_LEARNER && learner.wants_vote);
    cr_expect_str_eq(learner.address, "10.0.0.9:1");
    expect_sound();
    struct fs_outcome o = op_promote(&f, 9);
    expect_verdict(o, MEMBERSHIP_DONE);
    cr_expect_eq(o.from, f.slot + WINDOW);
    cr_expect_eq(member(9).role, MEMBER_VOTER);
    cr_expect_not(member(9).was_voter);
    o = op_promote(&f, 9);
    expect_verdict(o, MEMBERSHIP_ALREADY);
    cr_expect_eq(o.from, 0);
    expect_verdict(op_remove(&f, 2), MEMBERSHIP_BUSY);
    expect_sound();
}

Test(apply_member, an_invitation_is_good_for_its_time_from_its_slot_on)
{
    uint64_t step = store_fixture_time(2) - store_fixture_time(1);
    expect_verdict(op_invite(&f, "new", 1, 2 * step, false, 0), MEMBERSHIP_DONE);
    noops(1);
    expect_verdict(op_join(&f, 9, 1, "new", "10.0.0.9:1"), MEMBERSHIP_EXPIRED);
    expect_verdict(op_invite(&f, "new", 2, 2 * step, false, 0), MEMBERSHIP_DONE);
    expect_verdict(op_join(&f, 9, 2, "new", "10.0.0.9:1"), MEMBERSHIP_DONE);
    cr_expect_not(member(9).wants_vote);
    expect_verdict(op_invite(&f, "more", 3, UINT64_MAX, false, 0), MEMBERSHIP_DONE);
    expect_verdict(op_join(&f, 10, 3, "more", "10.0.0.10:1"), MEMBERSHIP_DONE);
}

Test(apply_member, a_guest_without_the_secret_is_refused)
{
    expect_verdict(op_invite(&f, "new", 1, DAY, true, 0), MEMBERSHIP_DONE);
    struct membership before = members();
    expect_verdict(op_join(&f, 9, 2, "new", "10.0.0.9:1"), MEMBERSHIP_NOT_INVITED);
    cr_expect_eq(members().version, before.version);
    cr_expect_eq(member(9).node, 0);
}

Test(apply_member, one_may_be_invited_in_the_place_of_another)
{
    expect_verdict(op_invite(&f, "new", 1, DAY, true, 2), MEMBERSHIP_DONE);
    expect_verdict(op_join(&f, 9, 1, "new", "10.0.0.9:1"), MEMBERSHIP_DONE);
    cr_expect_eq(member(9).replaces, 2);
    struct fs_outcome o = op_replace(&f, 2, 9);
    expect_verdict(o, MEMBERSHIP_DONE);
    cr_expect_eq(o.from, f.slot + WINDOW);
    cr_expect_eq(member(2).role, MEMBER_LEAVING);
    cr_expect_eq(member(9).role, MEMBER_VOTER);
}

Test(apply_member, who_leaves_is_gone_when_the_slot_comes_though_it_be_a_noop)
{
    struct fs_outcome o = op_remove(&f, 3);
    expect_verdict(o, MEMBERSHIP_DONE);
    cr_assert_gt(o.from, f.slot);
    if (f.slot + 1 < o.from)
        noops(o.from - f.slot - 1);
    cr_expect_eq(member(3).role, MEMBER_LEAVING);
    uint64_t version = store_membership_version(f.store);
    noops(1);
    cr_expect_eq(f.slot, o.from);
    struct membership m = members();
    cr_expect_eq(membership_seat(&m, 3), MEMBERS_MAX);
    cr_expect(membership_has_retired(&m, 3));
    cr_expect_gt(store_membership_version(f.store), version);
    expect_sound();
    expect_verdict(op_promote(&f, 3), MEMBERSHIP_RETIRED);
}

Test(apply_member, who_leaves_is_gone_before_the_command_of_that_slot)
{
    struct fs_outcome o = op_remove(&f, 3);
    cr_assert_gt(o.from, f.slot);
    noops(o.from - f.slot - 1);
    expect_verdict(op_remove(&f, 2), MEMBERSHIP_DONE); /* one slot earlier it is BUSY */
}

Test(apply_member, a_member_moves)
{
    expect_verdict(op_set_address(&f, 2, "[fe80::2]:7600"), MEMBERSHIP_DONE);
    cr_expect_str_eq(member(2).address, "[fe80::2]:7600");
    expect_verdict(op_set_address(&f, 2, "10.0.0.3:7600"), MEMBERSHIP_ADDRESS_TAKEN);
    expect_verdict(op_set_address(&f, 77, "10.0.0.4:7600"), MEMBERSHIP_UNKNOWN);
}

Test(apply_member, a_retry_gets_the_same_answer)
{
    let_join();
    struct fs_outcome o = op_promote(&f, 9);
    uint8_t bytes[64];
    struct fs_command c = {.op = FS_PROMOTE, .nonce = 9};
    struct command retry = {.size = (uint32_t)fs_command_encode(&c, bytes, sizeof bytes),
                            .node = f.node,
                            .epoch = f.epoch,
                            .sequence = f.sequence,
                            .low = f.sequence,
                            .bytes = bytes};
    struct store_applied applied = store_fixture_apply_bytes(&f, &retry);
    cr_expect_eq(applied.verdict, SESSION_REPEATED);
    expect_verdict(applied.outcome, MEMBERSHIP_DONE);
    cr_expect_eq(applied.outcome.from, o.from);
}

Test(apply_member, nobody_sees_a_change_before_its_commit_nor_after_its_abort)
{
    struct store_digest before = store_fixture_digest(&f);
    store_fixture_begin(&f);
    let_join();
    cr_expect_eq(member(9).node, 0);
    cr_expect_eq(store_membership_version(f.store), 1);
    store_abort(f.store);
    f.in_batch = false;
    f.slot = store_applied(f.store);
    f.sequence = 0;
    cr_expect_eq(member(9).node, 0);
    cr_expect(same_digest(store_fixture_digest(&f), before));
    let_join();
    cr_expect_eq(member(9).node, 9);
    cr_expect_eq(store_membership_version(f.store), members().version);
    expect_sound();
}

Test(apply_member, the_members_survive_a_restart)
{
    let_join();
    op_remove(&f, 2);
    struct membership before = members(), after;
    store_fixture_checkpoint(&f);
    store_fixture_reopen(&f);
    after = members();
    uint8_t a[MEMBERSHIP_ENCODED_MAX], b[MEMBERSHIP_ENCODED_MAX];
    size_t size = membership_encode(&before, a);
    cr_expect_eq(membership_encode(&after, b), size);
    cr_expect_eq(memcmp(a, b, size), 0);
    cr_expect_eq(store_membership_version(f.store), before.version);
    expect_verdict(op_promote(&f, 9), MEMBERSHIP_BUSY);
}

Test(apply_member, a_state_without_members_stays_without)
{
    struct store_fixture g;
    store_fixture_init(&g);
    expect_verdict(op_invite(&g, "new", 1, DAY, true, 0), MEMBERSHIP_UNKNOWN);
    expect_verdict(op_remove(&g, 1), MEMBERSHIP_UNKNOWN);
    struct membership m;
    store_membership(g.store, &m);
    cr_expect(membership_is_empty(&m));
    store_fixture_deinit(&g);
}

/* ---- sessions that end ---- */

static int list(struct store_session sessions[SESSIONS_MAX])
{
    cr_assert_eq(store_read_begin(f.reader), 0);
    int count = store_sessions(f.reader, sessions);
    store_read_end(f.reader);
    return count;
}

static enum session_verdict outcome_of(uint64_t node, uint64_t epoch, uint64_t sequence,
                                       struct fs_outcome *outcome)
{
    enum session_verdict verdict;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_assert_eq(store_read_slot(f.reader), f.slot);
    struct store_outcomes *outcomes;
    cr_assert_eq(store_outcomes_read(f.reader, node, &outcomes), 0);
    store_read_end(f.reader);
    cr_assert_eq(store_outcome_of(outcomes, epoch, sequence, &verdict, outcome), 0);
    store_outcomes_free(outcomes);
    return verdict;
}

/* Be node @node with its session in @epoch again. */
static void become(uint64_t node, uint64_t epoch, uint64_t sequence)
{
    f.node = node;
    f.epoch = epoch;
    f.sequence = sequence;
}

Test(apply_member, a_silent_session_ends_and_lets_go_of_its_files)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0)); /* node 1: 1 */
    store_fixture_session(&f, 2, 1);
    made(op_create(&f, ROOT, "b", 0644, 0)); /* node 2: 1 */
    op_unlink(&f, ROOT, "a");                /* node 2: 2; 1 and 2 hold it */
    cr_expect_eq(op_expire(&f, 1, 1, 1).error, 0);
    struct store_session sessions[SESSIONS_MAX];
    cr_assert_eq(list(sessions), 1);
    cr_expect(sessions[0].node == 2 && sessions[0].epoch == 1 && sessions[0].sequence == 3);
    cr_expect(store_has_garbage(f.store));
    op_reap(&f, 100);
    cr_expect_eq(store_fixture_attr(&f, ino).ino, ino, "node 2 holds it");
    op_forget(&f, ino);
    cr_expect_eq(store_fixture_attr(&f, ino).ino, 0);
    expect_sound();
}

Test(apply_member, an_ended_session_holds_nothing_that_is_orphaned_later)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    store_fixture_session(&f, 2, 1);
    op_expire(&f, 1, 1, 1);
    op_unlink(&f, ROOT, "a");
    op_forget(&f, ino);
    cr_expect_eq(store_fixture_attr(&f, ino).ino, 0);
}

Test(apply_member, a_session_that_has_spoken_since_goes_on)
{
    made(op_create(&f, ROOT, "a", 0644, 0));
    made(op_create(&f, ROOT, "b", 0644, 0));
    store_fixture_session(&f, 2, 1);
    op_expire(&f, 1, 1, 1); /* it has applied 2 */
    op_expire(&f, 1, 2, 9);
    op_expire(&f, 7, 1, 9);
    struct store_session sessions[SESSIONS_MAX];
    cr_expect_eq(list(sessions), 2);
    become(1, 1, 2);
    cr_expect_eq(op_create(&f, ROOT, "c", 0644, 0).error, 0);
    become(2, 1, 3);
    op_expire(&f, 1, 1, 3);
    cr_expect_eq(list(sessions), 1);
}

Test(apply_member, an_ended_session_is_fenced_and_its_answers_stay_until_it_opens_anew)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    store_fixture_session(&f, 2, 1);
    op_expire(&f, 1, 1, 1);
    store_fixture_checkpoint(&f);
    store_fixture_reopen(&f);
    struct fs_outcome o;
    cr_expect_eq(outcome_of(1, 1, 1, &o), SESSION_REPEATED);
    cr_expect_eq(o.attr.ino, ino);
    cr_expect_eq(outcome_of(1, 1, 2, &o), SESSION_FENCED, "nothing applies any more");
    store_fixture_session(&f, 1, 1);
    cr_expect_eq(f.epoch, 1, "an open from before comes again");
    store_fixture_session_after(&f, 1, 1, 1);
    cr_expect_eq(f.epoch, 2, "the same life");
    cr_expect_eq(op_create(&f, ROOT, "b", 0644, 0).error, 0);
    cr_expect_eq(outcome_of(1, 1, 2, &o), SESSION_FENCED);
    cr_expect_eq(outcome_of(1, 2, 1, &o), SESSION_REPEATED);
    struct store_session sessions[SESSIONS_MAX];
    cr_expect_eq(list(sessions), 2);
    expect_sound();
}

Test(apply_member, sessions_of_those_who_left_make_room_for_those_who_come)
{
    enum { FIRST = 100, LAST = FIRST + SESSIONS_MAX - 3, LEFT = 3, LEFT_TOO = 7 };
    store_fixture_session(&f, 2, 1); /* 1 and 2 are members */
    for (uint64_t node = LAST; node >= FIRST; node--)
        store_fixture_session(&f, node, 1);
    store_fixture_checkpoint(&f);
    store_fixture_reopen(&f); /* in another order */
    become(1, 1, 0);
    cr_expect_eq(op_expire(&f, FIRST + LEFT_TOO, 1, 0).error, 0);
    cr_expect_eq(op_expire(&f, FIRST + LEFT, 1, 0).error, 0);
    cr_expect_eq(op_expire(&f, 2, 1, 0).error, 0);
    uint64_t own = f.sequence;
    store_fixture_session(&f, 500, 1);
    struct fs_outcome o;
    cr_expect_eq(outcome_of(FIRST + LEFT, 1, 1, &o), SESSION_FENCED);
    cr_expect_eq(outcome_of(500, 1, 1, &o), SESSION_NEW);
    cr_expect_eq(outcome_of(2, 1, 1, &o), SESSION_FENCED);
    store_fixture_session(&f, 501, 1);
    cr_expect_eq(outcome_of(501, 1, 1, &o), SESSION_NEW);
    store_fixture_session_after(&f, 2, 1, 1);
    cr_expect_eq(f.epoch, 2, "a member's own waits for it");
    become(1, 1, own);
    cr_expect_eq(outcome_of(1, 1, own, &o), SESSION_REPEATED);
    expect_sound();
}

Test(apply_member, what_became_of_a_command_is_told_as_of_the_snapshot)
{
    struct fs_outcome o;
    cr_expect_eq(outcome_of(1, 1, 1, &o), SESSION_NEW);
    made(op_create(&f, ROOT, "a", 0644, 0));
    cr_expect_eq(op_mkdir(&f, ROOT, "a", 0755).error, EEXIST);
    cr_expect_eq(outcome_of(1, 1, 2, &o), SESSION_REPEATED);
    cr_expect_eq(o.error, EEXIST);
    cr_expect_eq(outcome_of(1, 1, 1, &o), SESSION_SETTLED, "the fixture settles each at once");
    cr_expect_eq(outcome_of(1, 2, 1, &o), SESSION_FENCED);
    cr_expect_eq(outcome_of(5, 1, 1, &o), SESSION_FENCED);
    cr_expect_eq(outcome_of(1, 1, 3, &o), SESSION_NEW);
    cr_expect_eq(outcome_of(1, 1, 2, &o), SESSION_REPEATED, "asking changes nothing");
}

Test(apply_member, whoever_is_silent_may_be_oneself)
{
    cr_expect_eq(op_expire(&f, 1, 1, 0).error, 0);
    struct store_session sessions[SESSIONS_MAX];
    cr_expect_eq(list(sessions), 0);
    expect_sound();
}
