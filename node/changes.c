/* What `paxfs member` asks for: looked at here, put into the log, and answered once it governs.
 * Each may be asked for again: what is so already is a success. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/clock.h"
#include "node/node.h"
#include "node/token.h"

#define ANSWER_NS     (10 * NS_PER_S)
#define BUSY_AGAIN_NS (100 * NS_PER_MS) /* the change before governs in a moment */
#define INVITED_S     UINT64_C(86400)
#define INVITED_NS    (INVITED_S * NS_PER_S)

enum { SENTENCE_SIZE = 512 };

enum change_kind { CHANGE_ADD, CHANGE_REMOVE, CHANGE_PROMOTE, CHANGE_REPLACE, CHANGE_SET_ADDRESS };

struct change {
    struct change *next;
    enum change_kind kind;
    struct admin_request *request; /* NULL: answered */
    uint64_t deadline_ns;
    bool is_under_way; /* a command of it */
    bool is_decided;
    uint64_t again_ns; /* to be submitted again then; 0: not */
    uint64_t from;     /* once decided: the slot it governs from */
    bool force;
    bool votes;                                                 /* ADD */
    char name[MEMBER_NAME_MAX + 2], other[MEMBER_NAME_MAX + 2]; /* other: who is replaced */
    char address[ADDRESS_MAX + 1];
    uint8_t secret[SECRET_SIZE];
    struct fs_command command; /* points to the above */
};

static const struct {
    const char *method, *verb;
} kinds[] = {
    [CHANGE_ADD] = {"member_add", "member add"},
    [CHANGE_REMOVE] = {"member_remove", "member remove"},
    [CHANGE_PROMOTE] = {"member_promote", "member promote"},
    [CHANGE_REPLACE] = {"member_replace", "member replace"},
    [CHANGE_SET_ADDRESS] = {"member_set_addr", "member set-addr"},
};

/* ---- answers ---- */

