#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tests/support/cluster_internal.h"

#define HUNG_RETRY_NS (20 * NS_PER_MS)

uint64_t node_clock_ns(const struct cluster *c, const struct sim_node *n)
{
    int64_t drift = (int64_t)(c->now_ns / 1000) * n->rate_ppm / 1000;
    return n->clock_offset_ns + c->now_ns + (uint64_t)drift;
}

/* ---- what the core wants done ---- */

static uint64_t durable_number(const struct sim_node *n)
{
    return n->durable > n->life_base ? n->durable - n->life_base : 0;
}

const struct command *node_pending(const struct sim_node *n, uint64_t slot)
{
    return slot < n->pending.count ? n->pending.at[slot] : NULL;
}

static void mark_pending(struct sim_node *n, const struct pvalue *p)
{
    while (n->pending.count <= p->slot)
        vector_push(&n->pending, NULL);
    struct command *before = n->pending.at[p->slot];
    n->pending.at[p->slot] = p->slot > n->machine.applied ? command_ref(p->command) : NULL;
    if (before)
        command_unref(before);
}

static void unmark_pending(struct sim_node *n, uint64_t slot)
{
    if (slot >= n->pending.count || !n->pending.at[slot])
        return;
    command_unref(n->pending.at[slot]);
    n->pending.at[slot] = NULL;
}

static void forget_pending(struct sim_node *n)
{
    for (uint64_t slot = 0; slot < n->pending.count; slot++)
        unmark_pending(n, slot);
}

/* A mask of seats, as this node's core knows them now, as one of nodes. */
static uint32_t nodes_of(const struct cluster *c, const struct sim_node *n, uint32_t seats)
{
    uint32_t nodes = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (seats >> i & 1 && n->seats.members[i] != 0)
            nodes |= UINT32_C(1) << cluster_node_of(c, n->seats.members[i]);
    }
    return nodes;
}

static void persist(struct cluster *c, struct sim_node *n, const struct persist *p)
{
    if (p->number != n->log.count - n->life_base + 1)
        cluster_fail(c, "log: node %u numbers a PERSIST %" PRIu64, n->index, p->number);
    observe_persist(c, n, p);
    vector_push(&n->log, *p);
    if (p->kind != PERSIST_ACCEPT && p->kind != PERSIST_DECISION)
        return;
    command_ref(p->pvalue.command);
    mark_pending(n, &p->pvalue);
}

static void send(struct cluster *c, struct sim_node *n, uint32_t to, struct packet *packet)
{
    check_message(c, n, &packet->message);
    for (uint32_t i = 0; i < c->count; i++) {
        if (to & UINT32_C(1) << i)
            cluster_transmit(c, n, i, packet);
    }
}

static const struct pvalue *logged(const struct sim_node *n, uint64_t slot)
{
    if (slot >= n->last_of_slot.count || n->last_of_slot.at[slot] == 0)
        return NULL;
    return &n->log.at[n->last_of_slot.at[slot] - 1].pvalue;
}

/* The driver's part of a fetch: what the disk holds last of each slot. */
static void serve_fetch(struct cluster *c, struct sim_node *n, const struct held_effect *h)
{
    struct pvalue found[ENTRIES_MAX];
    struct message m = {.kind = MESSAGE_DECISIONS, .decisions = {.pvalues = found}};
    m.decisions.slot_first = n->collected ? n->collected + 1 : 0;
    for (uint64_t slot = h->first; slot <= h->last; slot++) {
        const struct pvalue *p = logged(n, slot);
        if (!p && slot > n->collected)
            cluster_fail(c, "fetch: the log of node %u has no slot %" PRIu64 " yet", n->index,
                         slot);
        if (!p || slot <= n->collected || m.decisions.count == ENTRIES_MAX)
            continue;
        found[m.decisions.count] = *p;
        found[m.decisions.count++].ballot = (struct ballot){0};
    }
    struct packet *packet = packet_new(&m);
    send(c, n, h->to, packet);
    packet_unref(packet);
}

static void perform_held(struct cluster *c, struct sim_node *n, const struct held_effect *h)
{
    if (!h->packet) {
        serve_fetch(c, n, h);
        return;
    }
    send(c, n, h->to, h->packet);
    packet_unref(h->packet);
}

static void hold_or_perform(struct cluster *c, struct sim_node *n, struct held_effect h)
{
    if (h.after <= durable_number(n))
        perform_held(c, n, &h);
    else
        vector_push(&n->held, h);
}

