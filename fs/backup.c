#include "fs/backup.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/limits.h"

enum {
    BACKUP_VERSION = 1,
    PIECE_SIZE = 256 << 10,
    LOOK_MS = 100, /* how often one that waits looks whether it is still to */
};
#define HEADER_MAGIC  UINT64_C(0x316b7562736678f0) /* not text: no editor makes one */
#define TRAILER_MAGIC UINT64_C(0x31646e65736678f0)

/* ---- header and trailer ---- */

static void header_encode(const struct backup_header *h, uint8_t bytes[BACKUP_HEADER_SIZE])
{
    struct writer w = writer_of(bytes, BACKUP_HEADER_SIZE);
    write_u64(&w, HEADER_MAGIC);
    write_u32(&w, BACKUP_VERSION);
    write_u64(&w, h->cluster_id);
    write_u64(&w, h->slot);
    write_u64(&w, h->time_ns);
    write_u64(&w, XXH3_64bits(bytes, w.size));
    ASSERT(!w.failed);
    ASSERT(w.size == BACKUP_HEADER_SIZE);
}

static void trailer_encode(XXH3_state_t *hash, uint64_t body, uint8_t bytes[BACKUP_TRAILER_SIZE])
{
    struct writer w = writer_of(bytes, BACKUP_TRAILER_SIZE);
    write_u64(&w, TRAILER_MAGIC);
    write_u64(&w, body);
    XXH3_64bits_update(hash, bytes, w.size);
    write_u64(&w, XXH3_64bits_digest(hash));
    ASSERT(!w.failed);
    ASSERT(w.size == BACKUP_TRAILER_SIZE);
}

/* NULL, or why it is none. */
static const char *header_decode(const uint8_t bytes[BACKUP_HEADER_SIZE], struct backup_header *h)
{
    struct cursor c = cursor_of(bytes, BACKUP_HEADER_SIZE);
    if (cursor_u64(&c) != HEADER_MAGIC)
        return "it is no backup of paxfs";
    uint32_t version = cursor_u32(&c);
    h->cluster_id = cursor_u64(&c);
    h->slot = cursor_u64(&c);
    h->time_ns = cursor_u64(&c);
    if (cursor_u64(&c) != XXH3_64bits(bytes, BACKUP_HEADER_SIZE - 8))
        return "its beginning is damaged";
    if (version != BACKUP_VERSION)
        return "it is of a later version of paxfs: use that one";
    return NULL;
}

/* ---- writing ---- */

struct output {
    int fd;
    const struct backup_patience *patience;
    XXH3_state_t *hash;
    uint64_t size;
};

/* Until @fd has room. */
static int await_room(const struct output *o)
{
    const struct backup_patience *p = o->patience;
    uint64_t began_ns = clock_now_ns();
    for (;;) {
        struct pollfd poll_fd = {.fd = o->fd, .events = POLLOUT};
        int ready = poll(&poll_fd, 1, LOOK_MS);
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (atomic_load(p->is_cancelled))
            return -ECANCELED;
        if (ready > 0)
            return 0; /* a hang-up too: the write says so */
        uint64_t now_ns = clock_now_ns();
        if (now_ns - began_ns > p->idle_ns || now_ns > p->deadline_ns)
            return -ETIMEDOUT;
    }
}

static int put(struct output *o, const uint8_t *bytes, size_t size)
{
    if (atomic_load(o->patience->is_cancelled))
        return -ECANCELED;
    if (clock_now_ns() > o->patience->deadline_ns)
        return -ETIMEDOUT;
    while (size > 0) {
        ssize_t written = write(o->fd, bytes, size);
        int rc = written >= 0 ? 0 : -errno;
        if (rc == -EAGAIN)
            rc = await_room(o);
        if (rc < 0 && rc != -EINTR)
            return rc;
        if (written <= 0)
            continue;
        bytes += written;
        size -= (size_t)written;
        o->size += (uint64_t)written;
    }
    return 0;
}

static int put_hashed(struct output *o, const uint8_t *bytes, size_t size)
{
    XXH3_64bits_update(o->hash, bytes, size);
    return put(o, bytes, size);
}

