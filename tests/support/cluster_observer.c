/* tests/support/cluster_observer.c: what no node can see: all that was said, put together. It finds
 * a broken rule when it is broken, long before a history comes about in which that does harm. */
#include <inttypes.h>
#include <string.h>

#include "consensus/lease.h"
#include "tests/support/cluster_internal.h"

/* ---- proposals and votes ---- */

static struct proposal *proposal_of(struct cluster *c, uint64_t slot, struct ballot ballot)
{
    struct proposal *proposals = check_record(c, slot)->proposals;
    struct proposal *lowest = &proposals[0];
    for (uint32_t k = 0; k < TALLIES; k++) {
        if (ballot_cmp(proposals[k].ballot, ballot) == 0)
            return &proposals[k];
        if (ballot_cmp(proposals[k].ballot, lowest->ballot) < 0)
            lowest = &proposals[k];
    }
    if (lowest->command)
        command_unref(lowest->command);
    *lowest = (struct proposal){.ballot = ballot};
    return lowest;
}

void observer_forget(struct slot_record *r)
{
    for (uint32_t k = 0; k < TALLIES; k++) {
        if (r->proposals[k].command)
            command_unref(r->proposals[k].command);
    }
    if (r->chosen.command)
        command_unref(r->chosen.command);
}

static void check_proposal(struct cluster *c, const struct sim_node *n, struct ballot ballot,
                           const struct pvalue *p)
{
    struct proposal *known = proposal_of(c, p->slot, ballot);
    if (!known->command)
        known->command = command_ref(p->command);
    if (!check_is_same(known->command, p->command))
        cluster_fail(c, "ballot: node %u proposes two commands for slot %" PRIu64, n->index,
                     p->slot);
    const struct proposal *chosen = &check_record(c, p->slot)->chosen;
    if (chosen->command && ballot_cmp(ballot, chosen->ballot) > 0 &&
        !check_is_same(chosen->command, p->command))
        cluster_fail(c, "chosen: node %u proposes another command for slot %" PRIu64, n->index,
                     p->slot);
}

/* R5; and a majority of those who govern a slot promised and reported before it. */
static void check_may_propose(struct cluster *c, const struct sim_node *n, struct ballot ballot,
                              uint64_t slot)
{
    if (slot > n->told + WINDOW)
        cluster_fail(c, "R5: node %u proposes slot %" PRIu64 ", %" PRIu64 " is applied", n->index,
                     slot, n->told);
    uint32_t promised = ballot_cmp(n->scouted, ballot) == 0 ? n->reported : 0;
    if (!configuration_is_majority(promised, check_governing(c, slot)))
        cluster_fail(c, "phase 1: node %u proposes slot %" PRIu64 " without promises of its voters",
                     n->index, slot);
}

static void on_p2a(struct cluster *c, const struct sim_node *n, const struct message *m)
{
    for (uint32_t i = 0; i < m->p2a.count; i++) {
        check_proposal(c, n, m->p2a.ballot, &m->p2a.pvalues[i]);
        check_may_propose(c, n, m->p2a.ballot, m->p2a.pvalues[i].slot);
    }
}

/* A majority's votes choose a command, though nobody may know: no higher ballot has another. */
static void count_vote(struct cluster *c, const struct sim_node *n, struct ballot ballot,
                       uint64_t slot)
{
    struct proposal *p = proposal_of(c, slot, ballot);
    p->voted |= UINT32_C(1) << n->index;
    if (!p->command || !configuration_is_majority(p->voted, check_governing(c, slot)))
        return;
    struct slot_record *r = check_record(c, slot);
    for (uint32_t k = 0; k < TALLIES; k++) {
        const struct proposal *other = &r->proposals[k];
        if (other->command && ballot_cmp(other->ballot, ballot) > 0 &&
            !check_is_same(other->command, p->command))
            cluster_fail(c, "chosen: slot %" PRIu64 " below another proposal", slot);
    }
    if (r->chosen.command && ballot_cmp(r->chosen.ballot, ballot) <= 0)
        return;
    if (r->chosen.command)
        command_unref(r->chosen.command);
    r->chosen = *p;
    command_ref(p->command);
}

static void on_p2b(struct cluster *c, const struct sim_node *n, const struct message *m)
{
    for (uint32_t i = 0; i < m->p2b.count; i++)
        count_vote(c, n, m->p2b.asked, m->p2b.slots[i]);
}

/* What it voted for, and does not know decided, is in the report. */
static void on_p1b(struct cluster *c, const struct sim_node *n, const struct message *m)
{
    uint64_t slot = m->p1b.slot_first > m->p1b.collected ? m->p1b.slot_first : m->p1b.collected + 1;
    uint64_t end = m->p1b.slot_next != 0 ? m->p1b.slot_next : n->voted.count;
    if (ballot_cmp(m->p1b.asked, m->p1b.promised) != 0)
        return;
    for (; slot < end && slot < n->voted.count; slot++) {
        struct ballot voted = n->voted.at[slot];
        bool is_told = ballot_is_bottom(voted) || ballot_cmp(voted, m->p1b.asked) >= 0;
        for (uint32_t i = 0; !is_told && i < m->p1b.count; i++)
            is_told = m->p1b.pvalues[i].slot == slot;
        if (!is_told)
            cluster_fail(c, "report: node %u does not tell of its vote for slot %" PRIu64, n->index,
                         slot);
    }
}

