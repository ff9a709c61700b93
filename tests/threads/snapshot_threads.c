/* Three hosts in a row: the first goes on applying, the second takes its state again and again, and
 * the third takes that of the second, while that one is replaced. Both have a store thread, which
 * stands still for each install, and a thread that reads. The wire loses and repeats. For the
 * thread sanitizer above all. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/prng.h"
#include "node/snapshot_receive.h"
#include "node/snapshot_send.h"
#include "node/storer.h"
#include "tests/support/letters.h"
#include "tests/support/store_ops.h"

enum {
    HOSTS = 3, /* host i is node i + 1 */
    INSTALLS = 5,
    TURNS_MAX = 200000,
    LAG = 300,       /* slots that a host stays behind the one before it */
    STALE_EVERY = 3, /* installs: then the own store was faster */
};
#define TURN_NS (5 * NS_PER_MS) /* the clock that the modules are told */

struct host {
    uint64_t node;
    struct store_fixture fixture;
    struct pending *pending;
    struct storer *storer;
    struct snapshot_send *send;
    struct snapshot_receive *receive;
    pthread_t thread; /* reads; the first host's applies */
    _Atomic bool is_quiet;
    uint64_t decided;
    uint32_t wholes, installs, stales;
};

static struct host hosts[HOSTS];
static struct prng prng = {0x1d872b41};
static uint64_t now_ns = 1000 * NS_PER_S;
static _Atomic bool done;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static bool is_woken;

static void wake(void *context)
{
    (void)context;
    pthread_mutex_lock(&lock);
    is_woken = true;
    pthread_mutex_unlock(&lock);
    pthread_cond_signal(&woken);
}

/* ---- the wire ---- */

static void post(void *context, uint64_t to, const struct peer_message *m)
{
    letters_post(((struct host *)context)->node, to, m);
}

static void deliver(const struct letter *l)
{
    struct host *h = &hosts[l->to - 1];
    if (l->message.kind == PEER_SNAPSHOT_GET)
        snapshot_send_on_get(h->send, l->from, &l->message.snapshot_get, now_ns);
    else
        snapshot_receive_on_data(h->receive, l->from, &l->message.snapshot_data, now_ns);
}

static void deliver_all(void)
{
    struct letter *l;
    while ((l = letters_take())) {
        uint64_t fate = prng_below(&prng, 100);
        for (uint32_t i = fate < 2 ? 0 : fate < 4 ? 2 : 1; i > 0; i--)
            deliver(l);
        free(l);
    }
}

/* ---- a host's store ---- */

static void on_result(void *context, const struct command *command, uint64_t decided_ns,
                      const struct store_applied *result)
{
    (void)context, (void)command, (void)decided_ns, (void)result;
}

static void on_change(void *context, const struct fs_change *change)
{
    (void)context, (void)change;
}

static bool wait_durable(void *context, uint64_t number)
{
    (void)context, (void)number;
    return true;
}

static void on_paused(void *context)
{
    struct host *h = context;
    atomic_store(&h->is_quiet, true);
    wake(NULL);
}

static void on_failure(void *context, const char *doing, int error)
{
    (void)context;
    fprintf(stderr, "FAILED: %s: %d\n", doing, error);
    abort();
}

/* Up to @slot, at most. */
static void decide(struct host *h, uint64_t slot)
{
    static struct command command = {.epoch = 1, .sequence = 1}; /* of nobody: fenced */
    while (h->decided < slot) {
        atomic_store(&command.refs, 1 << 20);
        uint64_t next = ++h->decided;
        struct pvalue p = {.slot = next, .time_ns = store_fixture_time(next), .command = &command};
        storer_apply(h->storer, &p, next);
    }
}

