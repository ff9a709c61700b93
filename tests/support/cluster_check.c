#include <inttypes.h>
#include <string.h>

#include "tests/support/cluster_internal.h"

struct slot_record *check_record(struct cluster *c, uint64_t slot)
{
    while (c->slots.count <= slot)
        vector_push(&c->slots, (struct slot_record){0});
    return &c->slots.at[slot];
}

bool check_is_same(const struct command *a, const struct command *b)
{
    return a->node == b->node && a->epoch == b->epoch && a->sequence == b->sequence &&
           a->size == b->size && (a->size == 0 || memcmp(a->bytes, b->bytes, a->size) == 0);
}

static uint64_t op_of(const struct command *c)
{
    return command_is_noop(c) ? 0 : machine_change_of(c).op;
}

/* The voters that govern @slot, as the state machine's history has them. */
uint32_t check_governing(const struct cluster *c, uint64_t slot)
{
    size_t i = c->governing.count - 1;
    while (c->governing.at[i].from > slot)
        i--;
    return c->governing.at[i].voters;
}

/* Who says that it accepted what, to the leader of that ballot. */
void check_delivered(struct cluster *c, struct sim_node *n, uint32_t from, const struct message *m)
{
    observe_delivered(c, n, from, m);
    if (m->kind != MESSAGE_P2B || m->p2b.asked.leader != n->id ||
        ballot_cmp(m->p2b.asked, m->p2b.promised) != 0)
        return;
    for (uint32_t i = 0; i < m->p2b.count; i++) {
        struct tally *tallies = check_record(c, m->p2b.slots[i])->tallies, *t = &tallies[0];
        for (uint32_t k = 0; k < TALLIES; k++) { /* the same ballot's, else the lowest's place */
            if (ballot_cmp(tallies[k].ballot, m->p2b.asked) == 0) {
                t = &tallies[k];
                break;
            }
            if (ballot_cmp(tallies[k].ballot, t->ballot) < 0)
                t = &tallies[k];
        }
        if (ballot_cmp(t->ballot, m->p2b.asked) != 0)
            *t = (struct tally){.ballot = m->p2b.asked};
        t->nodes |= UINT32_C(1) << from;
    }
}

/* Whoever decides first has heard of a majority of the voters that govern the slot, at its ballot.
 */
static void check_quorum(struct cluster *c, const struct sim_node *n, const struct pvalue *p)
{
    uint64_t slot = p->slot;
    const struct tally *tallies = check_record(c, slot)->tallies;
    uint32_t voters = check_governing(c, slot);
    for (uint32_t k = 0; k < TALLIES; k++) {
        if (ballot_cmp(tallies[k].ballot, p->ballot) == 0 &&
            configuration_is_majority(tallies[k].nodes, voters))
            return;
    }
    cluster_fail(c,
                 "quorum: node %u decides slot %" PRIu64
                 " without a majority of the voters %#x that govern it",
                 n->index, slot, voters);
}

/* Nobody may still serve what was before a decision: whoever holds a read lease knows of it. */
static void check_holders(struct cluster *c, const struct sim_node *n, const struct pvalue *p)
{
    for (uint32_t i = 0; i < c->count; i++) {
        const struct sim_node *m = &c->nodes[i];
        if (!m->up || m == n || m->decided_seen >= p->slot)
            continue;
        struct paxos_view v;
        paxos_view(m->paxos, &v);
        if (v.lease.until_ns <= node_clock_ns(c, m) || v.lease.bound >= p->slot)
            continue;
        const struct command *held = node_pending(m, p->slot);
        if (!held || !check_is_same(held, p->command))
            cluster_fail(c,
                         "read lease: node %u decides slot %" PRIu64
                         ", which node %u with a lease does not have pending",
                         n->index, p->slot, i);
    }
}

/* Whoever may answer reads knows every decision that anyone knows. Looked at when either changes.
 */
static void check_serving(struct cluster *c, const struct sim_node *n)
{
    if (!n->up || !n->paxos)
        return;
    struct paxos_view v;
    paxos_view(n->paxos, &v);
    if (v.serving_until_ns > node_clock_ns(c, n) && v.decided < c->decided_max)
        cluster_fail(c, "lease: node %u serves reads at slot %" PRIu64 ", %" PRIu64 " is decided",
                     n->index, v.decided, c->decided_max);
    if (v.serving_until_ns > node_clock_ns(c, n))
        observe_serving(c, n, &v);
}

