/* tests/unit/restore.c: a backup becomes a cluster of one; what is damaged changes nothing; one
 * that is interrupted begins anew. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "fs/backup.h"
#include "fs/disk.h"
#include "node/restore.h"
#include "node/wal.h"
#include "tests/support/store_copy.h"
#include "tests/support/store_ops.h"

#define ROOT   FS_ROOT_INO
#define LISTEN "10.9.9.9:7600"

static struct store_fixture donor;
static struct restored restored;
static char base[64], state[96], error[512];
static uint8_t data[300000];
static int file;

/* ---- fixtures ---- */

static int yes(void *context)
{
    (void)context;
    return 0;
}

static int backup_of(struct store *s, uint64_t slot)
{
    static const _Atomic bool never = false;
    struct backup_patience p = {
        .idle_ns = NS_PER_S, .deadline_ns = UINT64_MAX, .is_cancelled = &never};
    struct backup_header h = {.cluster_id = 0xABCD, .slot = slot, .time_ns = store_time_ns(s)};
    struct store_copy c = store_copy_of(s);
    FILE *body = tmpfile(), *out = tmpfile();
    cr_assert(body && out);
    cr_assert_eq(fwrite(c.bytes, 1, c.size, body), c.size);
    rewind(body);
    uint64_t size;
    cr_assert_eq(backup_write(fileno(body), fileno(out), &h, &p, yes, NULL, &size), 0);
    store_copy_free(&c);
    fclose(body);
    return dup(fileno(out)); /* @out stays: the tests are short */
}

/* Three members with sessions, an invitation, files, and an orphan of the very last slot. */
static void setup(void)
{
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 1000);
    snprintf(base, sizeof base, "/tmp/paxfs_restore.XXXXXX");
    cr_assert(mkdtemp(base));
    snprintf(state, sizeof state, "%s/state", base);
    store_fixture_init_cluster(&donor, 3);
    store_fixture_session(&donor, 2, 1);
    store_fixture_session(&donor, 3, 1);
    uint64_t ino = made(op_create(&donor, ROOT, "f", 0644, 0));
    op_write(&donor, ino, 0, data, sizeof data, 0);
    op_mkdir(&donor, ROOT, "d", 0755);
    op_invite(&donor, "n04", 9, NS_PER_S * 1000, true, 0);
    op_create(&donor, ROOT, "orphan", 0644, 0);
    op_unlink(&donor, ROOT, "orphan");
    file = backup_of(donor.store, store_applied(donor.store));
}

static void teardown(void)
{
    char command[128];
    disk_hook = NULL;
    close(file);
    store_fixture_deinit(&donor);
    snprintf(command, sizeof command, "rm -r %s", base);
    cr_assert_eq(system(command), 0);
}

TestSuite(restore, .init = setup, .fini = teardown);

static int run(void)
{
    error[0] = '\0';
    return restore_run(file, state, "solo", LISTEN, &restored, error, sizeof error);
}

static bool is_there(const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", state, name);
    return access(path, F_OK) == 0;
}

static struct store *open_restored(void)
{
    struct store *s;
    cr_assert_eq(store_open(state, &s, error, sizeof error), 0, "%s", error);
    return s;
}

/* ---- what it makes ---- */

Test(restore, makes_a_cluster_of_one_with_ids_of_its_own)
{
    cr_assert_eq(run(), 0, "%s", error);
    struct config c;
    cr_assert_eq(config_load(state, &c, error, sizeof error), 0, "%s", error);
    cr_expect_neq(c.cluster_id, 0xABCD);
    cr_expect_eq(restored.from_cluster, 0xABCD);
    cr_expect_gt(c.node_id, 3);
    cr_expect_str_eq(c.name, "solo");
    cr_expect_str_eq(c.listen, LISTEN);
    cr_expect(config_is_formed(&c));
    cr_expect_not(is_there("restoring"));

    struct store *s = open_restored();
    struct membership m, former;
    store_membership(s, &m);
    store_membership(donor.store, &former);
    cr_expect_eq(m.version, former.version + 1);
    cr_expect_eq(membership_seat(&m, c.node_id), 0);
    cr_expect_str_eq(m.members[0].address, LISTEN);
    cr_expect_eq(m.members[0].role, MEMBER_VOTER);
    cr_expect_eq(m.members[1].node, 0);
    cr_expect_eq(m.invitations[0].expires_ns, 0, "the former invitations are void");
    store_close(s);
}

