/* rpc/connection.h: one TCP connection as the transport sees it: frames in, frames out. Internal to
 * the transport; loop thread only.
 *
 * Knows nothing of members and messages. Errors are kept in `error` until the transport looks, at
 * the next turn of the loop: nothing is called back from inside connection_send(). */
#ifndef RPC_CONNECTION_H
#define RPC_CONNECTION_H

#include <stdbool.h>
#include <uv.h>

#include "base/limits.h"
#include "rpc/frame.h"

enum connection_state {
    CONNECTION_DIALLING, /* TCP handshake under way */
    CONNECTION_GREETING, /* hello not yet received */
    CONNECTION_UP,       /* hello judged and accepted */
    CONNECTION_JOINING,  /* asked to join; the answer is yet to come */
    CONNECTION_REFUSED, /* refusal, or answer to a join, on its way: nothing that comes counts; ends
                           with EOF or in time */
    CONNECTION_CLOSED,  /* libuv has it until the close callback */
};

/* One frame to send, shared by the queues of all members it goes to. */
struct outgoing {
    uint32_t refs;
    struct buffer buffer;               /* with its length prefix */
    struct outgoing *next[MEMBERS_MAX]; /* in the queue of a connection, by its lane */
};

struct outgoing *outgoing_new(void); /* one reference; its buffer has room for the prefix */
/* Write the prefix. False when the frame is longer than a frame may be. */
bool outgoing_seal(struct outgoing *o);
/* The frame without its prefix. */
const uint8_t *outgoing_frame(const struct outgoing *o, uint32_t *size);
void outgoing_unref(struct outgoing *o);

struct connection;

struct connection_owner {
    void *context;
    uint8_t *scratch; /* for the bytes of small frames; shared by all: a read is handled at once */
    size_t scratch_size;
    void (*on_frame)(struct connection *c, struct frame *f);  /* borrowed */
    void (*on_end)(struct connection *c, const char *reason); /* not after connection_close() */
    void (*on_closed)(struct connection *c);                  /* may be freed */
};

struct connection {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    uv_shutdown_t shutdown;
    const struct connection_owner *owner;
    struct connection *prev, *next; /* the owner's list */

    enum connection_state state;
    bool dialled;
    bool established;  /* counted as a member's connection */
    uint32_t index;    /* member: when dialled or UP; else MEMBERS_MAX */
    uint64_t since_ns; /* of this state */
    uint64_t last_received_ns;
    char remote[80]; /* "1.2.3.4:5678" */

    struct frame_reader reader;
    uint64_t received_frames, sent_frames;

    uint32_t lane; /* which link of an outgoing this queue uses */
    struct outgoing *head, *tail;
    size_t head_sent;       /* bytes of head that left */
    uint32_t writing_count; /* frames at the head that libuv has */
    uint64_t queued_bytes, queued_frames, unflushed_bytes;
    bool shutting_down; /* once the queue is empty */
    int error;          /* of a write; the owner ends the connection when it sees it */
};

struct connection *connection_new(uv_loop_t *loop, const struct connection_owner *owner);
/* After accept or connect. 0 or -errno. */
int connection_start(struct connection *c);
/* Add to the queue; takes a reference. False: the queue is full. Large amounts leave at once,
 * others with connection_flush(). */
bool connection_send(struct connection *c, struct outgoing *o);
void connection_flush(struct connection *c);
/* End of file for the other side, after all that is queued. */
void connection_shutdown(struct connection *c);
/* Idempotent. Drops the queue. */
void connection_close(struct connection *c);

#endif
