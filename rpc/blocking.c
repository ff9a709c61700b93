#include "rpc/blocking.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/limits.h"

int blocking_await(const struct blocking *b, short events)
{
    for (;;) {
        uint64_t now = clock_now_ns();
        if (now >= b->deadline_ns)
            return -ETIMEDOUT;
        uint64_t left_ms = (b->deadline_ns - now) / NS_PER_MS + 1;
        struct pollfd p = {.fd = b->fd, .events = events};
        int n = poll(&p, 1, left_ms > INT_MAX ? INT_MAX : (int)left_ms);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static ssize_t send_some(const struct blocking *b, const uint8_t *bytes, size_t size, int fd)
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
    ssize_t n = sendmsg(b->fd, &message, MSG_NOSIGNAL);
    return n < 0 ? -errno : n;
}

int blocking_send(const struct blocking *b, const struct buffer *bytes, int fd)
{
    size_t sent = 0;
    while (sent < bytes->size) {
        ssize_t n = send_some(b, bytes->bytes + sent, bytes->size - sent, sent == 0 ? fd : -1);
        if (n == -EAGAIN) {
            int rc = blocking_await(b, POLLOUT);
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
static int receive_some(const struct blocking *b, struct frame_reader *reader, struct frame **out)
{
    int rc = blocking_await(b, POLLIN);
    if (rc < 0)
        return rc;
    size_t room;
    uint8_t *to = frame_reader_room(reader, &room);
    if (!to)
        return -ENOMEM;
    ssize_t n = recv(b->fd, to, room, 0);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    if (n == 0)
        return -ECONNRESET;
    rc = frame_reader_fill(reader, (size_t)n, out);
    return rc == -EMSGSIZE ? -EBADMSG : rc;
}

int blocking_receive(const struct blocking *b, struct frame **out)
{
    struct frame_reader reader = {0};
    int rc;
    do
        rc = receive_some(b, &reader, out);
    while (rc == 0);
    frame_reader_deinit(&reader);
    return rc < 0 ? rc : 0;
}
