#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/disk.h"
#include "tests/support/store_ops.h"

static struct store_fixture f;
#define ROOT FS_ROOT_INO

static void setup(void)
{
    store_fixture_init(&f);
}

static void teardown(void)
{
    disk_hook = NULL;
    store_fixture_deinit(&f);
}

TestSuite(checkpoint, .init = setup, .fini = teardown);

static const char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", f.dir, name);
    return path;
}

static int reopen(char *error, size_t error_size)
{
    struct store *s;
    int rc = store_open(f.dir, &s, error, error_size);
    if (rc == 0)
        store_close(s);
    return rc;
}

Test(checkpoint, is_where_a_restart_begins)
{
    made(op_create(&f, ROOT, "before", 0644, 0));
    store_fixture_checkpoint(&f);
    uint64_t slot = f.slot;
    cr_expect_eq(store_checkpointed(f.store), slot);
    struct store_digest digest = store_fixture_digest(&f);
    made(op_create(&f, ROOT, "after", 0644, 0));
    store_fixture_reopen(&f);
    cr_expect_eq(f.slot, slot);
    cr_expect_eq(store_checkpointed(f.store), slot);
    cr_expect_eq(store_time_ns(f.store), store_fixture_time(slot));
    cr_expect_neq(store_fixture_find(&f, "/before"), 0);
    cr_expect_eq(store_fixture_find(&f, "/after"), 0);
    struct store_digest again = store_fixture_digest_recompute(&f);
    cr_expect_eq(memcmp(&again, &digest, sizeof again), 0);
}

Test(checkpoint, covers_what_was_committed_when_it_began)
{
    struct store_checkpoint *c, *other;
    made(op_create(&f, ROOT, "before", 0644, 0));
    cr_assert_eq(store_checkpoint_begin(f.store, &c), 0);
    made(op_create(&f, ROOT, "during", 0644, 0));
    cr_expect_eq(store_checkpoint_begin(f.store, &other), -EBUSY, "one at a time");
    cr_assert_eq(store_checkpoint_finish(f.store, c), 0);
    cr_expect_eq(store_checkpointed(f.store), f.slot - 1);
    store_fixture_reopen(&f);
    cr_expect_neq(store_fixture_find(&f, "/before"), 0);
    cr_expect_eq(store_fixture_find(&f, "/during"), 0);
}

Test(checkpoint, many_in_a_row_let_the_file_stop_growing)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    static const uint8_t data[100000];
    struct stat before, after;
    for (int i = 0; i < 200; i++) {
        op_write(&f, ino, 0, data, sizeof data, 0);
        store_fixture_checkpoint(&f);
        if (i == 20)
            cr_assert_eq(stat(path_of("store.1/data.mdb"), &before), 0);
    }
    cr_assert_eq(stat(path_of("store.1/data.mdb"), &after), 0);
    cr_expect_eq(before.st_size, after.st_size, "%ld then %ld", before.st_size, after.st_size);
    cr_expect_eq(store_grown(f.store), 0);
}

Test(checkpoint, tells_how_much_the_file_grew_without_it)
{
    store_fixture_checkpoint(&f);
    for (int i = 0; i < 100; i++)
        op_chmod(&f, ROOT, 0700 + (uint32_t)i % 8);
    cr_expect_gt(store_grown(f.store), 100 * 4096);
    store_fixture_checkpoint(&f);
    cr_expect_eq(store_grown(f.store), 0);
}

Test(checkpoint, is_refused_when_a_byte_of_it_is_wrong)
{
    store_fixture_checkpoint(&f);
    static const off_t places[] = {0, 9, 20, 50, 4000, -1};
    for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
        int fd = open(path_of("checkpoint"), O_RDWR);
        cr_assert_geq(fd, 0);
        struct stat s;
        fstat(fd, &s);
        off_t at = places[i] < 0 ? s.st_size + places[i] : places[i];
        uint8_t byte;
        cr_assert_eq(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
        char error[200];
        cr_expect_eq(reopen(error, sizeof error), -EBADMSG, "byte %ld", (long)at);
        cr_expect(strstr(error, "checkpoint"), "%s", error);
        byte ^= 1;
        cr_assert_eq(pwrite(fd, &byte, 1, at), 1);
        close(fd);
    }
    cr_assert_eq(truncate(path_of("checkpoint"), 100), 0);
    char error[200];
    cr_expect_eq(reopen(error, sizeof error), -EBADMSG);
}

Test(checkpoint, that_is_missing_beside_a_store_is_a_loss_not_a_new_store)
{
    cr_assert_eq(unlink(path_of("checkpoint")), 0);
    char error[200];
    cr_expect_eq(reopen(error, sizeof error), -EBADMSG);
    cr_expect(strstr(error, "missing"), "%s", error);
}

/* ---- steps that fail ---- */

static int fail_at, step;

static int fail_one(const char *what, const char *path)
{
    (void)what, (void)path;
    return ++step == fail_at ? -EIO : 0;
}

static int try_checkpoint(void)
{
    struct store_checkpoint *c;
    int rc = store_checkpoint_begin(f.store, &c);
    return rc ? rc : store_checkpoint_finish(f.store, c);
}

Test(checkpoint, that_failed_leaves_the_one_before_or_itself)
{
    int failures = 0;
    store_fixture_checkpoint(&f); /* the session is in it */
    for (fail_at = 1;; fail_at++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", fail_at);
        uint64_t checkpointed = store_checkpointed(f.store);
        made(op_create(&f, ROOT, name, 0644, 0));
        step = 0;
        disk_hook = fail_one;
        int rc = try_checkpoint();
        disk_hook = NULL;
        if (rc == 0)
            break;
        failures++;
        cr_expect_eq(rc, -EIO);
        cr_expect_eq(store_checkpointed(f.store), checkpointed);
        store_fixture_reopen(&f); /* as the node does after such an error */
        f.epoch = 1;
        f.sequence = f.slot;
        struct store_digest kept = store_fixture_digest(&f);
        struct store_digest is = store_fixture_digest_recompute(&f);
        cr_expect_eq(memcmp(&kept, &is, sizeof kept), 0);
    }
    cr_expect_eq(failures, 4, "write, sync, rename, sync of the directory");
}

Test(checkpoint, of_a_new_store_may_fail_anywhere_and_the_next_try_succeeds)
{
    char dir[128];
    for (fail_at = 1;; fail_at++) {
        snprintf(dir, sizeof dir, "%s/new%d", f.dir, fail_at);
        cr_assert_eq(mkdir(dir, 0700), 0);
        step = 0;
        disk_hook = fail_one;
        struct store *s;
        char error[200];
        int rc = store_open(dir, &s, error, sizeof error);
        disk_hook = NULL;
        if (rc) {
            cr_expect_eq(rc, -EIO);
            rc = store_open(dir, &s, error, sizeof error);
        } else {
            cr_expect_gt(fail_at, 6);
            fail_at = -1;
        }
        cr_assert_eq(rc, 0, "step %d: %s", fail_at, error);
        cr_expect_eq(store_applied(s), 0);
        store_close(s);
        remove_tree(dir);
        if (fail_at < 0)
            break;
    }
}

Test(checkpoint, a_state_directory_that_is_not_there_is_an_error_with_words)
{
    struct store *s;
    char error[200];
    cr_expect_eq(store_open("/nonexistent/paxfs", &s, error, sizeof error), -ENOENT);
    cr_expect(strstr(error, "/nonexistent/paxfs"), "%s", error);
}
