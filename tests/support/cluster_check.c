#include <inttypes.h>
#include <string.h>

#include "tests/support/cluster_internal.h"

static struct slot_record *record_of(struct cluster *c, uint64_t slot)
{
    while (c->slots.count <= slot)
        vector_push(&c->slots, (struct slot_record){0});
    return &c->slots.at[slot];
}

static bool is_same_command(const struct command *a, const struct command *b)
{
    return a->node == b->node && a->epoch == b->epoch && a->sequence == b->sequence &&
           a->size == b->size && (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

/* R1: at most one command is decided for a slot; and each node hands on every slot once, in order.
 */
void check_decision(struct cluster *c, struct sim_node *n, const struct pvalue *p)
{
    if (p->slot != n->decided_seen + 1)
        cluster_fail(c, "order: node %u decides slot %" PRIu64 " after %" PRIu64, n->index, p->slot,
                     n->decided_seen);
    n->decided_seen = p->slot;
    struct slot_record *r = record_of(c, p->slot);
    if (!r->decided.command) {
        r->decided = *p;
        command_ref(p->command);
    }
    if (!is_same_command(r->decided.command, p->command) || r->decided.time_ns != p->time_ns)
        cluster_fail(c,
                     "R1: slot %" PRIu64 " decided twice: op %" PRIu64 " and, by node %u, %" PRIu64,
                     p->slot, r->decided.command->size ? machine_op(r->decided.command) : 0,
                     n->index, p->command->size ? machine_op(p->command) : 0);
    if (p->slot > c->decided_max)
        c->decided_max = p->slot;
}

/* Applied prefixes agree; a command applies once; an increment begins after what was answered. */
void check_applied(struct cluster *c, struct sim_node *n, const struct pvalue *p,
                   struct machine_result r)
{
    struct slot_record *record = record_of(c, p->slot);
    if (record->is_applied) {
        if (record->hash != n->machine.hash)
            cluster_fail(c, "prefix: node %u differs after slot %" PRIu64, n->index, p->slot);
        return;
    }
    record->is_applied = true;
    record->hash = n->machine.hash;
    uint64_t op = p->command->size ? machine_op(p->command) : 0;
    if (op == 0 || r.verdict != SESSION_NEW)
        return;
    struct call *call = &c->calls.at[op - 1];
    if (++call->applied > 1)
        cluster_fail(c, "exactly once: op %" PRIu64 " applied again in slot %" PRIu64, op, p->slot);
    if (r.value <= call->floor)
        cluster_fail(c, "real time: op %" PRIu64 " gives %" PRIu64 ", began at %" PRIu64, op,
                     r.value, call->floor);
}

/* A promise never goes down, and whoever may answer reads knows every decision anyone knows. */
void check_step(struct cluster *c, struct sim_node *n)
{
    struct paxos_view v;
    paxos_view(n->paxos, &v);
    if (ballot_cmp(v.promised, n->promised_seen) < 0)
        cluster_fail(c, "A1: node %u promised %" PRIu64 ".%" PRIu64 " before", n->index,
                     n->promised_seen.round, n->promised_seen.leader);
    n->promised_seen = v.promised;
    if (v.decided != n->decided_seen)
        cluster_fail(c, "order: node %u says decided %" PRIu64 ", handed on %" PRIu64, n->index,
                     v.decided, n->decided_seen);
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        struct sim_node *m = &c->nodes[i];
        if (!m->up)
            continue;
        paxos_view(m->paxos, &v);
        if (v.serving_until_ns > node_clock_ns(c, m) && v.decided < c->decided_max)
            cluster_fail(c,
                         "lease: node %u serves reads at slot %" PRIu64 ", %" PRIu64 " is decided",
                         i, v.decided, c->decided_max);
    }
}

/* What is said of promises and votes must survive a crash: remember it. */
void check_message(struct cluster *c, struct sim_node *n, const struct message *m)
{
    (void)c;
    if (m->kind == MESSAGE_P1B && ballot_cmp(m->p1b.promised, n->promised_sent) > 0)
        n->promised_sent = m->p1b.promised;
    if (m->kind == MESSAGE_P1A && ballot_cmp(m->p1a.ballot, n->promised_sent) > 0)
        n->promised_sent = m->p1a.ballot;
    if (m->kind != MESSAGE_P2B)
        return;
    for (uint32_t i = 0; i < m->p2b.count; i++) {
        while (n->voted.count <= m->p2b.slots[i])
            vector_push(&n->voted, (struct ballot){0});
        n->voted.at[m->p2b.slots[i]] = m->p2b.asked;
    }
}

void check_recovered(struct cluster *c, struct sim_node *n, const struct paxos_recovered *r)
{
    if (ballot_cmp(r->promised, n->promised_sent) < 0)
        cluster_fail(c, "durable: node %u forgot its promise of %" PRIu64 ".%" PRIu64, n->index,
                     n->promised_sent.round, n->promised_sent.leader);
    for (uint64_t slot = r->applied + 1; slot < n->voted.count; slot++) {
        struct ballot voted = n->voted.at[slot];
        bool is_kept = ballot_is_bottom(voted);
        for (uint32_t i = 0; !is_kept && i < r->count; i++)
            is_kept =
                r->accepted[i].slot == slot && (ballot_is_bottom(r->accepted[i].ballot) ||
                                                ballot_cmp(r->accepted[i].ballot, voted) >= 0);
        if (!is_kept)
            cluster_fail(c, "durable: node %u forgot its vote for slot %" PRIu64, n->index, slot);
    }
}
