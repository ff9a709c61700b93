#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/store_ops.h"

static struct store_fixture f;
static uint64_t file, dir;
#define ROOT FS_ROOT_INO

static void setup(void)
{
    store_fixture_init(&f);
    file = made(op_create(&f, ROOT, "file", 0644, 0));
    dir = made(op_mkdir(&f, ROOT, "dir", 0755));
}

static void teardown(void)
{
    store_fixture_deinit(&f);
}

TestSuite(apply_attr, .init = setup, .fini = teardown);

static struct fs_outcome set(uint64_t ino, struct fs_command c)
{
    c.op = FS_SETATTR;
    c.ino = ino;
    return store_fixture_apply(&f, &c);
}

Test(apply_attr, setattr_sets_what_it_names)
{
    struct fs_attr before = store_fixture_attr(&f, file);
    struct fs_outcome o = set(file, (struct fs_command){.set = FS_SET_MODE, .mode = 0600});
    cr_expect_eq(o.attr.mode, S_IFREG | 0600);
    cr_expect_eq(o.attr.mtime_ns, before.mtime_ns);
    cr_expect_eq(o.attr.ctime_ns, store_fixture_time(f.slot));

    o = set(file, (struct fs_command){.set = FS_SET_UID, .set_uid = 9, .set_gid = 9});
    cr_expect(o.attr.uid == 9 && o.attr.gid == 0);
    o = set(file, (struct fs_command){.set = FS_SET_GID, .set_gid = 8});
    cr_expect(o.attr.uid == 9 && o.attr.gid == 8);

    o = set(file,
            (struct fs_command){.set = FS_SET_ATIME | FS_SET_MTIME, .atime_ns = 1, .mtime_ns = 2});
    cr_expect(o.attr.atime_ns == 1 && o.attr.mtime_ns == 2);
    o = set(file, (struct fs_command){.set = FS_SET_ATIME_NOW | FS_SET_MTIME_NOW});
    cr_expect_eq(o.attr.atime_ns, store_fixture_time(f.slot));
    cr_expect_eq(o.attr.mtime_ns, store_fixture_time(f.slot));
    cr_expect_eq(o.attr.btime_ns, before.btime_ns);
    cr_expect(same_attr(o.attr, store_fixture_attr(&f, file)));
}

Test(apply_attr, setattr_of_nothing_changes_nothing)
{
    struct fs_attr before = store_fixture_attr(&f, file);
    struct fs_outcome o = set(file, (struct fs_command){.set = 0});
    cr_expect(o.error == 0 && same_attr(o.attr, before));
}

Test(apply_attr, setattr_refuses_bits_it_does_not_know_and_inodes_it_does_not_have)
{
    cr_expect_eq(set(file, (struct fs_command){.set = 1u << 30}).error, EINVAL);
    cr_expect_eq(set(999, (struct fs_command){.set = FS_SET_MODE}).error, ESTALE);
}

/* How suid and sgid fall: 06755 has both; 02644 is a file for mandatory locks, whose bit stays. */
Test(apply_attr, privileges_fall_as_on_linux)
{
    static const struct {
        const char *what;
        uint32_t mode, set, left;
    } cases[] = {
        {"chown", 06755, FS_SET_UID, 0755},
        {"chgrp", 06755, FS_SET_GID, 0755},
        {"chown, mandatory locks", 06644, FS_SET_UID, 02644},
        {"truncate by who may not keep them", 06755, FS_SET_SIZE | FS_SET_KILL_PRIV, 0755},
        {"truncate by who may", 06755, FS_SET_SIZE, 06755},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        op_chmod(&f, file, cases[i].mode);
        struct fs_outcome o = set(file, (struct fs_command){.set = cases[i].set});
        cr_expect_eq(o.attr.mode, S_IFREG | cases[i].left, "%s: %o", cases[i].what, o.attr.mode);
    }
    op_chmod(&f, dir, 06755);
    struct fs_outcome o = set(dir, (struct fs_command){.set = FS_SET_UID | FS_SET_GID});
    cr_expect_eq(o.attr.mode, S_IFDIR | 06755, "a directory keeps them");
}

