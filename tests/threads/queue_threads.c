/* tests/threads/queue_threads.c: many producers and one consumer on one queue, for the thread
 * sanitizer. Each producer's things arrive once and in its order, whatever way they are pushed and
 * taken. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/prng.h"
#include "base/queue.h"

enum { PRODUCERS = 4, THINGS = 20000 };

struct thing {
    struct queue_item item;
    uint32_t producer, value;
};

static struct queue q;
static uint32_t next[PRODUCERS];

static void *produce(void *argument)
{
    uint32_t producer = *(uint32_t *)argument;
    struct prng p = {producer};
    for (uint32_t value = 0; value < THINGS; value++) {
        struct thing *t = malloc(sizeof *t);
        ASSERT(t);
        t->producer = producer;
        t->value = value;
        size_t bytes = prng_below(&p, 40);
        if (prng_below(&p, 2)) {
            ASSERT(queue_push_wait(&q, &t->item, bytes) == 0);
            continue;
        }
        int rc;
        while ((rc = queue_push(&q, &t->item, bytes)) == -EAGAIN)
            sched_yield();
        ASSERT(rc == 0);
    }
    return NULL;
}

static uint64_t consume(struct queue_item *item)
{
    uint64_t count = 0;
    while (item) {
        struct thing *t = container_of(item, struct thing, item);
        item = item->next;
        ASSERT(t->value == next[t->producer]);
        next[t->producer]++;
        free(t);
        count++;
    }
    return count;
}

static uint64_t consume_some(struct prng *p)
{
    if (prng_below(p, 3) == 0)
        return consume(queue_take_all(&q));
    if (prng_below(p, 2) == 0)
        return consume(queue_take_all_wait(&q));
    struct queue_item *one = queue_take_one_wait(&q);
    one->next = NULL;
    return consume(one);
}

int main(void)
{
    pthread_t threads[PRODUCERS];
    uint32_t producers[PRODUCERS];
    struct prng p = {99};
    queue_init(&q, 64, 800);
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = i;
        ASSERT(pthread_create(&threads[i], NULL, produce, &producers[i]) == 0);
    }
    for (uint64_t count = 0; count < PRODUCERS * THINGS;)
        count += consume_some(&p);
    for (uint32_t i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    queue_close(&q);
    ASSERT(queue_take_all_wait(&q) == NULL);
    queue_deinit(&q);
    printf("%d things\n", PRODUCERS * THINGS);
    return 0;
}
