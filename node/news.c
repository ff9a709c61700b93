/* A member that was away while everyone it knew was replaced: nobody in its list of members is
 * there any more, and whoever is there is in no list of its own. The present ones do know it, dial
 * it, and know a later membership. So once no leader has been heard of for NEWS_NS, the one that
 * dials is given a seat in the transport, and no other: its core messages are not for this core,
 * whose configuration does not have it. What is taken from it is a snapshot, in which it is a
 * member. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "node/node.h"

#define NEWS_NS (5 * NS_PER_S)

static bool is_leaderless(const struct node *n)
{
    return n->news.leaderless_ns && clock_now_ns() - n->news.leaderless_ns >= NEWS_NS;
}

bool news_is_guest(const struct node *n, uint32_t seat)
{
    return n->news.guest.node_id && n->news.seat == seat;
}

uint64_t news_node_at(const struct node *n, uint32_t seat)
{
    return news_is_guest(n, seat) ? n->news.guest.node_id : n->membership.members[seat].node;
}

uint32_t news_seat_of(const struct node *n, uint64_t node_id)
{
    if (n->news.guest.node_id && n->news.guest.node_id == node_id)
        return n->news.seat;
    return membership_seat(&n->membership, node_id);
}

const char *news_on_unknown(struct node *n, const struct peer_hello *hello)
{
    if (!n->driver || n->news.guest.node_id || !is_leaderless(n) ||
        hello->version <= n->membership.version)
        return NULL;
    n->news.guest = (struct transport_member){.node_id = hello->node_id};
    memcpy(n->news.guest.name, hello->name, sizeof hello->name);
    n->news.is_new = true;
    n->news.met_ns = clock_now_ns();
    return "I was away, and knew nobody like you: come again";
}

void news_for_transport(struct node *n, struct transport_member members[MEMBERS_MAX])
{
    n->news.seat = MEMBERS_MAX;
    for (uint32_t i = 0; n->news.guest.node_id && i < MEMBERS_MAX; i++) {
        if (members[i].name[0])
            continue;
        n->news.seat = i;
        members[i] = n->news.guest;
        return;
    }
}

void news_forget(struct node *n)
{
    n->news.guest = (struct transport_member){.node_id = 0};
    n->news.is_new = false;
}

static void tell_transport(struct node *n)
{
    struct transport_member members[MEMBERS_MAX];
    members_for_transport(&n->membership, members);
    news_for_transport(n, members);
    transport_set_members(n->transport, members);
}

static void seat_guest(struct node *n)
{
    n->news.is_new = false;
    tell_transport(n);
    log_event(LOG_WARN,
              "event=members_changed_while_away news_from=%s what=\"none of the members known here "
              "leads; a snapshot of one that does is fetched\"",
              n->news.guest.name);
}

void news_tick(struct node *n)
{
    bool has_leader = !n->driver || driver_view(n->driver)->leader != 0;
    if (has_leader)
        n->news.leaderless_ns = 0;
    else if (n->news.leaderless_ns == 0)
        n->news.leaderless_ns = clock_now_ns();
    if (n->news.is_new)
        seat_guest(n);
    if (!n->news.guest.node_id)
        return;
    struct transport_peer_view peer = {0};
    if (n->news.seat < MEMBERS_MAX)
        transport_view(n->transport, n->news.seat, &peer);
    if (peer.connected)
        n->news.met_ns = clock_now_ns();
    if (peer.connected && is_leaderless(n))
        snapshot_receive_want(n->snapshot_receive, n->news.guest.node_id, clock_now_ns());
    if (clock_now_ns() - n->news.met_ns < NEWS_NS)
        return;
    news_forget(n); /* it died: the next one that comes may have the news too */
    tell_transport(n);
}

bool news_is_wanted(const struct node *n)
{
    return n->news.guest.node_id && is_leaderless(n);
}
