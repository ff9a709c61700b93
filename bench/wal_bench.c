/* bench/wal_bench.c: what one batch of the log costs on this disk.
 *
 *   wal_bench DIR [BATCHES]    DIR: on the disk to be measured; a directory in it is made and
 * removed
 *
 * First the bare calls that the log could be made of, into extents that are new (allocated, never
 * written) and old (overwritten); then the log itself, by batch size; then its replay. One line
 * each: p50 and p99 of a batch, and batches a second. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "node/logger.h"

#define FILE_SIZE (64 * MIB)

static uint64_t *samples;
static size_t sample_count;

static int compare(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void die(const char *what)
{
    fprintf(stderr, "wal_bench: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void report(const char *name, size_t size)
{
    uint64_t total = 0;
    for (size_t i = 0; i < sample_count; i++)
        total += samples[i];
    qsort(samples, sample_count, sizeof *samples, compare);
    printf("%-34s %8zu B  p50 %7.1f us  p99 %8.1f us  %8.0f batches/s  %7.1f MiB/s\n", name, size,
           (double)samples[sample_count / 2] / 1e3, (double)samples[sample_count * 99 / 100] / 1e3,
           (double)sample_count * 1e9 / (double)total,
           (double)(sample_count * size) * 1e9 / (double)total / (double)MIB);
    fflush(stdout);
}

/* ---- the bare calls ---- */

struct method {
    const char *name;
    int flags;       /* of open */
    bool by_dsync;   /* pwritev2(RWF_DSYNC) instead of pwrite and fdatasync */
    uint64_t indent; /* added to each offset: batches that share a block with the one before */
};

static const struct method methods[] = {
    {"direct+fdatasync", O_DIRECT, false, 0},
    {"direct+dsync", O_DIRECT, true, 0},
    {"buffered+fdatasync", 0, false, 0},
    {"buffered+dsync", 0, true, 0},
    {"buffered+fdatasync, unaligned", 0, false, 700},
};

static void write_one(const struct method *m, int fd, void *bytes, size_t size, uint64_t offset)
{
    struct iovec iov = {bytes, size};
    uint64_t begin = clock_now_ns();
    if (pwritev2(fd, &iov, 1, (off_t)offset, m->by_dsync ? RWF_DSYNC : 0) != (ssize_t)size)
        die("write");
    if (!m->by_dsync && fdatasync(fd) < 0)
        die("fdatasync");
    samples[sample_count++] = clock_now_ns() - begin;
}

static void overwrite_all(int fd, void *bytes)
{
    for (uint64_t offset = 0; offset < FILE_SIZE; offset += MIB)
        if (pwrite(fd, bytes, MIB, (off_t)offset) != (ssize_t)MIB)
            die("write");
    if (fsync(fd) < 0)
        die("fsync");
}

static void measure_method(const struct method *m, const char *path, bool old, size_t size,
                           size_t count)
{
    char name[64];
    void *bytes = aligned_alloc(4096, MIB);
    if (!bytes)
        die("memory");
    memset(bytes, 7, MIB);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | m->flags, 0600);
    if (fd < 0 || fallocate(fd, 0, 0, (off_t)FILE_SIZE) < 0 || fsync(fd) < 0)
        die(path);
    if (old)
        overwrite_all(fd, bytes);
    sample_count = 0;
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        if (offset + m->indent + size > FILE_SIZE) {
            if (!old)
                break;
            offset = 0;
        }
        write_one(m, fd, bytes, size, offset + m->indent);
        offset += size;
    }
    snprintf(name, sizeof name, "%s %s", m->name, old ? "(old)" : "(new)");
    report(name, size);
    close(fd);
    unlink(path);
    free(bytes);
}

/* ---- the log ---- */

static struct wal *open_log(const char *dir)
{
    char error[512];
    struct wal *w;
    struct wal_recovered recovered;
    if (wal_open(dir, &w, &recovered, error, sizeof error) < 0) {
        fprintf(stderr, "wal_bench: %s\n", error);
        exit(1);
    }
    return w;
}

static void append_batch(struct wal *w, struct command *command, uint64_t slot)
{
    struct persist record = {
        .kind = PERSIST_ACCEPT,
        .pvalue = {.ballot = {1, 1}, .slot = slot, .time_ns = slot, .command = command},
    };
    if (wal_append(w, &record) < 0 || wal_sync(w) < 0)
        die("log");
}

/* @payload bytes of command in each batch. */
static void measure_log(const char *dir, const char *name, uint32_t payload, size_t count,
                        uint64_t *slot)
{
    uint8_t *bytes = malloc(payload);
    if (!bytes)
        die("memory");
    memset(bytes, 7, payload);
    struct command command = {.size = payload, .node = 1, .epoch = 1, .bytes = bytes};
    struct wal *w = open_log(dir);
    sample_count = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t begin = clock_now_ns();
        append_batch(w, &command, ++*slot);
        samples[sample_count++] = clock_now_ns() - begin;
        if (*slot % 64 == 0 && wal_collect(w, *slot) < 0)
            die("collect");
    }
    report(name, payload);
    wal_close(w);
    free(bytes);
}

