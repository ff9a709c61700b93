/* Who the members are: as the replicated membership in the store says, which the loop keeps a copy
 * of; until the cluster is formed, or a host that joined has its first snapshot, as config says.
 * Everything by seat is of that copy. The transport and the core are told whenever it moves. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/node.h"

#define PROMOTE_AGAIN_NS (10 * NS_PER_S) /* after a refusal that says more than "not yet" */

/* ---- looking ---- */

uint32_t members_everyone(const struct node *n)
{
    uint32_t mask = 0;
    NODE_EACH_SEAT (n, i)
        mask |= UINT32_C(1) << i;
    return mask;
}

uint32_t members_voters(const struct node *n)
{
    uint32_t mask = 0;
    NODE_EACH_SEAT (n, i)
        mask |= (uint32_t)(n->membership.members[i].role == MEMBER_VOTER) << i;
    return mask;
}

uint32_t members_voters_before(const struct node *n)
{
    uint32_t mask = 0;
    NODE_EACH_SEAT (n, i)
        mask |= (uint32_t)n->membership.members[i].was_voter << i;
    return mask;
}

const char *members_name(const struct node *n, uint64_t node_id)
{
    uint32_t seat = membership_seat(&n->membership, node_id);
    return seat < MEMBERS_MAX ? n->membership.members[seat].name : NULL;
}

static bool is_recent(uint64_t when_ns)
{
    return when_ns != 0 && clock_now_ns() - when_ns < UP_NS;
}

/* A connection that broke is the first to tell of a death. Who is reached through another member
 * has none, and is heard all the same. */
static bool is_reached(const struct node *n, uint32_t seat)
{
    struct transport_peer_view peer;
    transport_view(n->transport, seat, &peer);
    return peer.connected || peer.relayed_by;
}

bool members_is_up(const struct node *n, uint32_t seat)
{
    if (seat == n->self)
        return true;
    if (n->members[seat].status.disk_short)
        return false;
    bool is_heard = is_recent(n->members[seat].told_ns) ||
                    (n->driver && is_recent(driver_view(n->driver)->members[seat].heard_ns));
    return is_heard && is_reached(n, seat);
}

/* How far a member lags, as of what it last told; UINT64_MAX: nobody knows. One that is reached
 * only through another tells no status, but answers heartbeats. */
static uint64_t lag_of(const struct node *n, uint32_t seat)
{
    const struct paxos_view *view = n->driver ? driver_view(n->driver) : NULL;
    if (seat == n->self)
        return 0;
    if (is_recent(n->members[seat].told_ns))
        return n->members[seat].lag_slots;
    if (!view || view->role != ROLE_LEADER || !is_recent(view->members[seat].heard_ns))
        return UINT64_MAX;
    uint64_t decided = view->members[seat].decided;
    return view->decided > decided ? view->decided - decided : 0;
}

/* A voter that lags by less than a window takes part in what is proposed; a learner has to prove
 * that it keeps up. */
uint32_t members_ready(const struct node *n, uint32_t voters)
{
    uint32_t mask = 0;
    NODE_EACH_SEAT (n, i) {
        bool is_voter = n->membership.members[i].role == MEMBER_VOTER;
        uint64_t lag_max = is_voter ? WINDOW : CAUGHT_UP_SLOTS;
        bool is_ready = members_is_up(n, i) && lag_of(n, i) <= lag_max;
        mask |= (uint32_t)is_ready << i;
    }
    return mask & voters;
}

/* ---- following ---- */

void members_for_transport(const struct membership *membership,
                           struct transport_member members[MEMBERS_MAX])
{
    memset(members, 0, MEMBERS_MAX * sizeof members[0]);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        const struct member *m = &membership->members[i];
        members[i].node_id = m->node;
        memcpy(members[i].name, m->name, sizeof members[i].name);
        memcpy(members[i].address, m->address, sizeof members[i].address);
    }
}

/* Who config names, in seats that mean nothing to anybody else. A host that joined votes only once
 * the store says so. */
static void take_from_config(struct node *n)
{
    n->membership = (struct membership){.version = 0};
    for (uint32_t i = 0; i < n->config.member_count; i++) {
        const struct config_member *from = &n->config.members[i];
        struct member *m = &n->membership.members[i];
        bool votes = i != n->config.self || !n->config.has_joined;
        if (n->config.has_joined && from->node_id == 0)
            continue;
        m->node = from->node_id;
        m->role = votes ? MEMBER_VOTER : MEMBER_LEARNER;
        m->was_voter = votes;
        memcpy(m->name, from->name, sizeof m->name);
        memcpy(m->address, from->address, sizeof m->address);
    }
}

