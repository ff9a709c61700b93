#include "rpc/transport.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/prng.h"
#include "rpc/address.h"
#include "rpc/relay.h"
#include "rpc/transport_internal.h"

#define GREETING_NS (2 * NS_PER_S) /* to connect and say hello */
#define REFUSAL_NS  (1 * NS_PER_S) /* to read why, and hang up */
#define STALL_NS    (1 * NS_PER_S) /* a tick this late: the silence may have been our own */

enum {
    TICK_MS = 20,
    GREETING_SIZE_MAX = 4096, /* bytes of a frame before hello was accepted */
    SCRATCH_SIZE = 256 * 1024,
    BACKLOG = 128,
};

const char transport_retired[] = "it has been removed from the cluster for good";

/* ---- who is connected ---- */

const char *transport_name_of(const struct transport *t, uint32_t index)
{
    return t->config.members[index].name;
}

/* One line per change of reason: a peer that is down for a night is not a line a second. */
void transport_set_error(struct transport *t, uint32_t index, const char *reason)
{
    struct peer *p = &t->peers[index];
    bool is_new = p->announced || strcmp(p->last_error, reason) != 0;
    p->announced = false;
    snprintf(p->last_error, sizeof p->last_error, "%s", reason);
    if (is_new)
        log_event(LOG_WARN, "event=peer_down peer=%s reason=\"%s\"", transport_name_of(t, index),
                  reason);
}

static void announce(struct transport *t, struct connection *c)
{
    struct peer *p = &t->peers[c->index];
    if (p->announced)
        return;
    p->announced = true;
    p->last_error[0] = '\0';
    log_event(LOG_INFO, "event=peer_connected peer=%s remote=%s dialled=%d",
              transport_name_of(t, c->index), c->remote, c->dialled);
}

static void schedule_dial(struct transport *t, struct peer *p, uint64_t now)
{
    p->dial_at_ns = now + p->backoff_ns / 2 + prng_below(&t->prng, p->backoff_ns / 2);
    p->backoff_ns *= 2;
    if (p->backoff_ns > BACKOFF_NS_MAX)
        p->backoff_ns = BACKOFF_NS_MAX;
}

static void list_add(struct transport *t, struct connection *c)
{
    c->next = t->connections;
    if (c->next)
        c->next->prev = c;
    t->connections = c;
    t->handles++;
}

static void list_remove(struct transport *t, struct connection *c)
{
    if (c->prev)
        c->prev->next = c->next;
    else
        t->connections = c->next;
    if (c->next)
        c->next->prev = c->prev;
}

/* Forget @c as stranger, dialled or live; true if it was live. */
static bool detach(struct transport *t, struct connection *c)
{
    if (!c->dialled && !c->established && c->state != CONNECTION_CLOSED)
        t->strangers--;
    if (c->index == NOBODY)
        return false;
    struct peer *p = &t->peers[c->index];
    if (p->dialing == c)
        p->dialing = NULL;
    if (p->live != c)
        return false;
    p->live = NULL;
    p->sent_frames += c->sent_frames;
    p->received_frames += c->received_frames;
    p->dropped_frames += c->queued_frames;
    p->last_received_ns = c->last_received_ns;
    p->alive.count = 0;
    return true;
}

/* What follows for the member when @c was its live connection, or the one that is to be. */
static void note_end(struct transport *t, struct connection *c, bool was_live, bool was_refused,
                     const char *reason)
{
    uint64_t now = clock_now_ns();
    struct peer *p = &t->peers[c->index];
    if (was_live && now - c->since_ns >= BACKOFF_NS_MAX)
        p->backoff_ns = BACKOFF_NS_MIN;
    schedule_dial(t, p, now);
    if (!was_refused) /* else the reason is already told */
        transport_set_error(t, c->index, reason);
    if (was_live)
        t->config.callbacks.on_state(t->config.callbacks.context, c->index, false, reason);
}

void transport_end(struct transport *t, struct connection *c, const char *reason)
{
    if (c->state == CONNECTION_CLOSED)
        return;
    bool was_refused = c->state == CONNECTION_REFUSED;
    bool was_dialing = c->index != NOBODY && t->peers[c->index].dialing == c;
    joining_forget(t, c);
    bool was_live = detach(t, c);
    connection_close(c);
    if (was_live || was_dialing)
        note_end(t, c, was_live, was_refused, reason);
}

void transport_part(struct connection *c)
{
    /* Closing at once, with unread bytes, would reset the connection and lose what was said. */
    connection_shutdown(c);
    c->state = CONNECTION_REFUSED;
    c->since_ns = clock_now_ns();
}

