/* rpc/codec.h: bytes to message and back: msgpack-rpc notifications [2, "method", [params]].
 *
 * Pure; any thread (one decoder per thread). Bytes from outside are never trusted: a wrong type,
 * count, bound or trailing byte gives -EBADMSG, and memory use is bounded by the size of the input
 * before anything is allocated. Commands are views of the frame they came in: decoding copies none.
 */
#ifndef RPC_CODEC_H
#define RPC_CODEC_H

#include <stddef.h>

#include "consensus/membership.h"
#include "consensus/message.h"
#include "base/limits.h"
#include "rpc/frame.h"

#define PROTOCOL_MIN 2
#define PROTOCOL_MAX 2

#define RELAY_SIZE_MAX (FRAME_SIZE_MAX - 64) /* bytes of a frame within a relay's frame */

enum peer_kind {
    PEER_HELLO,        /* first on every connection, both ways */
    PEER_REFUSE,       /* why the connection is about to be closed */
    PEER_PAXOS,        /* a message of the core */
    PEER_STATUS,       /* what a node says of itself twice a second; also the digest of one slot */
    PEER_ALIVE,        /* the transport's own keep-alive: whom the sender hears */
    PEER_RELAY,        /* a message of the core for another member, to be passed on once */
    PEER_JOIN,         /* first and only on a connection of its own: let me in, I was invited */
    PEER_JOINED,       /* its answer */
    PEER_SNAPSHOT_GET, /* the next piece of a snapshot, please */
    PEER_SNAPSHOT_DATA,
};

struct peer_hello {
    uint64_t cluster_id;
    uint64_t node_id;
    char name[MEMBER_NAME_MAX + 1];
    uint32_t protocol_min, protocol_max;
    uint64_t version; /* of the membership the sender knows; 0: the cluster is not formed there */
    /* Until it is formed: how many members the sender expects. Once it is, the ids that the cluster
     * began with, by name in ascending order: who missed the forming learns them from it. */
    uint32_t member_count;
    uint64_t pinned[MEMBERS_MAX];
};

struct peer_refuse {
    char reason[160];
    bool retired; /* the node told so has left the cluster for good */
};

struct peer_status {
    uint64_t applied, checkpointed;
    uint64_t digest_slot; /* the last slot a digest was taken at; 0 none */
    uint64_t digest[2];
    uint64_t verify_nonce; /* of the verify command in that slot; 0: taken unasked */
    bool mounted;
    uint64_t met;      /* hash of all members' ids as this node knows them; 0: it has not met all */
    uint64_t capacity; /* bytes of files that its disk can hold; 0: not known */
    bool disk_short;   /* so short of them that it takes no part */
};

/* Node ids, none 0: what is a seat here may be another one there. */
struct peer_alive {
    uint32_t count;
    uint64_t hears[MEMBERS_MAX];
};

/* Node ids, which differ, none 0; whether they are members' is for the transport. */
struct peer_relay {
    uint64_t origin, target;
    uint32_t size;        /* 1..RELAY_SIZE_MAX */
    const uint8_t *bytes; /* one encoded message; in the frame: keep that for as long */
};

struct peer_join {
    uint32_t protocol_min, protocol_max;
    uint64_t cluster_id, node_id;
    uint8_t secret[SECRET_SIZE];
    char name[MEMBER_NAME_MAX + 1];
    char address[ADDRESS_MAX + 1]; /* where others reach it */
};

/* By seat; node_id 0: free. */
struct peer_joined {
    char refused[256]; /* why not; "": it is a member */
    struct {
        uint64_t node_id;
        char name[MEMBER_NAME_MAX + 1];
        char address[ADDRESS_MAX + 1];
        bool votes;
    } members[MEMBERS_MAX];
};

#define SNAPSHOT_PIECE_MAX (128 * KIB) /* small, so that consensus never queues behind much */

struct peer_snapshot_get {
    uint64_t transfer; /* the receiver's number for it; a new one ends the former at the sender */
    uint64_t offset;   /* the first byte wanted; pieces are asked for in order, a few ahead */
};

struct peer_snapshot_data {
    uint64_t transfer, offset;
    bool is_last;
    uint64_t hash;        /* with the last piece: XXH3-64 of all bytes */
    char refused[160];    /* why there is no snapshot here; "" */
    uint32_t size;        /* 0..SNAPSHOT_PIECE_MAX */
    const uint8_t *bytes; /* in the frame: keep that for as long */
};

struct peer_message {
    enum peer_kind kind;
    union {
        struct peer_hello hello;
        struct peer_refuse refuse;
        struct message paxos;
        struct peer_status status;
        struct peer_alive alive;
        struct peer_relay relay;
        struct peer_join join;
        struct peer_joined joined;
        struct peer_snapshot_get snapshot_get;
        struct peer_snapshot_data snapshot_data;
    };
};

/* Append @m to @out. Returns 0 or -ENOMEM. A p2a's commands are copied into the frame. */
int codec_encode(const struct peer_message *m, struct buffer *out);

/* Room for one decoded message; reused. Large: allocate it once. */
struct decoder;
struct decoder *decoder_new(void);
void decoder_free(struct decoder *d);

/* Decode one frame. @frame gains a reference for every command that points into it. On success
 * @m is set and lives until the next codec_decode() or decoder_clear() with @d, as do its
 * references to commands (take your own to keep one). 0; -EBADMSG; -ENOMEM. */
int codec_decode(struct decoder *d, struct frame *frame, struct peer_message *m);
/* Replace @m, a PEER_RELAY decoded with @d, by the message in it, which points to a frame of its
 * own. 0; -EBADMSG, also when it is no PEER_PAXOS: a relay is not relayed on; -ENOMEM. */
int codec_unwrap(struct decoder *d, struct peer_message *m);
void decoder_clear(struct decoder *d);

#endif
