/* node/snapshot_send.h: gives this host's state to members that ask for it piece by piece.
 *
 * Each transfer has two threads: one exports the store into a pipe, the other cuts what comes out
 * into pieces, hashes them, and waits while a few are ready; the loop sends them as they are asked
 * for. The last ones sent are kept, for who asks again. An export pins pages of the store: so there
 * are few at a time, and none lasts long.
 *
 * Loop thread; nothing here blocks, but snapshot_send_free(). */
#ifndef NODE_SNAPSHOT_SEND_H
#define NODE_SNAPSHOT_SEND_H

#include "rpc/codec.h"

#define SNAPSHOT_SENDS_MAX    2 /* at a time */
#define SNAPSHOT_SEND_IDLE_NS (30 * NS_PER_S)
#define SNAPSHOT_SEND_BYTES   (11 * MIB) /* of pieces in memory, all transfers together */
#define SNAPSHOT_SEND_NS_MAX  (30 * 60 * NS_PER_S)

struct snapshot_send;

struct snapshot_send_edges {
    void *context;
    /* Write the whole state to @fd: store_export(). From a thread of the transfer. */
    int (*export)(void *context, int fd);
    /* To the member with this node id; may be lost. */
    void (*send)(void *context, uint64_t node, const struct peer_message *m);
    /* snapshot_send_drain() is worth a call. From any thread. */
    void (*wake)(void *context);
};

/* NULL: no memory. */
struct snapshot_send *snapshot_send_new(const struct snapshot_send_edges *edges);

/* @node asks for a piece. A transfer it has not named before begins, at offset 0 only, and ends its
 * former one. What cannot be served is refused, with the reason. */
void snapshot_send_on_get(struct snapshot_send *s, uint64_t node,
                          const struct peer_snapshot_get *get, uint64_t now_ns);
/* The connection to @node is gone. */
void snapshot_send_on_gone(struct snapshot_send *s, uint64_t node);
/* Send what is asked for and has become ready. */
void snapshot_send_drain(struct snapshot_send *s);
/* Now and then: end what takes too long, let go of threads that are done. */
void snapshot_send_tick(struct snapshot_send *s, uint64_t now_ns);

/* Refuse whoever asks: there is no state here yet. */
void snapshot_send_forbid(struct snapshot_send *s, bool is_forbidden);

struct snapshot_send_view {
    uint32_t count;
    struct {
        uint64_t node, bytes, since_ns;
    } transfers[SNAPSHOT_SENDS_MAX];
};
void snapshot_send_view(const struct snapshot_send *s, struct snapshot_send_view *view);

/* End all; waits for the threads, which end with their next piece. */
void snapshot_send_free(struct snapshot_send *s);

#endif
