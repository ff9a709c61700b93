#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/store_ops.h"

static struct store_fixture f;
#define ROOT FS_ROOT_INO

static void setup(void)
{
    store_fixture_init(&f);
}

static void teardown(void)
{
    store_fixture_deinit(&f);
}

TestSuite(apply_entry, .init = setup, .fini = teardown);

Test(apply_entry, a_new_file_is_empty_and_its_makers)
{
    struct fs_command c = {.op = FS_CREATE, .parent = ROOT, .name = "a", .name_size = 1};
    c.mode = 0640;
    c.uid = 7;
    c.gid = 8;
    struct fs_outcome o = store_fixture_apply(&f, &c);
    uint64_t now = store_fixture_time(f.slot);
    cr_assert_eq(o.error, 0);
    struct fs_attr a = store_fixture_attr(&f, o.attr.ino);
    cr_expect(same_attr(a, o.attr), "the outcome shows what is stored");
    cr_expect_eq(a.mode, S_IFREG | 0640);
    cr_expect(a.uid == 7 && a.gid == 8 && a.nlink == 1 && a.size == 0 && a.blocks == 0);
    cr_expect(a.atime_ns == now && a.mtime_ns == now && a.ctime_ns == now && a.btime_ns == now);
    cr_expect_eq(store_fixture_find(&f, "/a"), a.ino);
    struct fs_attr root = store_fixture_attr(&f, ROOT);
    cr_expect(root.mtime_ns == now && root.ctime_ns == now && root.nlink == 2);
}

Test(apply_entry, create_of_what_exists)
{
    uint64_t file = made(op_create(&f, ROOT, "file", 0644, 0));
    op_write(&f, file, 0, "data", 4, 0);
    op_mkdir(&f, ROOT, "dir", 0755);
    op_symlink(&f, ROOT, "symlink", "file");
    op_mknod(&f, ROOT, "fifo", S_IFIFO | 0644, 0);
    static const struct {
        const char *name;
        int flags, error;
    } cases[] = {
        {"file", O_EXCL | O_RDWR, EEXIST},
        {"dir", O_EXCL, EEXIST},
        {"symlink", O_EXCL, EEXIST},
        {"dir", O_RDWR, EISDIR},
        {"symlink", O_RDWR, ESTALE},
        {"fifo", O_RDWR, ESTALE},
        {"file", O_RDWR, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fs_outcome o = op_create(&f, ROOT, cases[i].name, 0600, cases[i].flags);
        cr_expect_eq(o.error, cases[i].error, "%s %o", cases[i].name, cases[i].flags);
    }
    cr_expect_eq(store_fixture_attr(&f, file).size, 4);
    cr_expect_eq(store_fixture_attr(&f, file).mode, S_IFREG | 0644, "the mode is the old one");
    struct fs_outcome o = op_create(&f, ROOT, "file", 0600, O_TRUNC | O_WRONLY);
    cr_expect(o.error == 0 && o.attr.ino == file && o.attr.size == 0 && o.attr.blocks == 0);
}

Test(apply_entry, create_opens_an_existing_file_only_where_the_mode_surely_allows_it)
{
    static const struct {
        uint32_t mode, uid, gid;
        int flags, error;
    } cases[] = {
        {0600, 5, 5, O_RDWR, 0},           {0400, 5, 5, O_RDWR, ESTALE},
        {0400, 5, 5, O_RDONLY, 0},         {0600, 6, 6, O_RDONLY, ESTALE},
        {0060, 6, 5, O_RDWR, 0},           {0006, 6, 6, O_RDWR, ESTALE},
        {0666, 6, 6, O_RDWR | O_TRUNC, 0}, {0444, 6, 6, O_TRUNC, ESTALE},
        {0000, 0, 0, O_RDWR, 0},
    };
    struct fs_command c = {.op = FS_CREATE, .parent = ROOT, .name = "a", .name_size = 1};
    c.uid = c.gid = 5;
    uint64_t ino = made(store_fixture_apply(&f, &c));
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        op_chmod(&f, ino, cases[i].mode);
        c.uid = cases[i].uid;
        c.gid = cases[i].gid;
        c.flags = (uint32_t)cases[i].flags;
        cr_expect_eq(store_fixture_apply(&f, &c).error, cases[i].error, "case %zu", i);
    }
}

Test(apply_entry, mkdir_counts_as_a_link_of_its_parent)
{
    struct fs_outcome o = op_mkdir(&f, ROOT, "d", 0751);
    cr_assert_eq(o.error, 0);
    cr_expect(o.attr.mode == (S_IFDIR | 0751) && o.attr.nlink == 2);
    cr_expect_eq(store_fixture_attr(&f, ROOT).nlink, 3);
    cr_expect_eq(op_rmdir(&f, ROOT, "d").error, 0);
    cr_expect_eq(store_fixture_attr(&f, ROOT).nlink, 2);
}

