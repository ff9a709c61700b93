#include "consensus/membership.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"

enum {
    FORMAT = 1,
    MEMBER_SIZE_MAX = 8 + 1 + 1 + 8 + 1 + MEMBER_NAME_MAX + 1 + ADDRESS_MAX,
    INVITATION_SIZE_MAX = 8 + SECRET_SIZE + 1 + MEMBER_NAME_MAX + 1 + 8 + 8,
    FLAG_WAS_VOTER = 1,
    FLAG_WANTS_VOTE = 2,
};

static_assert(1 + 8 + 8 + MEMBERS_MAX * MEMBER_SIZE_MAX + INVITATIONS_MAX * INVITATION_SIZE_MAX +
                      1 + RETIRED_MAX * 8 <=
                  MEMBERSHIP_ENCODED_MAX,
              "the longest membership fits");
static_assert(RETIRED_MAX <= UINT8_MAX, "their count is one byte");
static_assert(ADDRESS_MAX <= UINT8_MAX, "its length is one byte");

const char *membership_reason(enum membership_verdict verdict)
{
    switch (verdict) {
    case MEMBERSHIP_DONE:
        return "done";
    case MEMBERSHIP_ALREADY:
        return "it is so already";
    case MEMBERSHIP_BUSY:
        return "the change before is not in force yet; try again in a moment";
    case MEMBERSHIP_UNKNOWN:
        return "there is no such member";
    case MEMBERSHIP_NAME_TAKEN:
        return "another member or invitation has that name";
    case MEMBERSHIP_ADDRESS_TAKEN:
        return "another member has that address";
    case MEMBERSHIP_FULL:
        return "the cluster has as many members as it can have";
    case MEMBERSHIP_VOTERS_FULL:
        return "the cluster has as many voters as it can have";
    case MEMBERSHIP_LAST_VOTER:
        return "it is the last voter";
    case MEMBERSHIP_RETIRED:
        return "that node was removed and cannot come back; join anew";
    case MEMBERSHIP_NOT_LEARNER:
        return "it is not a learner";
    case MEMBERSHIP_NOT_VOTER:
        return "it is not a voter";
    case MEMBERSHIP_NOT_INVITED:
        return "there is no such invitation";
    case MEMBERSHIP_EXPIRED:
        return "the invitation has expired";
    case MEMBERSHIP_USED:
        return "another node has used the invitation";
    case MEMBERSHIP_TOO_MANY:
        return "too many invitations are open";
    case MEMBERSHIP_VERDICT_COUNT:
        break;
    }
    return "unknown reason"; /* the number may have come from elsewhere */
}

/* ---- texts: always NUL-padded to their room, so that equal ones are equal bytes ---- */

static uint32_t length_of(const char *text, uint32_t max)
{
    uint32_t length = 0;
    while (length < max && text[length] != '\0')
        length++;
    return length;
}

static void set_text(char *to, uint32_t max, const char *from)
{
    uint32_t length = length_of(from, max);
    memset(to, 0, max + 1);
    memcpy(to, from, length);
}

static bool is_text(const char *a, const char *b, uint32_t max)
{
    uint32_t length = length_of(a, max);
    return length == length_of(b, max) && memcmp(a, b, length) == 0;
}

/* ---- looking ---- */

bool membership_is_empty(const struct membership *m)
{
    return m->version == 0;
}

bool membership_has_retired(const struct membership *m, uint64_t node)
{
    for (uint32_t i = 0; node != 0 && i < RETIRED_MAX; i++) {
        if (m->retired[i] == node)
            return true;
    }
    return false;
}

uint32_t membership_seat(const struct membership *m, uint64_t node)
{
    uint32_t seat = 0;
    while (seat < MEMBERS_MAX && (node == 0 || m->members[seat].node != node))
        seat++;
    return seat;
}

uint32_t membership_seat_by_name(const struct membership *m, const char *name)
{
    uint32_t seat = 0;
    while (seat < MEMBERS_MAX &&
           (m->members[seat].node == 0 || !is_text(m->members[seat].name, name, MEMBER_NAME_MAX)))
        seat++;
    return seat;
}

struct configuration membership_configuration(const struct membership *m)
{
    struct configuration c = {.from = m->from};
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        c.members[i] = m->members[i].node;
        c.voters |= (uint32_t)(m->members[i].role == MEMBER_VOTER) << i;
        c.voters_before |= (uint32_t)m->members[i].was_voter << i;
    }
    return c;
}

static uint32_t voter_count(const struct membership *m)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        count += m->members[i].role == MEMBER_VOTER;
    return count;
}

