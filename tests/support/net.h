/* tests/support/net.h: transports in one loop, and raw sockets that behave badly towards them.
 *
 * Addresses are 127.x.y.k with x.y from the process id and ports that are free at run time, so
 * tests that run at once do not meet. Time only bounds how long a failing test takes. */
#ifndef TESTS_SUPPORT_NET_H
#define TESTS_SUPPORT_NET_H

#include "rpc/transport.h"
#include "tests/support/wire.h"

enum { NET_NODES_MAX = 4 };

struct net_node {
    struct net *net;
    uint32_t index;
    struct transport *transport; /* NULL: closed */
    uint64_t cluster_id;
    const char *refuses; /* answer of on_hello ... */
    uint32_t admits;     /* ... but for these; mask */
    const char *unknown; /* answer of on_unknown */
    uint32_t connected;  /* mask */
    uint32_t hellos, ups, downs;
    uint64_t received[MEMBERS_MAX];            /* messages, by the sender's seat */
    uint64_t relayed[MEMBERS_MAX];             /* of these, while the sender was not connected */
    char reason[160];                          /* of the last down */
    bool sending;                              /* inside transport_send */
    uint32_t refused_by;                       /* mask: on_refused was called for them ... */
    uint32_t retired_by;                       /* ... with transport_retired */
    struct join_request *joins[STRANGERS_MAX]; /* not answered, in order */
    uint32_t join_count;
    struct peer_join join; /* the last */
    bool closes_on_message;
    bool sets_members_on_hello; /* to those of the net */
    void (*on_message)(struct net_node *n, uint32_t from, const struct peer_message *m);
};

struct net {
    uv_loop_t loop;
    uint32_t count;
    char addresses[NET_NODES_MAX][ADDRESS_MAX + 1];
    /* What a node is told when it is opened: n0, n1, ... with the ids 1, 2, ... in their seats. */
    struct transport_member members[MEMBERS_MAX];
    struct net_node nodes[NET_NODES_MAX];
    uint32_t closing;
};

/* @count members, none open yet. Those above, up to NET_NODES_MAX, have an address and no seat. */
void net_init(struct net *net, uint32_t count);
void net_open(struct net *net, uint32_t index);
/* Close and wait until libuv let go. */
void net_close(struct net *net, uint32_t index);
/* Close all; asserts that no handle is left. */
void net_deinit(struct net *net);
/* Tell @index that the net's members are its members. */
void net_set_members(struct net *net, uint32_t index);
/* Put node @node into @seat of the net's members; MEMBERS_MAX as @node: nobody. */
void net_seat(struct net *net, uint32_t seat, uint32_t node);
void net_send(struct net *net, uint32_t from, uint32_t to_mask, const struct peer_message *m);
void net_turn(struct net *net); /* one turn of the loop; waits a little when there is nothing */
bool net_is_up(const struct net *net, uint32_t a, uint32_t b);
struct transport_peer_view net_view(const struct net *net, uint32_t of, uint32_t peer);

/* ---- raw sockets: non-blocking ---- */

struct raw {
    struct net *net;
    int fd;
    struct frame_reader reader;
    bool ended; /* end of file or reset */
};

void raw_connect(struct raw *r, struct net *net, uint32_t to);
int raw_listen(const char *address);
bool raw_accept(struct raw *r, struct net *net, int listener);
/* Sends all, turning the loop as needed; false when the other side hung up first. */
bool raw_send_bytes(struct raw *r, const void *bytes, size_t size);
bool raw_send(struct raw *r, const struct peer_message *m);
/* The next frame, turning the loop until there is one; NULL at the end of the connection. */
struct frame *raw_receive(struct raw *r);
/* Turn the loop until the other side has ended the connection. */
void raw_wait_end(struct raw *r);
/* True when the other side has ended it; never waits; drops what arrived. */
bool raw_has_ended(struct raw *r);
void raw_close(struct raw *r);
/* The hello that member @index would say. */
struct peer_message raw_hello(const struct net *net, uint32_t index);

#endif
