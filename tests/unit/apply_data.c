#include <criterion/criterion.h>

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/chunk.h"
#include "fs/stale.h"
#include "tests/support/store_ops.h"

static struct store_fixture f;
static uint64_t file;
static uint8_t data[WRITE_SIZE_MAX], back[4 * WRITE_SIZE_MAX];
#define ROOT FS_ROOT_INO

static void setup(void)
{
    store_fixture_init(&f);
    file = made(op_create(&f, ROOT, "file", 0644, 0));
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + i / 4096 + 1);
}

static void teardown(void)
{
    store_fixture_deinit(&f);
}

TestSuite(apply_data, .init = setup, .fini = teardown);

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

Test(apply_data, what_is_written_is_read_at_any_alignment)
{
    static const struct {
        uint64_t offset;
        size_t size;
    } cases[] = {
        {0, 1},
        {0, WRITE_SIZE_MAX},
        {1, WRITE_SIZE_MAX},
        {CHUNK_SIZE - 1, 2},
        {CHUNK_SIZE, CHUNK_SIZE},
        {CHUNK_SIZE * 2 + 17, CHUNK_SIZE * 3},
        {4095, 4097},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t ino = made(op_create(&f, ROOT, (char[]){(char)('a' + i), 0}, 0644, 0));
        struct fs_outcome o = op_write(&f, ino, cases[i].offset, data, cases[i].size, 0);
        cr_assert_eq(o.error, 0);
        cr_expect_eq(o.offset, cases[i].offset);
        cr_expect_eq(o.attr.size, cases[i].offset + cases[i].size);
        uint64_t size = store_fixture_read(&f, ino, back, sizeof back);
        cr_assert_eq(size, o.attr.size);
        cr_expect(is_zero(back, cases[i].offset), "case %zu", i);
        cr_expect_eq(memcmp(back + cases[i].offset, data, cases[i].size), 0, "case %zu", i);
    }
}

Test(apply_data, a_write_into_the_middle_keeps_what_is_around)
{
    op_write(&f, file, 0, data, 3 * CHUNK_SIZE, 0);
    op_write(&f, file, CHUNK_SIZE + 100, "middle", 6, 0);
    cr_assert_eq(store_fixture_read(&f, file, back, sizeof back), 3 * CHUNK_SIZE);
    cr_expect_eq(memcmp(back, data, CHUNK_SIZE + 100), 0);
    cr_expect_eq(memcmp(back + CHUNK_SIZE + 100, "middle", 6), 0);
    cr_expect_eq(memcmp(back + CHUNK_SIZE + 106, data + CHUNK_SIZE + 106, 2 * CHUNK_SIZE - 106), 0);
}

Test(apply_data, one_batch_may_write_a_chunk_again_and_again)
{
    static const size_t sizes[] = {10, 3000, 100, 5000, 20000, 6000, CHUNK_SIZE};
    store_fixture_begin(&f);
    size_t end = 0;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        size_t at = i % 2 ? end : end / 2; /* grow, and overwrite */
        op_write(&f, file, at, data + at, sizes[i], 0);
        end = at + sizes[i] > end ? at + sizes[i] : end;
    }
    store_fixture_commit(&f);
    cr_assert_eq(store_fixture_read(&f, file, back, sizeof back), end);
    cr_expect_eq(memcmp(back, data, end), 0);
}

Test(apply_data, an_append_goes_where_the_file_ends_at_apply)
{
    op_write(&f, file, 0, data, 100, 0);
    struct fs_outcome o = op_write(&f, file, 5, "tail", 4, FS_WRITE_APPEND);
    cr_expect(o.error == 0 && o.offset == 100 && o.attr.size == 104);
    store_fixture_read(&f, file, back, sizeof back);
    cr_expect_eq(memcmp(back + 100, "tail", 4), 0);
}

Test(apply_data, a_write_of_nothing_changes_nothing)
{
    struct fs_attr before = store_fixture_attr(&f, file);
    cr_expect_eq(op_write(&f, file, 1000, NULL, 0, 0).error, 0);
    struct fs_attr after = store_fixture_attr(&f, file);
    cr_expect(same_attr(before, after));
    cr_expect_eq(f.change_count, 0);
}

Test(apply_data, every_write_gives_a_new_mtime)
{
    uint64_t before = store_fixture_attr(&f, file).mtime_ns;
    for (int i = 0; i < 5; i++) {
        struct fs_outcome o = op_write(&f, file, 0, "same", 4, 0);
        cr_expect_gt(o.attr.mtime_ns, before);
        cr_expect_eq(o.attr.mtime_ns, o.attr.ctime_ns);
        before = o.attr.mtime_ns;
        cr_assert_eq(f.change_count, 1);
        cr_expect(f.changes[0].kind == FS_DATA && f.changes[0].ino == file);
        cr_expect(f.changes[0].offset == 0 && f.changes[0].size == 4);
    }
}

