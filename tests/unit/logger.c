/* tests/unit/logger.c: the log thread: what it syncs, when it tells, what it reads back. No test
 * waits by the clock: each waits for a callback, or stops the logger, which ends all. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "node/logger.h"
#include "node/wal_internal.h"
#include "tests/support/memdisk.h"

enum { SEGMENT = 256 * 1024, PAYLOAD = 100 };

/* Of the log, whoever lags. */
static const struct wal_bound bound = {.bytes = 3 * SEGMENT, .slots = 1000};

/* ---- fixtures ---- */

struct log {
    struct memdisk *disk;
    struct wal_io io;
    struct wal *wal;
    struct logger *logger;
    struct wal_recovered recovered;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t durable;
    int failure, failures;
    uint32_t reads, read_to, read_count;
    uint64_t read_first, read_last, slot_first;
    bool hold_sync, in_sync; /* the disk's gate */
    uint32_t files_left;     /* the disk has room for */
    uint32_t syncs;
};

static struct log l;

static void on_durable(void *context, uint64_t number)
{
    (void)context;
    pthread_mutex_lock(&l.lock);
    ASSERT(number > l.durable);
    l.durable = number;
    pthread_cond_broadcast(&l.changed);
    pthread_mutex_unlock(&l.lock);
}

static void on_read(void *context, uint32_t to, uint64_t slot_first, struct pvalue *pvalues,
                    uint32_t count)
{
    (void)context;
    pthread_mutex_lock(&l.lock);
    l.reads++;
    l.read_to = to;
    l.read_count = count;
    l.slot_first = slot_first;
    l.read_first = count ? pvalues[0].slot : 0;
    l.read_last = count ? pvalues[count - 1].slot : 0;
    for (uint32_t i = 0; i < count; i++)
        command_unref(pvalues[i].command);
    pthread_cond_broadcast(&l.changed);
    pthread_mutex_unlock(&l.lock);
}

static void on_failure(void *context, int error)
{
    (void)context;
    pthread_mutex_lock(&l.lock);
    l.failure = error;
    l.failures++;
    pthread_cond_broadcast(&l.changed);
    pthread_mutex_unlock(&l.lock);
}

static int gated_sync(void *context, int file)
{
    pthread_mutex_lock(&l.lock);
    l.syncs++;
    l.in_sync = true;
    pthread_cond_broadcast(&l.changed);
    while (l.hold_sync)
        pthread_cond_wait(&l.changed, &l.lock);
    l.in_sync = false;
    pthread_mutex_unlock(&l.lock);
    return memdisk_io(l.disk).sync(context, file);
}

static int limited_create(void *context, const char *path, uint64_t size)
{
    pthread_mutex_lock(&l.lock);
    bool has_room = l.files_left > 0;
    l.files_left -= has_room;
    pthread_mutex_unlock(&l.lock);
    return has_room ? memdisk_io(l.disk).create(context, path, size) : -ENOSPC;
}

static void open_log(void)
{
    char error[512];
    cr_assert_eq(wal_open_with(&l.io, "wal", SEGMENT, &l.wal, &l.recovered, error, sizeof error), 0,
                 "%s", error);
}

static void setup(void)
{
    memset(&l, 0, sizeof l);
    pthread_mutex_init(&l.lock, NULL);
    pthread_cond_init(&l.changed, NULL);
    l.disk = memdisk_new();
    l.io = memdisk_io(l.disk);
    l.io.sync = gated_sync;
    l.io.create = limited_create;
    l.files_left = 1000;
    open_log();
    cr_assert_eq(wal_prepare(l.wal, SEGMENT), 0); /* no segment is made while a test counts */
    l.syncs = 0;
    struct logger_callbacks callbacks = {
        .on_durable = on_durable, .on_read = on_read, .on_failure = on_failure};
    cr_assert_eq(logger_start_with(l.wal, &bound, &callbacks, &l.logger), 0);
}

