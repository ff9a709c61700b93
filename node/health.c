#include "node/health.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "fs/damage.h"

static struct reason *add_reason(struct health *h, const char *code, const char *what_to_do)
{
    struct reason *r = &h->reasons[h->reason_count < REASONS_MAX ? h->reason_count++ : 0];
    *r = (struct reason){.code = code, .what_to_do = what_to_do};
    return r;
}

bool health_connected(const struct node *n, uint32_t seat, struct transport_peer_view *peer)
{
    *peer = (struct transport_peer_view){0};
    if (seat == n->self)
        return true;
    transport_view(n->transport, seat, peer);
    return peer->connected;
}

/* A learner may be away: the others do without it. */
static void judge_member(const struct node *n, struct health *h, uint32_t seat)
{
    struct transport_peer_view peer;
    const struct member *m = &n->membership.members[seat];
    if (!health_connected(n, seat, &peer) && (m->role != MEMBER_LEARNER || m->was_voter)) {
        struct reason *r = add_reason(h, "member_unreachable",
                                      "start paxfsd there, or look at the network between");
        snprintf(r->text, sizeof r->text, "%s is not connected: %s", m->name, peer.last_error);
    }
    if (n->members[seat].diverged) {
        struct reason *r =
            add_reason(h, "digest_differs",
                       "wait: the one that most differ from gets its state anew; if that "
                       "does not come, keep both directories for a report");
        snprintf(r->text, sizeof r->text, "the state of %s differs from this host's", m->name);
    }
    if (seat != n->self && n->members[seat].status.disk_short) {
        struct reason *r = add_reason(h, "disk_short", "make room on the disk of that host");
        snprintf(r->text, sizeof r->text, "the disk of %s is full: it takes no part", m->name);
    }
    if (n->strangers & UINT32_C(1) << seat) {
        struct reason *r =
            add_reason(h, "identity_changed",
                       "put back its old state directory, or replace it: paxfs member replace");
        snprintf(r->text, sizeof r->text, "%s came with a state directory made anew", m->name);
    }
}

uint32_t health_connected_of(const struct node *n, uint32_t voters)
{
    uint32_t mask = 0;
    struct transport_peer_view peer;
    NODE_EACH_SEAT (n, i)
        mask |= (uint32_t)health_connected(n, i, &peer) << i;
    return mask & voters;
}

int health_can_lose(const struct node *n, uint32_t voters)
{
    int needed = __builtin_popcount(voters) / 2 + 1;
    int spare = __builtin_popcount(health_connected_of(n, voters)) - needed;
    return spare < 0 ? -1 : spare;
}

static void judge_members(const struct node *n, struct health *h)
{
    uint32_t voters = members_voters(n);
    NODE_EACH_SEAT (n, i)
        judge_member(n, h, i);
    if (health_can_lose(n, voters) < 0) {
        struct reason *r =
            add_reason(h, "no_majority", "start more of the hosts; calls wait for it");
        snprintf(r->text, sizeof r->text,
                 "%d of %d voters are connected: too few to decide "
                 "anything",
                 __builtin_popcount(health_connected_of(n, voters)), __builtin_popcount(voters));
    }
    if (n->listen_error) {
        struct reason *r =
            add_reason(h, "listen_failed", "give this host that address, or free the port");
        snprintf(r->text, sizeof r->text, "this host cannot listen on its new address %s: %s",
                 n->membership.members[n->self].address, strerror(-n->listen_error));
    }
}

static void judge_state(const struct node *n, struct health *h)
{
    struct store_damage damage;
    if (n->quarantine.is_on) {
        struct reason *r = add_reason(h, "quarantined",
                                      "nothing: it gets the files from another host, and then "
                                      "answers again; look at its disk and memory");
        snprintf(r->text, sizeof r->text, "this host's state is set aside: %s",
                 n->quarantine.reason);
    } else if (store_damage(n->store, &damage)) {
        struct reason *r = add_reason(h, "damaged",
                                      "start the other hosts, so that it can get the files anew; "
                                      "alone: put back a backup");
        snprintf(r->text, sizeof r->text, "damaged here, and not given out: %s", damage.first);
    }
}

void health_judge(const struct node *n, struct health *h)
{
    *h = (struct health){0};
    if (!n->driver) {
        struct reason *r = add_reason(
            h, "not_formed", "start paxfsd on every host once, so that they learn who they are");
        snprintf(r->text, sizeof r->text, "the members have not all met yet");
    }
    judge_members(n, h);
    if (n->disk.is_short) {
        struct reason *r = add_reason(h, "disk_short",
                                      "make room there; it then goes on by itself, and calls "
                                      "on its mount wait until then");
        snprintf(r->text, sizeof r->text,
                 "the disk of %.100s has %llu MiB left, less than %llu: this host takes no part",
                 n->state_dir, (unsigned long long)(n->disk.available / MIB),
                 (unsigned long long)(n->disk.shares.floor / MIB));
    }
    const struct paxos_view *view = n->driver ? driver_view(n->driver) : NULL;
    judge_state(n, h);
    if (view && view->needs_snapshot) {
        struct reason *r = add_reason(h, "needs_snapshot", "wait: it fetches the files");
        snprintf(r->text, sizeof r->text, "this host has yet to get another one's state");
    }
    if (view && view->leader == 0) {
        struct reason *r = add_reason(h, "no_leader", "wait a moment; else start more hosts");
        snprintf(r->text, sizeof r->text, "no leader is known here");
    }
    h->works = view && view->leader != 0 && !n->disk.is_short &&
               (view->role != ROLE_LEADER || view->serving_until_ns > clock_now_ns());
    h->is_degraded = h->reason_count > 0;
}
