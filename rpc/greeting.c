/* rpc/greeting.c: hello and refuse: who is let in, and what the other side is told. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "rpc/transport_internal.h"

void greeting_send(struct transport *t, struct connection *c)
{
    struct peer_message m = {.kind = PEER_HELLO};
    if (t->config.fill_hello)
        t->config.fill_hello(t->config.callbacks.context, &m.hello);
    m.hello.cluster_id = t->config.cluster_id;
    m.hello.node_id = t->node_id;
    m.hello.protocol_min = PROTOCOL_MIN;
    m.hello.protocol_max = PROTOCOL_MAX;
    memcpy(m.hello.name, t->name, sizeof m.hello.name);
    transport_send_on(c, &m);
}

static void refuse(struct transport *t, struct connection *c, const char *reason)
{
    struct peer_message m = {.kind = PEER_REFUSE, .refuse.retired = reason == transport_retired};
    snprintf(m.refuse.reason, sizeof m.refuse.reason, "%s", reason);
    transport_send_on(c, &m);
    transport_part(c);
    if (c->dialled) {
        char text[sizeof t->peers[0].last_error];
        snprintf(text, sizeof text, "refused by us: %s", reason);
        transport_set_error(t, c->index, text);
    }
}

void greeting_note_stranger(struct transport *t, const struct connection *c, const char *name,
                            const char *reason)
{
    char ip[sizeof c->remote], text[sizeof t->stranger_error];
    snprintf(ip, sizeof ip, "%s", c->remote);
    char *port = strrchr(ip, ':');
    if (port)
        *port = '\0';
    snprintf(text, sizeof text, "remote=%s name=\"%s\" reason=\"%s\"", ip, name, reason);
    if (strcmp(text, t->stranger_error) == 0)
        return;
    memcpy(t->stranger_error, text, sizeof text);
    log_event(LOG_WARN, "event=connection_refused %s", text);
}

/* The side that should not dial may all the same when it found nobody for long, if there is no
 * connection yet and none about to be: else both would end each other's. */
static bool may_dial(const struct transport *t, uint32_t index)
{
    const struct peer *p = &t->peers[index];
    if (!seats_dials(t, index))
        return true;
    return !p->live && !(p->dialing && p->dialing->state == CONNECTION_GREETING);
}

/* NULL and the member's seat, or why not. */
static const char *judge(struct transport *t, const struct connection *c,
                         const struct peer_hello *h, uint32_t *index)
{
    const struct transport_callbacks *cb = &t->config.callbacks;
    if (h->protocol_min > PROTOCOL_MAX || h->protocol_max < PROTOCOL_MIN)
        return "no common protocol version: upgrade the older host";
    if (h->cluster_id != t->config.cluster_id)
        return "another cluster";
    if (t->self == NOBODY)
        return "I am no member myself";
    uint32_t seat = seats_by_name(t, h->name);
    if (seat == NOBODY) {
        const char *reason = cb->on_unknown ? cb->on_unknown(cb->context, h) : NULL;
        return reason ? reason : "not a member of this cluster";
    }
    if (seat == t->self)
        return "my own name";
    *index = seat;
    if (c->dialled && seat != c->index)
        return "another member answers at this address";
    const char *reason = cb->on_hello(cb->context, seat, h);
    if (reason || t->closing)
        return reason;
    if (seats_by_name(t, h->name) != seat) {
        *index = NOBODY;
        return "the members have just changed";
    }
    if (t->config.members[seat].node_id && t->config.members[seat].node_id != h->node_id)
        return "another node has that name";
    uint32_t owner = seats_by_id(t, h->node_id);
    if (owner != NOBODY && owner != seat)
        return owner == t->self ? "my own node id" : "the node id of another member";
    if (!c->dialled && !may_dial(t, seat))
        return "the wrong side dials";
    return NULL;
}

/* The member restarted, or its end of the old connection is gone: the new one is the one it uses.
 */
static void replace(struct transport *t, const struct connection *c, uint32_t index)
{
    struct peer *p = &t->peers[index];
    struct connection *dialing = p->dialing;
    if (p->live)
        transport_end(t, p->live, "replaced by a newer connection");
    p->dialing = NULL;
    if (dialing && dialing != c && !t->closing)
        transport_end(t, dialing, "the other side dialled");
}

static void establish(struct transport *t, struct connection *c, const struct peer_hello *h,
                      uint32_t index)
{
    replace(t, c, index);
    if (t->closing)
        return;
    struct peer *p = &t->peers[index];
    if (!c->dialled)
        t->strangers--;
    p->live = c;
    p->last_received_ns = c->last_received_ns;
    p->node_id = h->node_id;
    p->alive = (struct peer_alive){1, {t->node_id}}; /* of others it has yet to tell */
    c->established = true;
    c->index = c->lane = index;
    c->state = CONNECTION_UP;
    c->since_ns = clock_now_ns();
    c->reader.size_max = 0;
    if (!c->dialled)
        greeting_send(t, c);
    t->config.callbacks.on_state(t->config.callbacks.context, index, true, "");
}

void greeting_on_hello(struct transport *t, struct connection *c, const struct peer_hello *h)
{
    uint32_t index = NOBODY;
    const char *reason = judge(t, c, h, &index);
    if (t->closing || c->state != CONNECTION_GREETING)
        return;
    if (!reason) {
        establish(t, c, h, index);
        return;
    }
    if (!c->dialled) {
        greeting_note_stranger(t, c, h->name, reason);
        if (index != NOBODY && !t->peers[index].live)
            snprintf(t->peers[index].last_error, sizeof t->peers[index].last_error,
                     "refused by us: %s", reason);
    }
    refuse(t, c, reason);
}

void greeting_on_refuse(struct transport *t, struct connection *c, const struct peer_refuse *r)
{
    char reason[sizeof t->peers[0].last_error];
    uint32_t index = c->index;
    snprintf(reason, sizeof reason, "refused by it: %.140s", r->reason);
    transport_end(t, c, reason);
    if (index == NOBODY || t->closing || !t->config.callbacks.on_refused)
        return; /* a stranger's word counts for nothing */
    t->config.callbacks.on_refused(t->config.callbacks.context, index,
                                   r->retired ? transport_retired : r->reason);
}
