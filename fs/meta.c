#include "fs/meta.h"

#include <errno.h>

#include "base/assert.h"
#include "base/cursor.h"

enum { META_VERSION = 2 };

void meta_encode(const struct meta *m, uint8_t bytes[META_SIZE])
{
    struct writer w = writer_of(bytes, META_SIZE);
    write_u8(&w, META_VERSION);
    write_u64(&w, m->applied);
    write_u64(&w, m->time_ns);
    write_u64(&w, m->next_ino);
    write_u64(&w, m->next_cookie);
    write_u64(&w, m->inodes);
    write_u64(&w, m->bytes);
    write_u64(&w, m->orphans);
    write_u64(&w, m->garbage);
    write_u64(&w, m->space);
    write_u64(&w, m->capacity);
    ASSERT(w.size == META_NUMBERS_SIZE);
    write_u64(&w, m->sum[0]);
    write_u64(&w, m->sum[1]);
    ASSERT(!w.failed);
}

int meta_decode(const void *bytes, size_t size, struct meta *m)
{
    struct cursor c = cursor_of(bytes, size);
    uint8_t version = cursor_u8(&c);
    if (version != META_VERSION)
        return version && version < META_VERSION ? -EPROTO : -EBADMSG;
    m->applied = cursor_u64(&c);
    m->time_ns = cursor_u64(&c);
    m->next_ino = cursor_u64(&c);
    m->next_cookie = cursor_u64(&c);
    m->inodes = cursor_u64(&c);
    m->bytes = cursor_u64(&c);
    m->orphans = cursor_u64(&c);
    m->garbage = cursor_u64(&c);
    m->space = cursor_u64(&c);
    m->capacity = cursor_u64(&c);
    m->sum[0] = cursor_u64(&c);
    m->sum[1] = cursor_u64(&c);
    return cursor_done(&c) ? 0 : -EBADMSG;
}