Test(restore, keeps_the_files_and_forgets_the_sessions)
{
    struct store_session list[SESSIONS_MAX];
    cr_assert_eq(run(), 0, "%s", error);
    cr_expect_eq(restored.slot, store_applied(donor.store));
    struct store_fixture f = {.store = open_restored()};
    cr_assert_eq(store_reader_new(f.store, &f.reader), 0);
    cr_expect_eq(store_applied(f.store), restored.slot + 1);
    static uint8_t read[sizeof data];
    uint64_t ino = store_fixture_find(&f, "/f");
    cr_assert_neq(ino, 0);
    cr_expect_eq(store_fixture_read(&f, ino, read, sizeof read), sizeof data);
    cr_expect_eq(memcmp(read, data, sizeof data), 0);
    cr_expect_neq(store_fixture_find(&f, "/d"), 0);

    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_expect_eq(store_sessions(f.reader, list), 0);
    store_read_end(f.reader);
    struct store_digest kept = store_fixture_digest(&f), anew = store_fixture_digest_recompute(&f);
    cr_expect_eq(kept.digest[0], anew.digest[0]);
    cr_expect_eq(kept.digest[1], anew.digest[1]);
    store_reader_free(f.reader);
    store_close(f.store);
}

static uint64_t orphans(struct store_fixture *f)
{
    struct store_usage usage;
    cr_assert_eq(store_read_begin(f->reader), 0);
    cr_assert_eq(store_usage(f->reader, &usage), 0);
    store_read_end(f->reader);
    return usage.orphans;
}

Test(restore, what_the_former_hosts_held_is_reaped)
{
    cr_assert_eq(run(), 0, "%s", error);
    struct store_fixture f = {.store = open_restored()};
    cr_assert_eq(store_reader_new(f.store, &f.reader), 0);
    f.slot = store_applied(f.store);
    cr_expect_eq(orphans(&f), 1);
    cr_expect(store_has_garbage(f.store));
    store_fixture_session(&f, restored.config.node_id, 1);
    for (int i = 0; i < 10 && store_has_garbage(f.store); i++)
        op_reap(&f, 1000);
    cr_expect_not(store_has_garbage(f.store));
    cr_expect_eq(orphans(&f), 0);
    store_reader_free(f.reader);
    store_close(f.store);
}

Test(restore, the_log_begins_after_it)
{
    char dir[128];
    struct wal *wal;
    struct wal_recovered recovered;
    cr_assert_eq(run(), 0, "%s", error);
    snprintf(dir, sizeof dir, "%s/wal", state);
    cr_assert(wal_is_born(dir));
    cr_assert_eq(wal_open(dir, &wal, &recovered, error, sizeof error), 0, "%s", error);
    cr_expect_eq(recovered.collected, restored.slot + 1);
    cr_expect_eq(recovered.slot_max, 0);
    wal_close(wal);
}

/* ---- what it refuses ---- */

