#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/fsck.h"
#include "fs/inode.h"
#include "fs/state.h"
#include "tests/support/store_ops.h"

#define ROOT  FS_ROOT_INO
#define WORDS "words-in-the-middle-of-a-chunk-that-are-nowhere-else"

static struct store_fixture f;
static uint8_t data[300000];
static char said[20000];
static uint64_t ino;

/* A few of everything: directories, links, attributes, holes, orphans, garbage. */
static void setup(void)
{
    said[0] = '\0';
    memset(data, 'x', sizeof data);
    memcpy(data + 50000, WORDS, strlen(WORDS));
    store_fixture_init_cluster(&f, 3);
    ino = made(op_create(&f, ROOT, "file", 0644, 0));
    op_write(&f, ino, 0, data, sizeof data, 0);
    op_setxattr(&f, ino, "user.a", "value", 5, 0);
    op_setxattr(&f, ino, "user.b", "value", 5, 0);
    uint64_t dir = made(op_mkdir(&f, ROOT, "dir", 0755));
    made(op_mkdir(&f, dir, "inner", 0755));
    op_link(&f, ino, dir, "again");
    op_symlink(&f, dir, "link", "../file");
    uint64_t sparse = made(op_create(&f, dir, "sparse", 0644, 0));
    op_write(&f, sparse, 10000000, data, 10, 0);
    uint64_t orphan = made(op_create(&f, ROOT, "orphan", 0644, 0));
    op_write(&f, orphan, 0, data, 100000, 0);
    op_unlink(&f, ROOT, "orphan");
    op_truncate(&f, sparse, 100);
    op_rename(&f, dir, "inner", ROOT, "outer", 0);
}

static void close_store(void)
{
    store_reader_free(f.reader);
    store_close(f.store);
    f.reader = NULL;
    f.store = NULL;
}

static void teardown(void)
{
    char error[200];
    if (!f.store) {
        (void)store_open(f.dir, &f.store, error, sizeof error);
        cr_assert(f.store && store_reader_new(f.store, &f.reader) == 0);
    }
    store_fixture_deinit(&f);
}

TestSuite(fsck, .init = setup, .fini = teardown);

static void hear(void *context, const char *sentence)
{
    (void)context;
    strncat(said, sentence, sizeof said - strlen(said) - 2);
    strcat(said, "\n");
}

static struct store_fsck checked(void)
{
    struct store_fsck k = {.say = hear};
    cr_assert_eq(store_fsck(f.dir, &k), 0);
    return k;
}

static uint8_t *content(size_t *size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/store.1/data.mdb", f.dir);
    int fd = open(path, O_RDONLY);
    struct stat s;
    cr_assert(fd >= 0 && fstat(fd, &s) == 0);
    *size = (size_t)s.st_size;
    uint8_t *all = malloc(*size);
    cr_assert_eq(read(fd, all, *size), s.st_size);
    close(fd);
    return all;
}

/* An edit that keeps every check and the digest right, but not the sense. */
static void edit(void (*change)(struct inode *inode, struct meta *meta))
{
    struct inode inode;
    cr_assert_eq(store_begin(f.store), 0);
    cr_assert_eq(inode_get(f.store, ino, &inode), 0);
    change(&inode, &f.store->meta);
    cr_assert_eq(inode_put(f.store, &inode), 0);
    cr_assert_eq(store_commit(f.store), 0);
    store_fixture_checkpoint(&f);
    close_store();
}

Test(fsck, finds_nothing_where_all_is_well)
{
    store_fixture_checkpoint(&f);
    uint64_t slot = store_applied(f.store);
    close_store();
    struct store_fsck k = checked();
    cr_expect_eq(k.problems, 0, "%s", said);
    cr_expect_eq(k.slot, slot);
    cr_expect_eq(k.inodes, 7);
    cr_expect_gt(k.bytes, sizeof data);
}

Test(fsck, looks_at_the_checkpoint_and_changes_no_byte)
{
    store_fixture_checkpoint(&f);
    uint64_t slot = store_applied(f.store);
    made(
        op_create(&f, ROOT, "later", 0644, 0)); /* committed, and no checkpoint: as after a crash */
    close_store();
    size_t size, size_after;
    uint8_t *before = content(&size);
    struct store_fsck k = checked();
    uint8_t *after = content(&size_after);
    cr_expect_eq(k.problems, 0, "%s", said);
    cr_expect_eq(k.slot, slot);
    cr_expect(size == size_after && memcmp(before, after, size) == 0);
    free(before);
    free(after);
}

Test(fsck, finds_each_flipped_byte)
{
    store_fixture_checkpoint(&f);
    close_store();
    size_t size;
    uint8_t *all = content(&size);
    uint8_t *at = memmem(all, size, WORDS, strlen(WORDS));
    cr_assert(at);
    char path[128];
    snprintf(path, sizeof path, "%s/store.1/data.mdb", f.dir);
    int fd = open(path, O_RDWR);
    for (; at; at = memmem(at + 1, size - (size_t)(at + 1 - all), WORDS, strlen(WORDS)))
        cr_assert_eq(pwrite(fd, "W", 1, at - all), 1);
    close(fd);
    free(all);
    cr_expect_eq(checked().problems, 2);
    cr_expect_str_eq(said, "file data 2 is damaged in chunk 1\n"
                           "file data 7 is damaged in chunk 1\n");
}

static void miscount_links(struct inode *inode, struct meta *meta)
{
    (void)meta;
    inode->attr.nlink++;
}

Test(fsck, finds_a_wrong_count_of_links)
{
    edit(miscount_links);
    cr_expect_eq(checked().problems, 1);
    cr_expect_str_eq(said, "inode 2 has 2 links but counts 3\n");
}

static void miscount_blocks(struct inode *inode, struct meta *meta)
{
    (void)meta;
    inode->attr.blocks += 8;
}

Test(fsck, finds_a_wrong_count_of_blocks)
{
    edit(miscount_blocks);
    cr_expect_eq(checked().problems, 1, "%s", said);
}

static void lose_data(struct inode *inode, struct meta *meta)
{
    inode->data = meta->next_ino++;
    inode->attr.blocks = 0;
}

Test(fsck, finds_data_that_belongs_to_nothing)
{
    edit(lose_data);
    cr_expect_str_eq(said, "");
    cr_expect_eq(checked().problems, 1);
    cr_expect_str_eq(said, "file data 2 belongs to nothing\n");
}

static void miscount_all(struct inode *inode, struct meta *meta)
{
    (void)inode;
    meta->inodes++;
    meta->space++;
    meta->sum[0]++;
}

Test(fsck, finds_wrong_numbers_of_the_whole)
{
    edit(miscount_all);
    cr_expect_eq(checked().problems, 3, "%s", said);
}

Test(fsck, finds_a_name_of_what_is_not_there)
{
    cr_assert_eq(store_begin(f.store), 0);
    cr_assert_eq(inode_remove(f.store, ino), 0);
    cr_assert_eq(store_commit(f.store), 0);
    store_fixture_checkpoint(&f);
    close_store();
    (void)checked();
    cr_expect(strstr(said, "'file' in directory 1 names inode 2, which is not there"), "%s", said);
    cr_expect(strstr(said, "an attribute belongs to an inode that is not there"), "%s", said);
}
