/* base/cursor.h: bytes with a bound. Reading past the end, or writing past the room, sets `failed`
 * and gives zeroes; check once at the end. Integers are little-endian. No allocation; views that
 * cursor_bytes() returns point into the buffer. */
#ifndef BASE_CURSOR_H
#define BASE_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
    const uint8_t *at;
    size_t left;
    bool failed;
};

struct cursor cursor_of(const void *bytes, size_t size);
uint8_t cursor_u8(struct cursor *c);
uint16_t cursor_u16(struct cursor *c);
uint32_t cursor_u32(struct cursor *c);
uint64_t cursor_u64(struct cursor *c);
/* The next @size bytes, or NULL (and failed) when fewer are left. */
const uint8_t *cursor_bytes(struct cursor *c, size_t size);
/* True when all was read and nothing was missing. */
bool cursor_done(const struct cursor *c);

struct writer {
    uint8_t *start;
    size_t size; /* bytes written */
    size_t room; /* bytes in all */
    bool failed;
};

struct writer writer_of(void *bytes, size_t room);
void write_u8(struct writer *w, uint8_t value);
void write_u16(struct writer *w, uint16_t value);
void write_u32(struct writer *w, uint32_t value);
void write_u64(struct writer *w, uint64_t value);
void write_bytes(struct writer *w, const void *bytes, size_t size);

#endif