Test(restore, a_damaged_backup_changes_nothing)
{
    off_t size = lseek(file, 0, SEEK_END);
    uint8_t byte;
    cr_assert_eq(pread(file, &byte, 1, size / 2), 1);
    byte ^= 4;
    cr_assert_eq(pwrite(file, &byte, 1, size / 2), 1);
    cr_expect_eq(run(), -EBADMSG);
    cr_expect(strstr(error, "checksum"), "%s", error);
    cr_expect_neq(access(state, F_OK), 0, "a directory was made");
    byte ^= 4;
    cr_assert_eq(pwrite(file, &byte, 1, size / 2), 1);
    cr_assert_eq(ftruncate(file, size - 1000), 0);
    cr_expect_eq(run(), -EBADMSG);
    cr_expect(strstr(error, "cut"), "%s", error);
    cr_expect_neq(access(state, F_OK), 0, "a directory was made");
}

Test(restore, one_that_is_older_than_it_says_is_refused)
{
    close(file);
    file = backup_of(donor.store, store_applied(donor.store) + 1);
    cr_expect_eq(run(), -EBADMSG);
    cr_expect_not(is_there("config"));
    cr_expect_not(is_there("checkpoint"));
    cr_expect_not(is_there("restoring"));
}

Test(restore, one_in_which_nothing_happened_is_refused)
{
    struct store_fixture blank;
    store_fixture_init_blank(&blank);
    store_fixture_begin_members(&blank, 1);
    close(file);
    file = backup_of(blank.store, 0);
    cr_expect_eq(run(), -EBADMSG);
    cr_expect(strstr(error, "paxfs init"), "%s", error);
    store_fixture_deinit(&blank);
}

Test(restore, what_is_in_the_way_stays_as_it_is)
{
    char path[160];
    cr_assert_eq(mkdir(state, 0755), 0);
    snprintf(path, sizeof path, "%s/letter", state);
    cr_assert_eq(close(open(path, O_CREAT | O_WRONLY, 0644)), 0);
    cr_expect_eq(run(), -ENOTEMPTY);
    cr_expect(is_there("letter"));
    cr_expect_not(is_there("restoring"));
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(run(), 0, "%s", error);
    uint64_t node_id = restored.config.node_id;
    cr_expect_eq(run(), -EEXIST);
    struct config c;
    cr_assert_eq(config_load(state, &c, error, sizeof error), 0);
    cr_expect_eq(c.node_id, node_id);
}

Test(restore, names_and_addresses_are_looked_at_first)
{
    cr_expect_eq(restore_run(file, state, "No", LISTEN, &restored, error, sizeof error), -EINVAL);
    cr_expect_eq(restore_run(file, state, "n1", "here", &restored, error, sizeof error), -EINVAL);
    cr_expect_neq(access(state, F_OK), 0);
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

/* True when it came to its end before step number @step. */
static bool run_until(int step)
{
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        steps_left = step;
        disk_hook = die;
        _exit(run() == 0 ? 0 : 1);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    cr_assert_neq(WEXITSTATUS(status), 1, "a restore after an interrupted one failed");
    return WEXITSTATUS(status) == 0;
}

Test(restore, interrupted_anywhere_it_starts_no_daemon_and_can_be_run_again, .timeout = 60)
{
    bool has_ended = false;
    int step = 0;
    for (; !has_ended; step++) {
        cr_assert_lt(step, 200);
        has_ended = run_until(step); /* on what the one before left */
        struct config c;
        int rc = config_load(state, &c, error, sizeof error);
        cr_assert_eq(rc == 0, has_ended, "step %d: %s", step, error);
    }
    cr_expect_gt(step, 10);
    store_close(open_restored());
}

static int no_room(const char *step, const char *path)
{
    (void)path;
    return strcmp(step, "append") == 0 ? -ENOSPC : 0;
}

Test(restore, a_full_disk_is_said_and_nothing_is_left_on_it)
{
    disk_hook = no_room;
    cr_expect_eq(run(), -ENOSPC);
    cr_expect(strstr(error, "make room"), "%s", error);
    cr_expect_not(is_there("restoring"));
    cr_expect_not(is_there("store.1"));
    cr_expect_not(is_there("store.2"));
    disk_hook = NULL;
    cr_expect_eq(run(), 0, "%s", error);
}