static void decide(struct cluster *c, struct sim_node *n, const struct pvalue *p)
{
    check_decision(c, n, p);
    vector_push(&n->decided, *p);
    vector_push(&n->untold, ((struct logged){p->slot, n->log.count}));
    command_ref(p->command);
    if (n->apply_pending)
        return;
    n->apply_pending = true;
    cluster_schedule(c, cluster_between(c, 0, c->options.apply_ns_max), SIM_APPLY, n);
}

static void collect(struct cluster *c, struct sim_node *n, uint64_t slot)
{
    if (slot > n->checkpoint.state.applied)
        cluster_fail(c, "collect: node %u drops slot %" PRIu64 " beyond its checkpoint", n->index,
                     slot);
    if (slot > n->collected)
        n->collected = slot;
}

static void note(struct cluster *c, struct sim_node *n, const struct note *note)
{
    static const char *const names[] = {
        "suspect",    "candidate", "leader",     "serving",         "preempted",
        "lease_lost", "following", "handover",   "behind",          "caught_up",
        "configured", "left",      "read_lease", "read_lease_lost", "holder_waited_out"};
    cluster_trace(c, "node %u %s ballot=%" PRIu64 ".%" PRIu64 " slot=%" PRIu64, n->index,
                  names[note->kind], note->ballot.round, note->ballot.leader, note->slot);
    if (note->kind == NOTE_LEFT)
        n->is_leaving = true;
}

/* The transfer, all of it as one event some time from now. */
void node_fetch_snapshot(struct cluster *c, struct sim_node *n, uint32_t donor)
{
    if (n->is_installing)
        return;
    n->is_installing = true;
    n->donor = donor;
    cluster_trace(c, "node %u needs a snapshot; node %u is to give it", n->index, n->donor);
    cluster_schedule(c, cluster_between(c, NS_PER_MS, 800 * NS_PER_MS), SIM_INSTALL, n);
}

static void perform(struct cluster *c, struct sim_node *n, const struct effect *e)
{
    struct held_effect h = {0};
    switch (e->kind) {
    case EFFECT_PERSIST:
        persist(c, n, &e->persist);
        break;
    case EFFECT_SEND:
        h.after = e->send.after;
        h.to = nodes_of(c, n, e->send.to);
        h.packet = packet_new(&e->send.message);
        hold_or_perform(c, n, h);
        break;
    case EFFECT_DECIDE:
        decide(c, n, &e->decide);
        break;
    case EFFECT_READ_READY:
        client_on_read_ready(c, n, e->read_ready.read, e->read_ready.slot);
        break;
    case EFFECT_FETCH:
        h = (struct held_effect){e->fetch.after, nodes_of(c, n, UINT32_C(1) << e->fetch.to), NULL,
                                 e->fetch.first, e->fetch.last};
        hold_or_perform(c, n, h);
        break;
    case EFFECT_COLLECT:
        collect(c, n, e->collect.slot);
        break;
    case EFFECT_SNAPSHOT:
        if (n->seats.members[e->snapshot.from] != 0)
            node_fetch_snapshot(c, n, cluster_node_of(c, n->seats.members[e->snapshot.from]));
        break;
    case EFFECT_NOTE:
        note(c, n, &e->note);
        break;
    }
}

void node_step(struct cluster *c, struct sim_node *n, struct event *event)
{
    event->now_ns = node_clock_ns(c, n);
    event->wall_ns = c->now_ns + (uint64_t)n->wall_offset_ns;
    c->steps++;
    struct effects *out = c->effects;
    paxos_step(n->paxos, event, out);
    for (uint32_t i = 0; i < out->count; i++)
        perform(c, n, &out->list[i]);
    effects_clear(out);
    check_step(c, n);
    if (n->is_leaving)
        cluster_schedule(c, cluster_between(c, 0, 50 * NS_PER_MS), SIM_STOP, n);
    if (event->kind != EVENT_FLUSH && !n->flush_pending) {
        n->flush_pending = true;
        cluster_schedule(c, cluster_between(c, 0, 20000), SIM_FLUSH, n);
    }
}

/* ---- disk ---- */

static void start_sync(struct cluster *c, struct sim_node *n)
{
    if (n->is_syncing || n->log.count == n->durable)
        return;
    n->is_syncing = true;
    n->syncing = n->log.count;
    uint64_t ns = n->slow_sync_ns;
    if (ns == 0)
        ns = cluster_between(c, c->options.sync_ns_min, c->options.sync_ns_max);
    cluster_schedule(c, ns, SIM_SYNCED, n);
}

