#include "rpc/admin.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "base/log.h"
#include "rpc/msgpack_check.h"
#include "rpc/unix_path.h"

enum {
    REQUEST = 0, /* msgpack-rpc's first element */
    RESPONSE = 1,
    METHOD_SIZE_MAX = 32,
    REQUEST_ELEMENTS_MAX = 4096,
    RESULT_ELEMENTS_MAX = 1 << 20,
    DESCRIPTORS_SEEN_MAX = 8, /* in one message; the kernel closes what is beyond */
};

struct admin_client {
    uv_poll_t poll;
    int fd;
    struct admin_server *server;
    struct admin_client *prev, *next;
    struct frame_reader reader;
    int passed_fd;                 /* came with the request being read, or -1 */
    struct admin_request *request; /* to be answered before the next is read */
    struct buffer out;             /* response being sent */
    size_t out_sent;
    bool closing;
};

struct admin_request {
    struct admin_client *client; /* NULL: hung up */
    uint32_t id;
};

struct admin_server {
    uv_loop_t *loop;
    uv_poll_t poll;
    int fd;
    struct admin_callbacks callbacks;
    struct admin_client *clients;
    uint32_t client_count;
    uint32_t handles;
    bool closing;
    void (*closed)(void *context);
    void *closed_context;
    char path[PATH_MAX];
};

static void on_client_event(uv_poll_t *poll, int status, int events);
static void watch_listener(struct admin_server *s);

/* ---- life of a client ---- */

static void finish_close(struct admin_server *s)
{
    if (!s->closing || s->handles > 0)
        return;
    void (*closed)(void *) = s->closed;
    void *context = s->closed_context;
    free(s);
    if (closed)
        closed(context);
}

static void on_client_closed(uv_handle_t *handle)
{
    struct admin_client *c = handle->data;
    struct admin_server *s = c->server;
    close(c->fd);
    frame_reader_deinit(&c->reader);
    buffer_deinit(&c->out);
    free(c);
    s->handles--;
    finish_close(s);
}

static void close_client(struct admin_client *c)
{
    if (c->closing)
        return;
    c->closing = true;
    struct admin_server *s = c->server;
    if (c->request)
        c->request->client = NULL;
    if (c->passed_fd >= 0)
        close(c->passed_fd);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->clients = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->client_count--;
    uv_close((uv_handle_t *)&c->poll, on_client_closed);
    watch_listener(s);
}

/* Wait for what comes next: room to send, a hang-up while a request is open, or the next request.
 */
static void watch_client(struct admin_client *c)
{
    if (c->closing)
        return;
    int events = UV_READABLE;
    if (c->out.size)
        events = UV_WRITABLE;
    else if (c->request)
        events = UV_DISCONNECT;
    if (uv_poll_start(&c->poll, events, on_client_event) < 0)
        close_client(c);
}

static void add_client(struct admin_server *s, int fd)
{
    struct admin_client *c = calloc(1, sizeof *c);
    if (!c || uv_poll_init(s->loop, &c->poll, fd) < 0) {
        free(c);
        close(fd);
        return;
    }
    c->fd = fd;
    c->server = s;
    c->passed_fd = -1;
    c->reader.size_max = ADMIN_REQUEST_SIZE_MAX;
    c->poll.data = c;
    c->next = s->clients;
    if (c->next)
        c->next->prev = c;
    s->clients = c;
    s->client_count++;
    s->handles++;
    watch_client(c);
}

static void on_incoming(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct admin_server *s = poll->data;
    if (status < 0)
        return;
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    add_client(s, fd);
    watch_listener(s);
}

/* With ADMIN_CLIENTS_MAX connected, others wait in the backlog. */
static void watch_listener(struct admin_server *s)
{
    if (s->closing)
        return;
    if (s->client_count < ADMIN_CLIENTS_MAX)
        uv_poll_start(&s->poll, UV_READABLE, on_incoming);
    else
        uv_poll_stop(&s->poll);
}

/* ---- responses ---- */