/* ---- frames out ---- */

static struct outgoing *encode(const struct peer_message *m)
{
    struct outgoing *o = outgoing_new();
    if (!o)
        return NULL;
    if (codec_encode(m, &o->buffer) == 0 && outgoing_seal(o))
        return o;
    log_event(LOG_ERROR, "event=frame_not_sent kind=%d size=%zu", (int)m->kind, o->buffer.size);
    outgoing_unref(o);
    return NULL;
}

void transport_send_on(struct connection *c, const struct peer_message *m)
{
    struct outgoing *o = encode(m);
    if (!o)
        return;
    connection_send(c, o);
    connection_flush(c);
    outgoing_unref(o);
}

/* ---- frames in ---- */

static void on_bad_frame(struct transport *t, struct connection *c, const char *what)
{
    if (!c->dialled && !c->established)
        greeting_note_stranger(t, c, "", what);
    transport_end(t, c, what);
}

static void on_frame_greeting(struct transport *t, struct connection *c,
                              const struct peer_message *m)
{
    switch (m->kind) {
    case PEER_HELLO:
        greeting_on_hello(t, c, &m->hello);
        break;
    case PEER_REFUSE:
        greeting_on_refuse(t, c, &m->refuse);
        break;
    case PEER_JOIN:
        if (c->dialled)
            on_bad_frame(t, c, "asked who dialled it to let it in");
        else
            joining_on_join(t, c, &m->join);
        break;
    case PEER_PAXOS:
    case PEER_STATUS:
    case PEER_ALIVE:
    case PEER_RELAY:
    case PEER_JOINED:
    case PEER_SNAPSHOT_GET:
    case PEER_SNAPSHOT_DATA:
        on_bad_frame(t, c, "did not say hello first");
        break;
    }
}

/* A message of @c's member for another one: passed on once, to whom it is for. */
static void pass_on(struct transport *t, const struct peer_message *m)
{
    uint32_t seat = seats_by_id(t, m->relay.target);
    if (seat == NOBODY || !t->peers[seat].live)
        return;
    struct peer *target = &t->peers[seat];
    struct outgoing *o = encode(m);
    if (!o)
        return;
    if (!connection_send(target->live, o))
        target->dropped_frames++;
    outgoing_unref(o);
}

static void on_relay(struct transport *t, struct connection *c, struct peer_message *m)
{
    uint64_t origin = m->relay.origin;
    bool is_for_us = m->relay.target == t->node_id;
    if (origin == t->node_id || is_for_us == (origin == t->peers[c->index].node_id)) {
        on_bad_frame(t, c, "relayed what it should not");
        return;
    }
    if (!is_for_us) {
        pass_on(t, m);
        return;
    }
    uint32_t seat = seats_by_id(t, origin);
    if (seat == NOBODY) /* whoever passed it on knows other members than this node does */
        return;
    int rc = codec_unwrap(t->decoder, m);
    if (rc < 0)
        on_bad_frame(t, c,
                     rc == -ENOMEM ? "no memory for a message" : "relayed a malformed message");
    else
        t->config.callbacks.on_message(t->config.callbacks.context, seat, m);
}

static void on_frame_up(struct transport *t, struct connection *c, struct peer_message *m)
{
    switch (m->kind) {
    case PEER_HELLO:
        on_bad_frame(t, c, "said hello twice");
        break;
    case PEER_REFUSE:
        greeting_on_refuse(t, c, &m->refuse);
        break;
    case PEER_PAXOS:
    case PEER_STATUS:
    case PEER_SNAPSHOT_GET:
    case PEER_SNAPSHOT_DATA:
        announce(t, c);
        t->config.callbacks.on_message(t->config.callbacks.context, c->index, m);
        break;
    case PEER_ALIVE:
        announce(t, c);
        t->peers[c->index].alive = m->alive;
        break;
    case PEER_RELAY:
        announce(t, c);
        on_relay(t, c, m);
        break;
    case PEER_JOIN:
    case PEER_JOINED:
        on_bad_frame(t, c, "spoke of joining, which it has");
        break;
    }
}

static void on_frame(struct connection *c, struct frame *f)
{
    struct transport *t = c->owner->context;
    if (c->state != CONNECTION_GREETING && c->state != CONNECTION_UP)
        return;
    int rc = codec_decode(t->decoder, f, &t->received);
    if (rc < 0)
        on_bad_frame(t, c, rc == -ENOMEM ? "no memory for a message" : "sent a malformed message");
    else if (c->state == CONNECTION_UP)
        on_frame_up(t, c, &t->received);
    else
        on_frame_greeting(t, c, &t->received);
    decoder_clear(t->decoder); /* or the frame would stay until the next one */
}

