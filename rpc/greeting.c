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
    m.hello.protocol_min = PROTOCOL_MIN;
    m.hello.protocol_max = PROTOCOL_MAX;
    snprintf(m.hello.name, sizeof m.hello.name, "%s", transport_name_of(t, t->config.self));
    transport_send_on(c, &m);
}

/* Tell the other side why, and wait a little for it to hang up: closing at once, with unread bytes,
 * would reset the connection and lose the reason. */
static void refuse(struct transport *t, struct connection *c, const char *reason)
{
    struct peer_message m = {.kind = PEER_REFUSE};
    snprintf(m.refuse.reason, sizeof m.refuse.reason, "%s", reason);
    transport_send_on(c, &m);
    connection_shutdown(c);
    c->state = CONNECTION_REFUSED;
    c->since_ns = clock_now_ns();
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

static int find_member(const struct transport *t, const char *name)
{
    for (uint32_t i = 0; i < t->config.member_count; i++)
        if (strcmp(transport_name_of(t, i), name) == 0)
            return (int)i;
    return -ENOENT;
}

/* NULL and the member's index, or why not. */
static const char *judge(struct transport *t, const struct connection *c,
                         const struct peer_hello *h, uint32_t *index)
{
    if (h->protocol_min > PROTOCOL_MAX || h->protocol_max < PROTOCOL_MIN)
        return "no common protocol version: upgrade the older host";
    if (h->cluster_id != t->config.cluster_id)
        return "another cluster";
    int found = find_member(t, h->name);
    if (found < 0)
        return "not a member of this cluster";
    *index = (uint32_t)found;
    if (*index == t->config.self)
        return "my own name";
    if (c->dialled && *index != c->index)
        return "another member answers at this address";
    if (!c->dialled && *index > t->config.self)
        return "the wrong side dials: the members are not in the same order on both";
    return t->config.callbacks.on_hello(t->config.callbacks.context, *index, h);
}

/* The member restarted, or its end of the old connection is gone: the new one is the one it uses.
 */
static void replace(struct transport *t, uint32_t index)
{
    struct peer *p = &t->peers[index];
    if (p->live)
        transport_end(t, p->live, "replaced by a newer connection");
}

static void establish(struct transport *t, struct connection *c, uint32_t index)
{
    replace(t, index);
    if (t->closing)
        return;
    struct peer *p = &t->peers[index];
    if (!c->dialled)
        t->strangers--;
    p->dialing = NULL;
    p->live = c;
    p->last_received_ns = c->last_received_ns;
    p->hears = UINT32_C(1) << t->config.self; /* it said hello; of others it has yet to tell */
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
    uint32_t index = t->config.self;
    const char *reason = judge(t, c, h, &index);
    if (t->closing)
        return;
    if (!reason) {
        establish(t, c, index);
        return;
    }
    if (!c->dialled) {
        greeting_note_stranger(t, c, h->name, reason);
        struct peer *p = &t->peers[index];
        if (index != t->config.self && !p->live)
            snprintf(p->last_error, sizeof p->last_error, "refused by us: %s", reason);
    }
    refuse(t, c, reason);
}

void greeting_on_refuse(struct transport *t, struct connection *c, const struct peer_refuse *r)
{
    char reason[sizeof t->peers[0].last_error];
    snprintf(reason, sizeof reason, "refused by it: %.140s", r->reason);
    transport_end(t, c, reason);
}
