#include "fs/pending.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/store_ops.h"

/* The tree: /x, /d, /d/f, /d/sub, /e, /e/g, /e/link (a second name of x). */
struct tree {
    struct store_fixture fixture;
    struct pending *pending;
    uint64_t x, d, f, sub, e, g;
};

static struct tree *tree_new(void)
{
    struct tree *t = calloc(1, sizeof *t);
    cr_assert_not_null(t);
    store_fixture_init(&t->fixture);
    t->pending = pending_new();
    cr_assert_not_null(t->pending);
    struct store_fixture *f = &t->fixture;
    t->x = made(op_create(f, FS_ROOT_INO, "x", 0644, 0));
    t->d = made(op_mkdir(f, FS_ROOT_INO, "d", 0755));
    t->f = made(op_create(f, t->d, "f", 0644, 0));
    t->sub = made(op_mkdir(f, t->d, "sub", 0755));
    t->e = made(op_mkdir(f, FS_ROOT_INO, "e", 0755));
    t->g = made(op_create(f, t->e, "g", 0644, 0));
    op_link(f, t->x, t->e, "link");
    pending_applied(t->pending, f->slot);
    return t;
}

static void tree_free(struct tree *t)
{
    pending_free(t->pending);
    store_fixture_deinit(&t->fixture);
    free(t);
}

static struct fs_command named(struct fs_command c)
{
    if (c.name)
        c.name_size = (uint32_t)strlen(c.name);
    if (c.new_name)
        c.new_name_size = (uint32_t)strlen(c.new_name);
    return c;
}

static void put(struct tree *t, uint64_t slot, struct fs_command c)
{
    static uint8_t bytes[COMMAND_SIZE_MAX];
    c = named(c);
    size_t size = fs_command_encode(&c, bytes, sizeof bytes);
    cr_assert_gt(size, 0);
    struct command command = {
        .refs = 1, .size = (uint32_t)size, .node = 1, .epoch = 1, .sequence = 1, .bytes = bytes};
    pending_put(t->pending, slot, &command);
}

static uint64_t next_slot(const struct tree *t)
{
    return t->fixture.slot + 1;
}

/* From a snapshot of now. */
static enum pending_verdict ask(struct tree *t, struct read_set set)
{
    if (set.name)
        set.name_size = strlen(set.name);
    cr_assert_eq(store_read_begin(t->fixture.reader), 0);
    enum pending_verdict verdict = pending_check(t->pending, t->fixture.reader, &set);
    store_read_end(t->fixture.reader);
    return verdict;
}

static enum pending_verdict ask_ino(struct tree *t, uint64_t ino)
{
    return ask(t, (struct read_set){.inos = {ino}});
}

/* ---- each op against each read ---- */

enum { ROOT = 1, X, D, F, SUB, E, G, NONE }; /* inodes, as the table has them */

enum read_bit {
    INO_ROOT = 1 << 0,
    INO_X = 1 << 1,
    INO_D = 1 << 2,
    INO_F = 1 << 3,
    INO_SUB = 1 << 4,
    INO_E = 1 << 5,
    INO_G = 1 << 6,
    NAME_D_F = 1 << 7,    /* the name alone */
    NAME_D_NEW = 1 << 8,  /* which is not there */
    NAME_E_NEW = 1 << 9,  /* ... */
    NAME_E_G = 1 << 10,   /* the name alone */
    LOOKUP_D_F = 1 << 11, /* and the inode behind it */
    LIST_D = 1 << 12,
    LIST_E_PLUS = 1 << 13, /* and the inodes behind the names: g, x */
    INO_UNKNOWN = 1 << 14,
    NOTHING = 1 << 15, /* statfs */
    READS = 16,
};

static struct read_set read_of(const struct tree *t, int bit, uint64_t children[2])
{
    children[0] = t->g;
    children[1] = t->x;
    switch (1 << bit) {
    case INO_ROOT:
        return (struct read_set){.inos = {FS_ROOT_INO}};
    case INO_X:
        return (struct read_set){.inos = {t->x}};
    case INO_D:
        return (struct read_set){.inos = {t->d}};
    case INO_F:
        return (struct read_set){.inos = {0, t->f}};
    case INO_SUB:
        return (struct read_set){.inos = {t->sub}};
    case INO_E:
        return (struct read_set){.inos = {t->e}};
    case INO_G:
        return (struct read_set){.inos = {t->g}};
    case NAME_D_F:
        return (struct read_set){.parent = t->d, .name = "f"};
    case NAME_D_NEW:
        return (struct read_set){.parent = t->d, .name = "new"};
    case NAME_E_NEW:
        return (struct read_set){.parent = t->e, .name = "new"};
    case NAME_E_G:
        return (struct read_set){.parent = t->e, .name = "g"};
    case LOOKUP_D_F:
        return (struct read_set){.inos = {t->f}, .parent = t->d, .name = "f"};
    case LIST_D:
        return (struct read_set){.inos = {t->d}};
    case LIST_E_PLUS:
        return (struct read_set){.inos = {t->e}, .children = children, .child_count = 2};
    case INO_UNKNOWN:
        return (struct read_set){.inos = {1000000}};
    default:
        return (struct read_set){0};
    }
}

