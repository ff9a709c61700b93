#include "rpc/frame.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/limits.h"
#include "base/prng.h"

static int feed(struct frame_reader *r, const uint8_t *bytes, size_t size, struct frame **out)
{
    size_t room;
    uint8_t *to = frame_reader_room(r, &room);
    cr_assert_not_null(to);
    cr_assert_leq(size, room);
    memcpy(to, bytes, size);
    return frame_reader_fill(r, size, out);
}

Test(frame, a_stream_is_cut_into_the_same_frames_however_it_arrives)
{
    enum { FRAMES = 40 };
    uint64_t seed = 42;
    struct prng p = {seed};
    struct buffer stream = {0};
    uint32_t sizes[FRAMES];
    for (int i = 0; i < FRAMES; i++) {
        sizes[i] = 1 + (uint32_t)prng_below(&p, 300);
        uint8_t head[4] = {(uint8_t)sizes[i], (uint8_t)(sizes[i] >> 8), 0, 0};
        buffer_append(&stream, head, sizeof head);
        for (uint32_t k = 0; k < sizes[i]; k++)
            buffer_append(&stream, &(uint8_t){(uint8_t)i}, 1);
    }
    for (int round = 0; round < 50; round++) {
        struct frame_reader r = {0};
        int seen = 0;
        for (size_t at = 0; at < stream.size;) {
            size_t room;
            cr_assert_not_null(frame_reader_room(&r, &room));
            cr_assert_gt(room, 0);
            size_t n = round ? 1 + prng_below(&p, (uint64_t)round * 3) : 1;
            if (n > room)
                n = room;
            if (n > stream.size - at)
                n = stream.size - at;
            struct frame *f = NULL;
            int rc = feed(&r, stream.bytes + at, n, &f);
            at += n;
            cr_assert_geq(rc, 0);
            if (rc == 0)
                continue;
            cr_assert_eq(f->size, sizes[seen], "seed %lu round %d frame %d", seed, round, seen);
            cr_expect_eq(f->bytes[0], seen);
            cr_expect_eq(f->bytes[f->size - 1], seen);
            seen++;
            frame_unref(f);
        }
        cr_expect_eq(seen, FRAMES);
        frame_reader_deinit(&r);
    }
    buffer_deinit(&stream);
}

Test(frame, lengths_that_are_not_allowed_are_refused_before_anything_is_allocated)
{
    static const struct {
        const char *name;
        uint32_t claimed, size_max;
        int rc;
    } cases[] = {
        {"zero", 0, 0, -EMSGSIZE},
        {"one", 1, 0, 0},
        {"the longest", FRAME_SIZE_MAX, 0, 0},
        {"too long", FRAME_SIZE_MAX + 1, 0, -EMSGSIZE},
        {"all ones", UINT32_MAX, 0, -EMSGSIZE},
        {"the longest of a stranger", 4096, 4096, 0},
        {"too long for a stranger", 4097, 4096, -EMSGSIZE},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct frame_reader r = {.size_max = cases[i].size_max};
        uint32_t n = cases[i].claimed;
        uint8_t head[4] = {(uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16), (uint8_t)(n >> 24)};
        struct frame *f = NULL;
        cr_expect_eq(feed(&r, head, 4, &f), cases[i].rc, "%s", cases[i].name);
        cr_expect_null(r.frame, "%s", cases[i].name);
        frame_reader_deinit(&r);
    }
}

Test(frame, a_reader_that_ends_in_the_middle_frees_what_it_holds)
{
    struct frame_reader r = {0};
    struct frame *f = NULL;
    cr_assert_eq(feed(&r, (const uint8_t *)"\x0a\0\0\0", 4, &f), 0);
    cr_assert_eq(feed(&r, (const uint8_t *)"half", 4, &f), 0);
    frame_reader_deinit(&r); /* the sanitizer counts */
}

Test(frame, a_buffer_keeps_what_it_holds_while_it_grows)
{
    struct buffer b = {0};
    for (uint32_t i = 0; i < 100000; i++)
        cr_assert_eq(buffer_append(&b, &i, sizeof i), 0);
    cr_assert_eq(b.size, 400000);
    for (uint32_t i = 0; i < 100000; i++) {
        uint32_t value;
        memcpy(&value, b.bytes + (size_t)i * 4, sizeof value);
        cr_assert_eq(value, i);
    }
    cr_expect_eq(buffer_reserve(&b, SIZE_MAX), -ENOMEM);
    cr_expect_eq(b.size, 400000);
    buffer_deinit(&b);
}

Test(frame, a_large_reserve_is_exact)
{
    struct buffer b = {0};
    cr_assert_eq(buffer_reserve(&b, MIB), 0);
    cr_expect_eq(b.room, MIB);
    buffer_deinit(&b);
}
