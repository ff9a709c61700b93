/* node/recover.h: after a majority of the hosts is lost for good: what one state directory still
 * holds goes on as a new cluster, of this host alone.
 *
 * Kept is what the store holds, what the log knows decided, and what the log holds accepted above
 * that, without a gap: each of those may have been decided and acknowledged, so all are taken as
 * decided. Nothing that was acknowledged and reached this host is lost; what was accepted and never
 * decided is there now too. What was acknowledged without this host is missing.
 *
 *   1. STATE/recovering is written: who this is to be, and what was found. From now on no daemon
 *      starts here (node/config.h), and one that is run again goes on. `config` is set aside.
 *   2. The log is applied to the store; one slot more replaces the members (fs/rebase.h).
 *   3. The log is set aside, and a new one begins.
 *   4. STATE/RECOVERED-DATE says what was done. `config` is written, STATE/recovering removed: a
 *      daemon may start. */
#ifndef NODE_RECOVER_H
#define NODE_RECOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"
#include "consensus/ballot.h"

enum { RECOVER_DATE_SIZE = 32 };

/* What there is, and what was, or would be, done with it. */
struct recovery {
    char name[MEMBER_NAME_MAX + 1], listen[ADDRESS_MAX + 1];
    uint64_t from_cluster;        /* id of the former one */
    uint64_t cluster_id, node_id; /* of the new one; 0: nothing was done */
    uint64_t voters;              /* in the former cluster, this host included where it votes */
    uint64_t stored;              /* slots through this one are in the store */
    uint64_t decided;             /* ... known decided */
    uint64_t kept;                /* ... kept */
    uint64_t beyond;              /* slots accepted above a gap: not kept */
    struct ballot ballot;         /* highest one of a value kept; bottom: not known */
    uint64_t time_ns;             /* of slot `kept`, by the leader's clock */
    uint64_t inodes, bytes;       /* in the store */
    bool has_log;
    char date[RECOVER_DATE_SIZE]; /* in the names of what is set aside; "": nothing was done */
};

/* Look at a stopped directory. 0; -EWOULDBLOCK: a daemon runs on it; -EBADMSG; -errno; @error is
 * what a person reads. */
int recover_look(const char *state_dir, struct recovery *r, char *error, size_t error_size);
/* Do it, or go on with one that was begun. As above. */
int recover_force(const char *state_dir, struct recovery *r, char *error, size_t error_size);
/* All that in sentences; @out has RECOVER_TEXT_SIZE bytes. */
enum { RECOVER_TEXT_SIZE = 4096 };
void recover_text(const struct recovery *r, char *out);

#endif
