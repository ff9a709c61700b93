#include "node/snapshot_send.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/queue.h"

enum {
    READY_MAX = 4,        /* pieces cut ahead of need */
    KEPT_MAX = 16,        /* pieces kept once they are sent */
    AHEAD_MAX = KEPT_MAX, /* pieces one may ask for before the first of them came */
    TRANSFERS_MAX = 2 * SNAPSHOT_SENDS_MAX, /* those that end included */
    PIPE_SIZE = 1 << 20,
};

struct piece {
    struct queue_item item;
    uint64_t offset, hash;
    uint32_t size;
    bool is_last;
    int error; /* the export failed: there is no more */
    uint8_t bytes[];
};

static_assert(TRANSFERS_MAX * (READY_MAX + KEPT_MAX + 1) * SNAPSHOT_PIECE_MAX <=
                  SNAPSHOT_SEND_BYTES,
              "with the one that waits for room");

enum transfer_state { TRANSFER_FREE, TRANSFER_RUNNING, TRANSFER_ENDING };

struct transfer {
    struct snapshot_send *owner;
    enum transfer_state state;
    uint64_t node, number;
    uint64_t began_ns, asked_ns;
    uint64_t next;                /* offset of the first piece not yet sent */
    uint64_t asked;               /* those before this offset are asked for */
    struct piece *kept[KEPT_MAX]; /* sent, at (offset / SNAPSHOT_PIECE_MAX) % KEPT_MAX */
    bool has_sent_all;            /* it is kept for who asks again, until its room is needed */
    struct queue_item *ready;     /* taken from the queue, in order */

    struct queue queue; /* of pieces; closed: the transfer ends */
    pthread_t thread;
    _Atomic bool is_done; /* the threads have let go of everything */
};

struct snapshot_send {
    struct snapshot_send_edges edges;
    bool is_forbidden;
    struct transfer transfers[TRANSFERS_MAX];
};

static struct piece *piece_of(struct queue_item *item)
{
    return container_of(item, struct piece, item);
}

/* ---- threads of a transfer ---- */

struct exporter {
    struct transfer *transfer;
    int fd; /* the pipe's end to write to */
    int rc;
};

static void *exporter_main(void *argument)
{
    struct exporter *e = argument;
    const struct snapshot_send_edges *edges = &e->transfer->owner->edges;
    e->rc = edges->export(edges->context, e->fd);
    close(e->fd); /* the cutter sees the end */
    return NULL;
}

/* Up to @size bytes, fewer only at the end; -errno. */
static int64_t read_fully(int fd, uint8_t *bytes, size_t size)
{
    size_t done = 0;
    while (done < size) {
        ssize_t n = read(fd, bytes + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (int64_t)done;
}

static struct piece *piece_new(uint64_t offset)
{
    struct piece *p = malloc(sizeof *p + SNAPSHOT_PIECE_MAX);
    if (p)
        *p = (struct piece){.offset = offset};
    return p;
}

/* What comes out of @fd becomes pieces, until the last one, which waits in @last, or until nobody
 * wants more of them: -EPIPE. */
static int cut(struct transfer *t, int fd, XXH3_state_t *hash, struct piece **last)
{
    for (uint64_t offset = 0;; offset += SNAPSHOT_PIECE_MAX) {
        struct piece *p = piece_new(offset);
        if (!p)
            return -ENOMEM;
        int64_t size = read_fully(fd, p->bytes, SNAPSHOT_PIECE_MAX);
        if (size < 0) {
            free(p);
            return (int)size;
        }
        p->size = (uint32_t)size;
        XXH3_64bits_update(hash, p->bytes, p->size);
        if (p->size < SNAPSHOT_PIECE_MAX) {
            *last = p;
            return 0;
        }
        int rc = queue_push_wait(&t->queue, &p->item, p->size);
        if (rc < 0) {
            free(p);
            return rc;
        }
    }
}

/* The exporter runs while this thread cuts; whether all of it came is known once it is done. */
static int export_and_cut(struct transfer *t, XXH3_state_t *hash, struct piece **last)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE); /* only faster */
    struct exporter e = {.transfer = t, .fd = ends[1]};
    pthread_t thread;
    int rc = -pthread_create(&thread, NULL, exporter_main, &e);
    if (rc < 0) {
        close(ends[0]);
        close(ends[1]);
        return rc;
    }
    pthread_setname_np(thread, "export");
    rc = cut(t, ends[0], hash, last);
    close(ends[0]); /* the exporter ends, if it has not */
    pthread_join(thread, NULL);
    return rc < 0 ? rc : e.rc;
}

