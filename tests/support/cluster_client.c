#include <inttypes.h>

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
    submit(c, n, machine_open(n->id, session_life(n)));
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

uint64_t client_increment(struct cluster *c, struct sim_node *n, uint32_t counter)
{
    uint64_t sequence = ++n->sequence;
    uint64_t id = new_call(c, n, false, counter, sequence);
    uint32_t padding = (uint32_t)prng_below(&c->prng, c->options.padding_max + UINT64_C(1));
    submit(c, n,
           machine_increment(n->id, n->epoch, sequence, low_mark(c, n), id, counter, padding));
    return id;
}

uint64_t client_read(struct cluster *c, struct sim_node *n, uint32_t counter)
{
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
    bool is_open_wide = n->sequence + 1 - low_mark(c, n) >= SESSION_OPEN_MAX;
    if (n->open.count >= c->options.outstanding_max || is_open_wide)
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
    n->epoch = n->sequence = n->reads = 0;
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
    if (value < call->floor)
        cluster_fail(c, "stale: %s %" PRIu64 " of node %u gives %" PRIu64 ", began at %" PRIu64,
                     call->is_read ? "read" : "op", id, n->index, value, call->floor);
    if (value > c->floor[call->counter])
        c->floor[call->counter] = value;
    for (size_t i = at + 1; i < n->open.count; i++)
        n->open.at[i - 1] = n->open.at[i];
    n->open.count--;
}

static void on_own_increment(struct cluster *c, struct sim_node *n, const struct command *command,
                             struct machine_result r)
{
    for (size_t i = 0; i < n->open.count; i++) {
        const struct call *call = &c->calls.at[n->open.at[i] - 1];
        if (call->is_read || call->number != command->sequence)
            continue;
        if (r.verdict == SESSION_SETTLED || r.verdict == SESSION_FENCED)
            cluster_fail(c, "session: op %" PRIu64 " under way was %s", n->open.at[i],
                         r.verdict == SESSION_FENCED ? "fenced" : "settled");
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
        bool is_mine = machine_life(command) == session_life(n);
        if (is_mine && r.value == 0)
            cluster_fail(c, "session: node %u was refused one", n->index);
        if (is_mine)
            n->epoch = r.value;
        return;
    }
    if (n->epoch == command->epoch)
        on_own_increment(c, n, command, r);
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