static uint64_t ino_of(const struct tree *t, uint64_t which)
{
    const uint64_t inos[] = {0, FS_ROOT_INO, t->x, t->d, t->f, t->sub, t->e, t->g};
    return which < ARRAY_COUNT(inos) ? inos[which] : which;
}

#define OF_D (INO_D | LIST_D)
#define OF_E (INO_E | LIST_E_PLUS)
#define OF_F (INO_F | LOOKUP_D_F)
#define OF_G (INO_G | LIST_E_PLUS)
#define OF_X (INO_X | LIST_E_PLUS)

Test(pending, each_command_is_waited_for_by_the_reads_that_it_touches_and_no_other)
{
    static const struct {
        const char *name;
        struct fs_command c;
        int touched;
    } cases[] = {
        {"create", {.op = FS_CREATE, .parent = D, .name = "new"}, OF_D | NAME_D_NEW | INO_UNKNOWN},
        {"create of what is there",
         {.op = FS_CREATE, .parent = D, .name = "f"},
         OF_D | NAME_D_F | LOOKUP_D_F | INO_UNKNOWN},
        {"create that empties",
         {.op = FS_CREATE, .parent = D, .name = "f", .flags = O_TRUNC},
         OF_D | NAME_D_F | OF_F | INO_UNKNOWN},
        {"mkdir", {.op = FS_MKDIR, .parent = E, .name = "new"}, OF_E | NAME_E_NEW | INO_UNKNOWN},
        {"mknod", {.op = FS_MKNOD, .parent = D, .name = "new"}, OF_D | NAME_D_NEW | INO_UNKNOWN},
        {"symlink",
         {.op = FS_SYMLINK, .parent = D, .name = "new", .data = "t", .data_size = 1},
         OF_D | NAME_D_NEW | INO_UNKNOWN},
        {"link", {.op = FS_LINK, .ino = X, .parent = D, .name = "new"}, OF_X | OF_D | NAME_D_NEW},
        {"unlink", {.op = FS_UNLINK, .parent = D, .name = "f"}, OF_D | NAME_D_F | OF_F},
        {"unlink of another name", {.op = FS_UNLINK, .parent = ROOT, .name = "x"}, INO_ROOT | OF_X},
        {"unlink of nothing", {.op = FS_UNLINK, .parent = D, .name = "new"}, OF_D | NAME_D_NEW},
        {"unlink in no directory", {.op = FS_UNLINK, .parent = X, .name = "f"}, OF_X},
        {"rmdir", {.op = FS_RMDIR, .parent = D, .name = "sub"}, OF_D | INO_SUB},
        {"rename",
         {.op = FS_RENAME, .parent = D, .name = "f", .new_parent = E, .new_name = "new"},
         OF_D | NAME_D_F | OF_F | OF_E | NAME_E_NEW},
        {"rename over",
         {.op = FS_RENAME, .parent = D, .name = "f", .new_parent = E, .new_name = "g"},
         OF_D | NAME_D_F | OF_F | OF_E | NAME_E_G | OF_G},
        {"rename of a directory",
         {.op = FS_RENAME, .parent = D, .name = "sub", .new_parent = E, .new_name = "new"},
         OF_D | INO_SUB | OF_E | NAME_E_NEW},
        {"exchange",
         {.op = FS_RENAME,
          .parent = ROOT,
          .name = "x",
          .new_parent = D,
          .new_name = "f",
          .flags = RENAME_EXCHANGE},
         INO_ROOT | OF_X | OF_D | NAME_D_F | OF_F},
        {"setattr", {.op = FS_SETATTR, .ino = D, .set = FS_SET_MODE}, OF_D},
        {"write", {.op = FS_WRITE, .ino = F, .data = "1", .data_size = 1}, OF_F},
        {"write to a child", {.op = FS_WRITE, .ino = X, .data = "1", .data_size = 1}, OF_X},
        {"fallocate", {.op = FS_FALLOCATE, .ino = G, .size = 1}, OF_G},
        {"setxattr", {.op = FS_SETXATTR, .ino = G, .name = "user.a"}, OF_G},
        {"removexattr", {.op = FS_REMOVEXATTR, .ino = SUB, .name = "user.a"}, INO_SUB},
        {"forget", {.op = FS_FORGET}, 0},
        {"reap", {.op = FS_REAP, .size = 1}, 0},
        {"verify", {.op = FS_VERIFY, .nonce = 1}, 0},
        {"session", {.op = FS_SESSION_OPEN, .nonce = 1}, 0},
    };
    struct tree *t = tree_new();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct fs_command c = cases[i].c;
        c.ino = ino_of(t, c.ino);
        c.parent = ino_of(t, c.parent);
        c.new_parent = ino_of(t, c.new_parent);
        put(t, next_slot(t), c);
        for (int bit = 0; bit < READS; bit++) {
            uint64_t children[2];
            bool touched = cases[i].touched >> bit & 1;
            cr_expect_eq(ask(t, read_of(t, bit, children)),
                         touched ? PENDING_TOUCHED : PENDING_CLEAR, "%s, read %d", cases[i].name,
                         bit);
        }
    }
    tree_free(t);
}

