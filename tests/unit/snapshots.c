/* tests/unit/snapshots.c: a restart after a snapshot was installed and before the log knew. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "fs/disk.h"
#include "node/node.h"
#include "node/wal_internal.h"
#include "tests/support/memdisk.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"

enum { SEGMENT = 64 * 1024, ROOT = 1 };

static struct store_fixture f;
static struct memdisk *disk;
static struct wal *wal;
static struct wal_recovered recovered;

static void open_log(void)
{
    struct wal_io io = memdisk_io(disk);
    char error[256];
    cr_assert_eq(wal_open_with(&io, "wal", SEGMENT, &wal, &recovered, error, sizeof error), 0);
}

static void setup(void)
{
    store_fixture_init_cluster(&f, 3);
    for (int i = 0; i < 9; i++) {
        char name[2] = {(char)('a' + i), '\0'};
        cr_assert_eq(op_create(&f, ROOT, name, 0644, 0).error, 0);
    }
    disk = memdisk_new();
    open_log();
    for (uint64_t slot = 1; slot <= 20; slot++) {
        struct persist record = {.kind = PERSIST_ACCEPT, .number = slot};
        record.pvalue = (struct pvalue){.ballot = {1, 1}, .slot = slot, .command = command_noop()};
        cr_assert_eq(wal_append(wal, &record), 0);
    }
    cr_assert_eq(wal_sync(wal), 0);
}

static void teardown(void)
{
    wal_close(wal);
    memdisk_free(disk);
    store_fixture_deinit(&f);
}

TestSuite(snapshots, .init = setup, .fini = teardown);

static void note(const char *text)
{
    cr_assert_eq(disk_replace(f.dir, "snapshot-installed", text, strlen(text)), 0);
}

static bool is_noted(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/snapshot-installed", f.dir);
    return access(path, F_OK) == 0;
}

static uint64_t collected_after_a_crash(void)
{
    memdisk_kill(disk);
    wal_close(wal);
    open_log();
    return recovered.collected;
}

Test(snapshots, a_log_without_a_note_is_left_as_it_is)
{
    cr_assert_eq(snapshots_recover(f.dir, f.store, wal), 0);
    cr_expect_eq(collected_after_a_crash(), 0);
}

Test(snapshots, what_the_log_holds_of_installed_slots_is_never_given_again)
{
    cr_assert_eq(store_applied(f.store), 10);
    cr_assert_eq(snapshots_note(f.dir, f.store, 10), 0);
    cr_assert_eq(snapshots_recover(f.dir, f.store, wal), 0);
    cr_expect(!is_noted());
    cr_expect_eq(collected_after_a_crash(), 10);
    cr_expect_eq(recovered.slot_max, 20, "votes above it are kept");
}

Test(snapshots, a_snapshot_that_was_not_installed_takes_nothing_from_the_log)
{
    cr_assert_eq(snapshots_note(f.dir, f.store, 11), 0);
    cr_assert_eq(snapshots_recover(f.dir, f.store, wal), 0);
    cr_expect(!is_noted());
    cr_expect_eq(collected_after_a_crash(), 0);
}

/* The log forgets in memory first, and on the disk with what is next written to it: which may be
 * long after, on a host that hears nothing. */
Test(snapshots, one_that_was_installed_is_not_forgotten_for_one_that_was_not)
{
    store_fixture_checkpoint(&f);
    cr_assert_eq(snapshots_note(f.dir, f.store, 10), 0);
    cr_assert_eq(snapshots_note(f.dir, f.store, 15), 0);
    cr_assert_eq(snapshots_note(f.dir, f.store, 17), 0);
    cr_assert_eq(snapshots_recover(f.dir, f.store, wal), 0);
    cr_expect_eq(collected_after_a_crash(), 10);
}

Test(snapshots, a_note_that_nobody_can_read_stops_the_start)
{
    note("slat\n");
    cr_expect_eq(snapshots_recover(f.dir, f.store, wal), -EBADMSG);
    note("slot=10\n");
    cr_expect_eq(snapshots_recover(f.dir, f.store, wal), -EBADMSG);
}

Test(snapshots, the_note_stays_where_the_log_fails)
{
    cr_assert_eq(snapshots_note(f.dir, f.store, 10), 0);
    memdisk_fail_sync(disk, -EIO);
    cr_expect_eq(snapshots_recover(f.dir, f.store, wal), -EIO);
    cr_expect(is_noted());
}
