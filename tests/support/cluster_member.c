#include <inttypes.h>
#include <string.h>

#include "tests/support/cluster_internal.h"

#define KEEPER_NS (100 * NS_PER_MS) /* the leader looks after the members this often */
enum { PROMOTE_LAG_MAX = 64 };

uint32_t cluster_count(const struct cluster *c)
{
    return c->count;
}

uint64_t cluster_id(const struct cluster *c, uint32_t node)
{
    return c->nodes[node].id;
}

uint32_t cluster_node_of(const struct cluster *c, uint64_t id)
{
    (void)c;
    return (uint32_t)(id - NODE_ID_FIRST);
}

bool cluster_is_gone(const struct cluster *c, uint32_t node)
{
    return c->nodes[node].is_gone;
}

struct cluster_counts cluster_counts(const struct cluster *c)
{
    return c->counts;
}

const struct membership *cluster_membership(const struct cluster *c)
{
    const struct machine *newest = &c->nodes[0].machine;
    for (uint32_t i = 1; i < c->count; i++) {
        if (c->nodes[i].machine.applied > newest->applied)
            newest = &c->nodes[i].machine;
    }
    return &newest->membership;
}

/* ---- coming ---- */

uint32_t cluster_add(struct cluster *c, uint32_t replaces)
{
    uint32_t i = cluster_new_node(c);
    if (i == MEMBERS_MAX)
        return i;
    c->joining[i] = (struct joining){.stage = JOIN_INVITE,
                                     .replaces = replaces < i ? c->nodes[replaces].id : 0};
    cluster_trace(c, "node %u is to join", i);
    return i;
}

bool cluster_is_joining(const struct cluster *c)
{
    uint32_t i = 0;
    while (i < c->count && (c->joining[i].stage != JOIN_INVITE && c->joining[i].stage != JOIN_COME))
        i++;
    return i < c->count;
}

static void submit_stage(struct cluster *c, struct sim_node *n, uint32_t index)
{
    struct joining *j = &c->joining[index];
    struct machine_change change = {.kind = j->stage == JOIN_INVITE ? MACHINE_INVITE : MACHINE_JOIN,
                                    .arguments = {c->nodes[index].id, j->replaces}};
    j->via = n->index;
    j->call = client_change(c, n, change);
}

static void come(struct cluster *c, const struct sim_node *via, uint32_t index)
{
    struct sim_node *n = &c->nodes[index];
    struct configuration seats = membership_configuration(&via->machine.membership);
    if (membership_has_retired(&via->machine.membership, n->id)) { /* before it ever ran */
        c->joining[index].stage = JOIN_GIVEN_UP;
        n->is_gone = true;
        return;
    }
    if (configuration_seat(&seats, n->id) == MEMBERS_MAX)
        return; /* that member crashed, and has not applied again what it had: ask once more */
    n->joined = seats;
    c->joining[index].stage = JOIN_DONE;
    cluster_trace(c, "node %u joins by node %u", index, via->index);
    node_boot(c, n);
}

static void end_stage(struct cluster *c, struct sim_node *via, uint32_t index, uint64_t verdict)
{
    struct joining *j = &c->joining[index];
    j->call = 0;
    if (verdict != MEMBERSHIP_DONE && verdict != MEMBERSHIP_ALREADY) {
        cluster_trace(c, "node %u may not join: %s", index,
                      membership_reason((enum membership_verdict)verdict));
        j->stage = JOIN_GIVEN_UP;
        c->nodes[index].is_gone = true;
    } else if (j->stage == JOIN_INVITE) {
        j->stage = JOIN_COME;
    } else {
        come(c, via, index);
    }
}

/* Whichever node comes first lets the others in; another one if that one fails. */
static void let_join(struct cluster *c, struct sim_node *n)
{
    for (uint32_t i = c->options.nodes; i < c->count; i++) {
        struct joining *j = &c->joining[i];
        if (j->stage != JOIN_INVITE && j->stage != JOIN_COME)
            continue;
        const struct call *call = j->call ? &c->calls.at[j->call - 1] : NULL;
        if (!call || call->state == CALL_LOST)
            submit_stage(c, n, i);
        else if (call->state == CALL_DONE && j->via == n->index)
            end_stage(c, n, i, call->value);
        else if (call->state == CALL_DONE && !c->nodes[j->via].up)
            j->call = 0; /* who knew the answer is down: ask again */
    }
}

/* ---- what the leader's node looks after ---- */

static bool is_caught_up(const struct cluster *c, const struct sim_node *n,
                         const struct paxos_view *v, uint32_t seat)
{
    uint64_t now_ns = node_clock_ns(c, n);
    return v->members[seat].heard_ns + NS_PER_S > now_ns &&
           v->members[seat].decided + PROMOTE_LAG_MAX >= v->decided;
}

