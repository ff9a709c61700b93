#include "tests/support/cluster_sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tests/support/cluster_internal.h"

#define TICK_NS (20 * NS_PER_MS)
#define NEWS_NS (5 * NS_PER_S)

enum { TRACE_LINES = 400 };

void *vector_grow(void *at, size_t *room, size_t count, size_t size)
{
    if (count < *room)
        return at;
    *room = *room ? 2 * *room : 16;
    at = realloc(at, *room * size);
    ASSERT(at != NULL);
    return at;
}

uint64_t cluster_between(struct cluster *c, uint64_t low, uint64_t high)
{
    return high > low ? low + prng_below(&c->prng, high - low) : low;
}

/* ---- packets ---- */

static struct pvalue *pvalues_of(struct message *m, uint32_t *count)
{
    *count = m->kind == MESSAGE_P1B         ? m->p1b.count
             : m->kind == MESSAGE_P2A       ? m->p2a.count
             : m->kind == MESSAGE_DECISIONS ? m->decisions.count
                                            : 0;
    return m->kind == MESSAGE_P1B         ? m->p1b.pvalues
           : m->kind == MESSAGE_P2A       ? m->p2a.pvalues
           : m->kind == MESSAGE_DECISIONS ? m->decisions.pvalues
                                          : NULL;
}

static struct holder **holders_of(struct message *m, uint32_t *count)
{
    *count = m->kind == MESSAGE_P1B       ? m->p1b.holder_count
             : m->kind == MESSAGE_RELEASE ? m->release.holder_count
                                          : 0;
    return m->kind == MESSAGE_P1B       ? &m->p1b.holders
           : m->kind == MESSAGE_RELEASE ? &m->release.holders
                                        : NULL;
}

struct packet *packet_new(const struct message *m)
{
    struct message copy = *m;
    uint32_t count;
    const struct pvalue *pvalues = pvalues_of(&copy, &count);
    size_t slots = m->kind == MESSAGE_P2B ? m->p2b.count * sizeof(uint64_t) : 0;
    size_t commands = m->kind == MESSAGE_SUBMIT ? m->submit.count * sizeof(struct command *) : 0;
    uint32_t holder_count;
    holders_of(&copy, &holder_count);
    size_t arrays = count * sizeof *pvalues + slots + commands;
    size_t holders = holder_count * sizeof(struct holder);
    struct packet *p = malloc(sizeof *p + arrays + holders);
    ASSERT(p != NULL);
    p->refs = 1;
    p->message = *m;
    if (count)
        memcpy(p->pvalues, pvalues, count * sizeof *pvalues);
    for (uint32_t i = 0; i < count; i++)
        command_ref(p->pvalues[i].command);
    if (m->kind == MESSAGE_P1B)
        p->message.p1b.pvalues = p->pvalues;
    if (m->kind == MESSAGE_P2A)
        p->message.p2a.pvalues = p->pvalues;
    if (m->kind == MESSAGE_DECISIONS)
        p->message.decisions.pvalues = p->pvalues;
    if (holders) {
        struct holder **to = holders_of(&p->message, &holder_count);
        *to = memcpy((uint8_t *)p->pvalues + arrays, *to, holders);
    }
    if (slots)
        p->message.p2b.slots = memcpy(p->pvalues, m->p2b.slots, slots);
    if (commands)
        p->message.submit.commands = memcpy(p->pvalues, m->submit.commands, commands);
    for (uint32_t i = 0; commands && i < m->submit.count; i++)
        command_ref(m->submit.commands[i]);
    return p;
}

void packet_unref(struct packet *p)
{
    if (--p->refs)
        return;
    uint32_t count;
    struct pvalue *pvalues = pvalues_of(&p->message, &count);
    for (uint32_t i = 0; i < count; i++)
        command_unref(pvalues[i].command);
    for (uint32_t i = 0; p->message.kind == MESSAGE_SUBMIT && i < p->message.submit.count; i++)
        command_unref(p->message.submit.commands[i]);
    free(p);
}

