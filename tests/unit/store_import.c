#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/disk.h"
#include "tests/support/store_copy.h"
#include "tests/support/store_ops.h"

static struct store_fixture donor, f;
static uint8_t data[300000];
#define ROOT FS_ROOT_INO

/* A donor with a few of everything, and a store that lags. */
static void setup(void)
{
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 1000);
    store_fixture_init_cluster(&donor, 3);
    store_fixture_init_cluster(&f, 3);
    made(op_create(&f, ROOT, "old", 0644, 0));
    store_fixture_checkpoint(&f);
    for (int i = 0; i < 20; i++) {
        char name[20];
        snprintf(name, sizeof name, "f%d", i);
        uint64_t ino = made(op_create(&donor, ROOT, name, 0644, 0));
        op_write(&donor, ino, 0, data, sizeof data, 0);
        op_setxattr(&donor, ino, "user.a", name, strlen(name), 0);
        if (i % 3 == 0)
            op_unlink(&donor, ROOT, name);
    }
    op_symlink(&donor, ROOT, "link", "f1");
}

static void teardown(void)
{
    disk_hook = NULL;
    store_fixture_deinit(&f);
    store_fixture_deinit(&donor);
}

TestSuite(store_import, .init = setup, .fini = teardown);

static bool same_digest(struct store_digest a, struct store_digest b)
{
    return a.slot == b.slot && a.digest[0] == b.digest[0] && a.digest[1] == b.digest[1];
}

static void expect_same_state(void)
{
    struct store_digest theirs = store_fixture_digest(&donor);
    cr_expect(same_digest(store_fixture_digest(&f), theirs));
    cr_expect(same_digest(store_fixture_digest_recompute(&f), theirs));
}

static bool is_there(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", f.dir, name);
    return access(path, F_OK) == 0;
}

Test(store_import, a_snapshot_installed_is_the_donors_state)
{
    store_fixture_install(&f, &donor);
    expect_same_state();
    cr_expect_eq(store_applied(f.store), store_applied(donor.store));
    cr_expect_eq(store_checkpointed(f.store), store_applied(donor.store));
    cr_expect_eq(store_time_ns(f.store), store_time_ns(donor.store));
    cr_expect_eq(store_grown(f.store), 0);
    cr_expect_eq(store_fixture_find(&f, "/old"), 0);
    static uint8_t read[sizeof data + 1];
    uint64_t ino = store_fixture_find(&f, "/f1"); /* by a reader made before */
    cr_assert_neq(ino, 0);
    cr_expect_eq(store_fixture_read(&f, ino, read, sizeof read), sizeof data);
    cr_expect_eq(memcmp(read, data, sizeof data), 0);
}

Test(store_import, goes_on_where_the_donor_was)
{
    store_fixture_install(&f, &donor);
    for (int i = 0; i < 50; i++) {
        char name[20];
        snprintf(name, sizeof name, "later%d", i);
        uint64_t ino = made(op_create(&f, ROOT, name, 0644, 0));
        op_write(&f, ino, 10, data, 100000, 0);
        op_write(&f, store_fixture_find(&f, "/f2"), 1000, "changed", 7, 0);
        ino = made(op_create(&donor, ROOT, name, 0644, 0));
        op_write(&donor, ino, 10, data, 100000, 0);
        op_write(&donor, store_fixture_find(&donor, "/f2"), 1000, "changed", 7, 0);
    }
    expect_same_state();
    store_fixture_checkpoint(&f);
    store_fixture_reopen(&f);
    expect_same_state();
}

Test(store_import, knows_what_the_donors_sessions_did)
{
    store_fixture_install(&f, &donor);
    uint8_t bytes[64];
    struct fs_command c = {.op = FS_REMOVE, .nonce = 77};
    size_t size = fs_command_encode(&c, bytes, sizeof bytes);
    struct command retry = {.size = (uint32_t)size,
                            .node = 1,
                            .epoch = donor.epoch,
                            .sequence = donor.sequence,
                            .low = donor.sequence,
                            .bytes = bytes};
    struct store_applied applied = store_fixture_apply_bytes(&f, &retry);
    cr_expect_eq(applied.verdict, SESSION_REPEATED);
    cr_expect_neq(applied.outcome.attr.ino, 0, "of the symlink made last");
}

Test(store_import, brings_the_members)
{
    struct store_fixture blank;
    store_fixture_init_blank(&blank);
    struct membership m;
    store_membership(blank.store, &m);
    cr_expect(membership_is_empty(&m));
    cr_expect_eq(store_membership_version(blank.store), 0);
    store_fixture_install(&blank, &donor);
    store_membership(blank.store, &m);
    cr_expect_eq(membership_seat(&m, 3), 2);
    cr_expect_eq(store_membership_version(blank.store), store_membership_version(donor.store));
    store_fixture_deinit(&blank);
}