static bool has_xattr(const char *name)
{
    const void *value;
    size_t size;
    cr_assert_eq(store_read_begin(f.reader), 0);
    int rc = store_getxattr(f.reader, file, name, &value, &size);
    store_read_end(f.reader);
    cr_assert(rc == 0 || rc == -ENODATA);
    return rc == 0;
}

Test(apply_attr, a_write_by_who_may_not_keep_them_drops_privileges)
{
    op_chmod(&f, file, 06755);
    op_write(&f, file, 0, "x", 1, 0);
    cr_expect_eq(store_fixture_attr(&f, file).mode, S_IFREG | 06755);
    op_write(&f, file, 0, "x", 1, FS_WRITE_KILL_PRIV);
    cr_expect_eq(store_fixture_attr(&f, file).mode, S_IFREG | 0755);
}

/* As the kernel's own file systems do it: root, too, has changed what the capability was given for.
 */
Test(apply_attr, a_capability_falls_whoever_changes_the_content)
{
    static const char *const changes[] = {"write",   "write and kill", "truncate", "grow",
                                          "O_TRUNC", "punch",          "allocate"};
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        op_write(&f, file, 0, "some", 4, 0);
        op_chmod(&f, file, 06755);
        op_setxattr(&f, file, "security.capability", "cap", 3, 0);
        op_setxattr(&f, file, "user.kept", "v", 1, 0);
        struct fs_outcome o = {.error = 0};
        switch (i) {
        case 0:
            o = op_write(&f, file, 0, "x", 1, 0);
            break;
        case 1:
            o = op_write(&f, file, 0, "x", 1, FS_WRITE_KILL_PRIV);
            break;
        case 2:
            o = op_truncate(&f, file, 2);
            break;
        case 3:
            o = op_truncate(&f, file, 200);
            break;
        case 4:
            o = op_create(&f, ROOT, "file", 0644, O_RDWR | O_TRUNC);
            break;
        case 5:
            o = op_fallocate(&f, file, 0, 2, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
            break;
        default:
            o = op_fallocate(&f, file, 0, 1000, 0);
            break;
        }
        cr_expect(o.error == 0 && o.attr.ino == file);
        cr_expect_eq(o.attr.mode, S_IFREG | (i == 1 ? 0755u : 06755u), "%s", changes[i]);
        cr_expect_not(has_xattr("security.capability"), "%s", changes[i]);
        cr_expect(has_xattr("user.kept"), "%s", changes[i]);
    }
}

Test(apply_attr, what_leaves_the_content_leaves_the_capability)
{
    op_setxattr(&f, file, "security.capability", "cap", 3, 0);
    op_write(&f, file, 0, "", 0, 0);
    op_chmod(&f, file, 0700);
    set(file, (struct fs_command){.set = FS_SET_MTIME | FS_SET_ATIME});
    op_create(&f, ROOT, "file", 0644, O_RDWR);
    cr_expect(has_xattr("security.capability"));
}

