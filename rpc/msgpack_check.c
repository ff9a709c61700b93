#include "rpc/msgpack_check.h"

#include <errno.h>
#include <stdbool.h>

#include "base/cursor.h"

/* What the head of one value says. */
struct head {
    uint64_t body_size; /* bytes that follow the head: of a number, str or bin */
    uint64_t children;  /* values that follow: of an array or map */
    bool refused;
};

/* msgpack is big-endian, unlike everything else here. */
static uint64_t take_size(struct cursor *c, size_t width)
{
    uint64_t value = 0;
    for (size_t i = 0; i < width; i++)
        value = value << 8 | cursor_u8(c);
    return value;
}

/* The values 0xc0 to 0xdf, by the msgpack specification. */
static struct head take_long_head(struct cursor *c, uint8_t tag)
{
    switch (tag) {
    case 0xc0: /* nil, false, true */
    case 0xc2:
    case 0xc3:
        return (struct head){0};
    case 0xc4: /* bin 8, 16, 32 */
    case 0xc5:
    case 0xc6:
        return (struct head){.body_size = take_size(c, (size_t)1 << (tag - 0xc4))};
    case 0xca: /* float, double */
    case 0xcb:
        return (struct head){.body_size = tag == 0xca ? 4 : 8};
    case 0xcc: /* unsigned 8, 16, 32, 64 */
    case 0xcd:
    case 0xce:
    case 0xcf:
        return (struct head){.body_size = UINT64_C(1) << (tag - 0xcc)};
    case 0xd0: /* signed 8, 16, 32, 64 */
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return (struct head){.body_size = UINT64_C(1) << (tag - 0xd0)};
    case 0xd9: /* str 8, 16, 32 */
    case 0xda:
    case 0xdb:
        return (struct head){.body_size = take_size(c, (size_t)1 << (tag - 0xd9))};
    case 0xdc: /* array 16, 32 */
    case 0xdd:
        return (struct head){.children = take_size(c, tag == 0xdc ? 2 : 4)};
    case 0xde: /* map 16, 32 */
    case 0xdf:
        return (struct head){.children = 2 * take_size(c, tag == 0xde ? 2 : 4)};
    default: /* never used, or an extension */
        return (struct head){.refused = true};
    }
}

static struct head take_head(struct cursor *c)
{
    uint8_t tag = cursor_u8(c);
    if (tag <= 0x7f || tag >= 0xe0) /* small integers */
        return (struct head){0};
    if (tag <= 0x8f)
        return (struct head){.children = 2 * (uint64_t)(tag & 0x0f)};
    if (tag <= 0x9f)
        return (struct head){.children = tag & 0x0f};
    if (tag <= 0xbf)
        return (struct head){.body_size = tag & 0x1f};
    return take_long_head(c, tag);
}

int msgpack_check(const void *bytes, size_t size, uint32_t elements_max)
{
    struct cursor c = cursor_of(bytes, size);
    uint64_t open[MSGPACK_DEPTH_MAX]; /* values still to come, per enclosing array or map */
    uint32_t depth = 0;
    uint64_t promised = 1; /* values seen or claimed so far */

    do {
        struct head head = take_head(&c);
        if (c.failed || head.refused || head.body_size > c.left || head.children > c.left)
            return -EBADMSG;
        cursor_bytes(&c, head.body_size);
        if (depth)
            open[depth - 1]--;
        if (head.children) {
            promised += head.children;
            if (depth == MSGPACK_DEPTH_MAX || promised > elements_max)
                return -EBADMSG;
            open[depth++] = head.children;
        }
        while (depth && open[depth - 1] == 0)
            depth--;
    } while (depth);
    return cursor_done(&c) ? 0 : -EBADMSG;
}