/* ---- what is behind names ---- */

Test(pending, a_chain_of_names_is_found_at_its_first_link)
{
    struct tree *t = tree_new();
    uint64_t slot = next_slot(t);
    /* Only the first entry's name is in the snapshot. */
    put(t, slot,
        (struct fs_command){
            .op = FS_RENAME, .parent = t->d, .name = "f", .new_parent = t->d, .new_name = "b"});
    put(t, slot + 1, (struct fs_command){.op = FS_UNLINK, .parent = t->d, .name = "b"});
    cr_expect_eq(ask_ino(t, t->f), PENDING_TOUCHED);
    cr_expect_eq(ask_ino(t, t->g), PENDING_CLEAR);
    tree_free(t);
}

Test(pending, a_name_is_looked_up_in_the_snapshot_of_the_read)
{
    struct tree *t = tree_new();
    uint64_t before = t->f;
    op_rename(&t->fixture, t->e, "g", t->d, "f", 0); /* applied: the name is g's now */
    pending_applied(t->pending, t->fixture.slot);
    put(t, next_slot(t), (struct fs_command){.op = FS_UNLINK, .parent = t->d, .name = "f"});
    cr_expect_eq(ask_ino(t, t->g), PENDING_TOUCHED);
    cr_expect_eq(ask_ino(t, before), PENDING_CLEAR);
    tree_free(t);
}

Test(pending, however_many_names_hide_something_each_is_looked_behind)
{
    enum { MANY = 100 };
    struct tree *t = tree_new();
    uint64_t slot = next_slot(t);
    for (uint64_t i = 0; i < MANY; i++)
        put(t, slot + i,
            (struct fs_command){
                .op = FS_RENAME,
                .parent = t->e,
                .name = i == MANY - 1 ? "g" : "none",
                .new_parent = t->e,
                .new_name = "other",
            });
    cr_expect_eq(ask_ino(t, t->g), PENDING_TOUCHED);
    cr_expect_eq(ask_ino(t, t->f), PENDING_CLEAR);
    cr_expect_eq(pending_count(t->pending), MANY);
    tree_free(t);
}

/* ---- coming and going ---- */

static struct fs_command write_to(uint64_t ino)
{
    return (struct fs_command){.op = FS_WRITE, .ino = ino, .data = "1", .data_size = 1};
}

Test(pending, what_the_snapshot_has_is_not_waited_for)
{
    struct tree *t = tree_new();
    put(t, next_slot(t), write_to(t->f));
    op_write(&t->fixture, t->f, 0, "1", 1, 0);
    cr_expect_eq(ask_ino(t, t->f), PENDING_CLEAR, "committed, and not removed yet");
    pending_applied(t->pending, t->fixture.slot);
    cr_expect_eq(ask_ino(t, t->f), PENDING_CLEAR);
    cr_expect_eq(pending_count(t->pending), 0);
    tree_free(t);
}

