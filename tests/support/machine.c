#include "tests/support/machine.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"

enum { KIND_OPEN = 1, KIND_INCREMENT = 2 };

static void release_command(struct command *c)
{
    free(c);
}

static struct command *command_new(uint64_t node, uint32_t size, uint8_t **bytes)
{
    struct command *c = calloc(1, sizeof *c + size);
    ASSERT(c != NULL);
    *bytes = (uint8_t *)(c + 1);
    c->refs = 1;
    c->size = size;
    c->node = node;
    c->bytes = *bytes;
    c->release = release_command;
    return c;
}

struct command *machine_open(uint64_t node, uint64_t life)
{
    uint8_t *bytes;
    struct command *c = command_new(node, 9, &bytes);
    struct writer w = writer_of(bytes, 9);
    write_u8(&w, KIND_OPEN);
    write_u64(&w, life);
    return c;
}

struct command *machine_increment(uint64_t node, uint64_t epoch, uint64_t sequence, uint64_t low,
                                  uint64_t op, uint32_t counter, uint32_t padding)
{
    uint8_t *bytes;
    uint32_t size = 13 + padding;
    struct command *c = command_new(node, size, &bytes);
    c->epoch = epoch;
    c->sequence = sequence;
    c->low = low;
    struct writer w = writer_of(bytes, size);
    write_u8(&w, KIND_INCREMENT);
    write_u64(&w, op);
    write_u32(&w, counter);
    return c;
}

uint64_t machine_op(const struct command *c)
{
    struct cursor at = cursor_of(c->bytes, c->size);
    return cursor_u8(&at) == KIND_INCREMENT ? cursor_u64(&at) : 0;
}

uint64_t machine_life(const struct command *c)
{
    struct cursor at = cursor_of(c->bytes, c->size);
    return cursor_u8(&at) == KIND_OPEN ? cursor_u64(&at) : 0;
}

void machine_init(struct machine *m)
{
    memset(m, 0, sizeof *m);
    m->sessions = calloc(1, sizeof *m->sessions);
    ASSERT(m->sessions != NULL);
}

void machine_deinit(struct machine *m)
{
    free(m->sessions);
    m->sessions = NULL;
}

static struct machine_result apply_open(struct machine *m, const struct command *c)
{
    struct cursor at = cursor_of(c->bytes + 1, c->size - 1);
    bool changed;
    uint64_t epoch = session_open(m->sessions, c->node, cursor_u64(&at), &changed);
    return (struct machine_result){SESSION_NEW, epoch};
}

static struct machine_result apply_increment(struct machine *m, const struct command *c)
{
    const struct session_outcome *outcome;
    struct machine_result r = {0};
    r.verdict = session_judge(m->sessions, c->node, c->epoch, c->sequence, c->low, &outcome);
    if (r.verdict == SESSION_REPEATED)
        memcpy(&r.value, outcome->bytes, sizeof r.value);
    if (r.verdict != SESSION_NEW)
        return r;
    struct cursor at = cursor_of(c->bytes + 9, 4);
    r.value = ++m->counters[cursor_u32(&at) % MACHINE_COUNTERS];
    session_record(m->sessions, c->node, c->sequence, &r.value, sizeof r.value);
    return r;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ (hash >> 29);
}

struct machine_result machine_apply(struct machine *m, const struct pvalue *p)
{
    ASSERT(p->slot == m->applied + 1);
    struct machine_result r = {0};
    const struct command *c = p->command;
    if (!command_is_noop(c))
        r = c->bytes[0] == KIND_OPEN ? apply_open(m, c) : apply_increment(m, c);
    m->applied = p->slot;
    m->time_ns = p->time_ns > m->time_ns ? p->time_ns : m->time_ns + 1;
    m->hash = mix(m->hash, p->slot);
    m->hash = mix(m->hash, m->time_ns);
    m->hash = mix(m->hash, c->node);
    m->hash = mix(m->hash, c->sequence);
    m->hash = mix(m->hash, r.value * 8 + r.verdict);
    return r;
}

void machine_save(const struct machine *m, struct machine_image *image)
{
    size_t room = 0;
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        room += m->sessions->sessions[i].node ? sizeof(uint32_t) + SESSION_ENCODED_MAX : 0;
    machine_image_deinit(image);
    image->state = *m;
    image->state.sessions = NULL;
    image->bytes = malloc(room + 1);
    ASSERT(image->bytes != NULL);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        const struct session *s = &m->sessions->sessions[i];
        if (!s->node)
            continue;
        uint8_t *at = image->bytes + image->size;
        uint32_t size = (uint32_t)session_encode(s, at + sizeof(uint32_t));
        memcpy(at, &size, sizeof size);
        image->size += (uint32_t)sizeof size + size;
    }
}

void machine_load(struct machine *m, const struct machine_image *image)
{
    struct session_table *sessions = m->sessions;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (sessions->sessions[i].node)
            memset(&sessions->sessions[i], 0, sizeof sessions->sessions[i]);
    }
    *m = image->state;
    m->sessions = sessions;
    for (uint32_t at = 0; at < image->size;) {
        uint32_t size;
        memcpy(&size, image->bytes + at, sizeof size);
        int rc = session_decode(sessions, image->bytes + at + sizeof size, size);
        ASSERT(rc == 0);
        at += (uint32_t)sizeof size + size;
    }
}

void machine_image_deinit(struct machine_image *image)
{
    free(image->bytes);
    memset(image, 0, sizeof *image);
}
