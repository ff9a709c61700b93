#include "consensus/session.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"

enum { SESSION_HEADER_SIZE = 36 };      /* node epoch life low, count */
#define EXPIRED_BIT (UINT32_C(1) << 31) /* of the encoded count */

static_assert(SESSION_HEADER_SIZE + SESSION_OPEN_MAX * (12 + OUTCOME_SIZE_MAX) <=
                  SESSION_ENCODED_MAX,
              "the longest session fits");

struct session *session_find(struct session_table *t, uint64_t node)
{
    for (size_t i = 0; node != 0 && i < SESSIONS_MAX; i++) {
        if (t->sessions[i].node == node)
            return &t->sessions[i];
    }
    return NULL;
}

static struct session *find_free(struct session_table *t)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (t->sessions[i].node == 0)
            return &t->sessions[i];
    }
    return NULL;
}

static void start(struct session *s, uint64_t node, uint64_t epoch, uint64_t life)
{
    memset(s, 0, sizeof *s);
    s->node = node;
    s->epoch = epoch;
    s->life = life;
    s->low = 1;
    s->dirty = true;
}

uint64_t session_open_after(struct session_table *t, uint64_t node, uint64_t life, uint64_t ended,
                            bool *changed)
{
    *changed = false;
    struct session *s = session_find(t, node);
    if (s && life < s->life)
        return 0; /* it was late, and that life has ended; or an old copy of a directory */
    if (s && life == s->life && !(s->is_expired && ended == s->epoch))
        return s->epoch; /* a retry */
    if (s) {
        *changed = !s->is_expired; /* or what it held is released already */
        start(s, node, s->epoch + 1, life);
        return s->epoch;
    }
    s = find_free(t);
    if (!s || node == 0)
        return 0;
    start(s, node, 1, life);
    return s->epoch;
}

uint64_t session_open(struct session_table *t, uint64_t node, uint64_t life, bool *changed)
{
    struct session *s = session_find(t, node);
    return session_open_after(t, node, life, s ? s->epoch : 0, changed);
}

uint64_t session_highest(const struct session *s)
{
    uint64_t highest = s->low - 1; /* a command that raised the mark was itself above it */
    for (size_t i = 0; i < SESSION_OPEN_MAX; i++) {
        if (s->outcomes[i].sequence > highest)
            highest = s->outcomes[i].sequence;
    }
    return highest;
}

bool session_expire(struct session_table *t, uint64_t node, uint64_t epoch, uint64_t sequence)
{
    struct session *s = session_find(t, node);
    if (!s || s->epoch != epoch || s->is_expired || session_highest(s) > sequence)
        return false;
    s->is_expired = true;
    s->dirty = true;
    return true;
}

static struct session_outcome *place_of(struct session *s, uint64_t sequence)
{
    return &s->outcomes[sequence % SESSION_OPEN_MAX];
}

static void forget(struct session_outcome *o)
{
    memset(o, 0, sizeof *o);
}

static void raise_low(struct session *s, uint64_t low)
{
    if (low <= s->low)
        return;
    s->dirty = true;
    uint64_t end = low - s->low > SESSION_OPEN_MAX ? s->low + SESSION_OPEN_MAX : low;
    for (uint64_t sequence = s->low; sequence < end; sequence++) {
        if (place_of(s, sequence)->sequence != 0)
            forget(place_of(s, sequence));
    }
    s->low = low;
}

enum session_verdict session_judge(struct session_table *t, uint64_t node, uint64_t epoch,
                                   uint64_t sequence, uint64_t low,
                                   const struct session_outcome **outcome)
{
    *outcome = NULL;
    struct session *s = session_find(t, node);
    if (!s || s->epoch != epoch || sequence == 0)
        return SESSION_FENCED;
    if (s->is_expired)
        low = s->low;                              /* the outcomes stay as they are */
    raise_low(s, low < sequence ? low : sequence); /* a command is itself unanswered */
    if (sequence < s->low)
        return SESSION_SETTLED;
    if (sequence - s->low >= SESSION_OPEN_MAX)
        return SESSION_FENCED;
    if (place_of(s, sequence)->sequence != sequence)
        return s->is_expired ? SESSION_FENCED : SESSION_NEW;
    *outcome = place_of(s, sequence);
    return SESSION_REPEATED;
}

void session_record(struct session_table *t, uint64_t node, uint64_t sequence, const void *bytes,
                    uint32_t size)
{
    ASSERT(size <= OUTCOME_SIZE_MAX);
    struct session *s = session_find(t, node);
    ASSERT(s != NULL);
    ASSERT(sequence >= s->low);
    ASSERT(sequence - s->low < SESSION_OPEN_MAX);
    struct session_outcome *o = place_of(s, sequence);
    forget(o);
    o->sequence = sequence;
    o->size = size;
    memcpy(o->bytes, bytes, size);
    s->dirty = true;
}

size_t session_encode(const struct session *s, void *bytes)
{
    struct writer w = writer_of(bytes, SESSION_ENCODED_MAX);
    uint32_t count = 0;
    for (size_t i = 0; i < SESSION_OPEN_MAX; i++)
        count += s->outcomes[i].sequence != 0;
    write_u64(&w, s->node);
    write_u64(&w, s->epoch);
    write_u64(&w, s->life);
    write_u64(&w, s->low);
    write_u32(&w, count | (s->is_expired ? EXPIRED_BIT : 0));
    for (uint64_t i = 0; i < SESSION_OPEN_MAX; i++) { /* ascending sequence */
        const struct session_outcome *o = &s->outcomes[(s->low + i) % SESSION_OPEN_MAX];
        if (o->sequence == 0)
            continue;
        write_u64(&w, o->sequence);
        write_u32(&w, o->size);
        write_bytes(&w, o->bytes, o->size);
    }
    ASSERT(!w.failed);
    return w.size;
}

static int decode_outcomes(struct session *s, struct cursor *c, uint32_t count)
{
    uint64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t sequence = cursor_u64(c);
        uint32_t size = cursor_u32(c);
        const uint8_t *bytes = size <= OUTCOME_SIZE_MAX ? cursor_bytes(c, size) : NULL;
        bool in_range = sequence >= s->low && sequence - s->low < SESSION_OPEN_MAX;
        if (!bytes || !in_range || sequence <= before)
            return -EBADMSG;
        before = sequence;
        struct session_outcome *o = place_of(s, sequence);
        o->sequence = sequence;
        o->size = size;
        memcpy(o->bytes, bytes, size);
    }
    return cursor_done(c) ? 0 : -EBADMSG;
}

int session_decode(struct session_table *t, const void *bytes, size_t size)
{
    struct cursor c = cursor_of(bytes, size);
    uint64_t node = cursor_u64(&c), epoch = cursor_u64(&c);
    uint64_t life = cursor_u64(&c);
    uint64_t low = cursor_u64(&c);
    uint32_t count = cursor_u32(&c);
    bool is_expired = count & EXPIRED_BIT;
    count &= ~EXPIRED_BIT;
    if (c.failed || node == 0 || epoch == 0 || low == 0 || count > SESSION_OPEN_MAX)
        return -EBADMSG;
    struct session *s = session_find(t, node);
    if (!s)
        s = find_free(t);
    if (!s)
        return -EBADMSG;
    start(s, node, epoch, life);
    s->low = low;
    s->is_expired = is_expired;
    s->dirty = false;
    int rc = decode_outcomes(s, &c, count);
    if (rc < 0)
        memset(s, 0, sizeof *s);
    return rc;
}