Test(store_import, lasts_without_a_checkpoint_of_its_own)
{
    store_fixture_install(&f, &donor);
    cr_expect_not(is_there("store.1"));
    cr_expect(is_there("store.2"));
    made(op_create(&f, ROOT, "lost", 0644, 0));
    store_fixture_reopen(&f);
    expect_same_state();
}

Test(store_import, can_be_done_again)
{
    store_fixture_install(&f, &donor);
    made(op_create(&donor, ROOT, "more", 0644, 0));
    store_fixture_install(&f, &donor);
    cr_expect_not(is_there("store.2"));
    cr_expect(is_there("store.3"));
    expect_same_state();
    store_fixture_reopen(&f);
    expect_same_state();
    cr_expect_neq(store_fixture_find(&f, "/more"), 0);
}

Test(store_import, of_an_older_state_is_refused)
{
    struct store_import *i;
    struct store_copy copy = store_copy_of(f.store);
    cr_expect_eq(store_copy_receive(&copy, donor.store, &i), -ESTALE);
    store_copy_free(&copy);
    copy = store_copy_of(donor.store);
    cr_expect_eq(store_copy_receive(&copy, donor.store, &i), -ESTALE, "nor the same");
    store_copy_free(&copy);
}

Test(store_import, that_came_too_late_is_not_installed)
{
    struct store_copy copy = store_copy_of(donor.store);
    struct store_import *i;
    cr_assert_eq(store_copy_receive(&copy, f.store, &i), 0);
    while (f.slot < donor.slot)
        op_chmod(&f, ROOT, 0755);
    struct store_digest before = store_fixture_digest(&f);
    cr_expect_eq(store_import_install(f.store, i), -ESTALE);
    cr_expect(same_digest(store_fixture_digest(&f), before));
    cr_expect_not(is_there("store.2"));
    store_fixture_checkpoint(&f);
    store_copy_free(&copy);
}

static int try_damaged(const struct store_copy *copy, size_t size)
{
    struct store_copy shorter = {copy->bytes, size, copy->node};
    struct store_digest before = store_fixture_digest(&f);
    int rc = store_copy_install(&shorter, f.store);
    if (rc) {
        cr_expect(same_digest(store_fixture_digest(&f), before));
        cr_expect_not(is_there("store.2"));
    }
    return rc;
}

Test(store_import, of_damaged_bytes_is_refused)
{
    struct store_copy copy = store_copy_of(donor.store);
    static const size_t sizes[] = {0, 1, 40, 4096, 4120, 8191, 8192, 100000};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        cr_expect_eq(try_damaged(&copy, sizes[i]), -EBADMSG, "%zu bytes", sizes[i]);
    cr_expect_eq(try_damaged(&copy, copy.size - 4096), -EBADMSG, "one page less");
    static const size_t metas[] = {16, 17, 20, 40, 41, 4096 + 16, 4096 + 20, 4096 + 40};
    for (size_t i = 0; i < ARRAY_COUNT(metas); i++) {
        copy.bytes[metas[i]] ^= 0x10;
        cr_expect_eq(try_damaged(&copy, copy.size), -EBADMSG, "byte %zu", metas[i]);
        copy.bytes[metas[i]] ^= 0x10;
    }
    uint8_t *text = memmem(copy.bytes, copy.size, data, 1000);
    cr_assert_not_null(text);
    text[500] ^= 1;
    cr_expect_eq(try_damaged(&copy, copy.size), -EBADMSG, "a byte of a file");
    text[500] ^= 1;
    text = memmem(copy.bytes, copy.size, "user.a", 6);
    cr_assert_not_null(text);
    text[5] ^= 1;
    cr_expect_eq(try_damaged(&copy, copy.size), -EBADMSG, "a byte of a record");
    text[5] ^= 1;
    cr_expect_eq(try_damaged(&copy, copy.size), 0, "that was all");
    store_copy_free(&copy);
}

Test(store_import, of_a_slot_before_the_node_has_joined_is_refused)
{
    struct store_import *i;
    struct store_copy copy = store_copy_of(donor.store);
    cr_assert_eq(store_import_begin(f.store, &i), 0);
    cr_assert_eq(store_import_write(i, copy.bytes, copy.size), 0);
    cr_expect_eq(store_import_finish(i, 99), -ESTALE, "it would take itself for one that has left");
    cr_expect_eq(store_copy_install(&copy, f.store), 0);
    store_copy_free(&copy);
}

Test(store_import, of_a_state_without_members_is_refused)
{
    struct store_fixture memberless;
    store_fixture_init(&memberless);
    while (memberless.slot <= f.slot)
        op_chmod(&memberless, ROOT, 0700);
    struct store_copy copy = store_copy_of(memberless.store);
    cr_expect_eq(store_copy_install(&copy, f.store), -EBADMSG);
    store_copy_free(&copy);
    store_fixture_deinit(&memberless);
}

