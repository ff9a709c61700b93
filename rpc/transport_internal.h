/* rpc/transport_internal.h: what the files of the transport share. */
#ifndef RPC_TRANSPORT_INTERNAL_H
#define RPC_TRANSPORT_INTERNAL_H

#include "base/prng.h"
#include "rpc/connection.h"
#include "rpc/transport.h"

#define BACKOFF_NS_MIN (50 * NS_PER_MS)
#define BACKOFF_NS_MAX (1000 * NS_PER_MS)

enum { NOBODY = MEMBERS_MAX }; /* no seat */

/* By seat. */
struct peer {
    uint64_t node_id; /* as the members say, or while they do not as its hello did; 0: not known */
    struct sockaddr_storage address;
    bool has_address;           /* it could be read */
    struct connection *live;    /* UP */
    struct connection *dialing; /* DIALLING or GREETING */
    uint64_t backoff_ns, dial_at_ns;
    uint64_t sent_frames, received_frames; /* of former connections */
    uint64_t dropped_frames;
    uint64_t last_received_ns;
    uint64_t missed_ns; /* when there was a live connection last, or none was missed yet */
    struct peer_alive alive; /* whom it hears, as it said last on this connection */
    int relay;               /* who passes on what goes to it; -1: none */
    bool announced;          /* that it is connected was logged */
    char last_error[sizeof((struct transport_peer_view){0}.last_error)];
};

struct listener {
    uv_tcp_t tcp;
    struct transport *transport;
};

struct transport {
    uv_loop_t *loop;
    struct transport_config config; /* its members and `listen` are the current ones */
    uint64_t node_id;               /* own, as is the name: neither ever changes */
    char name[MEMBER_NAME_MAX + 1];
    uint32_t self; /* own seat; NOBODY: none */
    struct sockaddr_storage listen_address;
    struct decoder *decoder;
    struct connection_owner owner;
    uint8_t *scratch;
    struct peer_message received; /* large, so not on the stack */

    struct listener *listener;
    uv_timer_t timer;
    uv_prepare_t prepare;
    uint32_t handles; /* libuv still has: timer, prepare, listeners and every connection */
    struct connection *connections;
    uint32_t strangers;
    struct join_request *joins; /* not answered yet */
    uint32_t join_count;
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
/* What was sent on @c is the last: wait a little for the other side to read it and hang up. */
void transport_part(struct connection *c);
/* @relay passes on from now on what goes to member @index; -1: nobody. */
void transport_set_relay(struct transport *t, uint32_t index, int relay);

/* ---- seats.c: who is where ---- */

/* Of the members given at the start: 0 or -EINVAL. */
int seats_init(struct transport *t);
/* The member of that name, or node id; NOBODY: none. */
uint32_t seats_by_name(const struct transport *t, const char *name);
uint32_t seats_by_id(const struct transport *t, uint64_t node_id);
/* Whether it is this side that dials the member in seat @index. */
bool seats_dials(const struct transport *t, uint32_t index);
/* The mask of those whose ids are in @alive. */
uint32_t seats_mask(const struct transport *t, const struct peer_alive *alive);

/* ---- greeting.c: hello and refuse ---- */

void greeting_send(struct transport *t, struct connection *c);
/* Judge it: the connection is the member's from now on, or is refused. */
void greeting_on_hello(struct transport *t, struct connection *c, const struct peer_hello *h);
void greeting_on_refuse(struct transport *t, struct connection *c, const struct peer_refuse *r);
/* Log that somebody who is no member yet was not let in; a repetition is not logged. */
void greeting_note_stranger(struct transport *t, const struct connection *c, const char *name,
                            const char *reason);

/* ---- joining.c: who asks to become a member ---- */

void joining_on_join(struct transport *t, struct connection *c, const struct peer_join *join);
/* @c has ended: an answer goes nowhere. */
void joining_forget(struct transport *t, const struct connection *c);
/* Free what was never answered. */
void joining_deinit(struct transport *t);

#endif