static void index_record(struct sim_node *n, size_t at)
{
    const struct persist *p = &n->log.at[at];
    if (p->kind != PERSIST_ACCEPT && p->kind != PERSIST_DECISION)
        return;
    while (n->last_of_slot.count <= p->pvalue.slot)
        vector_push(&n->last_of_slot, 0);
    n->last_of_slot.at[p->pvalue.slot] = at + 1;
}

static void make_durable(struct sim_node *n)
{
    for (; n->durable < n->syncing; n->durable++)
        index_record(n, n->durable);
}

/* Whoever lags: up to the own checkpoint at most. */
static void drop_log(struct cluster *c, struct sim_node *n)
{
    uint64_t limit = c->options.log_slots_max, last = n->last_of_slot.count;
    if (limit == 0 || last <= limit)
        return;
    uint64_t slot = last - limit;
    if (slot > n->checkpoint.state.applied)
        slot = n->checkpoint.state.applied;
    if (slot > n->collected)
        n->collected = slot;
}

/* The log first: see EVENT_APPLIED. */
static void finish_checkpoint(struct cluster *c, struct sim_node *n)
{
    if (n->next_records == 0 || n->durable < n->next_records)
        return;
    machine_image_deinit(&n->checkpoint);
    n->checkpoint = n->next_checkpoint;
    n->next_checkpoint = (struct machine_image){0};
    n->next_records = 0;
    drop_log(c, n);
}

/* As the driver does: what the log has not got yet counts as not applied, so that a log that hangs
 * looks like a store that does. */
static void tell_applied(struct cluster *c, struct sim_node *n)
{
    size_t told = 0;
    while (told < n->untold.count && n->untold.at[told].slot <= n->machine.applied &&
           n->untold.at[told].records <= n->durable)
        n->told = n->untold.at[told++].slot;
    for (size_t i = told; i < n->untold.count; i++)
        n->untold.at[i - told] = n->untold.at[i];
    n->untold.count -= told;
    struct event e = {.kind = EVENT_APPLIED};
    e.applied.applied = n->told;
    e.applied.checkpointed = n->checkpoint.state.applied;
    node_step(c, n, &e);
}

void node_on_synced(struct cluster *c, struct sim_node *n)
{
    n->is_syncing = false;
    make_durable(n);
    finish_checkpoint(c, n);
    size_t kept = 0, count = n->held.count;
    for (size_t i = 0; i < count; i++) {
        struct held_effect h = n->held.at[i];
        if (h.after <= durable_number(n))
            perform_held(c, n, &h);
        else
            n->held.at[kept++] = h;
    }
    n->held.count = kept;
    tell_applied(c, n);
    start_sync(c, n);
}

void node_on_flush(struct cluster *c, struct sim_node *n)
{
    n->flush_pending = false;
    struct event e = {.kind = EVENT_FLUSH};
    node_step(c, n, &e);
    start_sync(c, n);
}

/* ---- store ---- */

/* Before it hears that the slot is applied: see EVENT_CONFIGURE. */
static void configure(struct cluster *c, struct sim_node *n)
{
    struct configuration seats = membership_configuration(&n->machine.membership);
    if (memcmp(&seats, &n->seats, sizeof seats) == 0)
        return;
    n->seats = seats;
    struct event e = {.kind = EVENT_CONFIGURE, .configure = &seats};
    node_step(c, n, &e);
}

void node_on_apply(struct cluster *c, struct sim_node *n)
{
    if (c->now_ns < n->hung_until_ns) {
        cluster_schedule(c, HUNG_RETRY_NS, SIM_APPLY, n);
        return;
    }
    n->apply_pending = false;
    while (n->decided_first < n->decided.count && !cluster_failure(c)) {
        struct pvalue p = n->decided.at[n->decided_first++];
        struct machine_result r = machine_apply(&n->machine, &p);
        unmark_pending(n, p.slot);
        check_applied(c, n, &p, r);
        configure(c, n);
        client_on_applied(c, n, &p, r);
        client_on_slot(c, n);
        command_unref(p.command);
    }
    n->decided.count = n->decided_first = 0;
    if (n->next_records == 0 && prng_below(&c->prng, 16) == 0) {
        machine_save(&n->machine, &n->next_checkpoint);
        n->next_records = n->log.count;
        finish_checkpoint(c, n);
    }
    tell_applied(c, n);
}

