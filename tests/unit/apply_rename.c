#include <criterion/criterion.h>

#include <errno.h>
#include <linux/fs.h>
#include <sys/stat.h>

#include "tests/support/store_ops.h"

static struct store_fixture f;
#define ROOT FS_ROOT_INO

/* /a/ (with /a/sub/), /b/ (with /b/file), /empty/, /file, /other */
static uint64_t a, sub, b, empty, file, other, inner;

static void setup(void)
{
    store_fixture_init(&f);
    a = made(op_mkdir(&f, ROOT, "a", 0755));
    sub = made(op_mkdir(&f, a, "sub", 0755));
    b = made(op_mkdir(&f, ROOT, "b", 0755));
    inner = made(op_create(&f, b, "file", 0644, 0));
    empty = made(op_mkdir(&f, ROOT, "empty", 0755));
    file = made(op_create(&f, ROOT, "file", 0644, 0));
    other = made(op_create(&f, ROOT, "other", 0644, 0));
}

static void teardown(void)
{
    store_fixture_deinit(&f);
}

TestSuite(apply_rename, .init = setup, .fini = teardown);

Test(apply_rename, refuses_what_linux_refuses)
{
    const struct {
        const char *what;
        uint64_t parent, new_parent;
        const char *name, *new_name;
        uint32_t flags;
        int error;
    } cases[] = {
        {"no source", ROOT, ROOT, "none", "x", 0, ENOENT},
        {"source's parent is no directory", file, ROOT, "x", "x", 0, ENOTDIR},
        {"target's parent is no directory", ROOT, file, "other", "x", 0, ENOTDIR},
        {"no such parent", 999, ROOT, "x", "x", 0, ESTALE},
        {"no such target parent", ROOT, 999, "file", "x", 0, ESTALE},
        {"both flags", ROOT, ROOT, "file", "x", RENAME_NOREPLACE | RENAME_EXCHANGE, EINVAL},
        {"whiteout", ROOT, ROOT, "file", "x", RENAME_WHITEOUT, EINVAL},
        {"noreplace and exists", ROOT, ROOT, "file", "other", RENAME_NOREPLACE, EEXIST},
        {"noreplace of itself", ROOT, ROOT, "file", "file", RENAME_NOREPLACE, EEXIST},
        {"exchange with nothing", ROOT, ROOT, "file", "x", RENAME_EXCHANGE, ENOENT},
        {"file over directory", ROOT, ROOT, "file", "empty", 0, EISDIR},
        {"directory over file", ROOT, ROOT, "empty", "file", 0, ENOTDIR},
        {"over a directory that is not empty", ROOT, ROOT, "empty", "b", 0, ENOTEMPTY},
        {"into itself", ROOT, a, "a", "x", 0, EINVAL},
        {"into its own subtree", ROOT, sub, "a", "x", 0, EINVAL},
        {"over its own parent", a, ROOT, "sub", "a", 0, ENOTEMPTY},
        {"exchange with its own child", ROOT, a, "a", "sub", RENAME_EXCHANGE, EINVAL},
        {"exchange with its own parent", a, ROOT, "sub", "a", RENAME_EXCHANGE, EINVAL},
        {"dot", ROOT, ROOT, ".", "x", 0, EINVAL},
        {"to dot dot", ROOT, ROOT, "file", "..", 0, EINVAL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fs_outcome o = op_rename(&f, cases[i].parent, cases[i].name, cases[i].new_parent,
                                        cases[i].new_name, cases[i].flags);
        cr_expect_eq(o.error, cases[i].error, "%s: %d", cases[i].what, o.error);
        cr_expect_eq(f.change_count, 0, "%s", cases[i].what);
    }
    cr_expect(store_fixture_find(&f, "/a/sub") == sub &&
              store_fixture_find(&f, "/b/file") == inner);
}

Test(apply_rename, moves_a_file)
{
    struct fs_outcome o = op_rename(&f, ROOT, "file", a, "moved", 0);
    uint64_t now = store_fixture_time(f.slot);
    cr_expect(o.error == 0 && o.attr.ino == file && o.attr.ctime_ns == now);
    cr_expect_eq(store_fixture_find(&f, "/file"), 0);
    cr_expect_eq(store_fixture_find(&f, "/a/moved"), file);
    cr_expect_eq(store_fixture_attr(&f, ROOT).mtime_ns, now);
    cr_expect_eq(store_fixture_attr(&f, a).mtime_ns, now);
    cr_assert_eq(f.change_count, 1);
    cr_expect(f.changes[0].kind == FS_ENTRY_GONE && f.changes[0].ino == file);
    cr_expect_str_eq(f.changes[0].name, "file");
}

Test(apply_rename, replaces_a_file_and_orphans_it)
{
    struct fs_outcome o = op_rename(&f, ROOT, "file", ROOT, "other", 0);
    cr_expect_eq(o.error, 0);
    cr_expect_eq(store_fixture_find(&f, "/other"), file);
    cr_expect_eq(store_fixture_attr(&f, other).nlink, 0);
    cr_assert_eq(f.change_count, 3);
    cr_expect(f.changes[1].kind == FS_ENTRY_GONE && f.changes[1].ino == other);
    cr_expect(f.changes[2].kind == FS_ORPHANED && f.changes[2].ino == other);
}

Test(apply_rename, moves_a_directory_with_its_link_to_the_parent)
{
    cr_expect_eq(op_rename(&f, a, "sub", b, "sub", 0).error, 0);
    cr_expect_eq(store_fixture_attr(&f, a).nlink, 2);
    cr_expect_eq(store_fixture_attr(&f, b).nlink, 3);
    struct fs_attr up;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_assert_eq(store_lookup(f.reader, sub, "..", 2, &up), 0);
    store_read_end(f.reader);
    cr_expect_eq(up.ino, b);
}

Test(apply_rename, replaces_an_empty_directory)
{
    cr_expect_eq(op_rename(&f, a, "sub", ROOT, "empty", 0).error, 0);
    cr_expect_eq(store_fixture_find(&f, "/empty"), sub);
    cr_expect_eq(store_fixture_attr(&f, empty).nlink, 0);
    cr_expect_eq(store_fixture_attr(&f, a).nlink, 2);
    cr_expect_eq(store_fixture_attr(&f, ROOT).nlink, 5, "a, b and what is now empty");
}

Test(apply_rename, to_another_name_of_the_same_file_does_nothing)
{
    made(op_link(&f, file, a, "same"));
    struct fs_attr before = store_fixture_attr(&f, file);
    cr_expect_eq(op_rename(&f, ROOT, "file", a, "same", 0).error, 0);
    cr_expect_eq(op_rename(&f, ROOT, "file", ROOT, "file", 0).error, 0);
    struct fs_attr after = store_fixture_attr(&f, file);
    cr_expect(same_attr(before, after));
    cr_expect(store_fixture_find(&f, "/file") == file && store_fixture_find(&f, "/a/same") == file);
}

Test(apply_rename, exchanges_two_of_different_kind)
{
    struct fs_outcome o = op_rename(&f, ROOT, "file", a, "sub", RENAME_EXCHANGE);
    cr_expect_eq(o.error, 0);
    cr_expect(store_fixture_find(&f, "/file") == sub && store_fixture_find(&f, "/a/sub") == file);
    cr_expect_eq(store_fixture_attr(&f, a).nlink, 2);
    cr_expect_eq(store_fixture_attr(&f, ROOT).nlink, 6);
    cr_expect_eq(f.change_count, 2, "both names are gone, nothing is orphaned");
}

Test(apply_rename, exchanges_two_directories)
{
    cr_expect_eq(op_rename(&f, a, "sub", ROOT, "b", RENAME_EXCHANGE).error, 0);
    cr_expect(store_fixture_find(&f, "/a/sub") == b && store_fixture_find(&f, "/b") == sub);
    cr_expect_eq(store_fixture_attr(&f, a).nlink, 3);
    cr_expect_eq(store_fixture_attr(&f, ROOT).nlink, 5);
    cr_expect_eq(store_fixture_find(&f, "/a/sub/file"), inner);
}

Test(apply_rename, out_of_a_removed_tree_is_impossible)
{
    uint64_t dir = made(op_mkdir(&f, ROOT, "gone", 0755));
    op_rmdir(&f, ROOT, "gone");
    cr_expect_eq(op_rename(&f, dir, "x", ROOT, "y", 0).error, ENOENT);
}
