/* How a disk is shared out. */
#include <criterion/criterion.h>

#include "base/limits.h"
#include "node/shares.h"
#include "node/wal.h"

Test(shares, leave_files_a_good_part_of_any_disk)
{
    static const struct {
        uint64_t total, files_min;
    } cases[] = {
        {180 * MIB, 50 * MIB}, {500 * MIB, 240 * MIB}, {GIB, 300 * MIB},
        {4 * GIB, 2 * GIB},    {20 * GIB, 15 * GIB},   {1000 * GIB, 940 * GIB},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct shares s = shares_of(cases[i].total);
        uint64_t files = shares_for_files(&s, cases[i].total);
        cr_expect_geq(files, cases[i].files_min, "%lu: %lu", cases[i].total, files);
        cr_expect_leq(files + s.reserve + s.log_whole + s.slack, cases[i].total);
        cr_expect_lt(2 * s.floor, s.reserve, "a full filesystem is not a short disk");
        cr_expect_leq(s.segment, WAL_SEGMENT_SIZE);
        cr_expect_leq(s.log, LOG_BYTES_MAX);
    }
}

Test(shares, of_a_disk_too_small_for_anything_leave_nothing)
{
    struct shares s = shares_of(10 * MIB);
    cr_expect_eq(shares_for_files(&s, 10 * MIB), 0);
}