Test(apply_data, only_regular_files_are_written)
{
    uint64_t dir = made(op_mkdir(&f, ROOT, "dir", 0755));
    uint64_t fifo = made(op_mknod(&f, ROOT, "fifo", S_IFIFO | 0600, 0));
    cr_expect_eq(op_write(&f, dir, 0, "x", 1, 0).error, EISDIR);
    cr_expect_eq(op_write(&f, fifo, 0, "x", 1, 0).error, EINVAL);
    cr_expect_eq(op_write(&f, 999, 0, "x", 1, 0).error, ESTALE);
    cr_expect_eq(op_truncate(&f, dir, 0).error, EISDIR);
    cr_expect_eq(op_truncate(&f, fifo, 0).error, EINVAL);
    cr_expect_eq(op_fallocate(&f, dir, 0, 1, 0).error, EISDIR);
    cr_expect_eq(op_fallocate(&f, fifo, 0, 1, 0).error, ENODEV);
}

Test(apply_data, no_offset_wraps_around)
{
    static const struct {
        uint64_t offset;
        int error;
    } cases[] = {
        {INT64_MAX - 4, 0},  {INT64_MAX - 3, EFBIG},
        {INT64_MAX, EFBIG},  {(uint64_t)INT64_MAX + 1, EFBIG},
        {UINT64_MAX, EFBIG},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        cr_expect_eq(op_write(&f, file, cases[i].offset, "four", 4, 0).error, cases[i].error);
        cr_expect_eq(op_fallocate(&f, file, cases[i].offset, 4, 0).error, cases[i].error);
    }
    cr_expect_eq(op_truncate(&f, file, INT64_MAX).error, 0);
    cr_expect_eq(op_truncate(&f, file, (uint64_t)INT64_MAX + 1).error, EFBIG);
    cr_expect_eq(op_write(&f, file, 0, "x", 1, FS_WRITE_APPEND).error, EFBIG);
    cr_expect_eq(op_fallocate(&f, file, 1, UINT64_MAX, 0).error, EFBIG);
}

Test(apply_data, a_file_that_shrank_and_grew_reads_zeroes)
{
    static const uint64_t cuts[] = {
        0, 1, 4096, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE};
    for (size_t i = 0; i < ARRAY_COUNT(cuts); i++) {
        op_write(&f, file, 0, data, 3 * CHUNK_SIZE, 0);
        op_truncate(&f, file, cuts[i]);
        struct fs_outcome o = op_truncate(&f, file, 3 * CHUNK_SIZE);
        cr_assert_eq(store_fixture_read(&f, file, back, sizeof back), 3 * CHUNK_SIZE);
        cr_expect_eq(memcmp(back, data, cuts[i]), 0);
        cr_expect(is_zero(back + cuts[i], 3 * CHUNK_SIZE - cuts[i]));
        cr_expect_eq(o.attr.blocks, (cuts[i] + 4095) / 4096 * 8);
    }
}

Test(apply_data, truncate_sets_the_times_even_at_the_same_size)
{
    op_write(&f, file, 0, data, 10, 0);
    struct fs_outcome o = op_truncate(&f, file, 10);
    cr_expect_eq(o.attr.mtime_ns, store_fixture_time(f.slot));
    cr_expect_eq(f.change_count, 0, "no byte changed");
    op_truncate(&f, file, 4);
    cr_assert_eq(f.change_count, 1);
    cr_expect(f.changes[0].offset == 4 && f.changes[0].size == 6);
}

Test(apply_data, blocks_count_what_is_stored)
{
    cr_expect_eq(op_truncate(&f, file, 100 * MIB).attr.blocks, 0);
    cr_expect_eq(op_write(&f, file, 50 * MIB, "x", 1, 0).attr.blocks, 8);
    cr_expect_eq(op_write(&f, file, 10 * MIB, data, CHUNK_SIZE, 0).attr.blocks,
                 8 + CHUNK_SIZE / 512);
    struct store_usage usage;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_assert_eq(store_usage(f.reader, &usage), 0);
    store_read_end(f.reader);
    cr_expect_eq(usage.bytes, 4096 + CHUNK_SIZE);
    cr_expect_eq(usage.inodes, 2);
    cr_expect_gt(usage.disk_total, 0);
    cr_expect_eq(op_truncate(&f, file, 0).attr.blocks, 0);
}