static void on_decisions(struct cluster *c, const struct sim_node *n, const struct message *m)
{
    for (uint32_t i = 0; i < m->decisions.count; i++) {
        const struct pvalue *p = &m->decisions.pvalues[i];
        const struct command *decided = check_record(c, p->slot)->decided.command;
        if (!decided || !check_is_same(decided, p->command))
            cluster_fail(c, "fetch: node %u gives what slot %" PRIu64 " did not decide", n->index,
                         p->slot);
    }
}

void observe_persist(struct cluster *c, const struct sim_node *n, const struct persist *p)
{
    bool has_value = p->kind == PERSIST_ACCEPT || p->kind == PERSIST_DECISION;
    if (!has_value || p->pvalue.slot > n->decided_seen)
        return;
    const struct command *decided = check_record(c, p->pvalue.slot)->decided.command;
    if (decided && !check_is_same(decided, p->pvalue.command))
        cluster_fail(c, "log: node %u writes another command over slot %" PRIu64 ", decided",
                     n->index, p->pvalue.slot);
    if (p->kind == PERSIST_ACCEPT)
        cluster_fail(c, "log: node %u votes on slot %" PRIu64 ", which it knows decided", n->index,
                     p->pvalue.slot);
}

/* Before @slot is decided, the first that a change of voters governs, most of the new ones said
 * that they know what the old ones decided: those may stop now. */
static void check_heirs(struct cluster *c, const struct sim_node *n, uint64_t slot)
{
    uint32_t heirs = check_governing(c, slot), told = 0;
    if (slot == 1 || check_governing(c, slot - 1) == heirs)
        return;
    for (uint32_t i = 0; i < c->count; i++)
        told |= (uint32_t)(c->nodes[i].decided_told + 1 >= slot) << i;
    if (!configuration_is_majority(told, heirs))
        cluster_fail(c,
                     "heirs: node %u decides slot %" PRIu64 ", most who govern lack those before",
                     n->index, slot);
}

/* ---- leader leases ---- */

static void on_heartbeat_ack(struct sim_node *n, const struct message *m)
{
    if (m->heartbeat_ack.decided_through > n->decided_told)
        n->decided_told = m->heartbeat_ack.decided_through;
    bool is_released = ballot_cmp(m->heartbeat_ack.ballot, n->released) <= 0; /* it waited */
    uint32_t i = BEATS_KEPT;
    while (i > 0 && n->beats[i - 1].sent_ns != m->heartbeat_ack.sent_ns)
        i--;
    if (!m->heartbeat_ack.granted || i == 0 || is_released)
        return;
    uint64_t until_ns = n->beats[i - 1].ns + LEASE_GIVEN_NS;
    bool is_renewed = ballot_cmp(n->bound_to, m->heartbeat_ack.ballot) == 0;
    if (!is_renewed || until_ns > n->bound_until_ns)
        n->bound_until_ns = until_ns;
    n->bound_to = m->heartbeat_ack.ballot;
}

static void on_release(struct sim_node *n, const struct message *m)
{
    if (ballot_cmp(m->release.ballot, n->released) > 0)
        n->released = m->release.ballot;
    if (ballot_cmp(n->bound_to, m->release.ballot) == 0)
        n->bound_until_ns = 0;
}

/* A p2a is of a leader that others have promised already: it is followed under a lease too. */
static void check_promise(struct cluster *c, const struct sim_node *n, struct ballot promised)
{
    bool is_running = node_clock_ns(c, n) < n->bound_until_ns;
    if (is_running && ballot_cmp(promised, n->bound_to) > 0 && ballot_cmp(promised, n->led_by) > 0)
        cluster_fail(c, "lease: node %u promises %" PRIu64 ".%" PRIu64 " while its lease runs",
                     n->index, promised.round, promised.leader);
}

static uint64_t left_ns(uint64_t until_ns, uint64_t now_ns)
{
    return until_ns > now_ns ? until_ns - now_ns : 0;
}

/* Nodes that are bound to @ballot for @ns from now on at least: a crash does not free them. */
static uint32_t bound_to(const struct cluster *c, struct ballot ballot, uint64_t ns)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct sim_node *n = &c->nodes[i];
        bool is_bound = ballot_cmp(n->bound_to, ballot) == 0 &&
                        left_ns(n->bound_until_ns, node_clock_ns(c, n)) >= ns;
        mask |= (uint32_t)is_bound << i;
    }
    return mask;
}

