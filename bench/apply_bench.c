/* bench/apply_bench.c: what a slot costs the store thread: apply and commit, by kind of command and
 * size of batch. Wall and CPU time; the state directory is $TMPDIR or /tmp. No syncs but the
 * checkpoint's. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/assert.h"
#include "base/prng.h"
#include "fs/chunk.h"
#include "tests/support/store_fixture.h"

static uint8_t data[WRITE_SIZE_MAX];

struct bench {
    struct store_fixture fixture;
    struct prng prng;
    uint64_t ino; /* the large file */
    uint64_t made;
    uint64_t large_size;
};

static double clock_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static uint64_t create(struct bench *b)
{
    char name[32];
    int size = snprintf(name, sizeof name, "file-%08" PRIu64, b->made++);
    struct fs_command c = {.op = FS_CREATE, .parent = FS_ROOT_INO, .name = name, .mode = 0644};
    c.name_size = (uint32_t)size;
    struct fs_outcome o = store_fixture_apply(&b->fixture, &c);
    ASSERT(o.error == 0);
    return o.attr.ino;
}

static void write_at(struct bench *b, uint64_t ino, uint64_t offset, uint32_t size)
{
    struct fs_command c = {
        .op = FS_WRITE, .ino = ino, .offset = offset, .data = data, .data_size = size};
    struct fs_outcome o = store_fixture_apply(&b->fixture, &c);
    ASSERT(o.error == 0);
}

/* One operation each; @i counts them. */
static void small_file(struct bench *b, uint64_t i)
{
    (void)i;
    write_at(b, create(b), 0, 4096);
}

static void only_create(struct bench *b, uint64_t i)
{
    (void)i;
    create(b);
}

static void sequential(struct bench *b, uint64_t i)
{
    write_at(b, b->ino, i * WRITE_SIZE_MAX, WRITE_SIZE_MAX);
    b->large_size = (i + 1) * WRITE_SIZE_MAX;
}

static void overwrite(struct bench *b, uint64_t i)
{
    (void)i;
    write_at(b, b->ino, prng_below(&b->prng, b->large_size / 4096) * 4096, 4096);
}

static void append_small(struct bench *b, uint64_t i)
{
    if (i % 1024 == 0)
        b->ino = create(b);
    write_at(b, b->ino, i % 1024 * 128, 128);
}

static const struct {
    const char *name;
    void (*run)(struct bench *b, uint64_t i);
    uint64_t count, batch;
} cases[] = {
    {"create", only_create, 20000, 1},
    {"create + write 4 KiB", small_file, 20000, 1},
    {"create + write 4 KiB", small_file, 50000, 64},
    {"append 128 bytes", append_small, 20000, 1},
    {"sequential 1 MiB", sequential, 256, 1},
    {"overwrite 4 KiB", overwrite, 10000, 1},
    {"overwrite 4 KiB", overwrite, 20000, 64},
};

/* A large file of their own for the writes, made before the clock starts. */
static void run_case(struct bench *b, size_t index)
{
    b->ino = create(b);
    if (cases[index].run == overwrite)
        for (uint64_t i = 0; i < 128; i++)
            sequential(b, i);
    store_fixture_checkpoint(&b->fixture);
    double wall = clock_us(CLOCK_MONOTONIC), cpu = clock_us(CLOCK_THREAD_CPUTIME_ID);
    for (uint64_t i = 0; i < cases[index].count; i++) {
        /* Batch 1: one commit per command, as store_fixture_apply() does by itself. */
        bool starts = cases[index].batch > 1 && i % cases[index].batch == 0;
        if (starts && b->fixture.in_batch)
            store_fixture_commit(&b->fixture);
        if (starts)
            store_fixture_begin(&b->fixture);
        cases[index].run(b, i);
    }
    if (b->fixture.in_batch)
        store_fixture_commit(&b->fixture);
    wall = clock_us(CLOCK_MONOTONIC) - wall;
    cpu = clock_us(CLOCK_THREAD_CPUTIME_ID) - cpu;
    double count = (double)cases[index].count;
    printf("chunk_kib=%-4u %-22s batch=%-3" PRIu64 " wall_us=%8.1f cpu_us=%8.1f\n",
           (unsigned)(CHUNK_SIZE / 1024), cases[index].name, cases[index].batch, wall / count,
           cpu / count);
}

static uint64_t disk_bytes(const char *dir)
{
    char path[256];
    struct stat s;
    snprintf(path, sizeof path, "%s/store.1/data.mdb", dir);
    return stat(path, &s) ? 0 : (uint64_t)s.st_blocks * 512;
}

int main(int argc, char **argv)
{
    size_t only = argc > 1 ? strtoul(argv[1], NULL, 10) : SIZE_MAX;
    struct prng prng = {1};
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)prng_next(&prng);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        if (only != SIZE_MAX && only != i)
            continue;
        struct bench *b = calloc(1, sizeof *b);
        ASSERT(b != NULL);
        b->prng.state = 1;
        store_fixture_init(&b->fixture);
        run_case(b, i);
        struct store_usage usage;
        ASSERT(store_read_begin(b->fixture.reader) == 0);
        ASSERT(store_usage(b->fixture.reader, &usage) == 0);
        store_read_end(b->fixture.reader);
        printf("    file_mib=%.0f data_mib=%.0f\n", (double)disk_bytes(b->fixture.dir) / 1048576,
               (double)usage.bytes / 1048576);
        store_fixture_deinit(&b->fixture);
        free(b);
    }
    return 0;
}
