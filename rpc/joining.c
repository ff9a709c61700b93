/* rpc/joining.c: who asks to become a member, and waits for the answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "rpc/transport_internal.h"

struct join_request {
    struct join_request *next;
    struct connection *connection; /* NULL: gone */
};

static void answer_on(struct connection *c, const struct peer_joined *answer)
{
    struct peer_message m = {.kind = PEER_JOINED, .joined = *answer};
    transport_send_on(c, &m);
    transport_part(c);
}

/* NULL: it is for the node to say. */
static const char *judge(const struct transport *t, const struct peer_join *join)
{
    if (join->protocol_min > PROTOCOL_MAX || join->protocol_max < PROTOCOL_MIN)
        return "no common protocol version: upgrade the older host";
    if (join->cluster_id != t->config.cluster_id)
        return "another cluster answers at this address";
    if (t->self == NOBODY || !t->config.callbacks.on_join)
        return "this node lets nobody join: ask another one";
    if (t->join_count >= JOINS_MAX) /* also of those who hung up since */
        return "too many ask to join: try again";
    return NULL;
}

void joining_on_join(struct transport *t, struct connection *c, const struct peer_join *join)
{
    const char *reason = judge(t, join);
    struct join_request *r = reason ? NULL : calloc(1, sizeof *r);
    if (!reason && !r)
        reason = "no memory";
    if (reason) {
        struct peer_joined answer = {0};
        snprintf(answer.refused, sizeof answer.refused, "%s", reason);
        greeting_note_stranger(t, c, join->name, reason);
        answer_on(c, &answer);
        return;
    }
    *r = (struct join_request){.next = t->joins, .connection = c};
    t->joins = r;
    t->join_count++;
    c->state = CONNECTION_JOINING;
    c->since_ns = clock_now_ns();
    log_event(LOG_INFO, "event=join_asked remote=%s name=\"%s\"", c->remote, join->name);
    t->config.callbacks.on_join(t->config.callbacks.context, r, join);
}

void transport_answer_join(struct transport *t, struct join_request *r,
                           const struct peer_joined *answer)
{
    struct join_request **at = &t->joins;
    while (*at && *at != r)
        at = &(*at)->next;
    ASSERT(*at == r);
    *at = r->next;
    t->join_count--;
    if (r->connection)
        answer_on(r->connection, answer);
    free(r);
}

void joining_forget(struct transport *t, const struct connection *c)
{
    for (struct join_request *r = t->joins; r; r = r->next)
        if (r->connection == c)
            r->connection = NULL;
}

void joining_deinit(struct transport *t)
{
    while (t->joins) {
        struct join_request *r = t->joins;
        t->joins = r->next;
        free(r);
    }
    t->join_count = 0;
}