static void *cutter_main(void *argument)
{
    struct transfer *t = argument;
    const struct snapshot_send_edges *edges = &t->owner->edges;
    XXH3_state_t *hash = XXH3_createState();
    struct piece *last = NULL;
    int rc = -ENOMEM;
    if (hash) {
        XXH3_64bits_reset(hash);
        rc = export_and_cut(t, hash, &last);
    }
    if (!last)
        last = piece_new(0);
    if (last) {
        last->is_last = true;
        last->error = rc;
        last->hash = hash ? XXH3_64bits_digest(hash) : 0;
        if (queue_push_wait(&t->queue, &last->item, last->size) < 0)
            free(last);
    }
    XXH3_freeState(hash);
    atomic_store(&t->is_done, true);
    edges->wake(edges->context);
    return NULL;
}

/* ---- sending ---- */

static void refuse(struct snapshot_send *s, uint64_t node, uint64_t number, const char *why)
{
    struct peer_message m = {.kind = PEER_SNAPSHOT_DATA, .snapshot_data = {.transfer = number}};
    snprintf(m.snapshot_data.refused, sizeof m.snapshot_data.refused, "%s", why);
    s->edges.send(s->edges.context, node, &m);
}

static void send_piece(struct transfer *t, const struct piece *p)
{
    struct snapshot_send *s = t->owner;
    struct peer_message m = {.kind = PEER_SNAPSHOT_DATA,
                             .snapshot_data = {.transfer = t->number,
                                               .offset = p->offset,
                                               .is_last = p->is_last,
                                               .hash = p->hash,
                                               .size = p->size,
                                               .bytes = p->bytes}};
    s->edges.send(s->edges.context, t->node, &m);
}

static struct piece **kept_at(struct transfer *t, uint64_t offset)
{
    return &t->kept[offset / SNAPSHOT_PIECE_MAX % KEPT_MAX];
}

static void free_list(struct queue_item *list)
{
    while (list) {
        struct piece *p = piece_of(list);
        list = list->next;
        free(p);
    }
}

/* The threads see it at their next piece; tick() lets go of the rest. */
static void transfer_end(struct transfer *t, const char *why)
{
    log_event(LOG_INFO, "event=snapshot_send_end bytes=%llu why=%s", (unsigned long long)t->next,
              why);
    t->state = TRANSFER_ENDING;
    queue_close(&t->queue);
}

static struct piece *next_ready(struct transfer *t)
{
    if (!t->ready)
        t->ready = queue_take_all(&t->queue);
    if (!t->ready)
        return NULL;
    struct piece *p = piece_of(t->ready);
    t->ready = t->ready->next;
    return p;
}

static void pump(struct transfer *t)
{
    struct piece *p;
    while (t->state == TRANSFER_RUNNING && t->next < t->asked && (p = next_ready(t))) {
        if (p->error) {
            refuse(t->owner, t->node, t->number, strerror(-p->error));
            free(p);
            transfer_end(t, "export_failed");
            return;
        }
        ASSERT(p->offset == t->next);
        send_piece(t, p);
        struct piece **kept = kept_at(t, p->offset);
        free(*kept);
        *kept = p;
        t->next += SNAPSHOT_PIECE_MAX;
        t->has_sent_all = p->is_last;
    }
}

/* ---- transfers ---- */

static struct transfer *find_running(struct snapshot_send *s, uint64_t node)
{
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++)
        if (s->transfers[i].state == TRANSFER_RUNNING && s->transfers[i].node == node)
            return &s->transfers[i];
    return NULL;
}

/* The thread is done, or is waited for. */
static void transfer_free(struct transfer *t)
{
    pthread_join(t->thread, NULL);
    free_list(t->ready);
    free_list(queue_take_all(&t->queue));
    queue_deinit(&t->queue);
    for (uint32_t i = 0; i < KEPT_MAX; i++)
        free(t->kept[i]);
    *t = (struct transfer){.state = TRANSFER_FREE};
}

static bool is_exporting(const struct transfer *t)
{
    return t->state == TRANSFER_RUNNING && !t->has_sent_all;
}

/* NULL: no room. */
static struct transfer *find_room(struct snapshot_send *s)
{
    struct transfer *room = NULL;
    uint32_t exporting = 0;
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        struct transfer *t = &s->transfers[i];
        exporting += is_exporting(t);
        bool is_over = t->state == TRANSFER_FREE || (t->has_sent_all && atomic_load(&t->is_done));
        if (is_over && (!room || t->state == TRANSFER_FREE))
            room = t;
    }
    if (!room || exporting == SNAPSHOT_SENDS_MAX)
        return NULL;
    if (room->state != TRANSFER_FREE)
        transfer_free(room);
    return room;
}

