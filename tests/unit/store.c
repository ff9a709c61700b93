#include <criterion/criterion.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

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

TestSuite(store, .init = setup, .fini = teardown);

static bool same_digest(struct store_digest a, struct store_digest b)
{
    return a.slot == b.slot && a.digest[0] == b.digest[0] && a.digest[1] == b.digest[1];
}

Test(store, a_new_one_holds_an_empty_root)
{
    struct fs_attr root = store_fixture_attr(&f, ROOT);
    cr_expect(root.mode == (S_IFDIR | 0755) && root.nlink == 2 && root.uid == 0);
    cr_expect(root.mtime_ns == 0 && root.btime_ns == 0);
    cr_expect_eq(store_checkpointed(f.store), 0);
    cr_expect_eq(store_applied(f.store), 1);
    cr_expect_eq(store_time_ns(f.store), store_fixture_time(1));
}

Test(store, two_that_applied_the_same_slots_have_one_digest)
{
    struct store_fixture g;
    store_fixture_init(&g);
    cr_expect(same_digest(store_fixture_digest(&f), store_fixture_digest(&g)));
    op_create(&f, ROOT, "a", 0644, 0);
    cr_expect_not(same_digest(store_fixture_digest(&f), store_fixture_digest(&g)));
    op_create(&g, ROOT, "a", 0644, 0);
    cr_expect(same_digest(store_fixture_digest(&f), store_fixture_digest(&g)));
    op_mkdir(&f, ROOT, "b", 0755);
    op_mkdir(&g, ROOT, "b", 0700);
    cr_expect_not(same_digest(store_fixture_digest(&f), store_fixture_digest(&g)));
    store_fixture_deinit(&g);
}

Test(store, the_digest_kept_is_the_digest_of_what_is_there)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    op_write(&f, ino, 0, "data", 4, 0);
    op_write(&f, ino, 2, "other", 5, 0);
    op_setxattr(&f, ino, "user.a", "v", 1, 0);
    op_rename(&f, ROOT, "a", ROOT, "b", 0);
    op_unlink(&f, ROOT, "b");
    cr_expect(same_digest(store_fixture_digest(&f), store_fixture_digest_recompute(&f)));
    op_forget(&f, ino);
    cr_expect(same_digest(store_fixture_digest(&f), store_fixture_digest_recompute(&f)));
}

Test(store, a_reader_sees_one_slot_until_it_ends)
{
    struct fs_attr attr;
    cr_assert_eq(store_read_begin(f.reader), 0);
    struct store_fixture writer = f; /* the same store, but not that reader */
    cr_assert_eq(store_reader_new(f.store, &writer.reader), 0);
    made(op_create(&writer, ROOT, "a", 0644, 0));
    cr_expect_eq(store_lookup(f.reader, ROOT, "a", 1, &attr), -ENOENT);
    store_read_end(f.reader);
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_expect_eq(store_lookup(f.reader, ROOT, "a", 1, &attr), 0);
    store_read_end(f.reader);
    store_reader_free(writer.reader);
}

Test(store, nothing_of_a_batch_is_seen_before_its_commit_nor_after_its_abort)
{
    struct store_digest before = store_fixture_digest(&f);
    store_fixture_begin(&f);
    made(op_create(&f, ROOT, "a", 0644, 0));
    cr_expect_eq(store_fixture_find(&f, "/a"), 0);
    store_abort(f.store);
    f.in_batch = false;
    f.slot--;
    f.sequence--;
    cr_expect(same_digest(before, store_fixture_digest(&f)));
    /* The same slot again: also the session has forgotten the first try. */
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    cr_expect_eq(store_fixture_find(&f, "/a"), ino);
    cr_expect(same_digest(store_fixture_digest(&f), store_fixture_digest_recompute(&f)));
}

