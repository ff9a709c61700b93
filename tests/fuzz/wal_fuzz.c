/* tests/fuzz/wal_fuzz.c: log files that were damaged at random.
 *
 *   fuzz_wal_fuzz [--seed S] [--images N]     (with -DPAXFS_LIBFUZZER: LLVMFuzzerTestOneInput
 * alone)
 *
 * Opening and reading end with 0 or -EBADMSG; what comes back was written, with the slot, ballot,
 * time and bytes it was written with. One image in four gets its checksums put right after the
 * damage, as by someone who knows the salt: then anything may come back, and nothing may crash. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/prng.h"
#include "node/wal_internal.h"
#include "tests/support/memdisk.h"

enum { SEGMENT = 32 * 1024, RECORDS = 120, SLOTS = 90, SIZE_MAX_BYTES = 1500 };

static struct {
    uint64_t slot, round;
    uint32_t size;
} written[RECORDS];

static uint64_t salt, round_max, slot_collected;
static uint64_t opened, refused, cut;
static uint64_t seed_shown, image_shown;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr,                                                                        \
                    "FAILED %s at line %d\n"                                                       \
                    "replay: fuzz_wal_fuzz --seed 0x%" PRIx64 " --images %" PRIu64 "\n",           \
                    #condition, __LINE__, seed_shown, image_shown + 1);                            \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static uint8_t byte_of(uint32_t index, uint32_t at)
{
    return (uint8_t)(index * 31 + at * 7);
}

static int open_log(struct memdisk *d, struct wal **w, struct wal_recovered *recovered)
{
    char error[512] = "";
    struct wal_io io = memdisk_io(d);
    int rc = wal_open_with(&io, "wal", SEGMENT, w, recovered, error, sizeof error);
    CHECK(rc == 0 || (rc == -EBADMSG && error[0] != '\0'));
    return rc;
}

/* ---- a log to be damaged ---- */

static void append(struct wal *w, uint32_t index, uint64_t slot, uint64_t round, uint32_t size)
{
    uint8_t bytes[SIZE_MAX_BYTES];
    for (uint32_t at = 0; at < size; at++)
        bytes[at] = byte_of(index, at);
    struct command c = {
        .size = size, .node = 5, .epoch = 6, .sequence = index, .low = 1, .bytes = bytes};
    struct persist record = {.kind = index % 5 ? PERSIST_ACCEPT : PERSIST_DECISION};
    record.pvalue =
        (struct pvalue){.ballot = {round, 2}, .slot = slot, .time_ns = slot + 1000, .command = &c};
    CHECK(wal_append(w, &record) == 0);
}

static struct memdisk *make_log(struct prng *p)
{
    struct memdisk *d = memdisk_new();
    struct wal *w;
    struct wal_recovered recovered;
    CHECK(open_log(d, &w, &recovered) == 0);
    for (uint32_t i = 0; i < RECORDS; i++) {
        round_max = 1 + i / 20;
        written[i].slot = 1 + i / 2 + prng_below(p, 30);
        written[i].round = round_max;
        written[i].size = (uint32_t)prng_below(p, SIZE_MAX_BYTES);
        append(w, i, written[i].slot, written[i].round, written[i].size);
        if (prng_below(p, 3) == 0)
            CHECK(wal_sync(w) == 0);
        if (i == RECORDS / 2)
            CHECK(wal_collect(w, slot_collected = 12) == 0);
    }
    CHECK(wal_sync(w) == 0);
    CHECK(w->live_count > 2);
    salt = w->salt;
    wal_close(w);
    return d;
}

/* ---- what comes back ---- */

static bool may_invent;

static int on_pvalue(void *context, const struct pvalue *pvalue)
{
    uint64_t *slot = context;
    const struct command *c = pvalue->command;
    CHECK(pvalue->slot > *slot);
    *slot = pvalue->slot;
    if (!may_invent) {
        CHECK(c->sequence < RECORDS);
        uint32_t index = (uint32_t)c->sequence;
        CHECK(pvalue->slot == written[index].slot);
        CHECK(pvalue->ballot.round == written[index].round);
        CHECK(pvalue->ballot.leader == 2);
        CHECK(pvalue->time_ns == pvalue->slot + 1000);
        CHECK(c->node == 5 && c->epoch == 6 && c->low == 1);
        CHECK(c->size == written[index].size);
        for (uint32_t at = 0; at < c->size; at++)
            CHECK(c->bytes[at] == byte_of(index, at));
    }
    command_unref(pvalue->command);
    return 0;
}

static void try_open(struct memdisk *d)
{
    struct wal *w;
    struct wal_recovered recovered;
    if (open_log(d, &w, &recovered) < 0) {
        refused++;
        return;
    }
    opened++;
    cut += recovered.torn_bytes > 0;
    if (!may_invent) {
        CHECK(!recovered.fresh);
        CHECK(recovered.promised.round <= round_max);
        CHECK(recovered.collected <= slot_collected);
        CHECK(recovered.slot_max <= SLOTS);
    }
    uint64_t slot = 0;
    int rc = wal_read(w, 1, UINT64_MAX, UINT64_MAX, on_pvalue, &slot);
    CHECK(rc == 0 || (may_invent && rc == -EBADMSG));
    CHECK(slot <= recovered.slot_max);
    wal_close(w);
}

/* ---- damage ---- */

