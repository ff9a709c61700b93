#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "fs/command.h"

/* Sessions keep outcomes, so what an outcome has not is left out. */
enum { OUTCOME_VERSION = 1 };
enum {
    HAS_ATTR = 1 << 0,
    HAS_OFFSET = 1 << 1,
    HAS_EPOCH = 1 << 2,
    HAS_VERDICT = 1 << 3,
    HAS_FROM = 1 << 4,
    HAS_ALL = 2 * HAS_FROM - 1,
    ATTR_SIZE = 7 * 8 + 5 * 4,
};

static_assert(4 + ATTR_SIZE + 8 + 8 + 4 + 8 <= OUTCOME_SIZE_MAX, "all of it at once fits");

static void put_attr(struct writer *w, const struct fs_attr *a)
{
    write_u64(w, a->ino);
    write_u64(w, a->size);
    write_u64(w, a->blocks);
    write_u64(w, a->atime_ns);
    write_u64(w, a->mtime_ns);
    write_u64(w, a->ctime_ns);
    write_u64(w, a->btime_ns);
    write_u32(w, a->mode);
    write_u32(w, a->nlink);
    write_u32(w, a->uid);
    write_u32(w, a->gid);
    write_u32(w, a->rdev);
}

static void get_attr(struct cursor *c, struct fs_attr *a)
{
    a->ino = cursor_u64(c);
    a->size = cursor_u64(c);
    a->blocks = cursor_u64(c);
    a->atime_ns = cursor_u64(c);
    a->mtime_ns = cursor_u64(c);
    a->ctime_ns = cursor_u64(c);
    a->btime_ns = cursor_u64(c);
    a->mode = cursor_u32(c);
    a->nlink = cursor_u32(c);
    a->uid = cursor_u32(c);
    a->gid = cursor_u32(c);
    a->rdev = cursor_u32(c);
}

size_t fs_outcome_encode(const struct fs_outcome *o, void *bytes, size_t room)
{
    ASSERT(o->error >= 0 && o->error <= UINT16_MAX);
    uint8_t has = (uint8_t)((o->attr.ino ? HAS_ATTR : 0) | (o->offset ? HAS_OFFSET : 0) |
                            (o->epoch ? HAS_EPOCH : 0) | (o->verdict ? HAS_VERDICT : 0) |
                            (o->from ? HAS_FROM : 0));
    struct writer w = writer_of(bytes, room);
    write_u8(&w, OUTCOME_VERSION);
    write_u8(&w, has);
    write_u16(&w, (uint16_t)o->error);
    if (has & HAS_ATTR)
        put_attr(&w, &o->attr);
    if (has & HAS_OFFSET)
        write_u64(&w, o->offset);
    if (has & HAS_EPOCH)
        write_u64(&w, o->epoch);
    if (has & HAS_VERDICT)
        write_u32(&w, o->verdict);
    if (has & HAS_FROM)
        write_u64(&w, o->from);
    return w.failed ? 0 : w.size;
}

int fs_outcome_decode(const void *bytes, size_t size, struct fs_outcome *o)
{
    memset(o, 0, sizeof *o);
    struct cursor c = cursor_of(bytes, size);
    if (cursor_u8(&c) != OUTCOME_VERSION)
        return -EBADMSG;
    uint8_t has = cursor_u8(&c);
    o->error = cursor_u16(&c);
    if (has & HAS_ATTR)
        get_attr(&c, &o->attr);
    if (has & HAS_OFFSET)
        o->offset = cursor_u64(&c);
    if (has & HAS_EPOCH)
        o->epoch = cursor_u64(&c);
    if (has & HAS_VERDICT)
        o->verdict = cursor_u32(&c);
    if (has & HAS_FROM)
        o->from = cursor_u64(&c);
    if (has & ~HAS_ALL)
        return -EBADMSG;
    return cursor_done(&c) ? 0 : -EBADMSG;
}