Test(store_import, is_one_at_a_time)
{
    struct store_import *i, *other;
    cr_assert_eq(store_import_begin(f.store, &i), 0);
    cr_expect(is_there("store.2/data.mdb"));
    cr_expect_eq(store_import_begin(f.store, &other), -EBUSY);
    store_import_abort(i);
    cr_expect_not(is_there("store.2"));
    cr_assert_eq(store_import_begin(f.store, &i), 0);
    store_import_abort(i);
}

Test(store_import, waits_for_a_checkpoint_under_way)
{
    struct store_copy copy = store_copy_of(donor.store);
    struct store_import *i;
    struct store_checkpoint *c;
    cr_assert_eq(store_copy_receive(&copy, f.store, &i), 0);
    cr_assert_eq(store_checkpoint_begin(f.store, &c), 0);
    cr_expect_eq(store_import_install(f.store, i), -EBUSY);
    cr_assert_eq(store_checkpoint_finish(f.store, c), 0);
    cr_expect_eq(store_import_install(f.store, i), 0);
    expect_same_state();
    store_copy_free(&copy);
}

Test(store_import, what_room_there_is_is_known)
{
    cr_expect_eq(disk_has_room(f.dir, 1), 0);
    cr_expect_eq(disk_has_room(f.dir, UINT64_MAX), -ENOSPC);
    cr_expect_eq(disk_has_room("/nowhere/at/all", 1), -ENOENT);
}

Test(store_import, what_one_left_behind_is_removed_by_the_next_open)
{
    char path[256];
    static const char *const names[] = {"store.2", "store.17", "store.new"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", f.dir, names[i]);
        cr_assert_eq(mkdir(path, 0700), 0);
        snprintf(path, sizeof path, "%s/%s/data.mdb", f.dir, names[i]);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        cr_assert_geq(fd, 0);
        close(fd);
    }
    snprintf(path, sizeof path, "%s/store.keep", f.dir);
    cr_assert_eq(mkdir(path, 0700), 0);
    struct store_digest before = store_fixture_digest(&f);
    store_fixture_reopen(&f);
    cr_expect(same_digest(store_fixture_digest(&f), before));
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        cr_expect_not(is_there(names[i]), "%s", names[i]);
    cr_expect(is_there("store.keep"), "nobody made that");
}

Test(store_import, without_its_checkpoint_is_a_loss_not_a_new_store)
{
    store_fixture_install(&f, &donor);
    char path[256], error[200];
    snprintf(path, sizeof path, "%s/checkpoint", f.dir);
    cr_assert_eq(unlink(path), 0);
    struct store *s;
    cr_expect_eq(store_open(f.dir, &s, error, sizeof error), -EBADMSG);
    cr_expect(strstr(error, "store.2"), "%s", error);
    cr_expect(is_there("store.2/data.mdb"));
}

/* ---- steps that fail ---- */

static int fail_at, step;
static bool is_power_cut; /* all steps from then on fail, not that one alone */

static int fail_some(const char *what, const char *path)
{
    (void)what, (void)path;
    step++;
    return step == fail_at || (is_power_cut && step > fail_at) ? -EIO : 0;
}

/* An import with a failure at @fail_at, then a restart: the state is the one before or the donor's.
 * Returns what the import said. */
static int try_step(const struct store_copy *copy)
{
    store_fixture_init_cluster(&f, 3);
    made(op_create(&f, ROOT, "old", 0644, 0));
    store_fixture_checkpoint(&f);
    struct store_digest before = store_fixture_digest(&f), after = store_fixture_digest(&donor);
    step = 0;
    disk_hook = fail_some;
    int rc = store_copy_install(copy, f.store);
    disk_hook = NULL;
    struct store_digest now = store_fixture_digest(&f);
    cr_expect(same_digest(now, rc ? before : after), "step %d: %d", fail_at, rc);
    store_fixture_reopen(&f);
    struct store_digest found = store_fixture_digest_recompute(&f);
    cr_expect(same_digest(found, before) || same_digest(found, after), "step %d", fail_at);
    if (rc == 0)
        cr_expect(same_digest(found, after), "step %d", fail_at);
    bool is_new = same_digest(found, after);
    cr_expect(is_there(is_new ? "store.2" : "store.1"), "step %d", fail_at);
    cr_expect_not(is_there(is_new ? "store.1" : "store.2"), "step %d", fail_at);
    return rc;
}

