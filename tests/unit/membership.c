#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "consensus/membership.h"

#define HOUR_NS (3600 * NS_PER_S)

static struct membership m, before;

static struct member named(uint64_t node, const char *name, const char *address)
{
    struct member member = {.node = node};
    strcpy(member.name, name);
    strcpy(member.address, address);
    return member;
}

/* a, b, c with the ids 1, 2, 3 in the seats 0, 1, 2. */
static void begin_three(void)
{
    const struct member members[] = {named(1, "a", "h1:1"), named(2, "b", "h2:1"),
                                     named(3, "c", "h3:1")};
    membership_begin(&m, members, 3);
}

static struct invitation invitation_of(uint8_t secret, const char *name)
{
    struct invitation v = {.secret = {secret}, .expires_ns = HOUR_NS, .wants_vote = true};
    strcpy(v.name, name);
    return v;
}

static enum membership_verdict invite(uint8_t secret, const char *name)
{
    struct invitation v = invitation_of(secret, name);
    return membership_invite(&m, &v, 1);
}

static enum membership_verdict join(uint8_t secret, uint64_t node, const char *name,
                                    const char *address)
{
    uint8_t bytes[SECRET_SIZE] = {secret};
    return membership_join(&m, 1, bytes, node, name, address);
}

/* A learner with this id, named and reached after it. */
static void add_learner(uint64_t node)
{
    char name[8], address[16];
    snprintf(name, sizeof name, "n%u", (unsigned)node);
    snprintf(address, sizeof address, "x%u:1", (unsigned)node);
    cr_assert_eq(invite((uint8_t)node, name), MEMBERSHIP_DONE);
    cr_assert_eq(join((uint8_t)node, node, name, address), MEMBERSHIP_DONE);
}

/* Every slot that ends a change, up to @slot. */
static void advance(uint64_t slot)
{
    if (m.from <= slot)
        membership_advance(&m, m.from);
    membership_advance(&m, slot);
}

static bool is_unchanged(void)
{
    return memcmp(&m, &before, sizeof m) == 0;
}

Test(membership, begins_with_voters_in_the_seats_given)
{
    struct membership empty = {0};
    cr_expect(membership_is_empty(&empty));
    begin_three();
    cr_expect_not(membership_is_empty(&m));
    cr_expect_eq(membership_seat(&m, 3), 2);
    cr_expect_eq(membership_seat(&m, 0), MEMBERS_MAX, "a free seat is nobody's");
    cr_expect_eq(membership_seat_by_name(&m, "b"), 1);
    cr_expect_eq(membership_seat_by_name(&m, "bb"), MEMBERS_MAX);
    struct configuration c = membership_configuration(&m);
    cr_expect_eq(c.voters, 7);
    cr_expect_eq(c.voters_before, 7);
    cr_expect_eq(c.members[1], 2);
    cr_expect_eq(c.from, 0);
}

Test(membership, a_joiner_learns_and_votes_once_promoted_from_a_window_on)
{
    begin_three();
    add_learner(9);
    struct configuration c = membership_configuration(&m);
    cr_expect_eq(c.members[3], 9);
    cr_expect_eq(c.voters, 7);
    cr_expect(m.members[3].wants_vote);
    cr_expect_eq(membership_promote(&m, 40, 9), MEMBERSHIP_DONE);
    c = membership_configuration(&m);
    cr_expect_eq(c.from, 40 + WINDOW);
    cr_expect_eq(configuration_voters(&c, 39 + WINDOW), 7);
    cr_expect_eq(configuration_voters(&c, 40 + WINDOW), 15);
    cr_expect_not(m.members[3].wants_vote, "it has one");
    cr_expect_not(membership_advance(&m, 39 + WINDOW));
    cr_expect(membership_advance(&m, 40 + WINDOW));
    cr_expect_not(membership_advance(&m, 41 + WINDOW));
    cr_expect_eq(membership_configuration(&m).voters_before, 15);
}

Test(membership, changes_of_voters_do_not_overlap)
{
    begin_three();
    add_learner(8);
    add_learner(9);
    cr_assert_eq(membership_promote(&m, 40, 9), MEMBERSHIP_DONE);
    before = m;
    cr_expect_eq(membership_promote(&m, 39 + WINDOW, 8), MEMBERSHIP_BUSY);
    cr_expect_eq(membership_remove(&m, 39 + WINDOW, 1), MEMBERSHIP_BUSY);
    cr_expect_eq(membership_replace(&m, 39 + WINDOW, 1, 8), MEMBERSHIP_BUSY);
    cr_expect(is_unchanged());
    membership_advance(&m, 40 + WINDOW);
    cr_expect_eq(membership_promote(&m, 40 + WINDOW, 8), MEMBERSHIP_DONE);
}