/* ---- snapshots ---- */

bool node_is_blank(const struct sim_node *n)
{
    return membership_is_empty(&n->machine.membership);
}

static void forget_decided(struct sim_node *n)
{
    for (size_t i = n->decided_first; i < n->decided.count; i++)
        command_unref(n->decided.at[i].command);
    n->decided.count = n->decided_first = n->untold.count = 0;
}

static bool is_of_use(const struct sim_node *n, const struct machine *m)
{
    bool knows = membership_seat(&m->membership, n->id) < MEMBERS_MAX ||
                 membership_has_retired(&m->membership, n->id);
    return knows && m->applied > n->decided_seen;
}

/* A member whose store is of use to @n: the one asked, else any other. One as of before @n came,
 * when it was no member, is not. */
static const struct sim_node *find_donor(const struct cluster *c, const struct sim_node *n)
{
    for (uint32_t i = 0; i < c->count; i++) {
        const struct sim_node *donor = &c->nodes[(n->donor + i) % c->count];
        bool is_reached = donor != n && donor->up && donor->paused_until_ns <= c->now_ns &&
                          !c->cut[donor->index][n->index] && !c->cut[n->index][donor->index];
        if (is_reached && is_of_use(n, &donor->machine))
            return donor;
    }
    return NULL;
}

static void copy_image(struct machine_image *to, const struct machine_image *from)
{
    machine_image_deinit(to);
    *to = *from;
    to->bytes = malloc(from->size + UINT64_C(1));
    ASSERT(to->bytes != NULL);
    memcpy(to->bytes, from->bytes, from->size);
}

/* The store is the snapshot's now, durably; the log still gives what it gave from there on. The
 * transfer may have begun long ago, with an older state of the donor's. */
static void install(struct cluster *c, struct sim_node *n, const struct sim_node *donor)
{
    bool is_old = is_of_use(n, &donor->checkpoint.state) && prng_below(&c->prng, 2) == 0;
    if (is_old)
        copy_image(&n->checkpoint, &donor->checkpoint);
    else
        machine_save(&donor->machine, &n->checkpoint);
    n->next_records = 0;
    if (n->checkpoint.state.applied > n->collected)
        n->collected = n->checkpoint.state.applied;
}

static void start_anew(struct cluster *c, struct sim_node *n)
{
    forget_decided(n);
    machine_load(&n->machine, &n->checkpoint);
    for (uint64_t slot = 0; slot <= n->machine.applied; slot++)
        unmark_pending(n, slot);
    n->decided_seen = n->told = n->machine.applied;
    n->seats = membership_configuration(&n->machine.membership);
    struct event e = {.kind = EVENT_INSTALLED};
    e.installed.slot = n->machine.applied;
    e.installed.time_ns = n->machine.time_ns;
    e.installed.configuration = &n->seats;
    node_step(c, n, &e);
    client_on_installed(c, n);
}

/* ---- life and death ---- */

static void forget_held(struct sim_node *n)
{
    for (size_t i = 0; i < n->held.count; i++) {
        if (n->held.at[i].packet)
            packet_unref(n->held.at[i].packet);
    }
    n->held.count = 0;
}

static void drop_records(struct sim_node *n, size_t from)
{
    for (size_t i = from; i < n->log.count; i++) {
        const struct persist *p = &n->log.at[i];
        if (p->kind == PERSIST_ACCEPT || p->kind == PERSIST_DECISION)
            command_unref(p->pvalue.command);
    }
    n->log.count = from;
}

void node_crash(struct cluster *c, struct sim_node *n)
{
    /* A batch under way is on disk as a whole, or not at all: its checksum says. */
    if (n->is_syncing && prng_below(&c->prng, 2) == 0)
        make_durable(n);
    n->is_syncing = false;
    drop_records(n, n->durable);
    n->next_records = 0;
    n->is_installing = false;
    forget_decided(n);
    forget_pending(n);
    forget_held(n);
    client_on_crash(c, n);
    paxos_deinit(n->paxos);
    free(n->paxos);
    n->paxos = NULL;
    n->up = n->flush_pending = n->apply_pending = false;
    n->life++;
}

