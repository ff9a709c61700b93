/* tests/exhaust/core.c: every history of the real core at small scope, breadth first.
 *
 *   exhaust_core [--deep] [--scope NAME]
 *
 * A scope begins with a cluster that has run in order for a while; from there on each step that is
 * possible is taken from each state: any message in flight arrives (in any order; one that never
 * does is lost), arrives and stays (a few times), a client submits, the time jumps, a node ticks, a
 * sync ends, a node crashes (what was not synced is gone) and restarts, a leader hands over. Each
 * event is followed by a flush, and messages to oneself arrive at once. Equal states are visited
 * once; so a scope is complete up to the depth it names. The first history that breaks an invariant
 * is a shortest one, and is printed.
 *
 * A node's memory, disk and all are one block, kept once however many states share it; a message
 * likewise. Pointers in the block are good because it is always put back at the same address. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "consensus/paxos_node.h"

enum {
    NODES_MAX = 4,
    SLOTS = SLOTS_HELD_MAX,
    COMMANDS = 6, /* number 1.. are clients'; the last one changes the voters */
    NET_MAX = 40,
    STATES_MAX = 1 << 22,
    SEEN_SIZE = 1 << 24,
    BLOCKS_MAX = 1 << 20,
    BLOCKS_SEEN = 1 << 22,
    LOCAL_MAX = 64,
};

#define KIND(k)      (UINT32_C(1) << MESSAGE_##k)
#define PREVOTES     (KIND(PREVOTE) | KIND(PREVOTE_ACK))
#define PHASE1       (KIND(P1A) | KIND(P1B))
#define PHASE2       (KIND(P2A) | KIND(P2B) | KIND(DECIDED))
#define HEARTBEATS   (KIND(HEARTBEAT) | KIND(HEARTBEAT_ACK))
#define READ_LEASES  (KIND(LEASE_ASK) | KIND(LEASE_GRANT) | KIND(LEASE_ACK))
#define NODE(i)      (UINT32_C(1) << (i))
#define RECONFIGURES (COMMANDS - 1)

struct scope {
    const char *name;
    void (*begin)(void); /* after the cluster has a leader: node 0 */
    bool (*point)(void); /* what it is about; a scope that never gets there shows nothing */
    uint32_t depth, depth_deep;
    uint32_t nodes;   /* those beyond the third are learners */
    uint32_t voters;  /* after command RECONFIGURES */
    uint32_t kinds;   /* messages of other kinds are lost */
    uint32_t tickers; /* who ticks after a jump */
    uint32_t jumps, crashes, repeats, handovers;
    uint64_t jump_ns;
    uint32_t crashers;
    bool syncs;   /* are steps of their own; else at once */
    bool applies; /* likewise */
    uint32_t submit_count;
    struct {
        uint32_t at, command;
    } submits[3];
};

/* ---- what a node is ---- */

struct disk {
    struct ballot promised;
    uint64_t decided;
    struct pvalue at[SLOTS + 1];
};

struct node {
    struct disk written, durable;
    uint64_t persists, synced; /* of this life */
    uint64_t life, applied, ticked_ns, reach;
    struct ballot promised_seen;
    uint64_t chosen[SLOTS + 1];  /* DECIDEs: command + 1 */
    uint64_t pending[SLOTS + 1]; /* by the effects of this life: command + 1 */
    struct paxos_view view;
};

struct packet {
    uint32_t from, to;
    struct message m;
    struct pvalue pvalues[ENTRIES_MAX];
    uint64_t slots[ENTRIES_MAX];
    struct command *commands[ENTRIES_MAX];
    struct holder holders[MEMBERS_MAX];
};

struct flight {
    uint32_t packet;
    uint32_t after; /* a PERSIST of the sender; 0: has left */
};

struct state {
    uint32_t nodes[NODES_MAX]; /* blocks */
    uint32_t net_count;
    uint32_t jumps, crashes, repeats, handovers, submits;
    uint64_t now_ns;
    uint64_t decided[SLOTS + 1]; /* command + 1; by anyone, ever */
    struct flight net[NET_MAX];
    uint32_t parent, label;
};

static const struct scope *scope;
static struct command commands[COMMANDS];
static struct effects effects;

/* The state at hand. */
static void *memory[NODES_MAX]; /* struct node, then struct paxos */
static struct node *nodes[NODES_MAX];
static struct paxos *cores[NODES_MAX];
static struct state now;
static uint32_t touched; /* mask: nodes to be kept again */
static uint32_t lossy;   /* kinds to keep */
static const char *broken;
static uint64_t overflows, points;

