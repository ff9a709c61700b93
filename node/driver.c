#include "node/driver.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/held.h"

struct driver {
    struct paxos *paxos;
    struct driver_edges edges;
    uint64_t node;
    uint32_t self;                    /* own seat; MEMBERS_MAX: none */
    uint64_t durable;                 /* highest PERSIST number known durable */
    uint64_t persisted;               /* highest PERSIST number given to the log */
    uint64_t decided, logged;         /* highest slot decided; highest with its records durable */
    uint64_t records[SLOTS_HELD_MAX]; /* of slots logged+1..decided: the last PERSIST they need */
    uint64_t installed;               /* slot of the last snapshot; the log gives none up to it */
    struct held_list held;            /* wait for a PERSIST */
    struct held_list to_self;         /* wait for their turn */
    bool appended;                    /* records since the last commit */
    struct paxos_view view;
    struct peer_message outgoing;
    struct effects effects; /* large: last */
};

int driver_new(const struct paxos_config *config, const struct paxos_recovered *recovered,
               bool fresh, const struct driver_edges *edges, struct driver **out)
{
    struct driver *d = calloc(1, sizeof *d);
    void *memory = calloc(1, paxos_size());
    if (!d || !memory) {
        free(d);
        free(memory);
        return -ENOMEM;
    }
    d->edges = *edges;
    d->node = config->node;
    d->self = configuration_seat(&config->configuration, config->node);
    d->decided = d->logged = recovered->applied;
    held_list_init(&d->held);
    held_list_init(&d->to_self);
    effects_init(&d->effects);
    for (uint32_t i = 0; i < recovered->count; i++) /* the leader may count on these votes */
        pending_put(edges->pending, recovered->accepted[i].slot, recovered->accepted[i].command);
    d->paxos = paxos_init(memory, config, recovered, fresh, clock_now_ns());
    paxos_view(d->paxos, &d->view);
    *out = d;
    return 0;
}

void driver_free(struct driver *d)
{
    held_list_deinit(&d->held);
    held_list_deinit(&d->to_self);
    effects_clear(&d->effects);
    paxos_deinit(d->paxos);
    free(d->paxos);
    free(d);
}

/* ---- performing effects ---- */

static void send_now(struct driver *d, uint32_t to, const struct message *m)
{
    d->outgoing.kind = PEER_PAXOS;
    d->outgoing.paxos = *m;
    transport_send(d->edges.transport, to, &d->outgoing);
}

static void perform_send(struct driver *d, const struct send *send)
{
    if (send->after > d->durable) {
        if (held_list_add(&d->held, send) < 0)
            log_event(LOG_WARN, "event=message_lost why=no_memory");
        return;
    }
    uint32_t self_bit = d->self < MEMBERS_MAX ? UINT32_C(1) << d->self : 0;
    if (send->to & self_bit && held_list_add(&d->to_self, send) < 0)
        log_event(LOG_WARN, "event=message_lost why=no_memory");
    if (send->to & ~self_bit)
        send_now(d, send->to & ~self_bit, &send->message);
}

static const char *note_name(enum note_kind kind)
{
    switch (kind) {
    case NOTE_SUSPECT:
        return "suspect_leader";
    case NOTE_CANDIDATE:
        return "candidate";
    case NOTE_LEADER:
        return "leader";
    case NOTE_SERVING:
        return "serving";
    case NOTE_PREEMPTED:
        return "preempted";
    case NOTE_LEASE_LOST:
        return "lease_lost";
    case NOTE_FOLLOWING:
        return "following";
    case NOTE_HANDOVER:
        return "handover";
    case NOTE_BEHIND:
        return "behind";
    case NOTE_CAUGHT_UP:
        return "caught_up";
    case NOTE_CONFIGURED:
        return "configured";
    case NOTE_LEFT:
        return "left";
    case NOTE_READ_LEASE:
        return "read_lease";
    case NOTE_READ_LEASE_LOST:
        return "read_lease_lost";
    case NOTE_HOLDER_WAITED_OUT:
        return "holder_waited_out";
    }
    return "?";
}

static void log_note(struct driver *d, const struct note *note)
{
    log_event(note->kind == NOTE_LEASE_LOST || note->kind == NOTE_SUSPECT ? LOG_WARN : LOG_INFO,
              "event=%s ballot=%llu.%s slot=%llu", note_name(note->kind),
              (unsigned long long)note->ballot.round,
              d->edges.node_name(d->edges.context, note->ballot.leader),
              (unsigned long long)note->slot);
}

static void advance_logged(struct driver *d)
{
    while (d->logged < d->decided && d->records[(d->logged + 1) % SLOTS_HELD_MAX] <= d->durable)
        d->logged++;
}

static void perform_decide(struct driver *d, const struct pvalue *decided)
{
    d->decided = decided->slot;
    ASSERT(d->decided - d->logged <= SLOTS_HELD_MAX); /* the core holds no more than that */
    d->records[d->decided % SLOTS_HELD_MAX] = d->persisted;
    advance_logged(d);
    storer_apply(d->edges.storer, decided, d->persisted);
}

