#include "tests/support/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"

enum { CLUSTER = 4711 };

/* ---- transports ---- */

static void choose_address(char *out, size_t room, uint32_t k)
{
    uint32_t pid = (uint32_t)getpid();
    struct sockaddr_in in = {.sin_family = AF_INET};
    in.sin_addr.s_addr = htonl(UINT32_C(127) << 24 | (pid % 60000 + 256) << 8 | (k + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    socklen_t size = sizeof in;
    int rc = bind(fd, (struct sockaddr *)&in, sizeof in);
    ASSERT(rc == 0);
    rc = getsockname(fd, (struct sockaddr *)&in, &size);
    ASSERT(rc == 0);
    char ip[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &in.sin_addr, ip, sizeof ip);
    snprintf(out, room, "%s:%u", ip, ntohs(in.sin_port));
    close(fd);
}

void net_init(struct net *net, uint32_t count)
{
    *net = (struct net){.count = count};
    uv_loop_init(&net->loop);
    for (uint32_t i = 0; i < NET_NODES_MAX; i++) {
        choose_address(net->addresses[i], sizeof net->addresses[i], i);
        net->nodes[i] = (struct net_node){.net = net, .index = i, .cluster_id = CLUSTER};
    }
    for (uint32_t i = 0; i < count; i++)
        net_seat(net, i, i);
}

void net_seat(struct net *net, uint32_t seat, uint32_t node)
{
    struct transport_member *m = &net->members[seat];
    *m = (struct transport_member){0};
    if (node == MEMBERS_MAX)
        return;
    m->node_id = node + 1;
    snprintf(m->name, sizeof m->name, "n%u", node);
    memcpy(m->address, net->addresses[node], sizeof m->address);
}

void net_set_members(struct net *net, uint32_t index)
{
    transport_set_members(net->nodes[index].transport, net->members);
}

static const char *on_hello(void *context, uint32_t index, const struct peer_hello *h)
{
    struct net_node *n = context;
    ASSERT(!n->sending);
    ASSERT(h->node_id);
    n->hellos++;
    if (n->sets_members_on_hello)
        net_set_members(n->net, n->index);
    return n->admits & UINT32_C(1) << index ? NULL : n->refuses;
}

static const char *on_unknown(void *context, const struct peer_hello *h)
{
    struct net_node *n = context;
    ASSERT(h->node_id);
    return n->unknown;
}

static void on_join(void *context, struct join_request *r, const struct peer_join *join)
{
    struct net_node *n = context;
    ASSERT(n->join_count < ARRAY_COUNT(n->joins));
    n->joins[n->join_count++] = r;
    n->join = *join;
}

static void on_refused(void *context, uint32_t index, const char *reason)
{
    struct net_node *n = context;
    ASSERT(n->transport && index < MEMBERS_MAX);
    n->refused_by |= UINT32_C(1) << index;
    if (reason == transport_retired)
        n->retired_by |= UINT32_C(1) << index;
}

static void on_state(void *context, uint32_t index, bool connected, const char *reason)
{
    struct net_node *n = context;
    ASSERT(!n->sending);
    uint32_t bit = UINT32_C(1) << index;
    ASSERT(connected != ((n->connected & bit) != 0)); /* told once each way */
    n->connected ^= bit;
    n->ups += connected;
    n->downs += !connected;
    if (!connected)
        snprintf(n->reason, sizeof n->reason, "%s", reason);
}

static void on_closed(void *context)
{
    struct net_node *n = context;
    n->net->closing--;
    n->connected = 0;
}

static void begin_close(struct net_node *n)
{
    n->net->closing++;
    struct transport *t = n->transport;
    n->transport = NULL;
    transport_close(t, on_closed, n);
}

static void on_message(void *context, uint32_t index, const struct peer_message *m)
{
    struct net_node *n = context;
    ASSERT(!n->sending && n->transport);
    n->received[index]++;
    n->relayed[index] += !(n->connected & UINT32_C(1) << index);
    if (n->on_message)
        n->on_message(n, index, m);
    if (n->closes_on_message)
        begin_close(n);
}

static void fill_hello(void *context, struct peer_hello *h)
{
    const struct net_node *n = context;
    h->member_count = n->net->count;
}

void net_open(struct net *net, uint32_t index)
{
    struct net_node *n = &net->nodes[index];
    struct transport_config c = {.cluster_id = n->cluster_id};
    memcpy(c.members, net->members, sizeof c.members);
    while (c.members[c.self].node_id != index + 1)
        c.self++;
    c.callbacks = (struct transport_callbacks){n,        on_hello,   on_unknown, on_join,
                                               on_state, on_message, on_refused};
    c.fill_hello = fill_hello;
    int rc = transport_open(&net->loop, &c, &n->transport);
    ASSERT(rc == 0);
}

void net_turn(struct net *net)
{
    uv_run(&net->loop, UV_RUN_ONCE); /* the transports' ticks end the wait */
}

void net_close(struct net *net, uint32_t index)
{
    if (net->nodes[index].transport)
        begin_close(&net->nodes[index]);
    while (net->closing)
        net_turn(net);
}

void net_deinit(struct net *net)
{
    for (uint32_t i = 0; i < NET_NODES_MAX; i++)
        net_close(net, i);
    uv_run(&net->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&net->loop);
    ASSERT(rc == 0);
}

void net_send(struct net *net, uint32_t from, uint32_t to_mask, const struct peer_message *m)
{
    struct net_node *n = &net->nodes[from];
    n->sending = true;
    transport_send(n->transport, to_mask, m);
    n->sending = false;
}

bool net_is_up(const struct net *net, uint32_t a, uint32_t b)
{
    return (net->nodes[a].connected & UINT32_C(1) << b) &&
           (net->nodes[b].connected & UINT32_C(1) << a);
}

struct transport_peer_view net_view(const struct net *net, uint32_t of, uint32_t peer)
{
    struct transport_peer_view view;
    transport_view(net->nodes[of].transport, peer, &view);
    return view;
}

/* ---- raw sockets ---- */

void raw_connect(struct raw *r, struct net *net, uint32_t to)
{
    *r = (struct raw){.net = net};
    struct sockaddr_storage a;
    int rc = address_parse(net->addresses[to], &a);
    ASSERT(rc == 0);
    r->fd = socket(AF_INET, SOCK_STREAM, 0);
    rc = connect(r->fd, (struct sockaddr *)&a, sizeof(struct sockaddr_in));
    ASSERT(rc == 0); /* the backlog takes it at once */
}

int raw_listen(const char *address)
{
    struct sockaddr_storage a;
    int rc = address_parse(address, &a);
    ASSERT(rc == 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    rc = bind(fd, (struct sockaddr *)&a, sizeof(struct sockaddr_in));
    ASSERT(rc == 0);
    rc = listen(fd, 8);
    ASSERT(rc == 0);
    return fd;
}

bool raw_accept(struct raw *r, struct net *net, int listener)
{
    *r = (struct raw){.net = net};
    r->fd = accept(listener, NULL, NULL);
    return r->fd >= 0;
}

bool raw_send_bytes(struct raw *r, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    while (size > 0) {
        ssize_t n = send(r->fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n > 0) {
            at += n;
            size -= (size_t)n;
        } else {
            net_turn(r->net);
        }
    }
    return true;
}

bool raw_send(struct raw *r, const struct peer_message *m)
{
    struct frame *f = wire_frame(m);
    uint8_t head[4] = {(uint8_t)f->size, (uint8_t)(f->size >> 8), (uint8_t)(f->size >> 16),
                       (uint8_t)(f->size >> 24)};
    bool sent = raw_send_bytes(r, head, sizeof head) && raw_send_bytes(r, f->bytes, f->size);
    frame_unref(f);
    return sent;
}

struct frame *raw_receive(struct raw *r)
{
    while (!r->ended) {
        size_t room;
        uint8_t *to = frame_reader_room(&r->reader, &room);
        ASSERT(to);
        ssize_t n = recv(r->fd, to, room, MSG_DONTWAIT);
        struct frame *f = NULL;
        if (n < 0 && errno == EAGAIN)
            net_turn(r->net);
        else if (n <= 0)
            r->ended = true;
        else if (frame_reader_fill(&r->reader, (size_t)n, &f) == 1)
            return f;
    }
    return NULL;
}

bool raw_has_ended(struct raw *r)
{
    uint8_t dropped[4096];
    ssize_t n = 1;
    while (n > 0)
        n = recv(r->fd, dropped, sizeof dropped, MSG_DONTWAIT);
    r->ended = r->ended || n == 0 || errno != EAGAIN;
    return r->ended;
}

void raw_wait_end(struct raw *r)
{
    while (!raw_has_ended(r))
        net_turn(r->net);
}

void raw_close(struct raw *r)
{
    close(r->fd);
    frame_reader_deinit(&r->reader);
}

struct peer_message raw_hello(const struct net *net, uint32_t index)
{
    struct peer_message m = {.kind = PEER_HELLO};
    m.hello = (struct peer_hello){
        .cluster_id = CLUSTER,
        .node_id = index + 1,
        .protocol_min = PROTOCOL_MIN,
        .protocol_max = PROTOCOL_MAX,
        .member_count = net->count,
    };
    snprintf(m.hello.name, sizeof m.hello.name, "n%u", index);
    return m;
}
