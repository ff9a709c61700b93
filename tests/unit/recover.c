/* tests/unit/recover.c: what one host's directory is worth alone: what is kept of its log, what is
 * said, and that an interrupted recovery starts no daemon and goes on. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/disk.h"
#include "node/config.h"
#include "node/recover.h"
#include "node/wal.h"
#include "tests/support/store_ops.h"

#define ROOT FS_ROOT_INO

static const char config_text[] = "version=1\ncluster_id=00000000000000aa\n"
                                  "node_id=0000000000000001\nname=n01\nlisten=10.0.0.1:7600\n"
                                  "joined=1\nmember=n01=10.0.0.1:7600\nmember=n02=10.0.0.2:7600\n"
                                  "member=n03=10.0.0.3:7600\n";

static struct store_fixture f;
static struct recovery r;
static struct wal *wal;
static uint64_t numbered;
static char error[512];

/* ---- fixtures ---- */

static void path_of(const char *name, char path[160])
{
    snprintf(path, 160, "%s/%s", f.dir, name);
}

static void write_file(const char *name, const char *text)
{
    char path[160];
    path_of(name, path);
    FILE *file = fopen(path, "w");
    cr_assert(file);
    fputs(text, file);
    fclose(file);
}

static bool is_there(const char *name)
{
    char path[160];
    glob_t found;
    path_of(name, path);
    bool is = glob(path, 0, NULL, &found) == 0;
    globfree(&found);
    return is;
}

/* The directory of n01 of three: a store checkpointed with one file; its log is empty. */
static void setup(void)
{
    char path[160];
    struct wal_recovered recovered;
    store_fixture_init_cluster(&f, 3);
    store_fixture_session(&f, 2, 1);
    made(op_create(&f, ROOT, "stored", 0644, 0));
    store_fixture_checkpoint(&f);
    write_file("config", config_text);
    path_of("wal", path);
    cr_assert_eq(wal_open(path, &wal, &recovered, error, sizeof error), 0, "%s", error);
    numbered = 0;
}

static void close_all(void)
{
    if (wal)
        wal_close(wal);
    wal = NULL;
    if (f.store) {
        store_reader_free(f.reader);
        store_close(f.store);
    }
    f.store = NULL;
}

static void teardown(void)
{
    char command[128];
    disk_hook = NULL;
    close_all();
    snprintf(command, sizeof command, "rm -r %s", f.dir);
    cr_assert_eq(system(command), 0);
}

TestSuite(recover, .init = setup, .fini = teardown);

/* In slot store + @ahead the log accepted @c. */
static void accept_command(uint64_t ahead, const struct fs_command *c, uint64_t sequence)
{
    uint8_t bytes[512];
    size_t size = fs_command_encode(c, bytes, sizeof bytes);
    cr_assert_gt(size, 0);
    struct command command = {.refs = 1,
                              .size = (uint32_t)size,
                              .node = f.node,
                              .epoch = f.epoch,
                              .sequence = sequence,
                              .low = 1,
                              .bytes = bytes};
    struct persist p = {.kind = PERSIST_ACCEPT,
                        .number = ++numbered,
                        .pvalue = {.ballot = {3, 1},
                                   .slot = f.slot + ahead,
                                   .time_ns = store_fixture_time(f.slot + ahead),
                                   .command = &command}};
    cr_assert_eq(wal_append(wal, &p), 0);
}

/* ... that a file of this name be made. */
static void accept(uint64_t ahead, const char *name)
{
    struct fs_command c = {.op = FS_CREATE,
                           .parent = ROOT,
                           .name = name,
                           .name_size = (uint32_t)strlen(name),
                           .mode = 0644};
    accept_command(ahead, &c, f.sequence + ahead);
}

static void accept_open(uint64_t ahead)
{
    struct fs_command c = {.op = FS_SESSION_OPEN, .nonce = 1};
    accept_command(ahead, &c, 0);
}

static void decide(uint64_t ahead)
{
    struct persist p = {.kind = PERSIST_DECIDED, .number = ++numbered, .slot = f.slot + ahead};
    cr_assert_eq(wal_append(wal, &p), 0);
}

/* Three slots known decided, two more accepted, and two above a gap. */
static void fill_log(void)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", NULL, "g", "h"};
    for (uint64_t i = 0; i < ARRAY_COUNT(names); i++)
        if (names[i])
            accept(i + 1, names[i]);
    decide(3);
    cr_assert_eq(wal_sync(wal), 0);
}

static int force(void)
{
    close_all();
    return recover_force(f.dir, &r, error, sizeof error);
}

static void open_recovered(void)
{
    cr_assert_eq(store_open(f.dir, &f.store, error, sizeof error), 0, "%s", error);
    cr_assert_eq(store_reader_new(f.store, &f.reader), 0);
}

static int load(struct config *c)
{
    return config_load(f.dir, c, error, sizeof error);
}

