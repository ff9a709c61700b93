#include <criterion/criterion.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/damage.h"
#include "fs/hollow.h"
#include "fs/scrub.h"
#include "tests/support/store_copy.h"
#include "tests/support/store_ops.h"

#define ROOT  FS_ROOT_INO
#define NAME  "a-name-that-is-nowhere-else"
#define VALUE "a-value-that-is-nowhere-else"
#define WORDS "words-in-the-middle-of-a-chunk-that-are-nowhere-else"

static struct store_fixture f;
static uint64_t ino;
static uint8_t data[100000];

static void setup(void)
{
    memset(data, 'x', sizeof data);
    memcpy(data + 50000, WORDS, strlen(WORDS));
    store_fixture_init_cluster(&f, 3);
    ino = made(op_create(&f, ROOT, NAME, 0644, 0));
    op_write(&f, ino, 0, data, sizeof data, 0);
    op_setxattr(&f, ino, "user.a", VALUE, strlen(VALUE), 0);
    store_fixture_checkpoint(&f);
}

static void teardown(void)
{
    store_fixture_deinit(&f);
}

TestSuite(damage, .init = setup, .fini = teardown);

/* As a disk that gives other bytes than it got: wherever they are, in any version of a page. */
static void flip(const void *bytes, size_t size, size_t at)
{
    char path[128];
    snprintf(path, sizeof path, "%s/store.1/data.mdb", f.dir);
    int fd = open(path, O_RDWR);
    struct stat s;
    cr_assert(fd >= 0 && fstat(fd, &s) == 0);
    uint8_t *all = malloc((size_t)s.st_size);
    cr_assert_eq(pread(fd, all, (size_t)s.st_size, 0), s.st_size);
    int count = 0;
    for (uint8_t *p = all; (p = memmem(p, (size_t)(all + s.st_size - p), bytes, size)); p++) {
        uint8_t other = p[at] ^ 0x10;
        cr_assert_eq(pwrite(fd, &other, 1, p + at - all), 1);
        count++;
    }
    free(all);
    close(fd);
    cr_assert_gt(count, 0);
}

static int64_t read_at(uint64_t offset, uint64_t size)
{
    struct iovec iov[STORE_IOV_MAX];
    int count = STORE_IOV_MAX;
    cr_assert_eq(store_read_begin(f.reader), 0);
    int64_t rc = store_read(f.reader, ino, offset, size, iov, &count);
    store_read_end(f.reader);
    return rc;
}

static struct store_damage noted(void)
{
    struct store_damage damage;
    (void)store_damage(f.store, &damage);
    return damage;
}

Test(damage, is_none_in_what_is_as_it_was_written)
{
    cr_expect_eq(read_at(0, sizeof data), sizeof data);
    cr_expect_eq(noted().count, 0);
}

Test(damage, of_file_data_is_never_given_out)
{
    flip(WORDS, strlen(WORDS), 3);
    cr_expect_eq(read_at(50000, 10), -EBADMSG);
    cr_expect_eq(read_at(33000, 1), -EBADMSG, "of the same chunk");
    cr_expect_eq(noted().count, 2);
    cr_expect_str_eq(noted().first, "file data: chunk 1 of data 2");
    cr_expect_eq(read_at(0, 1000), 1000, "the rest is");
    cr_expect_eq(read_at(70000, 1000), 1000);
}

static struct fs_command write_of(uint64_t offset, uint32_t size)
{
    return (struct fs_command){
        .op = FS_WRITE, .ino = ino, .offset = offset, .data = data, .data_size = size};
}

/* The slot would give it a hash that fits. */
static int write_over(uint64_t offset, uint32_t size)
{
    uint8_t *bytes = malloc(size + 200);
    struct fs_command c = write_of(offset, size);
    struct command command = {.node = f.node,
                              .epoch = f.epoch,
                              .sequence = f.sequence + 1,
                              .low = f.sequence + 1,
                              .bytes = bytes,
                              .size = (uint32_t)fs_command_encode(&c, bytes, size + 200)};
    struct store_applied applied;
    cr_assert_eq(store_begin(f.store), 0);
    int rc = store_apply(f.store, f.slot + 1, store_fixture_time(f.slot + 1), &command, &applied,
                         NULL, NULL);
    store_abort(f.store);
    free(bytes);
    return rc;
}

Test(damage, of_file_data_is_not_carried_into_what_is_written_beside_it)
{
    flip(WORDS, strlen(WORDS), 3);
    cr_expect_eq(write_over(40000, 10), -EBADMSG);
    cr_expect_eq(write_over(32768, 32768), 0, "nothing of it stays");
}

static int list_nothing(void *context, const struct store_dirent *entry)
{
    (void)context, (void)entry;
    return 0;
}

Test(damage, of_a_name_is_noticed)
{
    flip(NAME, strlen(NAME), 5);
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_expect_eq(store_readdir(f.reader, ROOT, 0, list_nothing, NULL), -EBADMSG);
    store_read_end(f.reader);
    cr_expect_gt(noted().count, 0);
}

