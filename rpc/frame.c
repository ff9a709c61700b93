#include "rpc/frame.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "base/limits.h"

enum { BUFFER_ROOM_MIN = 256 };

int buffer_reserve(struct buffer *b, size_t more)
{
    if (more <= b->room - b->size)
        return 0;
    if (more > SIZE_MAX - b->size)
        return -ENOMEM;
    size_t room = b->size + more; /* a large reserve is exact; many small ones double */
    if (room < b->room * 2)
        room = b->room * 2;
    if (room < BUFFER_ROOM_MIN)
        room = BUFFER_ROOM_MIN;
    uint8_t *bytes = realloc(b->bytes, room);
    if (!bytes)
        return -ENOMEM;
    b->bytes = bytes;
    b->room = room;
    return 0;
}

int buffer_append(struct buffer *b, const void *bytes, size_t size)
{
    int rc = buffer_reserve(b, size);
    if (rc < 0)
        return rc;
    if (size)
        memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
    return 0;
}

void buffer_deinit(struct buffer *b)
{
    free(b->bytes);
    *b = (struct buffer){0};
}

struct frame *frame_new(uint32_t size)
{
    struct frame *f = malloc(sizeof *f + size);
    if (!f)
        return NULL;
    atomic_init(&f->refs, 1);
    f->size = size;
    return f;
}

struct frame *frame_ref(struct frame *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void frame_unref(struct frame *f)
{
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
        free(f);
}

static uint32_t claimed_size(const struct frame_reader *r)
{
    struct cursor c = cursor_of(r->header, sizeof r->header);
    return cursor_u32(&c);
}

uint8_t *frame_reader_room(struct frame_reader *r, size_t *room)
{
    if (r->header_size < sizeof r->header) {
        *room = sizeof r->header - r->header_size;
        return r->header + r->header_size;
    }
    if (!r->frame)
        r->frame = frame_new(claimed_size(r));
    if (!r->frame)
        return NULL;
    *room = r->frame->size - r->filled;
    return r->frame->bytes + r->filled;
}

static int fill_header(struct frame_reader *r, size_t size)
{
    ASSERT(size <= sizeof r->header - r->header_size);
    r->header_size += (uint32_t)size;
    if (r->header_size < sizeof r->header)
        return 0;
    uint32_t size_max = r->size_max ? r->size_max : (uint32_t)FRAME_SIZE_MAX;
    uint32_t claimed = claimed_size(r);
    return claimed == 0 || claimed > size_max ? -EMSGSIZE : 0;
}

int frame_reader_fill(struct frame_reader *r, size_t size, struct frame **out)
{
    if (r->header_size < sizeof r->header)
        return fill_header(r, size);
    ASSERT(r->frame && size <= r->frame->size - r->filled);
    r->filled += (uint32_t)size;
    if (r->filled < r->frame->size)
        return 0;
    *out = r->frame;
    *r = (struct frame_reader){.size_max = r->size_max};
    return 1;
}

void frame_reader_deinit(struct frame_reader *r)
{
    if (r->frame)
        frame_unref(r->frame);
    *r = (struct frame_reader){0};
}
