#include "tests/support/letters.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { LETTERS_MAX = 4096 };

static struct letter *letters[LETTERS_MAX];
static uint32_t first, count;

void letters_post(uint64_t from, uint64_t to, const struct peer_message *m)
{
    ASSERT(count < LETTERS_MAX);
    bool has_bytes = m->kind == PEER_SNAPSHOT_DATA && m->snapshot_data.size > 0;
    size_t size = has_bytes ? m->snapshot_data.size : 0;
    struct letter *l = malloc(sizeof *l + size);
    ASSERT(l);
    *l = (struct letter){.from = from, .to = to, .message = *m};
    if (has_bytes) {
        memcpy(l + 1, m->snapshot_data.bytes, size);
        l->message.snapshot_data.bytes = (const uint8_t *)(l + 1);
    }
    letters[(first + count++) % LETTERS_MAX] = l;
}

struct letter *letters_take(void)
{
    if (count == 0)
        return NULL;
    count--;
    return letters[first++ % LETTERS_MAX];
}

bool letters_are_under_way(void)
{
    return count > 0;
}

void letters_clear(void)
{
    struct letter *l;
    while ((l = letters_take()))
        free(l);
}
