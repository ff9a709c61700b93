/* Identities. A node id is made with its state directory and is never used again, so that a wiped
 * disk cannot vote as its former self (DESIGN §4).
 *
 * 1. `init` runs on each host alone, so at first nobody knows the others' ids.
 * 2. Nodes learn them from hellos. A node takes part in votes only once it has pinned all of them
 *    durably; that needs every member to have met once (or one that has).
 * 3. From then on a member that comes with another id is refused: its directory was wiped. A fresh
 *    directory of the same name can never pin all, since those who know refuse it. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "node/node.h"

void forming_fill_hello(void *context, struct peer_hello *hello)
{
    struct node *n = context;
    hello->node_id = n->config.node_id;
    hello->member_count = n->config.member_count;
    for (uint32_t i = 0; i < n->config.member_count; i++)
        hello->pinned[i] = n->config.members[i].node_id;
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

/* Learn what a hello tells. Returns the reason to refuse, or NULL. */
static const char *learn(struct node *n, uint32_t index, const struct peer_hello *hello)
{
    struct config *c = &n->config;
    if (hello->member_count != c->member_count)
        return "the member lists differ: run init with the same --cluster on every host";
    if (hello->pinned[c->self] && hello->pinned[c->self] != c->node_id)
        return "you know my name with another state directory than mine";

    bool is_formed = true;
    for (uint32_t i = 0; i < hello->member_count; i++)
        is_formed = is_formed && hello->pinned[i];
    if (!is_formed) {
        c->members[index].node_id = hello->node_id;
        return NULL;
    }
    if (hello->pinned[index] != hello->node_id)
        return "your hello contradicts itself";
    for (uint32_t i = 0; i < c->member_count; i++)
        c->members[i].node_id = hello->pinned[i];
    return NULL;
}

const char *forming_on_hello(void *context, uint32_t index, const struct peer_hello *hello)
{
    struct node *n = context;
    struct config *c = &n->config;
    if (n->driver || config_is_formed(c))
        return c->members[index].node_id == hello->node_id ? NULL : refuse_stranger(n, index);

    const char *refusal = learn(n, index, hello);
    if (refusal || !config_is_formed(c))
        return refusal;
    int rc = config_pin_members(n->state_dir, c);
    if (rc == 0)
        rc = node_start_core(n);
    if (rc < 0) {
        atomic_store(&n->failure_doing, "form the cluster");
        atomic_store(&n->failure, rc);
        uv_async_send(&n->wake);
        return NULL;
    }
    log_event(LOG_INFO, "event=cluster_formed members=%u", c->member_count);
    return NULL;
}