static void on_end(struct connection *c, const char *reason)
{
    struct transport *t = c->owner->context;
    transport_end(t, c, reason);
}

/* ---- dialling and accepting ---- */

static void finish_close(struct transport *t)
{
    if (t->handles > 0)
        return;
    void (*closed)(void *) = t->closed;
    void *context = t->closed_context;
    decoder_free(t->decoder);
    free(t->scratch);
    free(t);
    if (closed)
        closed(context);
}

static void on_connection_closed(struct connection *c)
{
    struct transport *t = c->owner->context;
    list_remove(t, c);
    free(c);
    t->handles--;
    finish_close(t);
}

static void note_remote(struct connection *c)
{
    struct sockaddr_storage a;
    int size = sizeof a;
    if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&a, &size) < 0)
        snprintf(c->remote, sizeof c->remote, "unknown");
    else
        address_print(&a, c->remote, sizeof c->remote);
}

static void on_connect(uv_connect_t *request, int status)
{
    struct connection *c = request->data;
    struct transport *t = c->owner->context;
    if (c->state == CONNECTION_CLOSED)
        return;
    if (status == 0)
        status = connection_start(c);
    if (status < 0) {
        transport_end(t, c, uv_strerror(status));
        return;
    }
    note_remote(c);
    greeting_send(t, c);
}

/* From the own IP, so that a packet filter between two addresses cuts exactly one pair. */
static int bind_own_ip(const struct transport *t, struct connection *c, uint32_t index)
{
    struct sockaddr_storage own = t->listen_address;
    if (own.ss_family != t->peers[index].address.ss_family)
        return 0;
    address_clear_port(&own);
    return uv_tcp_bind(&c->tcp, (struct sockaddr *)&own, 0);
}

static void dial(struct transport *t, uint32_t index)
{
    struct connection *c = connection_new(t->loop, &t->owner);
    if (!c) {
        transport_set_error(t, index, "no memory for a connection");
        schedule_dial(t, &t->peers[index], clock_now_ns());
        return;
    }
    list_add(t, c);
    c->dialled = true;
    c->index = c->lane = index;
    c->reader.size_max = GREETING_SIZE_MAX;
    c->connect.data = c;
    t->peers[index].dialing = c;
    int rc = bind_own_ip(t, c, index);
    if (rc == 0)
        rc = uv_tcp_connect(&c->connect, &c->tcp, (const struct sockaddr *)&t->peers[index].address,
                            on_connect);
    if (rc < 0)
        transport_end(t, c, uv_strerror(rc));
}

static void on_incoming(uv_stream_t *stream, int status)
{
    struct listener *listener = stream->data;
    struct transport *t = listener->transport;
    if (status < 0) {
        log_event(LOG_WARN, "event=accept_failed reason=\"%s\"", uv_strerror(status));
        return;
    }
    struct connection *c = connection_new(t->loop, &t->owner);
    if (!c)
        return;
    list_add(t, c);
    t->strangers++;
    c->state = CONNECTION_GREETING;
    c->index = NOBODY; /* no member's, until it says so */
    c->reader.size_max = GREETING_SIZE_MAX;
    int rc = uv_accept(stream, (uv_stream_t *)&c->tcp);
    note_remote(c);
    if (rc == 0 && t->strangers > STRANGERS_MAX)
        rc = -EMFILE;
    if (rc == 0)
        rc = connection_start(c);
    if (rc == -EMFILE)
        greeting_note_stranger(t, c, "", "too many connections that have not said hello");
    if (rc < 0)
        transport_end(t, c, uv_strerror(rc));
}

/* ---- time ---- */

static void check_connection(struct transport *t, struct connection *c, uint64_t now, bool stalled)
{
    switch (c->state) {
    case CONNECTION_DIALLING:
    case CONNECTION_GREETING:
        if (now - c->since_ns > GREETING_NS)
            transport_end(t, c,
                          c->state == CONNECTION_DIALLING ? "no answer" : "said no hello in time");
        break;
    case CONNECTION_UP:
        if (now - c->last_received_ns > PEER_IDLE_NS && !stalled)
            transport_end(t, c, "silent for too long");
        else if (now - c->since_ns > BACKOFF_NS_MAX)
            announce(t, c);
        break;
    case CONNECTION_JOINING:
        if (now - c->since_ns > JOIN_NS)
            transport_end(t, c, "its wish to join was not answered");
        break;
    case CONNECTION_REFUSED:
        if (now - c->since_ns > REFUSAL_NS)
            transport_end(t, c, "refused");
        break;
    case CONNECTION_CLOSED:
        break;
    }
}

