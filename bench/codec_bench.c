/* bench/codec_bench.c: how fast messages are encoded, decoded, and carried over loopback.
 *
 *   ninja codec_bench (in a release build)
 *   bin/codec_bench [seconds per figure]
 *
 * The carried figures have sender and receiver in a loop and thread each, as two hosts would. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "rpc/transport.h"

enum { QUEUE_AIM = 8 << 20, BATCH = 256, ENDS = 2 };

static uint8_t payload[COMMAND_SIZE_MAX];
static double seconds = 2;

/* ---- codec alone ---- */

struct load {
    struct command command;
    struct pvalue pvalue;
    struct peer_message message;
};

static void load_init(struct load *l, uint32_t command_size)
{
    l->command = (struct command){
        .refs = 1, .size = command_size, .node = 0x1234567890abcdef, .epoch = 3, .bytes = payload};
    l->command.sequence = l->command.low = 1000000;
    l->pvalue = (struct pvalue){{7, 0x1234567890abcdef}, 123456, clock_wall_ns(), &l->command};
    l->message = (struct peer_message){.kind = PEER_PAXOS, .paxos.kind = MESSAGE_P2A};
    l->message.paxos.p2a.ballot = l->pvalue.ballot;
    l->message.paxos.p2a.count = 1;
    l->message.paxos.p2a.pvalues = &l->pvalue;
}

static void bench_codec(uint32_t command_size)
{
    struct load l;
    load_init(&l, command_size);
    struct decoder *d = decoder_new();
    struct peer_message out;
    struct buffer b = {0};
    int rc = codec_encode(&l.message, &b);
    ASSERT(d && rc == 0);
    struct frame *f = frame_new((uint32_t)b.size);
    ASSERT(f);
    memcpy(f->bytes, b.bytes, b.size);

    uint64_t until = clock_now_ns() + (uint64_t)(seconds * 1e9), start = clock_now_ns(), n = 0;
    for (; clock_now_ns() < until; n++) {
        b.size = 0;
        codec_encode(&l.message, &b);
    }
    double encode_ns = (double)(clock_now_ns() - start) / (double)n;

    start = clock_now_ns();
    until = start + (uint64_t)(seconds * 1e9);
    for (n = 0; clock_now_ns() < until; n++) {
        rc = codec_decode(d, f, &out);
        ASSERT(rc == 0);
    }
    double decode_ns = (double)(clock_now_ns() - start) / (double)n;
    printf("codec p2a of %7zu bytes: encode %8.0f ns, decode %6.0f ns\n", b.size, encode_ns,
           decode_ns);
    frame_unref(f);
    buffer_deinit(&b);
    decoder_free(d);
}

/* ---- carried ---- */

struct end {
    uint32_t self;
    uv_loop_t loop;
    struct transport *transport;
    uv_idle_t idle;
    uv_timer_t timer;
    uv_async_t stop;
    struct load load;
    bool is_up;
    uint64_t received, received_bytes, first_ns, last_ns;
};

static const char *on_hello(void *context, uint32_t index, const struct peer_hello *h)
{
    (void)context, (void)index, (void)h;
    return NULL;
}

static void on_state(void *context, uint32_t index, bool connected, const char *reason)
{
    (void)index, (void)reason;
    ((struct end *)context)->is_up = connected;
}

static void on_message(void *context, uint32_t index, const struct peer_message *m)
{
    (void)index;
    struct end *e = context;
    e->last_ns = clock_now_ns();
    if (e->received++ == 0)
        e->first_ns = e->last_ns;
    e->received_bytes += m->paxos.p2a.pvalues[0].command->size;
}

static void on_idle(uv_idle_t *idle)
{
    struct end *e = idle->data;
    struct transport_peer_view view;
    transport_view(e->transport, 1, &view);
    for (int i = 0; i < BATCH && e->is_up && view.queued_bytes < QUEUE_AIM; i++) {
        transport_send(e->transport, 2, &e->load.message);
        transport_view(e->transport, 1, &view);
    }
}

static void on_closed(void *context)
{
    (void)context;
}

static void stop_end(struct end *e)
{
    if (!uv_is_closing((uv_handle_t *)&e->stop)) {
        uv_close((uv_handle_t *)&e->stop, NULL);
        uv_close((uv_handle_t *)&e->idle, NULL);
        uv_close((uv_handle_t *)&e->timer, NULL);
        transport_close(e->transport, on_closed, NULL);
    }
}

static void on_stop(uv_async_t *async)
{
    stop_end(async->data);
}

static void on_time(uv_timer_t *timer)
{
    stop_end(timer->data);
}

static void open_end(struct end *e, uint32_t self, const char addresses[ENDS][32],
                     uint32_t command_size)
{
    memset(e, 0, sizeof *e);
    e->self = self;
    load_init(&e->load, command_size);
    uv_loop_init(&e->loop);
    uv_idle_init(&e->loop, &e->idle);
    uv_timer_init(&e->loop, &e->timer);
    uv_async_init(&e->loop, &e->stop, on_stop);
    e->idle.data = e->timer.data = e->stop.data = e;
    struct transport_config c = {.self = self, .cluster_id = 1};
    for (uint32_t i = 0; i < ENDS; i++) {
        c.members[i].node_id = i + 1;
        snprintf(c.members[i].name, sizeof c.members[i].name, "n%u", i);
        snprintf(c.members[i].address, sizeof c.members[i].address, "%s", addresses[i]);
    }
    c.callbacks = (struct transport_callbacks){
        .context = e, .on_hello = on_hello, .on_state = on_state, .on_message = on_message};
    int rc = transport_open(&e->loop, &c, &e->transport);
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", addresses[self], strerror(-rc));
        exit(1);
    }
    if (self == 0) {
        uv_idle_start(&e->idle, on_idle);
        uv_timer_start(&e->timer, on_time, (uint64_t)(seconds * 1000), 0);
    }
}

static void *run_end(void *context)
{
    struct end *e = context;
    uv_run(&e->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&e->loop);
    ASSERT(rc == 0);
    return NULL;
}

/* Of all threads: what a figure cost, also where the machine has other work. */
static double cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void bench_carried(uint32_t command_size)
{
    static const char addresses[ENDS][32] = {"127.0.0.1:17611", "127.0.0.2:17611"};
    static struct end ends[ENDS];
    pthread_t threads[ENDS];
    double cpu_before = cpu_us();
    for (uint32_t i = 0; i < ENDS; i++)
        open_end(&ends[i], i, addresses, command_size);
    for (uint32_t i = 0; i < ENDS; i++)
        pthread_create(&threads[i], NULL, run_end, &ends[i]);
    pthread_join(threads[0], NULL);
    uv_async_send(&ends[1].stop);
    pthread_join(threads[1], NULL);
    const struct end *e = &ends[1];
    double s = (double)(e->last_ns - e->first_ns) / 1e9;
    printf("carried commands of %7u bytes: %9.0f messages/s, %6.3f GiB/s, %8.2f us of CPU each\n",
           command_size, (double)e->received / s, (double)e->received_bytes / s / (double)GIB,
           (cpu_us() - cpu_before) / (double)e->received);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        seconds = atof(argv[1]);
    log_set_level(LOG_ERROR);
    bench_codec(150);
    bench_codec(WRITE_SIZE_MAX);
    bench_carried(150);
    bench_carried(4096);
    bench_carried(65536);
    bench_carried(WRITE_SIZE_MAX);
    return 0;
}
