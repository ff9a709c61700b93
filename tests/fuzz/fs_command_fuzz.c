/* Bytes into fs_command_decode and fs_outcome_decode: never read outside of them, and what decodes
 * encodes to the same bytes again. A few seconds from fixed seeds; PAXFS_LIBFUZZER builds the entry
 * for libFuzzer instead. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/prng.h"
#include "consensus/membership.h"
#include "fs/command.h"
#include "tests/support/fs_history.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint8_t again[COMMAND_SIZE_MAX];

static void check_views(const struct fs_command *c, const uint8_t *bytes, size_t size)
{
    const struct {
        const void *at;
        size_t size;
    } views[] = {{c->name, c->name_size},
                 {c->new_name, c->new_name_size},
                 {c->data, c->data_size},
                 {c->inos, (size_t)c->ino_count * 8}};
    for (size_t i = 0; i < ARRAY_COUNT(views); i++) {
        const uint8_t *at = views[i].at;
        if (!at)
            ASSERT(views[i].size == 0);
        else
            ASSERT(at >= bytes && views[i].size <= (size_t)(bytes + size - at));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct fs_command c;
    if (fs_command_decode(bytes, size, &c) == 0) {
        check_views(&c, bytes, size);
        if (c.op == FS_INVITE || c.op == FS_JOIN)
            ASSERT(c.data_size == SECRET_SIZE && c.name_size <= MEMBER_NAME_MAX);
        size_t encoded = fs_command_encode(&c, again, sizeof again);
        ASSERT(encoded == size);
        ASSERT(memcmp(again, bytes, size) == 0);
    }
    struct fs_outcome o;
    if (fs_outcome_decode(bytes, size, &o) == 0)
        ASSERT(fs_outcome_encode(&o, again, sizeof again) <= OUTCOME_SIZE_MAX);
    return 0;
}

#ifndef PAXFS_LIBFUZZER

enum { SEEDS = 8, COMMANDS = 4000 };

/* On the heap and of exact size, so that the sanitizer sees a byte too many. */
static void try_bytes(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    ASSERT(copy != NULL);
    memcpy(copy, bytes, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void mutate(struct prng *prng, uint8_t *bytes, size_t *size)
{
    switch (prng_below(prng, 4)) {
    case 0: /* cut */
        *size = prng_below(prng, *size + 1);
        break;
    case 1: /* a bit */
        if (*size)
            bytes[prng_below(prng, *size)] ^= (uint8_t)(1u << prng_below(prng, 8));
        break;
    case 2: /* an extreme where a size may be */
        if (*size > 8)
            memset(bytes + prng_below(prng, *size - 4), 0xff, 1 + prng_below(prng, 4));
        break;
    default: /* trash at the end */
        for (uint64_t i = prng_below(prng, 20); i > 0; i--)
            bytes[(*size)++] = (uint8_t)prng_next(prng);
        break;
    }
}

/* One of the commands that change members or the capacity, which no history has. */
static struct fs_command member_command(struct prng *prng)
{
    static const char text[] = "10.0.0.1:7600", secret[] = "0123456789abcdef";
    return (struct fs_command){
        .op = (enum fs_op)(FS_INVITE + prng_below(prng, FS_SET_CAPACITY - FS_INVITE + 1)),
        .nonce = 1 + prng_below(prng, 3),
        .ino = 1 + prng_below(prng, 3),
        .name = text,
        .name_size = 1 + (uint32_t)prng_below(prng, sizeof text - 1),
        .new_name = text,
        .new_name_size = 1 + (uint32_t)prng_below(prng, sizeof text - 1),
        .data = secret,
        .data_size = SECRET_SIZE,
    };
}

int main(void)
{
    static struct fs_history history;
    static uint8_t bytes[COMMAND_SIZE_MAX + 64];
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct prng prng = {seed};
        fs_history_init(&history, seed);
        for (int i = 0; i < COMMANDS; i++) {
            struct fs_command c = i % 4 ? fs_history_next(&history) : member_command(&prng);
            if (c.data_size > 2000)
                c.data_size = 2000;
            size_t size = fs_command_encode(&c, bytes, COMMAND_SIZE_MAX);
            ASSERT(size > 0);
            try_bytes(bytes, size);
            for (uint64_t n = 1 + prng_below(&prng, 3); n > 0; n--)
                mutate(&prng, bytes, &size);
            try_bytes(bytes, size);
        }
        for (int i = 0; i < COMMANDS; i++) {
            size_t size = prng_below(&prng, 120);
            for (size_t b = 0; b < size; b++)
                bytes[b] = (uint8_t)prng_next(&prng);
            bytes[0] = 1; /* the version */
            try_bytes(bytes, size);
        }
    }
    printf("seeds=%d inputs=%d\n", SEEDS, SEEDS * COMMANDS * 3);
    return 0;
}

#endif