/* A full disk, or a failing one: the limit makes pwrite fail in the middle of the commit. */
Test(store, a_commit_that_the_disk_refuses_is_an_error_and_undone)
{
    static const uint8_t data[WRITE_SIZE_MAX];
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    struct store_digest before = store_fixture_digest(&f);
    struct rlimit unlimited, small = {.rlim_cur = 200000};
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    small.rlim_max = unlimited.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    store_fixture_begin(&f);
    op_write(&f, ino, 0, data, sizeof data, 0);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    cr_expect_lt(store_commit(f.store), 0);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    f.in_batch = false;
    f.slot--;
    f.sequence--;
    cr_expect_eq(store_applied(f.store), f.slot);
    cr_expect(same_digest(before, store_fixture_digest(&f)));
    op_write(&f, ino, 0, data, sizeof data, 0);
    cr_expect_eq(store_fixture_attr(&f, ino).size, sizeof data);
    cr_expect(same_digest(store_fixture_digest(&f), store_fixture_digest_recompute(&f)));
}

Test(store, opens_where_addresses_are_scarce)
{
#ifndef __SANITIZE_ADDRESS__ /* which has taken them all */
    struct rlimit scarce = {.rlim_cur = 300 * GIB, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_AS, &scarce), 0);
    store_fixture_reopen(&f);
    cr_expect_eq(store_fixture_find(&f, "/"), ROOT);
#endif
}

Test(store, lookup_says_what_is_wrong)
{
    uint64_t file = made(op_create(&f, ROOT, "file", 0644, 0));
    char name[FILE_NAME_MAX + 1];
    memset(name, 'n', sizeof name);
    struct fs_attr attr;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_expect_eq(store_lookup(f.reader, ROOT, "none", 4, &attr), -ENOENT);
    cr_expect_eq(store_lookup(f.reader, file, "x", 1, &attr), -ENOTDIR);
    cr_expect_eq(store_lookup(f.reader, 999, "x", 1, &attr), -ESTALE);
    cr_expect_eq(store_lookup(f.reader, ROOT, name, sizeof name, &attr), -ENAMETOOLONG);
    cr_expect_eq(store_lookup(f.reader, ROOT, ".", 1, &attr), 0);
    cr_expect_eq(attr.ino, ROOT);
    /* The kernel opens file handles again with that. */
    cr_expect_eq(store_lookup(f.reader, file, ".", 1, &attr), 0);
    cr_expect_eq(attr.ino, file);
    cr_expect_eq(store_lookup(f.reader, ROOT, "..", 2, &attr), 0);
    cr_expect_eq(attr.ino, ROOT);
    cr_expect_eq(store_getattr(f.reader, 0, &attr), -ESTALE);
    store_read_end(f.reader);
}

/* ---- readdir ---- */

struct listed {
    char names[400][16];
    uint64_t cookies[400];
    int count, stop_after;
};

static int list_one(void *context, const struct store_dirent *entry)
{
    struct listed *l = context;
    snprintf(l->names[l->count], sizeof l->names[0], "%s", entry->name);
    l->cookies[l->count] = entry->cookie;
    return ++l->count >= l->stop_after;
}

static void list(struct listed *l, uint64_t ino, uint64_t cookie, int stop_after)
{
    l->count = 0;
    l->stop_after = stop_after;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_assert_eq(store_readdir(f.reader, ino, cookie, list_one, l), 0);
    store_read_end(f.reader);
}

Test(store, readdir_begins_with_the_dots_and_goes_on_from_any_cookie)
{
    static struct listed all, rest;
    for (int i = 0; i < 20; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        op_create(&f, ROOT, name, 0644, 0);
    }
    list(&all, ROOT, 0, 400);
    cr_assert_eq(all.count, 22);
    cr_expect_str_eq(all.names[0], ".");
    cr_expect_str_eq(all.names[1], "..");
    cr_expect(all.cookies[0] == 1 && all.cookies[1] == 2 && all.cookies[2] >= 3);
    for (int i = 0; i < all.count; i++) {
        list(&rest, ROOT, all.cookies[i], 400);
        cr_assert_eq(rest.count, all.count - i - 1);
        if (rest.count)
            cr_expect_str_eq(rest.names[0], all.names[i + 1]);
    }
    list(&rest, ROOT, 0, 5);
    cr_expect_eq(rest.count, 5, "stops when told to");
}