Test(damage, of_an_attribute_is_noticed)
{
    flip(VALUE, strlen(VALUE), 5);
    const void *value;
    size_t size;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_expect_eq(store_getxattr(f.reader, ino, "user.a", &value, &size), -EBADMSG);
    store_read_end(f.reader);
    cr_expect_str_eq(noted().first, "an attribute of inode 2");
}

Test(damage, of_an_inode_is_noticed_at_each_byte)
{
    struct fs_attr attr = store_fixture_attr(&f, ino);
    uint8_t bytes[16]; /* mtime and ctime, big-endian or not */
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(attr.mtime_ns >> 8 * i);
        bytes[8 + i] = (uint8_t)(attr.ctime_ns >> 8 * i);
    }
    flip(bytes, sizeof bytes, 1);
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_expect_eq(store_getattr(f.reader, ino, &attr), -EBADMSG);
    store_read_end(f.reader);
    cr_expect_str_eq(noted().first, "inode 2");
}

Test(damage, of_a_donor_is_not_installed)
{
    struct store_fixture to;
    store_fixture_init_blank(&to);
    flip(WORDS, strlen(WORDS), 3);
    struct store_copy copy = store_copy_of(f.store);
    cr_expect_eq(store_copy_install(&copy, to.store), -EBADMSG);
    store_copy_free(&copy);
    store_fixture_deinit(&to);
}

/* A pass in steps of @bytes; how many steps. */
static int scrub_all(struct scrub *s, uint64_t bytes)
{
    bool is_end = false;
    int steps = 0;
    for (; !is_end && steps < 10000; steps++) {
        cr_assert_eq(store_read_begin(f.reader), 0);
        is_end = store_scrub(f.reader, s, bytes);
        store_read_end(f.reader);
    }
    cr_assert(is_end);
    return steps;
}

Test(damage, is_not_found_by_a_scrub_where_there_is_none)
{
    struct scrub s = {0}, again = {0};
    cr_expect_eq(scrub_all(&s, UINT64_MAX), 1);
    cr_expect_eq(s.errors, 0);
    cr_expect_gt(s.bytes, sizeof data);
    cr_expect_gt(scrub_all(&again, 1), 10, "one record each");
    cr_expect_eq(again.records, s.records);
    cr_expect_eq(again.passes, 1);
    scrub_all(&again, 100);
    cr_expect_eq(again.records, s.records);
    cr_expect_eq(again.passes, 2);
}

Test(damage, of_any_kind_is_found_by_a_scrub_which_goes_on_behind_it)
{
    struct scrub whole = {0}, s = {0};
    scrub_all(&whole, UINT64_MAX);
    flip(WORDS, strlen(WORDS), 3);
    flip(VALUE, strlen(VALUE), 3);
    flip(NAME, strlen(NAME), 3);
    scrub_all(&s, 1000);
    cr_expect_eq(s.errors, 4, "data, attribute, and both records of the name");
    cr_expect_eq(s.records, whole.records);
    cr_expect_eq(noted().count, 4);
}

Test(damage, set_aside_leaves_a_hollow_store_that_gives_nothing_and_takes_the_same_slot)
{
    struct store_fixture to;
    struct membership m;
    char error[200], name[40];
    store_fixture_init_cluster(&to, 3);
    store_membership(to.store, &m);
    store_reader_free(to.reader);
    store_close(to.store);
    cr_assert_eq(store_environment_name(to.dir, name, sizeof name), 0);
    cr_assert_str_eq(name, "store.1");
    cr_assert_eq(store_open_hollow(to.dir, name, store_applied(f.store), &m, &to.store), 0);

    struct membership kept;
    store_membership(to.store, &kept);
    cr_expect_eq(kept.version, m.version);
    cr_expect_eq(store_applied(to.store), store_applied(f.store));
    cr_assert_eq(store_reader_new(to.store, &to.reader), 0);
    cr_expect_eq(store_read_begin(to.reader), -EBADMSG);
    cr_expect_eq(store_export(to.store, 1), -EBADMSG);

    store_reader_free(to.reader);
    store_close(to.store);
    cr_expect_eq(store_open(to.dir, &to.store, error, sizeof error), -EBADMSG, "to nobody else");
    cr_assert_eq(store_open_hollow(to.dir, name, store_applied(f.store), &m, &to.store), 0,
                 "again");
    cr_assert_eq(store_reader_new(to.store, &to.reader), 0);

    struct store_copy copy = store_copy_of(f.store);
    cr_expect_eq(store_copy_install(&copy, to.store), 0);
    store_copy_free(&copy);
    struct store_digest own = store_fixture_digest(&to), theirs = store_fixture_digest(&f);
    cr_expect_eq(memcmp(&own, &theirs, sizeof own), 0);
    char path[128];
    snprintf(path, sizeof path, "%s/store.1.bad/data.mdb", to.dir);
    cr_expect_eq(access(path, F_OK), 0);
    snprintf(path, sizeof path, "rm -r %s/store.1.bad", to.dir);
    cr_expect_eq(system(path), 0);
    store_fixture_deinit(&to);
}
