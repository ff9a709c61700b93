/* What a full filesystem refuses, and what it never does. */
#include <criterion/criterion.h>

#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/chunk.h"
#include "fs/space.h"
#include "fs/state.h"
#include "tests/support/store_ops.h"

enum { SIZE = 3 * CHUNK_SIZE };

static struct store_fixture f;
static uint64_t file, dir;
static uint8_t data[SIZE];

static uint64_t space(void)
{
    return f.store->meta.space;
}

/* From now on there are @bytes left. */
static void leave(uint64_t bytes)
{
    cr_assert_eq(op_set_capacity(&f, space() + bytes).error, 0);
}

static void set_up(void)
{
    store_fixture_init(&f);
    memset(data, 7, sizeof data);
    file = made(op_create(&f, FS_ROOT_INO, "file", 0644, 0));
    dir = made(op_mkdir(&f, FS_ROOT_INO, "dir", 0755));
    op_write(&f, file, 0, data, SIZE, 0);
}

static void tear_down(void)
{
    store_fixture_deinit(&f);
}

TestSuite(apply_space, .init = set_up, .fini = tear_down);

static struct fs_outcome do_create(void)
{
    return op_create(&f, dir, "new", 0644, 0);
}

static struct fs_outcome do_mkdir(void)
{
    return op_mkdir(&f, dir, "new", 0755);
}

static struct fs_outcome do_mknod(void)
{
    return op_mknod(&f, dir, "new", S_IFIFO | 0644, 0);
}

static struct fs_outcome do_symlink(void)
{
    return op_symlink(&f, dir, "new", "target");
}

static struct fs_outcome do_link(void)
{
    return op_link(&f, file, dir, "new");
}

static struct fs_outcome do_write_beyond(void)
{
    return op_write(&f, file, SIZE, data, SIZE, 0);
}

static struct fs_outcome do_append(void)
{
    return op_write(&f, file, 0, data, 1, FS_WRITE_APPEND);
}

static struct fs_outcome do_write_across(void)
{
    return op_write(&f, file, SIZE - 10, data, 20, 0);
}

static struct fs_outcome do_allocate(void)
{
    return op_fallocate(&f, file, SIZE, 100 * CHUNK_SIZE, 0);
}

static struct fs_outcome do_allocate_within(void)
{
    return op_fallocate(&f, file, 0, SIZE + 10000, FALLOC_FL_KEEP_SIZE);
}

static struct fs_outcome do_setxattr(void)
{
    return op_setxattr(&f, file, "user.new", data, 300, 0);
}

static struct fs_outcome do_rename_longer(void)
{
    return op_rename(&f, FS_ROOT_INO, "file", dir, "a_longer_name", 0);
}

/* Grows by @growth exactly; by 0: by no more than that. */
static const struct growing {
    const char *name;
    struct fs_outcome (*act)(void);
    uint64_t growth;
} growing[] = {
    {"create", do_create, SPACE_INODE + 3 * (3 + 48)},
    {"mkdir", do_mkdir, SPACE_INODE + 3 * (3 + 48)},
    {"mknod", do_mknod, SPACE_INODE + 3 * (3 + 48)},
    {"symlink", do_symlink, SPACE_INODE + 3 * (3 + 48) + 2 * (16 + 24 + 6 + 16)},
    {"link", do_link, 3 * (3 + 48)},
    {"write", do_write_beyond, 3 * (9 * 4096 + 80)},
    {"append", do_append, 2 * (16 + 24 + 1 + 16)},
    {"write across", do_write_across, 2 * (16 + 24 + 10 + 16)},
    {"setxattr", do_setxattr, 2 * (8 + 8 + 300 + 16)},
    {"rename to a longer name", do_rename_longer, 3 * 9},
};

Test(apply_space, what_does_not_fit_is_refused_and_changes_nothing)
{
    for (size_t i = 0; i < ARRAY_COUNT(growing); i++) {
        leave(growing[i].growth - 1);
        uint64_t before = space();
        struct meta meta = f.store->meta;
        cr_expect_eq(growing[i].act().error, ENOSPC, "%s", growing[i].name);
        cr_expect_eq(space(), before, "%s", growing[i].name);
        cr_expect_eq(f.store->meta.inodes, meta.inodes, "%s", growing[i].name);
        cr_expect_eq(f.store->meta.bytes, meta.bytes, "%s", growing[i].name);
    }
    cr_expect_eq(store_fixture_find(&f, "/dir/new"), 0);
    cr_expect_eq(store_fixture_attr(&f, file).size, SIZE);
}

Test(apply_space, what_just_fits_is_done_and_costs_what_it_says)
{
    for (size_t i = 0; i < ARRAY_COUNT(growing); i++) {
        tear_down();
        set_up();
        leave(growing[i].growth);
        uint64_t before = space();
        cr_expect_eq(growing[i].act().error, 0, "%s", growing[i].name);
        cr_expect_eq(space() - before, growing[i].growth, "%s: %lu", growing[i].name,
                     space() - before);
    }
}

