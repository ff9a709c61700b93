#include <criterion/criterion.h>

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "tests/support/store_ops.h"

static uint8_t bytes[COMMAND_SIZE_MAX + 1];
static const uint8_t inos[16] = {1, 2, 3};

/* One command of each kind, every field it has set to something. */
static const struct fs_command samples[] = {
    {.op = FS_CREATE, .parent = 7, .name = "a", .name_size = 1, .mode = 0644, .flags = 0200},
    {.op = FS_MKDIR, .parent = 7, .name = "dir", .name_size = 3, .mode = 0755},
    {.op = FS_MKNOD, .parent = 7, .name = "n", .name_size = 1, .mode = 020600, .rdev = 0x103},
    {.op = FS_SYMLINK, .parent = 7, .name = "s", .name_size = 1, .data = "to", .data_size = 2},
    {.op = FS_LINK, .ino = 9, .parent = 7, .name = "l", .name_size = 1},
    {.op = FS_UNLINK, .parent = UINT64_MAX, .name = "u", .name_size = 1},
    {.op = FS_RMDIR, .parent = 7, .name = "r", .name_size = 1},
    {.op = FS_RENAME,
     .parent = 7,
     .name = "old",
     .name_size = 3,
     .new_parent = 8,
     .new_name = "newer",
     .new_name_size = 5,
     .flags = 2},
    {.op = FS_SETATTR,
     .ino = 9,
     .set = 0x1ff,
     .mode = 0600,
     .set_uid = 1,
     .set_gid = 2,
     .size = 3,
     .atime_ns = 4,
     .mtime_ns = 5},
    {.op = FS_WRITE, .ino = 9, .offset = 1 << 20, .flags = 3, .data = "data", .data_size = 4},
    {.op = FS_FALLOCATE, .ino = 9, .offset = 5, .size = 6, .mode = 3},
    {.op = FS_SETXATTR,
     .ino = 9,
     .name = "user.a/b",
     .name_size = 8,
     .flags = 1,
     .data = "v",
     .data_size = 1},
    {.op = FS_REMOVEXATTR, .ino = 9, .name = "user.a", .name_size = 6},
    {.op = FS_FORGET, .inos = inos, .ino_count = 2},
    {.op = FS_REAP, .size = 100},
    {.op = FS_SESSION_OPEN, .nonce = 0x1234567890abcdef},
    {.op = FS_VERIFY, .nonce = 77},
    {.op = FS_INVITE,
     .name = "d",
     .name_size = 1,
     .mode = FS_INVITE_VOTER,
     .size = UINT64_MAX,
     .nonce = 3,
     .data = "0123456789abcdef",
     .data_size = SECRET_SIZE},
    {.op = FS_JOIN,
     .nonce = 9,
     .name = "d",
     .name_size = 1,
     .new_name = "[::1]:7600",
     .new_name_size = 10,
     .data = "0123456789abcdef",
     .data_size = SECRET_SIZE},
    {.op = FS_PROMOTE, .nonce = 9},
    {.op = FS_REPLACE, .nonce = 3, .ino = 9},
    {.op = FS_REMOVE, .nonce = UINT64_MAX},
    {.op = FS_SET_ADDRESS, .nonce = 9, .name = "1.2.3.4:7600", .name_size = 12},
    {.op = FS_SESSION_EXPIRE, .nonce = 9, .ino = 2, .size = 1000},
    {.op = FS_SET_CAPACITY, .size = 1 << 30},
};

static size_t encode_sample(size_t i)
{
    struct fs_command c = samples[i];
    c.uid = 1000;
    c.gid = 100;
    size_t size = fs_command_encode(&c, bytes, sizeof bytes);
    cr_assert_gt(size, 0);
    return size;
}

static bool same_bytes(const void *a, size_t a_size, const void *b, size_t b_size)
{
    return a_size == b_size && (a_size == 0 || memcmp(a, b, a_size) == 0);
}

Test(fs_command, comes_back_as_it_was_encoded)
{
    for (size_t i = 0; i < ARRAY_COUNT(samples); i++) {
        size_t size = encode_sample(i);
        const struct fs_command *in = &samples[i];
        struct fs_command out;
        cr_assert_eq(fs_command_decode(bytes, size, &out), 0, "%s", fs_op_name(in->op));
        cr_expect_eq(out.op, in->op);
        cr_expect_eq(out.uid, 1000);
        cr_expect_eq(out.gid, 100);
        cr_expect(same_bytes(out.name, out.name_size, in->name, in->name_size));
        cr_expect(same_bytes(out.new_name, out.new_name_size, in->new_name, in->new_name_size));
        cr_expect(same_bytes(out.data, out.data_size, in->data, in->data_size));
        cr_expect(same_bytes(out.inos, out.ino_count * 8, in->inos, in->ino_count * 8));
        cr_expect(out.ino == in->ino && out.parent == in->parent);
        cr_expect(out.new_parent == in->new_parent && out.mode == in->mode);
        cr_expect(out.rdev == in->rdev && out.flags == in->flags && out.set == in->set);
        cr_expect(out.set_uid == in->set_uid && out.set_gid == in->set_gid);
        cr_expect(out.offset == in->offset && out.size == in->size);
        cr_expect(out.atime_ns == in->atime_ns && out.mtime_ns == in->mtime_ns);
        cr_expect(out.nonce == in->nonce);
    }
}