Test(apply_data, fallocate_does_what_its_mode_says)
{
    enum { PUNCH = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, ZERO = FALLOC_FL_ZERO_RANGE };
    static const struct {
        const char *what;
        uint32_t mode;
        uint64_t offset, size, file_size, zero_from, zero_to;
    } cases[] = {
        {"within", 0, 10, 100, 2 * CHUNK_SIZE, 0, 0},
        {"beyond", 0, CHUNK_SIZE, 2 * CHUNK_SIZE, 3 * CHUNK_SIZE, 2 * CHUNK_SIZE, 3 * CHUNK_SIZE},
        {"keep size", FALLOC_FL_KEEP_SIZE, 0, 9 * CHUNK_SIZE, 2 * CHUNK_SIZE, 0, 0},
        {"punch within a chunk", PUNCH, 100, 50, 2 * CHUNK_SIZE, 100, 150},
        {"punch a chunk", PUNCH, 0, CHUNK_SIZE, 2 * CHUNK_SIZE, 0, CHUNK_SIZE},
        {"punch across", PUNCH, 100, CHUNK_SIZE, 2 * CHUNK_SIZE, 100, CHUNK_SIZE + 100},
        {"punch beyond", PUNCH, 100, 9 * CHUNK_SIZE, 2 * CHUNK_SIZE, 100, 2 * CHUNK_SIZE},
        {"zero within", ZERO, 100, 50, 2 * CHUNK_SIZE, 100, 150},
        {"zero beyond", ZERO, CHUNK_SIZE, 2 * CHUNK_SIZE, 3 * CHUNK_SIZE, CHUNK_SIZE,
         3 * CHUNK_SIZE},
        {"zero beyond, keep size", ZERO | FALLOC_FL_KEEP_SIZE, CHUNK_SIZE, 2 * CHUNK_SIZE,
         2 * CHUNK_SIZE, CHUNK_SIZE, 2 * CHUNK_SIZE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        op_truncate(&f, file, 0);
        op_write(&f, file, 0, data, 2 * CHUNK_SIZE, 0);
        struct fs_outcome o = op_fallocate(&f, file, cases[i].offset, cases[i].size, cases[i].mode);
        cr_expect_eq(o.error, 0, "%s", cases[i].what);
        cr_expect_eq(o.attr.size, cases[i].file_size, "%s", cases[i].what);
        uint64_t size = store_fixture_read(&f, file, back, sizeof back);
        cr_assert_eq(size, cases[i].file_size, "%s", cases[i].what);
        for (uint64_t at = 0; at < size; at++) {
            bool zero = at >= cases[i].zero_from && at < cases[i].zero_to;
            if (back[at] != (zero ? 0 : data[at]))
                cr_assert_fail("%s: byte %llu", cases[i].what, (unsigned long long)at);
        }
    }
    cr_expect_eq(op_fallocate(&f, file, 0, 0, 0).error, EINVAL);
    cr_expect_eq(op_fallocate(&f, file, 0, 1, FALLOC_FL_PUNCH_HOLE).error, EOPNOTSUPP);
    cr_expect_eq(op_fallocate(&f, file, 0, 1, FALLOC_FL_COLLAPSE_RANGE).error, EOPNOTSUPP);
}

Test(apply_data, a_punched_hole_gives_its_blocks_back)
{
    op_write(&f, file, 0, data, 4 * CHUNK_SIZE, 0);
    struct fs_outcome o = op_fallocate(&f, file, CHUNK_SIZE, 2 * CHUNK_SIZE,
                                       FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    cr_expect_eq(o.attr.blocks, 2 * CHUNK_SIZE / 512);
}

Test(apply_data, seek_finds_data_and_holes)
{
    op_truncate(&f, file, 10 * CHUNK_SIZE);
    op_write(&f, file, 2 * CHUNK_SIZE, data, CHUNK_SIZE + 10, 0);
    const struct {
        uint64_t from;
        int whence;
        int64_t found;
    } cases[] = {
        {0, SEEK_DATA, 2 * CHUNK_SIZE},
        {0, SEEK_HOLE, 0},
        {2 * CHUNK_SIZE + 5, SEEK_DATA, 2 * CHUNK_SIZE + 5},
        {2 * CHUNK_SIZE + 5, SEEK_HOLE, 3 * CHUNK_SIZE + 10},
        {3 * CHUNK_SIZE + 10, SEEK_DATA, -ENXIO},
        {3 * CHUNK_SIZE + 11, SEEK_HOLE, 3 * CHUNK_SIZE + 11},
        {10 * CHUNK_SIZE, SEEK_HOLE, -ENXIO},
        {10 * CHUNK_SIZE, SEEK_DATA, -ENXIO},
    };
    cr_assert_eq(store_read_begin(f.reader), 0);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(store_seek(f.reader, file, cases[i].from, cases[i].whence), cases[i].found,
                     "case %zu", i);
    store_read_end(f.reader);

    uint64_t full = made(op_create(&f, ROOT, "full", 0644, 0));
    op_write(&f, full, 0, data, 2 * CHUNK_SIZE, 0);
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_expect_eq(store_seek(f.reader, full, 5, SEEK_HOLE), 2 * CHUNK_SIZE);
    store_read_end(f.reader);
}

Test(apply_data, a_read_gives_pieces_for_what_there_is_room_for)
{
    op_write(&f, file, 0, data, 5 * CHUNK_SIZE, 0);
    struct iovec iov[4];
    int count = ARRAY_COUNT(iov);
    cr_assert_eq(store_read_begin(f.reader), 0);
    int64_t got = store_read(f.reader, file, 0, 5 * CHUNK_SIZE, iov, &count);
    cr_expect(got > 0 && got <= (int64_t)(5 * CHUNK_SIZE));
    int64_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += (int64_t)iov[i].iov_len;
    cr_expect_eq(sum, got);
    count = ARRAY_COUNT(iov);
    cr_expect_eq(store_read(f.reader, file, 5 * CHUNK_SIZE, 1, iov, &count), 0);
    cr_expect_eq(count, 0);
    cr_expect_eq(store_read(f.reader, ROOT, 0, 1, iov, &count), -EISDIR);
    store_read_end(f.reader);
}

Test(apply_data, emptying_a_large_file_leaves_garbage_to_be_reaped)
{
    for (uint64_t i = 0; i < 8; i++)
        op_write(&f, file, i * WRITE_SIZE_MAX, data, WRITE_SIZE_MAX, 0);
    cr_expect_not(store_has_garbage(f.store));
    struct fs_outcome o = op_truncate(&f, file, 0);
    cr_expect(o.attr.size == 0 && o.attr.blocks == 0);
    cr_expect(store_has_garbage(f.store));
    op_write(&f, file, 0, "new", 3, 0);
    for (int i = 0; i < 100 && store_has_garbage(f.store); i++)
        op_reap(&f, 8 * WRITE_SIZE_MAX / CHUNK_SIZE / 10);
    cr_expect_not(store_has_garbage(f.store));
    cr_assert_eq(store_fixture_read(&f, file, back, sizeof back), 3);
    cr_expect_eq(memcmp(back, "new", 3), 0);
    struct store_usage usage;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_assert_eq(store_usage(f.reader, &usage), 0);
    store_read_end(f.reader);
    cr_expect_eq(usage.bytes, 4096);
}

/* ---- what one slot cannot delete ---- */

enum { MANY = 40, FEW = 4 };

/* A file of MANY full chunks, where a slot deletes FEW. */
static void make_large(void)
{
    store_fixture_limit(&f, FEW);
    for (uint64_t i = 0; i < MANY; i++)
        op_write(&f, file, i * CHUNK_SIZE, data, CHUNK_SIZE, 0);
}

static uint64_t chunks_stored(void)
{
    struct store_usage usage;
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_assert_eq(store_usage(f.reader, &usage), 0);
    store_read_end(f.reader);
    return usage.bytes / CHUNK_SIZE;
}

/* Bytes @from..@to are those of make_large(), or zeroes. */
static bool reads(uint64_t from, uint64_t to, bool zeroes)
{
    static uint8_t large[MANY * CHUNK_SIZE];
    uint64_t size = store_fixture_read(&f, file, large, sizeof large);
    for (uint64_t at = from; at < to && at < size; at++)
        if (large[at] != (zeroes ? 0 : data[at % CHUNK_SIZE]))
            return false;
    return true;
}

static void reap_all(void)
{
    for (int i = 0; store_has_garbage(f.store); i++) {
        uint64_t before = chunks_stored();
        op_reap(&f, UINT64_MAX);
        cr_assert_leq(before - chunks_stored(), FEW);
        cr_assert_lt(i, 10000);
    }
    struct store_digest kept = store_fixture_digest(&f), is = store_fixture_digest_recompute(&f);
    cr_expect_eq(memcmp(&kept, &is, sizeof kept), 0);
}

Test(apply_data, a_large_file_that_shrank_reads_zeroes_when_it_grows_before_the_reaper_came)
{
    make_large();
    const uint64_t kept = 2 * CHUNK_SIZE + 100;
    struct fs_outcome o = op_truncate(&f, file, kept);
    cr_expect(o.error == 0 && o.attr.size == kept);
    cr_expect_geq(chunks_stored(), MANY - FEW - 2, "one slot deletes little");
    cr_expect(store_has_garbage(f.store));
    op_truncate(&f, file, MANY * CHUNK_SIZE);
    cr_expect(reads(0, kept, false) && reads(kept, MANY * CHUNK_SIZE, true));
    cr_assert_eq(store_read_begin(f.reader), 0);
    cr_expect_eq(store_seek(f.reader, file, kept, SEEK_DATA), -ENXIO);
    cr_expect_eq(store_seek(f.reader, file, 0, SEEK_HOLE), (int64_t)kept);
    store_read_end(f.reader);

    reap_all();
    cr_expect(reads(0, kept, false) && reads(kept, MANY * CHUNK_SIZE, true));
    cr_expect_eq(store_fixture_attr(&f, file).blocks, (2 * CHUNK_SIZE + 4096) / 512);
}

Test(apply_data, what_is_written_over_the_stale_stays_whenever_the_reaper_comes)
{
    make_large();
    op_fallocate(&f, file, CHUNK_SIZE, (MANY - 2) * CHUNK_SIZE,
                 FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    cr_assert(store_has_garbage(f.store));
    const uint64_t at = (MANY - 3) * CHUNK_SIZE + 50; /* the reaper gets there last */
    op_write(&f, file, at, "new", 3, 0);
    for (int reaped = 0; reaped < 2; reaped++) {
        static uint8_t large[MANY * CHUNK_SIZE];
        store_fixture_read(&f, file, large, sizeof large);
        cr_expect_eq(memcmp(large + at, "new", 3), 0);
        cr_expect(reads(0, CHUNK_SIZE, false) && reads(CHUNK_SIZE, at, true));
        cr_expect(reads(at + 3, (MANY - 1) * CHUNK_SIZE, true));
        cr_expect(reads((MANY - 1) * CHUNK_SIZE, MANY * CHUNK_SIZE, false));
        reap_all();
    }
    cr_expect_eq(store_fixture_attr(&f, file).blocks, (2 * CHUNK_SIZE + 4096) / 512);
}

Test(apply_data, a_file_with_stale_chunks_may_be_emptied_or_removed)
{
    for (int way = 0; way < 2; way++) {
        make_large();
        op_truncate(&f, file, CHUNK_SIZE);
        if (way == 0) {
            op_truncate(&f, file, 0);
        } else {
            op_unlink(&f, ROOT, "file");
            op_forget(&f, file);
        }
        cr_expect(store_has_garbage(f.store));
        reap_all();
        cr_expect_eq(chunks_stored(), 0);
    }
    cr_expect_eq(store_fixture_attr(&f, file).ino, 0);
}

Test(apply_data, shrinking_and_growing_again_and_again_needs_no_room)
{
    make_large();
    for (int i = 0; i < 20; i++) {
        cr_assert_eq(op_truncate(&f, file, CHUNK_SIZE).error, 0);
        cr_assert_eq(op_truncate(&f, file, (uint64_t)(MANY - i) * CHUNK_SIZE).error, 0);
        cr_assert_leq(f.store->meta.garbage, 1);
    }
}

Test(apply_data, more_stale_ranges_than_a_file_may_have_are_refused_until_some_are_reaped)
{
    enum { CHUNKS = 2 * STALE_MAX + 8 };
    store_fixture_limit(&f, 1);
    store_fixture_begin(&f);
    for (uint64_t i = 0; i < CHUNKS; i++)
        op_write(&f, file, i * CHUNK_SIZE, "x", 1, 0);
    for (uint64_t i = 0; i < STALE_MAX; i++) { /* each begins after the one before */
        cr_assert_eq(op_truncate(&f, file, 2 * i * CHUNK_SIZE + 1).error, 0);
        cr_assert_eq(op_truncate(&f, file, CHUNKS * CHUNK_SIZE).error, 0);
    }
    struct fs_outcome o = op_truncate(&f, file, (2 * STALE_MAX + 1) * CHUNK_SIZE);
    cr_expect_eq(o.error, ENOSPC);
    cr_expect_eq(op_truncate(&f, file, 0).error, 0, "one that takes in all the others");
    cr_expect_eq(op_truncate(&f, file, CHUNKS * CHUNK_SIZE).error, 0);
    store_fixture_commit(&f);
    cr_expect(reads(0, CHUNK_SIZE, true));
}