/* ---- events ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void push_event(struct cluster *c, struct sim_event e)
{
    e.order = c->order++;
    vector_push(&c->heap, e);
    size_t at = c->heap.count - 1;
    for (; at > 0 && is_before(&e, &c->heap.at[(at - 1) / 2]); at = (at - 1) / 2)
        c->heap.at[at] = c->heap.at[(at - 1) / 2];
    c->heap.at[at] = e;
}

static struct sim_event pop_event(struct cluster *c)
{
    struct sim_event first = c->heap.at[0], last = c->heap.at[--c->heap.count];
    size_t at = 0, count = c->heap.count;
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && is_before(&c->heap.at[child + 1], &c->heap.at[child]))
            child++;
        if (!is_before(&c->heap.at[child], &last))
            break;
        c->heap.at[at] = c->heap.at[child];
    }
    if (count)
        c->heap.at[at] = last;
    return first;
}

void cluster_schedule(struct cluster *c, uint64_t in_ns, enum sim_kind kind, struct sim_node *n)
{
    push_event(c, (struct sim_event){
                      .at_ns = c->now_ns + in_ns, .kind = kind, .node = n->index, .life = n->life});
}

static void send_copy(struct cluster *c, struct sim_node *from, uint32_t to, struct packet *packet)
{
    const struct cluster_options *o = &c->options;
    uint64_t delay_ns = cluster_between(c, o->delay_ns_min, o->delay_ns_max);
    if (prng_below(&c->prng, 1000) < o->spike_permille)
        delay_ns += prng_below(&c->prng, o->spike_ns);
    if (from->index == to)
        delay_ns = 0;
    else if (c->late)
        delay_ns += c->late(c->late_context, from->index, to, &packet->message);
    packet->refs++;
    push_event(c, (struct sim_event){.at_ns = c->now_ns + delay_ns,
                                     .kind = SIM_DELIVER,
                                     .node = to,
                                     .from = from->index,
                                     .life = from->life,
                                     .packet = packet});
}

void cluster_transmit(struct cluster *c, struct sim_node *from, uint32_t to, struct packet *packet)
{
    const struct cluster_options *o = &c->options;
    if (from->index == to) {
        send_copy(c, from, to, packet);
        return;
    }
    c->sent[packet->message.kind]++;
    bool is_lost = c->cut[from->index][to] || prng_below(&c->prng, 1000) < o->loss_permille;
    if (c->drop && c->drop(c->drop_context, from->index, to, &packet->message))
        is_lost = true;
    if (is_lost)
        return;
    send_copy(c, from, to, packet);
    if (prng_below(&c->prng, 1000) < o->duplicate_permille)
        send_copy(c, from, to, packet);
}

/* @n was away, and so long without a leader that it takes the news of one it has never met: a
 * member of a later membership, which has it too (node/news.c). */
static bool takes_news_of(const struct cluster *c, const struct sim_node *n,
                          const struct sim_node *from)
{
    return n->leaderless_ns && c->now_ns - n->leaderless_ns >= NEWS_NS &&
           from->machine.applied > n->machine.applied &&
           from->machine.membership.version > n->machine.membership.version &&
           membership_seat(&from->machine.membership, n->id) < MEMBERS_MAX;
}

/* No member of @n's: one that has left is told so, and stops. */
static void refuse(struct cluster *c, struct sim_node *n, struct sim_node *from)
{
    if (takes_news_of(c, n, from))
        node_fetch_snapshot(c, n, from->index);
    bool is_heard = from->up && !c->cut[n->index][from->index];
    if (!is_heard || !membership_has_retired(&n->machine.membership, from->id))
        return;
    from->is_leaving = true;
    cluster_schedule(c, cluster_between(c, 0, 50 * NS_PER_MS), SIM_STOP, from);
}

static void stop(struct cluster *c, struct sim_node *n)
{
    cluster_trace(c, "node %u has left, and stops", n->index);
    node_crash(c, n);
    n->is_gone = true;
}

static void deliver(struct cluster *c, struct sim_node *n, const struct sim_event *e)
{
    bool is_own = e->from == n->index;
    bool is_void = !n->up || c->cut[e->from][n->index] || (is_own && e->life != n->life);
    struct sim_node *from = &c->nodes[e->from];
    uint32_t seat = configuration_seat(&n->seats, from->id);
    if (!is_void && seat == MEMBERS_MAX)
        refuse(c, n, from);
    if (!is_void && seat < MEMBERS_MAX) {
        check_delivered(c, n, e->from, &e->packet->message);
        struct event event = {.kind = EVENT_MESSAGE};
        event.message.from = seat;
        event.message.message = &e->packet->message;
        node_step(c, n, &event);
    }
    packet_unref(e->packet);
}

