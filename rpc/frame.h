/* rpc/frame.h: length-prefixed frames (u32 little-endian, then that many bytes) and byte buffers.
 */
#ifndef RPC_FRAME_H
#define RPC_FRAME_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* A growing byte buffer. */
struct buffer {
    uint8_t *bytes;
    size_t size, room;
};

int buffer_reserve(struct buffer *b, size_t more); /* 0 or -ENOMEM */
int buffer_append(struct buffer *b, const void *bytes, size_t size);
void buffer_deinit(struct buffer *b);

/* A received frame, counted, since commands decoded from it point into it. Any thread. */
struct frame {
    _Atomic uint32_t refs;
    uint32_t size;
    uint8_t bytes[];
};

struct frame *frame_new(uint32_t size); /* one reference; NULL without memory */
struct frame *frame_ref(struct frame *f);
void frame_unref(struct frame *f);

/* Cuts a byte stream into frames. Zero-initialised. */
struct frame_reader {
    uint8_t header[4];
    uint32_t header_size;
    struct frame *frame; /* being filled */
    uint32_t filled;
    uint32_t size_max; /* a longer frame is refused; 0: FRAME_SIZE_MAX */
};

/* Where the next bytes of the stream should be received, and how many fit (never 0). NULL: -ENOMEM.
 */
uint8_t *frame_reader_room(struct frame_reader *r, size_t *room);
/* @size bytes were received there. 1: *@out is a whole frame (caller owns the reference);
 * 0: more is needed; -EMSGSIZE: a frame over size_max or of size 0: end the connection. */
int frame_reader_fill(struct frame_reader *r, size_t size, struct frame **out);
void frame_reader_deinit(struct frame_reader *r);

#endif