static enum membership_verdict why_no_seat(const struct membership *m, uint64_t node)
{
    return membership_has_retired(m, node) ? MEMBERSHIP_RETIRED : MEMBERSHIP_UNKNOWN;
}

/* A member other than @own is reached at @address. One that takes another's place may take over its
 * address too: the same host, set up anew. Not every member has one. */
static bool is_address_taken(const struct membership *m, const char *address, uint64_t own,
                             uint64_t replaces)
{
    for (uint32_t i = 0; address[0] != '\0' && i < MEMBERS_MAX; i++) {
        const struct member *other = &m->members[i];
        bool may_share = other->node == own || other->node == replaces ||
                         (other->replaces != 0 && other->replaces == own);
        if (other->node != 0 && !may_share && is_text(other->address, address, ADDRESS_MAX))
            return true;
    }
    return false;
}

/* ---- a cluster begins, and goes on ---- */

void membership_begin(struct membership *m, const struct member *members, uint32_t count)
{
    ASSERT(count >= 1);
    ASSERT(count <= MEMBERS_MAX);
    memset(m, 0, sizeof *m);
    m->version = 1;
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(members[i].node != 0);
        ASSERT(membership_seat(m, members[i].node) == MEMBERS_MAX);
        struct member *member = &m->members[i];
        member->node = members[i].node;
        member->role = MEMBER_VOTER;
        member->was_voter = true;
        set_text(member->name, MEMBER_NAME_MAX, members[i].name);
        set_text(member->address, ADDRESS_MAX, members[i].address);
    }
}

/* Nobody is to take @node's place any more: it is given up. */
static void forget_replacement(struct membership *m, uint64_t node)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (m->members[i].replaces == node)
            m->members[i].replaces = 0;
    }
    for (uint32_t i = 0; i < INVITATIONS_MAX; i++) {
        if (m->invitations[i].replaces == node)
            m->invitations[i].replaces = 0;
    }
}

static void remember_retired(struct membership *m, uint64_t node)
{
    uint32_t count = 0;
    while (count < RETIRED_MAX && m->retired[count] != 0)
        count++;
    if (count == RETIRED_MAX) {
        count--;
        memmove(m->retired, m->retired + 1, count * sizeof m->retired[0]);
    }
    m->retired[count] = node;
}

static void leave(struct membership *m, uint32_t seat)
{
    uint64_t node = m->members[seat].node;
    memset(&m->members[seat], 0, sizeof m->members[seat]);
    for (uint32_t i = 0; i < INVITATIONS_MAX; i++) {
        if (m->invitations[i].used_by == node)
            memset(&m->invitations[i], 0, sizeof m->invitations[i]);
    }
    forget_replacement(m, node);
    remember_retired(m, node);
}

bool membership_advance(struct membership *m, uint64_t slot)
{
    bool is_changed = false;
    for (uint32_t i = 0; slot >= m->from && i < MEMBERS_MAX; i++) {
        struct member *member = &m->members[i];
        bool is_voter = member->role == MEMBER_VOTER;
        if (member->role == MEMBER_LEAVING) {
            leave(m, i);
            is_changed = true;
        } else if (member->was_voter != is_voter) {
            member->was_voter = is_voter;
            is_changed = true;
        }
    }
    m->version += is_changed;
    return is_changed;
}

/* ---- coming ---- */

static struct invitation *find_invitation(struct membership *m, const uint8_t *secret)
{
    for (uint32_t i = 0; i < INVITATIONS_MAX; i++) {
        struct invitation *v = &m->invitations[i];
        if (v->expires_ns != 0 && memcmp(v->secret, secret, SECRET_SIZE) == 0)
            return v;
    }
    return NULL;
}

/* Room for one more: a free or expired one, else one whose guest has come. */
static struct invitation *find_room(struct membership *m, uint64_t time_ns)
{
    struct invitation *used = NULL;
    for (uint32_t i = 0; i < INVITATIONS_MAX; i++) {
        struct invitation *v = &m->invitations[i];
        if (v->expires_ns <= time_ns)
            return v;
        if (v->used_by != 0 && !used)
            used = v;
    }
    return used;
}

static bool is_name_promised(const struct membership *m, const char *name, uint64_t time_ns)
{
    for (uint32_t i = 0; i < INVITATIONS_MAX; i++) {
        const struct invitation *v = &m->invitations[i];
        if (v->expires_ns > time_ns && is_text(v->name, name, MEMBER_NAME_MAX))
            return true;
    }
    return false;
}