Test(fs_command, of_any_other_length_is_refused)
{
    for (size_t i = 0; i < ARRAY_COUNT(samples); i++) {
        size_t size = encode_sample(i);
        struct fs_command out;
        bytes[size] = 0;
        cr_expect_eq(fs_command_decode(bytes, size + 1, &out), -EBADMSG, "one byte more");
        for (size_t less = 0; less < size; less++)
            cr_expect_eq(fs_command_decode(bytes, less, &out), -EBADMSG, "%s cut to %zu",
                         fs_op_name(samples[i].op), less);
    }
}

Test(fs_command, does_not_fit_into_too_little_room)
{
    for (size_t i = 0; i < ARRAY_COUNT(samples); i++) {
        size_t size = encode_sample(i);
        for (size_t room = 0; room + 10 < size; room++) {
            struct fs_command c = samples[i];
            cr_expect_eq(fs_command_encode(&c, bytes, room), 0);
        }
    }
}

Test(fs_command, of_another_version_or_an_unknown_op_is_refused)
{
    struct fs_command out;
    size_t size = encode_sample(0);
    bytes[0] = FS_COMMAND_VERSION + 1;
    cr_expect_eq(fs_command_decode(bytes, size, &out), -EBADMSG);
    for (unsigned op = 0; op < 256; op++) {
        size = encode_sample(1);
        bytes[1] = (uint8_t)op;
        if (op == 0 || op > FS_VERIFY)
            cr_expect_eq(fs_command_decode(bytes, size, &out), -EBADMSG, "op %u", op);
    }
}

Test(fs_command, has_names_that_a_directory_can_hold)
{
    static const struct {
        const char *what, *name;
        uint32_t size;
        int rc;
    } cases[] = {
        {"empty", "", 0, -EBADMSG},
        {"slash", "a/b", 3, -EBADMSG},
        {"NUL", "a\0b", 3, -EBADMSG},
        {"any other byte", "\xff\n ", 3, 0},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fs_command c = {.op = FS_MKDIR, .name = cases[i].name, .name_size = cases[i].size};
        size_t size = fs_command_encode(&c, bytes, sizeof bytes);
        struct fs_command out;
        cr_expect_eq(fs_command_decode(bytes, size, &out), cases[i].rc, "%s", cases[i].what);
    }
}

Test(fs_command, with_a_name_too_long_decodes_so_that_the_answer_can_be_ENAMETOOLONG)
{
    char name[FILE_NAME_MAX + 1];
    memset(name, 'x', sizeof name);
    struct fs_command c = {.op = FS_MKDIR, .name = name, .name_size = sizeof name};
    size_t size = fs_command_encode(&c, bytes, sizeof bytes);
    struct fs_command out;
    cr_expect_eq(fs_command_decode(bytes, size, &out), 0);
}