static uint64_t recover_log(const struct sim_node *n, struct paxos_recovered *r)
{
    uint64_t decided = 0;
    for (size_t i = 0; i < n->log.count; i++) {
        const struct persist *p = &n->log.at[i];
        if (p->kind == PERSIST_PROMISE && ballot_cmp(p->ballot, r->promised) > 0)
            r->promised = p->ballot;
        if (p->kind == PERSIST_ACCEPT && ballot_cmp(p->pvalue.ballot, r->promised) > 0)
            r->promised = p->pvalue.ballot;
        if (p->kind == PERSIST_DECIDED && p->slot > decided)
            decided = p->slot;
    }
    return decided;
}

/* Replay what the log says is decided, as the daemon does before it starts the core. */
static void replay(struct cluster *c, struct sim_node *n, uint64_t decided)
{
    machine_load(&n->machine, &n->checkpoint);
    while (n->machine.applied < decided && !cluster_failure(c)) {
        const struct pvalue *p = logged(n, n->machine.applied + 1);
        if (!p) {
            cluster_fail(c, "log: node %u lacks slot %" PRIu64, n->index, n->machine.applied + 1);
            return;
        }
        struct machine_result r = machine_apply(&n->machine, p);
        check_applied(c, n, p, r);
    }
}

void node_boot(struct cluster *c, struct sim_node *n)
{
    struct paxos_recovered r = {0};
    uint64_t decided = recover_log(n, &r);
    replay(c, n, decided);
    n->seats = node_is_blank(n) ? n->joined : membership_configuration(&n->machine.membership);
    struct paxos_config config = {.configuration = n->seats,
                                  .node = n->id,
                                  .life = n->life + UINT64_C(1),
                                  .seed = prng_next(&c->prng),
                                  .is_blank = node_is_blank(n)};
    if (configuration_seat(&n->seats, n->id) == MEMBERS_MAX) {
        n->is_gone = true;
        return;
    }
    r.applied = n->machine.applied;
    r.checkpointed = n->checkpoint.state.applied;
    r.time_ns = n->machine.time_ns;
    struct pvalue accepted[SLOTS_HELD_MAX];
    for (uint64_t slot = r.applied + 1; slot < n->last_of_slot.count; slot++) {
        const struct pvalue *p = logged(n, slot);
        if (p && r.count < SLOTS_HELD_MAX) {
            accepted[r.count] = *p;
            mark_pending(n, p);
            if (n->log.at[n->last_of_slot.at[slot] - 1].kind == PERSIST_DECISION)
                accepted[r.count].ballot = (struct ballot){0};
            r.count++;
        }
    }
    r.accepted = accepted;
    check_recovered(c, n, &r);
    if (cluster_failure(c))
        return;

    void *memory = calloc(1, paxos_size());
    ASSERT(memory != NULL);
    n->life_base = n->log.count;
    n->paxos = paxos_init(memory, &config, &r, n->log.count == 0, node_clock_ns(c, n));
    n->promised_seen = (struct ballot){0};
    n->decided_seen = n->told = r.applied;
    n->up = true;
    n->paused_until_ns = n->hung_until_ns = 0;
    cluster_schedule(c, cluster_between(c, 1, 20 * NS_PER_MS), SIM_TICK, n);
    if (c->options.client_ns)
        cluster_schedule(c, prng_below(&c->prng, c->options.client_ns), SIM_CLIENT, n);
}

void node_on_installed(struct cluster *c, struct sim_node *n)
{
    n->is_installing = false;
    const struct sim_node *donor = find_donor(c, n);
    if (!donor)
        return;
    bool is_torn = prng_below(&c->prng, 8) == 0;
    install(c, n, donor);
    cluster_trace(c, "node %u installs slot %" PRIu64 " of node %u%s", n->index,
                  n->checkpoint.state.applied, donor->index, is_torn ? ", and crashes" : "");
    c->counts.snapshots++;
    c->counts.snapshots_torn += is_torn;
    if (!is_torn) {
        start_anew(c, n);
        return;
    }
    node_crash(c, n); /* the store has it, and the core never heard */
    node_boot(c, n);
}

void node_deinit(struct sim_node *n)
{
    if (n->paxos)
        paxos_deinit(n->paxos);
    free(n->paxos);
    forget_decided(n);
    forget_pending(n);
    forget_held(n);
    drop_records(n, 0);
    machine_deinit(&n->machine);
    machine_image_deinit(&n->checkpoint);
    machine_image_deinit(&n->next_checkpoint);
    free(n->log.at);
    free(n->last_of_slot.at);
    free(n->held.at);
    free(n->decided.at);
    free(n->untold.at);
    free(n->open.at);
    free(n->indexes.at);
    free(n->voted.at);
    free(n->pending.at);
}