/* Put the checksums right. */
static void reseal(uint8_t *bytes, size_t size, uint64_t with)
{
    for (size_t at = 0; at + WAL_BLOCK_SIZE <= size; at += WAL_BLOCK_SIZE) {
        struct batch_header header;
        if (batch_peek(bytes + at, &header) && batch_blocks_size(header.size) <= size - at)
            batch_seal(bytes + at, &header, with);
    }
}

static uint8_t *any_file(struct memdisk *d, struct prng *p, size_t *size)
{
    uint32_t count = 0;
    while (memdisk_path(d, count))
        count++;
    return memdisk_bytes(d, memdisk_path(d, (uint32_t)prng_below(p, count)), size);
}

static uint8_t interesting(struct prng *p)
{
    static const uint8_t values[] = {0, 1, 2, 0x7f, 0x80, 0xff};
    return prng_below(p, 2) ? values[prng_below(p, sizeof values)] : (uint8_t)prng_next(p);
}

static void damage(struct memdisk *d, struct prng *p)
{
    size_t size, other_size;
    uint8_t *bytes = any_file(d, p, &size), *other = any_file(d, p, &other_size);
    size_t at = prng_below(p, size);
    switch (prng_below(p, 6)) {
    case 0:
        bytes[at] ^= (uint8_t)(1u << prng_below(p, 8));
        break;
    case 1: /* somewhere in a header or the first record */
        at = at / WAL_BLOCK_SIZE * WAL_BLOCK_SIZE + prng_below(p, 160);
        if (at < size)
            bytes[at] = interesting(p);
        break;
    case 2:
        memset(bytes + at, interesting(p), prng_below(p, size - at) + 1);
        break;
    case 3: /* a block of elsewhere */
        at = at / WAL_BLOCK_SIZE * WAL_BLOCK_SIZE;
        if (size - at >= WAL_BLOCK_SIZE && other_size >= WAL_BLOCK_SIZE)
            memmove(bytes + at, other + prng_below(p, other_size / WAL_BLOCK_SIZE) * WAL_BLOCK_SIZE,
                    WAL_BLOCK_SIZE);
        break;
    case 4: /* a segment twice */
        if (size == other_size)
            memmove(bytes, other, size);
        break;
    case 5:
        for (uint64_t i = prng_below(p, 64); i > 0; i--)
            bytes[prng_below(p, size)] = interesting(p);
        break;
    }
}

static void damage_and_open(const struct memdisk *base, uint64_t seed)
{
    struct prng p = {seed};
    struct memdisk *d = memdisk_copy(base);
    for (uint64_t i = 1 + prng_below(&p, 3); i > 0; i--)
        damage(d, &p);
    may_invent = prng_below(&p, 4) == 0;
    size_t size;
    for (uint32_t i = 0; may_invent && memdisk_path(d, i); i++) {
        uint8_t *bytes = memdisk_bytes(d, memdisk_path(d, i), &size);
        reseal(bytes, size, salt);
    }
    if (prng_below(&p, 50) == 0)
        memdisk_remove_file(d, memdisk_path(d, 0));
    try_open(d);
    memdisk_free(d);
}

/* @data: one segment, whose checksums are put right where its first byte is odd. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char format[] = "paxfs-log version=1 salt=0000000000000007 segment_size=32768\n";
    uint8_t *segment = calloc(1, SEGMENT);
    struct memdisk *d = memdisk_new();
    struct wal_io io = memdisk_io(d);
    ASSERT(segment);
    may_invent = true;
    if (size > 1)
        memcpy(segment, data + 1, size - 1 < SEGMENT ? size - 1 : SEGMENT);
    if (size > 0 && data[0] % 2)
        reseal(segment, SEGMENT, 7);
    io.write_file(io.context, "wal/format", format, sizeof format - 1);
    io.write_file(io.context, "wal/segment.00000001", (const char *)segment, SEGMENT);
    try_open(d);
    memdisk_free(d);
    free(segment);
    return 0;
}

#ifndef PAXFS_LIBFUZZER
/* Without libfuzzer: segments of a good log, with bytes changed. */
static void feed_inputs(struct memdisk *base, struct prng *p, uint64_t count)
{
    static uint8_t input[SEGMENT + 1];
    for (uint64_t i = 0; i < count; i++) {
        size_t size;
        const uint8_t *bytes = any_file(base, p, &size);
        input[0] = (uint8_t)prng_next(p);
        memcpy(input + 1, bytes, size < SEGMENT ? size : SEGMENT);
        for (uint64_t n = prng_below(p, 8); n > 0; n--) {
            uint64_t block = prng_below(p, SEGMENT / WAL_BLOCK_SIZE) * WAL_BLOCK_SIZE;
            input[1 + block + prng_below(p, 160)] = interesting(p);
        }
        LLVMFuzzerTestOneInput(input,
                               prng_below(p, 4) ? sizeof input : prng_below(p, sizeof input));
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, images = 6000;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--images") == 0)
            images = strtoull(argv[i + 1], NULL, 0);
    }
    printf("seed 0x%" PRIx64 " images %" PRIu64 "\n", seed, images);
    fflush(stdout);
    seed_shown = seed;
    struct prng p = {seed};
    struct memdisk *base = make_log(&p);
    may_invent = false;
    try_open(base);
    for (image_shown = 0; image_shown < images; image_shown++)
        damage_and_open(base, prng_next(&p));
    feed_inputs(base, &p, images / 2);
    memdisk_free(base);
    printf("opened %" PRIu64 " with a tail cut off %" PRIu64 " refused %" PRIu64 "\n", opened, cut,
           refused);
    return 0;
}
#endif