/* What is sound once, wrong in one thing. */
Test(fs_command, of_members_names_whom_and_what_it_can_hold)
{
    static const char long_text[] =
        "0123456789012345678901234567890123456789012345678901234567890123";
    static_assert(sizeof long_text - 1 == ADDRESS_MAX + 1, "one too long for an address");
    static const char secret[] = "0123456789abcdef";
    static const struct {
        const char *what;
        int rc;
        struct fs_command c;
    } cases[] = {
#define INVITE .op = FS_INVITE, .name = long_text, .data = secret
        {"the longest name", 0, {INVITE, .name_size = MEMBER_NAME_MAX, .data_size = SECRET_SIZE}},
        {"a longer one", -EBADMSG, {INVITE, .name_size = MEMBER_NAME_MAX + 1, .data_size = 16}},
        {"no name", -EBADMSG, {INVITE, .name_size = 0, .data_size = SECRET_SIZE}},
        {"a short secret", -EBADMSG, {INVITE, .name_size = 1, .data_size = SECRET_SIZE - 1}},
        {"no secret", -EBADMSG, {INVITE, .name_size = 1, .data_size = 0}},
        {"another mode", -EBADMSG, {INVITE, .name_size = 1, .data_size = 16, .mode = 2}},
#define JOIN .op = FS_JOIN, .name = long_text, .new_name = long_text, .data = secret
        {"the longest address",
         0,
         {JOIN, .nonce = 1, .name_size = 31, .new_name_size = ADDRESS_MAX, .data_size = 16}},
        {"a longer one",
         -EBADMSG,
         {JOIN, .nonce = 1, .name_size = 31, .new_name_size = ADDRESS_MAX + 1, .data_size = 16}},
        {"a longer name",
         -EBADMSG,
         {JOIN, .nonce = 1, .name_size = 32, .new_name_size = 9, .data_size = 16}},
        {"a long secret",
         -EBADMSG,
         {JOIN, .nonce = 1, .name_size = 31, .new_name_size = 9, .data_size = 17}},
        {"nobody joins", -EBADMSG, {JOIN, .name_size = 31, .new_name_size = 9, .data_size = 16}},
        {"nobody is promoted", -EBADMSG, {.op = FS_PROMOTE}},
        {"nobody is removed", -EBADMSG, {.op = FS_REMOVE}},
        {"nobody is replaced", -EBADMSG, {.op = FS_REPLACE, .ino = 1}},
        {"nobody replaces", -EBADMSG, {.op = FS_REPLACE, .nonce = 1}},
        {"nobody moves", -EBADMSG, {.op = FS_SET_ADDRESS, .name = "a", .name_size = 1}},
        {"moves far",
         -EBADMSG,
         {.op = FS_SET_ADDRESS, .nonce = 1, .name = long_text, .name_size = ADDRESS_MAX + 1}},
        {"nobody's session", -EBADMSG, {.op = FS_SESSION_EXPIRE, .ino = 1}},
        {"no epoch", -EBADMSG, {.op = FS_SESSION_EXPIRE, .nonce = 1}},
        {"nothing applied", 0, {.op = FS_SESSION_EXPIRE, .nonce = 1, .ino = 1}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t size = fs_command_encode(&cases[i].c, bytes, sizeof bytes);
        struct fs_command out;
        cr_assert_gt(size, 0);
        cr_expect_eq(fs_command_decode(bytes, size, &out), cases[i].rc, "%s: %s",
                     fs_op_name(cases[i].c.op), cases[i].what);
    }
}

Test(fs_command, holds_the_largest_write_and_no_larger_one)
{
    static uint8_t data[WRITE_SIZE_MAX + 1];
    struct fs_command c = {.op = FS_WRITE, .data = data, .data_size = WRITE_SIZE_MAX};
    size_t size = fs_command_encode(&c, bytes, COMMAND_SIZE_MAX);
    struct fs_command out;
    cr_assert_gt(size, 0);
    cr_expect_eq(fs_command_decode(bytes, size, &out), 0);
    c.data_size++;
    size = fs_command_encode(&c, bytes, COMMAND_SIZE_MAX);
    cr_expect_eq(fs_command_decode(bytes, size, &out), -EBADMSG);
}

static const struct fs_outcome outcomes[] = {
    {.error = 0},
    {.error = ENOENT},
    {.epoch = 7},
    {.attr = {.ino = 1,
              .size = 2,
              .blocks = 3,
              .atime_ns = 4,
              .mtime_ns = 5,
              .ctime_ns = 6,
              .btime_ns = 7,
              .mode = 8,
              .nlink = 9,
              .uid = 10,
              .gid = 11,
              .rdev = 12},
     .offset = UINT64_MAX,
     .epoch = 13,
     .verdict = UINT32_MAX,
     .from = UINT64_MAX},
    {.verdict = MEMBERSHIP_BUSY},
    {.from = 1234},
};

Test(fs_outcome, comes_back_as_it_was_encoded)
{
    for (size_t i = 0; i < ARRAY_COUNT(outcomes); i++) {
        uint8_t room[OUTCOME_SIZE_MAX];
        size_t size = fs_outcome_encode(&outcomes[i], room, sizeof room);
        cr_assert_gt(size, 0);
        struct fs_outcome out;
        cr_assert_eq(fs_outcome_decode(room, size, &out), 0);
        cr_expect_eq(out.error, outcomes[i].error);
        cr_expect(same_attr(out.attr, outcomes[i].attr));
        cr_expect_eq(out.offset, outcomes[i].offset);
        cr_expect_eq(out.epoch, outcomes[i].epoch);
        cr_expect_eq(out.verdict, outcomes[i].verdict);
        cr_expect_eq(out.from, outcomes[i].from);
        for (size_t less = 0; less < size; less++)
            cr_expect_eq(fs_outcome_decode(room, less, &out), -EBADMSG);
    }
}