static bool refuse(struct change *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Always false. */
static bool refuse(struct change *c, const char *format, ...)
{
    char why[SENTENCE_SIZE], sentence[SENTENCE_SIZE + 32];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    snprintf(sentence, sizeof sentence, "%s: %s", kinds[c->kind].verb, why);
    admin_reply_error(c->request, sentence);
    c->request = NULL;
    return false;
}

static void answer_token(const struct node *n, struct change *c)
{
    struct token token = {.cluster_id = n->config.cluster_id};
    char text[TOKEN_SIZE_MAX];
    struct buffer b = {0};
    memcpy(token.secret, c->secret, SECRET_SIZE);
    snprintf(token.name, sizeof token.name, "%.*s", MEMBER_NAME_MAX, c->name);
    NODE_EACH_SEAT (n, i)
        memcpy(token.addresses[token.address_count++], n->membership.members[i].address,
               sizeof token.addresses[0]);
    token_format(&token, text);
    pack_map(&b, 2);
    pack_text(&b, "token");
    pack_text(&b, text);
    pack_text(&b, "expires_s");
    pack_u64(&b, INVITED_S);
    admin_reply(c->request, &b);
    buffer_deinit(&b);
    c->request = NULL;
}

static void answer_did(struct change *c, const char *did, const char *missing)
{
    struct buffer b = {0};
    pack_map(&b, 2);
    pack_text(&b, "did");
    pack_text(&b, did);
    pack_text(&b, "missing");
    if (missing)
        pack_text(&b, missing);
    else
        pack_nil(&b);
    admin_reply(c->request, &b);
    buffer_deinit(&b);
    c->request = NULL;
}

static void tell_what_it_did(const struct change *c, char out[SENTENCE_SIZE])
{
    switch (c->kind) {
    case CHANGE_ADD:
        snprintf(out, SENTENCE_SIZE, "%s is invited", c->name);
        break;
    case CHANGE_REMOVE:
        snprintf(out, SENTENCE_SIZE, "%s is no member any more; it stops by itself", c->name);
        break;
    case CHANGE_PROMOTE:
        snprintf(out, SENTENCE_SIZE, "%s votes", c->name);
        break;
    case CHANGE_REPLACE:
        snprintf(out, SENTENCE_SIZE, "%s votes in the place of %s, which is no member any more",
                 c->name, c->other);
        break;
    case CHANGE_SET_ADDRESS:
        snprintf(out, SENTENCE_SIZE, "%s is reached at %s", c->name, c->address);
        break;
    }
}

static void answer_done(const struct node *n, struct change *c, bool governs)
{
    char did[SENTENCE_SIZE];
    const char *missing = NULL;
    if (c->kind == CHANGE_ADD) {
        answer_token(n, c);
        return;
    }
    tell_what_it_did(c, did);
    uint32_t seat = membership_seat_by_name(&n->membership, c->name);
    if (!governs)
        missing = "it is decided, and not in force yet: paxfs member ls tells when";
    else if (c->kind == CHANGE_SET_ADDRESS && seat < MEMBERS_MAX && !members_is_up(n, seat))
        missing = "it is not connected: see that it listens there; if it does not start, change "
                  "listen= in its state directory's config";
    answer_did(c, did, missing);
}

static void answer_verdict(struct node *n, struct change *c, uint32_t verdict)
{
    const char *why = membership_reason(verdict), *what = "see paxfs member ls";
    if (verdict == MEMBERSHIP_VOTERS_FULL)
        what = "it can stay a learner, or replace one: paxfs member replace OLD NEW";
    else if (verdict == MEMBERSHIP_LAST_VOTER)
        what = "add another one first: paxfs member add NAME";
    else if (verdict == MEMBERSHIP_TOO_MANY)
        what = "use those, or wait until they have expired";
    else if (verdict == MEMBERSHIP_NAME_TAKEN)
        what = "give another name";
    else if (verdict == MEMBERSHIP_BUSY)
        what = "run it again";
    (void)n;
    refuse(c, "%s; %s", why, what);
}

/* ---- into the log ---- */

static void on_decided(struct node *n, void *context, int error, const struct fs_outcome *outcome)
{
    struct change *c = context;
    c->is_under_way = false;
    if (!c->request)
        return;
    if (error && n->stop_phase != STOP_NOT) {
        refuse(c, "the daemon is stopping; run it on another host");
    } else if (error) {
        refuse(c, "the daemon could not do it: %s; run it again", strerror(-error));
    } else if (outcome->verdict == MEMBERSHIP_BUSY) {
        c->again_ns = clock_now_ns() + BUSY_AGAIN_NS;
    } else if (outcome->verdict == MEMBERSHIP_DONE || outcome->verdict == MEMBERSHIP_ALREADY) {
        members_follow(n);
        c->is_decided = true;
        c->from = outcome->from;
        if (outcome->verdict == MEMBERSHIP_ALREADY && c->kind != CHANGE_SET_ADDRESS)
            c->from = n->membership.from; /* the same was asked for a moment ago, perhaps */
    } else {
        answer_verdict(n, c, outcome->verdict);
    }
}

static void submit(struct node *n, struct change *c)
{
    c->again_ns = 0;
    c->is_under_way = true;
    serving_submit_own(n, &c->command, on_decided, c);
}

/* ---- what is looked at before ---- */

/* Seat of the member called @name; refused when there is none. */
static bool find(const struct node *n, struct change *c, const char *name, uint32_t *seat)
{
    *seat = membership_seat_by_name(&n->membership, name);
    if (*seat < MEMBERS_MAX)
        return true;
    return refuse(c, "no member is called \"%s\"; see paxfs member ls", name);
}

/* Would a majority of @voters be up? One that is not could stop the cluster with the change, and
 * nobody could undo it. */
static bool keeps_quorum(const struct node *n, struct change *c, uint32_t voters)
{
    uint32_t ready = members_ready(n, voters);
    if (c->force || voters == 0 || configuration_is_majority(ready, voters))
        return true;
    const char *down = n->membership.members[__builtin_ctz(voters & ~ready)].name;
    return refuse(c,
                  "it would lose the quorum: only %d of %d voters would be up and caught up; start "
                  "%s, or replace it: paxfs member replace %s NEW",
                  __builtin_popcount(ready), __builtin_popcount(voters), down, down);
}

static bool has_caught_up(const struct node *n, struct change *c, uint32_t seat)
{
    uint32_t bit = UINT32_C(1) << seat;
    if (c->force || (members_ready(n, bit) && n->members[seat].status.applied > 0) ||
        seat == n->self)
        return true;
    return refuse(c, "%s has not caught up yet; wait until paxfs member ls shows that it has",
                  n->membership.members[seat].name);
}

/* The open invitation that this one would repeat, or NULL. */
static const struct invitation *find_invitation(const struct node *n, const struct change *c)
{
    uint64_t now = store_time_ns(n->store);
    for (uint32_t i = 0; i < INVITATIONS_MAX; i++) {
        const struct invitation *v = &n->membership.invitations[i];
        if (v->expires_ns > now && v->used_by == 0 && strcmp(v->name, c->name) == 0)
            return v;
    }
    return NULL;
}

static bool look_at_add(struct node *n, struct change *c)
{
    uint32_t seat;
    uint64_t replaces = 0;
    if (!config_name_is_valid(c->name))
        return refuse(c, "\"%s\" is no name of a member: use 1 to %d of a-z, 0-9, _ and -", c->name,
                      MEMBER_NAME_MAX);
    if (membership_seat_by_name(&n->membership, c->name) < MEMBERS_MAX)
        return refuse(c, "%s is a member already; give another name, or see paxfs member ls",
                      c->name);
    if (c->other[0]) {
        if (!c->votes)
            return refuse(c, "a learner replaces nobody; leave one of the two out");
        if (!find(n, c, c->other, &seat))
            return false;
        replaces = n->membership.members[seat].node;
    }
    const struct invitation *open = find_invitation(n, c);
    if (open && open->wants_vote == c->votes && open->replaces == replaces) {
        memcpy(c->secret, open->secret, SECRET_SIZE);
        answer_token(n, c);
        return false;
    }
    if (open)
        return refuse(c,
                      "%s is invited already, for another part: use the token of that (the same "
                      "command again prints it), or another name",
                      c->name);
    if (getrandom(c->secret, SECRET_SIZE, 0) != SECRET_SIZE)
        return refuse(c, "this host has no random numbers; run it again");
    c->command = (struct fs_command){.op = FS_INVITE,
                                     .name = c->name,
                                     .name_size = (uint32_t)strlen(c->name),
                                     .data = c->secret,
                                     .data_size = SECRET_SIZE,
                                     .size = INVITED_NS,
                                     .mode = c->votes ? FS_INVITE_VOTER : 0,
                                     .nonce = replaces};
    return true;
}

static bool look_at_remove(struct node *n, struct change *c)
{
    uint32_t seat = membership_seat_by_name(&n->membership, c->name);
    if (seat == MEMBERS_MAX) {
        char did[SENTENCE_SIZE];
        snprintf(did, sizeof did, "no member is called %s: there is nothing to do", c->name);
        answer_did(c, did, NULL);
        return false;
    }
    const struct member *m = &n->membership.members[seat];
    c->command = (struct fs_command){.op = FS_REMOVE, .nonce = m->node};
    return m->role != MEMBER_VOTER ||
           keeps_quorum(n, c, members_voters(n) & ~(UINT32_C(1) << seat));
}

static bool look_at_promote(struct node *n, struct change *c)
{
    uint32_t seat;
    if (!find(n, c, c->name, &seat))
        return false;
    const struct member *m = &n->membership.members[seat];
    c->command = (struct fs_command){.op = FS_PROMOTE, .nonce = m->node};
    return m->role != MEMBER_LEARNER ||
           (has_caught_up(n, c, seat) &&
            keeps_quorum(n, c, members_voters(n) | UINT32_C(1) << seat));
}

static bool look_at_replace(struct node *n, struct change *c)
{
    uint32_t old, new;
    if (!find(n, c, c->name, &new))
        return false;
    const struct member *m = &n->membership.members[new];
    old = membership_seat_by_name(&n->membership, c->other);
    if (old == MEMBERS_MAX && m->role == MEMBER_VOTER) {
        char did[SENTENCE_SIZE];
        snprintf(did, sizeof did, "%s votes, and no member is called %s: there is nothing to do",
                 c->name, c->other);
        answer_did(c, did, NULL);
        return false;
    }
    if (!find(n, c, c->other, &old))
        return false;
    c->command = (struct fs_command){
        .op = FS_REPLACE, .nonce = n->membership.members[old].node, .ino = m->node};
    uint32_t voters = (members_voters(n) & ~(UINT32_C(1) << old)) | UINT32_C(1) << new;
    return m->role != MEMBER_LEARNER || (has_caught_up(n, c, new) && keeps_quorum(n, c, voters));
}

static bool look_at_address(struct node *n, struct change *c)
{
    uint32_t seat;
    char canonical[ADDRESS_MAX + 1];
    if (!find(n, c, c->name, &seat))
        return false;
    if (!config_address(c->address, canonical))
        return refuse(c,
                      "\"%s\" is no address: use IPV4:PORT or [IPV6]:PORT, one that the others "
                      "can dial",
                      c->address);
    memcpy(c->address, canonical, sizeof canonical);
    c->command = (struct fs_command){.op = FS_SET_ADDRESS,
                                     .nonce = n->membership.members[seat].node,
                                     .name = c->address,
                                     .name_size = (uint32_t)strlen(c->address)};
    return true;
}

/* False: it is answered. */
static bool look_at(struct node *n, struct change *c)
{
    if (!n->driver || n->membership.version == 0)
        return refuse(c, "this host takes no part yet; run it on another one");
    if (n->stop_phase != STOP_NOT)
        return refuse(c, "the daemon is stopping; run it on another host");
    switch (c->kind) {
    case CHANGE_ADD:
        return look_at_add(n, c);
    case CHANGE_REMOVE:
        return look_at_remove(n, c);
    case CHANGE_PROMOTE:
        return look_at_promote(n, c);
    case CHANGE_REPLACE:
        return look_at_replace(n, c);
    case CHANGE_SET_ADDRESS:
        return look_at_address(n, c);
    }
    return false;
}

/* ---- requests ---- */

static void read_params(struct change *c, const msgpack_object *params)
{
    bool is_replace = c->kind == CHANGE_REPLACE;
    admin_get_text(params, is_replace ? "new" : "name", c->name, sizeof c->name, "");
    admin_get_text(params, is_replace ? "old" : "replaces", c->other, sizeof c->other, "");
    admin_get_text(params, "address", c->address, sizeof c->address, "");
    c->force = admin_get_bool(params, "force", false);
    c->votes = !admin_get_bool(params, "learner", false);
}

static bool find_kind(const char *method, enum change_kind *kind)
{
    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        if (strcmp(kinds[i].method, method) == 0) {
            *kind = (enum change_kind)i;
            return true;
        }
    }
    return false;
}

