/* rpc/msgpack_check.h: a look at msgpack bytes from outside before msgpack-c allocates for them.
 *
 * msgpack_unpack() makes room for as many elements as an array claims to have, whatever follows. So
 * the bytes are walked first: no recursion, no allocation. Pure; any thread. */
#ifndef RPC_MSGPACK_CHECK_H
#define RPC_MSGPACK_CHECK_H

#include <stddef.h>
#include <stdint.h>

enum { MSGPACK_DEPTH_MAX = 16 }; /* arrays and maps in one another */

/* 0 when @bytes are exactly one msgpack value of at most @elements_max values in all, each within
 * the bytes; else -EBADMSG. Extension types are refused: nothing here uses one. */
int msgpack_check(const void *bytes, size_t size, uint32_t elements_max);

#endif