static void tick(struct cluster *c, struct sim_node *n)
{
    struct event event = {.kind = EVENT_TICK};
    node_step(c, n, &event);
    if (cluster_view(c, n->index).leader)
        n->leaderless_ns = 0;
    else if (n->leaderless_ns == 0)
        n->leaderless_ns = c->now_ns;
    member_on_tick(c, n);
    cluster_schedule(c, TICK_NS, SIM_TICK, n);
}

static void run_timer(struct cluster *c, struct sim_node *n, enum sim_kind kind)
{
    switch (kind) {
    case SIM_TICK:
        tick(c, n);
        break;
    case SIM_FLUSH:
        node_on_flush(c, n);
        break;
    case SIM_SYNCED:
        node_on_synced(c, n);
        break;
    case SIM_APPLY:
        node_on_apply(c, n);
        break;
    case SIM_CLIENT:
        client_on_timer(c, n);
        break;
    case SIM_INSTALL:
        node_on_installed(c, n);
        break;
    case SIM_STOP:
        stop(c, n);
        break;
    case SIM_DELIVER:
        break;
    }
}

static void run_event(struct cluster *c, struct sim_event *e)
{
    struct sim_node *n = &c->nodes[e->node];
    if (n->up && n->paused_until_ns > c->now_ns) {
        e->at_ns = n->paused_until_ns;
        push_event(c, *e);
        return;
    }
    if (e->kind == SIM_DELIVER)
        deliver(c, n, e);
    else if (n->up && e->life == n->life)
        run_timer(c, n, e->kind);
}

static void run_next(struct cluster *c)
{
    struct sim_event e = pop_event(c);
    c->now_ns = e.at_ns;
    run_event(c, &e);
}

static bool has_event_by(const struct cluster *c, uint64_t at_ns)
{
    return !cluster_failure(c) && c->heap.count > 0 && c->heap.at[0].at_ns <= at_ns;
}

void cluster_run(struct cluster *c, uint64_t ns)
{
    uint64_t end_ns = c->now_ns + ns;
    while (has_event_by(c, end_ns))
        run_next(c);
    c->now_ns = end_ns;
}

bool cluster_run_until(struct cluster *c, uint64_t ns,
                       bool (*done)(const struct cluster *c, const void *context),
                       const void *context)
{
    uint64_t end_ns = c->now_ns + ns;
    while (!done(c, context)) {
        if (!has_event_by(c, end_ns))
            return false;
        run_next(c);
    }
    return !cluster_failure(c);
}

/* ---- making and looking ---- */

struct cluster_options cluster_calm(uint32_t nodes, uint64_t seed)
{
    return (struct cluster_options){.nodes = nodes,
                                    .seed = seed,
                                    .delay_ns_min = NS_PER_MS / 10,
                                    .delay_ns_max = NS_PER_MS / 10,
                                    .sync_ns_min = NS_PER_MS / 5,
                                    .sync_ns_max = NS_PER_MS / 5,
                                    .apply_ns_max = NS_PER_MS / 20,
                                    .outstanding_max = 16,
                                    .trace = true};
}

static void init_node(struct cluster *c, uint32_t i)
{
    struct sim_node *n = &c->nodes[i];
    n->index = i;
    n->id = NODE_ID_FIRST + i;
    n->clock_offset_ns = NS_PER_S + prng_below(&c->prng, 100 * NS_PER_S);
    n->wall_offset_ns = (int64_t)(1000000 * NS_PER_S);
    int64_t ppm_max = CLOCK_RATE_ERROR_PERCENT * 10000 / 2 - 100; /* two clocks: within the bound */
    if (c->options.clocks_drift)
        n->rate_ppm = (int64_t)prng_below(&c->prng, (uint64_t)(2 * ppm_max)) - ppm_max;
    if (c->options.walls_jump)
        n->wall_offset_ns += (int64_t)prng_below(&c->prng, 10 * NS_PER_S);
    machine_init(&n->machine);
}