static void expect_recovered(void)
{
    struct config c;
    struct membership m;
    cr_assert_eq(load(&c), 0, "%s", error);
    cr_expect_neq(c.cluster_id, 0xAA);
    cr_expect_neq(c.node_id, 1);
    cr_expect_str_eq(c.name, "n01");
    cr_expect_str_eq(c.listen, "10.0.0.1:7600");
    open_recovered();
    store_membership(f.store, &m);
    cr_expect_eq(membership_seat(&m, c.node_id), 0);
    cr_expect_eq(m.members[1].node, 0);
    cr_expect_eq(store_applied(f.store), r.kept + 1, "%llu, not %llu",
                 (unsigned long long)store_applied(f.store), (unsigned long long)r.kept + 1);
    for (const char *name = "abcde"; *name; name++) {
        char path[] = {'/', *name, '\0'};
        cr_expect_neq(store_fixture_find(&f, path), 0, "%s", path);
    }
    cr_expect_neq(store_fixture_find(&f, "/stored"), 0);
    cr_expect_eq(store_fixture_find(&f, "/g"), 0);
    struct store_digest kept = store_fixture_digest(&f), anew = store_fixture_digest_recompute(&f);
    cr_expect_eq(memcmp(kept.digest, anew.digest, sizeof kept.digest), 0);
    cr_expect_not(is_there("recovering"));
    cr_expect(is_there("RECOVERED-*"));
    cr_expect(is_there("config.before-recover-*"));
    cr_expect(is_there("wal.before-recover-*/segment.*"));
}

/* ---- tests ---- */

Test(recover, a_look_tells_what_is_there_and_changes_nothing)
{
    fill_log();
    uint64_t stored = f.slot;
    close_all();
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(recover_look(f.dir, &r, error, sizeof error), 0, "%s", error);
        cr_expect_eq(r.from_cluster, 0xAA);
        cr_expect_eq(r.cluster_id, 0);
        cr_expect_eq(r.voters, 3);
        cr_expect_eq(r.stored, stored);
        cr_expect_eq(r.decided, stored + 3);
        cr_expect_eq(r.kept, stored + 5);
        cr_expect_eq(r.beyond, 2);
        cr_expect_eq(r.ballot.round, 3);
        cr_expect_eq(r.time_ns, store_fixture_time(stored + 5));
    }
    struct config c;
    cr_assert_eq(load(&c), 0);
    cr_expect_eq(c.cluster_id, 0xAA);
    cr_expect_not(is_there("RECOVERED-*"));
}

Test(recover, keeps_what_was_accepted_without_a_gap)
{
    fill_log();
    cr_assert_eq(force(), 0, "%s", error);
    expect_recovered();
}

Test(recover, says_what_was_taken_as_decided_and_what_may_be_lost)
{
    char text[RECOVER_TEXT_SIZE], wanted[64];
    fill_log();
    uint64_t stored = f.slot;
    cr_assert_eq(force(), 0, "%s", error);
    recover_text(&r, text);
    snprintf(wanted, sizeof wanted, "slots %llu to %llu", (unsigned long long)stored + 4,
             (unsigned long long)stored + 5);
    cr_expect(strstr(text, wanted), "%s", text);
    cr_expect(strstr(text, "2 slots"), "%s", text);
    cr_expect(strstr(text, "without this one"), "%s", text);
    cr_expect(is_there("paxfsd.log"));
}

Test(recover, forgets_the_sessions_of_the_lost)
{
    struct store_session list[SESSIONS_MAX];
    cr_assert_eq(force(), 0, "%s", error);
    open_recovered();
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_expect_eq(store_sessions(f.reader, list), 0);
    store_read_end(f.reader);
}

Test(recover, the_new_log_begins_after_the_store)
{
    struct wal_recovered recovered;
    char path[160];
    fill_log();
    cr_assert_eq(force(), 0, "%s", error);
    path_of("wal", path);
    cr_assert_eq(wal_open(path, &wal, &recovered, error, sizeof error), 0, "%s", error);
    cr_expect_eq(recovered.collected, r.kept + 1);
    cr_expect_eq(recovered.slot_max, 0);
}

Test(recover, a_store_without_its_log_is_still_worth_something)
{
    char command[200];
    snprintf(command, sizeof command, "rm -r %s/wal", f.dir);
    close_all();
    cr_assert_eq(system(command), 0);
    cr_assert_eq(force(), 0, "%s", error);
    cr_expect_not(r.has_log);
    open_recovered();
    cr_expect_neq(store_fixture_find(&f, "/stored"), 0);
}

Test(recover, can_be_done_again_after_it_was_done)
{
    fill_log();
    cr_assert_eq(force(), 0, "%s", error);
    uint64_t cluster_id = r.cluster_id, kept = r.kept;
    cr_assert_eq(force(), 0, "%s", error);
    cr_expect_eq(r.from_cluster, cluster_id);
    cr_expect_neq(r.cluster_id, cluster_id);
    cr_expect_eq(r.stored, kept + 1);
    cr_expect_eq(r.voters, 1);
}