enum membership_verdict membership_invite(struct membership *m, const struct invitation *invitation,
                                          uint64_t time_ns)
{
    if (find_invitation(m, invitation->secret))
        return MEMBERSHIP_ALREADY;
    if (invitation->expires_ns <= time_ns)
        return MEMBERSHIP_EXPIRED;
    if (membership_seat_by_name(m, invitation->name) < MEMBERS_MAX ||
        is_name_promised(m, invitation->name, time_ns))
        return MEMBERSHIP_NAME_TAKEN;
    if (invitation->replaces != 0) {
        uint32_t seat = membership_seat(m, invitation->replaces);
        if (seat == MEMBERS_MAX)
            return why_no_seat(m, invitation->replaces);
        if (m->members[seat].role != MEMBER_VOTER)
            return MEMBERSHIP_NOT_VOTER;
    }
    struct invitation *room = find_room(m, time_ns);
    if (!room)
        return MEMBERSHIP_TOO_MANY;
    memset(room, 0, sizeof *room);
    memcpy(room->secret, invitation->secret, SECRET_SIZE);
    room->expires_ns = invitation->expires_ns;
    set_text(room->name, MEMBER_NAME_MAX, invitation->name);
    room->wants_vote = invitation->wants_vote;
    room->replaces = invitation->replaces;
    m->version++;
    return MEMBERSHIP_DONE;
}

static enum membership_verdict come_again(struct membership *m, uint32_t seat, const char *address)
{
    enum membership_verdict verdict = membership_set_address(m, m->members[seat].node, address);
    return verdict == MEMBERSHIP_DONE ? MEMBERSHIP_ALREADY : verdict;
}

static void take_seat(struct membership *m, uint32_t seat, uint64_t node,
                      struct invitation *invitation, const char *address)
{
    struct member *member = &m->members[seat];
    member->node = node;
    member->role = MEMBER_LEARNER;
    member->wants_vote = invitation->wants_vote;
    member->replaces = invitation->replaces;
    set_text(member->name, MEMBER_NAME_MAX, invitation->name);
    set_text(member->address, ADDRESS_MAX, address);
    invitation->used_by = node;
    m->version++;
}

static uint32_t free_seat(const struct membership *m)
{
    uint32_t seat = 0;
    while (seat < MEMBERS_MAX && m->members[seat].node != 0)
        seat++;
    return seat;
}

enum membership_verdict membership_join(struct membership *m, uint64_t time_ns,
                                        const uint8_t secret[SECRET_SIZE], uint64_t node,
                                        const char *name, const char *address)
{
    if (node == 0)
        return MEMBERSHIP_UNKNOWN;
    if (membership_has_retired(m, node))
        return MEMBERSHIP_RETIRED;
    struct invitation *invitation = find_invitation(m, secret);
    if (!invitation || !is_text(invitation->name, name, MEMBER_NAME_MAX))
        return MEMBERSHIP_NOT_INVITED;
    if (invitation->used_by != 0 && invitation->used_by != node)
        return MEMBERSHIP_USED;
    uint32_t seat = membership_seat(m, node);
    if (seat < MEMBERS_MAX)
        return come_again(m, seat, address);
    if (invitation->expires_ns <= time_ns)
        return MEMBERSHIP_EXPIRED;
    if (membership_seat_by_name(m, name) < MEMBERS_MAX)
        return MEMBERSHIP_NAME_TAKEN;
    if (is_address_taken(m, address, node, invitation->replaces))
        return MEMBERSHIP_ADDRESS_TAKEN;
    seat = free_seat(m);
    if (seat == MEMBERS_MAX)
        return MEMBERSHIP_FULL;
    take_seat(m, seat, node, invitation, address);
    return MEMBERSHIP_DONE;
}

enum membership_verdict membership_set_address(struct membership *m, uint64_t node,
                                               const char *address)
{
    uint32_t seat = membership_seat(m, node);
    if (seat == MEMBERS_MAX)
        return why_no_seat(m, node);
    struct member *member = &m->members[seat];
    if (is_text(member->address, address, ADDRESS_MAX))
        return MEMBERSHIP_ALREADY;
    if (is_address_taken(m, address, node, member->replaces))
        return MEMBERSHIP_ADDRESS_TAKEN;
    set_text(member->address, ADDRESS_MAX, address);
    m->version++;
    return MEMBERSHIP_DONE;
}

/* ---- changes of voters ---- */

static void govern_from(struct membership *m, uint64_t slot)
{
    m->from = slot + WINDOW;
    m->version++;
}

static void start_leaving(struct membership *m, struct member *member)
{
    ASSERT(member->was_voter); /* or the change that made it one would be BUSY */
    member->role = MEMBER_LEAVING;
    forget_replacement(m, member->node);
}

