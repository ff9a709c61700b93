/* Identities. A node id is made with its state directory and is never used again, so that a wiped
 * disk cannot vote as its former self (DESIGN §4).
 *
 * 1. `init` runs on each host alone, so at first nobody knows the others' ids; they come with
 * hellos.
 * 2. A node that knows all of them tells a hash of them. It pins them durably, and only then takes
 *    part in votes, when every other member has told the same hash: so whoever votes knows that
 *    nobody else could come to vote with other ids. All members must have met once.
 * 3. From then on a member that comes with another id is refused: its directory was wiped. One that
 *    has pinned tells its pins in the hello, so that who missed the end of 2 learns them from it.
 */
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "base/log.h"
#include "node/node.h"

void forming_fill_hello(void *context, struct peer_hello *hello)
{
    struct node *n = context;
    hello->node_id = n->config.node_id;
    hello->member_count = n->config.member_count;
    for (uint32_t i = 0; n->driver && i < n->config.member_count; i++)
        hello->pinned[i] = n->config.members[i].node_id;
}

uint64_t forming_met(const struct node *n)
{
    uint64_t ids[MEMBERS_MAX];
    for (uint32_t i = 0; i < n->config.member_count; i++)
        ids[i] = n->config.members[i].node_id;
    if (!config_is_formed(&n->config))
        return 0;
    uint64_t hash = XXH3_64bits(ids, n->config.member_count * sizeof ids[0]);
    return hash ? hash : 1;
}

static void form(struct node *n)
{
    int rc = config_pin_members(n->state_dir, &n->config);
    if (rc == 0)
        rc = node_start_core(n);
    if (rc < 0) {
        atomic_store(&n->failure_doing, "form the cluster");
        atomic_store(&n->failure, rc);
        uv_async_send(&n->wake);
        return;
    }
    log_event(LOG_INFO, "event=cluster_formed members=%u", n->config.member_count);
    status_tell_peers(n);
}

void forming_on_status(struct node *n)
{
    uint64_t met = forming_met(n);
    if (n->driver || met == 0)
        return;
    for (uint32_t i = 0; i < n->config.member_count; i++)
        if (i != n->config.self && n->members[i].status.met != met)
            return;
    form(n);
}

static const char *refuse_stranger(struct node *n, uint32_t index)
{
    static char reason[160];
    n->pins_conflict = true;
    snprintf(reason, sizeof reason,
             "%s is not who it was: its state directory was made anew; put the old one back, or "
             "replace the member",
             n->config.members[index].name);
    return reason;
}

static bool is_anothers_id(const struct node *n, uint32_t index, uint64_t node_id)
{
    for (uint32_t i = 0; i < n->config.member_count; i++)
        if (i != index && n->config.members[i].node_id == node_id)
            return true;
    return false;
}

/* Take over what a member has pinned, which all agreed on. Returns the reason to refuse, or NULL.
 */
static const char *learn_pins(struct node *n, uint32_t index, const struct peer_hello *hello)
{
    struct config *c = &n->config;
    if (hello->pinned[c->self] != c->node_id)
        return "you know my name with another state directory than mine";
    if (hello->pinned[index] != hello->node_id)
        return "your hello contradicts itself";
    for (uint32_t i = 0; i < c->member_count; i++) {
        if (hello->pinned[i] == 0)
            return "your hello contradicts itself";
    }
    for (uint32_t i = 0; i < c->member_count; i++)
        c->members[i].node_id = hello->pinned[i];
    form(n);
    return NULL;
}

const char *forming_on_hello(void *context, uint32_t index, const struct peer_hello *hello)
{
    struct node *n = context;
    struct config *c = &n->config;
    if (hello->member_count != c->member_count)
        return "the member lists differ: run init with the same --cluster on every host";
    if (n->driver)
        return c->members[index].node_id == hello->node_id ? NULL : refuse_stranger(n, index);
    if (hello->pinned[c->self])
        return learn_pins(n, index, hello);
    if (is_anothers_id(n, index, hello->node_id))
        return "two members have one identity: a state directory was copied; make it anew";

    c->members[index].node_id = hello->node_id;
    n->members[index].status.met = 0; /* said by another, or before */
    status_tell_peers(n);
    return NULL;
}
