/* A store as the daemon uses it: one thread applies and commits, now and then installs a state from
 * elsewhere, one finishes checkpoints, one exports, several read. Every snapshot must be of one
 * slot: each slot writes its number into two files. For the thread sanitizer above all. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "tests/support/store_copy.h"
#include "tests/support/store_ops.h"

enum { READERS = 3, SLOTS = 600, SLOTS_PER_CHECKPOINT = 20, SLOTS_PER_INSTALL = 30 };

struct shared {
    struct store_fixture fixture, donor;
    uint64_t first, second; /* the two files */
    _Atomic bool done;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct store_checkpoint *pending;
    uint64_t finished, installed;
};

static uint64_t read_number(struct store_reader *r, uint64_t ino)
{
    struct iovec iov[2];
    int count = 2;
    int64_t got = store_read(r, ino, 0, sizeof(uint64_t), iov, &count);
    ASSERT(got == sizeof(uint64_t));
    uint64_t number;
    memcpy(&number, iov[0].iov_base, sizeof number);
    return number;
}

static void *run_reader(void *context)
{
    struct shared *s = context;
    struct store_reader *r;
    ASSERT(store_reader_new(s->fixture.store, &r) == 0);
    uint64_t before = 0;
    while (!atomic_load(&s->done)) {
        uint64_t applied = store_applied(s->fixture.store);
        ASSERT(store_read_begin(r) == 0);
        struct store_digest digest;
        ASSERT(store_digest(r, &digest) == 0);
        ASSERT(digest.slot >= applied); /* what was announced is there */
        ASSERT(store_read_slot(r) == digest.slot);
        uint64_t number = read_number(r, s->first);
        ASSERT(number >= before);
        ASSERT(read_number(r, s->second) == number); /* one slot, not two */
        store_read_end(r);
        before = number;
        ASSERT(store_checkpointed(s->fixture.store) <= store_applied(s->fixture.store));
        (void)store_grown(s->fixture.store);
        uint64_t version = store_membership_version(s->fixture.store);
        struct membership m;
        store_membership(s->fixture.store, &m);
        ASSERT(m.version >= version);
        if (number % 7 == 0) { /* another one, between snapshots */
            store_reader_free(r);
            ASSERT(store_reader_new(s->fixture.store, &r) == 0);
        }
    }
    store_reader_free(r);
    return NULL;
}

static void *run_exports(void *context)
{
    struct shared *s = context;
    int fd = open("/dev/null", O_WRONLY);
    ASSERT(fd >= 0);
    while (!atomic_load(&s->done))
        ASSERT(store_export(s->fixture.store, fd) == 0);
    close(fd);
    return NULL;
}

static void *run_checkpoints(void *context)
{
    struct shared *s = context;
    pthread_mutex_lock(&s->lock);
    while (!atomic_load(&s->done) || s->pending) {
        struct store_checkpoint *c = s->pending;
        if (!c) {
            pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        ASSERT(store_checkpoint_finish(s->fixture.store, c) == 0);
        pthread_mutex_lock(&s->lock);
        s->pending = NULL;
        s->finished++;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void hand_over_checkpoint(struct shared *s)
{
    pthread_mutex_lock(&s->lock);
    if (!s->pending) {
        ASSERT(store_checkpoint_begin(s->fixture.store, &s->pending) == 0);
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
}

static void write_both(struct shared *s, struct store_fixture *f, uint64_t number)
{
    store_fixture_begin(f);
    op_write(f, s->first, 0, &number, sizeof number, 0);
    op_write(f, s->second, 0, &number, sizeof number, 0);
    op_set_address(f, 2, number % 2 ? "10.0.1.2:7600" : "10.0.0.2:7600");
    store_fixture_commit(f);
}

/* Another store catches up, goes on, and gives its state back. */
static void install(struct shared *s, uint64_t number)
{
    pthread_mutex_lock(&s->lock);
    while (s->pending)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    store_fixture_install(&s->donor, &s->fixture);
    write_both(s, &s->donor, number);
    store_fixture_install(&s->fixture, &s->donor);
    s->installed++;
}

int main(void)
{
    struct shared *s = calloc(1, sizeof *s);
    ASSERT(s != NULL);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    store_fixture_init_cluster(&s->fixture, 3);
    store_fixture_init_cluster(&s->donor, 3);
    s->first = made(op_create(&s->fixture, FS_ROOT_INO, "first", 0644, 0));
    s->second = made(op_create(&s->fixture, FS_ROOT_INO, "second", 0644, 0));
    write_both(s, &s->fixture, 1);

    pthread_t readers[READERS], checkpoints, exports;
    for (int i = 0; i < READERS; i++)
        ASSERT(pthread_create(&readers[i], NULL, run_reader, s) == 0);
    ASSERT(pthread_create(&checkpoints, NULL, run_checkpoints, s) == 0);
    ASSERT(pthread_create(&exports, NULL, run_exports, s) == 0);
    for (uint64_t i = 2; i < SLOTS; i++) {
        if (i % SLOTS_PER_INSTALL == 0)
            install(s, i);
        else
            write_both(s, &s->fixture, i);
        if (i % SLOTS_PER_CHECKPOINT == 0)
            hand_over_checkpoint(s);
    }
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->done, true);
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    pthread_join(checkpoints, NULL);
    pthread_join(exports, NULL);
    ASSERT(s->finished > 0);
    ASSERT(s->installed > 0);
    printf("slots=%d checkpoints=%lu installed=%lu\n", SLOTS, s->finished, s->installed);
    store_fixture_deinit(&s->donor);
    store_fixture_deinit(&s->fixture);
    free(s);
    return 0;
}
