#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fs/apply.h"
#include "fs/chunk.h"
#include "fs/state.h"
#include "tests/support/store_ops.h"

static struct store_fixture f;
static uint8_t data[WRITE_SIZE_MAX], back[2 * WRITE_SIZE_MAX];
#define ROOT FS_ROOT_INO

static void setup(void)
{
    store_fixture_init(&f);
    memset(data, 'd', sizeof data);
}

static void teardown(void)
{
    store_fixture_deinit(&f);
}

TestSuite(apply_orphan, .init = setup, .fini = teardown);

static struct store_usage usage(void)
{
    struct store_usage u;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_assert_eq(store_usage(f.reader, &u), 0);
    store_read_end(f.reader);
    return u;
}

/* @node, whose session is in epoch 1, with commands numbered from @sequence + 1 on. */
static void become(uint64_t node, uint64_t sequence)
{
    f.node = node;
    f.epoch = 1;
    f.sequence = sequence;
}

static void reap_all(uint64_t step)
{
    for (int i = 0; store_has_garbage(f.store); i++) {
        cr_assert_lt(i, 10000);
        op_reap(&f, step);
    }
}

Test(apply_orphan, an_open_file_outlives_its_name)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    op_setxattr(&f, ino, "user.a", "v", 1, 0);
    op_write(&f, ino, 0, data, 100, 0);
    op_unlink(&f, ROOT, "a");
    cr_expect_eq(usage().orphans, 1);
    cr_expect_eq(op_write(&f, ino, 100, data, 100, 0).error, 0);
    cr_expect_eq(store_fixture_read(&f, ino, back, sizeof back), 200);
    op_forget(&f, ino);
    cr_expect_eq(store_fixture_attr(&f, ino).ino, 0);
    cr_expect(usage().orphans == 0 && usage().inodes == 1 && usage().bytes == 0);
    op_forget(&f, ino);
    cr_expect_eq(usage().inodes, 1, "forgetting twice does no harm");
}

Test(apply_orphan, stays_until_every_session_has_forgotten_it)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    store_fixture_session(&f, 2, 1);
    store_fixture_session(&f, 3, 1);
    op_unlink(&f, ROOT, "a");
    store_fixture_session(&f, 4, 1); /* too late to hold it */
    op_forget(&f, ino);
    for (uint64_t node = 1; node <= 3; node++) {
        cr_expect_eq(store_fixture_attr(&f, ino).ino, ino, "before node %lu", node);
        become(node, 10);
        op_forget(&f, ino);
    }
    cr_expect_eq(store_fixture_attr(&f, ino).ino, 0);
}

Test(apply_orphan, a_session_opened_anew_releases_what_its_former_life_held)
{
    uint64_t one = made(op_create(&f, ROOT, "a", 0644, 0));
    uint64_t two = made(op_create(&f, ROOT, "b", 0644, 0));
    store_fixture_session(&f, 2, 1);
    op_unlink(&f, ROOT, "a");
    op_unlink(&f, ROOT, "b");
    become(1, 10);
    op_forget(&f, one);
    store_fixture_session(&f, 2, 1); /* a retry of the same open changes nothing */
    cr_expect_eq(store_fixture_attr(&f, one).ino, one);
    store_fixture_session(&f, 2, 2);
    reap_all(10);
    cr_expect_eq(store_fixture_attr(&f, one).ino, 0);
    cr_expect_eq(store_fixture_attr(&f, two).ino, two, "node 1 holds it still");
}

Test(apply_orphan, what_a_new_life_of_a_session_holds_stays_while_the_former_one_is_reaped)
{
    uint64_t one = made(op_create(&f, ROOT, "a", 0644, 0));
    uint64_t two = made(op_create(&f, ROOT, "b", 0644, 0));
    uint64_t three = made(op_create(&f, ROOT, "c", 0644, 0));
    op_unlink(&f, ROOT, "a");
    store_fixture_session(&f, 1, 2);
    op_unlink(&f, ROOT, "b");
    op_reap(&f, 1);
    store_fixture_session(&f, 1, 3); /* again, before the reaper got through */
    op_unlink(&f, ROOT, "c");
    reap_all(1);
    cr_expect_eq(store_fixture_attr(&f, one).ino, 0);
    cr_expect_eq(store_fixture_attr(&f, two).ino, 0);
    cr_expect_eq(store_fixture_attr(&f, three).ino, three);
    cr_expect_eq(usage().orphans, 1);
}

/* What a slot deletes is seen in the records that are left. */
static uint64_t chunks_left(void)
{
    return usage().bytes / 4096; /* each chunk has one byte */
}

static void make_file(const char *name, uint64_t chunks)
{
    uint64_t ino = made(op_create(&f, ROOT, name, 0644, 0));
    for (uint64_t i = 0; i < chunks; i++)
        op_write(&f, ino, i * CHUNK_SIZE, "x", 1, 0);
}

