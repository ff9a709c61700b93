#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cluster_internal.h"

static uint64_t new_call(struct cluster *c, struct sim_node *n, bool is_read, uint32_t counter,
                         uint64_t number)
{
    struct call call = {.node = n->index,
                        .life = n->life,
                        .counter = counter,
                        .is_read = is_read,
                        .number = number,
                        .floor = c->floor[counter]};
    vector_push(&c->calls, call);
    uint64_t id = c->calls.count;
    vector_push(&n->open, id);
    return id;
}

static void submit(struct cluster *c, struct sim_node *n, struct command *command)
{
    struct event e = {.kind = EVENT_SUBMIT, .submit = command};
    node_step(c, n, &e);
    command_unref(command);
}

static uint64_t session_life(const struct sim_node *n)
{
    return n->life + UINT64_C(1);
}

void client_open(struct cluster *c, struct sim_node *n)
{
    if (n->epoch || n->is_opening)
        return;
    n->is_opening = true;
    submit(c, n, machine_open(n->id, session_life(n), n->ended));
}

/* Lowest sequence under way: what the session may forget is below. */
static uint64_t low_mark(const struct cluster *c, const struct sim_node *n)
{
    for (size_t i = 0; i < n->open.count; i++) {
        const struct call *call = &c->calls.at[n->open.at[i] - 1];
        if (!call->is_read)
            return call->number;
    }
    return n->sequence + 1;
}

static void submit_call(struct cluster *c, struct sim_node *n, uint64_t id)
{
    const struct call *call = &c->calls.at[id - 1];
    submit(c, n, machine_command(n->id, n->epoch, call->number, low_mark(c, n), &call->change));
}

static uint64_t call_command(struct cluster *c, struct sim_node *n, struct machine_change change)
{
    uint32_t counter = change.kind == MACHINE_INCREMENT ? (uint32_t)change.arguments[0] : 0;
    uint64_t id = new_call(c, n, false, counter, ++n->sequence);
    change.op = id;
    c->calls.at[id - 1].change = change;
    submit_call(c, n, id);
    return id;
}

uint64_t client_increment(struct cluster *c, struct sim_node *n, uint32_t counter)
{
    uint32_t padding = (uint32_t)prng_below(&c->prng, c->options.padding_max + UINT64_C(1));
    return call_command(c, n,
                        (struct machine_change){
                            .kind = MACHINE_INCREMENT, .arguments = {counter}, .padding = padding});
}

static bool is_open_wide(const struct cluster *c, const struct sim_node *n)
{
    return n->sequence + 1 - low_mark(c, n) >= SESSION_OPEN_MAX;
}

uint64_t client_change(struct cluster *c, struct sim_node *n, struct machine_change change)
{
    if (!n->up || n->epoch == 0 || n->paused_until_ns > c->now_ns || is_open_wide(c, n))
        return 0;
    return call_command(c, n, change);
}

static void finish(struct cluster *c, struct sim_node *n, size_t at, uint64_t value);

/* A read lease, and nothing on its way that would change the answer: at once. */
static bool may_read_here(struct cluster *c, const struct sim_node *n, uint32_t counter)
{
    struct paxos_view v;
    paxos_view(n->paxos, &v);
    if (v.lease.until_ns <= node_clock_ns(c, n) || n->machine.applied < v.lease.bound)
        return false;
    for (uint64_t slot = n->machine.applied + 1; slot < n->pending.count; slot++) {
        const struct command *command = node_pending(n, slot);
        if (command && machine_touches(command, counter))
            return false;
    }
    return true;
}

uint64_t client_read(struct cluster *c, struct sim_node *n, uint32_t counter)
{
    if (may_read_here(c, n, counter)) {
        uint64_t id = new_call(c, n, true, counter, 0);
        c->counts.reads_local++;
        finish(c, n, n->open.count - 1, n->machine.counters[counter]);
        return id;
    }
    uint64_t id = new_call(c, n, true, counter, ++n->reads);
    struct event e = {.kind = EVENT_READ, .read = n->reads};
    node_step(c, n, &e);
    return id;
}

void client_on_timer(struct cluster *c, struct sim_node *n)
{
    if (c->clients_stopped || c->options.client_ns == 0)
        return;
    cluster_schedule(c, 1 + prng_below(&c->prng, 2 * c->options.client_ns), SIM_CLIENT, n);
    if (n->epoch == 0) {
        client_open(c, n);
        return;
    }
    if (n->open.count >= c->options.outstanding_max || is_open_wide(c, n))
        return;
    uint32_t counter = (uint32_t)prng_below(&c->prng, MACHINE_COUNTERS);
    if (prng_below(&c->prng, 3) == 0)
        client_read(c, n, counter);
    else
        client_increment(c, n, counter);
}

void client_on_crash(struct cluster *c, struct sim_node *n)
{
    for (size_t i = 0; i < n->open.count; i++)
        c->calls.at[n->open.at[i] - 1].state = CALL_LOST;
    n->open.count = 0;
    n->epoch = n->sequence = n->reads = n->ended = n->keeper_call = 0;
    n->read_ready = n->indexes.count = 0;
    n->is_opening = false;
}

