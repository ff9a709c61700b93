/* consensus/requests.h: the replica's own clients' commands until they are decided (PMMC §2.1).
 *
 * `waiting` to be proposed or forwarded to the leader followed; `sent` since. In submission order.
 * Pure. */
#ifndef CONSENSUS_REQUESTS_H
#define CONSENSUS_REQUESTS_H

#include "base/limits.h"
#include "consensus/command.h"

struct request {
    struct command *command; /* one reference */
    uint64_t sent_ns;
    struct request *prev, *next; /* utlist */
};

struct requests {
    uint32_t count;
    struct request *waiting, *sent, *unused;
    struct request pool[SUBMITS_MAX];
};

void requests_init(struct requests *r);
void requests_deinit(struct requests *r);
/* Fewer than SUBMITS_MAX are in. */
void requests_submit(struct requests *r, struct command *command);
/* The oldest that waits, borrowed; NULL when none does. */
struct command *requests_peek(const struct requests *r);
/* The oldest that waits counts as sent. */
void requests_sent(struct requests *r, uint64_t now_ns);
/* All are to be sent again: the leader changed. */
void requests_resend_all(struct requests *r);
/* Those sent at or before @sent_ns are to be sent again. */
void requests_resend_old(struct requests *r, uint64_t sent_ns);
/* @command was decided: whoever waits for it is done. */
void requests_decided(struct requests *r, const struct command *command);

#endif
