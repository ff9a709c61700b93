#include "base/cursor.h"

#include <endian.h>
#include <string.h>

struct cursor cursor_of(const void *bytes, size_t size)
{
    return (struct cursor){.at = bytes, .left = size};
}

const uint8_t *cursor_bytes(struct cursor *c, size_t size)
{
    if (c->failed || size > c->left) {
        c->failed = true;
        return NULL;
    }
    const uint8_t *bytes = c->at;
    c->at += size;
    c->left -= size;
    return bytes;
}

uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *b = cursor_bytes(c, 1);
    return b ? *b : 0;
}

uint16_t cursor_u16(struct cursor *c)
{
    uint16_t v = 0;
    const uint8_t *b = cursor_bytes(c, sizeof v);
    if (b)
        memcpy(&v, b, sizeof v);
    return le16toh(v);
}

uint32_t cursor_u32(struct cursor *c)
{
    uint32_t v = 0;
    const uint8_t *b = cursor_bytes(c, sizeof v);
    if (b)
        memcpy(&v, b, sizeof v);
    return le32toh(v);
}

uint64_t cursor_u64(struct cursor *c)
{
    uint64_t v = 0;
    const uint8_t *b = cursor_bytes(c, sizeof v);
    if (b)
        memcpy(&v, b, sizeof v);
    return le64toh(v);
}

bool cursor_done(const struct cursor *c)
{
    return !c->failed && c->left == 0;
}

struct writer writer_of(void *bytes, size_t room)
{
    return (struct writer){.start = bytes, .room = room};
}

void write_bytes(struct writer *w, const void *bytes, size_t size)
{
    if (w->failed || size > w->room - w->size) {
        w->failed = true;
        return;
    }
    if (size)
        memcpy(w->start + w->size, bytes, size);
    w->size += size;
}

void write_u8(struct writer *w, uint8_t value)
{
    write_bytes(w, &value, sizeof value);
}

void write_u16(struct writer *w, uint16_t value)
{
    value = htole16(value);
    write_bytes(w, &value, sizeof value);
}

void write_u32(struct writer *w, uint32_t value)
{
    value = htole32(value);
    write_bytes(w, &value, sizeof value);
}

void write_u64(struct writer *w, uint64_t value)
{
    value = htole64(value);
    write_bytes(w, &value, sizeof value);
}