/* R1: at most one command is decided for a slot; and each node hands on every slot once, in order.
 */
void check_decision(struct cluster *c, struct sim_node *n, const struct pvalue *p)
{
    if (p->slot != n->decided_seen + 1)
        cluster_fail(c, "order: node %u decides slot %" PRIu64 " after %" PRIu64, n->index, p->slot,
                     n->decided_seen);
    n->decided_seen = p->slot;
    struct slot_record *r = check_record(c, p->slot);
    if (!r->decided.command) {
        r->decided = *p;
        command_ref(p->command);
        check_quorum(c, n, p);
        check_holders(c, n, p);
        observe_decision(c, n, p->slot);
    }
    if (!check_is_same(r->decided.command, p->command) || r->decided.time_ns != p->time_ns)
        cluster_fail(c,
                     "R1: slot %" PRIu64 " decided twice: op %" PRIu64 " and, by node %u, %" PRIu64,
                     p->slot, op_of(r->decided.command), n->index, op_of(p->command));
    if (p->slot > c->decided_max) {
        c->decided_max = p->slot;
        for (uint32_t i = 0; i < c->count; i++)
            check_serving(c, &c->nodes[i]);
    }
}

/* The history of who governs, for check_quorum(). A change waits for a window, and for the one
 * before. */
static void remember_governing(struct cluster *c, const struct machine *m)
{
    struct configuration configuration = membership_configuration(&m->membership);
    uint64_t before = c->governing.at[c->governing.count - 1].from;
    if (configuration.from == before)
        return;
    if (configuration.from != m->applied + WINDOW || m->applied < before)
        cluster_fail(c,
                     "R5: slot %" PRIu64 " changes the voters from slot %" PRIu64
                     " on, the change before from %" PRIu64 " on",
                     m->applied, configuration.from, before);
    struct governing g = {.from = configuration.from};
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (configuration.voters >> i & 1)
            g.voters |= UINT32_C(1) << cluster_node_of(c, configuration.members[i]);
    }
    vector_push(&c->governing, g);
    c->counts.changes++;
    cluster_trace(c, "voters %#x from slot %" PRIu64 " on", g.voters, g.from);
}

/* What a session's end has fenced never applies. */
static void check_not_expired(struct cluster *c, const struct pvalue *p)
{
    const struct command *command = p->command;
    if (command->epoch <= c->expired[cluster_node_of(c, command->node)])
        cluster_fail(c,
                     "session: slot %" PRIu64 " applies a command of epoch %" PRIu64
                     " of node %" PRIu64 ", which has expired",
                     p->slot, command->epoch, command->node);
}

/* Applied prefixes agree; a command applies once; an increment begins after what was answered. */
void check_applied(struct cluster *c, struct sim_node *n, const struct pvalue *p,
                   struct machine_result r)
{
    struct slot_record *record = check_record(c, p->slot);
    if (record->is_applied) {
        if (record->hash != n->machine.hash)
            cluster_fail(c, "prefix: node %u differs after slot %" PRIu64, n->index, p->slot);
        return;
    }
    record->is_applied = true;
    record->hash = n->machine.hash;
    remember_governing(c, &n->machine);
    uint64_t op = op_of(p->command);
    if (op == 0 || r.verdict != SESSION_NEW)
        return;
    struct call *call = &c->calls.at[op - 1];
    if (++call->applied > 1)
        cluster_fail(c, "exactly once: op %" PRIu64 " applied again in slot %" PRIu64, op, p->slot);
    enum machine_kind kind = call->change.kind;
    check_not_expired(c, p);
    if (kind == MACHINE_EXPIRE && r.value) {
        c->counts.expiries++;
        c->expired[cluster_node_of(c, call->change.arguments[0])] = call->change.arguments[1];
    }
    if (kind == MACHINE_INCREMENT && r.value <= call->floor)
        cluster_fail(c, "real time: op %" PRIu64 " gives %" PRIu64 ", began at %" PRIu64, op,
                     r.value, call->floor);
}

/* A promise never goes down. */
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
    check_serving(c, n);
}

/* What is said of promises and votes must survive a crash: remember it. */
void check_message(struct cluster *c, struct sim_node *n, const struct message *m)
{
    observe_sent(c, n, m);
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
