#include "rpc/admin.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "rpc/msgpack_check.h"
#include "rpc/unix_path.h"

enum {
    REQUEST_ID = 1,
    RESPONSE_ELEMENTS_MAX = 1 << 20,
    CONNECT_RETRY_MS = 10, /* the backlog is full */
};

/* One exchange. */
struct call {
    int fd;
    uint64_t deadline_ns; /* UINT64_MAX: none */
};

/* Wait until @c's socket is ready for @events. 0, -ETIMEDOUT or -errno. */
static int await(const struct call *c, short events)
{
    for (;;) {
        uint64_t now = clock_now_ns();
        if (now >= c->deadline_ns)
            return -ETIMEDOUT;
        uint64_t left_ms = (c->deadline_ns - now) / NS_PER_MS + 1;
        struct pollfd p = {.fd = c->fd, .events = events};
        int n = poll(&p, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static int connect_to(const struct call *c, const char *path)
{
    struct sockaddr_un address;
    int dir_fd;
    int rc = unix_path_address(path, &address, &dir_fd);
    while (rc == 0 && connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            rc = -errno;
        else if (clock_now_ns() >= c->deadline_ns)
            rc = -ETIMEDOUT;
        else
            poll(NULL, 0, CONNECT_RETRY_MS);
    }
    if (dir_fd >= 0)
        close(dir_fd);
    return rc;
}

static ssize_t send_some(const struct call *c, const uint8_t *bytes, size_t size, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)bytes, size}; /* only read from */
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *h = CMSG_FIRSTHDR(&message);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(h), &fd, sizeof fd);
    }
    ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

/* The descriptor rides with the first byte. */
static int send_all(const struct call *c, const struct buffer *b, int fd)
{
    size_t sent = 0;
    while (sent < b->size) {
        ssize_t n = send_some(c, b->bytes + sent, b->size - sent, sent == 0 ? fd : -1);
        if (n == -EAGAIN) {
            int rc = await(c, POLLOUT);
            if (rc < 0)
                return rc;
        } else if (n < 0 && n != -EINTR) {
            return (int)n;
        } else if (n > 0) {
            sent += (size_t)n;
        }
    }
    return 0;
}

/* 1 with a frame, 0 for more, -errno. */
static int receive_some(const struct call *c, struct frame_reader *reader, struct frame **out)
{
    int rc = await(c, POLLIN);
    if (rc < 0)
        return rc;
    size_t room;
    uint8_t *to = frame_reader_room(reader, &room);
    if (!to)
        return -ENOMEM;
    ssize_t n = recv(c->fd, to, room, 0);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    if (n == 0)
        return -ECONNRESET;
    rc = frame_reader_fill(reader, (size_t)n, out);
    return rc == -EMSGSIZE ? -EBADMSG : rc;
}

static int receive_frame(const struct call *c, struct frame **out)
{
    struct frame_reader reader = {0};
    int rc;
    do
        rc = receive_some(c, &reader, out);
    while (rc == 0);
    frame_reader_deinit(&reader);
    return rc < 0 ? rc : 0;
}

static int build_request(struct buffer *b, const char *method, const struct buffer *params)
{
    static const uint8_t no_prefix[4];
    size_t params_size = params ? params->size : 1;
    int rc = buffer_reserve(b, sizeof no_prefix + 32 + strlen(method) + params_size);
    if (rc < 0)
        return rc;
    buffer_append(b, no_prefix, sizeof no_prefix);
    pack_array(b, 4);
    pack_u64(b, 0);
    pack_u64(b, REQUEST_ID);
    pack_text(b, method);
    if (params)
        buffer_append(b, params->bytes, params->size);
    else
        pack_nil(b);
    size_t size = b->size - sizeof no_prefix;
    struct writer w = writer_of(b->bytes, sizeof no_prefix);
    write_u32(&w, (uint32_t)size);
    return size > ADMIN_REQUEST_SIZE_MAX ? -EMSGSIZE : 0;
}

static void release_frame(void *frame)
{
    frame_unref(frame);
}

/* [1, id, nil or error, result] */
static int read_response(const msgpack_object *root, struct admin_response *response)
{
    if (root->type != MSGPACK_OBJECT_ARRAY || root->via.array.size != 4)
        return -EBADMSG;
    const msgpack_object *at = root->via.array.ptr;
    if (at[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER || at[0].via.u64 != 1 ||
        at[1].type != MSGPACK_OBJECT_POSITIVE_INTEGER || at[1].via.u64 != REQUEST_ID)
        return -EBADMSG;
    if (at[2].type == MSGPACK_OBJECT_STR) {
        size_t size = at[2].via.str.size;
        if (size >= sizeof response->error)
            size = sizeof response->error - 1;
        memcpy(response->error, at[2].via.str.ptr, size);
        if (size == 0)
            strcpy(response->error, "failed without a reason");
    } else if (at[2].type != MSGPACK_OBJECT_NIL) {
        return -EBADMSG;
    }
    response->result = at[3];
    return 0;
}

/* @frame's reference goes with the response, whose strings lie in it, or is dropped. */
static int decode_response_take(struct frame *frame, struct admin_response *response)
{
    int rc = msgpack_check(frame->bytes, frame->size, RESPONSE_ELEMENTS_MAX);
    msgpack_zone *zone = rc == 0 ? msgpack_zone_new(MSGPACK_ZONE_CHUNK_SIZE) : NULL;
    if (!zone || !msgpack_zone_push_finalizer(zone, release_frame, frame)) {
        frame_unref(frame);
        msgpack_zone_free(zone);
        return rc < 0 ? rc : -ENOMEM;
    }
    msgpack_unpacked_init(&response->unpacked);
    response->unpacked.zone = zone;
    size_t offset = 0;
    msgpack_unpack_return ret = msgpack_unpack((const char *)frame->bytes, frame->size, &offset,
                                               zone, &response->unpacked.data);
    rc = ret == MSGPACK_UNPACK_SUCCESS ? read_response(&response->unpacked.data, response)
                                       : -EBADMSG;
    if (rc < 0)
        admin_response_deinit(response);
    return rc;
}

static int exchange(const struct call *c, const char *path, const struct buffer *request, int fd,
                    struct admin_response *response)
{
    int rc = connect_to(c, path);
    if (rc == 0)
        rc = send_all(c, request, fd);
    struct frame *frame = NULL;
    if (rc == 0)
        rc = receive_frame(c, &frame);
    return rc == 0 ? decode_response_take(frame, response) : rc;
}

int admin_call(const char *state_dir, const char *method, const struct buffer *params, int fd,
               int timeout_ms, struct admin_response *response)
{
    memset(response, 0, sizeof *response);
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/admin.sock", state_dir);
    if (n < 0 || (size_t)n >= sizeof path)
        return -ENAMETOOLONG;
    struct call c = {.deadline_ns = UINT64_MAX};
    if (timeout_ms >= 0)
        c.deadline_ns = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
    struct buffer request = {0};
    int rc = build_request(&request, method, params);
    if (rc == 0) {
        c.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        rc = c.fd < 0 ? -errno : exchange(&c, path, &request, fd, response);
        if (c.fd >= 0)
            close(c.fd);
    }
    buffer_deinit(&request);
    return rc;
}

void admin_response_deinit(struct admin_response *response)
{
    msgpack_unpacked_destroy(&response->unpacked);
    memset(response, 0, sizeof *response);
}