Test(apply_attr, a_chosen_mtime_is_told)
{
    const struct {
        uint32_t set;
        bool told;
    } cases[] = {
        {FS_SET_MTIME, true},
        {FS_SET_MTIME | FS_SET_ATIME, true},
        {FS_SET_MTIME_NOW, false}, /* grows from slot to slot */
        {FS_SET_MTIME | FS_SET_MTIME_NOW, false},
        {FS_SET_ATIME | FS_SET_MODE, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        set(file, (struct fs_command){.set = cases[i].set, .mtime_ns = 1});
        cr_assert_eq(f.change_count, cases[i].told, "case %zu", i);
        if (cases[i].told)
            cr_expect(f.changes[0].kind == FS_MTIME_SET && f.changes[0].ino == file);
    }
    set(999, (struct fs_command){.set = FS_SET_MTIME});
    cr_expect_eq(f.change_count, 0, "nothing was set");
}

Test(apply_attr, xattrs_are_set_replaced_read_listed_and_removed)
{
    const void *value;
    size_t size;
    char list[64];
    struct fs_outcome o = op_setxattr(&f, file, "user.b", "one", 3, XATTR_CREATE);
    cr_expect(o.error == 0 && o.attr.ctime_ns == store_fixture_time(f.slot));
    cr_expect_eq(op_setxattr(&f, file, "user.b", "other", 5, XATTR_REPLACE).error, 0);
    cr_expect_eq(op_setxattr(&f, file, "trusted.a", "", 0, 0).error, 0);

    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_expect_eq(store_getxattr(f.reader, file, "user.b", &value, &size), 0);
    cr_expect(size == 5 && memcmp(value, "other", 5) == 0);
    cr_expect_eq(store_getxattr(f.reader, file, "trusted.a", &value, &size), 0);
    cr_expect_eq(size, 0);
    cr_expect_eq(store_getxattr(f.reader, file, "user.none", &value, &size), -ENODATA);
    cr_expect_eq(store_getxattr(f.reader, 999, "user.b", &value, &size), -ESTALE);
    cr_expect_eq(store_listxattr(f.reader, file, NULL, 0), 17);
    cr_expect_eq(store_listxattr(f.reader, file, list, 16), -ERANGE);
    cr_expect_eq(store_listxattr(f.reader, file, list, sizeof list), 17);
    cr_expect_eq(memcmp(list, "trusted.a\0user.b", 17), 0);
    cr_expect_eq(store_listxattr(f.reader, dir, list, sizeof list), 0);
    store_read_end(f.reader);

    cr_expect_eq(op_removexattr(&f, file, "user.b").error, 0);
    cr_expect_eq(op_removexattr(&f, file, "user.b").error, ENODATA);
    cr_expect_eq(op_removexattr(&f, file, "trusted.a").error, 0);
}

Test(apply_attr, setxattr_says_what_is_wrong)
{
    static char name[XATTR_NAME_SIZE_MAX + 2], value[XATTR_VALUE_SIZE_MAX + 1];
    memset(name, 'n', sizeof name - 1);
    memcpy(name, "user.", 5);
    op_setxattr(&f, file, "user.here", "v", 1, 0);
    const struct {
        const char *name;
        size_t size;
        uint32_t flags;
        int error;
    } cases[] = {
        {"user.here", 1, XATTR_CREATE, EEXIST},
        {"user.none", 1, XATTR_REPLACE, ENODATA},
        {"user.none", 1, 4, EINVAL},
        {"user.", 1, 0, EINVAL},
        {"system.posix_acl_access", 1, 0, EOPNOTSUPP},
        {"nonsense", 1, 0, EOPNOTSUPP},
        {name, 1, 0, ERANGE},
        {"user.large", sizeof value, 0, E2BIG},
        {"user.large", sizeof value - 1, 0, 0},
        {"security.selinux", 10, 0, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(
            op_setxattr(&f, file, cases[i].name, value, cases[i].size, cases[i].flags).error,
            cases[i].error, "%.20s", cases[i].name);
    cr_expect_eq(op_setxattr(&f, 999, "user.a", "v", 1, 0).error, ESTALE);
    cr_expect_eq(op_removexattr(&f, 999, "user.a").error, ESTALE);
}

Test(apply_attr, an_inode_has_bounded_room_for_xattrs)
{
    static const char value[XATTR_VALUE_SIZE_MAX];
    char name[32];
    int error = 0, count = 0;
    for (; count < 1000 && error == 0; count++) {
        snprintf(name, sizeof name, "user.%d", count);
        error = op_setxattr(&f, file, name, value, sizeof value, 0).error;
    }
    cr_expect_eq(error, ENOSPC);
    cr_expect_eq(op_setxattr(&f, file, "user.0", "small", 5, 0).error, 0, "smaller always fits");
    error = 0;
    for (count = 0; count < 1000 && error == 0; count++) {
        snprintf(name, sizeof name, "user.%d", count);
        error = op_setxattr(&f, dir, name, NULL, 0, 0).error;
    }
    cr_expect(error == ENOSPC && count == 256);
}