static void send_out(struct admin_client *c)
{
    while (c->out_sent < c->out.size) {
        ssize_t n =
            send(c->fd, c->out.bytes + c->out_sent, c->out.size - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            close_client(c);
            return;
        }
        c->out_sent += (size_t)n;
    }
    buffer_deinit(&c->out);
    c->out_sent = 0;
}

/* 0 or -ENOMEM; @b is what it was, or the whole frame. */
static int build_response(struct buffer *b, uint32_t id, const char *error,
                          const struct buffer *result)
{
    static const uint8_t no_prefix[4];
    size_t result_size = result ? result->size : 1;
    size_t error_size = error ? strlen(error) : 0;
    /* What is packed below fits into what is reserved here, so nothing fails half way. */
    int rc = buffer_reserve(b, sizeof no_prefix + 32 + error_size + result_size);
    if (rc < 0)
        return rc;
    buffer_append(b, no_prefix, sizeof no_prefix);
    pack_array(b, 4);
    pack_u64(b, RESPONSE);
    pack_u64(b, id);
    if (error)
        pack_text(b, error);
    else
        pack_nil(b);
    if (result)
        buffer_append(b, result->bytes, result->size);
    else
        pack_nil(b);
    struct writer w = writer_of(b->bytes, sizeof no_prefix);
    write_u32(&w, (uint32_t)(b->size - sizeof no_prefix));
    return 0;
}

static void answer(struct admin_request *r, const char *error, const struct buffer *result)
{
    struct admin_client *c = r->client;
    uint32_t id = r->id;
    free(r);
    if (!c)
        return;
    c->request = NULL;
    if (build_response(&c->out, id, error, result) < 0) {
        close_client(c);
        return;
    }
    send_out(c); /* at once: the daemon may be about to stop */
    watch_client(c);
}

void admin_reply(struct admin_request *r, const struct buffer *result)
{
    if (result && (result->size > FRAME_SIZE_MAX - 1024 ||
                   msgpack_check(result->bytes, result->size, RESULT_ELEMENTS_MAX) < 0)) {
        answer(r, "the answer could not be built: out of memory, or it is too long", NULL);
        return;
    }
    answer(r, NULL, result);
}

void admin_reply_error(struct admin_request *r, const char *error)
{
    answer(r, error, NULL);
}

/* ---- requests ---- */

/* The first descriptor that came with a request stays, others are closed. */
static void take_descriptors(struct admin_client *c, struct msghdr *message)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(message); h; h = CMSG_NXTHDR(message, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
            if (c->passed_fd < 0)
                c->passed_fd = fd;
            else
                close(fd);
        }
    }
}

/* Bytes received, 0 at the end, or -errno. */
static ssize_t receive(struct admin_client *c)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(DESCRIPTORS_SEEN_MAX * sizeof(int))];
    } control;
    size_t room;
    uint8_t *to = frame_reader_room(&c->reader, &room);
    if (!to)
        return -ENOMEM;
    struct iovec iov = {to, room};
    struct msghdr message = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    ssize_t n = recvmsg(c->fd, &message, MSG_CMSG_CLOEXEC);
    if (n < 0)
        return -errno;
    take_descriptors(c, &message);
    return n;
}

/* [0, id, "method", params]: true when that is what @root is. */
static bool is_request(const msgpack_object *root)
{
    if (root->type != MSGPACK_OBJECT_ARRAY || root->via.array.size != 4)
        return false;
    const msgpack_object *at = root->via.array.ptr;
    return at[0].type == MSGPACK_OBJECT_POSITIVE_INTEGER && at[0].via.u64 == REQUEST &&
           at[1].type == MSGPACK_OBJECT_POSITIVE_INTEGER && at[1].via.u64 <= UINT32_MAX &&
           at[2].type == MSGPACK_OBJECT_STR && at[2].via.str.size < METHOD_SIZE_MAX &&
           (at[3].type == MSGPACK_OBJECT_MAP || at[3].type == MSGPACK_OBJECT_NIL);
}

