/* node/config.h: the state directory: what `paxfs init` writes and `paxfsd` reads.
 *
 *   config      key=value lines: version, cluster_id, node_id, name, listen (where this host is
 *               reached), joined=1 (it joined, rather than began, the cluster, or was restored or
 *               recovered: its members are the store's), and for each member that was known at
 *               first member=NAME=ADDR; none: a join that is not finished
 *   members     their node ids, written by the daemon when all have met once, or by the join
 *   life        how often a daemon has started on this directory
 *   lock        flock()ed by the daemon, so that a second one refuses
 *   admin.sock  admin requests (rpc/admin.h)
 *   wal/        the log (node/wal.h)
 *   restoring, recovering
 *               what `paxfs restore` and `paxfs recover` began and did not end: no daemon starts
 *   store.N/    the LMDB environment; `checkpoint` names the one in use (fs/store.h)
 */
#ifndef NODE_CONFIG_H
#define NODE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct config_member {
    char name[MEMBER_NAME_MAX + 1];
    char address[ADDRESS_MAX + 1];
    uint64_t node_id; /* pinned; 0 until met */
};

struct config {
    uint64_t cluster_id;
    uint64_t node_id;
    char name[MEMBER_NAME_MAX + 1];
    char listen[ADDRESS_MAX + 1]; /* the own address */
    bool has_joined;              /* a running cluster, rather than begun one */
    /* As known at first; later the replicated membership tells. Sorted by name: where the cluster
     * was begun, the index is the same on every host. */
    uint32_t self, member_count;
    struct config_member members[MEMBERS_MAX];
};

/* Is @name one for a member? */
bool config_name_is_valid(const char *name);
/* @text, "IPV4:PORT" or "[IPV6]:PORT", in the one way that it is written. False: it is neither, or
 * an address nobody can dial. */
bool config_address(const char *text, char out[ADDRESS_MAX + 1]);
/* Parse "n1=A:P,n2=A:P" into @c->members, sorted by name; finds @name. 0 or -EINVAL with @error. */
int config_parse_cluster(struct config *c, const char *cluster, const char *name, char *error,
                         size_t error_size);
/* Create @dir (mode 0700) with a new random node id. -EEXIST when it holds a config already
 * (nothing is changed), -ENOTEMPTY when it holds something else; @error is what a person reads. */
int config_init(const char *dir, struct config *c, char *error, size_t error_size);
/* Read config and members. 0; -ENOENT: not a state directory; -EINPROGRESS: its join, restore
 * or recovery is not finished; -EBADMSG: damaged or of a later version; other -errno; @error is
 * what a person reads: what, why, what to do. */
int config_load(const char *dir, struct config *c, char *error, size_t error_size);
/* `paxfs join`, in two steps: make @dir for a host that is to join cluster @cluster_id as @name,
 * or, where a former try left it unfinished or finished, find its identity again; fills @c (name,
 * listen, node_id, cluster_id). @listen may differ from the former try's: it is taken over.
 * 0; -EINVAL (@listen is no address); -EEXIST: it is the state of something else; -ENOTEMPTY;
 * -errno; @error is what a person reads. */
int config_begin_join(const char *dir, const char *name, const char *listen, uint64_t cluster_id,
                      struct config *c, char *error, size_t error_size);
/* ... and write down @c->members, with their ids, as the cluster told them: from now on a daemon
 * may start there. 0 or -errno. */
int config_finish_join(const char *dir, const struct config *c);
/* A cluster of this host alone that does not begin at slot 0, restored or recovered: @name and
 * @listen with ids that nobody had before, in @c. config_finish_join() writes it down, in the place
 * of what is there. 0; -EINVAL with @error; -errno. */
int config_renew(struct config *c, const char *name, const char *listen, char *error,
                 size_t error_size);
/* The own address has changed: durably. 0 or -errno. */
int config_set_listen(const char *dir, const char *listen);
/* Write the pinned ids durably. 0 or -errno. */
int config_pin_members(const char *dir, const struct config *c);
/* True when every member's id is pinned. */
bool config_is_formed(const struct config *c);
/* How many daemons have started on @dir: 0 before the first. 0, -EBADMSG, -errno. */
int config_life(const char *dir, uint64_t *life);
/* Durably begin life number @life. 0 or -errno. */
int config_begin_life(const char *dir, uint64_t life);
/* Take STATE/lock. Returns a descriptor to keep open; -EWOULDBLOCK: another daemon has it. */
int config_lock(const char *dir);

#endif
