/* A stream into the frame reader, in pieces: the frames are what the lengths in it say, up to the
 * first length that is not allowed. */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "tests/support/mutate.h"

enum { SIZE_MAX_HERE = 4096 };

/* The same by reading the whole stream at once. Returns the bytes used by frames, and how many. */
static size_t walk(const uint8_t *bytes, size_t size, uint32_t *count, bool *refused)
{
    size_t at = 0;
    while (size - at >= 4) {
        uint32_t n = bytes[at] | (uint32_t)bytes[at + 1] << 8 | (uint32_t)bytes[at + 2] << 16 |
                     (uint32_t)bytes[at + 3] << 24;
        *refused = n == 0 || n > SIZE_MAX_HERE;
        if (*refused || n > size - at - 4)
            break;
        at += 4 + n;
        ++*count;
    }
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    uint32_t expected = 0, seen = 0;
    bool refused = false;
    walk(bytes, size, &expected, &refused);
    struct frame_reader r = {.size_max = SIZE_MAX_HERE};
    struct prng pieces = {size};
    int rc = 0;
    size_t at = 0, frame_at = 4;
    while (at < size && rc >= 0) {
        size_t room;
        uint8_t *to = frame_reader_room(&r, &room);
        ASSERT(to && room > 0);
        size_t n = 1 + prng_below(&pieces, 50);
        n = n > room ? room : n;
        n = n > size - at ? size - at : n;
        memcpy(to, bytes + at, n);
        at += n;
        struct frame *f = NULL;
        rc = frame_reader_fill(&r, n, &f);
        if (rc == 1) {
            ASSERT(f->size <= size - frame_at && memcmp(f->bytes, bytes + frame_at, f->size) == 0);
            frame_at += f->size + 4;
            seen++;
            frame_unref(f);
        }
    }
    ASSERT(seen == expected);
    ASSERT(refused == (rc == -EMSGSIZE));
    frame_reader_deinit(&r);
    return 0;
}

#ifndef PAXFS_LIBFUZZER
static void seed_input(uint32_t index, struct buffer *out)
{
    static const uint32_t sizes[] = {1, 2, 3, 30, 255, 256, 4095, 4096};
    struct prng r = {index};
    for (int i = 0; i < 6; i++) {
        uint32_t n = sizes[prng_below(&r, 8)];
        uint8_t head[4] = {(uint8_t)n, (uint8_t)(n >> 8), 0, 0};
        buffer_append(out, head, sizeof head);
        int rc = buffer_reserve(out, n);
        ASSERT(rc == 0);
        memset(out->bytes + out->size, (int)n, n);
        out->size += n;
    }
}

int main(int argc, char **argv)
{
    return fuzz_main(argc, argv, 64, 50000, seed_input);
}
#endif
