/* rpc/blocking.h: frames over a socket for a process that does nothing else meanwhile: the commands
 * a person types. Non-blocking descriptors; every wait ends at the deadline. */
#ifndef RPC_BLOCKING_H
#define RPC_BLOCKING_H

#include "rpc/frame.h"

/* One exchange. */
struct blocking {
    int fd;
    uint64_t deadline_ns; /* UINT64_MAX: none */
};

/* Wait until the socket is ready for @events of poll(). 0, -ETIMEDOUT or -errno. */
int blocking_await(const struct blocking *b, short events);
/* Send all of @bytes; descriptor @fd (-1: none) rides with the first byte. 0 or -errno. */
int blocking_send(const struct blocking *b, const struct buffer *bytes, int fd);
/* The next frame; the caller owns the reference. 0, -ETIMEDOUT, -ECONNRESET, -EBADMSG, -errno. */
int blocking_receive(const struct blocking *b, struct frame **out);

#endif