Test(membership, a_removed_voter_votes_on_until_it_has_left)
{
    begin_three();
    cr_expect_eq(membership_remove(&m, 40, 2), MEMBERSHIP_DONE);
    struct configuration c = membership_configuration(&m);
    cr_expect_eq(c.members[1], 2, "it keeps its seat");
    cr_expect_eq(c.voters_before, 7);
    cr_expect_eq(c.voters, 5);
    add_learner(9);
    cr_expect_eq(membership_seat(&m, 9), 3, "its seat is not another's yet");
    cr_expect_not(membership_has_retired(&m, 2));
    cr_expect(membership_advance(&m, 40 + WINDOW));
    cr_expect(membership_has_retired(&m, 2));
    c = membership_configuration(&m);
    cr_expect_eq(c.members[1], 0);
    cr_expect_eq(c.voters_before, 5, "or a newcomer in the seat would seem to vote");
    add_learner(10);
    cr_expect_eq(membership_seat(&m, 10), 1);
    cr_expect_eq(join(10, 2, "n10", "x:1"), MEMBERSHIP_RETIRED);
}

Test(membership, a_learner_takes_a_voters_place_in_one_change)
{
    begin_three();
    add_learner(9);
    cr_expect_eq(membership_replace(&m, 40, 2, 9), MEMBERSHIP_DONE);
    struct configuration c = membership_configuration(&m);
    cr_expect_eq(c.voters_before, 7);
    cr_expect_eq(c.voters, 13);
    cr_expect_eq(membership_replace(&m, 41, 2, 9), MEMBERSHIP_ALREADY);
    advance(40 + WINDOW);
    cr_expect(membership_has_retired(&m, 2));
    cr_expect_eq(membership_replace(&m, 41 + WINDOW, 2, 9), MEMBERSHIP_ALREADY);
}

Test(membership, a_place_to_take_is_forgotten_once_it_is_given_up)
{
    begin_three();
    struct invitation v = invitation_of(9, "new"), w = invitation_of(10, "late");
    v.replaces = w.replaces = 2;
    cr_assert_eq(membership_invite(&m, &v, 1), MEMBERSHIP_DONE);
    cr_assert_eq(membership_invite(&m, &w, 1), MEMBERSHIP_DONE);
    cr_expect_eq(join(9, 9, "new", "h3:1"), MEMBERSHIP_ADDRESS_TAKEN);
    cr_assert_eq(join(9, 9, "new", "h2:1"), MEMBERSHIP_DONE, "the same host, set up anew");
    cr_expect_eq(m.members[3].replaces, 2);
    cr_assert_eq(membership_remove(&m, 40, 2), MEMBERSHIP_DONE);
    cr_expect_eq(m.members[3].replaces, 0);
    cr_expect_eq(m.invitations[1].replaces, 0);
}