static void make_voter(struct member *member)
{
    member->role = MEMBER_VOTER;
    member->wants_vote = false;
    member->replaces = 0;
}

enum membership_verdict membership_promote(struct membership *m, uint64_t slot, uint64_t node)
{
    uint32_t seat = membership_seat(m, node);
    if (seat == MEMBERS_MAX)
        return why_no_seat(m, node);
    struct member *member = &m->members[seat];
    if (member->role == MEMBER_VOTER)
        return MEMBERSHIP_ALREADY;
    if (member->role != MEMBER_LEARNER)
        return MEMBERSHIP_NOT_LEARNER;
    if (slot < m->from)
        return MEMBERSHIP_BUSY;
    if (voter_count(m) >= VOTERS_MAX)
        return MEMBERSHIP_VOTERS_FULL;
    make_voter(member);
    govern_from(m, slot);
    return MEMBERSHIP_DONE;
}

enum membership_verdict membership_replace(struct membership *m, uint64_t slot, uint64_t voter,
                                           uint64_t learner)
{
    uint32_t new_seat = membership_seat(m, learner), old_seat = membership_seat(m, voter);
    if (new_seat == MEMBERS_MAX)
        return why_no_seat(m, learner);
    struct member *new_member = &m->members[new_seat];
    bool is_voter = new_member->role == MEMBER_VOTER;
    if (old_seat == MEMBERS_MAX && is_voter && membership_has_retired(m, voter))
        return MEMBERSHIP_ALREADY;
    if (old_seat == MEMBERS_MAX)
        return why_no_seat(m, voter);
    struct member *old_member = &m->members[old_seat];
    if (is_voter && old_member->role == MEMBER_LEAVING)
        return MEMBERSHIP_ALREADY;
    if (new_member->role != MEMBER_LEARNER)
        return MEMBERSHIP_NOT_LEARNER;
    if (old_member->role != MEMBER_VOTER)
        return MEMBERSHIP_NOT_VOTER;
    if (slot < m->from)
        return MEMBERSHIP_BUSY;
    start_leaving(m, old_member);
    make_voter(new_member);
    govern_from(m, slot);
    return MEMBERSHIP_DONE;
}

enum membership_verdict membership_remove(struct membership *m, uint64_t slot, uint64_t node)
{
    uint32_t seat = membership_seat(m, node);
    if (seat == MEMBERS_MAX)
        return membership_has_retired(m, node) ? MEMBERSHIP_ALREADY : MEMBERSHIP_UNKNOWN;
    struct member *member = &m->members[seat];
    if (member->role == MEMBER_LEAVING)
        return MEMBERSHIP_ALREADY;
    if (member->role == MEMBER_LEARNER) {
        leave(m, seat);
        m->version++;
        return MEMBERSHIP_DONE;
    }
    if (voter_count(m) == 1)
        return MEMBERSHIP_LAST_VOTER;
    if (slot < m->from)
        return MEMBERSHIP_BUSY;
    start_leaving(m, member);
    govern_from(m, slot);
    return MEMBERSHIP_DONE;
}

/* ---- bytes ---- */

static void write_text(struct writer *w, const char *text, uint32_t max)
{
    uint32_t length = length_of(text, max);
    write_u8(w, (uint8_t)length);
    write_bytes(w, text, length);
}

static void encode_member(struct writer *w, const struct member *member)
{
    write_u64(w, member->node);
    if (member->node == 0)
        return;
    write_u8(w, (uint8_t)member->role);
    write_u8(w, (uint8_t)((member->was_voter ? FLAG_WAS_VOTER : 0) |
                          (member->wants_vote ? FLAG_WANTS_VOTE : 0)));
    write_u64(w, member->replaces);
    write_text(w, member->name, MEMBER_NAME_MAX);
    write_text(w, member->address, ADDRESS_MAX);
}

static void encode_invitation(struct writer *w, const struct invitation *v)
{
    write_u64(w, v->expires_ns);
    if (v->expires_ns == 0)
        return;
    write_bytes(w, v->secret, SECRET_SIZE);
    write_text(w, v->name, MEMBER_NAME_MAX);
    write_u8(w, v->wants_vote);
    write_u64(w, v->replaces);
    write_u64(w, v->used_by);
}

