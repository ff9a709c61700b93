/* tests/unit/cursor.c: bytes with a bound. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/cursor.h"

Test(cursor, reads_back_what_was_written)
{
    uint8_t bytes[64];
    struct writer w = writer_of(bytes, sizeof bytes);
    write_u8(&w, 0xfe);
    write_u16(&w, 0xfedc);
    write_u32(&w, 0xfedcba98u);
    write_u64(&w, UINT64_C(0xfedcba9876543210));
    write_bytes(&w, "abc", 3);
    cr_assert_not(w.failed);
    cr_assert_eq(w.size, 18);

    struct cursor c = cursor_of(bytes, w.size);
    cr_expect_eq(cursor_u8(&c), 0xfe);
    cr_expect_eq(cursor_u16(&c), 0xfedc);
    cr_expect_eq(cursor_u32(&c), 0xfedcba98u);
    cr_expect_eq(cursor_u64(&c), UINT64_C(0xfedcba9876543210));
    cr_expect_not(cursor_done(&c), "three bytes are left");
    cr_expect_eq(memcmp(cursor_bytes(&c, 3), "abc", 3), 0);
    cr_expect(cursor_done(&c));
}

Test(cursor, integers_are_little_endian)
{
    uint8_t bytes[8];
    struct writer w = writer_of(bytes, sizeof bytes);
    write_u64(&w, UINT64_C(0x0807060504030201));
    for (size_t i = 0; i < sizeof bytes; i++)
        cr_expect_eq(bytes[i], i + 1);
}

Test(cursor, reading_past_the_end_fails_for_good_and_gives_zeroes)
{
    uint8_t bytes[7];
    memset(bytes, 0xff, sizeof bytes);
    for (size_t size = 0; size < sizeof bytes; size++) {
        struct cursor c = cursor_of(bytes, size);
        cr_expect_eq(cursor_u64(&c), 0);
        cr_expect(c.failed);
        cr_expect_eq(cursor_u8(&c), 0, "also what would have fitted");
        cr_expect_null(cursor_bytes(&c, 0));
        cr_expect_not(cursor_done(&c));
    }
}

Test(cursor, a_size_that_would_wrap_is_refused)
{
    uint8_t bytes[4] = {1, 2, 3, 4};
    struct cursor c = cursor_of(bytes, sizeof bytes);
    cr_expect_not_null(cursor_bytes(&c, 1));
    cr_expect_null(cursor_bytes(&c, SIZE_MAX));
    cr_expect(c.failed);
}

Test(cursor, zero_bytes_can_be_read_at_the_end)
{
    uint8_t bytes[1] = {0};
    struct cursor c = cursor_of(bytes, 0);
    cr_expect_not_null(cursor_bytes(&c, 0));
    cr_expect(cursor_done(&c));
}

Test(cursor, writing_past_the_room_fails_for_good_and_touches_nothing)
{
    uint8_t bytes[8];
    memset(bytes, 0xee, sizeof bytes);
    struct writer w = writer_of(bytes, 6);
    write_u32(&w, 1);
    write_u32(&w, 2);
    cr_expect(w.failed);
    cr_expect_eq(w.size, 4);
    write_u8(&w, 3);
    cr_expect_eq(w.size, 4, "also what would have fitted");
    cr_expect_eq(bytes[4], 0xee);
    w = writer_of(bytes, 6);
    write_bytes(&w, bytes, SIZE_MAX);
    cr_expect(w.failed);
    w = writer_of(bytes, 0);
    write_bytes(&w, NULL, 0);
    cr_expect_not(w.failed);
}
