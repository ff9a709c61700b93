/* mount-helper/joining.h: this host becomes a member of a running cluster: what `paxfs join` and
 * `paxfs dev add` share. */
#ifndef MOUNT_HELPER_JOINING_H
#define MOUNT_HELPER_JOINING_H

#include "node/token.h"

/* Make @state_dir, or go on with it where a former try ended, and ask the members that @token
 * names, one after the other, to let this host in at @listen. Safe to repeat at any point: the
 * directory keeps its identity, and the cluster knows that. Complains by itself; 0 or -errno. */
int joining_join(const char *state_dir, const char *listen, const struct token *token);

#endif