Test(pending, a_snapshot_older_than_what_was_removed_is_renewed)
{
    struct tree *t = tree_new();
    struct read_set set = {.inos = {t->f}};
    cr_assert_eq(store_read_begin(t->fixture.reader), 0);
    put(t, next_slot(t), write_to(t->f));
    struct store_reader *old = t->fixture.reader;
    op_write(&t->fixture, t->f, 0, "1", 1, 0);
    cr_expect_eq(pending_check(t->pending, old, &set), PENDING_TOUCHED);
    pending_applied(t->pending, t->fixture.slot);
    cr_expect_eq(pending_check(t->pending, old, &set), PENDING_RENEW);
    store_read_end(old);
    cr_expect_eq(ask_ino(t, t->f), PENDING_CLEAR);
    tree_free(t);
}

Test(pending, a_slots_entry_is_replaced_by_what_is_proposed_for_it_anew)
{
    struct tree *t = tree_new();
    uint64_t slot = next_slot(t);
    put(t, slot,
        (struct fs_command){
            .op = FS_RENAME, .parent = t->d, .name = "f", .new_parent = t->e, .new_name = "g"});
    put(t, slot, write_to(t->x));
    cr_expect_eq(ask_ino(t, t->x), PENDING_TOUCHED);
    cr_expect_eq(ask_ino(t, t->f), PENDING_CLEAR);
    cr_expect_eq(ask_ino(t, t->d), PENDING_CLEAR);
    cr_expect_eq(ask(t, (struct read_set){.parent = t->d, .name = "f"}), PENDING_CLEAR);
    cr_expect_eq(pending_count(t->pending), 1);

    pending_put(t->pending, slot, command_noop());
    cr_expect_eq(ask_ino(t, t->x), PENDING_CLEAR);

    struct command garbled = {
        .refs = 1, .size = 3, .node = 1, .epoch = 1, .sequence = 1, .bytes = (uint8_t *)"???"};
    put(t, slot, write_to(t->x));
    pending_put(t->pending, slot, &garbled);
    cr_expect_eq(ask_ino(t, t->x), PENDING_CLEAR);
    tree_free(t);
}

Test(pending, slots_may_come_in_any_order_and_leave_gaps)
{
    struct tree *t = tree_new();
    uint64_t slot = next_slot(t);
    put(t, slot + 5, write_to(t->f));
    put(t, slot + 2, write_to(t->g));
    cr_expect_eq(ask_ino(t, t->f), PENDING_TOUCHED);
    cr_expect_eq(ask_ino(t, t->g), PENDING_TOUCHED);
    cr_expect_eq(ask_ino(t, t->x), PENDING_CLEAR);
    cr_expect_eq(pending_count(t->pending), 2);
    tree_free(t);
}

Test(pending, what_a_place_held_a_lap_ago_is_over)
{
    struct tree *t = tree_new();
    uint64_t slot = next_slot(t);
    put(t, slot, write_to(t->f));
    for (int i = 0; i < 2; i++)
        op_write(&t->fixture, t->f, 0, "1", 1, 0);
    pending_applied(t->pending, t->fixture.slot);
    put(t, slot + SLOTS_HELD_MAX + 1, write_to(t->g)); /* one further than the same place */
    cr_expect_eq(ask_ino(t, t->f), PENDING_CLEAR);
    cr_expect_eq(pending_count(t->pending), 1);
    tree_free(t);
}

Test(pending, what_comes_late_for_an_applied_slot_is_ignored)
{
    struct tree *t = tree_new();
    put(t, t->fixture.slot + SLOTS_HELD_MAX, write_to(t->g));
    put(t, t->fixture.slot, write_to(t->f)); /* the same place */
    cr_expect_eq(pending_count(t->pending), 1);
    cr_expect_eq(ask_ino(t, t->f), PENDING_CLEAR);
    cr_expect_eq(ask_ino(t, t->g), PENDING_TOUCHED);
    tree_free(t);
}

/* The loop hears of a commit, and the core proposes as far above it as it may, before the store
 * thread has said that the slots are applied. */
Test(pending, a_slot_that_takes_the_place_of_a_committed_one_ends_it)
{
    struct tree *t = tree_new();
    uint64_t slot = next_slot(t);
    for (uint64_t i = 0; i <= SLOTS_HELD_MAX; i++)
        put(t, slot + i, write_to(i == 0 ? t->f : t->g));
    cr_expect_eq(ask_ino(t, t->x), PENDING_RENEW, "nobody can tell what the first one touched");
    op_write(&t->fixture, t->f, 0, "1", 1, 0);
    cr_expect_eq(ask_ino(t, t->x), PENDING_CLEAR);
    cr_expect_eq(ask_ino(t, t->g), PENDING_TOUCHED);
    cr_expect_eq(pending_count(t->pending), SLOTS_HELD_MAX);
    tree_free(t);
}