Test(membership, gives_each_change_its_verdict)
{
    begin_three();
    add_learner(9); /* secret 9 */
    add_learner(10);
    cr_assert_eq(membership_remove(&m, 39, 10), MEMBERSHIP_DONE); /* leaves at once */
    cr_assert_eq(invite(11, "late"), MEMBERSHIP_DONE);
    before = m;
    const struct {
        const char *name;
        enum membership_verdict verdict, wanted;
    } cases[] = {
        {"promote a voter", membership_promote(&m, 40, 1), MEMBERSHIP_ALREADY},
        {"promote nobody", membership_promote(&m, 40, 77), MEMBERSHIP_UNKNOWN},
        {"promote who has left", membership_promote(&m, 40, 10), MEMBERSHIP_RETIRED},
        {"remove nobody", membership_remove(&m, 40, 77), MEMBERSHIP_UNKNOWN},
        {"remove who has left", membership_remove(&m, 40, 10), MEMBERSHIP_ALREADY},
        {"replace by a voter", membership_replace(&m, 40, 1, 2), MEMBERSHIP_NOT_LEARNER},
        {"replace by nobody", membership_replace(&m, 40, 1, 77), MEMBERSHIP_UNKNOWN},
        {"replace nobody", membership_replace(&m, 40, 77, 9), MEMBERSHIP_UNKNOWN},
        {"replace a learner", membership_replace(&m, 40, 9, 9), MEMBERSHIP_NOT_VOTER},
        {"address of nobody", membership_set_address(&m, 77, "z:1"), MEMBERSHIP_UNKNOWN},
        {"address of another", membership_set_address(&m, 1, "h2:1"), MEMBERSHIP_ADDRESS_TAKEN},
        {"address as it is", membership_set_address(&m, 1, "h1:1"), MEMBERSHIP_ALREADY},
        {"a member's name", invite(12, "a"), MEMBERSHIP_NAME_TAKEN},
        {"an invitation's name", invite(12, "late"), MEMBERSHIP_NAME_TAKEN},
        {"invite again", invite(11, "late"), MEMBERSHIP_ALREADY},
        {"no invitation", join(12, 12, "late", "y:1"), MEMBERSHIP_NOT_INVITED},
        {"another's name", join(11, 12, "other", "y:1"), MEMBERSHIP_NOT_INVITED},
        {"a used one", join(9, 12, "n9", "y:1"), MEMBERSHIP_USED},
        {"a used one again", join(9, 9, "n9", "x9:1"), MEMBERSHIP_ALREADY},
        {"an address taken", join(11, 12, "late", "h1:1"), MEMBERSHIP_ADDRESS_TAKEN},
        {"a retired node", join(11, 10, "late", "y:1"), MEMBERSHIP_RETIRED},
        {"no node", join(11, 0, "late", "y:1"), MEMBERSHIP_UNKNOWN},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(cases[i].verdict, cases[i].wanted, "%s: %s", cases[i].name,
                     membership_reason(cases[i].verdict));
    cr_expect(is_unchanged());
}

Test(membership, the_same_node_may_come_again_from_elsewhere)
{
    begin_three();
    add_learner(9);
    uint64_t version = m.version;
    cr_expect_eq(join(9, 9, "n9", "other:1"), MEMBERSHIP_ALREADY);
    cr_expect_str_eq(m.members[3].address, "other:1");
    cr_expect_gt(m.version, version);
    cr_expect_eq(join(9, 9, "n9", "h1:1"), MEMBERSHIP_ADDRESS_TAKEN);
}

Test(membership, invitations_expire_and_make_room)
{
    begin_three();
    char name[8];
    for (uint8_t i = 0; i < INVITATIONS_MAX; i++) {
        snprintf(name, sizeof name, "g%u", i);
        cr_assert_eq(invite((uint8_t)(i + 1), name), MEMBERSHIP_DONE);
    }
    cr_expect_eq(invite(99, "more"), MEMBERSHIP_TOO_MANY);
    uint8_t secret[SECRET_SIZE] = {1};
    cr_expect_eq(membership_join(&m, HOUR_NS, secret, 9, "g0", "x:1"), MEMBERSHIP_EXPIRED);
    struct invitation v = invitation_of(99, "more");
    cr_expect_eq(membership_invite(&m, &v, HOUR_NS), MEMBERSHIP_EXPIRED);
    v.expires_ns = 2 * HOUR_NS;
    cr_expect_eq(membership_invite(&m, &v, HOUR_NS), MEMBERSHIP_DONE);
    v = invitation_of(98, "g5");
    v.expires_ns = 2 * HOUR_NS;
    cr_expect_eq(membership_invite(&m, &v, HOUR_NS), MEMBERSHIP_DONE, "g5's has expired");
    cr_assert_eq(join(9, 9, "g8", "x:1"), MEMBERSHIP_DONE);
    cr_expect_eq(membership_join(&m, 2 * HOUR_NS, (uint8_t[SECRET_SIZE]){9}, 9, "g8", "x:1"),
                 MEMBERSHIP_ALREADY, "a guest who has come may come again");
}

Test(membership, used_invitations_make_room_too)
{
    begin_three();
    add_learner(9);
    char name[8];
    for (uint8_t i = 1; i < INVITATIONS_MAX; i++) {
        snprintf(name, sizeof name, "g%u", i);
        cr_assert_eq(invite((uint8_t)(100 + i), name), MEMBERSHIP_DONE);
    }
    cr_expect_eq(invite(99, "more"), MEMBERSHIP_DONE);
    cr_expect_eq(invite(98, "even"), MEMBERSHIP_TOO_MANY);
}

Test(membership, refuses_members_and_voters_beyond_its_bounds)
{
    begin_three();
    for (uint64_t node = 4; node <= MEMBERS_MAX; node++)
        add_learner(node);
    cr_assert_eq(invite(200, "more"), MEMBERSHIP_DONE);
    cr_expect_eq(join(200, 200, "more", "y:1"), MEMBERSHIP_FULL);
    uint64_t slot = 1;
    for (uint64_t node = 4; node <= VOTERS_MAX; node++, slot += WINDOW) {
        advance(slot);
        cr_assert_eq(membership_promote(&m, slot, node), MEMBERSHIP_DONE);
    }
    advance(slot);
    cr_expect_eq(membership_promote(&m, slot, VOTERS_MAX + 1), MEMBERSHIP_VOTERS_FULL);
    cr_expect_eq(membership_replace(&m, slot, 1, VOTERS_MAX + 1), MEMBERSHIP_DONE);
    cr_expect_eq(membership_promote(&m, slot, 1), MEMBERSHIP_NOT_LEARNER, "it is leaving");
    cr_expect_eq(membership_remove(&m, slot, 1), MEMBERSHIP_ALREADY);
}

Test(membership, keeps_its_last_voter)
{
    begin_three();
    cr_assert_eq(membership_remove(&m, 1, 1), MEMBERSHIP_DONE);
    advance(1 + WINDOW);
    cr_assert_eq(membership_remove(&m, 1 + WINDOW, 2), MEMBERSHIP_DONE);
    cr_expect_eq(membership_remove(&m, 2 + WINDOW, 3), MEMBERSHIP_LAST_VOTER);
    advance(1 + 2 * WINDOW);
    cr_expect_eq(membership_remove(&m, 1 + 2 * WINDOW, 3), MEMBERSHIP_LAST_VOTER);
}

Test(membership, remembers_the_last_who_retired)
{
    begin_three();
    for (uint64_t node = 10; node < 12 + RETIRED_MAX; node++) {
        add_learner(node);
        cr_assert_eq(membership_remove(&m, 1, node), MEMBERSHIP_DONE);
    }
    cr_expect_not(membership_has_retired(&m, 11));
    cr_expect(membership_has_retired(&m, 12));
    cr_expect_eq(m.retired[RETIRED_MAX - 1], 11 + RETIRED_MAX);
    cr_expect_not(membership_has_retired(&m, 0));
}

/* Something of everything. */
static void make_full(void)
{
    begin_three();
    add_learner(8);
    add_learner(9);
    add_learner(10);
    cr_assert_eq(membership_remove(&m, 5, 10), MEMBERSHIP_DONE);
    struct invitation v = invitation_of(50, "new");
    v.replaces = 1;
    cr_assert_eq(membership_invite(&m, &v, 1), MEMBERSHIP_DONE);
    cr_assert_eq(join(50, 50, "new", "h1:1"), MEMBERSHIP_DONE);
    cr_assert_eq(membership_replace(&m, 9, 2, 9), MEMBERSHIP_DONE);
}

Test(membership, survives_encoding)
{
    static uint8_t bytes[MEMBERSHIP_ENCODED_MAX], again[MEMBERSHIP_ENCODED_MAX];
    struct membership copy, empty = {0};
    make_full();
    size_t size = membership_encode(&m, bytes);
    cr_assert_eq(membership_decode(bytes, size, &copy), 0);
    cr_expect_eq(membership_encode(&copy, again), size);
    cr_expect_arr_eq(bytes, again, size);
    cr_expect_eq(copy.members[4].role, MEMBER_VOTER);
    cr_expect_eq(copy.members[1].role, MEMBER_LEAVING);
    cr_expect_eq(copy.members[5].replaces, 1);
    cr_expect(membership_has_retired(&copy, 10));
    size = membership_encode(&empty, bytes);
    cr_expect_eq(membership_decode(bytes, size, &copy), 0);
    cr_expect(membership_is_empty(&copy));
}

/* What is read is either refused, or is what those bytes, and no others, stand for. */
Test(membership, refuses_bytes_that_are_cut_short_or_garbled)
{
    static uint8_t bytes[MEMBERSHIP_ENCODED_MAX + 1], again[MEMBERSHIP_ENCODED_MAX];
    struct membership copy;
    make_full();
    size_t size = membership_encode(&m, bytes);
    for (size_t cut = 0; cut < size; cut++)
        cr_expect_eq(membership_decode(bytes, cut, &copy), -EBADMSG, "%zu bytes", cut);
    bytes[size] = 0;
    cr_expect_eq(membership_decode(bytes, size + 1, &copy), -EBADMSG);
    for (size_t at = 0; at < size; at++) {
        for (uint32_t bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1 << bit);
            if (membership_decode(bytes, size, &copy) == 0) {
                cr_expect_eq(membership_encode(&copy, again), size);
                cr_expect_arr_eq(bytes, again, size, "byte %zu", at);
            }
            bytes[at] ^= (uint8_t)(1 << bit);
        }
    }
    bytes[0] ^= 1;
    cr_expect_eq(membership_decode(bytes, size, &copy), -EBADMSG, "another format");
}

Test(membership, says_why)
{
    for (uint32_t v = 0; v <= MEMBERSHIP_VERDICT_COUNT; v++)
        cr_expect_gt(strlen(membership_reason((enum membership_verdict)v)), 3);
}