/* The first nodes: members from the start. */
static void begin(struct cluster *c)
{
    uint64_t ids[MEMBERS_MAX];
    for (uint32_t i = 0; i < c->count; i++)
        ids[i] = c->nodes[i].id;
    for (uint32_t i = 0; i < c->count; i++) {
        machine_begin(&c->nodes[i].machine, ids, c->count);
        machine_save(&c->nodes[i].machine, &c->nodes[i].checkpoint);
    }
    vector_push(&c->governing, ((struct governing){0, (UINT32_C(1) << c->count) - 1}));
}

uint32_t cluster_new_node(struct cluster *c)
{
    if (c->count == MEMBERS_MAX)
        return MEMBERS_MAX;
    uint32_t i = c->count++;
    init_node(c, i);
    c->nodes[i].is_joiner = true;
    machine_save(&c->nodes[i].machine, &c->nodes[i].checkpoint);
    return i;
}

struct cluster *cluster_new(const struct cluster_options *options)
{
    struct cluster *c = calloc(1, sizeof *c);
    ASSERT(c != NULL);
    c->options = *options;
    c->prng.state = options->seed;
    c->effects = malloc(sizeof *c->effects);
    ASSERT(c->effects != NULL);
    effects_init(c->effects);
    c->count = options->nodes;
    for (uint32_t i = 0; i < options->nodes; i++)
        init_node(c, i);
    begin(c);
    for (uint32_t i = 0; i < options->nodes; i++)
        node_boot(c, &c->nodes[i]);
    return c;
}

void cluster_free(struct cluster *c)
{
    for (size_t i = 0; i < c->heap.count; i++) {
        if (c->heap.at[i].packet)
            packet_unref(c->heap.at[i].packet);
    }
    for (uint32_t i = 0; i < c->count; i++)
        node_deinit(&c->nodes[i]);
    for (size_t i = 0; i < c->slots.count; i++) {
        if (c->slots.at[i].decided.command)
            command_unref(c->slots.at[i].decided.command);
        observer_forget(&c->slots.at[i]);
    }
    for (size_t i = 0; i < c->trace.count; i++)
        free(c->trace.at[i]);
    free(c->trace.at);
    free(c->governing.at);
    free(c->slots.at);
    free(c->calls.at);
    free(c->heap.at);
    free(c->effects);
    free(c);
}

const char *cluster_failure(const struct cluster *c)
{
    return c->failure[0] ? c->failure : NULL;
}

void cluster_fail(struct cluster *c, const char *format, ...)
{
    if (c->failure[0])
        return; /* the first is the one that tells */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->failure, sizeof c->failure, format, arguments);
    va_end(arguments);
}

void cluster_trace(struct cluster *c, const char *format, ...)
{
    if (!c->options.trace)
        return;
    char text[256];
    int at = snprintf(text, sizeof text, "%10.3f ms  ", (double)c->now_ns / 1e6);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + at, sizeof text - (size_t)at, format, arguments);
    va_end(arguments);
    if (c->trace.count < TRACE_LINES) {
        vector_push(&c->trace, strdup(text));
        return;
    }
    free(c->trace.at[c->trace_next]);
    c->trace.at[c->trace_next] = strdup(text);
    c->trace_next = (c->trace_next + 1) % TRACE_LINES;
}

static void print_node(const struct cluster *c, const struct sim_node *n)
{
    static const char *const roles[] = {"follower", "candidate", "leader"};
    struct paxos_view v = cluster_view(c, n->index);
    const struct membership *m = &n->machine.membership;
    fprintf(stderr,
            "node %u: %s, %s ballot=%" PRIu64 ".%" PRIu64 " leader=%" PRIu64 " decided=%" PRIu64
            " applied=%" PRIu64 " collected=%" PRIu64 " slot_in=%" PRIu64
            " snapshot=%d from=%" PRIu64 " voters=%#x/%#x members=%#x calls=%zu epoch=%" PRIu64
            "\n",
            n->index,
            n->is_gone ? "gone"
            : n->up    ? "up"
                       : "down",
            roles[v.role], v.ballot.round, v.ballot.leader, v.leader, v.decided, n->machine.applied,
            n->collected, v.slot_in, v.needs_snapshot, v.configuration.from,
            v.configuration.voters_before, v.configuration.voters,
            configuration_everyone(&v.configuration), n->open.count, n->epoch);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (v.role == ROLE_LEADER && m->members[i].node)
            fprintf(stderr, "  seat %u: node %u role %d wants_vote %d replaces %" PRIu64 "\n", i,
                    cluster_node_of(c, m->members[i].node), m->members[i].role,
                    m->members[i].wants_vote, m->members[i].replaces);
    }
}