Test(apply_space, an_allocation_that_could_not_be_written_is_refused)
{
    leave(9999);
    cr_expect_eq(do_allocate().error, ENOSPC);
    cr_expect_eq(do_allocate_within().error, ENOSPC);
    leave(10000);
    cr_expect_eq(do_allocate_within().error, 0, "the file has the rest");
    cr_expect_eq(op_fallocate(&f, file, 0, SIZE, 0).error, 0);
}

Test(apply_space, what_does_not_grow_succeeds_where_more_is_used_than_there_may_be)
{
    op_create(&f, dir, "other", 0644, 0);
    op_setxattr(&f, file, "user.a", data, 300, 0);
    op_setxattr(&f, file, "user.b", data, 300, 0);
    cr_assert_eq(op_set_capacity(&f, 1).error, 0);
    cr_expect_eq(do_create().error, ENOSPC);
    uint64_t before = space();
    cr_expect_eq(op_write(&f, file, 10, data, CHUNK_SIZE, 0).error, 0);
    cr_expect_eq(op_create(&f, FS_ROOT_INO, "file", 0644, 0).error, 0, "it is there");
    cr_expect_eq(op_chmod(&f, file, 0600).error, 0);
    cr_expect_eq(op_setxattr(&f, file, "user.a", data, 300, 0).error, 0);
    cr_expect_eq(op_rename(&f, FS_ROOT_INO, "file", FS_ROOT_INO, "elif", 0).error, 0);
    cr_expect_eq(op_rename(&f, FS_ROOT_INO, "elif", FS_ROOT_INO, "dir", RENAME_EXCHANGE).error, 0);
    cr_expect_eq(op_rename(&f, FS_ROOT_INO, "elif", FS_ROOT_INO, "dir", RENAME_EXCHANGE).error, 0);
    cr_expect_eq(op_truncate(&f, file, 100 * MIB).error, 0, "a hole");
    cr_expect_eq(space(), before);

    cr_expect_eq(op_removexattr(&f, file, "user.a").error, 0);
    cr_expect_eq(op_setxattr(&f, file, "user.b", data, 200, 0).error, 0);
    cr_expect_eq(
        op_fallocate(&f, file, 0, CHUNK_SIZE + 5, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE).error,
        0);
    cr_expect_eq(op_fallocate(&f, file, 100, CHUNK_SIZE, FALLOC_FL_ZERO_RANGE).error, 0);
    cr_expect_eq(op_truncate(&f, file, CHUNK_SIZE + 10).error, 0);
    cr_expect_eq(op_rename(&f, FS_ROOT_INO, "elif", dir, "other", 0).error, 0, "in its place");
    cr_expect_eq(op_unlink(&f, dir, "other").error, 0);
    cr_expect_eq(op_rmdir(&f, FS_ROOT_INO, "dir").error, 0);
    cr_expect_lt(space(), before);
}

Test(apply_space, all_of_it_comes_back)
{
    tear_down();
    store_fixture_init(&f);
    uint64_t empty = space();
    uint64_t a = made(op_create(&f, FS_ROOT_INO, "a", 0644, 0));
    uint64_t d = made(op_mkdir(&f, FS_ROOT_INO, "d", 0755));
    op_symlink(&f, d, "s", "somewhere");
    op_link(&f, a, d, "another name of it");
    op_write(&f, a, 5, data, SIZE, 0);
    op_write(&f, a, 100 * MIB, data, 5000, 0);
    op_setxattr(&f, a, "user.small", data, 10, 0);
    op_setxattr(&f, a, "user.large", data, 60000, 0);
    op_setxattr(&f, a, "user.large", data, 6000, 0);
    op_rename(&f, d, "another name of it", d, "x", 0);
    op_rename(&f, d, "x", FS_ROOT_INO, "a much longer name than before", 0);
    cr_expect_gt(space(), empty + SIZE + 5000 + 6000);
    op_unlink(&f, FS_ROOT_INO, "a");
    op_unlink(&f, FS_ROOT_INO, "a much longer name than before");
    op_unlink(&f, d, "s");
    op_rmdir(&f, FS_ROOT_INO, "d");
    op_forget(&f, a);
    op_forget(&f, d);
    op_forget(&f, d + 1);
    while (store_fixture_has_garbage(&f))
        op_reap(&f, 1000);
    cr_expect_eq(space(), empty, "%lu, not %lu", space(), empty);
}

Test(apply_space, the_capacity_is_in_the_digest_and_outlives_a_restart)
{
    struct store_digest before = store_fixture_digest(&f);
    op_set_capacity(&f, 1000000);
    struct store_digest after = store_fixture_digest(&f);
    cr_expect(memcmp(before.digest, after.digest, sizeof after.digest) != 0);
    store_fixture_checkpoint(&f);
    store_fixture_reopen(&f);
    struct store_usage usage;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_assert_eq(store_usage(f.reader, &usage), 0);
    store_read_end(f.reader);
    cr_expect_eq(usage.capacity, 1000000);
    cr_expect_eq(usage.space, space());
    op_set_capacity(&f, 0);
    cr_expect_eq(do_create().error, 0, "no bound");
}
