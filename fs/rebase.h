/* fs/rebase.h: a state goes on in another cluster, of one host: what `paxfs restore` and `paxfs
 * recover` make of it. No daemon runs on it. */
#ifndef FS_REBASE_H
#define FS_REBASE_H

#include "fs/store.h"

/* One slot of its own, after the last: @alone is the only member from now on, every session is
 * forgotten, with all that it may have held, and invitations are void: whoever belonged to the
 * former cluster has another cluster id, and does not get in. Durable once it returns. 0; -EBADMSG:
 * the state has no members to take the place of; -errno. */
int store_rebase(struct store *s, const struct member *alone);

#endif
