/* tests/threads/logger_threads.c: a loop that appends, commits, reads and collects while the log
 * thread works and a third thread looks on, for the thread sanitizer; on the real disk. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/prng.h"
#include "node/logger.h"
#include "node/wal_internal.h"

enum { RECORDS = 3000, SEGMENT = 256 * 1024, PAYLOAD_MAX = 5000 };

static _Atomic uint64_t durable;
static _Atomic uint32_t reads;
static _Atomic bool done;
static uint8_t payload[PAYLOAD_MAX];

static void on_durable(void *context, uint64_t number)
{
    (void)context;
    ASSERT(number > durable);
    durable = number;
}

static void on_read(void *context, uint32_t to, uint64_t slot_first, struct pvalue *pvalues,
                    uint32_t count)
{
    (void)context;
    ASSERT(count == 0 || pvalues[0].slot >= slot_first);
    ASSERT(to == 1);
    for (uint32_t i = 0; i < count; i++) {
        ASSERT(pvalues[i].command->sequence == pvalues[i].slot);
        command_unref(pvalues[i].command);
    }
    reads++;
}

static void on_failure(void *context, int error)
{
    (void)context;
    fprintf(stderr, "FAILED: %d\n", error);
    abort();
}

static void release(struct command *c)
{
    free(c);
}

static void append(struct logger *l, uint64_t number, uint32_t size)
{
    struct command *c = malloc(sizeof *c);
    ASSERT(c);
    *c = (struct command){
        .size = size, .node = 1, .sequence = number, .bytes = payload, .release = release};
    atomic_init(&c->refs, 1);
    struct persist record = {.kind = PERSIST_ACCEPT, .number = number};
    record.pvalue = (struct pvalue){.ballot = {1, 1}, .slot = number, .command = c};
    logger_append(l, &record);
    command_unref(c);
}

static void *look(void *argument)
{
    struct logger *l = argument;
    struct logger_view view;
    while (!done) {
        logger_view(l, &view);
        ASSERT(view.sync_ns_max <= view.sync_ns_total);
    }
    return NULL;
}

static uint32_t run(struct logger *l)
{
    struct prng p = {5};
    uint32_t asked = 0;
    for (uint64_t number = 1; number <= RECORDS; number++) {
        append(l, number, (uint32_t)prng_below(&p, PAYLOAD_MAX));
        uint64_t dice = prng_below(&p, 16);
        if (dice < 6) {
            logger_commit(l);
        } else if (dice == 6) {
            logger_read(l, 1, prng_below(&p, number) + 1, number);
            asked++;
        } else if (dice == 7 && number > 500) {
            logger_collect(l, number - 500);
        }
    }
    return asked;
}

int main(void)
{
    char dir[] = "/tmp/paxfs_logger.XXXXXX", path[64], command[64], error[512];
    ASSERT(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/wal", dir);
    struct wal_io io = wal_io_disk();
    struct wal *w;
    struct wal_recovered recovered;
    ASSERT(wal_open_with(&io, path, SEGMENT, &w, &recovered, error, sizeof error) == 0);
    struct logger_callbacks callbacks = {
        .on_durable = on_durable, .on_read = on_read, .on_failure = on_failure};
    struct logger *l;
    pthread_t looker;
    ASSERT(logger_start(w, &callbacks, &l) == 0);
    ASSERT(pthread_create(&looker, NULL, look, l) == 0);
    uint32_t asked = run(l);
    done = true;
    pthread_join(looker, NULL);
    logger_stop(l);
    ASSERT(durable == RECORDS);
    ASSERT(reads == asked);
    ASSERT(wal_open_with(&io, path, SEGMENT, &w, &recovered, error, sizeof error) == 0);
    ASSERT(recovered.slot_max == RECORDS);
    wal_close(w);
    snprintf(command, sizeof command, "rm -r %s", dir);
    ASSERT(system(command) == 0);
    printf("%d records, %u reads\n", RECORDS, asked);
    return 0;
}