/* Bytes; 0: the end; -errno. */
static ssize_t read_some(int fd, uint8_t *bytes, size_t room)
{
    ssize_t got;
    do {
        got = read(fd, bytes, room);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static int put_body(struct output *o, int in, uint8_t *piece)
{
    for (;;) {
        ssize_t got = read_some(in, piece, PIECE_SIZE);
        if (got <= 0)
            return (int)got;
        int rc = put_hashed(o, piece, (size_t)got);
        if (rc < 0)
            return rc;
    }
}

static int write_parts(struct output *o, int in, uint8_t *piece, const struct backup_header *h,
                       int (*is_whole)(void *context), void *context)
{
    uint8_t header[BACKUP_HEADER_SIZE], trailer[BACKUP_TRAILER_SIZE];
    header_encode(h, header);
    int rc = put_hashed(o, header, sizeof header);
    if (rc == 0)
        rc = put_body(o, in, piece);
    if (rc == 0)
        rc = is_whole(context);
    if (rc < 0)
        return rc;
    trailer_encode(o->hash, o->size - sizeof header, trailer);
    return put(o, trailer, sizeof trailer);
}

int backup_write(int in, int out, const struct backup_header *h, const struct backup_patience *p,
                 int (*is_whole)(void *context), void *context, uint64_t *size)
{
    struct output o = {.fd = out, .patience = p, .hash = XXH3_createState()};
    uint8_t *piece = malloc(PIECE_SIZE);
    int rc = -ENOMEM;
    if (o.hash && piece) {
        XXH3_64bits_reset(o.hash);
        rc = write_parts(&o, in, piece, h, is_whole, context);
    }
    *size = o.size;
    XXH3_freeState(o.hash);
    free(piece);
    return rc;
}

/* ---- reading ---- */

struct input {
    int fd;
    XXH3_state_t *hash;
    uint8_t *piece;
    char *error;
    size_t error_size;
};

static int damaged(const struct input *i, const char *why)
{
    if (i->error_size)
        snprintf(i->error, i->error_size, "%s", why);
    return -EBADMSG;
}

static const char cut_text[] = "it was cut: its end is missing; copy it again, or take another one";

static int read_all(const struct input *i, uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t got = read_some(i->fd, bytes, size);
        if (got <= 0)
            return got < 0 ? (int)got : damaged(i, cut_text);
        bytes += got;
        size -= (size_t)got;
    }
    return 0;
}

static int read_body(const struct input *i, uint64_t size,
                     int (*take)(void *context, const void *bytes, size_t size), void *context)
{
    while (size > 0) {
        size_t now = size < PIECE_SIZE ? (size_t)size : PIECE_SIZE;
        int rc = read_all(i, i->piece, now);
        if (rc < 0)
            return rc;
        XXH3_64bits_update(i->hash, i->piece, now);
        rc = take ? take(context, i->piece, now) : 0;
        if (rc)
            return rc;
        size -= now;
    }
    return 0;
}

static int read_header(const struct input *i, struct backup_header *h, uint64_t *body)
{
    uint8_t bytes[BACKUP_HEADER_SIZE];
    struct stat s;
    if (fstat(i->fd, &s) < 0)
        return -errno;
    if (!S_ISREG(s.st_mode))
        return damaged(i, "it is no file; write the backup to one first, to be checked");
    if (lseek(i->fd, 0, SEEK_SET) < 0)
        return -errno;
    if ((uint64_t)s.st_size < sizeof bytes)
        return damaged(i, "it is no backup of paxfs: it is too short");
    int rc = read_all(i, bytes, sizeof bytes);
    if (rc < 0)
        return rc;
    const char *why = header_decode(bytes, h);
    if (why)
        return damaged(i, why);
    if ((uint64_t)s.st_size < sizeof bytes + BACKUP_TRAILER_SIZE)
        return damaged(i, cut_text);
    *body = (uint64_t)s.st_size - sizeof bytes - BACKUP_TRAILER_SIZE;
    XXH3_64bits_update(i->hash, bytes, sizeof bytes);
    return 0;
}

static int read_trailer(const struct input *i, uint64_t body)
{
    uint8_t found[BACKUP_TRAILER_SIZE], right[BACKUP_TRAILER_SIZE];
    int rc = read_all(i, found, sizeof found);
    if (rc < 0)
        return rc;
    trailer_encode(i->hash, body, right);
    if (memcmp(found, right, 16) != 0)
        return damaged(i, cut_text);
    return memcmp(found, right, sizeof right) == 0
               ? 0
               : damaged(i, "it was changed: its checksum is wrong; copy it again, or take another "
                            "one");
}

int backup_read(int fd, struct backup_header *h,
                int (*take)(void *context, const void *bytes, size_t size), void *context,
                char *error, size_t error_size)
{
    struct input i = {.fd = fd,
                      .hash = XXH3_createState(),
                      .piece = malloc(PIECE_SIZE),
                      .error = error,
                      .error_size = error_size};
    uint64_t body = 0;
    int rc = -ENOMEM;
    if (i.hash && i.piece) {
        XXH3_64bits_reset(i.hash);
        rc = read_header(&i, h, &body);
    }
    if (rc == 0)
        rc = read_body(&i, body, take, context);
    if (rc == 0)
        rc = read_trailer(&i, body);
    XXH3_freeState(i.hash);
    free(i.piece);
    return rc;
}