static void try_steps(void)
{
    struct store_copy copy = store_copy_of(donor.store);
    int failures = 0, rc;
    store_fixture_deinit(&f);
    for (fail_at = 1; fail_at == 1 || step >= fail_at - 1; fail_at++) {
        rc = try_step(&copy);
        failures += rc != 0;
        if (step < fail_at)
            break; /* nothing is left that could fail */
        store_fixture_deinit(&f);
    }
    cr_expect_eq(rc, 0);
    cr_expect_gt(failures, 10);
    store_copy_free(&copy);
}

Test(store_import, may_fail_at_any_step_and_a_restart_finds_either_state_whole)
{
    try_steps();
}

Test(store_import, may_be_cut_off_at_any_step_and_a_restart_finds_either_state_whole)
{
    is_power_cut = true;
    try_steps();
}

/* ---- in which order ---- */

static char steps[256][128];
static int step_count;

static int note(const char *what, const char *path)
{
    const char *rest = path + strlen(f.dir);
    if (step_count < (int)ARRAY_COUNT(steps))
        snprintf(steps[step_count++], sizeof steps[0], "%s %s", what, rest);
    return 0;
}

/* Of the last one. */
static int place_of(const char *what)
{
    for (int i = step_count - 1; i >= 0; i--)
        if (strcmp(steps[i], what) == 0)
            return i;
    cr_expect(false, "%s", what);
    return -1;
}

Test(store_import, is_on_the_disk_before_the_checkpoint_names_it_and_the_old_one_goes_after)
{
    struct store_copy copy = store_copy_of(donor.store);
    disk_hook = note;
    cr_assert_eq(store_copy_install(&copy, f.store), 0);
    disk_hook = NULL;
    cr_assert_lt(step_count, (int)ARRAY_COUNT(steps));
    static const char *const order[] = {
        "mkdir /store.2",           "create /store.2/data.mdb", "append /store.2/data.mdb",
        "sync /store.2/data.mdb",   "sync-dir /store.2",        "write /checkpoint.new",
        "sync /checkpoint.new",     "rename /checkpoint",       "sync-dir ",
        "remove /store.1/data.mdb", "remove /store.1",
    };
    for (size_t i = 1; i < ARRAY_COUNT(order); i++)
        cr_expect_lt(place_of(order[i - 1]), place_of(order[i]), "%s", order[i]);
    cr_expect_str_eq(steps[place_of("write /checkpoint.new") - 1], "sync-dir ",
                     "the new directory is in the state directory");
    store_copy_free(&copy);
}

/* ---- exports that do not go smoothly ---- */

struct export
{
    struct store *s;
    int fd, rc;
};

static void *run_export(void *context)
{
    struct export *e = context;
    e->rc = store_export(e->s, e->fd);
    close(e->fd);
    return NULL;
}

static void start_export(struct export *e, pthread_t *thread, int *from)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    *from = ends[0];
    *e = (struct export){.s = donor.store, .fd = ends[1]};
    cr_assert_eq(pthread_create(thread, NULL, run_export, e), 0);
}

Test(store_import, an_export_ends_when_nobody_reads_it_any_more)
{
    static void (*const dispositions[])(int) = {SIG_IGN, SIG_DFL};
    for (size_t i = 0; i < ARRAY_COUNT(dispositions); i++) {
        signal(SIGPIPE, dispositions[i]);
        struct export e;
        pthread_t thread;
        int from;
        char some[5000];
        start_export(&e, &thread, &from);
        cr_assert_gt(read(from, some, sizeof some), 0);
        close(from);
        pthread_join(thread, NULL);
        cr_expect_eq(e.rc, -EPIPE);
    }
}

Test(store_import, an_export_under_way_goes_on_while_the_state_is_replaced)
{
    struct store_digest exported = store_fixture_digest(&donor);
    struct export e;
    pthread_t thread;
    int from;
    start_export(&e, &thread, &from);
    uint8_t *bytes = malloc(16 << 20);
    cr_assert_not_null(bytes);
    size_t size = 0;
    ssize_t got = read(from, bytes, 5000);
    cr_assert_gt(got, 0);
    size += (size_t)got;

    /* Somebody further ahead gives the donor a state meanwhile. */
    struct store_fixture ahead;
    store_fixture_init_cluster(&ahead, 3);
    while (ahead.slot < donor.slot + 5)
        op_chmod(&ahead, ROOT, 0700);
    store_fixture_install(&donor, &ahead);

    while ((got = read(from, bytes + size, 100000)) > 0)
        size += (size_t)got;
    close(from);
    pthread_join(thread, NULL);
    cr_expect_eq(e.rc, 0);
    struct store_copy copy = {bytes, size, 1};
    cr_expect_eq(store_copy_install(&copy, f.store), 0);
    cr_expect(same_digest(store_fixture_digest_recompute(&f), exported));
    free(bytes);
    store_fixture_deinit(&ahead);
}