static void teardown(void)
{
    memdisk_free(l.disk);
    pthread_mutex_destroy(&l.lock);
    pthread_cond_destroy(&l.changed);
}

TestSuite(logger, .init = setup, .fini = teardown);

static void stop(void)
{
    logger_stop(l.logger);
}

/* Stop, and open again what is on the disk. */
static void stop_and_reopen(void)
{
    stop();
    open_log();
}

static uint32_t released;

static void release(struct command *c)
{
    (void)c;
    __atomic_add_fetch(&released, 1, __ATOMIC_SEQ_CST);
}

static struct command commands[256];
static uint8_t payload[COMMAND_SIZE_MAX];

static void append_sized(uint64_t number, uint32_t size)
{
    struct command *c = &commands[number];
    *c = (struct command){.size = size, .node = 1, .bytes = payload, .release = release};
    atomic_init(&c->refs, 1);
    struct persist record = {.kind = PERSIST_ACCEPT, .number = number};
    record.pvalue = (struct pvalue){.ballot = {1, 1}, .slot = number, .command = c};
    logger_append(l.logger, &record);
    command_unref(c); /* the logger has its own */
}

static void append(uint64_t number)
{
    append_sized(number, PAYLOAD);
}

static void append_decided(uint64_t number, uint64_t slot)
{
    struct persist record = {.kind = PERSIST_DECIDED, .number = number, .slot = slot};
    logger_append(l.logger, &record);
}

static void wait_durable(uint64_t number)
{
    pthread_mutex_lock(&l.lock);
    while (l.durable < number)
        pthread_cond_wait(&l.changed, &l.lock);
    pthread_mutex_unlock(&l.lock);
}

static void wait_reads(uint32_t count)
{
    pthread_mutex_lock(&l.lock);
    while (l.reads < count)
        pthread_cond_wait(&l.changed, &l.lock);
    pthread_mutex_unlock(&l.lock);
}

static void hold_syncs(bool hold)
{
    pthread_mutex_lock(&l.lock);
    l.hold_sync = hold;
    pthread_cond_broadcast(&l.changed);
    pthread_mutex_unlock(&l.lock);
}

static void wait_in_sync(void)
{
    pthread_mutex_lock(&l.lock);
    while (!l.in_sync)
        pthread_cond_wait(&l.changed, &l.lock);
    pthread_mutex_unlock(&l.lock);
}

enum { COMMAND_SIZE_SOME = 8 * 1024 };

/* How many files the disk still takes. */
static void wal_limit(uint32_t count)
{
    pthread_mutex_lock(&l.lock);
    l.files_left = count;
    pthread_mutex_unlock(&l.lock);
}

/* ---- tests ---- */

Test(logger, what_was_committed_becomes_durable_and_is_told)
{
    append(1);
    append(2);
    cr_expect_eq(released, 0, "the logger has references of its own");
    logger_commit(l.logger);
    wait_durable(2);
    cr_expect_eq(l.syncs, 1, "one sync for the batch");
    stop_and_reopen();
    cr_expect_eq(l.recovered.slot_max, 2);
    cr_expect_eq(released, 2, "references are given back");
    wal_close(l.wal);
}

Test(logger, nothing_is_told_before_its_sync_returned)
{
    hold_syncs(true);
    append(1);
    logger_commit(l.logger);
    wait_in_sync();
    pthread_mutex_lock(&l.lock);
    cr_expect_eq(l.durable, 0);
    pthread_mutex_unlock(&l.lock);
    hold_syncs(false);
    wait_durable(1);
    stop();
}

Test(logger, batches_that_gather_during_a_sync_go_in_one)
{
    struct logger_view view;
    hold_syncs(true);
    append(1);
    logger_commit(l.logger);
    wait_in_sync();
    for (uint64_t number = 2; number <= 50; number++) {
        append(number);
        logger_commit(l.logger);
    }
    logger_view(l.logger, &view);
    cr_expect_eq(view.queued_records, 49);
    cr_expect_eq(view.queued_bytes, 49 * PAYLOAD);
    hold_syncs(false);
    wait_durable(50);
    stop();
    cr_expect_eq(l.syncs, 2);
    cr_expect_eq(released, 50);
}

