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
#include "rpc/blocking.h"
#include "rpc/msgpack_check.h"
#include "rpc/unix_path.h"

enum {
    REQUEST_ID = 1,
    RESPONSE_ELEMENTS_MAX = 1 << 20,
    CONNECT_RETRY_MS = 10, /* the backlog is full */
};

static int connect_to(const struct blocking *b, const char *path)
{
    struct sockaddr_un address;
    int dir_fd;
    int rc = unix_path_address(path, &address, &dir_fd);
    while (rc == 0 && connect(b->fd, (struct sockaddr *)&address, sizeof address) < 0) {
        if (errno != EAGAIN && errno != EINTR)
            rc = -errno;
        else if (clock_now_ns() >= b->deadline_ns)
            rc = -ETIMEDOUT;
        else
            poll(NULL, 0, CONNECT_RETRY_MS);
    }
    if (dir_fd >= 0)
        close(dir_fd);
    return rc;
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

static int exchange(const struct blocking *b, const char *path, const struct buffer *request,
                    int fd, struct admin_response *response)
{
    int rc = connect_to(b, path);
    if (rc == 0)
        rc = blocking_send(b, request, fd);
    struct frame *frame = NULL;
    if (rc == 0)
        rc = blocking_receive(b, &frame);
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
    struct blocking b = {.deadline_ns = UINT64_MAX};
    if (timeout_ms >= 0)
        b.deadline_ns = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
    struct buffer request = {0};
    int rc = build_request(&request, method, params);
    if (rc == 0) {
        b.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        rc = b.fd < 0 ? -errno : exchange(&b, path, &request, fd, response);
        if (b.fd >= 0)
            close(b.fd);
    }
    buffer_deinit(&request);
    return rc;
}

void admin_response_deinit(struct admin_response *response)
{
    msgpack_unpacked_destroy(&response->unpacked);
    memset(response, 0, sizeof *response);
}
