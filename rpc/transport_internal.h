/* rpc/transport_internal.h: what the files of the transport share. */
#ifndef RPC_TRANSPORT_INTERNAL_H
#define RPC_TRANSPORT_INTERNAL_H

#include "base/prng.h"
#include "rpc/connection.h"
#include "rpc/transport.h"

struct peer {
    struct connection *live;    /* UP */
    struct connection *dialing; /* DIALLING or GREETING */
    uint64_t backoff_ns, dial_at_ns;
    uint64_t sent_frames, received_frames; /* of former connections */
    uint64_t dropped_frames;
    uint64_t last_received_ns;
    uint32_t hears; /* mask, as it said last on this connection */
    int relay;      /* who passes on what goes to it; -1: none */
    bool announced; /* that it is connected was logged */
    char last_error[sizeof((struct transport_peer_view){0}.last_error)];
};

struct transport {
    uv_loop_t *loop;
    struct transport_config config;
    struct sockaddr_storage addresses[MEMBERS_MAX];
    struct decoder *decoder;
    struct connection_owner owner;
    uint8_t *scratch;
    struct peer_message received; /* large, so not on the stack */

    uv_tcp_t listener;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uint32_t handles; /* libuv still has: these three and every connection */
    struct connection *connections;
    uint32_t strangers;
    struct peer peers[MEMBERS_MAX];
    char stranger_error[256];
    struct prng prng;
    uint64_t ticked_ns, alive_at_ns;

    bool closing;
    void (*closed)(void *context);
    void *closed_context;
};

const char *transport_name_of(const struct transport *t, uint32_t index);
/* Why member @index is not connected; logged once per reason. */
void transport_set_error(struct transport *t, uint32_t index, const char *reason);
/* End connection @c; idempotent. */
void transport_end(struct transport *t, struct connection *c, const char *reason);
void transport_send_on(struct connection *c, const struct peer_message *m);

/* ---- greeting.c: hello and refuse ---- */

void greeting_send(struct transport *t, struct connection *c);
/* Judge it: the connection is the member's from now on, or is refused. */
void greeting_on_hello(struct transport *t, struct connection *c, const struct peer_hello *h);
void greeting_on_refuse(struct transport *t, struct connection *c, const struct peer_refuse *r);
/* Log that somebody who is no member yet was not let in; a repetition is not logged. */
void greeting_note_stranger(struct transport *t, const struct connection *c, const char *name,
                            const char *reason);

#endif