Test(logger, a_decided_mark_alone_makes_no_sync_yet_is_written_at_the_stop)
{
    append_decided(1, 40);
    logger_commit(l.logger);
    wait_durable(1);
    pthread_mutex_lock(&l.lock);
    cr_expect_eq(l.syncs, 0);
    pthread_mutex_unlock(&l.lock);
    stop_and_reopen();
    cr_expect_eq(l.recovered.decided_through, 40);
    cr_expect_eq(l.syncs, 1);
    wal_close(l.wal);
}

Test(logger, a_decided_mark_rides_with_the_next_batch)
{
    append_decided(1, 40);
    logger_commit(l.logger);
    wait_durable(1);
    append(2);
    logger_commit(l.logger);
    wait_durable(2);
    struct memdisk *now = memdisk_copy(l.disk); /* all in it was synced */
    stop();
    cr_expect_eq(l.syncs, 1);
    memdisk_free(l.disk);
    l.disk = now;
    l.io.context = now;
    open_log();
    cr_expect_eq(l.recovered.decided_through, 40);
    wal_close(l.wal);
}

Test(logger, a_mark_behind_a_record_waits_for_the_records_sync)
{
    hold_syncs(true);
    append(1);
    append_decided(2, 1);
    logger_commit(l.logger);
    wait_in_sync();
    pthread_mutex_lock(&l.lock);
    cr_expect_eq(l.durable, 0);
    pthread_mutex_unlock(&l.lock);
    hold_syncs(false);
    wait_durable(2);
    stop();
}

Test(logger, a_read_sees_what_was_appended_before_it_even_uncommitted)
{
    append(1);
    append(2);
    logger_read(l.logger, 3, 1, 100);
    wait_reads(1);
    cr_expect_eq(l.read_to, 3);
    cr_expect_eq(l.read_count, 2);
    cr_expect_eq(l.read_last, 2);
    cr_expect_eq(l.durable, 2);
    stop();
}

Test(logger, a_read_answers_once_with_no_more_than_a_message_takes)
{
    for (uint64_t number = 1; number <= 100; number++)
        append(number);
    logger_read(l.logger, 1, 5, 200);
    wait_reads(1);
    cr_expect_eq(l.read_count, ENTRIES_MAX);
    cr_expect_eq(l.read_first, 5);
    cr_expect_eq(l.slot_first, 0, "it has them all");
    for (uint64_t number = 101; number <= 140; number++)
        append_sized(number, 200000);
    logger_read(l.logger, 1, 101, 200);
    wait_reads(2);
    cr_expect_eq(l.read_count, (MESSAGE_BYTES + 199999) / 200000);
    logger_read(l.logger, 2, 1000, 2000);
    wait_reads(3);
    cr_expect_eq(l.read_count, 0, "nothing is an answer too");
    stop();
    cr_expect_eq(l.reads, 3);
}

Test(logger, a_long_run_of_records_is_told_of_in_parts)
{
    hold_syncs(true);
    for (uint64_t number = 1; number <= 20; number++)
        append_sized(number, 200000);
    logger_commit(l.logger);
    hold_syncs(false);
    wait_durable(20);
    stop_and_reopen();
    cr_expect_gt(l.syncs, 1);
    cr_expect_eq(l.recovered.slot_max, 20);
    wal_close(l.wal);
}

Test(logger, collects_and_shows_it)
{
    struct logger_view view;
    for (uint64_t number = 1; number <= 200; number++) {
        append_sized(number, 3000);
        logger_commit(l.logger);
    }
    logger_collect(l.logger, 190);
    logger_read(l.logger, 1, 1, 500);
    wait_reads(1);
    cr_expect_eq(l.read_first, 191);
    cr_expect_eq(l.slot_first, 191);
    cr_expect_eq(l.read_count, 10);
    logger_view(l.logger, &view);
    cr_expect_gt(view.syncs, 0);
    cr_expect_geq(view.sync_ns_total, view.sync_ns_max);
    stop_and_reopen();
    cr_expect_eq(l.recovered.collected, 190);
    wal_close(l.wal);
}