int members_open(struct node *n, char *error, size_t error_size)
{
    store_membership(n->store, &n->membership);
    if (membership_is_empty(&n->membership))
        take_from_config(n);
    n->self = membership_seat(&n->membership, n->config.node_id);
    if (n->self < MEMBERS_MAX)
        return 0;
    snprintf(error, error_size,
             "this host was removed from the cluster; its state is kept here, for you to delete. "
             "To come back it joins anew, with another state directory: paxfs member add %s",
             n->config.name);
    return -EPERM;
}

/* What was known of who had a seat before is not true of who has it now. */
static void forget_changed(struct node *n, const struct membership *next)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (next->members[i].node == n->membership.members[i].node)
            continue;
        n->members[i] = (struct member_state){0};
        n->verification.answered[i] = false;
        n->strangers &= ~(UINT32_C(1) << i);
    }
}

/* The own address is another one: be there. What cannot be listened on is tried again and again:
 * the host may get the address only in a moment. */
static void follow_own_address(struct node *n)
{
    const char *address = n->membership.members[n->self].address;
    if (n->membership.version == 0 || strcmp(address, n->config.listen) == 0) {
        n->listen_error = 0;
        return;
    }
    int rc = transport_listen(n->transport, address);
    if (rc < 0) {
        if (rc != n->listen_error)
            log_event(LOG_ERROR,
                      "event=listen_failed address=%s error=\"%s\" what_to_do=\"give this host "
                      "that address, or free the port; it listens on %s meanwhile\"",
                      address, strerror(-rc), n->config.listen);
        n->listen_error = rc;
        return;
    }
    n->listen_error = 0;
    log_event(LOG_INFO, "event=listening address=%s before=%s", address, n->config.listen);
    memcpy(n->config.listen, address, sizeof n->config.listen);
    rc = config_set_listen(n->state_dir, address);
    if (rc < 0) /* the store knows it too */
        log_event(LOG_WARN, "event=config_not_written error=\"%s\"", strerror(-rc));
}

void members_leave(struct node *n)
{
    if (n->has_left)
        return;
    n->has_left = true;
    n->exit_code = 1;
    log_event(LOG_ERROR,
              "event=removed name=%s what_to_do=\"this host is no member any more and stops; its "
              "state in %s is kept, for you to delete; to come back it joins anew, with another "
              "state directory: paxfs member add %s\"",
              n->config.name, n->state_dir, n->config.name);
    stop_begin(n, "removed");
}

/* The loop's copy becomes @next. Without a seat the old copy is kept: nothing else is of use. */
static void adopt(struct node *n, const struct membership *next)
{
    uint32_t seat = membership_seat(next, n->config.node_id);
    struct transport_member members[MEMBERS_MAX];
    if (seat == MEMBERS_MAX)
        members_leave(n); /* who leads hands over, to the members as they were */
    /* First, while what hears of connections that end still knows whose they are. */
    members_for_transport(next, members);
    transport_set_members(n->transport, members);
    if (seat == MEMBERS_MAX)
        return;
    if (next->from != n->membership.from)
        log_event(LOG_INFO, "event=voters_changed from=%llu version=%llu",
                  (unsigned long long)next->from, (unsigned long long)next->version);
    news_forget(n);
    forget_changed(n, next);
    n->membership = *next;
    n->self = seat;
    follow_own_address(n);
}

void members_follow(struct node *n)
{
    struct membership next;
    if (n->has_left || n->is_installing || capacity_is_paused(n) ||
        store_membership_version(n->store) == n->membership.version)
        return;
    store_membership(n->store, &next);
    adopt(n, &next);
    struct configuration configuration = membership_configuration(&next);
    struct event event = {.kind = EVENT_CONFIGURE, .configure = &configuration};
    if (n->driver)
        driver_step(n->driver, &event);
}

struct configuration members_installed(struct node *n)
{
    struct membership next;
    store_membership(n->store, &next);
    if (!n->has_left)
        adopt(n, &next);
    return membership_configuration(&next);
}

/* ---- who comes ---- */

void members_fill_hello(void *context, struct peer_hello *hello)
{
    struct node *n = context;
    hello->node_id = n->config.node_id;
    hello->version = n->driver ? n->membership.version : 0;
    if (n->config.has_joined)
        return; /* it knows nothing of how the cluster began */
    hello->member_count = n->config.member_count;
    for (uint32_t i = 0; n->driver && i < n->config.member_count; i++)
        hello->pinned[i] = n->config.members[i].node_id;
}