static void *read_main(void *argument)
{
    const struct host *h = argument;
    struct store *s = h->fixture.store;
    struct store_reader *r;
    ASSERT(store_reader_new(s, &r) == 0);
    while (!atomic_load(&done)) {
        uint64_t applied = store_applied(s);
        struct fs_attr attr;
        ASSERT(store_read_begin(r) == 0);
        ASSERT(store_read_slot(r) >= applied);
        ASSERT(store_getattr(r, FS_ROOT_INO, &attr) == 0);
        store_read_end(r);
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    store_reader_free(r);
    return NULL;
}

static void *apply_main(void *argument)
{
    struct host *h = argument;
    static uint8_t data[65536];
    uint64_t ino = made(op_create(&h->fixture, FS_ROOT_INO, "file", 0644, 0));
    for (uint64_t i = 0; !atomic_load(&done); i++) {
        memset(data, (int)i, sizeof data);
        op_write(&h->fixture, ino, i % 24 * sizeof data, data, sizeof data, 0);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return NULL;
}

/* ---- installs ---- */

static int export(void *context, int fd)
{
    return store_export(((struct host *)context)->fixture.store, fd);
}

static uint64_t other(void *context, uint64_t node)
{
    const struct host *h = context;
    return h->node > 2 && node != 1 ? 1 : 0;
}

static void on_whole(void *context)
{
    struct host *h = context;
    if (++h->wholes % STALE_EVERY == 0)
        decide(h, store_applied(hosts[0].fixture.store));
    storer_pause(h->storer);
}

static int before_install(void *context, uint64_t slot)
{
    const struct host *h = context;
    ASSERT(slot > 0 && !atomic_load(&h->is_quiet));
    return 0;
}

static void after_install(void *context)
{
    struct host *h = context;
    ASSERT(store_checkpointed(h->fixture.store) == store_applied(h->fixture.store));
}

static void on_installed(void *context, bool is_installed)
{
    struct host *h = context;
    h->installs += is_installed;
    h->stales += !is_installed;
    uint64_t applied = store_applied(h->fixture.store);
    pending_applied(h->pending, applied);
    if (h->decided < applied)
        h->decided = applied;
    snapshot_send_forbid(h->send, false);
    storer_resume(h->storer);
}

/* ---- the loop ---- */

static void open_host(struct host *h, uint64_t node)
{
    h->node = node;
    if (node == 1)
        store_fixture_init_cluster(&h->fixture, HOSTS);
    else
        store_fixture_init_blank(&h->fixture);
    struct snapshot_send_edges send = {.context = h, .export = export, .send = post, .wake = wake};
    h->send = snapshot_send_new(&send);
    ASSERT(h->send);
    if (node == 1) {
        ASSERT(pthread_create(&h->thread, NULL, apply_main, h) == 0);
        return;
    }
    h->pending = pending_new();
    ASSERT(h->pending);
    snapshot_send_forbid(h->send, true);
    struct storer_callbacks storer = {.context = h,
                                      .pending = h->pending,
                                      .on_result = on_result,
                                      .on_change = on_change,
                                      .on_progress = wake,
                                      .wait_durable = wait_durable,
                                      .on_paused = on_paused,
                                      .on_failure = on_failure};
    ASSERT(storer_start(h->fixture.store, node, &storer, &h->storer) == 0);
    struct snapshot_receive_edges receive = {.context = h,
                                             .store = h->fixture.store,
                                             .node = node,
                                             .send = post,
                                             .wake = wake,
                                             .other = other,
                                             .on_whole = on_whole,
                                             .before_install = before_install,
                                             .after_install = after_install,
                                             .on_installed = on_installed,
                                             .on_failure = on_failure};
    h->receive = snapshot_receive_new(&receive, now_ns);
    ASSERT(h->receive);
    ASSERT(pthread_create(&h->thread, NULL, read_main, h) == 0);
}

static void close_host(struct host *h)
{
    pthread_join(h->thread, NULL);
    snapshot_receive_free(h->receive); /* in the middle, mostly */
    snapshot_send_free(h->send);
    if (h->storer)
        storer_stop(h->storer);
    pending_free(h->pending);
    store_fixture_deinit(&h->fixture);
}

static void tend(struct host *h)
{
    snapshot_send_drain(h->send);
    snapshot_send_tick(h->send, now_ns);
    if (!h->receive)
        return;
    if (atomic_exchange(&h->is_quiet, false))
        snapshot_receive_install(h->receive);
    snapshot_receive_want(h->receive, h->node - 1, now_ns);
    snapshot_receive_tick(h->receive, now_ns);
    uint64_t before = store_applied(hosts[h->node - 2].fixture.store);
    if (before > h->decided + LAG)
        decide(h, h->decided + 1);
    if (prng_below(&prng, 300) == 0) { /* the connection breaks */
        snapshot_receive_on_gone(h->receive, h->node - 1, now_ns);
        snapshot_send_on_gone(hosts[h->node - 2].send, h->node);
    }
}

static void turn(void)
{
    now_ns += TURN_NS;
    deliver_all();
    for (uint32_t i = 0; i < HOSTS; i++)
        tend(&hosts[i]);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += 1000 * 1000;
    limit.tv_sec += limit.tv_nsec / (1000 * 1000 * 1000);
    limit.tv_nsec %= 1000 * 1000 * 1000;
    pthread_mutex_lock(&lock);
    if (!is_woken && !letters_are_under_way())
        pthread_cond_timedwait(&woken, &lock, &limit);
    is_woken = false;
    pthread_mutex_unlock(&lock);
}

int main(void)
{
    for (uint32_t i = 0; i < HOSTS; i++)
        open_host(&hosts[i], i + 1);
    for (uint32_t turns = 0; hosts[1].installs < INSTALLS || hosts[2].installs < INSTALLS;
         turns++) {
        ASSERT(turns < TURNS_MAX);
        turn();
    }
    atomic_store(&done, true);
    printf("installs=%u,%u stales=%u,%u\n", hosts[1].installs, hosts[2].installs, hosts[1].stales,
           hosts[2].stales);
    for (uint32_t i = HOSTS; i > 0; i--)
        close_host(&hosts[i - 1]);
    letters_clear();
    return 0;
}