/* NULL: refused. */
static struct transfer *transfer_begin(struct snapshot_send *s, uint64_t node, uint64_t number,
                                       uint64_t now_ns)
{
    struct transfer *t = find_room(s);
    if (s->is_forbidden || !t) {
        refuse(s, node, number,
               s->is_forbidden ? "this host waits for a snapshot itself"
                               : "this host gives snapshots to others already");
        return NULL;
    }
    *t = (struct transfer){
        .owner = s, .node = node, .number = number, .began_ns = now_ns, .asked_ns = now_ns};
    queue_init(&t->queue, READY_MAX, SIZE_MAX);
    queue_on_arrival(&t->queue, s->edges.wake, s->edges.context);
    int rc = pthread_create(&t->thread, NULL, cutter_main, t);
    if (rc != 0) {
        queue_deinit(&t->queue);
        refuse(s, node, number, strerror(rc));
        return NULL;
    }
    pthread_setname_np(t->thread, "snapshot-send");
    t->state = TRANSFER_RUNNING;
    log_event(LOG_INFO, "event=snapshot_send to_node=%llx", (unsigned long long)node);
    return t;
}

static void repeat(struct transfer *t, uint64_t offset)
{
    const struct piece *p = *kept_at(t, offset);
    if (p && p->offset == offset)
        send_piece(t, p);
    else
        refuse(t->owner, t->node, t->number, "that piece is not kept any more; begin anew");
}

void snapshot_send_on_get(struct snapshot_send *s, uint64_t node,
                          const struct peer_snapshot_get *get, uint64_t now_ns)
{
    struct transfer *t = find_running(s, node);
    if (t && t->number != get->transfer && get->offset == 0) {
        transfer_end(t, "begun_anew");
        t = NULL;
    }
    if (!t && get->offset == 0)
        t = transfer_begin(s, node, get->transfer, now_ns);
    else if (!t || t->number != get->transfer) {
        refuse(s, node, get->transfer, "that transfer has ended; begin anew");
        return;
    }
    if (!t)
        return;
    t->asked_ns = now_ns;
    if (get->offset < t->next) {
        repeat(t, get->offset);
        return;
    }
    if (get->offset - t->next >= AHEAD_MAX * SNAPSHOT_PIECE_MAX)
        return; /* too far ahead: it asks again when it is nearer */
    if (get->offset >= t->asked)
        t->asked = get->offset + SNAPSHOT_PIECE_MAX;
    pump(t);
}

void snapshot_send_on_gone(struct snapshot_send *s, uint64_t node)
{
    struct transfer *t = find_running(s, node);
    if (t)
        transfer_end(t, "disconnected");
}

void snapshot_send_drain(struct snapshot_send *s)
{
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++)
        pump(&s->transfers[i]);
}

void snapshot_send_tick(struct snapshot_send *s, uint64_t now_ns)
{
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        struct transfer *t = &s->transfers[i];
        if (t->state == TRANSFER_RUNNING && now_ns - t->asked_ns > SNAPSHOT_SEND_IDLE_NS)
            transfer_end(t, "idle");
        if (t->state == TRANSFER_RUNNING && now_ns - t->began_ns > SNAPSHOT_SEND_NS_MAX)
            transfer_end(t, "too_long");
        if (t->state == TRANSFER_ENDING && atomic_load(&t->is_done))
            transfer_free(t);
    }
}

void snapshot_send_forbid(struct snapshot_send *s, bool is_forbidden)
{
    s->is_forbidden = is_forbidden;
}

void snapshot_send_view(const struct snapshot_send *s, struct snapshot_send_view *view)
{
    *view = (struct snapshot_send_view){0};
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++) {
        const struct transfer *t = &s->transfers[i];
        if (!is_exporting(t))
            continue;
        view->transfers[view->count].node = t->node;
        view->transfers[view->count].bytes = t->next;
        view->transfers[view->count++].since_ns = t->began_ns;
    }
}

struct snapshot_send *snapshot_send_new(const struct snapshot_send_edges *edges)
{
    struct snapshot_send *s = calloc(1, sizeof *s);
    if (s)
        s->edges = *edges;
    return s;
}

void snapshot_send_free(struct snapshot_send *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++)
        if (s->transfers[i].state == TRANSFER_RUNNING)
            transfer_end(&s->transfers[i], "stop");
    for (uint32_t i = 0; i < TRANSFERS_MAX; i++)
        if (s->transfers[i].state == TRANSFER_ENDING)
            transfer_free(&s->transfers[i]);
    free(s);
}
