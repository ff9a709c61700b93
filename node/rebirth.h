/* node/rebirth.h: what `paxfs restore` and `paxfs recover` share: a state directory whose state
 * goes on as a cluster of this host alone (fs/rebase.h). No daemon runs on it. All return 0 or
 * -errno;
 * @error is what a person reads. */
#ifndef NODE_REBIRTH_H
#define NODE_REBIRTH_H

#include "fs/store.h"
#include "node/config.h"

/* Give @s, which is at slot 0 and has no members, the one that @c speaks of. */
int rebirth_found(struct store *s, const struct config *c);
/* @s is from now on of the cluster, and has the one member, that @c speaks of. */
int rebirth_store(struct store *s, const struct config *c, char *error, size_t error_size);
/* A log in STATE/wal that begins after @slot: the vote of a new node for nothing before it. Goes on
 * where a former try ended. */
int rebirth_log(const char *state_dir, uint64_t slot, char *error, size_t error_size);

#endif