void cluster_print_trace(const struct cluster *c)
{
    for (size_t i = 0; i < c->trace.count; i++)
        fprintf(stderr, "%s\n", c->trace.at[(c->trace_next + i) % c->trace.count]);
    for (uint32_t i = 0; i < c->count; i++)
        print_node(c, &c->nodes[i]);
    fprintf(stderr, "%10.3f ms  %s\n", (double)c->now_ns / 1e6, c->failure);
}

uint64_t cluster_now_ns(const struct cluster *c)
{
    return c->now_ns;
}

uint64_t cluster_steps(const struct cluster *c)
{
    return c->steps;
}

uint64_t cluster_decided(const struct cluster *c)
{
    return c->decided_max;
}

bool cluster_is_up(const struct cluster *c, uint32_t node)
{
    return c->nodes[node].up;
}

bool cluster_is_syncing(const struct cluster *c, uint32_t node)
{
    return c->nodes[node].up && c->nodes[node].is_syncing;
}

struct paxos_view cluster_view(const struct cluster *c, uint32_t node)
{
    struct paxos_view v = {0};
    if (c->nodes[node].up)
        paxos_view(c->nodes[node].paxos, &v);
    return v;
}

uint64_t cluster_applied(const struct cluster *c, uint32_t node)
{
    return c->nodes[node].machine.applied;
}

uint32_t cluster_leader(const struct cluster *c)
{
    uint32_t best = c->count;
    struct ballot highest = {0};
    for (uint32_t i = 0; i < c->count; i++) {
        struct paxos_view v = cluster_view(c, i);
        bool serves = v.role == ROLE_LEADER && v.serving_until_ns > node_clock_ns(c, &c->nodes[i]);
        if (serves && ballot_cmp(v.ballot, highest) > 0) {
            highest = v.ballot;
            best = i;
        }
    }
    return best;
}

static bool all_follow(const struct cluster *c, const void *context)
{
    (void)context;
    uint32_t leader = cluster_leader(c);
    if (leader == c->count)
        return false;
    for (uint32_t i = 0; i < c->count; i++) {
        if (c->nodes[i].up && cluster_view(c, i).leader != c->nodes[leader].id)
            return false;
    }
    return true;
}

uint32_t cluster_elect(struct cluster *c, uint64_t ns)
{
    return cluster_run_until(c, ns, all_follow, NULL) ? cluster_leader(c) : c->count;
}

/* ---- clients ---- */

static bool has_session(const struct cluster *c, const void *context)
{
    (void)c;
    return ((const struct sim_node *)context)->epoch != 0;
}

/* Open a session, if need be, for a call made by hand. */
static bool ensure_session(struct cluster *c, struct sim_node *n)
{
    client_open(c, n);
    return cluster_run_until(c, 10 * NS_PER_S, has_session, n);
}

uint64_t cluster_increment(struct cluster *c, uint32_t node, uint32_t counter)
{
    if (!ensure_session(c, &c->nodes[node])) {
        cluster_fail(c, "node %u got no session", node);
        return 0;
    }
    return client_increment(c, &c->nodes[node], counter);
}

uint64_t cluster_read(struct cluster *c, uint32_t node, uint32_t counter)
{
    return client_read(c, &c->nodes[node], counter);
}

bool cluster_is_done(const struct cluster *c, uint64_t id)
{
    return id != 0 && c->calls.at[id - 1].state == CALL_DONE;
}

uint64_t cluster_value(const struct cluster *c, uint64_t id)
{
    return id ? c->calls.at[id - 1].value : 0;
}

bool cluster_is_idle(const struct cluster *c, uint32_t node)
{
    return !c->nodes[node].up || c->nodes[node].open.count == 0;
}

bool cluster_all_done(const struct cluster *c)
{
    uint32_t i = 0;
    while (i < c->count && cluster_is_idle(c, i))
        i++;
    return i == c->count;
}

