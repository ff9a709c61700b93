/* tests/threads/pending_threads.c: one thread proposes, one applies, others read, for the thread
 * sanitizer. Slot n writes the number n into the file and becomes complete once it is in the table:
 * a read that is told it is clear has at least what was complete when it began. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "fs/pending.h"
#include "tests/support/store_ops.h"

enum { READERS = 3, WRITES = 1000 };

static struct store_fixture fixture;
static struct pending *pending;
static uint64_t file, other, first; /* first: slot of the first write */
static _Atomic uint64_t proposed, complete;
static _Atomic uint64_t clear, touched, renewed;
static atomic_bool done;

static void propose(uint64_t slot)
{
    uint8_t bytes[256];
    struct fs_command c = {.op = FS_WRITE, .ino = file, .data = &slot, .data_size = sizeof slot};
    size_t size = fs_command_encode(&c, bytes, sizeof bytes);
    struct command command = {
        .refs = 1, .size = (uint32_t)size, .node = 1, .epoch = 1, .sequence = 1, .bytes = bytes};
    pending_put(pending, slot, &command);
}

/* As a core whose slots are decided by all the others at once. */
static void *propose_main(void *argument)
{
    (void)argument;
    for (uint64_t slot = first; slot < first + WRITES; slot++) {
        /* Mostly one is pending, so that its end leaves nothing; at times many. */
        uint64_t ahead = slot % 64 < 48 ? 1 : 20;
        while (slot > store_applied(fixture.store) + ahead)
            sched_yield();
        propose(slot);
        atomic_store(&proposed, slot);
        atomic_store(&complete, slot);
    }
    return NULL;
}

static void *apply_main(void *argument)
{
    (void)argument;
    for (uint64_t slot = first; slot < first + WRITES; slot++) {
        while (atomic_load(&proposed) < slot)
            sched_yield();
        op_write(&fixture, file, 0, &slot, sizeof slot, 0);
        pending_applied(pending, slot);
    }
    atomic_store(&done, true);
    return NULL;
}

static uint64_t content(struct store_reader *r)
{
    uint64_t value = 0;
    struct iovec iov[STORE_IOV_MAX];
    int count = STORE_IOV_MAX;
    if (store_read(r, file, 0, sizeof value, iov, &count) == (int64_t)sizeof value)
        memcpy(&value, iov[0].iov_base, sizeof value);
    return value;
}

static void read_once(struct store_reader *r)
{
    const struct read_set set = {.inos = {file}}, of_other = {.inos = {other}};
    uint64_t began = atomic_load(&complete);
    ASSERT(store_read_begin(r) == 0);
    uint64_t value = content(r);
    if (began % 2)
        sched_yield(); /* the slot may be applied meanwhile */
    switch (pending_check(pending, r, &set)) {
    case PENDING_CLEAR:
        ASSERT(value >= began);
        atomic_fetch_add(&clear, 1);
        break;
    case PENDING_TOUCHED:
        atomic_fetch_add(&touched, 1);
        break;
    case PENDING_RENEW:
        atomic_fetch_add(&renewed, 1);
        break;
    }
    ASSERT(pending_check(pending, r, &of_other) != PENDING_TOUCHED);
    store_read_end(r);
}

static void *read_main(void *argument)
{
    (void)argument;
    struct store_reader *r;
    ASSERT(store_reader_new(fixture.store, &r) == 0);
    while (!atomic_load(&done))
        read_once(r);
    read_once(r);
    store_reader_free(r);
    return NULL;
}

int main(void)
{
    pthread_t threads[READERS + 2];
    store_fixture_init(&fixture);
    file = made(op_create(&fixture, FS_ROOT_INO, "file", 0644, 0));
    other = made(op_create(&fixture, FS_ROOT_INO, "other", 0644, 0));
    first = fixture.slot + 1;
    pending = pending_new();
    ASSERT(pending);
    pending_applied(pending, fixture.slot);
    for (int i = 0; i < READERS; i++)
        ASSERT(pthread_create(&threads[i], NULL, read_main, NULL) == 0);
    ASSERT(pthread_create(&threads[READERS], NULL, propose_main, NULL) == 0);
    ASSERT(pthread_create(&threads[READERS + 1], NULL, apply_main, NULL) == 0);
    for (int i = 0; i < READERS + 2; i++)
        pthread_join(threads[i], NULL);
    printf("clear=%lu touched=%lu renewed=%lu\n", clear, touched, renewed);
    ASSERT(clear > 0);
    ASSERT(pending_count(pending) == 0);
    pending_free(pending);
    store_fixture_deinit(&fixture);
    return 0;
}
