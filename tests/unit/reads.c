#include "node/reads.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "tests/support/store_fixture.h"

struct ended {
    struct request request;
    _Atomic int times;
    int error;
};

static void on_run(struct request *r, int error, struct store_reader *reader)
{
    struct ended *e = container_of(r, struct ended, request);
    (void)reader;
    e->error = error;
    e->times++;
}

static void no_wake(void *context)
{
    (void)context;
}

struct reading {
    struct store_fixture fixture;
    struct reads reads;
    struct ended a, b;
};

static struct reading *reading_new(void)
{
    struct reading *r = calloc(1, sizeof *r);
    cr_assert_not_null(r);
    store_fixture_init(&r->fixture);
    cr_assert_eq(reads_init(&r->reads, r->fixture.store, no_wake, NULL), 0);
    r->a.request.run = r->b.request.run = on_run;
    return r;
}

/* What was cancelled ended once, as such; the other one waited until the end. */
static void finish(struct reading *r)
{
    cr_expect_eq(r->a.times, 1);
    cr_expect_eq(r->a.error, -ECANCELED);
    cr_expect_eq(r->b.times, 0);
    reads_stop(&r->reads, -EIO);
    cr_expect_eq(r->a.times, 1);
    cr_expect_eq(r->b.times, 1);
    cr_expect_eq(r->b.error, -EIO);
    store_fixture_deinit(&r->fixture);
    free(r);
}

static void submit_both(struct reading *r)
{
    reads_submit(&r->reads, &r->a.request);
    reads_submit(&r->reads, &r->b.request);
}

Test(reads, one_that_just_came_can_be_cancelled)
{
    struct reading *r = reading_new();
    submit_both(r);
    reads_cancel(&r->reads, &r->a.request);
    finish(r);
}

Test(reads, one_that_waits_for_a_read_index_can_be_cancelled)
{
    struct reading *r = reading_new();
    submit_both(r);
    cr_expect_eq(reads_gather(&r->reads), 1);
    reads_cancel(&r->reads, &r->a.request);
    cr_expect_eq(reads_gather(&r->reads), 0);
    finish(r);
}

Test(reads, one_that_waits_for_the_store_can_be_cancelled)
{
    struct reading *r = reading_new();
    uint64_t later = store_applied(r->fixture.store) + 1;
    submit_both(r);
    reads_on_index(&r->reads, reads_gather(&r->reads), later);
    cr_expect(reads_wait_for_store(&r->reads));
    reads_cancel(&r->reads, &r->a.request);
    cr_expect(reads_wait_for_store(&r->reads));
    finish(r);
}

/* A worker is about to hand it over when its caller is killed. */
Test(reads, one_that_has_not_come_yet_can_be_cancelled)
{
    struct reading *r = reading_new();
    reads_cancel(&r->reads, &r->a.request);
    cr_expect_eq(r->a.times, 0);
    submit_both(r);
    finish(r);
}

Test(reads, each_runs_once_the_store_is_as_new_as_its_index)
{
    struct reading *r = reading_new();
    uint64_t now = store_applied(r->fixture.store);
    reads_submit(&r->reads, &r->a.request);
    reads_on_index(&r->reads, reads_gather(&r->reads), now + 1);
    reads_submit(&r->reads, &r->b.request);
    reads_on_index(&r->reads, reads_gather(&r->reads), now + 2);
    reads_on_applied(&r->reads, now);
    cr_expect_eq(r->a.times, 0);
    reads_on_applied(&r->reads, now + 1);
    reads_on_applied(&r->reads, now + 2);
    while (r->a.times + r->b.times < 2)
        sched_yield();
    cr_expect_eq(r->a.error, 0);
    cr_expect_eq(r->b.error, 0);
    cr_expect(!reads_wait_for_store(&r->reads));
    reads_stop(&r->reads, -EIO);
    store_fixture_deinit(&r->fixture);
    free(r);
}