Test(apply_entry, a_setgid_directory_hands_down_its_group)
{
    uint64_t dir = made(op_mkdir(&f, ROOT, "d", 02775));
    struct fs_command chown = {.op = FS_SETATTR, .ino = dir, .set = FS_SET_GID, .set_gid = 50};
    store_fixture_apply(&f, &chown);
    struct fs_outcome sub = op_mkdir(&f, dir, "sub", 0755);
    cr_expect(sub.attr.gid == 50 && sub.attr.mode == (S_IFDIR | 02755));
    struct fs_outcome file = op_create(&f, dir, "file", 0644, 0);
    cr_expect(file.attr.gid == 50 && file.attr.mode == (S_IFREG | 0644));
}

Test(apply_entry, mknod_makes_what_is_no_directory)
{
    static const struct {
        uint32_t mode, rdev, made_mode, made_rdev;
        int error;
    } cases[] = {
        {S_IFIFO | 0600, 5, S_IFIFO | 0600, 0, 0},
        {S_IFSOCK | 0600, 5, S_IFSOCK | 0600, 0, 0},
        {S_IFCHR | 0600, 0x103, S_IFCHR | 0600, 0x103, 0},
        {S_IFBLK | 0600, 0x800, S_IFBLK | 0600, 0x800, 0},
        {S_IFREG | 0600, 5, S_IFREG | 0600, 0, 0},
        {0600, 0, S_IFREG | 0600, 0, 0},
        {S_IFDIR | 0700, 0, 0, 0, EPERM},
        {S_IFLNK | 0700, 0, 0, 0, EINVAL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char name[] = {(char)('a' + i), '\0'};
        struct fs_outcome o = op_mknod(&f, ROOT, name, cases[i].mode, cases[i].rdev);
        cr_expect_eq(o.error, cases[i].error);
        cr_expect(o.attr.mode == cases[i].made_mode && o.attr.rdev == cases[i].made_rdev);
    }
}

Test(apply_entry, a_symlink_keeps_its_target)
{
    static char target[SYMLINK_MAX + 2];
    memset(target, 't', SYMLINK_MAX + 1);
    cr_expect_eq(op_symlink(&f, ROOT, "l", target).error, ENAMETOOLONG);
    cr_expect_eq(op_symlink(&f, ROOT, "l", "").error, ENOENT);
    target[SYMLINK_MAX] = '\0';
    struct fs_outcome o = op_symlink(&f, ROOT, "l", target);
    cr_expect(o.error == 0 && o.attr.mode == (S_IFLNK | 0777) && o.attr.size == SYMLINK_MAX);

    const char *found;
    size_t size;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_assert_eq(store_readlink(f.reader, o.attr.ino, &found, &size), 0);
    cr_expect(size == SYMLINK_MAX && memcmp(found, target, size) == 0);
    cr_expect_eq(store_readlink(f.reader, ROOT, &found, &size), -EINVAL);
    cr_expect_eq(store_readlink(f.reader, 999, &found, &size), -ESTALE);
    store_read_end(f.reader);
}

Test(apply_entry, link_adds_a_name)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    uint64_t dir = made(op_mkdir(&f, ROOT, "d", 0755));
    struct fs_outcome o = op_link(&f, ino, dir, "b");
    cr_expect(o.error == 0 && o.attr.ino == ino && o.attr.nlink == 2);
    cr_expect_eq(o.attr.ctime_ns, store_fixture_time(f.slot));
    cr_expect_eq(store_fixture_find(&f, "/d/b"), ino);
    cr_expect_eq(op_link(&f, ino, ROOT, "a").error, EEXIST);
    cr_expect_eq(op_link(&f, dir, ROOT, "a").error, EEXIST, "before EPERM, as Linux has it");
    cr_expect_eq(op_link(&f, dir, ROOT, "c").error, EPERM);
    cr_expect_eq(op_link(&f, 999, ROOT, "c").error, ESTALE);
    cr_expect_eq(op_unlink(&f, ROOT, "a").error, 0);
    cr_expect_eq(f.change_count, 1, "gone, but no orphan");
    cr_expect_eq(store_fixture_attr(&f, ino).nlink, 1);
}

Test(apply_entry, a_file_has_no_more_than_65000_names)
{
    uint64_t ino = made(op_create(&f, ROOT, "first", 0644, 0));
    store_fixture_begin(&f);
    for (int i = 1; i < 65000; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        cr_assert_eq(op_link(&f, ino, ROOT, name).error, 0);
    }
    cr_expect_eq(op_link(&f, ino, ROOT, "last").error, EMLINK);
    store_fixture_commit(&f);
}