/* 32 to 43 of them fill a segment, as the syncs fall. */
static void append_batches(uint64_t first, uint64_t last)
{
    for (uint64_t number = first; number <= last; number++) {
        append_sized(number, 6000);
        logger_commit(l.logger);
    }
}

Test(logger, beyond_its_bound_it_drops_what_the_own_checkpoint_covers)
{
    append_batches(1, 250);
    logger_checkpointed(l.logger, 60);
    logger_read(l.logger, 1, 1, 500);
    wait_reads(1);
    cr_expect_gt(l.slot_first, 1);
    cr_expect_leq(l.slot_first, 61, "never above the checkpoint");
    logger_checkpointed(l.logger, 250);
    logger_read(l.logger, 1, 1, 500);
    wait_reads(2);
    cr_expect_gt(l.slot_first, 61);
    cr_expect_eq(l.read_first, l.slot_first);
    stop_and_reopen();
    cr_expect_eq(l.wal->live_count, 3);
    cr_expect_eq(l.recovered.collected + 1, l.slot_first);
    wal_close(l.wal);
}

Test(logger, within_its_bound_it_keeps_all)
{
    append_batches(1, 60);
    logger_checkpointed(l.logger, 60);
    logger_read(l.logger, 1, 1, 500);
    wait_reads(1);
    cr_expect_eq(l.slot_first, 0);
    cr_expect_eq(l.read_first, 1);
    stop();
}

Test(logger, a_failed_sync_is_told_once_and_nothing_after_it_is_durable)
{
    append(1);
    logger_commit(l.logger);
    wait_durable(1);
    memdisk_fail_sync(l.disk, -EIO);
    for (uint64_t number = 2; number <= 5; number++) {
        append(number);
        logger_commit(l.logger);
    }
    logger_read(l.logger, 1, 1, 9);
    logger_collect(l.logger, 1);
    append_decided(6, 3);
    stop();
    cr_expect_eq(l.failure, -EIO);
    cr_expect_eq(l.failures, 1);
    cr_expect_eq(l.durable, 1);
    cr_expect_eq(l.reads, 0);
    cr_expect_eq(released, 5, "references are given back");
}

Test(logger, with_no_room_for_another_segment_it_waits_and_goes_on, .timeout = 30)
{
    uint64_t count = 2 * SEGMENT / COMMAND_SIZE_SOME;
    wal_limit(0);
    for (uint64_t number = 1; number <= count; number++)
        append_sized(number, COMMAND_SIZE_SOME);
    logger_commit(l.logger);
    struct timespec while_full = {.tv_nsec = 300000000}; /* it tries a few times */
    nanosleep(&while_full, NULL);
    pthread_mutex_lock(&l.lock);
    cr_expect_eq(l.failures, 0);
    cr_expect_lt(l.durable, count);
    pthread_mutex_unlock(&l.lock);
    wal_limit(100);
    wait_durable(count);
    stop();
    cr_expect_eq(l.failures, 0);
}

Test(logger, a_stop_does_not_wait_for_room, .timeout = 30)
{
    wal_limit(0);
    for (uint64_t number = 1; number <= 2 * SEGMENT / COMMAND_SIZE_SOME; number++)
        append_sized(number, COMMAND_SIZE_SOME);
    stop();
    cr_expect_eq(l.failure, -ENOSPC);
}

Test(logger, stops_when_nothing_ever_came)
{
    stop();
    cr_expect_eq(l.syncs, 0);
}

Test(logger, a_stop_syncs_what_was_appended_and_not_committed)
{
    append(1);
    stop_and_reopen();
    cr_expect_eq(l.recovered.slot_max, 1);
    cr_expect_eq(l.durable, 1);
    wal_close(l.wal);
}
