/* consensus/intake.h: what followers forwarded and the leader has not yet proposed.
 *
 * Bounded: what does not fit is dropped, its origin sends it again. A command that this leader
 * already took in at its ballot is dropped too, or retries would fill a slow cluster with copies;
 * copies that get through (another leader's) are found at apply. Pure. */
#ifndef CONSENSUS_INTAKE_H
#define CONSENSUS_INTAKE_H

#include "base/limits.h"
#include "consensus/command.h"

#ifndef INTAKE_MAX
enum { INTAKE_MAX = 4096 }; /* commands */
#endif

struct intake {
    uint64_t first, end; /* of the queue, at index % INTAKE_MAX */
    uint64_t bytes;
    struct command *queue[INTAKE_MAX];
    struct {
        uint64_t epoch, sequence;
    } taken[MEMBERS_MAX][SESSION_OPEN_MAX]; /* at sequence % SESSION_OPEN_MAX */
};

void intake_clear(struct intake *in);
/* Another node has the seat @origin now. */
void intake_forget(struct intake *in, uint32_t origin);
void intake_put(struct intake *in, uint32_t origin, struct command *command);
/* The oldest, borrowed; NULL when empty. */
struct command *intake_peek(const struct intake *in);
/* Drop the oldest. */
void intake_drop(struct intake *in);

#endif