Test(apply_orphan, the_end_of_a_session_frees_nothing_in_its_own_slot_and_little_in_each_later)
{
    enum { FILES = 40, CHUNKS = 5, BUDGET = 16 };
    store_fixture_limit(&f, BUDGET);
    char name[16];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "f%d", i);
        make_file(name, CHUNKS);
        op_unlink(&f, ROOT, name);
    }
    store_fixture_session(&f, 1, 2);
    cr_expect_eq(chunks_left(), FILES * CHUNKS);
    cr_expect_eq(usage().orphans, FILES);
    int steps = 0;
    for (uint64_t before = chunks_left(); store_has_garbage(f.store); before = chunks_left()) {
        op_reap(&f, UINT64_MAX);
        cr_assert_leq(before - chunks_left(), BUDGET);
        cr_assert_lt(++steps, 1000);
    }
    cr_expect_geq(steps, FILES * CHUNKS / BUDGET);
    cr_expect(usage().inodes == 1 && usage().orphans == 0 && usage().bytes == 0);
}

Test(apply_orphan, forgetting_many_frees_what_one_slot_may_and_the_rest_later)
{
    enum { FILES = 12, CHUNKS = 5, BUDGET = 16 };
    store_fixture_limit(&f, BUDGET);
    uint8_t inos[8 * FILES] = {0};
    char name[16];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "f%d", i);
        make_file(name, CHUNKS);
        inos[8 * i] = (uint8_t)store_fixture_find(&f, name);
        op_unlink(&f, ROOT, name);
    }
    struct fs_command c = {.op = FS_FORGET, .inos = inos, .ino_count = FILES};
    cr_assert_eq(store_fixture_apply(&f, &c).error, 0);
    cr_expect_lt(chunks_left(), FILES * CHUNKS);
    cr_expect_geq(chunks_left(), FILES * CHUNKS - BUDGET);
    reap_all(BUDGET);
    cr_expect(usage().inodes == 1 && usage().orphans == 0 && usage().bytes == 0);
}

Test(apply_orphan, one_with_many_xattrs_is_freed_in_steps_too)
{
    store_fixture_limit(&f, 10);
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    char name[16];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "user.%d", i);
        cr_assert_eq(op_setxattr(&f, ino, name, "v", 1, 0).error, 0);
    }
    op_unlink(&f, ROOT, "a");
    op_forget(&f, ino);
    cr_expect_eq(usage().inodes, 2);
    for (int steps = 1; steps <= 5; steps++) {
        cr_expect_eq(usage().inodes, 2);
        op_reap(&f, UINT64_MAX);
    }
    cr_expect_eq(usage().inodes, 2, "the inode itself is the 51st");
    op_reap(&f, UINT64_MAX);
    cr_expect_eq(usage().inodes, 1);
    reap_all(10);
}

Test(apply_orphan, a_removed_directory_is_one_too)
{
    uint64_t dir = made(op_mkdir(&f, ROOT, "d", 0755));
    op_rmdir(&f, ROOT, "d");
    cr_expect_eq(f.changes[1].kind, FS_ORPHANED);
    cr_expect_eq(store_fixture_attr(&f, dir).nlink, 0);
    op_forget(&f, dir);
    cr_expect_eq(store_fixture_attr(&f, dir).ino, 0);
}

Test(apply_orphan, a_file_that_still_has_a_name_is_not_forgotten)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    op_forget(&f, ino);
    cr_expect_eq(store_fixture_attr(&f, ino).ino, ino);
}

Test(apply_orphan, a_large_one_is_freed_in_steps)
{
    enum { MEBIBYTES = 16 };
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    for (uint64_t i = 0; i < MEBIBYTES; i++)
        op_write(&f, ino, i * MIB, data, MIB, 0);
    op_unlink(&f, ROOT, "a");
    cr_expect_not(store_has_garbage(f.store), "somebody holds it");
    op_forget(&f, ino);
    cr_expect(store_has_garbage(f.store));
    uint64_t before = usage().bytes;
    cr_expect_eq(before, MEBIBYTES * MIB);
    op_reap(&f, 10);
    cr_expect_eq(usage().bytes, before - 10 * CHUNK_SIZE);
    int steps = 1;
    for (; store_has_garbage(f.store) && steps < 1000; steps++)
        op_reap(&f, 10);
    cr_expect_eq(steps, (MEBIBYTES * MIB / CHUNK_SIZE + 9) / 10);
    cr_expect(usage().bytes == 0 && usage().inodes == 1);
    op_reap(&f, UINT64_MAX);
    cr_expect_eq(usage().inodes, 1, "nothing left to reap");
}

Test(apply_orphan, reaping_is_bounded_whatever_is_asked_for)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    for (uint64_t i = 0; i < SLOT_DELETIONS_MAX + 10; i++)
        op_write(&f, ino, i * CHUNK_SIZE, "x", 1, 0);
    op_unlink(&f, ROOT, "a");
    op_forget(&f, ino);
    op_reap(&f, UINT64_MAX);
    cr_expect_eq(usage().bytes, 10 * 4096);
}

Test(apply_orphan, no_more_are_forgotten_at_once_than_a_command_may_name)
{
    static uint8_t inos[8 * (FORGET_INOS_MAX + 1)];
    struct fs_command c = {.op = FS_FORGET, .inos = inos, .ino_count = FORGET_INOS_MAX};
    cr_expect_eq(store_fixture_apply(&f, &c).error, 0);
    c.ino_count++;
    cr_expect_eq(store_fixture_apply(&f, &c).error, EINVAL);
}
