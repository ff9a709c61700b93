#include "rpc/connection.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "rpc/transport.h"

enum {
    PREFIX_SIZE = 4,
    WRITE_FRAMES_MAX = 256,      /* frames in one system call */
    FLUSH_BYTES = 64 * 1024,     /* more than that is not left for the end of the turn */
    DIRECT_SIZE_MIN = 32 * 1024, /* missing bytes of a frame that are received without a copy */
};

static_assert(WRITE_FRAMES_MAX <= IOV_MAX, "one writev");

/* ---- frames out ---- */

struct outgoing *outgoing_new(void)
{
    static const uint8_t no_prefix[PREFIX_SIZE];
    struct outgoing *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->refs = 1;
    if (buffer_append(&o->buffer, no_prefix, sizeof no_prefix) < 0) {
        free(o);
        return NULL;
    }
    return o;
}

bool outgoing_seal(struct outgoing *o)
{
    size_t size = o->buffer.size - PREFIX_SIZE;
    if (size == 0 || size > FRAME_SIZE_MAX)
        return false;
    struct writer w = writer_of(o->buffer.bytes, PREFIX_SIZE);
    write_u32(&w, (uint32_t)size);
    return true;
}

const uint8_t *outgoing_frame(const struct outgoing *o, uint32_t *size)
{
    *size = (uint32_t)(o->buffer.size - PREFIX_SIZE);
    return o->buffer.bytes + PREFIX_SIZE;
}

void outgoing_unref(struct outgoing *o)
{
    ASSERT(o->refs > 0);
    if (--o->refs > 0)
        return;
    buffer_deinit(&o->buffer);
    free(o);
}

/* What a frame counts for in a queue: many small ones must not escape the bound. */
static uint64_t cost(const struct outgoing *o)
{
    return o->buffer.size + sizeof *o;
}

static void pop_head(struct connection *c)
{
    struct outgoing *o = c->head;
    c->head = o->next[c->lane];
    o->next[c->lane] = NULL;
    if (!c->head)
        c->tail = NULL;
    c->head_sent = 0;
    c->queued_bytes -= cost(o);
    c->queued_frames--;
    outgoing_unref(o);
}

/* @size bytes left, from the head on. */
static void advance(struct connection *c, size_t size)
{
    while (size > 0) {
        size_t rest = c->head->buffer.size - c->head_sent;
        if (size < rest) {
            c->head_sent += size;
            return;
        }
        size -= rest;
        c->sent_frames++;
        pop_head(c);
    }
}

static uint32_t gather(struct connection *c, uv_buf_t *bufs)
{
    uint32_t count = 0;
    size_t skip = c->head_sent;
    for (struct outgoing *o = c->head; o && count < WRITE_FRAMES_MAX; o = o->next[c->lane]) {
        char *bytes = (char *)o->buffer.bytes;
        bufs[count++] = uv_buf_init(bytes + skip, (unsigned)(o->buffer.size - skip));
        skip = 0;
    }
    return count;
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    (void)request;
    (void)status; /* the other side's end of file, or time, ends the connection */
}

static void shut_down_if_drained(struct connection *c)
{
    if (!c->shutting_down || c->head || c->state == CONNECTION_CLOSED)
        return;
    c->shutting_down = false;
    int rc = uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown);
    if (rc < 0)
        c->error = rc;
}

static void on_written(uv_write_t *request, int status)
{
    struct connection *c = request->data;
    while (c->writing_count) {
        c->writing_count--;
        c->sent_frames += status == 0;
        pop_head(c);
    }
    if (c->state == CONNECTION_CLOSED)
        return;
    if (status < 0)
        c->error = status;
    else
        connection_flush(c);
}

/* The socket is full: libuv waits for room. */
static void write_later(struct connection *c, uv_buf_t *bufs, uint32_t count)
{
    c->write.data = c;
    int rc = uv_write(&c->write, (uv_stream_t *)&c->tcp, bufs, count, on_written);
    if (rc < 0)
        c->error = rc;
    else
        c->writing_count = count;
}