bool changes_on_request(struct node *n, struct admin_request *r, const char *method,
                        const msgpack_object *params)
{
    enum change_kind kind;
    if (!find_kind(method, &kind))
        return false;
    struct change *c = calloc(1, sizeof *c);
    ASSERT(c);
    c->kind = kind;
    c->request = r;
    c->deadline_ns = clock_now_ns() + ANSWER_NS;
    read_params(c, params);
    if (!look_at(n, c)) {
        free(c);
        return true;
    }
    c->next = n->changes;
    n->changes = c;
    submit(n, c);
    return true;
}

static void tend(struct node *n, struct change *c, uint64_t now)
{
    bool governs = c->is_decided && (n->has_left || store_applied(n->store) >= c->from);
    if (!c->request)
        return;
    if (governs || (c->is_decided && now >= c->deadline_ns))
        answer_done(n, c, governs);
    else if (now >= c->deadline_ns)
        refuse(c, "no majority answers; it may still come to pass: see paxfs member ls, then run "
                  "it again");
    else if (c->again_ns && now >= c->again_ns)
        submit(n, c);
}

void changes_tick(struct node *n)
{
    uint64_t now = n->changes ? clock_now_ns() : 0;
    struct change **at = &n->changes;
    while (*at) {
        struct change *c = *at;
        tend(n, c, now);
        if (c->request || c->is_under_way) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        free(c);
    }
}

void changes_stop(struct node *n)
{
    for (struct change *c = n->changes; c; c = c->next)
        if (c->request)
            refuse(c, "the daemon is stopping; run it on another host");
    changes_tick(n);
}
