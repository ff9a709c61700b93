/* tests/unit/queue.c: the bounded queue, one thread at a time but where waiting is the matter. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/queue.h"

struct thing {
    struct queue_item item;
    int value;
};

static struct queue q;
static struct thing things[8];

static void setup(void)
{
    queue_init(&q, 4, 100);
    for (int i = 0; i < 8; i++)
        things[i] = (struct thing){.value = i};
}

static void teardown(void)
{
    queue_deinit(&q);
}

TestSuite(queue, .init = setup, .fini = teardown);

static int push(int value, size_t bytes)
{
    return queue_push(&q, &things[value].item, bytes);
}

static int value_of(struct queue_item *item)
{
    return container_of(item, struct thing, item)->value;
}

Test(queue, gives_all_back_in_order)
{
    for (int i = 0; i < 4; i++)
        cr_assert_eq(push(i, 1), 0);
    cr_expect_eq(queue_count(&q), 4);
    struct queue_item *item = queue_take_all(&q);
    for (int i = 0; i < 4; i++) {
        cr_assert(item);
        cr_expect_eq(value_of(item), i);
        item = item->next;
    }
    cr_expect_null(item);
    cr_expect_eq(queue_count(&q), 0);
    cr_expect_null(queue_take_all(&q));
}

Test(queue, takes_one_by_one_and_can_be_filled_in_between)
{
    cr_assert_eq(push(0, 1), 0);
    cr_assert_eq(push(1, 1), 0);
    cr_expect_eq(value_of(queue_take_one_wait(&q)), 0);
    cr_assert_eq(push(2, 1), 0);
    cr_expect_eq(value_of(queue_take_one_wait(&q)), 1);
    cr_expect_eq(value_of(queue_take_one_wait(&q)), 2);
    cr_assert_eq(push(3, 1), 0);
    cr_expect_eq(value_of(queue_take_all_wait(&q)), 3);
}

Test(queue, refuses_more_than_its_count)
{
    for (int i = 0; i < 4; i++)
        cr_assert_eq(push(i, 0), 0);
    cr_expect_eq(push(4, 0), -EAGAIN);
    queue_take_one_wait(&q);
    cr_expect_eq(push(4, 0), 0);
}

Test(queue, refuses_more_than_its_bytes)
{
    cr_assert_eq(push(0, 60), 0);
    cr_expect_eq(push(1, 41), -EAGAIN);
    cr_expect_eq(push(1, SIZE_MAX), -EAGAIN);
    cr_expect_eq(push(1, 40), 0);
    cr_expect_eq(push(2, 1), -EAGAIN);
    cr_expect_eq(push(2, 0), 0);
    queue_take_one_wait(&q);
    cr_expect_eq(push(3, 60), 0);
}

Test(queue, an_object_larger_than_the_bound_enters_when_it_is_alone)
{
    cr_expect_eq(push(0, 1000), 0);
    cr_expect_eq(push(1, 0), -EAGAIN);
    queue_take_all(&q);
    cr_expect_eq(push(1, 100), 0);
}

Test(queue, a_closed_one_gives_what_it_holds_and_takes_no_more)
{
    cr_assert_eq(push(0, 1), 0);
    queue_close(&q);
    cr_expect_eq(push(1, 1), -EPIPE);
    cr_expect_eq(queue_push_wait(&q, &things[1].item, 1), -EPIPE);
    cr_expect_eq(value_of(queue_take_all_wait(&q)), 0);
    cr_expect_null(queue_take_all_wait(&q));
    cr_expect_null(queue_take_one_wait(&q));
}

static void count_wake(void *context)
{
    ++*(int *)context;
}

Test(queue, wakes_once_for_each_time_it_was_empty)
{
    int wakes = 0;
    queue_on_arrival(&q, count_wake, &wakes);
    push(0, 1);
    push(1, 1);
    cr_expect_eq(wakes, 1);
    queue_take_all(&q);
    push(2, 1);
    cr_expect_eq(wakes, 2);
}

static void *push_waiting(void *argument)
{
    (void)argument;
    int *rc = malloc(sizeof *rc);
    *rc = queue_push_wait(&q, &things[5].item, 1);
    return rc;
}

Test(queue, who_waits_for_room_gets_it_or_hears_of_the_end)
{
    for (int end = 0; end < 2; end++) {
        pthread_t thread;
        void *rc;
        for (int i = 0; i < 4; i++)
            cr_assert_eq(push(i, 1), 0);
        cr_assert_eq(pthread_create(&thread, NULL, push_waiting, NULL), 0);
        if (end)
            queue_close(&q);
        else
            cr_expect_eq(value_of(queue_take_one_wait(&q)), 0);
        pthread_join(thread, &rc);
        cr_expect_eq(*(int *)rc, end ? -EPIPE : 0);
        free(rc);
        while (queue_count(&q) > 0)
            queue_take_one_wait(&q);
    }
}
