/* Power cuts, as the disk sees them: a store goes on committing after a checkpoint, or after the
 * install of a snapshot, which is one, too; then each page that was written since independently has
 * some version it had meanwhile, or is as it was at the checkpoint. What is opened must be the
 * checkpoint, exactly. Then the same again while the log is replayed.
 *
 *   store_crash [--seed S] [--rounds N] */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "fs/disk.h"
#include "fs/state.h"
#include "tests/support/fs_history.h"
#include "tests/support/store_copy.h"

enum {
    PAGE = 4096, /* what arrives as one piece */
    VERSIONS = 4,
    ROUNDS = 32,
    IMAGES_PER_ROUND = 6,
    COMMANDS_PER_BATCH = 3,
};

/* A file's content at some moment. */
struct version {
    uint8_t *bytes;
    size_t size;
};

struct expected {
    char name[32]; /* of the environment's directory */
    struct store_digest digest;
    struct version checkpoint; /* the file */
};

static uint64_t seed, images;

static struct version version_of(const char *dir, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY);
    ASSERT(fd >= 0);
    struct stat s;
    ASSERT(fstat(fd, &s) == 0);
    struct version v = {malloc((size_t)s.st_size + 1), (size_t)s.st_size};
    ASSERT(v.bytes != NULL);
    ASSERT(read(fd, v.bytes, v.size) == s.st_size);
    close(fd);
    return v;
}

static void write_file(const char *dir, const char *name, struct version v)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT(fd >= 0);
    ASSERT(write(fd, v.bytes, v.size) == (ssize_t)v.size);
    close(fd);
}

static struct version data_of(struct store_fixture *f)
{
    char name[64];
    snprintf(name, sizeof name, "%s/data.mdb", f->store->name);
    return version_of(f->dir, name);
}

static struct expected expect(struct store_fixture *f)
{
    struct expected e = {.digest = store_fixture_digest(f),
                         .checkpoint = version_of(f->dir, "checkpoint")};
    memcpy(e.name, f->store->name, sizeof e.name);
    return e;
}

static void commit_batches(struct store_fixture *f, struct fs_history *h, uint64_t batches)
{
    for (uint64_t b = 0; b < batches; b++) {
        store_fixture_begin(f);
        for (int i = 0; i < COMMANDS_PER_BATCH; i++) {
            struct fs_command c = fs_history_next(h);
            struct fs_outcome o = store_fixture_apply(f, &c);
            fs_history_note(h, &o);
        }
        store_fixture_commit(f);
    }
}

/* Each page from one of the versions; the file is as long as one of them. */
static struct version mix(struct prng *prng, const struct version *versions, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size = versions[i].size > size ? versions[i].size : size;
    struct version mixed = {calloc(1, size), size};
    ASSERT(mixed.bytes != NULL);
    for (size_t at = 0; at < size; at += PAGE) {
        const struct version *v = &versions[prng_below(prng, count)];
        size_t have = v->size > at ? v->size - at : 0;
        memcpy(mixed.bytes + at, v->bytes + at, have < PAGE ? have : PAGE);
    }
    size_t shortest = versions[0].size;
    mixed.size = prng_below(prng, 2) ? size : shortest;
    return mixed;
}

static void fail(const char *what, uint64_t round)
{
    fprintf(stderr, "%s\nreplay: store_crash --seed 0x%" PRIx64 " --rounds %" PRIu64 "\n", what,
            seed, round + 1);
    exit(1);
}

