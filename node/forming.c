/* Identities. A node id is made with its state directory and is never used again, so that a wiped
 * disk cannot vote as its former self (DESIGN §4).
 *
 * 1. `init` runs on each host alone, so at first nobody knows the others' ids; they come with
 * hellos.
 * 2. A node that knows all of them tells a hash of them. It pins them durably, and only then takes
 *    part in votes, when every other member has told the same hash: so whoever votes knows that
 *    nobody else could come to vote with other ids. All members must have met once.
 * 3. The pinned members are what the replicated membership begins with (node/members.c), before
 * slot
 *    1. From then on a member that comes with another id is refused: its directory was wiped.
 * 4. One that has pinned tells its pins in the hello, so that who missed the end of 2 learns them
 *    from it, and gives up what it had met: a member that was wiped midway, after some had pinned
 *    its former id, is nobody's member, and the connection to it ends when the pins are taken over.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/node.h"

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

int forming_begin_membership(struct node *n)
{
    struct member members[MEMBERS_MAX];
    struct membership m;
    const struct config *c = &n->config;
    store_membership(n->store, &m);
    if (c->has_joined || !membership_is_empty(&m))
        return 0;
    if (store_applied(n->store) > 0)
        return -EPROTO; /* of a paxfs that kept no members in its state */
    memset(members, 0, sizeof members);
    for (uint32_t i = 0; i < c->member_count; i++) {
        members[i].node = c->members[i].node_id;
        memcpy(members[i].name, c->members[i].name, sizeof members[i].name);
        memcpy(members[i].address, c->members[i].address, sizeof members[i].address);
    }
    membership_begin(&m, members, c->member_count);
    return store_begin_membership(n->store, &m);
}

/* The store's membership has the seats that the loop has used so far, with the ids that were agreed
 * on: connections of others end. */
static int begin(struct node *n)
{
    char error[512];
    struct transport_member members[MEMBERS_MAX];
    int rc = config_pin_members(n->state_dir, &n->config);
    if (rc == 0)
        rc = forming_begin_membership(n);
    if (rc == 0)
        rc = members_open(n, error, sizeof error);
    if (rc < 0)
        return rc;
    members_for_transport(&n->membership, members);
    transport_set_members(n->transport, members);
    return node_start_core(n);
}

static void form(struct node *n)
{
    int rc = begin(n);
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
    if (n->driver || met == 0 || atomic_load(&n->failure))
        return;
    for (uint32_t i = 0; i < n->config.member_count; i++)
        if (i != n->config.self && n->members[i].status.met != met)
            return;
    form(n);
}

static bool is_anothers_id(const struct node *n, uint32_t seat, uint64_t node_id)
{
    for (uint32_t i = 0; i < n->config.member_count; i++)
        if (i != seat && n->config.members[i].node_id == node_id)
            return true;
    return false;
}

/* Take over what a member has pinned, which all agreed on. Returns the reason to refuse, or NULL.
 */
static const char *learn_pins(struct node *n, uint32_t seat, const struct peer_hello *hello)
{
    struct config *c = &n->config;
    if (hello->pinned[c->self] != c->node_id)
        return "you know my name with another state directory than mine";
    for (uint32_t i = 0; i < c->member_count; i++) {
        if (hello->pinned[i] == 0)
            return "your hello contradicts itself";
    }
    for (uint32_t i = 0; i < c->member_count; i++)
        c->members[i].node_id = hello->pinned[i];
    form(n);
    return hello->pinned[seat] == hello->node_id ? NULL : "I know another node of that name";
}

const char *forming_judge(struct node *n, uint32_t seat, const struct peer_hello *hello)
{
    struct config *c = &n->config;
    ASSERT(seat < c->member_count); /* as long as the cluster is not formed, a seat is an index */
    if (atomic_load(&n->failure))
        return "this host is stopping";
    if (hello->member_count == 0)
        return "I do not know yet how the cluster began; a member that began it has to tell me";
    if (hello->member_count != c->member_count)
        return "the member lists differ: run init with the same --cluster on every host";
    if (hello->pinned[c->self])
        return learn_pins(n, seat, hello);
    if (is_anothers_id(n, seat, hello->node_id))
        return "two members have one identity: a state directory was copied; make it anew";

    c->members[seat].node_id = hello->node_id;
    n->membership.members[seat].node = hello->node_id;
    n->members[seat].status.met = 0; /* said by another, or before */
    status_tell_peers(n);
    return NULL;
}