static void finish(struct cluster *c, struct sim_node *n, size_t at, uint64_t value)
{
    uint64_t id = n->open.at[at];
    struct call *call = &c->calls.at[id - 1];
    call->state = CALL_DONE;
    call->value = value;
    c->calls_done++;
    c->counts.reads += call->is_read;
    bool is_value = call->is_read || call->change.kind == MACHINE_INCREMENT;
    if (is_value && value < call->floor)
        cluster_fail(c, "stale: %s %" PRIu64 " of node %u gives %" PRIu64 ", began at %" PRIu64,
                     call->is_read ? "read" : "op", id, n->index, value, call->floor);
    if (is_value && value > c->floor[call->counter])
        c->floor[call->counter] = value;
    for (size_t i = at + 1; i < n->open.count; i++)
        n->open.at[i - 1] = n->open.at[i];
    n->open.count--;
}

/* The session was ended from outside. What was under way was not applied, and never will be. */
static void reopen(struct cluster *c, struct sim_node *n)
{
    cluster_trace(c, "node %u: its session %" PRIu64 " has expired", n->index, n->epoch);
    c->counts.reopened++;
    n->ended = n->epoch;
    n->epoch = 0;
    n->is_opening = false;
    client_open(c, n);
}

/* Opened anew: all that was under way comes again, under new numbers. */
static void resubmit(struct cluster *c, struct sim_node *n)
{
    VECTOR(uint64_t) again = {0};
    for (size_t i = 0; i < n->open.count; i++) {
        struct call *call = &c->calls.at[n->open.at[i] - 1];
        if (call->is_read)
            continue;
        call->number = ++n->sequence;
        vector_push(&again, n->open.at[i]);
    }
    c->counts.resubmitted += again.count;
    for (size_t i = 0; i < again.count; i++)
        submit_call(c, n, again.at[i]);
    free(again.at);
}

static void on_opened(struct cluster *c, struct sim_node *n, uint64_t epoch)
{
    if (n->epoch != 0 || epoch == n->ended)
        return; /* an open that comes again */
    n->epoch = epoch;
    resubmit(c, n);
}

static void on_own_command(struct cluster *c, struct sim_node *n, uint64_t sequence,
                           struct machine_result r)
{
    for (size_t i = 0; i < n->open.count; i++) {
        const struct call *call = &c->calls.at[n->open.at[i] - 1];
        if (call->is_read || call->number != sequence)
            continue;
        if (r.verdict == SESSION_SETTLED)
            cluster_fail(c, "session: op %" PRIu64 " under way was settled", n->open.at[i]);
        if (r.verdict == SESSION_FENCED)
            reopen(c, n);
        else
            finish(c, n, i, r.value);
        return;
    }
}

void client_on_applied(struct cluster *c, struct sim_node *n, const struct pvalue *p,
                       struct machine_result r)
{
    const struct command *command = p->command;
    if (command->node != n->id)
        return;
    if (command->sequence == 0) {
        bool is_mine = machine_change_of(command).arguments[0] == session_life(n);
        if (is_mine && r.value == 0)
            cluster_fail(c, "session: node %u was refused one", n->index);
        if (is_mine)
            on_opened(c, n, r.value);
        return;
    }
    if (n->epoch != 0 && n->epoch == command->epoch)
        on_own_command(c, n, command->sequence, r);
}

/* What became of the calls that a snapshot went past. */
void client_on_installed(struct cluster *c, struct sim_node *n)
{
    struct session *s = session_find(n->machine.sessions, n->id);
    bool is_mine = s && s->life == session_life(n);
    if (is_mine && n->epoch == 0)
        on_opened(c, n, s->epoch);
    if (is_mine && n->epoch == s->epoch) {
        for (size_t i = 0; i < n->open.count;) {
            const struct call *call = &c->calls.at[n->open.at[i] - 1];
            const struct session_outcome *o = &s->outcomes[call->number % SESSION_OPEN_MAX];
            uint64_t value;
            if (call->is_read || o->sequence != call->number) {
                i++;
                continue;
            }
            memcpy(&value, o->bytes, sizeof value);
            finish(c, n, i, value);
        }
        if (s->is_expired)
            reopen(c, n);
    }
    client_on_slot(c, n);
}

void client_on_read_ready(struct cluster *c, struct sim_node *n, uint64_t read, uint64_t slot)
{
    if (read <= n->read_ready || read > n->reads)
        cluster_fail(c, "read: node %u told %" PRIu64 " ready after %" PRIu64, n->index, read,
                     n->read_ready);
    n->read_ready = read;
    vector_push(&n->indexes, ((struct read_index){read, slot}));
    client_on_slot(c, n);
}

static void finish_reads(struct cluster *c, struct sim_node *n, uint64_t read)
{
    for (size_t i = 0; i < n->open.count;) {
        const struct call *call = &c->calls.at[n->open.at[i] - 1];
        if (call->is_read && call->number <= read)
            finish(c, n, i, n->machine.counters[call->counter]);
        else
            i++;
    }
}

void client_on_slot(struct cluster *c, struct sim_node *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->indexes.count; i++) {
        if (n->machine.applied >= n->indexes.at[i].slot)
            finish_reads(c, n, n->indexes.at[i].read);
        else
            n->indexes.at[kept++] = n->indexes.at[i];
    }
    n->indexes.count = kept;
}
