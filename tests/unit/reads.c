#include "node/reads.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/support/store_ops.h"

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
    struct pending *pending;
    struct reads reads;
    struct ended a, b;
};

static struct reading *reading_new(void)
{
    struct reading *r = calloc(1, sizeof *r);
    cr_assert_not_null(r);
    store_fixture_init(&r->fixture);
    r->pending = pending_new();
    cr_assert_not_null(r->pending);
    pending_applied(r->pending, r->fixture.slot);
    cr_assert_eq(reads_init(&r->reads, r->fixture.store, r->pending, no_wake, NULL), 0);
    r->a.request.run = r->b.request.run = on_run;
    return r;
}

static void reading_free(struct reading *r)
{
    pending_free(r->pending);
    store_fixture_deinit(&r->fixture);
    free(r);
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
    reading_free(r);
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
    reading_free(r);
}

/* ---- reads from the own store ---- */

static const uint64_t long_ns = 3600 * NS_PER_S;

static void lead(struct reading *r, uint64_t decided, uint64_t until_ns)
{
    struct paxos_view view = {.decided = decided, .serving_until_ns = until_ns};
    reads_publish(&r->reads, &view);
}

static void hold(struct reading *r, uint64_t bound, uint64_t until_ns)
{
    struct paxos_view view = {.lease = {.until_ns = until_ns, .bound = bound}};
    reads_publish(&r->reads, &view);
}

static uint64_t later(void)
{
    return clock_now_ns() + long_ns;
}

static void put_write(struct reading *r, uint64_t slot, uint64_t ino)
{
    uint8_t bytes[256];
    struct fs_command c = {.op = FS_WRITE, .ino = ino, .data = "1", .data_size = 1};
    struct command command = {.refs = 1, .node = 1, .epoch = 1, .sequence = 1, .bytes = bytes};
    command.size = (uint32_t)fs_command_encode(&c, bytes, sizeof bytes);
    pending_put(r->pending, slot, &command);
}

/* Of a read of @ino from a snapshot of now. */
static enum pending_verdict verdict(struct reading *r, uint64_t ino)
{
    struct read_set set = {.inos = {ino}};
    cr_assert_eq(store_read_begin(r->fixture.reader), 0);
    enum pending_verdict v = reads_verdict(&r->reads, r->fixture.reader, &set);
    store_read_end(r->fixture.reader);
    return v;
}

static void end(struct reading *r)
{
    reads_stop(&r->reads, -EIO);
    cr_expect(!reads_may_begin(&r->reads));
    cr_expect_eq(verdict(r, FS_ROOT_INO), PENDING_TOUCHED);
    reading_free(r);
}

Test(reads, without_a_lease_none_is_answered_here)
{
    struct reading *r = reading_new();
    cr_expect(!reads_may_begin(&r->reads));
    cr_expect_eq(verdict(r, FS_ROOT_INO), PENDING_TOUCHED);
    end(r);
}

Test(reads, a_leader_answers_from_what_it_decided_while_its_lease_runs)
{
    struct reading *r = reading_new();
    uint64_t now = r->fixture.slot;
    lead(r, now, later());
    cr_expect(reads_may_begin(&r->reads));
    put_write(r, now + 1, FS_ROOT_INO); /* proposed, and not decided */
    cr_expect_eq(verdict(r, FS_ROOT_INO), PENDING_CLEAR);
    lead(r, now, clock_now_ns());
    cr_expect(!reads_may_begin(&r->reads), "the time is over");
    cr_expect_eq(verdict(r, FS_ROOT_INO), PENDING_TOUCHED);
    lead(r, now, later());
    lead(r, now, 0);
    cr_expect(!reads_may_begin(&r->reads), "handed over");
    cr_expect_eq(verdict(r, FS_ROOT_INO), PENDING_TOUCHED);
    end(r);
}

Test(reads, a_leader_that_has_yet_to_apply_answers_what_that_does_not_touch)
{
    struct reading *r = reading_new();
    uint64_t now = r->fixture.slot;
    put_write(r, now + 1, FS_ROOT_INO);
    lead(r, now + 1, later());
    cr_expect(reads_may_begin(&r->reads));
    cr_expect_eq(verdict(r, FS_ROOT_INO), PENDING_TOUCHED);
    cr_expect_eq(verdict(r, 77), PENDING_CLEAR);
    pending_applied(r->pending, now + 1);
    cr_expect_eq(verdict(r, 77), PENDING_RENEW);
    end(r);
}

Test(reads, a_holder_answers_what_nothing_pending_touches)
{
    struct reading *r = reading_new();
    uint64_t now = r->fixture.slot;
    put_write(r, now + 1, FS_ROOT_INO);
    hold(r, now, later());
    cr_expect(reads_may_begin(&r->reads));
    cr_expect_eq(verdict(r, FS_ROOT_INO), PENDING_TOUCHED);
    cr_expect_eq(verdict(r, 77), PENDING_CLEAR);
    hold(r, now, clock_now_ns());
    cr_expect(!reads_may_begin(&r->reads));
    cr_expect_eq(verdict(r, 77), PENDING_TOUCHED, "the lease has run out");
    end(r);
}

Test(reads, a_holder_answers_nothing_from_below_its_bound)
{
    struct reading *r = reading_new();
    struct read_set set = {.inos = {77}};
    uint64_t now = r->fixture.slot;
    hold(r, now + 1, later());
    cr_expect(!reads_may_begin(&r->reads));
    cr_assert_eq(store_read_begin(r->fixture.reader), 0);
    cr_expect_eq(reads_verdict(&r->reads, r->fixture.reader, &set), PENDING_TOUCHED);
    op_mkdir(&r->fixture, FS_ROOT_INO, "d", 0755);
    cr_expect_eq(reads_verdict(&r->reads, r->fixture.reader, &set), PENDING_RENEW);
    store_read_end(r->fixture.reader);
    cr_expect(reads_may_begin(&r->reads));
    cr_expect_eq(verdict(r, 77), PENDING_CLEAR);
    end(r);
}

/* Whoever read the stint before the change must find another one after it. */
Test(reads, a_lease_with_a_higher_bound_is_another_one)
{
    struct reading *r = reading_new();
    uint64_t until = later();
    hold(r, 5, until);
    uint64_t stint = r->reads.holding.stint;
    cr_expect_neq(stint, 0);
    hold(r, 5, until + 1);
    hold(r, 4, until + 2);
    cr_expect_eq(r->reads.holding.stint, stint, "renewed");
    hold(r, 6, until + 3);
    cr_expect_neq(r->reads.holding.stint, stint);
    stint = r->reads.holding.stint;
    hold(r, 6, until);
    cr_expect_neq(r->reads.holding.stint, stint, "it ends sooner");
    end(r);
}
