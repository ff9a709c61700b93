/* A host knocks with an invitation, and is let in: the log says so, then it is told who the members
 * are. Any member does that for it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/node.h"

#define ANSWER_NS (8 * NS_PER_S)

struct admission {
    struct admission *next;
    struct join_request *request; /* NULL: answered */
    uint64_t deadline_ns;
    bool is_under_way; /* its command */
    char name[MEMBER_NAME_MAX + 1];
};

/* What to do is said by who asked: a member may be only the first of several that it asks. */
static void refuse(struct node *n, struct join_request *r, const char *name, const char *why)
{
    struct peer_joined answer = {0};
    snprintf(answer.refused, sizeof answer.refused, "%s", why);
    log_event(LOG_WARN, "event=join_refused name=%s why=\"%s\"", name, why);
    transport_answer_join(n->transport, r, &answer);
}

static void welcome(struct node *n, struct admission *a)
{
    struct peer_joined answer = {0};
    NODE_EACH_SEAT (n, i) {
        const struct member *m = &n->membership.members[i];
        answer.members[i].node_id = m->node;
        answer.members[i].votes = m->role == MEMBER_VOTER;
        memcpy(answer.members[i].name, m->name, sizeof m->name);
        memcpy(answer.members[i].address, m->address, sizeof m->address);
    }
    log_event(LOG_INFO, "event=joined name=%s", a->name);
    transport_answer_join(n->transport, a->request, &answer);
    a->request = NULL;
}

static void on_decided(struct node *n, void *context, int error, const struct fs_outcome *outcome)
{
    struct admission *a = context;
    a->is_under_way = false;
    if (!a->request)
        return;
    members_follow(n); /* the joiner is among those it is told of */
    bool joined =
        !error && (outcome->verdict == MEMBERSHIP_DONE || outcome->verdict == MEMBERSHIP_ALREADY);
    if (joined) {
        welcome(n, a);
        return;
    }
    refuse(n, a->request, a->name, error ? strerror(-error) : membership_reason(outcome->verdict));
    a->request = NULL;
}

/* NULL, or why this node cannot let anybody in. */
static const char *judge(const struct node *n, const struct peer_join *join,
                         char address[ADDRESS_MAX + 1])
{
    if (!n->driver || n->membership.version == 0)
        return "this host takes no part itself yet";
    if (n->stop_phase != STOP_NOT)
        return "this host is stopping";
    if (!config_name_is_valid(join->name))
        return "that is no name of a member";
    if (!config_address(join->address, address))
        return "that is no address of a member";
    return NULL;
}

void admission_on_join(void *context, struct join_request *r, const struct peer_join *join)
{
    struct node *n = context;
    char address[ADDRESS_MAX + 1];
    const char *why = judge(n, join, address);
    struct admission *a = why ? NULL : calloc(1, sizeof *a);
    if (!a) {
        refuse(n, r, join->name, why ? why : "no memory");
        return;
    }
    a->request = r;
    a->deadline_ns = clock_now_ns() + ANSWER_NS;
    a->is_under_way = true;
    memcpy(a->name, join->name, sizeof a->name);
    a->next = n->admissions;
    n->admissions = a;
    struct fs_command c = {.op = FS_JOIN,
                           .nonce = join->node_id,
                           .data = join->secret,
                           .data_size = SECRET_SIZE,
                           .name = a->name,
                           .name_size = (uint32_t)strlen(a->name),
                           .new_name = address,
                           .new_name_size = (uint32_t)strlen(address)};
    serving_submit_own(n, &c, on_decided, a);
}

void admission_tick(struct node *n)
{
    uint64_t now = n->admissions ? clock_now_ns() : 0;
    struct admission **at = &n->admissions;
    while (*at) {
        struct admission *a = *at;
        if (a->request && now >= a->deadline_ns) {
            refuse(n, a->request, a->name, "no majority answers: start more hosts");
            a->request = NULL;
        }
        if (a->request || a->is_under_way) {
            at = &a->next;
            continue;
        }
        *at = a->next;
        free(a);
    }
}

void admission_stop(struct node *n)
{
    for (struct admission *a = n->admissions; a; a = a->next) {
        if (a->request)
            refuse(n, a->request, a->name, "this host is stopping");
        a->request = NULL;
    }
    admission_tick(n);
}