uint64_t cluster_calls_done(const struct cluster *c)
{
    return c->calls_done;
}

void cluster_stop_clients(struct cluster *c)
{
    c->clients_stopped = true;
}

/* ---- faults ---- */

void cluster_crash(struct cluster *c, uint32_t node)
{
    if (!c->nodes[node].up)
        return;
    cluster_trace(c, "node %u crashes", node);
    node_crash(c, &c->nodes[node]);
}

void cluster_restart(struct cluster *c, uint32_t node)
{
    struct sim_node *n = &c->nodes[node];
    bool is_to_come = n->is_joiner && c->joining[node].stage != JOIN_DONE;
    if (n->up || n->is_gone || is_to_come || cluster_failure(c))
        return;
    node_boot(c, &c->nodes[node]);
    cluster_trace(c, "node %u restarts, applied=%" PRIu64, node, c->nodes[node].machine.applied);
}

uint64_t cluster_paused_until_ns(const struct cluster *c, uint32_t node)
{
    return c->nodes[node].paused_until_ns;
}

void cluster_pause(struct cluster *c, uint32_t node, uint64_t ns)
{
    cluster_trace(c, "node %u pauses for %" PRIu64 " ms", node, ns / NS_PER_MS);
    c->nodes[node].paused_until_ns = c->now_ns + ns;
}

void cluster_cut(struct cluster *c, uint32_t from, uint32_t to, bool is_cut)
{
    if (c->cut[from][to] == is_cut || from == to)
        return;
    cluster_trace(c, "link %u -> %u %s", from, to, is_cut ? "cut" : "back");
    c->cut[from][to] = is_cut;
}

void cluster_isolate(struct cluster *c, uint32_t node, bool is_cut)
{
    for (uint32_t i = 0; i < c->count; i++) {
        cluster_cut(c, node, i, is_cut);
        cluster_cut(c, i, node, is_cut);
    }
}

void cluster_heal(struct cluster *c)
{
    for (uint32_t i = 0; i < c->count; i++)
        cluster_isolate(c, i, false);
}

void cluster_slow_disk(struct cluster *c, uint32_t node, uint64_t sync_ns)
{
    cluster_trace(c, "node %u syncs in %" PRIu64 " ms", node, sync_ns / NS_PER_MS);
    c->nodes[node].slow_sync_ns = sync_ns;
}

void cluster_hang_store(struct cluster *c, uint32_t node, uint64_t ns)
{
    cluster_trace(c, "node %u applies nothing for %" PRIu64 " ms", node, ns / NS_PER_MS);
    c->nodes[node].hung_until_ns = c->now_ns + ns;
}

void cluster_hand_over(struct cluster *c, uint32_t node)
{
    if (!c->nodes[node].up || c->nodes[node].paused_until_ns > c->now_ns)
        return;
    struct event e = {.kind = EVENT_HANDOVER};
    node_step(c, &c->nodes[node], &e);
}

void cluster_jump_wall(struct cluster *c, uint32_t node, int64_t ns)
{
    c->nodes[node].wall_offset_ns += ns;
}

void cluster_calm_network(struct cluster *c)
{
    c->options.loss_permille = c->options.duplicate_permille = c->options.spike_permille = 0;
}

void cluster_filter(struct cluster *c,
                    bool (*drop)(void *context, uint32_t from, uint32_t to,
                                 const struct message *m),
                    void *context)
{
    c->drop = drop;
    c->drop_context = context;
}

void cluster_delay(struct cluster *c,
                   uint64_t (*late)(void *context, uint32_t from, uint32_t to,
                                    const struct message *m),
                   void *context)
{
    c->late = late;
    c->late_context = context;
}

void cluster_set_clock_rate(struct cluster *c, uint32_t node, int64_t ppm)
{
    struct sim_node *n = &c->nodes[node];
    uint64_t clock_ns = node_clock_ns(c, n);
    n->rate_ppm = ppm;
    n->clock_offset_ns += clock_ns - node_clock_ns(c, n); /* it goes on from where it is */
}

uint64_t cluster_sent(const struct cluster *c, enum message_kind kind)
{
    return c->sent[kind];
}

void cluster_reset_sent(struct cluster *c)
{
    memset(c->sent, 0, sizeof c->sent);
}
