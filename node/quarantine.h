/* node/quarantine.h: a state that is wrong is neither served nor built upon: the host stops, sets
 * it aside, and gets another member's.
 *
 * STATE/quarantine says so durably, with the reason, the environment that is wrong, and the members
 * as last known. The log, the promise and the votes are not in doubt (they have checksums of their
 * own), so the host stays who it is and votes on; but it does not lead, nor answer any read, until
 * a snapshot is installed, of no slot below the last its log knows decided. Then the file goes. */
#ifndef NODE_QUARANTINE_H
#define NODE_QUARANTINE_H

#include <stdbool.h>

#include "consensus/membership.h"

struct node;
enum { QUARANTINE_REASON_SIZE = 200 };

struct quarantine {
    bool is_on; /* the store is hollow */
    char reason[QUARANTINE_REASON_SIZE];
    char bad[32]; /* the environment that is wrong */
    struct membership membership;
};

/* At the start: what STATE/quarantine says. 0, -EBADMSG, -errno. */
int quarantine_load(const char *state_dir, struct quarantine *q);
/* At the start, where the store cannot be used: begin one, if there may be others to ask. False: it
 * is this host alone, or cannot be written. */
bool quarantine_begin_at_start(struct node *n, const char *reason);
/* ... then the hollow store in its place; after the log was opened. 0 or -errno. */
int quarantine_open_store(struct node *n);
/* Twice a second: quarantine a host whose store turned out to be damaged, once another has a state.
 */
void quarantine_tick(struct node *n);
/* The state is wrong: stop, to start again in quarantine. False: not now, since no other member is
 * there to get one from. */
bool quarantine_begin(struct node *n, const char *reason);
/* A snapshot is in the place of the hollow store. */
void quarantine_end(struct node *n);

#endif