Test(store, readdir_in_pieces_gives_what_stays_once_whatever_else_comes_and_goes)
{
    static struct listed l;
    char name[16];
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof name, "keep%d", i);
        op_create(&f, ROOT, name, 0644, 0);
        snprintf(name, sizeof name, "go%d", i);
        op_create(&f, ROOT, name, 0644, 0);
    }
    int seen[60] = {0};
    uint64_t cookie = 0;
    for (int round = 0;; round++) {
        list(&l, ROOT, cookie, 7);
        for (int i = 0; i < l.count; i++)
            if (strncmp(l.names[i], "keep", 4) == 0)
                seen[atoi(l.names[i] + 4)]++;
        if (l.count < 7)
            break;
        cookie = l.cookies[l.count - 1];
        snprintf(name, sizeof name, "go%d", 59 - round);
        op_unlink(&f, ROOT, name);
        snprintf(name, sizeof name, "go%d", round);
        op_unlink(&f, ROOT, name);
        op_create(&f, ROOT, name, 0644, 0);
    }
    for (int i = 0; i < 60; i++)
        cr_expect_eq(seen[i], 1, "keep%d %d times", i, seen[i]);
}

/* What `for f in *; do mv $f ...` does, in a directory too large for one reply. */
Test(store, readdir_with_renames_in_between_ends_and_gives_each_entry_once)
{
    enum { FILES = 60 };
    static struct listed l;
    char name[16], new_name[16];
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "f%d", i);
        op_create(&f, ROOT, name, 0644, 0);
    }
    int seen[FILES] = {0}, next = FILES;
    uint64_t cookie = 2;
    for (int round = 0; round < 2 * FILES; round++) {
        list(&l, ROOT, cookie, 1);
        if (l.count == 0)
            break;
        cookie = l.cookies[0];
        uint64_t ino = store_fixture_find(&f, l.names[0]);
        cr_assert(ino >= 2 && ino < 2 + FILES);
        seen[ino - 2]++;
        snprintf(new_name, sizeof new_name, "f%d", next++);
        cr_assert_eq(op_rename(&f, ROOT, l.names[0], ROOT, new_name, 0).error, 0);
    }
    cr_expect_eq(next, 2 * FILES);
    for (int i = 0; i < FILES; i++)
        cr_expect_eq(seen[i], 1, "inode %d %d times", i + 2, seen[i]);
}

/* The name that is replaced is there before, during and after: it keeps its place, for the name is
 * what readdir gives. */
Test(store, a_name_that_a_rename_replaces_and_what_is_untouched_are_read_once)
{
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int way = 0; way < 2; way++) {
        static struct listed l;
        uint64_t dir = made(op_mkdir(&f, ROOT, way ? "x" : "y", 0755));
        for (size_t i = 0; i < ARRAY_COUNT(names); i++)
            op_create(&f, dir, names[i], 0644, 0);
        list(&l, dir, 2, 2); /* a and b */
        uint64_t cookie = l.cookies[1];
        struct fs_outcome o = way ? op_rename(&f, dir, "a", dir, "d", 0)  /* read over unread */
                                  : op_rename(&f, dir, "d", dir, "a", 0); /* unread over read */
        cr_assert_eq(o.error, 0);
        list(&l, dir, cookie, 400);
        cr_expect_eq(l.count, way ? 2 : 1);
        cr_expect_str_eq(l.names[0], "c");
        if (way)
            cr_expect_str_eq(l.names[1], "d");
    }
}

Test(store, a_cookie_is_never_used_again)
{
    static struct listed l;
    op_create(&f, ROOT, "a", 0644, 0);
    list(&l, ROOT, 2, 400);
    uint64_t before = l.cookies[0];
    op_unlink(&f, ROOT, "a");
    op_create(&f, ROOT, "a", 0644, 0);
    list(&l, ROOT, 2, 400);
    cr_expect_gt(l.cookies[0], before);
}

/* ---- sessions ---- */

static struct store_applied submit(uint64_t epoch, uint64_t sequence, uint64_t low,
                                   const struct fs_command *c)
{
    uint8_t bytes[512];
    struct command command = {.node = 1, .epoch = epoch, .sequence = sequence, .low = low};
    command.size = (uint32_t)fs_command_encode(c, bytes, sizeof bytes);
    command.bytes = bytes;
    return store_fixture_apply_bytes(&f, &command);
}