static int hand_over(struct admin_client *c, const msgpack_object *at)
{
    struct admin_request *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    char method[METHOD_SIZE_MAX] = "";
    memcpy(method, at[2].via.str.ptr, at[2].via.str.size);
    *r = (struct admin_request){.client = c, .id = (uint32_t)at[1].via.u64};
    int fd = c->passed_fd;
    c->passed_fd = -1;
    c->request = r;
    const struct admin_callbacks *callbacks = &c->server->callbacks;
    callbacks->on_request(callbacks->context, r, method, &at[3], fd);
    return 0;
}

static int on_request_frame(struct admin_client *c, const struct frame *f)
{
    int rc = msgpack_check(f->bytes, f->size, REQUEST_ELEMENTS_MAX);
    if (rc < 0)
        return rc;
    msgpack_zone zone;
    if (!msgpack_zone_init(&zone, MSGPACK_ZONE_CHUNK_SIZE))
        return -ENOMEM;
    msgpack_object root;
    size_t offset = 0;
    msgpack_unpack_return ret =
        msgpack_unpack((const char *)f->bytes, f->size, &offset, &zone, &root);
    rc = ret == MSGPACK_UNPACK_SUCCESS && is_request(&root) ? 0 : -EBADMSG;
    if (rc == 0)
        rc = hand_over(c, root.via.array.ptr);
    msgpack_zone_destroy(&zone);
    return rc;
}

static void read_request(struct admin_client *c)
{
    ssize_t n = receive(c);
    if (n == -EAGAIN || n == -EINTR)
        return;
    if (n <= 0) {
        close_client(c);
        return;
    }
    struct frame *f = NULL;
    int rc = frame_reader_fill(&c->reader, (size_t)n, &f);
    if (rc > 0) {
        rc = on_request_frame(c, f);
        frame_unref(f);
    }
    if (rc < 0) {
        log_event(LOG_WARN, "event=admin_request_refused reason=\"%s\"", strerror(-rc));
        close_client(c);
    }
}

static void on_client_event(uv_poll_t *poll, int status, int events)
{
    struct admin_client *c = poll->data;
    if (status < 0 || (events & UV_DISCONNECT)) {
        close_client(c);
        return;
    }
    if (events & UV_WRITABLE)
        send_out(c);
    else if (events & UV_READABLE)
        read_request(c);
    watch_client(c);
}

/* ---- server ---- */

static int bind_path(int fd, const char *path)
{
    struct sockaddr_un address;
    int dir_fd;
    int rc = unix_path_address(path, &address, &dir_fd);
    /* The mode a unix socket is created with is that of its descriptor: there is no moment at which
     * others may connect, and the process's umask stays what it is. */
    if (rc == 0 && fchmod(fd, 0600) < 0)
        rc = -errno;
    if (rc == 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        rc = -errno;
    if (dir_fd >= 0)
        close(dir_fd);
    return rc;
}

static int listen_on(const char *path)
{
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int rc = bind_path(fd, path);
    if (rc == 0 && listen(fd, ADMIN_CLIENTS_MAX) < 0)
        rc = -errno;
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

int admin_server_open(uv_loop_t *loop, const char *path, const struct admin_callbacks *callbacks,
                      struct admin_server **out)
{
    struct admin_server *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    if (strlen(path) >= sizeof s->path) {
        free(s);
        return -ENAMETOOLONG;
    }
    memcpy(s->path, path, strlen(path) + 1);
    s->loop = loop;
    s->callbacks = *callbacks;
    s->fd = listen_on(path);
    int rc = s->fd < 0 ? s->fd : uv_poll_init(loop, &s->poll, s->fd);
    if (rc < 0) {
        if (s->fd >= 0)
            close(s->fd);
        free(s);
        return rc;
    }
    s->poll.data = s;
    s->handles = 1;
    watch_listener(s);
    *out = s;
    return 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct admin_server *s = handle->data;
    close(s->fd);
    s->handles--;
    finish_close(s);
}

void admin_server_close(struct admin_server *s, void (*closed)(void *context), void *context)
{
    ASSERT(!s->closing);
    s->closing = true;
    s->closed = closed;
    s->closed_context = context;
    unlink(s->path);
    while (s->clients)
        close_client(s->clients);
    uv_close((uv_handle_t *)&s->poll, on_listener_closed);
}