/* It knows a later membership than this host does, or comes fresh from a join. */
static bool may_be_news(const struct node *n, const struct peer_hello *hello)
{
    return hello->version > n->membership.version || hello->member_count == 0;
}

const char *members_on_hello(void *context, uint32_t seat, const struct peer_hello *hello)
{
    static char reason[160];
    struct node *n = context;
    if (!n->driver)
        return forming_judge(n, seat, hello);
    const struct member *m = &n->membership.members[seat];
    if (news_node_at(n, seat) == hello->node_id) {
        n->strangers &= ~(UINT32_C(1) << seat);
        return NULL;
    }
    if (membership_has_retired(&n->membership, hello->node_id))
        return transport_retired;
    if (may_be_news(n, hello))
        return "I know another node of that name, and have yet to hear of a change";
    n->strangers |= UINT32_C(1) << seat;
    snprintf(reason, sizeof reason,
             "%s is not who it was: its state directory was made anew; put the old one back, or "
             "replace the member",
             m->name);
    return reason;
}

const char *members_on_unknown(void *context, const struct peer_hello *hello)
{
    struct node *n = context;
    if (membership_has_retired(&n->membership, hello->node_id))
        return transport_retired;
    const char *come_again = news_on_unknown(n, hello);
    if (come_again)
        return come_again;
    return may_be_news(n, hello) ? "not a member of this cluster, as far as I have heard" : NULL;
}

void members_on_refused(void *context, uint32_t seat, const char *reason)
{
    (void)seat;
    if (reason == transport_retired)
        members_leave(context);
}

/* ---- promotions ---- */

static void on_promoted(struct node *n, void *context, int error, const struct fs_outcome *outcome)
{
    (void)context;
    uint32_t seat = membership_seat(&n->membership, n->promoting);
    const char *name = seat < MEMBERS_MAX ? n->membership.members[seat].name : "-";
    n->promoting = 0;
    if (error)
        return;
    if (outcome->verdict == MEMBERSHIP_DONE) {
        log_event(LOG_INFO, "event=promoted member=%s from=%llu", name,
                  (unsigned long long)outcome->from);
    } else if (outcome->verdict != MEMBERSHIP_ALREADY && outcome->verdict != MEMBERSHIP_BUSY) {
        log_event(LOG_WARN, "event=not_promoted member=%s why=\"%s\"", name,
                  membership_reason(outcome->verdict));
        n->promote_ns = clock_now_ns() + PROMOTE_AGAIN_NS;
    }
}

/* The learner in @seat may vote: it has caught up, and a majority with it would be up. */
static bool may_vote(const struct node *n, uint32_t seat, uint32_t replaced)
{
    uint32_t bit = UINT32_C(1) << seat;
    uint32_t voters = members_voters(n) | bit;
    if (replaced < MEMBERS_MAX)
        voters &= ~(UINT32_C(1) << replaced);
    /* One that has applied nothing has yet to install a snapshot, however short the log is. */
    bool has_state = n->members[seat].status.applied > 0;
    uint32_t ready = members_ready(n, voters);
    return has_state && ready & bit && configuration_is_majority(ready, voters);
}

static bool promote(struct node *n, uint32_t seat)
{
    const struct member *m = &n->membership.members[seat];
    uint32_t replaced = membership_seat(&n->membership, m->replaces);
    if (m->role != MEMBER_LEARNER || !m->wants_vote || !may_vote(n, seat, replaced))
        return false;
    struct fs_command c = {.op = FS_PROMOTE, .nonce = m->node};
    if (replaced < MEMBERS_MAX)
        c = (struct fs_command){.op = FS_REPLACE, .nonce = m->replaces, .ino = m->node};
    n->promoting = m->node;
    serving_submit_own(n, &c, on_promoted, NULL);
    return true;
}

/* One at a time: the next once the change before governs. */
static void promote_next(struct node *n)
{
    if (n->promoting || clock_now_ns() < n->promote_ns ||
        driver_view(n->driver)->serving_until_ns == 0 ||
        store_applied(n->store) < n->membership.from)
        return;
    NODE_EACH_SEAT (n, i)
        if (promote(n, i))
            return;
}

void members_tick(struct node *n)
{
    if (!n->driver || n->has_left || n->stop_phase != STOP_NOT)
        return;
    follow_own_address(n);
    promote_next(n);
    news_tick(n);
}