/* ---- the log thread ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t durable;
} told = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static void on_durable(void *context, uint64_t number)
{
    (void)context;
    pthread_mutex_lock(&told.lock);
    told.durable = number;
    pthread_mutex_unlock(&told.lock);
    pthread_cond_signal(&told.changed);
}

static void on_failure(void *context, int error)
{
    (void)context;
    errno = -error;
    die("log thread");
}

/* Keep @depth records on their way; the time of each from its commit until it is told. */
static void measure_logger(const char *dir, size_t depth, size_t count, uint64_t *slot)
{
    static uint8_t bytes[3900];
    static uint64_t begun[1024];
    char name[64];
    struct command command = {.refs = 1, .size = sizeof bytes, .node = 1, .bytes = bytes};
    struct logger_callbacks callbacks = {.on_durable = on_durable, .on_failure = on_failure};
    struct logger_view view;
    struct logger *l;
    told.durable = 0;
    if (logger_start(open_log(dir), &callbacks, &l) < 0)
        die("log thread");
    sample_count = 0;
    uint64_t sent = 0, seen = 0, begin = clock_now_ns();
    while (seen < count) {
        for (; sent < count && sent - seen < depth; sent++) {
            struct persist record = {
                .kind = PERSIST_ACCEPT,
                .number = sent + 1,
                .pvalue = {.ballot = {1, 1}, .slot = ++*slot, .command = &command},
            };
            begun[sent % ARRAY_COUNT(begun)] = clock_now_ns();
            logger_append(l, &record);
            logger_commit(l);
        }
        pthread_mutex_lock(&told.lock);
        while (told.durable <= seen)
            pthread_cond_wait(&told.changed, &told.lock);
        uint64_t durable = told.durable, now = clock_now_ns();
        pthread_mutex_unlock(&told.lock);
        for (; seen < durable; seen++)
            samples[sample_count++] = now - begun[seen % ARRAY_COUNT(begun)];
    }
    double seconds = (double)(clock_now_ns() - begin) / 1e9;
    logger_view(l, &view);
    qsort(samples, sample_count, sizeof *samples, compare);
    snprintf(name, sizeof name, "log thread, %zu records in flight", depth);
    printf("%-34s %8zu B  p50 %7.1f us  p99 %8.1f us  %8.0f records/s  %.1f a sync\n", name,
           sizeof bytes, (double)samples[sample_count / 2] / 1e3,
           (double)samples[sample_count * 99 / 100] / 1e3, (double)count / seconds,
           (double)count / (double)view.syncs);
    logger_collect(l, *slot);
    logger_stop(l);
}

static void measure_replay(const char *dir, uint64_t *slot)
{
    static uint8_t bytes[3900];
    struct command command = {.size = sizeof bytes, .node = 1, .epoch = 1, .bytes = bytes};
    struct wal *w = open_log(dir);
    for (size_t i = 0; i < 20000; i++)
        append_batch(w, &command, ++*slot);
    struct wal_view view;
    wal_view(w, &view);
    wal_close(w);
    uint64_t begin = clock_now_ns();
    w = open_log(dir);
    printf("replay: %u segments in %.0f ms\n", view.segments,
           (double)(clock_now_ns() - begin) / 1e6);
    wal_close(w);
}

static void remove_directory(const char *dir)
{
    char command[4200];
    snprintf(command, sizeof command, "rm -r '%s'", dir);
    if (system(command) != 0)
        die(dir);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: wal_bench DIR [BATCHES]\n");
        return 1;
    }
    char dir[4000], path[4100];
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 2000;
    snprintf(dir, sizeof dir, "%.3900s/wal_bench.XXXXXX", argv[1]);
    samples = calloc(count + 1, sizeof *samples);
    if (!samples || !mkdtemp(dir))
        die(argv[1]);
    snprintf(path, sizeof path, "%s/raw", dir);
    for (int old = 0; old < 2; old++)
        for (size_t i = 0; i < ARRAY_COUNT(methods); i++)
            measure_method(&methods[i], path, old, 4096, count);
    for (int old = 0; old < 2; old++)
        for (size_t i = 0; i < ARRAY_COUNT(methods); i++)
            measure_method(&methods[i], path, old, MIB, count / 10);

    uint64_t slot = 0;
    snprintf(path, sizeof path, "%s/wal", dir);
    measure_log(path, "log, first round", 3900, count, &slot);
    measure_log(path, "log, 1 MiB", 1 << 20, count / 10 < 200 ? 200 : count / 10, &slot);
    measure_log(path, "log, recycled", 3900, count, &slot);
    measure_log(path, "log, 1 MiB, recycled", 1 << 20, count / 10, &slot);
    measure_log(path, "log, 64 KiB, recycled", 1 << 16, count / 2, &slot);
    for (size_t depth = 1; depth <= 64; depth *= 8)
        measure_logger(path, depth, count, &slot);
    measure_replay(path, &slot);
    remove_directory(dir);
    return 0;
}
