#include "tests/support/mutate.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"

enum { ROUNDS_MAX = 6, RUN_MAX = 16 };

/* Heads and bounds of msgpack, and lengths that matter. */
static const uint8_t telling[] = {0x00, 0x01, 0x7f, 0x80, 0x90, 0x91, 0x93, 0xa0, 0xbf,
                                  0xc0, 0xc1, 0xc2, 0xc4, 0xc6, 0xc7, 0xca, 0xcf, 0xd3,
                                  0xd4, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff};

static void remove_run(struct buffer *b, size_t at, size_t size)
{
    if (size > b->size - at)
        size = b->size - at;
    memmove(b->bytes + at, b->bytes + at + size, b->size - at - size);
    b->size -= size;
}

static void insert_run(struct buffer *b, size_t at, const uint8_t *bytes, size_t size)
{
    int rc = buffer_reserve(b, size);
    ASSERT(rc == 0);
    memmove(b->bytes + at + size, b->bytes + at, b->size - at);
    memcpy(b->bytes + at, bytes, size);
    b->size += size;
}

static void mutate_once(struct buffer *b, struct prng *r)
{
    size_t at = prng_below(r, b->size);
    size_t run = 1 + prng_below(r, RUN_MAX);
    uint8_t bytes[RUN_MAX];
    for (size_t i = 0; i < run; i++)
        bytes[i] = telling[prng_below(r, sizeof telling)];
    switch (prng_below(r, 7)) {
    case 0:
        b->bytes[at] ^= (uint8_t)(1 << prng_below(r, 8));
        break;
    case 1:
        b->bytes[at] = bytes[0];
        break;
    case 2:
        b->bytes[at] = (uint8_t)prng_next(r);
        break;
    case 3:
        remove_run(b, at, run);
        break;
    case 4:
        insert_run(b, at, bytes, run);
        break;
    case 5: /* repeat what is there */
        if (run > b->size - at)
            run = b->size - at;
        memcpy(bytes, b->bytes + at, run);
        insert_run(b, at, bytes, run);
        break;
    default:
        b->size = at;
        break;
    }
}

void mutate(struct buffer *b, struct prng *r)
{
    uint64_t rounds = 1 + prng_below(r, ROUNDS_MAX);
    for (uint64_t i = 0; i < rounds && b->size; i++)
        mutate_once(b, r);
}

static char replay[256];

static void on_abort(int signal_number)
{
    ssize_t n = write(STDERR_FILENO, replay, strlen(replay));
    (void)n;
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

int fuzz_main(int argc, char **argv, uint32_t inputs, uint64_t count,
              void (*seed_input)(uint32_t index, struct buffer *out))
{
    uint64_t seed = 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--count") == 0)
            count = strtoull(argv[i + 1], NULL, 0);
    }
    printf("seed %#lx count %lu\n", seed, count);
    fflush(stdout);
    signal(SIGABRT, on_abort);
    signal(SIGSEGV, on_abort);
    struct buffer b = {0};
    for (uint64_t i = 0; i < count; i++) {
        struct prng r = {seed + i}; /* each input is a seed of its own: a failure is one input */
        snprintf(replay, sizeof replay, "replay: %s --seed %#lx --count 1\n", argv[0], seed + i);
        b.size = 0;
        seed_input((uint32_t)prng_below(&r, inputs), &b);
        mutate(&b, &r);
        LLVMFuzzerTestOneInput(b.bytes, b.size);
    }
    buffer_deinit(&b);
    return 0;
}