void transport_set_relay(struct transport *t, uint32_t index, int relay)
{
    struct peer *p = &t->peers[index];
    if (relay == p->relay)
        return;
    p->relay = relay;
    if (relay >= 0)
        log_event(LOG_WARN, "event=relay_started peer=%s by=%s", transport_name_of(t, index),
                  transport_name_of(t, (uint32_t)relay));
    else
        log_event(LOG_INFO, "event=relay_ended peer=%s", transport_name_of(t, index));
}

static void say_alive(struct transport *t, uint32_t hears)
{
    struct peer_message m = {.kind = PEER_ALIVE};
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        if (hears & UINT32_C(1) << i)
            m.alive.hears[m.alive.count++] = t->peers[i].node_id;
    transport_send(t, UINT32_MAX, &m);
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        if (t->peers[i].live)
            connection_flush(t->peers[i].live);
}

static void tend_relays(struct transport *t, uint64_t now)
{
    struct relay_link links[MEMBERS_MAX];
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        const struct peer *p = &t->peers[i];
        links[i] = (struct relay_link){
            .is_up = p->live != NULL,
            .heard_ns = p->live ? p->live->last_received_ns : p->last_received_ns,
            .hears = seats_mask(t, &p->alive),
        };
    }
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        transport_set_relay(t, i,
                            relay_choose(links, MEMBERS_MAX, t->self, i, t->peers[i].relay, now));
    if (now < t->alive_at_ns)
        return;
    t->alive_at_ns = now + ALIVE_NS;
    say_alive(t, relay_hears(links, MEMBERS_MAX, now));
}

static void dial_all(struct transport *t, uint64_t now)
{
    for (uint32_t i = 0; i < MEMBERS_MAX && !t->closing; i++) {
        struct peer *p = &t->peers[i];
        if (p->live || p->missed_ns == 0)
            p->missed_ns = now;
        bool is_missed = now - p->missed_ns > LONELY_NS && t->self != NOBODY;
        if (i == t->self || !p->has_address || !(seats_dials(t, i) || is_missed))
            continue;
        if (!p->live && !p->dialing && now >= p->dial_at_ns)
            dial(t, i);
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct transport *t = timer->data;
    uint64_t now = clock_now_ns();
    uint64_t pause = t->ticked_ns ? now - t->ticked_ns : 0;
    bool stalled = pause > STALL_NS;
    t->ticked_ns = now;
    for (struct connection *c = t->connections; c && !t->closing; c = c->next)
        check_connection(t, c, now, stalled);
    dial_all(t, now);
    if (!t->closing && pause < ALIVE_NS) /* else what came in the pause is yet to be read */
        tend_relays(t, now);
}

/* Before the loop waits: what the turn queued leaves in as few system calls as it can. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct transport *t = prepare->data;
    for (struct connection *c = t->connections; c && !t->closing; c = c->next) {
        if (c->state == CONNECTION_CLOSED)
            continue;
        if (c->unflushed_bytes)
            connection_flush(c);
        if (c->error)
            transport_end(t, c, uv_strerror(c->error));
    }
}

/* ---- the public part ---- */

static void send_relayed(struct transport *t, uint32_t target, const struct outgoing *o)
{
    struct peer *relay = &t->peers[t->peers[target].relay];
    struct peer_message m = {.kind = PEER_RELAY,
                             .relay = {.origin = t->node_id, .target = t->peers[target].node_id}};
    m.relay.bytes = outgoing_frame(o, &m.relay.size);
    struct outgoing *wrapped = relay->live ? encode(&m) : NULL;
    if (!wrapped)
        return;
    if (!connection_send(relay->live, wrapped))
        relay->dropped_frames++;
    outgoing_unref(wrapped);
}

void transport_send(struct transport *t, uint32_t to, const struct peer_message *m)
{
    struct outgoing *o = NULL;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        struct peer *p = &t->peers[i];
        bool is_relayed = p->relay >= 0 && m->kind == PEER_PAXOS;
        if (!(to & UINT32_C(1) << i) || (!p->live && !is_relayed))
            continue;
        if (!o)
            o = encode(m);
        if (!o)
            return;
        if (p->live && !connection_send(p->live, o))
            p->dropped_frames++;
        if (is_relayed)
            send_relayed(t, i, o);
    }
    if (o)
        outgoing_unref(o);
}

