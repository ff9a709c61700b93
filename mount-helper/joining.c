#include "mount-helper/joining.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "mount-helper/complain.h"
#include "node/config.h"
#include "rpc/blocking.h"
#include "rpc/codec.h"
#include "rpc/transport.h"

#define KNOCK_NS (12 * NS_PER_S) /* a member answers within 8 s, with or without a majority */

enum { REASON_SIZE = 320 };

static int dial(const struct blocking *b, const struct sockaddr_storage *to)
{
    socklen_t size =
        to->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (connect(b->fd, (const struct sockaddr *)to, size) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return -errno;
    int rc = blocking_await(b, POLLOUT);
    int error = 0;
    socklen_t error_size = sizeof error;
    if (rc == 0 && getsockopt(b->fd, SOL_SOCKET, SO_ERROR, &error, &error_size) < 0)
        rc = -errno;
    return rc ? rc : -error;
}

/* @out: the frame with its length before it. */
static int encode(const struct peer_message *m, struct buffer *out)
{
    static const uint8_t no_length[4];
    int rc = buffer_append(out, no_length, sizeof no_length);
    if (rc == 0)
        rc = codec_encode(m, out);
    if (rc < 0)
        return rc;
    struct writer w = writer_of(out->bytes, sizeof no_length);
    write_u32(&w, (uint32_t)(out->size - sizeof no_length));
    return 0;
}

static int decode_take(struct frame *frame, struct peer_message *answer)
{
    struct decoder *d = decoder_new();
    int rc = d ? codec_decode(d, frame, answer) : -ENOMEM; /* what is used of it are copies */
    if (rc == 0 && answer->kind != PEER_JOINED && answer->kind != PEER_REFUSE)
        rc = -EBADMSG;
    if (d)
        decoder_free(d);
    frame_unref(frame);
    return rc;
}

/* One member is asked. 0: it answered. */
static int knock(const char *address, const struct buffer *request, struct peer_message *answer)
{
    struct sockaddr_storage to;
    struct frame *frame = NULL;
    int rc = address_parse(address, &to);
    if (rc < 0)
        return rc;
    struct blocking b = {
        .fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
        .deadline_ns = clock_now_ns() + KNOCK_NS,
    };
    if (b.fd < 0)
        return -errno;
    rc = dial(&b, &to);
    if (rc == 0)
        rc = blocking_send(&b, request, -1);
    if (rc == 0)
        rc = blocking_receive(&b, &frame);
    close(b.fd);
    return rc == 0 ? decode_take(frame, answer) : rc;
}

/* Until one lets us in. What the last one said, or why it did not answer, is in @reason. */
static int knock_everywhere(const struct token *token, const struct buffer *request,
                            struct peer_message *answer, char reason[REASON_SIZE])
{
    int rc = -EHOSTUNREACH;
    for (uint32_t i = 0; i < token->address_count; i++) {
        const char *address = token->addresses[i];
        rc = knock(address, request, answer);
        if (rc < 0) {
            snprintf(reason, REASON_SIZE, "%s: %s", address, strerror(-rc));
            continue;
        }
        const char *refused =
            answer->kind == PEER_REFUSE ? answer->refuse.reason : answer->joined.refused;
        if (!refused[0])
            return 0;
        snprintf(reason, REASON_SIZE, "%s says: %s", address, refused);
        rc = -EPERM;
    }
    return rc;
}

static void note_members(struct config *c, const struct peer_joined *joined)
{
    c->member_count = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (joined->members[i].node_id == 0)
            continue;
        struct config_member *m = &c->members[c->member_count++];
        *m = (struct config_member){.node_id = joined->members[i].node_id};
        memcpy(m->name, joined->members[i].name, sizeof m->name);
        memcpy(m->address, joined->members[i].address, sizeof m->address);
    }
}

static int ask_in(const struct token *token, const struct config *c, struct peer_joined *joined)
{
    struct peer_message m = {.kind = PEER_JOIN}, answer;
    struct buffer request = {0};
    char reason[REASON_SIZE] = "";
    m.join.protocol_min = PROTOCOL_MIN;
    m.join.protocol_max = PROTOCOL_MAX;
    m.join.cluster_id = token->cluster_id;
    m.join.node_id = c->node_id;
    memcpy(m.join.secret, token->secret, SECRET_SIZE);
    memcpy(m.join.name, token->name, sizeof m.join.name);
    memcpy(m.join.address, c->listen, sizeof m.join.address);
    int rc = encode(&m, &request);
    if (rc == 0)
        rc = knock_everywhere(token, &request, &answer, reason);
    buffer_deinit(&request);
    if (rc == 0)
        *joined = answer.joined;
    else
        complain("join: nobody lets this host in: %s; try again, or ask for a new token: paxfs "
                 "member add %s",
                 reason[0] ? reason : strerror(-rc), token->name);
    return rc;
}

int joining_join(const char *state_dir, const char *listen, const struct token *token)
{
    struct config c = {.cluster_id = token->cluster_id};
    struct peer_joined joined;
    char error[512];
    int rc = config_begin_join(state_dir, token->name, listen, token->cluster_id, &c, error,
                               sizeof error);
    if (rc < 0) {
        complain("join: %s", error);
        return rc;
    }
    rc = ask_in(token, &c, &joined);
    if (rc < 0)
        return rc;
    note_members(&c, &joined);
    rc = config_finish_join(state_dir, &c);
    if (rc < 0)
        complain("join: cannot write %s: %s; make room, then run it again", state_dir,
                 strerror(-rc));
    return rc;
}
