/* bench/core_bench.c: how many commands three cores decide in one process: no disk, no wire.
 *
 *   ninja core_bench (in a release build)
 *   bin/core_bench [seconds per figure]
 *
 * A PERSIST counts as durable at once; a message is the step of its receiver. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "consensus/paxos.h"

enum { NODES = 3, DEPTH = 16 };

/* Every allocation of this process is counted: the linker puts these before the C library's. */
static uint64_t allocations;
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *at, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *at, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *at, size_t size)
{
    allocations++;
    return __real_realloc(at, size);
}

static struct paxos *nodes[NODES];
static struct effects *pool[DEPTH];
static uint64_t applied[NODES], messages, steps;
static uint32_t depth;

static void step(uint32_t node, struct event event);

static void deliver(uint32_t from, const struct send *s)
{
    for (uint32_t to = 0; to < NODES; to++) {
        if (!(s->to & UINT32_C(1) << to))
            continue;
        messages += to != from;
        struct event event = {.kind = EVENT_MESSAGE};
        event.message.from = from;
        event.message.message = &s->message;
        step(to, event);
    }
}

static void step(uint32_t node, struct event event)
{
    ASSERT(depth < DEPTH);
    struct effects *out = pool[depth++];
    event.now_ns = event.wall_ns = clock_now_ns();
    paxos_step(nodes[node], &event, out);
    steps++;
    for (uint32_t i = 0; i < out->count; i++) {
        if (out->list[i].kind == EFFECT_SEND)
            deliver(node, &out->list[i].send);
        if (out->list[i].kind == EFFECT_DECIDE)
            applied[node] = out->list[i].decide.slot;
    }
    effects_clear(out);
    depth--;
}

static void turn(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        struct event event = {.kind = EVENT_APPLIED};
        event.applied.applied = applied[i];
        step(i, event);
        step(i, (struct event){.kind = EVENT_TICK});
        step(i, (struct event){.kind = EVENT_FLUSH});
    }
}

static void start(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        static const uint64_t ids[NODES] = {1, 2, 3};
        struct paxos_config config = {.configuration = configuration_of(ids, NODES),
                                      .node = ids[i],
                                      .life = 1,
                                      .seed = i + 1};
        struct paxos_recovered nothing = {0};
        nodes[i] = paxos_init(calloc(1, paxos_size()), &config, &nothing, true, clock_now_ns());
    }
    struct paxos_view v = {0};
    while (v.serving_until_ns == 0) {
        turn();
        paxos_view(nodes[0], &v);
    }
}

static void measure(uint32_t origin, uint32_t size, uint32_t batch, double seconds)
{
    static const uint8_t bytes[4096];
    static struct command commands[4 * SLOTS_HELD_MAX]; /* used again when no table has it */
    static uint64_t sequence;
    uint64_t first = applied[0], start_ns = clock_now_ns();
    uint64_t end_ns = start_ns + (uint64_t)(seconds * 1e9);
    messages = steps = allocations = 0;
    while (clock_now_ns() < end_ns) {
        for (uint32_t i = 0; i < batch; i++) {
            struct command *c = &commands[sequence % ARRAY_COUNT(commands)];
            c->refs = 1;
            c->node = origin + 1;
            c->bytes = bytes;
            c->size = size;
            c->epoch = 1;
            c->sequence = c->low = ++sequence;
            step(origin, (struct event){.kind = EVENT_SUBMIT, .submit = c});
        }
        uint64_t until = applied[0] + batch;
        while (applied[0] < until || applied[origin] < until)
            turn();
    }
    double took = (double)(clock_now_ns() - start_ns) / 1e9;
    double decided = (double)(applied[0] - first);
    printf("from %s, %4u B, %3u at a time: %9.0f decided/s, %5.2f messages, %5.2f steps and %.3f "
           "allocations each\n",
           origin == 0 ? "the leader " : "a follower", size, batch, decided / took,
           (double)messages / decided, (double)steps / decided, (double)allocations / decided);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 2;
    for (uint32_t i = 0; i < DEPTH; i++) {
        pool[i] = malloc(sizeof *pool[i]);
        ASSERT(pool[i] != NULL);
        effects_init(pool[i]);
    }
    start();
    static const uint32_t batches[] = {1, 8, 64, 256}, sizes[] = {100, 4096};
    for (uint32_t origin = 0; origin < 2; origin++) {
        for (size_t s = 0; s < ARRAY_COUNT(sizes); s++) {
            for (size_t i = 0; i < ARRAY_COUNT(batches); i++)
                measure(origin, sizes[s], batches[i], seconds);
        }
    }
    return 0;
}
