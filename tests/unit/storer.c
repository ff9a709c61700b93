/* tests/unit/storer.c: the store thread stands still while a snapshot takes the store's place. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "node/storer.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"

enum { ROOT = 1, NODE = 7 };

static struct store_fixture f, donor;
static struct storer *storer;
static struct pending *pending;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static uint32_t paused, results;
static bool log_is_stuck, is_waited_for;
static int failure;

static void on_result(void *context, const struct command *command, uint64_t decided_ns,
                      const struct store_applied *result)
{
    (void)context, (void)command, (void)decided_ns, (void)result;
    pthread_mutex_lock(&lock);
    results++;
    pthread_mutex_unlock(&lock);
}

static void on_change(void *context, const struct fs_change *change)
{
    (void)context, (void)change;
}

static void on_progress(void *context)
{
    (void)context;
    pthread_mutex_lock(&lock);
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&lock);
}

static bool wait_durable(void *context, uint64_t number)
{
    (void)context, (void)number;
    pthread_mutex_lock(&lock);
    is_waited_for = true;
    pthread_cond_broadcast(&moved);
    while (log_is_stuck)
        pthread_cond_wait(&moved, &lock);
    pthread_mutex_unlock(&lock);
    return true;
}

static void on_paused(void *context)
{
    (void)context;
    pthread_mutex_lock(&lock);
    paused++;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&lock);
}

static void on_failure(void *context, const char *doing, int error)
{
    (void)context, (void)doing;
    failure = error;
}

static void setup(void)
{
    store_fixture_init_blank(&f);
    store_fixture_init_cluster(&donor, 3);
    pending = pending_new();
    struct storer_callbacks callbacks = {.pending = pending,
                                         .on_result = on_result,
                                         .on_change = on_change,
                                         .on_progress = on_progress,
                                         .wait_durable = wait_durable,
                                         .on_paused = on_paused,
                                         .on_failure = on_failure};
    cr_assert_not_null(pending);
    cr_assert_eq(storer_start(f.store, NODE, &callbacks, &storer), 0);
}

static void teardown(void)
{
    cr_expect_eq(failure, 0);
    pending_free(pending);
    store_fixture_deinit(&f);
    store_fixture_deinit(&donor);
}

TestSuite(storer, .init = setup, .fini = teardown);

static void decide(uint64_t first, uint64_t last)
{
    static uint8_t bytes[MIB]; /* a checkpoint is due after CHECKPOINT_BYTES of them */
    static struct command command = {
        .node = NODE, .epoch = 1, .sequence = 1, .bytes = bytes, .size = sizeof bytes};
    for (uint64_t slot = first; slot <= last; slot++) {
        atomic_store(&command.refs, 1000);
        struct pvalue p = {.slot = slot, .time_ns = store_fixture_time(slot), .command = &command};
        storer_apply(storer, &p, slot);
    }
}

static void wait_applied(uint64_t slot)
{
    pthread_mutex_lock(&lock);
    while (store_applied(f.store) < slot)
        pthread_cond_wait(&moved, &lock);
    pthread_mutex_unlock(&lock);
}

static void wait_paused(uint32_t count)
{
    pthread_mutex_lock(&lock);
    while (paused < count)
        pthread_cond_wait(&moved, &lock);
    pthread_mutex_unlock(&lock);
}

static void *export_donor(void *argument)
{
    int *fd = argument;
    int rc = store_export(donor.store, *fd);
    ASSERT(rc == 0);
    close(*fd);
    return NULL;
}

static void install_donor(void)
{
    int ends[2];
    pthread_t thread;
    struct store_import *import;
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(pthread_create(&thread, NULL, export_donor, &ends[1]), 0);
    cr_assert_eq(store_import_begin(f.store, &import), 0);
    static char bytes[65536];
    ssize_t size;
    while ((size = read(ends[0], bytes, sizeof bytes)) > 0)
        cr_assert_eq(store_import_write(import, bytes, (size_t)size), 0);
    pthread_join(thread, NULL);
    close(ends[0]);
    cr_assert_eq(store_import_finish(import, 1), 0);
    cr_assert_eq(store_import_install(f.store, import), 0);
}

Test(storer, while_paused_it_changes_nothing_and_then_goes_on)
{
    decide(1, 3);
    wait_applied(3);
    storer_pause(storer);
    wait_paused(1);
    decide(4, 6);
    storer_tick(storer);
    cr_expect_eq(store_applied(f.store), 3);
    cr_expect_eq(paused, 1);
    storer_resume(storer);
    wait_applied(6);
    storer_pause(storer); /* and again */
    wait_paused(2);
    storer_stop(storer); /* which ends the pause */
    cr_expect_eq(store_applied(f.store), 6);
    cr_expect_eq(store_checkpointed(f.store), 6);
}

Test(storer, what_an_installed_snapshot_holds_is_dropped_without_a_result)
{
    for (int i = 0; i < 8; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        cr_assert_eq(op_create(&donor, ROOT, name, 0644, 0).error, 0);
    }
    uint64_t slot = store_applied(donor.store);
    decide(1, 2);
    wait_applied(2);
    storer_pause(storer);
    wait_paused(1);
    decide(3, slot + 2); /* decided meanwhile: below and above what comes */
    install_donor();
    cr_expect_eq(store_applied(f.store), slot);
    storer_resume(storer);
    wait_applied(slot + 2);
    storer_stop(storer);
    cr_expect_eq(results, 2 + 2);
}

Test(storer, a_stop_right_after_an_install_drops_them_too)
{
    for (int i = 0; i < 8; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        cr_assert_eq(op_create(&donor, ROOT, name, 0644, 0).error, 0);
    }
    uint64_t slot = store_applied(donor.store);
    storer_pause(storer);
    wait_paused(1);
    decide(1, slot - 1);
    install_donor();
    storer_stop(storer);
    cr_expect_eq(store_applied(f.store), slot);
    cr_expect_eq(results, 0);
}

static void *unstick_log(void *argument)
{
    (void)argument;
    usleep(50 * 1000); /* the stop has begun by then, mostly */
    pthread_mutex_lock(&lock);
    log_is_stuck = false;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&lock);
    return NULL;
}

Test(storer, a_stop_writes_its_last_checkpoint_after_one_that_is_under_way)
{
    const uint64_t due = CHECKPOINT_BYTES / MIB;
    pthread_t thread;
    log_is_stuck = true;
    is_waited_for = false;
    decide(1, due);
    pthread_mutex_lock(&lock);
    while (!is_waited_for)
        pthread_cond_wait(&moved, &lock);
    pthread_mutex_unlock(&lock);
    decide(due + 1, due + 3);
    wait_applied(due + 3);
    cr_expect_eq(store_checkpointed(f.store), 0);
    cr_assert_eq(pthread_create(&thread, NULL, unstick_log, NULL), 0);
    storer_stop(storer);
    pthread_join(thread, NULL);
    cr_expect_eq(store_checkpointed(f.store), due + 3);
}