void connection_flush(struct connection *c)
{
    if (c->state == CONNECTION_DIALLING || c->state == CONNECTION_CLOSED)
        return;
    c->unflushed_bytes = 0;
    while (c->head && !c->writing_count && !c->error) {
        uv_buf_t bufs[WRITE_FRAMES_MAX];
        uint32_t count = gather(c, bufs);
        int rc = uv_try_write((uv_stream_t *)&c->tcp, bufs, count);
        if (rc >= 0)
            advance(c, (size_t)rc);
        else if (rc == UV_EAGAIN)
            write_later(c, bufs, count);
        else
            c->error = rc;
    }
    shut_down_if_drained(c);
}

bool connection_send(struct connection *c, struct outgoing *o)
{
    if (c->queued_bytes + cost(o) > SEND_QUEUE_BYTES_MAX)
        return false;
    ASSERT(!o->next[c->lane] && c->tail != o); /* once per lane */
    o->refs++;
    if (c->tail)
        c->tail->next[c->lane] = o;
    else
        c->head = o;
    c->tail = o;
    c->queued_bytes += cost(o);
    c->queued_frames++;
    c->unflushed_bytes += o->buffer.size;
    if (c->unflushed_bytes >= FLUSH_BYTES)
        connection_flush(c);
    return true;
}

void connection_shutdown(struct connection *c)
{
    c->shutting_down = true;
    connection_flush(c);
}

/* ---- frames in ---- */

/* @size bytes lie where the reader had room for them. 0, or -errno to end the connection. */
static int fill(struct connection *c, size_t size)
{
    struct frame *f = NULL;
    int rc = frame_reader_fill(&c->reader, size, &f);
    if (rc <= 0)
        return rc;
    c->received_frames++;
    c->owner->on_frame(c, f);
    frame_unref(f);
    return 0;
}

/* Cut what was received into the scratch buffer. */
static int fill_from(struct connection *c, const uint8_t *bytes, size_t size)
{
    while (size > 0 && c->state != CONNECTION_CLOSED) {
        size_t room;
        uint8_t *to = frame_reader_room(&c->reader, &room);
        if (!to)
            return -ENOMEM;
        size_t n = size < room ? size : room;
        memcpy(to, bytes, n);
        bytes += n;
        size -= n;
        int rc = fill(c, n);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The rest of a large frame goes straight to its place; small ones come many to a system call. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct connection *c = handle->data;
    size_t room = 0;
    uint8_t *to = frame_reader_room(&c->reader, &room);
    if (!to || room < DIRECT_SIZE_MIN) {
        to = c->owner->scratch;
        room = c->owner->scratch_size;
    }
    *buf = uv_buf_init((char *)to, (unsigned)room);
}

static const char *reason_of(int error)
{
    if (error == UV_EOF)
        return "closed by the other side";
    if (error == -EMSGSIZE)
        return "sent a frame of a length that is not allowed";
    return uv_strerror(error);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buf)
{
    struct connection *c = stream->data;
    if (size == 0)
        return;
    int rc = 0;
    if (size < 0) {
        rc = (int)size;
    } else {
        c->last_received_ns = clock_now_ns();
        bool in_scratch = (uint8_t *)buf->base == c->owner->scratch;
        rc = in_scratch ? fill_from(c, c->owner->scratch, (size_t)size) : fill(c, (size_t)size);
    }
    if (rc < 0 && c->state != CONNECTION_CLOSED)
        c->owner->on_end(c, reason_of(rc));
}

/* ---- life ---- */

struct connection *connection_new(uv_loop_t *loop, const struct connection_owner *owner)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    if (uv_tcp_init(loop, &c->tcp) < 0) {
        free(c);
        return NULL;
    }
    c->tcp.data = c;
    c->owner = owner;
    c->since_ns = c->last_received_ns = clock_now_ns();
    return c;
}

int connection_start(struct connection *c)
{
    c->state = CONNECTION_GREETING;
    c->last_received_ns = clock_now_ns();
    /* The kernel sizes the socket's buffers as it goes; fixed ones of 4 MiB were no faster. */
    int rc = uv_tcp_nodelay(&c->tcp, 1);
    return rc < 0 ? rc : uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

static void on_closed(uv_handle_t *handle)
{
    struct connection *c = handle->data;
    while (c->head)
        pop_head(c);
    frame_reader_deinit(&c->reader);
    c->owner->on_closed(c);
}

void connection_close(struct connection *c)
{
    if (c->state == CONNECTION_CLOSED)
        return;
    c->state = CONNECTION_CLOSED;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}