static void perform_persist(struct driver *d, const struct persist *persist)
{
    /* Before any SEND that follows, which may be the acknowledgement that it is. */
    if (persist->kind == PERSIST_ACCEPT || persist->kind == PERSIST_DECISION)
        pending_put(d->edges.pending, persist->pvalue.slot, persist->pvalue.command);
    logger_append(d->edges.logger, persist);
    d->appended = true;
    d->persisted = persist->number;
}

static void perform(struct driver *d, const struct effect *e)
{
    switch (e->kind) {
    case EFFECT_PERSIST:
        perform_persist(d, &e->persist);
        break;
    case EFFECT_SEND:
        perform_send(d, &e->send);
        break;
    case EFFECT_DECIDE:
        perform_decide(d, &e->decide);
        break;
    case EFFECT_READ_READY:
        d->edges.on_read_ready(d->edges.context, e->read_ready.read, e->read_ready.slot);
        break;
    case EFFECT_FETCH: /* the log thread reads behind all appended so far: `after` is kept */
        logger_read(d->edges.logger, e->fetch.to, e->fetch.first, e->fetch.last);
        break;
    case EFFECT_COLLECT:
        logger_collect(d->edges.logger, e->collect.slot);
        break;
    case EFFECT_SNAPSHOT:
        d->edges.on_snapshot(d->edges.context, e->snapshot.from);
        break;
    case EFFECT_NOTE:
        log_note(d, &e->note);
        break;
    }
}

/* Every slot <= @slot came with a snapshot, and with no record of the log. */
static void begin_after(struct driver *d, uint64_t slot)
{
    ASSERT(slot >= d->decided); /* equal: the state of that slot was lost */
    d->installed = d->decided = d->logged = slot;
    logger_collect(d->edges.logger, slot);
}

static void step(struct driver *d, struct event *event)
{
    event->now_ns = clock_now_ns();
    event->wall_ns = clock_wall_ns();
    paxos_step(d->paxos, event, &d->effects);
    paxos_view(d->paxos, &d->view);
    d->self = configuration_seat(&d->view.configuration, d->node);
    if (event->kind == EVENT_INSTALLED)
        begin_after(d, event->installed.slot);
    d->edges.on_view(d->edges.context, &d->view); /* first: see reads_is_current() */
    for (uint32_t i = 0; i < d->effects.count; i++)
        perform(d, &d->effects.list[i]);
    effects_clear(&d->effects);
}

/* What a node says to itself comes in like any message. Bounded: an answer to oneself is answered
 * no more than the few times the protocol has phases. */
static bool deliver_to_self(struct driver *d)
{
    struct held *h;
    bool delivered = false;
    while ((h = held_list_take(&d->to_self, UINT64_MAX))) {
        struct event event = {.kind = EVENT_MESSAGE,
                              .message = {.from = d->self, .message = &h->message}};
        step(d, &event);
        held_free(h);
        delivered = true;
    }
    return delivered;
}

void driver_step(struct driver *d, struct event *event)
{
    step(d, event);
    deliver_to_self(d);
}

void driver_flush(struct driver *d)
{
    struct event flush = {.kind = EVENT_FLUSH};
    do { /* what a node says to itself may be all that the next flush waits for */
        step(d, &flush);
    } while (deliver_to_self(d));
    if (d->appended)
        logger_commit(d->edges.logger);
    d->appended = false;
}

void driver_on_durable(struct driver *d, uint64_t number)
{
    d->durable = number;
    advance_logged(d);
    struct held *h;
    while ((h = held_list_take(&d->held, number))) {
        struct send send = {.to = h->to, .after = 0, .message = h->message};
        perform_send(d, &send);
        held_free(h);
    }
    deliver_to_self(d);
}

/* An answer read before a snapshot was installed may hold votes that lost, in slots that have only
 * since become decided here. */
static bool is_true(const struct driver *d, const struct pvalue *pvalue)
{
    return pvalue->slot > d->installed && pvalue->slot <= d->view.decided;
}

void driver_on_decisions(struct driver *d, uint32_t to, uint64_t slot_first, struct pvalue *pvalues,
                         uint32_t count)
{
    struct pvalue given[ENTRIES_MAX];
    ASSERT(count <= ENTRIES_MAX);
    struct message m = {.kind = MESSAGE_DECISIONS,
                        .decisions = {.slot_first = slot_first, .pvalues = given}};
    if (d->installed >= slot_first && d->installed > 0)
        m.decisions.slot_first = d->installed + 1;
    for (uint32_t i = 0; i < count; i++) { /* the log gives what it last held, decided or not */
        if (!is_true(d, &pvalues[i]))
            continue;
        given[m.decisions.count] = pvalues[i];
        given[m.decisions.count++].ballot = (struct ballot){0};
    }
    send_now(d, UINT32_C(1) << to, &m);
    for (uint32_t i = 0; i < count; i++)
        command_unref(pvalues[i].command);
}

uint64_t driver_logged(const struct driver *d)
{
    return d->logged;
}

const struct paxos_view *driver_view(const struct driver *d)
{
    return &d->view;
}