static const struct fs_command mkdir_d = {
    .op = FS_MKDIR, .parent = ROOT, .name = "d", .name_size = 1, .mode = 0755};
static const struct fs_command rmdir_d = {
    .op = FS_RMDIR, .parent = ROOT, .name = "d", .name_size = 1};

Test(store, a_retried_command_applies_once_and_gets_the_same_answer)
{
    struct store_applied first = submit(1, 1, 1, &mkdir_d);
    cr_assert(first.verdict == SESSION_NEW && first.outcome.error == 0);
    struct store_applied again = submit(1, 1, 1, &mkdir_d);
    cr_expect_eq(again.verdict, SESSION_REPEATED);
    cr_expect_eq(again.outcome.error, 0, "no EEXIST for its own retry");
    cr_expect(same_attr(again.outcome.attr, first.outcome.attr));
    cr_expect_eq(f.change_count, 0);
    struct store_applied second = submit(1, 2, 2, &mkdir_d);
    cr_expect(second.verdict == SESSION_NEW && second.outcome.error == EEXIST);
    cr_expect_eq(submit(1, 2, 2, &rmdir_d).outcome.error, EEXIST, "errors repeat, too");
    cr_expect_eq(submit(1, 1, 1, &mkdir_d).verdict, SESSION_SETTLED);
}

Test(store, a_retry_after_a_restart_applies_once)
{
    submit(1, 1, 1, &mkdir_d);
    store_fixture_checkpoint(&f);
    store_fixture_reopen(&f);
    cr_expect_eq(f.slot, 2);
    struct store_applied again = submit(1, 1, 1, &mkdir_d);
    cr_expect(again.verdict == SESSION_REPEATED && again.outcome.error == 0);
}

Test(store, a_command_of_a_former_epoch_is_fenced)
{
    store_fixture_session(&f, 1, 2);
    cr_expect_eq(f.epoch, 2);
    cr_expect_eq(submit(1, 5, 5, &mkdir_d).verdict, SESSION_FENCED);
    cr_expect_eq(store_fixture_find(&f, "/d"), 0);
    cr_expect_eq(submit(2, 1, 1, &mkdir_d).outcome.error, 0);
    struct fs_command open = {.op = FS_SESSION_OPEN, .nonce = 9};
    cr_expect_eq(submit(2, 2, 2, &open).outcome.error, EINVAL, "opens have no sequence");
    cr_expect_eq(submit(2, 0, 0, &mkdir_d).verdict, SESSION_FENCED, "others have");
}

Test(store, a_node_without_a_session_is_fenced)
{
    f.node = 5;
    uint8_t bytes[64];
    struct command command = {.node = 5, .epoch = 1, .sequence = 1, .low = 1, .bytes = bytes};
    command.size = (uint32_t)fs_command_encode(&mkdir_d, bytes, sizeof bytes);
    cr_expect_eq(store_fixture_apply_bytes(&f, &command).verdict, SESSION_FENCED);
}

Test(store, there_are_no_more_sessions_than_the_table_holds)
{
    for (uint64_t node = 2; node <= SESSIONS_MAX; node++)
        store_fixture_session(&f, node, 1);
    struct fs_command open = {.op = FS_SESSION_OPEN, .nonce = 9};
    uint8_t bytes[64];
    struct command command = {.node = 1000, .bytes = bytes};
    command.size = (uint32_t)fs_command_encode(&open, bytes, sizeof bytes);
    struct store_applied applied = store_fixture_apply_bytes(&f, &command);
    cr_expect(applied.verdict == SESSION_NEW && applied.outcome.error == EUSERS);
    cr_expect(same_digest(store_fixture_digest(&f), store_fixture_digest_recompute(&f)));
}