/* The store that a restart finds in @image must be @expected. */
static void open_image(struct store_fixture *f, const struct version *image,
                       const struct expected *expected, uint64_t round)
{
    memset(f, 0, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/paxfs-crash.XXXXXX");
    ASSERT(mkdtemp(f->dir) != NULL);
    char path[128], data[64];
    snprintf(path, sizeof path, "%s/%s", f->dir, expected->name);
    ASSERT(mkdir(path, 0700) == 0);
    snprintf(data, sizeof data, "%s/data.mdb", expected->name);
    write_file(f->dir, data, *image);
    write_file(f->dir, "checkpoint", expected->checkpoint);

    char error[256];
    if (store_open(f->dir, &f->store, error, sizeof error))
        fail(error, round);
    ASSERT(store_reader_new(f->store, &f->reader) == 0);
    f->slot = store_applied(f->store);
    struct store_digest kept = store_fixture_digest(f), is;
    ASSERT(store_read_begin(f->reader) == 0);
    int rc = store_digest_recompute(f->reader, &is);
    store_read_end(f->reader);
    if (rc)
        fail("a record is damaged", round);
    if (memcmp(&kept, &expected->digest, sizeof kept) || memcmp(&is, &kept, sizeof is))
        fail("another state than the checkpoint's", round);
    images++;
}

/* Cut the power while a restarted store replays its log: again the same checkpoint. */
static void crash_in_replay(struct store_fixture *f, const struct version *image,
                            const struct expected *expected, struct prng *prng, uint64_t round)
{
    struct version versions[VERSIONS] = {*image};
    static struct fs_history h;
    fs_history_init(&h, prng_next(prng));
    /* The kernel's replay would bring the same commands; to the pages any will do. */
    store_fixture_session(f, 50, prng_next(prng));
    for (size_t i = 1; i < VERSIONS; i++) {
        commit_batches(f, &h, 1 + prng_below(prng, 6));
        versions[i] = data_of(f);
    }
    struct version second = mix(prng, versions, VERSIONS);
    struct store_fixture again;
    open_image(&again, &second, expected, round);
    store_fixture_deinit(&again);
    free(second.bytes);
    for (size_t i = 1; i < VERSIONS; i++)
        free(versions[i].bytes);
}

static void crash(const struct version *versions, size_t count, const struct expected *expected,
                  struct prng *prng, uint64_t round)
{
    struct version image = mix(prng, versions, count);
    struct store_fixture f;
    open_image(&f, &image, expected, round);
    crash_in_replay(&f, &image, expected, prng, round);
    store_fixture_deinit(&f);
    free(image.bytes);
}

/* ---- a checkpoint that is cut short ---- */

static const char *cut_at;

static int cut(const char *step, const char *path)
{
    (void)path;
    return strcmp(step, cut_at) == 0 ? -EIO : 0;
}

/* A second checkpoint gets as far as @step. Returns whether its file is in place. */
static bool second_checkpoint(struct store_fixture *f, const char *step)
{
    struct store_checkpoint *c;
    ASSERT(store_checkpoint_begin(f->store, &c) == 0);
    cut_at = step;
    disk_hook = cut;
    ASSERT(store_checkpoint_finish(f->store, c) == -EIO);
    disk_hook = NULL;
    return strcmp(step, "sync-dir") == 0;
}

/* @f becomes a store that got its state from another one, at the moment of the install. */
static void init_installed(struct store_fixture *f, struct fs_history *h)
{
    struct store_fixture donor;
    store_fixture_init_cluster(&donor, 3);
    commit_batches(&donor, h, 20);
    store_fixture_init_cluster(f, 3);
    store_fixture_install(f, &donor);
    store_fixture_deinit(&donor);
}

/* As after a checkpoint, so after an install. */
static void run_install_round(uint64_t round)
{
    static struct fs_history h;
    struct prng prng = {seed + round * 7919 + 1};
    struct store_fixture f;
    fs_history_init(&h, prng_next(&prng));
    init_installed(&f, &h);
    struct expected expected = expect(&f);
    struct version versions[VERSIONS] = {data_of(&f)};
    for (size_t i = 1; i < VERSIONS; i++) {
        commit_batches(&f, &h, 1 + prng_below(&prng, 10));
        versions[i] = data_of(&f);
    }
    for (int i = 0; i < IMAGES_PER_ROUND; i++)
        crash(versions, VERSIONS, &expected, &prng, round);
    for (size_t i = 0; i < VERSIONS; i++)
        free(versions[i].bytes);
    free(expected.checkpoint.bytes);
    store_fixture_deinit(&f);
}

static void run_round(uint64_t round)
{
    static const char *const steps[] = {NULL, "write", "rename", "sync-dir"};
    static struct fs_history h;
    struct prng prng = {seed + round * 7919};
    struct store_fixture f;
    store_fixture_init(&f);
    fs_history_init(&h, prng_next(&prng));
    for (uint64_t i = prng_below(&prng, 3); i > 0; i--) { /* some life before */
        commit_batches(&f, &h, 10 + prng_below(&prng, 20));
        store_fixture_checkpoint(&f);
    }
    commit_batches(&f, &h, 10);
    store_fixture_checkpoint(&f);
    struct expected first = expect(&f), second = {.checkpoint = {NULL, 0}};

    const char *step = steps[round / 4 % ARRAY_COUNT(steps)];
    bool is_second_there = false;
    struct version versions[VERSIONS] = {data_of(&f)};
    for (size_t i = 1; i < VERSIONS; i++) {
        commit_batches(&f, &h, 1 + prng_below(&prng, 10));
        if (i == 2 && step) {
            struct store_digest digest = store_fixture_digest(&f);
            is_second_there = second_checkpoint(&f, step);
            second = expect(&f);
            second.digest = digest;
        }
        versions[i] = data_of(&f);
    }
    for (int i = 0; i < IMAGES_PER_ROUND; i++) {
        crash(versions, VERSIONS, &first, &prng, round);
        if (!is_second_there)
            continue;
        /* Whether the rename lasted or not; what was synced before it has arrived. */
        struct version synced[2] = {versions[2], versions[3]};
        crash(synced, 2, &second, &prng, round);
    }
    for (size_t i = 0; i < VERSIONS; i++)
        free(versions[i].bytes);
    free(first.checkpoint.bytes);
    free(second.checkpoint.bytes);
    store_fixture_deinit(&f);
}

int main(int argc, char **argv)
{
    uint64_t rounds = ROUNDS;
    seed = clock_wall_ns();
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 0);
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = strtoull(argv[i + 1], NULL, 0);
    }
    printf("seed=0x%" PRIx64 " rounds=%" PRIu64 "\n", seed, rounds);
    fflush(stdout);
    for (uint64_t round = 0; round < rounds; round++) {
        if (round % 4 == 3)
            run_install_round(round);
        else
            run_round(round);
    }
    printf("images=%" PRIu64 "\n", images);
    return 0;
}