/* A learner that is to vote, once it can. */
static bool find_promotion(const struct cluster *c, const struct sim_node *n,
                           const struct paxos_view *v, struct machine_change *change)
{
    const struct membership *m = &n->machine.membership;
    for (uint32_t seat = 0; n->machine.applied >= m->from && seat < MEMBERS_MAX; seat++) {
        const struct member *member = &m->members[seat];
        bool waits = member->role == MEMBER_LEARNER && member->wants_vote &&
                     v->configuration.members[seat] == member->node;
        if (!waits || !is_caught_up(c, n, v, seat))
            continue;
        *change = (struct machine_change){.kind = MACHINE_PROMOTE, .arguments = {member->node}};
        if (member->replaces)
            *change = (struct machine_change){.kind = MACHINE_REPLACE,
                                              .arguments = {member->replaces, member->node}};
        return true;
    }
    return false;
}

static bool is_silent(const struct cluster *c, const struct sim_node *n, const struct paxos_view *v,
                      uint64_t node)
{
    uint32_t seat = configuration_seat(&v->configuration, node);
    if (seat == MEMBERS_MAX)
        return true; /* no member: at once */
    uint64_t heard_ns = v->members[seat].heard_ns;
    if (heard_ns < n->leads_since_ns)
        heard_ns = n->leads_since_ns;
    return node != n->id && heard_ns + c->options.silence_ns < node_clock_ns(c, n);
}

static bool find_silent(const struct cluster *c, const struct sim_node *n,
                        const struct paxos_view *v, struct machine_change *change)
{
    for (uint32_t i = 0; c->options.silence_ns != 0 && i < SESSIONS_MAX; i++) {
        const struct session *s = &n->machine.sessions->sessions[i];
        if (s->node == 0 || s->is_expired || !is_silent(c, n, v, s->node))
            continue;
        *change = (struct machine_change){.kind = MACHINE_EXPIRE,
                                          .arguments = {s->node, s->epoch, session_highest(s)}};
        return true;
    }
    return false;
}

static void keep_members(struct cluster *c, struct sim_node *n)
{
    struct paxos_view v;
    paxos_view(n->paxos, &v);
    if (v.role != ROLE_LEADER) {
        n->leads_since_ns = 0;
        return;
    }
    if (n->leads_since_ns == 0)
        n->leads_since_ns = node_clock_ns(c, n);
    bool is_busy = n->keeper_call && c->calls.at[n->keeper_call - 1].state == CALL_OPEN;
    if (is_busy)
        return;
    client_open(c, n);
    struct machine_change change;
    if (find_promotion(c, n, &v, &change) || find_silent(c, n, &v, &change))
        n->keeper_call = client_change(c, n, change);
}

void member_on_tick(struct cluster *c, struct sim_node *n)
{
    if (c->count > c->options.nodes)
        let_join(c, n);
    if (c->now_ns < n->keeper_ns)
        return;
    n->keeper_ns = c->now_ns + KEEPER_NS;
    if (c->count > c->options.nodes || c->options.silence_ns != 0)
        keep_members(c, n);
}

/* ---- going ---- */

uint64_t cluster_remove(struct cluster *c, uint32_t via, uint32_t node)
{
    struct machine_change change = {.kind = MACHINE_REMOVE, .arguments = {c->nodes[node].id}};
    uint64_t call = client_change(c, &c->nodes[via], change);
    if (call)
        cluster_trace(c, "node %u is to be removed, says node %u", node, via);
    return call;
}

void cluster_lose(struct cluster *c, uint32_t node)
{
    cluster_crash(c, node);
    cluster_trace(c, "node %u is lost for ever", node);
    c->nodes[node].is_gone = true;
}

/* ---- the end ---- */

static bool is_member_settled(const struct member *member)
{
    return member->role != MEMBER_LEAVING && !member->wants_vote;
}

static bool is_node_settled(const struct cluster *c, const struct sim_node *n,
                            const struct membership *m)
{
    if (n->is_gone)
        return true;
    bool is_member = membership_seat(m, n->id) < MEMBERS_MAX;
    return n->up && is_member && n->machine.applied == c->decided_max &&
           (!c->clients_stopped || n->open.count == 0);
}

bool cluster_is_settled(const struct cluster *c)
{
    if (cluster_is_joining(c))
        return false;
    const struct membership *m = cluster_membership(c);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (m->members[i].node && !is_member_settled(&m->members[i]))
            return false;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (!is_node_settled(c, &c->nodes[i], m))
            return false;
    }
    return true;
}