Test(apply_entry, an_orphan_gets_no_new_name)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    op_unlink(&f, ROOT, "a");
    cr_expect_eq(op_link(&f, ino, ROOT, "b").error, ENOENT);
}

Test(apply_entry, unlink_and_rmdir_say_what_is_wrong)
{
    uint64_t dir = made(op_mkdir(&f, ROOT, "dir", 0755));
    uint64_t file = made(op_create(&f, dir, "file", 0644, 0));
    cr_expect_eq(op_unlink(&f, ROOT, "dir").error, EISDIR);
    cr_expect_eq(op_unlink(&f, ROOT, "none").error, ENOENT);
    cr_expect_eq(op_unlink(&f, file, "x").error, ENOTDIR);
    cr_expect_eq(op_unlink(&f, 999, "x").error, ESTALE);
    cr_expect_eq(op_rmdir(&f, dir, "file").error, ENOTDIR);
    cr_expect_eq(op_rmdir(&f, ROOT, "dir").error, ENOTEMPTY);
    cr_expect_eq(op_rmdir(&f, ROOT, "none").error, ENOENT);
    cr_expect_eq(op_unlink(&f, ROOT, "..").error, EINVAL);
    cr_expect_eq(op_unlink(&f, dir, "file").error, 0);
    cr_expect_eq(op_rmdir(&f, ROOT, "dir").error, 0);
    cr_expect_eq(store_fixture_find(&f, "/dir"), 0);
}

Test(apply_entry, unlink_tells_what_is_gone)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    op_unlink(&f, ROOT, "a");
    cr_assert_eq(f.change_count, 2);
    cr_expect(f.changes[0].kind == FS_ENTRY_GONE && f.changes[0].parent == ROOT);
    cr_expect(f.changes[0].ino == ino && f.changes[0].author == 1);
    cr_expect_str_eq(f.changes[0].name, "a");
    cr_expect(f.changes[1].kind == FS_ORPHANED && f.changes[1].ino == ino);
    cr_expect_eq(f.changes[1].slot, f.slot);
}

Test(apply_entry, nothing_is_made_in_a_directory_that_was_removed)
{
    uint64_t dir = made(op_mkdir(&f, ROOT, "dir", 0755));
    uint64_t file = made(op_create(&f, ROOT, "file", 0644, 0));
    op_rmdir(&f, ROOT, "dir");
    cr_expect_eq(op_create(&f, dir, "a", 0644, 0).error, ENOENT);
    cr_expect_eq(op_mkdir(&f, dir, "a", 0755).error, ENOENT);
    cr_expect_eq(op_symlink(&f, dir, "a", "b").error, ENOENT);
    cr_expect_eq(op_link(&f, file, dir, "a").error, ENOENT);
    cr_expect_eq(op_rename(&f, ROOT, "file", dir, "a", 0).error, ENOENT);
    cr_expect_eq(store_fixture_attr(&f, dir).nlink, 0);
}

Test(apply_entry, names_have_255_bytes_at_most)
{
    char name[FILE_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[FILE_NAME_MAX + 1] = '\0';
    cr_expect_eq(op_create(&f, ROOT, name, 0644, 0).error, ENAMETOOLONG);
    cr_expect_eq(op_mkdir(&f, ROOT, name, 0755).error, ENAMETOOLONG);
    cr_expect_eq(op_unlink(&f, ROOT, name).error, ENAMETOOLONG);
    cr_expect_eq(op_rename(&f, ROOT, name, ROOT, "b", 0).error, ENAMETOOLONG);
    name[FILE_NAME_MAX] = '\0';
    cr_expect_eq(op_create(&f, ROOT, name, 0644, 0).error, 0);
    cr_expect_eq(op_unlink(&f, ROOT, name).error, 0);
}

Test(apply_entry, an_inode_number_is_never_used_again)
{
    uint64_t before = 0;
    for (int i = 0; i < 5; i++) {
        uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
        cr_expect_gt(ino, before);
        before = ino;
        op_unlink(&f, ROOT, "a");
        op_forget(&f, ino);
        cr_expect_eq(store_fixture_attr(&f, ino).ino, 0);
    }
}

Test(apply_entry, an_error_changes_nothing)
{
    made(op_mkdir(&f, ROOT, "d", 0755));
    struct fs_attr before = store_fixture_attr(&f, ROOT);
    op_mkdir(&f, ROOT, "d", 0755);
    op_unlink(&f, ROOT, "d");
    op_rmdir(&f, ROOT, "none");
    op_rename(&f, ROOT, "d", 999, "e", 0);
    struct fs_attr after = store_fixture_attr(&f, ROOT);
    cr_expect(same_attr(before, after));
}