static uint64_t hash_bytes(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    uint64_t h = UINT64_C(0x9e3779b97f4a7c15) ^ size;
    for (; size >= 8; size -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    for (; size > 0; size--)
        h = (h ^ *at++) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 29;
}

/* ---- blocks kept once ---- */

struct store {
    uint32_t count;
    void *blocks[BLOCKS_MAX];
    uint32_t seen[BLOCKS_SEEN]; /* index + 1 */
    uint64_t hashes[BLOCKS_MAX];
};

static struct store node_store, packet_store;

static uint32_t keep(struct store *s, const void *bytes, size_t size)
{
    uint64_t hash = hash_bytes(bytes, size);
    uint64_t at = hash % BLOCKS_SEEN;
    for (; s->seen[at]; at = (at + 1) % BLOCKS_SEEN) {
        uint32_t found = s->seen[at] - 1;
        if (s->hashes[found] == hash && memcmp(s->blocks[found], bytes, size) == 0)
            return found;
    }
    ASSERT(s->count < BLOCKS_MAX);
    void *copy = malloc(size);
    ASSERT(copy != NULL);
    memcpy(copy, bytes, size);
    s->blocks[s->count] = copy;
    s->hashes[s->count] = hash;
    s->seen[at] = ++s->count;
    return s->count - 1;
}

static void drop_all(struct store *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        free(s->blocks[i]);
    memset(s, 0, sizeof *s);
}

static size_t node_size(void)
{
    return sizeof(struct node) + paxos_size();
}

static void load(const struct state *s)
{
    for (uint32_t i = 0; i < scope->nodes; i++) {
        if (now.nodes[i] != s->nodes[i] || touched & NODE(i))
            memcpy(memory[i], node_store.blocks[s->nodes[i]], node_size());
    }
    touched = 0;
    now = *s;
}

static void save(void)
{
    for (uint32_t i = 0; i < scope->nodes; i++) {
        if (!(touched & NODE(i)))
            continue;
        paxos_view(cores[i], &nodes[i]->view);
        now.nodes[i] = keep(&node_store, memory[i], node_size());
    }
    touched = 0;
}

/* ---- messages ---- */

static size_t body_size(enum message_kind kind)
{
    static const struct message *m;
    static const size_t sizes[MESSAGE_KIND_COUNT] = {
        [MESSAGE_PREVOTE] = sizeof m->prevote,
        [MESSAGE_PREVOTE_ACK] = sizeof m->prevote_ack,
        [MESSAGE_P1A] = sizeof m->p1a,
        [MESSAGE_P1B] = sizeof m->p1b,
        [MESSAGE_P2A] = sizeof m->p2a,
        [MESSAGE_P2B] = sizeof m->p2b,
        [MESSAGE_DECIDED] = sizeof m->decided,
        [MESSAGE_HEARTBEAT] = sizeof m->heartbeat,
        [MESSAGE_HEARTBEAT_ACK] = sizeof m->heartbeat_ack,
        [MESSAGE_SUBMIT] = sizeof m->submit,
        [MESSAGE_READ] = sizeof m->read,
        [MESSAGE_READ_ACK] = sizeof m->read_ack,
        [MESSAGE_FETCH] = sizeof m->fetch,
        [MESSAGE_DECISIONS] = sizeof m->decisions,
        [MESSAGE_RELEASE] = sizeof m->release,
        [MESSAGE_LEASE_ASK] = sizeof m->lease_ask,
        [MESSAGE_LEASE_GRANT] = sizeof m->lease_grant,
        [MESSAGE_LEASE_ACK] = sizeof m->lease_ack,
    };
    return sizes[kind];
}

static void take_pvalues(struct packet *p, struct pvalue **pvalues, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        p->pvalues[i] = (*pvalues)[i];
    *pvalues = NULL;
}

static void take_holders(struct packet *p, struct holder **holders, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        p->holders[i] = (*holders)[i];
    *holders = NULL;
}

/* A copy that says the same as any equal message: arrays inside, no pointer to them. */
static uint32_t packet_keep(uint32_t from, uint32_t to, const struct message *m)
{
    struct packet p;
    memset(&p, 0, sizeof p);
    p.from = from;
    p.to = to;
    p.m.kind = m->kind;
    memcpy(&p.m.prevote, &m->prevote, body_size(m->kind));
    if (m->kind == MESSAGE_P1B) {
        take_pvalues(&p, &p.m.p1b.pvalues, m->p1b.count);
        take_holders(&p, &p.m.p1b.holders, m->p1b.holder_count);
    } else if (m->kind == MESSAGE_P2A) {
        take_pvalues(&p, &p.m.p2a.pvalues, m->p2a.count);
    } else if (m->kind == MESSAGE_DECISIONS) {
        take_pvalues(&p, &p.m.decisions.pvalues, m->decisions.count);
    } else if (m->kind == MESSAGE_RELEASE) {
        take_holders(&p, &p.m.release.holders, m->release.holder_count);
    } else if (m->kind == MESSAGE_P2B) {
        for (uint32_t i = 0; i < m->p2b.count; i++)
            p.slots[i] = m->p2b.slots[i];
        p.m.p2b.slots = NULL;
    } else if (m->kind == MESSAGE_SUBMIT) {
        for (uint32_t i = 0; i < m->submit.count; i++)
            p.commands[i] = m->submit.commands[i];
        p.m.submit.commands = NULL;
    }
    return keep(&packet_store, &p, sizeof p);
}

static struct packet packet_of(uint32_t index)
{
    struct packet p;
    memcpy(&p, packet_store.blocks[index], sizeof p);
    return p;
}

/* @p's message, its arrays in @p. */
static const struct message *message_of(struct packet *p)
{
    if (p->m.kind == MESSAGE_P1B) {
        p->m.p1b.pvalues = p->pvalues;
        p->m.p1b.holders = p->holders;
    } else if (p->m.kind == MESSAGE_P2A) {
        p->m.p2a.pvalues = p->pvalues;
    } else if (p->m.kind == MESSAGE_DECISIONS) {
        p->m.decisions.pvalues = p->pvalues;
    } else if (p->m.kind == MESSAGE_RELEASE) {
        p->m.release.holders = p->holders;
    } else if (p->m.kind == MESSAGE_P2B) {
        p->m.p2b.slots = p->slots;
    } else if (p->m.kind == MESSAGE_SUBMIT) {
        p->m.submit.commands = p->commands;
    }
    return &p->m;
}

/* ---- who governs ---- */

static uint64_t number_of(const struct command *c)
{
    return command_is_noop(c) ? COMMANDS + 1 : (uint64_t)(c - commands) + 1;
}

static struct configuration configuration_after(const uint64_t *chosen, uint64_t applied)
{
    uint64_t ids[NODES_MAX] = {1, 2, 3, 4};
    struct configuration c = configuration_of(ids, 3);
    for (uint32_t i = 3; i < scope->nodes; i++)
        c.members[i] = ids[i];
    for (uint64_t slot = 1; slot <= applied; slot++) {
        if (chosen[slot] == RECONFIGURES + 1 && c.voters != scope->voters) {
            c.voters = scope->voters;
            c.from = slot + WINDOW;
        }
    }
    return c;
}

/* ---- invariants ---- */

static void check_r1_one_command_per_slot(uint64_t slot, uint64_t number)
{
    if (now.decided[slot] && now.decided[slot] != number)
        broken = "two decisions for one slot";
    now.decided[slot] = number;
}

static uint64_t decided_in_order(void)
{
    uint64_t floor = 0;
    while (floor < SLOTS && now.decided[floor + 1])
        floor++;
    return floor;
}

/* Counts by itself: what the core counts with is what is checked. */
static void check_decided_survives(uint64_t floor)
{
    struct configuration c = configuration_after(now.decided, floor);
    for (uint64_t slot = 1; slot <= SLOTS; slot++) {
        uint32_t voters = slot < c.from ? c.voters_before : c.voters, held = 0;
        for (uint32_t i = 0; now.decided[slot] && i < scope->nodes; i++) {
            const struct pvalue *v = &nodes[i]->durable.at[slot];
            if (v->command && number_of(v->command) == now.decided[slot] && voters & NODE(i))
                held++;
        }
        if (now.decided[slot] && 2 * held <= (uint32_t)__builtin_popcount(voters))
            broken = "a decided slot is not on the disks of a majority of its voters";
    }
}

static void check_reads(uint32_t i, uint64_t floor)
{
    const struct node *n = nodes[i];
    if (n->view.serving_until_ns > now.now_ns && n->view.decided < floor)
        broken = "a leader serves reads below a decided slot";
    if (n->view.lease.until_ns <= now.now_ns || n->applied < n->view.lease.bound)
        return;
    for (uint64_t slot = n->applied + 1; slot <= floor; slot++) {
        if (n->pending[slot] != now.decided[slot])
            broken = "a holder may serve although a slot it was not told of is decided";
    }
}

static void check_promise(uint32_t i)
{
    struct node *n = nodes[i];
    if (ballot_cmp(n->view.promised, n->promised_seen) < 0)
        broken = "a promise went down";
}

/* An answer that has left is on the disk it speaks for. */
static void check_answer(const struct packet *p)
{
    const struct disk *d = &nodes[p->from]->durable;
    if (p->m.kind == MESSAGE_P1B && ballot_cmp(p->m.p1b.promised, d->promised) > 0)
        broken = "a p1b left before its promise was durable";
    if (p->m.kind != MESSAGE_P2B)
        return;
    for (uint32_t i = 0; i < p->m.p2b.count; i++) {
        const struct pvalue *v = &d->at[p->slots[i]];
        bool is_there = v->command &&
                        (ballot_is_bottom(v->ballot) || ballot_cmp(v->ballot, p->m.p2b.asked) >= 0);
        if (!is_there)
            broken = "a p2b left before its vote was durable";
    }
}

static void check_state(void)
{
    uint64_t floor = decided_in_order();
    check_decided_survives(floor);
    for (uint32_t i = 0; i < scope->nodes; i++) {
        check_reads(i, floor);
        check_promise(i);
    }
}

/* ---- the world around a core ---- */

struct local {
    uint32_t count;
    uint32_t packets[LOCAL_MAX];
};

static void raise_promise(struct disk *d, struct ballot ballot)
{
    if (ballot_cmp(ballot, d->promised) > 0)
        d->promised = ballot;
}

static void persist(struct node *n, const struct persist *p)
{
    struct disk *d = &n->written;
    n->persists = p->number;
    if (p->kind == PERSIST_PROMISE) {
        raise_promise(d, p->ballot);
    } else if (p->kind == PERSIST_DECIDED) {
        if (p->slot > d->decided)
            d->decided = p->slot;
    } else {
        ASSERT(p->pvalue.slot <= SLOTS);
        d->at[p->pvalue.slot] = p->pvalue;
        n->pending[p->pvalue.slot] = number_of(p->pvalue.command);
        if (p->kind == PERSIST_ACCEPT)
            raise_promise(d, p->pvalue.ballot);
        else
            d->at[p->pvalue.slot].ballot = (struct ballot){0};
    }
}

static void into_flight(uint32_t packet, uint64_t after)
{
    for (uint32_t i = 0; i < now.net_count; i++) {
        if (now.net[i].packet == packet)
            return; /* twice the same: once, which may arrive again */
    }
    if (now.net_count == NET_MAX) {
        overflows++;
        return;
    }
    now.net[now.net_count++] = (struct flight){packet, (uint32_t)after};
}

static void send_out(uint32_t from, const struct send *send, struct local *local)
{
    struct node *n = nodes[from];
    uint64_t after = scope->syncs && send->after > n->synced ? send->after : 0;
    for (uint32_t to = 0; to < scope->nodes; to++) {
        if (!(send->to & NODE(to)))
            continue;
        if (to != from && !(lossy & UINT32_C(1) << send->message.kind))
            continue;
        uint32_t packet = packet_keep(from, to, &send->message);
        if (to != from || after) {
            into_flight(packet, after);
        } else {
            ASSERT(local->count < LOCAL_MAX);
            local->packets[local->count++] = packet;
        }
    }
}

static void sync_disk(uint32_t i)
{
    struct node *n = nodes[i];
    n->durable = n->written;
    n->synced = n->persists;
    for (uint32_t k = 0; k < now.net_count; k++) {
        if (now.net[k].after && packet_of(now.net[k].packet).from == i)
            now.net[k].after = 0;
    }
}

static void step(uint32_t i, struct event *event, struct local *local)
{
    struct node *n = nodes[i];
    touched |= NODE(i);
    event->now_ns = event->wall_ns = now.now_ns;
    effects_clear(&effects);
    paxos_step(cores[i], event, &effects);
    for (uint32_t k = 0; k < effects.count; k++) {
        const struct effect *e = &effects.list[k];
        if (e->kind == EFFECT_PERSIST)
            persist(n, &e->persist);
        else if (e->kind == EFFECT_DECIDE && e->decide.slot <= SLOTS) {
            uint64_t number = number_of(e->decide.command);
            n->chosen[e->decide.slot] = number;
            n->reach = e->decide.slot;
            check_r1_one_command_per_slot(e->decide.slot, number);
        }
    }
    if (!scope->syncs)
        sync_disk(i);
    for (uint32_t k = 0; k < effects.count; k++) {
        if (effects.list[k].kind == EFFECT_SEND)
            send_out(i, &effects.list[k].send, local);
    }
    paxos_view(cores[i], &n->view);
    check_promise(i);
    n->promised_seen = n->view.promised;
}

static void apply_decided(uint32_t i, struct local *local)
{
    struct node *n = nodes[i];
    struct configuration before = configuration_after(n->chosen, n->applied);
    n->applied = n->reach;
    struct configuration after = configuration_after(n->chosen, n->applied);
    if (memcmp(&before, &after, sizeof after) != 0)
        step(i, &(struct event){.kind = EVENT_CONFIGURE, .configure = &after}, local);
    step(i, &(struct event){.kind = EVENT_APPLIED, .applied = {.applied = n->applied}}, local);
    touched |= NODE(i);
}

/* One event, the flush after it, and what follows from both inside the node. */
static void drive(uint32_t i, struct event *event)
{
    struct local local = {0};
    if (event)
        step(i, event, &local);
    for (uint32_t k = 0;; k++) {
        if (!scope->applies && nodes[i]->reach > nodes[i]->applied)
            apply_decided(i, &local);
        step(i, &(struct event){.kind = EVENT_FLUSH}, &local);
        if (k >= local.count)
            break;
        struct packet p = packet_of(local.packets[k]);
        step(i,
             &(struct event){.kind = EVENT_MESSAGE,
                             .message = {.from = i, .message = message_of(&p)}},
             &local);
    }
}

static void boot(uint32_t i, bool fresh)
{
    struct node *n = nodes[i];
    uint64_t life = n->life + 1;
    struct disk disk = n->durable;
    memset(memory[i], 0, node_size());
    n->life = life;
    n->written = n->durable = disk;
    n->applied = n->reach = disk.decided;
    struct pvalue accepted[SLOTS];
    struct paxos_recovered r = {
        .promised = disk.promised, .applied = disk.decided, .accepted = accepted};
    for (uint64_t slot = 1; slot <= SLOTS; slot++) {
        if (!disk.at[slot].command)
            continue;
        n->pending[slot] = number_of(disk.at[slot].command);
        if (slot <= disk.decided)
            n->chosen[slot] = n->pending[slot];
        else
            accepted[r.count++] = disk.at[slot];
        if (slot == disk.decided)
            r.time_ns = disk.at[slot].time_ns;
    }
    struct paxos_config config = {.configuration = configuration_after(n->chosen, n->applied),
                                  .node = i + 1,
                                  .life = life,
                                  .seed = i + 1};
    cores[i] = paxos_init((char *)memory[i] + sizeof(struct node), &config, &r, fresh, now.now_ns);
    touched |= NODE(i);
    paxos_view(cores[i], &n->view);
    n->promised_seen = n->view.promised;
}

/* ---- steps ---- */

enum action {
    DELIVER,
    REPEAT,
    SUBMIT,
    JUMP,
    TICK,
    SYNC,
    CRASH,
    HANDOVER,
    APPLY,
};

static void tick(uint32_t i)
{
    nodes[i]->ticked_ns = now.now_ns;
    drive(i, &(struct event){.kind = EVENT_TICK});
}

static void deliver(uint32_t index, bool stays)
{
    struct packet p = packet_of(now.net[index].packet);
    if (!stays)
        now.net[index] = now.net[--now.net_count];
    check_answer(&p);
    drive(p.to, &(struct event){.kind = EVENT_MESSAGE,
                                .message = {.from = p.from, .message = message_of(&p)}});
}

static void crash(uint32_t i)
{
    uint32_t kept = 0;
    for (uint32_t k = 0; k < now.net_count; k++) {
        if (!now.net[k].after || packet_of(now.net[k].packet).from != i)
            now.net[kept++] = now.net[k];
    }
    now.net_count = kept;
    boot(i, ballot_is_bottom(nodes[i]->durable.promised));
}

static void submit(uint32_t at, uint32_t command)
{
    commands[command].node = at + 1;
    drive(at, &(struct event){.kind = EVENT_SUBMIT, .submit = &commands[command]});
}

static uint32_t label(enum action action, uint32_t detail)
{
    return (uint32_t)action << 24 | detail;
}

/* Whether @action is possible in `now`; if so, do it. @which: a message or a node. */
static bool act(enum action action, uint32_t which)
{
    struct node *n = nodes[which % NODES_MAX];
    switch (action) {
    case DELIVER:
        if (now.net[which].after)
            return false;
        now.label = label(action, now.net[which].packet);
        deliver(which, false);
        return true;
    case REPEAT:
        if (now.net[which].after || now.repeats == scope->repeats)
            return false;
        now.repeats++;
        now.label = label(action, now.net[which].packet);
        deliver(which, true);
        return true;
    case SUBMIT:
        if (now.submits == scope->submit_count || scope->submits[now.submits].at != which)
            return false;
        now.submits++;
        submit(which, scope->submits[now.submits - 1].command);
        break;
    case JUMP:
        if (which != 0 || now.jumps == scope->jumps)
            return false;
        now.jumps++;
        now.now_ns += scope->jump_ns;
        break;
    case TICK:
        if (!(scope->tickers & NODE(which)) || n->ticked_ns == now.now_ns)
            return false;
        tick(which);
        break;
    case SYNC:
        if (n->synced == n->persists)
            return false;
        touched |= NODE(which);
        sync_disk(which);
        drive(which, NULL);
        break;
    case CRASH:
        if (!(scope->crashers & NODE(which)) || now.crashes == scope->crashes)
            return false;
        now.crashes++;
        crash(which);
        break;
    case HANDOVER:
        if (n->view.role != ROLE_LEADER || now.handovers == scope->handovers)
            return false;
        now.handovers++;
        drive(which, &(struct event){.kind = EVENT_HANDOVER});
        break;
    case APPLY: {
        if (n->reach == n->applied)
            return false;
        struct local local = {0};
        apply_decided(which, &local);
        drive(which, NULL);
        break;
    }
    }
    now.label = label(action, which);
    return true;
}

/* ---- the search ---- */

static struct state *states;
static uint32_t state_count;
static uint64_t seen[SEEN_SIZE];

static int flight_cmp(const void *a, const void *b)
{
    const struct flight *x = a, *y = b;
    return x->packet < y->packet ? -1 : x->packet > y->packet;
}

/* Add `now`; false: it is known, or there is no room. */
static bool add_state(void)
{
    save();
    qsort(now.net, now.net_count, sizeof *now.net, flight_cmp);
    memset(now.net + now.net_count, 0, (NET_MAX - now.net_count) * sizeof *now.net);
    uint64_t hash = hash_bytes(&now, offsetof(struct state, parent)) | 1;
    uint64_t at = hash % SEEN_SIZE;
    for (; seen[at]; at = (at + 1) % SEEN_SIZE) {
        if (seen[at] == hash)
            return false;
    }
    seen[at] = hash;
    states[state_count++] = now;
    return true;
}

static void describe(uint32_t what)
{
    static const char *const actions[] = {
        "arrives:", "arrives and stays:", "submits", "time jumps", "ticks", "syncs",
        "crashes",  "hands over",         "applies"};
    static const char *const kinds[MESSAGE_KIND_COUNT] = {
        "prevote", "prevote_ack", "p1a",           "p1b",       "p2a",         "p2b",
        "decided", "heartbeat",   "heartbeat_ack", "submit",    "read",        "read_ack",
        "fetch",   "decisions",   "release",       "lease_ask", "lease_grant", "lease_ack"};
    enum action action = (enum action)(what >> 24);
    uint32_t detail = what & 0xffffff;
    if (action != DELIVER && action != REPEAT) {
        printf("node %u %s\n", detail, actions[action]);
        return;
    }
    struct packet p = packet_of(detail);
    struct ballot b = p.m.prevote.ballot; /* where all that have one begin with it */
    printf("%s %s %u -> %u (%" PRIu64 ".%" PRIu64 ")", actions[action], kinds[p.m.kind], p.from,
           p.to, b.round, b.leader);
    for (uint32_t i = 0; i < ENTRIES_MAX && p.pvalues[i].command; i++)
        printf(" slot %" PRIu64 "=c%" PRIu64, p.pvalues[i].slot, number_of(p.pvalues[i].command));
    for (uint32_t i = 0; i < ENTRIES_MAX && p.slots[i]; i++)
        printf(" slot %" PRIu64, p.slots[i]);
    printf("\n");
}

static void print_history(uint32_t parent, uint32_t last)
{
    uint32_t path[256], length = 0;
    for (uint32_t i = parent; i != 0 && length < ARRAY_COUNT(path); i = states[i].parent)
        path[length++] = states[i].label;
    for (uint32_t i = length; i > 0; i--) {
        printf("  %2u. ", length - i + 1);
        describe(path[i - 1]);
    }
    printf("  %2u. ", length + 1);
    describe(last);
}

static void try_action(uint32_t from, enum action action, uint32_t which)
{
    if (broken || state_count == STATES_MAX)
        return;
    load(&states[from]);
    if (!act(action, which))
        return;
    check_state();
    now.parent = from;
    if (broken)
        print_history(from, now.label);
    else if (add_state() && scope->point())
        points++;
}

static void expand(uint32_t from)
{
    uint32_t in_flight = states[from].net_count;
    for (uint32_t k = 0; k < in_flight; k++) {
        try_action(from, DELIVER, k);
        try_action(from, REPEAT, k);
    }
    for (uint32_t i = 0; i < scope->nodes; i++) {
        for (enum action a = SUBMIT; a <= APPLY; a++)
            try_action(from, a, i);
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* All in order, every message at once, for @ns. */
static void run_for(uint64_t ns)
{
    lossy = UINT32_MAX;
    for (uint64_t end_ns = now.now_ns + ns; now.now_ns < end_ns;) {
        now.now_ns += 20 * NS_PER_MS;
        for (uint32_t i = 0; i < scope->nodes; i++)
            tick(i);
        for (uint32_t k = 0; now.net_count > 0 && k < 1000; k++) {
            for (uint32_t i = 0; scope->syncs && i < scope->nodes; i++) {
                sync_disk(i);
                drive(i, NULL);
            }
            for (uint32_t i = 0; scope->applies && i < scope->nodes; i++)
                act(APPLY, i);
            if (now.net_count > 0)
                deliver(0, false);
        }
    }
    lossy = scope->kinds;
}

static void begin(void)
{
    memset(&now, 0, sizeof now);
    now.now_ns = 10 * NS_PER_S;
    for (uint32_t i = 0; i < COMMANDS; i++)
        commands[i] = (struct command){.refs = 1, .node = 1, .epoch = 1, .sequence = i + 1};
    for (uint32_t i = 0; i < scope->nodes; i++) {
        if (!memory[i])
            memory[i] = malloc(node_size());
        ASSERT(memory[i] != NULL);
        memset(memory[i], 0, node_size());
        nodes[i] = memory[i];
        boot(i, true);
    }
    lossy = scope->kinds;
    scope->begin();
}

static bool explore(const struct scope *s, uint32_t depth_max)
{
    double start = seconds();
    scope = s;
    broken = NULL;
    overflows = points = 0;
    state_count = 0;
    memset(seen, 0, sizeof seen);
    drop_all(&node_store);
    drop_all(&packet_store);
    begin();
    check_state();
    add_state();
    uint32_t depth = 0, layer = 0;
    while (layer < state_count && depth < depth_max && !broken && state_count < STATES_MAX) {
        uint32_t end = state_count;
        for (; layer < end; layer++)
            expand(layer);
        depth++;
    }
    if (!broken && points == 0)
        broken = "never got to its point";
    printf("%s: %s; %u states, %" PRIu64
           " of them to the point, depth %u%s; %u states of a node; %.1f s\n",
           s->name, broken ? broken : "holds", state_count, points, depth,
           state_count == STATES_MAX ? ", cut off"
           : layer == state_count    ? ", no more to see"
                                     : "",
           node_store.count, seconds() - start);
    if (overflows)
        printf("%s: %" PRIu64 " messages lost for want of room\n", s->name, overflows);
    fflush(stdout);
    return !broken;
}

/* ---- scopes ---- */

static void elect(void)
{
    for (uint32_t k = 0; k < 50 && nodes[0]->view.serving_until_ns == 0; k++)
        run_for(100 * NS_PER_MS);
    ASSERT(nodes[0]->view.role == ROLE_LEADER && nodes[0]->view.serving_until_ns != 0);
    now.net_count = 0;
}

/* Node 0 leads, and its p2a is under way. */
static void begin_in_flight(void)
{
    elect();
    submit(0, 0);
}

/* Slot 1 is lost on its way, slot 2 is not. */
static void begin_hole(void)
{
    elect();
    submit(0, 0);
    now.net_count = 0;
    submit(0, 1);
}

/* Deliver the messages of @kinds until there are none. */
static void deliver_kinds(uint32_t kinds)
{
    for (uint32_t i = 0; i < now.net_count;) {
        if (kinds & UINT32_C(1) << packet_of(now.net[i].packet).m.kind) {
            deliver(i, false);
            i = 0;
        } else {
            i++;
        }
    }
}

static void deliver_to(uint32_t to, enum message_kind kind)
{
    for (uint32_t i = 0; i < now.net_count; i++) {
        struct packet p = packet_of(now.net[i].packet);
        if (p.to != to || p.m.kind != kind)
            continue;
        deliver(i, false);
        return;
    }
    ASSERT(!"no such message");
}

/* Its prevotes are won and its p1as under way. */
static void run_alone(uint32_t candidate)
{
    now.now_ns += 2100 * NS_PER_MS;
    lossy |= PREVOTES;
    tick(candidate);
    deliver_kinds(PREVOTES);
    lossy = scope->kinds;
}

/* Slot 1 is on node 0 alone at its ballot; a no-op was accepted there by nodes 1 and 2 at that of
 * node 1, which may find it decided; and node 2 runs. */
static void begin_third_ballot(void)
{
    begin_hole();
    deliver_to(2, MESSAGE_P2A);
    now.net_count = 0;
    run_alone(1);
    deliver_to(2, MESSAGE_P1A);
    deliver_to(1, MESSAGE_P1B);
    deliver_to(2, MESSAGE_P2A);
    run_alone(2);
}

/* Node 0 was cut off with its p2a under way; the other two have their prevotes and run. */
static void begin_duel(void)
{
    elect();
    submit(0, 0);
    now.now_ns += 2100 * NS_PER_MS;
    lossy |= PREVOTES;
    tick(1);
    tick(2);
    deliver_kinds(PREVOTES);
    lossy = scope->kinds;
}

/* Node 0 has a p2a under way, its own vote not on disk yet, and has handed over to node 1. */
static void begin_handed_over(void)
{
    elect();
    submit(0, 0);
    drive(0, &(struct event){.kind = EVENT_HANDOVER});
    deliver_kinds(KIND(RELEASE));
    sync_disk(1);
    touched |= NODE(1);
    drive(1, NULL);
}

/* The others hold read leases. */
static void begin_leased(void)
{
    elect();
    for (uint32_t k = 0; k < 50 && nodes[2]->view.lease.until_ns < now.now_ns + 400 * NS_PER_MS;
         k++)
        run_for(20 * NS_PER_MS);
    ASSERT(nodes[1]->view.lease.until_ns > now.now_ns);
    ASSERT(nodes[2]->view.lease.until_ns > now.now_ns + 400 * NS_PER_MS);
}

static void begin_leased_handing_over(void)
{
    begin_leased();
    submit(0, 0);
    drive(0, &(struct event){.kind = EVENT_HANDOVER});
}

/* Node 3 takes the place of node 2: decided, known to the leader alone. */
static void begin_replace(void)
{
    elect();
    submit(0, RECONFIGURES);
    submit(0, 0);
    deliver_to(1, MESSAGE_P2A);
    deliver_to(0, MESSAGE_P2B);
}

static uint64_t decided_count(void)
{
    uint64_t count = 0;
    for (uint64_t slot = 1; slot <= SLOTS; slot++)
        count += now.decided[slot] != 0;
    return count;
}

/* Another than node 0 leads and decided something. */
static bool is_decided_by_another(void)
{
    bool is_other = false;
    for (uint32_t i = 1; i < scope->nodes; i++)
        is_other = is_other || (nodes[i]->view.role == ROLE_LEADER && nodes[i]->view.decided > 0);
    return is_other;
}

static bool is_decided_by_another_beyond_the_hole(void)
{
    return is_decided_by_another() && now.decided[2] != 0;
}

static bool is_decided_between_two_leaders(void)
{
    uint32_t leaders = 0;
    for (uint32_t i = 1; i < scope->nodes; i++)
        leaders += nodes[i]->view.role == ROLE_LEADER;
    return leaders == 2 && is_decided_by_another();
}

static bool is_decided_after_a_crash(void)
{
    return now.crashes > 0 && is_decided_by_another();
}

/* Under the new voters. */
static bool is_decided_after_the_change(void)
{
    struct configuration c = configuration_after(now.decided, SLOTS);
    return c.from != 0 && c.from <= SLOTS && now.decided[c.from] != 0;
}

/* Decided without the acknowledgement of a holder whose lease ran out, or with it. */
static bool is_decided_with_a_holder(void)
{
    bool is_held = false;
    for (uint32_t i = 0; i < scope->nodes; i++)
        is_held = is_held || nodes[i]->view.lease.until_ns > now.now_ns;
    return is_held && decided_count() > 0;
}

static bool is_decided_by_another_with_a_holder(void)
{
    return is_decided_by_another() && is_decided_with_a_holder();
}

static const struct scope scopes[] = {
    {.name = "leader_change",
     .begin = begin_in_flight,
     .point = is_decided_by_another,
     .depth = 13,
     .depth_deep = 18,
     .nodes = 3,
     .kinds = PREVOTES | PHASE1 | PHASE2,
     .tickers = NODE(1),
     .jumps = 1,
     .jump_ns = 2100 * NS_PER_MS},
    {.name = "hole",
     .begin = begin_hole,
     .point = is_decided_by_another_beyond_the_hole,
     .depth = 13,
     .depth_deep = 18,
     .nodes = 3,
     .kinds = PREVOTES | PHASE1 | PHASE2,
     .tickers = NODE(1),
     .jumps = 1,
     .jump_ns = 2100 * NS_PER_MS},
    {.name = "third_ballot",
     .begin = begin_third_ballot,
     .point = is_decided_by_another_beyond_the_hole,
     .depth = 13,
     .depth_deep = 18,
     .nodes = 3,
     .kinds = PHASE1 | PHASE2},
    {.name = "two_candidates",
     .begin = begin_duel,
     .point = is_decided_between_two_leaders,
     .depth = 11,
     .depth_deep = 14,
     .nodes = 3,
     .kinds = PHASE1 | PHASE2},
    {.name = "crash",
     .begin = begin_handed_over,
     .point = is_decided_after_a_crash,
     .depth = 12,
     .depth_deep = 16,
     .nodes = 3,
     .kinds = PHASE1 | PHASE2 | KIND(RELEASE),
     .crashes = 1,
     .crashers = NODE(0) | NODE(1) | NODE(2),
     .syncs = true},
    {.name = "replace",
     .begin = begin_replace,
     .point = is_decided_after_the_change,
     .depth = 9,
     .depth_deep = 11,
     .nodes = 4,
     .voters = NODE(0) | NODE(1) | NODE(3),
     .kinds = KIND(P2A) | KIND(P2B) | HEARTBEATS,
     .tickers = NODE(0),
     .jumps = 1,
     .jump_ns = 150 * NS_PER_MS},
    {.name = "read_lease",
     .begin = begin_leased,
     .point = is_decided_with_a_holder,
     .depth = 10,
     .depth_deep = 11,
     .nodes = 3,
     .kinds = PHASE2 | READ_LEASES,
     .tickers = NODE(0) | NODE(2),
     .jumps = 2,
     .jump_ns = 300 * NS_PER_MS,
     .applies = true,
     .submit_count = 1,
     .submits = {{0, 0}}},
    {.name = "read_lease_handed_over",
     .begin = begin_leased_handing_over,
     .point = is_decided_by_another_with_a_holder,
     .depth = 12,
     .depth_deep = 16,
     .nodes = 3,
     .kinds = PHASE1 | PHASE2 | KIND(LEASE_ACK) | KIND(RELEASE)},
};

int main(int argc, char **argv)
{
    bool is_deep = false, is_good = true;
    const char *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--deep") == 0)
            is_deep = true;
        else if (strcmp(argv[i], "--scope") == 0 && i + 1 < argc)
            only = argv[++i];
    }
    states = malloc(sizeof *states * STATES_MAX);
    ASSERT(states != NULL);
    for (size_t i = 0; i < ARRAY_COUNT(scopes); i++) {
        const struct scope *s = &scopes[i];
        if (!only || strcmp(only, s->name) == 0)
            is_good = explore(s, is_deep ? s->depth_deep : s->depth) && is_good;
    }
    free(states);
    return is_good ? 0 : 1;
}