void transport_view(const struct transport *t, uint32_t index, struct transport_peer_view *view)
{
    ASSERT(index < MEMBERS_MAX);
    const struct peer *p = &t->peers[index];
    const struct connection *c = p->live;
    *view = (struct transport_peer_view){
        .connected = c != NULL,
        .queued_bytes = c ? c->queued_bytes : 0,
        .sent_frames = p->sent_frames + (c ? c->sent_frames : 0),
        .received_frames = p->received_frames + (c ? c->received_frames : 0),
        .dropped_frames = p->dropped_frames,
        .last_received_ns = c ? c->last_received_ns : p->last_received_ns,
        .relayed_by = p->relay >= 0 ? transport_name_of(t, (uint32_t)p->relay) : NULL,
    };
    if (!c)
        memcpy(view->last_error, p->last_error, sizeof view->last_error);
}

static int allocate(struct transport *t)
{
    t->decoder = decoder_new();
    t->scratch = malloc(SCRATCH_SIZE);
    t->owner = (struct connection_owner){
        .context = t,
        .scratch = t->scratch,
        .scratch_size = SCRATCH_SIZE,
        .on_frame = on_frame,
        .on_end = on_end,
        .on_closed = on_connection_closed,
    };
    return t->decoder && t->scratch ? 0 : -ENOMEM;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    struct transport *t = l->transport;
    free(l);
    t->handles--;
    finish_close(t);
}

static void close_listener(struct transport *t)
{
    uv_close((uv_handle_t *)&t->listener->tcp, on_listener_closed);
    t->listener = NULL;
}

/* At @text; the former listener is let go. 0, or -errno with nothing changed. None of the calls to
 * libuv can fail on Linux but for what address_listen() already did. */
static int listen_at(struct transport *t, const char *text)
{
    struct sockaddr_storage address;
    int rc = address_parse(text, &address);
    if (rc < 0)
        return rc;
    struct listener *l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    int fd = address_listen(&address, BACKLOG);
    if (fd < 0) {
        free(l);
        return fd;
    }
    l->transport = t;
    rc = uv_tcp_init(t->loop, &l->tcp);
    ASSERT(rc == 0);
    l->tcp.data = l;
    rc = uv_tcp_open(&l->tcp, fd);
    ASSERT(rc == 0);
    rc = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_incoming);
    ASSERT(rc == 0);
    t->handles++;
    if (t->listener)
        close_listener(t);
    t->listener = l;
    t->listen_address = address;
    if (text != t->config.listen)
        snprintf(t->config.listen, sizeof t->config.listen, "%s", text);
    return 0;
}

int transport_listen(struct transport *t, const char *address)
{
    ASSERT(!t->closing);
    return strcmp(address, t->config.listen) == 0 ? 0 : listen_at(t, address);
}

static void start(struct transport *t)
{
    int rc = uv_timer_init(t->loop, &t->timer);
    ASSERT(rc == 0);
    rc = uv_prepare_init(t->loop, &t->prepare);
    ASSERT(rc == 0);
    t->timer.data = t->prepare.data = t;
    t->handles += 2;
    rc = uv_timer_start(&t->timer, on_tick, 0, TICK_MS);
    ASSERT(rc == 0);
    rc = uv_prepare_start(&t->prepare, on_prepare);
    ASSERT(rc == 0);
}

int transport_open(uv_loop_t *loop, const struct transport_config *config, struct transport **out)
{
    struct transport *t = calloc(1, sizeof *t);
    if (!t)
        return -ENOMEM;
    t->loop = loop;
    t->config = *config;
    t->prng.state = clock_now_ns() ^ (uint64_t)config->self << 56;
    int rc = seats_init(t);
    if (rc == 0 && !t->config.listen[0])
        memcpy(t->config.listen, t->config.members[t->self].address, sizeof t->config.listen);
    if (rc == 0)
        rc = allocate(t);
    if (rc == 0)
        rc = listen_at(t, t->config.listen);
    if (rc < 0) {
        decoder_free(t->decoder);
        free(t->scratch);
        free(t);
        return rc;
    }
    start(t);
    *out = t;
    return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct transport *t = handle->data;
    t->handles--;
    finish_close(t);
}

void transport_close(struct transport *t, void (*closed)(void *context), void *context)
{
    ASSERT(!t->closing);
    t->closing = true;
    t->closed = closed;
    t->closed_context = context;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        t->peers[i].live = t->peers[i].dialing = NULL;
    joining_deinit(t);
    for (struct connection *c = t->connections; c; c = c->next) {
        connection_flush(c);
        connection_close(c);
    }
    close_listener(t);
    uv_close((uv_handle_t *)&t->timer, on_handle_closed);
    uv_close((uv_handle_t *)&t->prepare, on_handle_closed);
}