size_t membership_encode(const struct membership *m, void *bytes)
{
    struct writer w = writer_of(bytes, MEMBERSHIP_ENCODED_MAX);
    write_u8(&w, FORMAT);
    write_u64(&w, m->version);
    write_u64(&w, m->from);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        encode_member(&w, &m->members[i]);
    for (uint32_t i = 0; i < INVITATIONS_MAX; i++)
        encode_invitation(&w, &m->invitations[i]);
    uint8_t count = 0;
    while (count < RETIRED_MAX && m->retired[count] != 0)
        count++;
    write_u8(&w, count);
    for (uint32_t i = 0; i < count; i++)
        write_u64(&w, m->retired[i]);
    ASSERT(!w.failed);
    return w.size;
}

/* Texts are @min..@max bytes, none of them NUL. */
static bool read_text(struct cursor *c, char *to, uint32_t min, uint32_t max)
{
    uint32_t length = cursor_u8(c);
    const uint8_t *bytes = length >= min && length <= max ? cursor_bytes(c, length) : NULL;
    for (uint32_t i = 0; bytes && i < length; i++) {
        if (bytes[i] == '\0')
            return false;
        to[i] = (char)bytes[i];
    }
    return bytes != NULL;
}

/* What a role implies; see membership_advance and the changes. */
static bool is_consistent(const struct member *member)
{
    bool is_plain = !member->wants_vote && member->replaces == 0;
    switch (member->role) {
    case MEMBER_VOTER:
        return is_plain;
    case MEMBER_LEARNER:
        return !member->was_voter;
    case MEMBER_LEAVING:
        return member->was_voter && is_plain;
    case MEMBER_FREE:
        break;
    }
    return false;
}

static bool decode_member(struct cursor *c, struct membership *m, uint32_t seat)
{
    struct member *member = &m->members[seat];
    uint64_t node = cursor_u64(c);
    if (node == 0)
        return !c->failed;
    if (membership_seat(m, node) < MEMBERS_MAX)
        return false;
    uint8_t role = cursor_u8(c), flags = cursor_u8(c);
    if (role > MEMBER_LEAVING || flags > (FLAG_WAS_VOTER | FLAG_WANTS_VOTE))
        return false;
    member->role = (enum member_role)role;
    member->was_voter = flags & FLAG_WAS_VOTER;
    member->wants_vote = flags & FLAG_WANTS_VOTE;
    member->replaces = cursor_u64(c);
    if (!read_text(c, member->name, 1, MEMBER_NAME_MAX) ||
        !read_text(c, member->address, 0, ADDRESS_MAX) ||
        membership_seat_by_name(m, member->name) < MEMBERS_MAX)
        return false;
    member->node = node;
    return is_consistent(member);
}

static bool decode_invitation(struct cursor *c, struct membership *m, uint32_t index)
{
    struct invitation *v = &m->invitations[index];
    uint64_t expires_ns = cursor_u64(c);
    if (expires_ns == 0)
        return !c->failed;
    const uint8_t *secret = cursor_bytes(c, SECRET_SIZE);
    if (!secret || find_invitation(m, secret) || !read_text(c, v->name, 1, MEMBER_NAME_MAX))
        return false;
    memcpy(v->secret, secret, SECRET_SIZE);
    uint8_t wants_vote = cursor_u8(c);
    v->wants_vote = wants_vote;
    v->replaces = cursor_u64(c);
    v->used_by = cursor_u64(c);
    v->expires_ns = expires_ns;
    return !c->failed && wants_vote <= 1;
}

static bool decode_retired(struct cursor *c, struct membership *m)
{
    uint32_t count = cursor_u8(c);
    for (uint32_t i = 0; count <= RETIRED_MAX && i < count; i++) {
        uint64_t node = cursor_u64(c);
        if (node == 0 || membership_has_retired(m, node) || membership_seat(m, node) < MEMBERS_MAX)
            return false;
        m->retired[i] = node;
    }
    return count <= RETIRED_MAX;
}

static bool decode_all(struct cursor *c, struct membership *m)
{
    if (cursor_u8(c) != FORMAT)
        return false;
    m->version = cursor_u64(c);
    m->from = cursor_u64(c);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (!decode_member(c, m, i))
            return false;
    }
    for (uint32_t i = 0; i < INVITATIONS_MAX; i++) {
        if (!decode_invitation(c, m, i))
            return false;
    }
    bool has_voter = voter_count(m) > 0;
    return decode_retired(c, m) && cursor_done(c) && has_voter == (m->version > 0);
}

int membership_decode(const void *bytes, size_t size, struct membership *m)
{
    struct cursor c = cursor_of(bytes, size);
    memset(m, 0, sizeof *m);
    if (decode_all(&c, m))
        return 0;
    memset(m, 0, sizeof *m);
    return -EBADMSG;
}
