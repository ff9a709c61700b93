/* rpc/transport.h: frames between members over TCP and libuv. Loop thread only.
 *
 * Keeps one connection to each member: of the two ends the one whose name comes first dials; with
 * back-off (50 ms doubling to 1 s, jittered). A member that has been missed for LONELY_NS is dialled
 * from both ends: one of them may lag, and not know the other, or its address. Both sides say hello first; the
 * hello is judged by the callback before anything else passes. Frames may be lost (a connection
 * that breaks, a queue that is full), repeated or reordered as far as the user may assume. Send
 * queues are bounded per peer (SEND_QUEUE_BYTES_MAX): a slow peer loses frames and slows nobody. A
 * peer silent for PEER_IDLE_NS is dropped and dialled anew. Connections that have not said hello
 * are bounded in number and time.
 *
 * A connection belongs to a member: a name and a node id. Where callbacks and masks name a seat, it
 * is the member's at that moment. On the wire there are node ids alone.
 *
 * Where only the way to one member is cut, messages of the core to it go through another member
 * that hears it (rpc/relay.h), besides the own connection if there is one. */
#ifndef RPC_TRANSPORT_H
#define RPC_TRANSPORT_H

#include <uv.h>

#include "rpc/codec.h"

#define SEND_QUEUE_BYTES_MAX (48 * MIB)
#define PEER_IDLE_NS         (5 * NS_PER_S)
#define LONELY_NS            (3 * NS_PER_S)
#define STRANGERS_MAX        32 /* connections without a hello; each ends after 2 s ... */
#define JOINS_MAX            (STRANGERS_MAX / 2) /* not answered yet; there is room for hellos */
#define JOIN_NS              (10 * NS_PER_S)     /* ... or, of one that asked to join, after this */

/* One who knocks with PEER_JOIN; to be answered once, from the loop thread, then gone. */
struct join_request;

/* Why a node is refused that has left the cluster for good. on_hello and on_unknown return this
 * very text for one, and on_refused is given it on the other side: compare the pointers. */
extern const char transport_retired[];

struct transport_callbacks {
    void *context;
    /* A peer said hello; @index is the seat of the member whose name it gave. Return NULL to
     * accept, or the reason to refuse (sent and logged). */
    const char *(*on_hello)(void *context, uint32_t index, const struct peer_hello *hello);
    /* A peer of this cluster said hello whose name is no member's here. Returns why it is refused:
     * whether it has retired, or is not known yet. NULL: the usual reason. */
    const char *(*on_unknown)(void *context, const struct peer_hello *hello);
    /* Somebody wants to join; @r is answered with transport_answer_join(), later perhaps. NULL:
     * joins are refused. */
    void (*on_join)(void *context, struct join_request *r, const struct peer_join *join);
    /* Connection to member @index up or down. */
    void (*on_state)(void *context, uint32_t index, bool connected, const char *reason);
    /* A message from member @index, connected or, of the core, relayed; borrowed for the call. */
    void (*on_message)(void *context, uint32_t index, const struct peer_message *m);
    /* Member @index, which dialled or was dialled, does not want this node: @reason, which is
     * transport_retired if this node has left for good. NULL: nobody cares. */
    void (*on_refused)(void *context, uint32_t index, const char *reason);
};

/* Of two members the one whose name comes first dials. */
struct transport_member {
    uint64_t node_id;               /* 0: not known yet (forming) */
    char name[MEMBER_NAME_MAX + 1]; /* "": the seat is free */
    char address[ADDRESS_MAX + 1];  /* "IP:PORT" */
};

struct transport_config {
    uint32_t self; /* own seat: its name, id (known) and address are the own ones */
    struct transport_member members[MEMBERS_MAX]; /* by seat: every index here is one */
    char listen[ADDRESS_MAX + 1]; /* where to listen, and what to dial from; "": the own address */
    uint64_t cluster_id;
    struct transport_callbacks callbacks;
    /* Called for each hello sent, to fill version and pins. */
    void (*fill_hello)(void *context, struct peer_hello *hello);
};

struct transport;

/* Listen and start to dial (outgoing connections are bound to the IP listened on, so that a packet
 * filter between two addresses cuts exactly one pair). 0, -EADDRINUSE,
 * -EADDRNOTAVAIL, -EACCES, -EINVAL (address), -ENOMEM. */
int transport_open(uv_loop_t *loop, const struct transport_config *config, struct transport **out);

/* The members have changed: connections to who is gone, is another now, or has moved to another
 * seat end (on_state is told, from inside, with the seat it had); an address that changed is
 * dialled anew. The own seat may move; while the own name and id are in none, nobody is dialled or
 * let in. Not from on_state. */
void transport_set_members(struct transport *t, const struct transport_member members[MEMBERS_MAX]);
/* Listen on another address; the old one is let go once that works. 0 or -errno as of
 * transport_open(), and nothing has changed. */
int transport_listen(struct transport *t, const char *address);
/* Answer and forget @r; harmless when who asked has hung up. Once transport_close() is called all
 * requests are gone. */
void transport_answer_join(struct transport *t, struct join_request *r,
                           const struct peer_joined *answer);

/* Queue @m for every member in the mask @to (own bit ignored); encoded once. Drops, never fails.
 * Bytes leave when the loop turns, or at once where the socket has room. */
void transport_send(struct transport *t, uint32_t to, const struct peer_message *m);

struct transport_peer_view {
    bool connected;
    uint64_t queued_bytes, sent_frames, received_frames, dropped_frames;
    uint64_t last_received_ns;
    const char *relayed_by; /* the member that passes on what goes to it; NULL: none */
    char last_error[160];   /* why it is not connected, as a person reads it */
};
void transport_view(const struct transport *t, uint32_t index, struct transport_peer_view *view);

/* Close everything; @closed runs once libuv let go of all handles, and frees @t. */
void transport_close(struct transport *t, void (*closed)(void *context), void *context);

/* "1.2.3.4:7600" or "[::1]:7600" to a socket address: 0 or -EINVAL. */
int address_parse(const char *text, struct sockaddr_storage *out);

#endif
