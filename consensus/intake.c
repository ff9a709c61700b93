#include "consensus/intake.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"

void intake_clear(struct intake *in)
{
    while (intake_peek(in))
        intake_drop(in);
    memset(in->taken, 0, sizeof in->taken);
}

void intake_forget(struct intake *in, uint32_t origin)
{
    memset(in->taken[origin], 0, sizeof in->taken[origin]);
}

/* False when it was taken before. A session's open numbers lie within SESSION_OPEN_MAX of each
 * other, so each has a place of its own; a session open (sequence 0) is not remembered. */
static bool remember(struct intake *in, uint32_t origin, const struct command *c)
{
    if (c->sequence == 0)
        return true;
    uint64_t at = c->sequence % SESSION_OPEN_MAX;
    uint64_t *epoch = &in->taken[origin][at].epoch;
    uint64_t *sequence = &in->taken[origin][at].sequence;
    if (*epoch == c->epoch && *sequence == c->sequence)
        return false;
    *epoch = c->epoch;
    *sequence = c->sequence;
    return true;
}

void intake_put(struct intake *in, uint32_t origin, struct command *command)
{
    if (in->end - in->first == INTAKE_MAX || in->bytes + command->size > HELD_BYTES_MAX)
        return;
    if (!remember(in, origin, command))
        return;
    in->queue[in->end++ % INTAKE_MAX] = command_ref(command);
    in->bytes += command->size;
}

struct command *intake_peek(const struct intake *in)
{
    return in->first == in->end ? NULL : in->queue[in->first % INTAKE_MAX];
}

void intake_drop(struct intake *in)
{
    ASSERT(in->first != in->end);
    struct command *c = in->queue[in->first++ % INTAKE_MAX];
    in->bytes -= c->size;
    command_unref(c);
}