/* The voters of the next slot are bound to who serves: they elect nobody else. */
void observe_serving(struct cluster *c, const struct sim_node *n, const struct paxos_view *v)
{
    uint32_t voters = check_governing(c, v->decided + 1);
    if (!configuration_is_majority(bound_to(c, v->ballot, 1), voters))
        cluster_fail(c, "lease: node %u serves, its voters are not bound to it", n->index);
}

/* A read lease that is out when @slot is decided outlasts no lease that binds the next one's
 * voters: else those could decide on without having heard of it. */
static void check_successors(struct cluster *c, const struct sim_node *n, uint64_t slot)
{
    uint64_t longest_ns = 0;
    if (check_governing(c, slot) == check_governing(c, slot + 1))
        return;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct sim_node *holder = &c->nodes[i];
        struct paxos_view v = {0};
        if (holder->up && holder != n)
            paxos_view(holder->paxos, &v);
        uint64_t ns = left_ns(v.lease.until_ns, node_clock_ns(c, holder));
        if (ns > longest_ns)
            longest_ns = ns;
    }
    struct paxos_view v;
    paxos_view(n->paxos, &v);
    uint32_t heirs = check_governing(c, slot + 1);
    if (longest_ns > 0 && !configuration_is_majority(bound_to(c, v.ballot, longest_ns), heirs))
        cluster_fail(c,
                     "read lease: node %u decides slot %" PRIu64
                     ", those who govern the next are not bound to it for as long",
                     n->index, slot);
}

void observe_decision(struct cluster *c, const struct sim_node *n, uint64_t slot)
{
    check_heirs(c, n, slot);
    check_successors(c, n, slot);
}

/* It ends with the leader's. */
static void on_grant(struct cluster *c, const struct sim_node *n, const struct message *m)
{
    struct paxos_view v;
    paxos_view(n->paxos, &v);
    if (node_clock_ns(c, n) + m->lease_grant.left_ns > v.serving_until_ns)
        cluster_fail(c, "read lease: node %u grants one that outlives its own", n->index);
}

/* What a holder acknowledges is pending there as the leader of that ballot proposed it. */
static void on_lease_ack(struct cluster *c, const struct sim_node *n, const struct message *m)
{
    struct paxos_view v;
    paxos_view(n->paxos, &v);
    if (v.lease.until_ns <= node_clock_ns(c, n))
        return;
    uint64_t slot = n->decided_seen + 1;
    for (; slot <= m->lease_ack.through && slot < c->slots.count; slot++) {
        const struct command *held = node_pending(n, slot);
        const struct proposal *p = proposal_of(c, slot, m->lease_ack.ballot);
        if (check_record(c, slot)->decided.command)
            continue; /* what is decided needs no acknowledgement */
        if (p->command && (!held || !check_is_same(held, p->command)))
            cluster_fail(c,
                         "read lease: node %u acknowledges slot %" PRIu64
                         ", which it does not have pending",
                         n->index, slot);
    }
}

/* ---- messages ---- */

void observe_sent(struct cluster *c, struct sim_node *n, const struct message *m)
{
    if (m->kind == MESSAGE_P2A) {
        on_p2a(c, n, m);
    } else if (m->kind == MESSAGE_P2B) {
        on_p2b(c, n, m);
    } else if (m->kind == MESSAGE_P1B) {
        on_p1b(c, n, m);
        check_promise(c, n, m->p1b.promised);
    } else if (m->kind == MESSAGE_DECISIONS) {
        on_decisions(c, n, m);
    } else if (m->kind == MESSAGE_HEARTBEAT_ACK) {
        on_heartbeat_ack(n, m);
    } else if (m->kind == MESSAGE_RELEASE) {
        on_release(n, m);
    } else if (m->kind == MESSAGE_LEASE_GRANT) {
        on_grant(c, n, m);
    } else if (m->kind == MESSAGE_LEASE_ACK) {
        on_lease_ack(c, n, m);
    }
}

void observe_delivered(struct cluster *c, struct sim_node *n, uint32_t from,
                       const struct message *m)
{
    if (m->kind == MESSAGE_HEARTBEAT) {
        memmove(n->beats, n->beats + 1, sizeof n->beats - sizeof n->beats[0]);
        n->beats[BEATS_KEPT - 1].sent_ns = m->heartbeat.sent_ns;
        n->beats[BEATS_KEPT - 1].ns = node_clock_ns(c, n);
    }
    if (m->kind == MESSAGE_P2A && ballot_cmp(m->p2a.ballot, n->led_by) > 0)
        n->led_by = m->p2a.ballot;
    if (m->kind == MESSAGE_RELEASE)
        on_release(n, m);
    bool is_report = m->kind == MESSAGE_P1B && m->p1b.asked.leader == n->id &&
                     ballot_cmp(m->p1b.asked, m->p1b.promised) == 0 && m->p1b.slot_next == 0;
    if (!is_report || ballot_cmp(m->p1b.asked, n->scouted) < 0)
        return;
    if (ballot_cmp(m->p1b.asked, n->scouted) > 0)
        n->reported = 0;
    n->scouted = m->p1b.asked;
    n->reported |= UINT32_C(1) << from;
}