Test(recover, refuses_what_runs_or_holds_nothing)
{
    close_all();
    int lock = config_lock(f.dir);
    cr_assert_geq(lock, 0);
    cr_expect_eq(recover_force(f.dir, &r, error, sizeof error), -EWOULDBLOCK);
    cr_expect(strstr(error, "paxfs stop"), "%s", error);
    close(lock);

    char path[160];
    write_file("quarantine", "why\n");
    cr_expect_eq(recover_force(f.dir, &r, error, sizeof error), -EBADMSG);
    cr_expect(strstr(error, "another host"), "%s", error);
    path_of("quarantine", path);
    cr_assert_eq(unlink(path), 0);
    path_of("checkpoint", path);
    cr_assert_eq(unlink(path), 0);
    cr_expect_eq(recover_force(f.dir, &r, error, sizeof error), -EBADMSG);
    cr_expect(strstr(error, "another host"), "%s", error);
    cr_expect(is_there("config"));
    cr_expect_eq(recover_look("/tmp", &r, error, sizeof error), -ENOENT);
}

/* Killed before its first checkpoint: the store is as it was made, and all is in the log. */
Test(recover, a_cluster_too_young_for_a_checkpoint_is_in_its_log)
{
    char command[128];
    struct config c;
    close_all();
    snprintf(command, sizeof command, "rm -r %s/*", f.dir);
    cr_assert_eq(system(command), 0);
    cr_assert_eq(
        config_parse_cluster(&c, "n01=10.0.0.1:7600,n02=10.0.0.2:7600", "n01", error, sizeof error),
        0);
    cr_assert_eq(config_init(f.dir, &c, error, sizeof error), 0, "%s", error);
    open_recovered();
    close_all();
    cr_expect_eq(recover_force(f.dir, &r, error, sizeof error), -EBADMSG);
    cr_expect(strstr(error, "nothing"), "%s", error);

    struct wal_recovered recovered;
    char path[160];
    path_of("wal", path);
    cr_assert_eq(wal_open(path, &wal, &recovered, error, sizeof error), 0, "%s", error);
    f.slot = f.sequence = 0;
    f.node = c.node_id;
    f.epoch = 1;
    accept_open(1);
    f.sequence = (uint64_t)-1; /* slot 2 has sequence 1 */
    accept(2, "a");
    cr_assert_eq(wal_sync(wal), 0);
    cr_assert_eq(force(), 0, "%s", error);
    cr_expect_eq(r.voters, 2);
    cr_expect_eq(r.kept, 2);
    open_recovered();
    cr_expect_neq(store_fixture_find(&f, "/a"), 0);
    cr_expect_eq(store_applied(f.store), 3);
}

/* ---- interrupted ---- */

static int steps_left;

static int die(const char *step, const char *path)
{
    (void)step, (void)path;
    if (steps_left-- == 0)
        _exit(7);
    return 0;
}

static bool force_until(int step)
{
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        steps_left = step;
        disk_hook = die;
        int rc = recover_force(f.dir, &r, error, sizeof error);
        if (rc < 0)
            fprintf(stderr, "step %d: %s\n", step, error);
        _exit(rc == 0 ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    cr_assert_neq(WEXITSTATUS(status), 1, "a recovery after an interrupted one failed");
    return WEXITSTATUS(status) == 0;
}

/* Each try goes on where the one before died, one step on the disk later. */
Test(recover, interrupted_anywhere_it_starts_no_daemon_and_goes_on, .timeout = 60)
{
    fill_log();
    close_all();
    bool has_ended = false, was_begun = false;
    int step = 0;
    for (; !has_ended; step++) {
        struct config c;
        cr_assert_lt(step, 100);
        has_ended = force_until(step);
        was_begun |= is_there("recovering") || has_ended;
        int rc = load(&c);
        if (has_ended)
            cr_assert_eq(rc, 0, "%s", error);
        else if (was_begun)
            cr_assert_eq(rc, -EINPROGRESS, "step %d: %d", step, rc);
        else
            cr_assert_eq(c.cluster_id, 0xAA, "step %d", step);
    }
    cr_expect_gt(step, 5);
    uint64_t kept = f.slot + 5;
    r.kept = kept;
    expect_recovered();
}

/* ... and from one that died at each step alone. */
Test(recover, interrupted_once_anywhere_the_second_try_ends_it, .timeout = 60)
{
    char command[256];
    fill_log();
    close_all();
    snprintf(command, sizeof command, "cp -a %s %s.orig", f.dir, f.dir);
    cr_assert_eq(system(command), 0);
    bool has_ended = false;
    for (int step = 0; !has_ended; step++) {
        cr_assert_lt(step, 100);
        has_ended = force_until(step);
        r.kept = f.slot + 5;
        /* One that died after its last word was said is done again, which takes a slot more. */
        if (!has_ended)
            cr_assert_eq(recover_force(f.dir, &r, error, sizeof error), 0, "step %d: %s", step,
                         error);
        cr_assert(r.kept == f.slot + 5 || r.kept == f.slot + 6);
        expect_recovered();
        close_all();
        snprintf(command, sizeof command, "rm -r %s && cp -a %s.orig %s", f.dir, f.dir, f.dir);
        cr_assert_eq(system(command), 0);
    }
    snprintf(command, sizeof command, "rm -r %s.orig", f.dir);
    cr_assert_eq(system(command), 0);
}