Test(store, bytes_that_are_no_command_are_an_agreed_EINVAL)
{
    struct command command = {
        .size = 5, .node = 1, .epoch = 1, .sequence = 1, .low = 1, .bytes = (uint8_t *)"trash"};
    struct store_applied applied = store_fixture_apply_bytes(&f, &command);
    cr_expect(applied.verdict == SESSION_NEW && applied.outcome.error == EINVAL);
    applied = store_fixture_apply_bytes(&f, &command);
    cr_expect(applied.verdict == SESSION_REPEATED && applied.outcome.error == EINVAL);
    command.sequence = 0;
    cr_expect_eq(store_fixture_apply_bytes(&f, &command).verdict, SESSION_FENCED);
}

/* As when a slot that a former leader proposed is decided after the new leader's first. */
Test(store, a_slot_with_an_earlier_time_than_the_one_before_gets_a_later_mtime)
{
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    op_write(&f, ino, 0, "old", 3, 0);
    uint64_t before = store_fixture_attr(&f, ino).mtime_ns;
    uint64_t times[] = {before - 5, before, 0};
    for (size_t i = 0; i < ARRAY_COUNT(times); i++) {
        struct fs_command c = {
            .op = FS_WRITE, .ino = ino, .offset = 0, .data = "new", .data_size = 3};
        uint8_t bytes[512];
        struct command command = {.node = f.node, .epoch = f.epoch, .sequence = ++f.sequence};
        command.low = command.sequence;
        command.size = (uint32_t)fs_command_encode(&c, bytes, sizeof bytes);
        command.bytes = bytes;
        store_fixture_begin(&f);
        struct store_applied applied;
        cr_assert_eq(store_apply(f.store, ++f.slot, times[i], &command, &applied, NULL, NULL), 0);
        store_fixture_commit(&f);
        cr_assert_eq(applied.outcome.error, 0);
        cr_expect_gt(applied.outcome.attr.mtime_ns, before, "case %zu", i);
        before = applied.outcome.attr.mtime_ns;
        cr_expect_eq(store_time_ns(f.store), before);
    }
}

Test(store, a_session_is_not_opened_for_an_older_life)
{
    store_fixture_session(&f, 1, 5);
    struct fs_command open = {.op = FS_SESSION_OPEN, .nonce = 4};
    struct store_applied applied = submit(0, 0, 0, &open);
    cr_expect_eq(applied.outcome.error, EUSERS);
    cr_expect_eq(submit(f.epoch, 1, 1, &mkdir_d).verdict, SESSION_NEW, "it goes on");
}

Test(store, the_noop_takes_a_slot_and_nothing_else)
{
    struct fs_attr before = store_fixture_attr(&f, ROOT);
    struct store_applied applied = store_fixture_apply_bytes(&f, command_noop());
    cr_expect_eq(applied.verdict, SESSION_SETTLED);
    cr_expect_eq(store_applied(f.store), f.slot);
    cr_expect(same_attr(before, store_fixture_attr(&f, ROOT)));
}

Test(store, verify_tells_the_digest_after_its_slot_wherever_batches_end)
{
    struct fs_command verify = {.op = FS_VERIFY, .nonce = 42};
    store_fixture_begin(&f);
    uint64_t ino = made(op_create(&f, ROOT, "a", 0644, 0));
    op_write(&f, ino, 0, "data", 4, 0);
    store_fixture_apply(&f, &verify);
    cr_assert_eq(f.change_count, 1);
    struct fs_change change = f.changes[0];
    cr_expect(change.kind == FS_DIGEST && change.nonce == 42 && change.slot == f.slot);
    store_fixture_commit(&f);
    struct store_digest digest = store_fixture_digest(&f);
    cr_expect(digest.digest[0] == change.digest[0] && digest.digest[1] == change.digest[1]);

    struct store_fixture g;
    store_fixture_init(&g);
    ino = made(op_create(&g, ROOT, "a", 0644, 0));
    op_write(&g, ino, 0, "data", 4, 0);
    store_fixture_begin(&g);
    store_fixture_apply(&g, &verify);
    cr_expect_eq(memcmp(g.changes[0].digest, change.digest, sizeof change.digest), 0);
    op_mkdir(&g, ROOT, "later", 0755);
    store_fixture_commit(&g);
    store_fixture_deinit(&g);
}
