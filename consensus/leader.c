#include "consensus/leader.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"

static_assert(WINDOW <= SLOTS_HELD_MAX, "the proposals of a window fit the table");
static_assert(2 * WINDOW <= EFFECTS_PVALUES_MAX, "a step sends each proposal at most twice");

void leader_init(struct leader *l, struct pvalue_table *proposals, uint32_t member_count)
{
    memset(l, 0, sizeof *l);
    l->proposals = proposals;
    l->member_count = member_count;
}

void leader_stop(struct leader *l)
{
    l->active = false;
    l->is_serving = false;
    l->lease_until_ns = 0;
    intake_clear(&l->intake);
}

static void send_heartbeat(struct leader *l, const struct leader_view *v, struct outbox *o)
{
    l->heartbeat_ns = v->now_ns + HEARTBEAT_NS;
    l->unanswered++;
    struct message m = {.kind = MESSAGE_HEARTBEAT,
                        .heartbeat = {.ballot = l->ballot,
                                      .sent_ns = v->now_ns,
                                      .decided_through = v->decided,
                                      .collect_through = v->collect_through}};
    outbox_send(o, o->everyone, &m);
}

void leader_start(struct leader *l, struct ballot ballot, uint64_t collected, uint64_t time_ns,
                  const struct leader_view *v, struct outbox *o)
{
    l->active = true;
    l->is_serving = false;
    l->ballot = ballot;
    l->collected = collected;
    l->adopted = collected;
    if (l->proposals->last > l->adopted)
        l->adopted = l->proposals->last;
    if (v->decided > l->adopted)
        l->adopted = v->decided;
    l->slot_in = l->slot_sent = v->decided + 1;
    l->announced = v->decided;
    l->time_ns = time_ns;
    l->unanswered = 0;
    l->lease_until_ns = 0;
    lease_reset(&l->lease);
    wall_init(&l->wall, l->member_count);
    memset(l->members_decided, 0, sizeof l->members_decided);
    memset(l->members_checkpointed, 0, sizeof l->members_checkpointed);
    intake_clear(&l->intake);
    send_heartbeat(l, v, o); /* the leases and the clocks */
}

void leader_on_p2b(struct leader *l, uint32_t from, const struct message *m)
{
    for (uint32_t i = 0; i < m->p2b.count; i++) {
        uint64_t slot = m->p2b.slots[i];
        if (slot < l->slot_in && slot + WINDOW >= l->slot_in && slot > l->proposals->base)
            l->commanders[slot % WINDOW].votes |= UINT32_C(1) << from; /* a mask: no vote twice */
    }
}

const struct pvalue *leader_decision(const struct leader *l, uint64_t slot)
{
    if (slot >= l->slot_in || slot <= l->proposals->base)
        return NULL;
    uint32_t votes = (uint32_t)__builtin_popcount(l->commanders[slot % WINDOW].votes);
    if (votes <= l->member_count / 2)
        return NULL;
    return pvalue_table_get(l->proposals, slot);
}

static void raise(uint64_t *value, uint64_t to)
{
    if (to > *value)
        *value = to;
}

void leader_on_heartbeat_ack(struct leader *l, uint32_t from, const struct message *m,
                             uint64_t now_ns)
{
    raise(&l->members_decided[from], m->heartbeat_ack.decided_through);
    raise(&l->members_checkpointed[from], m->heartbeat_ack.checkpointed);
    wall_heard(&l->wall, from, m->heartbeat_ack.wall_ns, now_ns);
    if (!m->heartbeat_ack.granted)
        return;
    lease_granted(&l->lease, from, m->heartbeat_ack.sent_ns);
    uint64_t until_ns = lease_majority_until_ns(&l->lease, l->member_count);
    if (until_ns <= l->lease_until_ns)
        return;
    l->lease_until_ns = until_ns;
    l->unanswered = 0;
}

bool leader_is_ready(const struct leader *l, uint64_t decided)
{
    return decided >= l->adopted;
}

bool leader_may_serve(const struct leader *l, const struct leader_view *v)
{
    return l->active && leader_is_ready(l, v->decided) && v->now_ns < l->lease_until_ns;
}

uint64_t leader_collect_through(const struct leader *l)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; i < l->member_count; i++) {
        if (l->members_checkpointed[i] < lowest)
            lowest = l->members_checkpointed[i];
    }
    return lowest;
}

/* ---- commanders ---- */

static bool may_join(const struct leader *l, const struct message *m, uint64_t bytes, uint64_t slot)
{
    if (m->p2a.count == ENTRIES_MAX)
        return false;
    const struct pvalue *p = pvalue_table_get(l->proposals, slot);
    return m->p2a.count == 0 || bytes + p->command->size <= MESSAGE_BYTES;
}

/* One p2a with slots from @first on, below @end, to @to. Returns the first slot it does not carry.
 */
static uint64_t send_p2a(struct leader *l, uint64_t first, uint64_t end, uint32_t to,
                         const struct leader_view *v, struct outbox *o)
{
    struct message m = {.kind = MESSAGE_P2A,
                        .p2a = {.ballot = l->ballot, .decided_through = v->decided}};
    uint64_t bytes = 0, slot = first;
    for (; slot < end && may_join(l, &m, bytes, slot); slot++) {
        const struct pvalue *p = pvalue_table_get(l->proposals, slot);
        struct pvalue *added = outbox_add_pvalue(o, p);
        if (m.p2a.count++ == 0)
            m.p2a.pvalues = added;
        bytes += p->command->size;
        struct commander *c = &l->commanders[slot % WINDOW];
        c->sent_ns = v->now_ns;
        c->tries++;
    }
    outbox_send(o, to, &m);
    return slot;
}

/* Who is to get the p2a of @slot again now; 0: nobody yet. */
static uint32_t overdue(const struct leader *l, uint64_t slot, uint64_t now_ns, uint32_t everyone)
{
    const struct commander *c = &l->commanders[slot % WINDOW];
    uint64_t wait_ns =
        RETRY_NS << (c->tries < 4 ? c->tries - 1 : 3); /* a slow disk needs no more load */
    return now_ns < c->sent_ns + wait_ns ? 0 : everyone & ~c->votes;
}

static void send_overdue(struct leader *l, const struct leader_view *v, struct outbox *o)
{
    uint64_t slot = v->decided + 1;
    while (slot < l->slot_sent) {
        uint32_t to = overdue(l, slot, v->now_ns, o->everyone);
        if (to == 0) {
            slot++;
            continue;
        }
        uint64_t end = slot + 1;
        while (end < l->slot_sent && overdue(l, end, v->now_ns, o->everyone) == to)
            end++;
        slot = send_p2a(l, slot, end, to, v, o);
    }
}

bool leader_on_tick(struct leader *l, const struct leader_view *v, struct outbox *o)
{
    if (v->now_ns >= l->heartbeat_ns) {
        if (l->unanswered >= LEADER_UNANSWERED_MAX)
            return false;
        send_heartbeat(l, v, o);
    }
    send_overdue(l, v, o);
    return true;
}

/* ---- proposing ---- */

static void propose(struct leader *l, struct command *command, uint64_t time_ns)
{
    struct pvalue p = {
        .ballot = l->ballot, .slot = l->slot_in, .time_ns = time_ns, .command = command};
    pvalue_table_put(l->proposals, &p);
    l->commanders[l->slot_in % WINDOW] = (struct commander){0};
    l->slot_in++;
    raise(&l->time_ns, time_ns);
}

/* Propose again what may have been chosen at a lower ballot; a no-op where nothing was. */
static void propose_adopted(struct leader *l)
{
    const struct pvalue *p = pvalue_table_get(l->proposals, l->slot_in);
    if (p)
        propose(l, p->command, p->time_ns);
    else
        propose(l, command_noop(), l->time_ns);
}

static bool has_room(const struct leader *l, const struct command *c)
{
    return l->proposals->bytes + c->size <= WINDOW_BYTES;
}

/* Own and forwarded commands take turns. False when nothing waits, or it does not fit. */
static bool propose_new(struct leader *l, const struct leader_view *v, struct requests *own)
{
    struct command *mine = requests_peek(own), *theirs = intake_peek(&l->intake);
    bool is_forwarded = theirs && (l->takes_forwarded || !mine);
    struct command *c = is_forwarded ? theirs : mine;
    if (!c || !wall_is_known(&l->wall) || !has_room(l, c))
        return false;
    l->takes_forwarded = !is_forwarded;

    uint64_t time_ns = wall_bounded(&l->wall, v->wall_ns, v->now_ns);
    propose(l, c, time_ns > l->time_ns ? time_ns : l->time_ns + 1);
    if (is_forwarded)
        intake_drop(&l->intake);
    else
        requests_sent(own, v->now_ns);
    return true;
}

static void fill_window(struct leader *l, const struct leader_view *v, struct requests *own)
{
    if (v->decided < l->collected)
        return; /* catching up: what was collected is decided, though not known here */
    if (l->slot_in <= v->decided)
        l->slot_in = v->decided + 1;            /* fetched past it */
    while (l->slot_in <= v->applied + WINDOW) { /* R5 */
        if (l->slot_in <= l->adopted)
            propose_adopted(l);
        else if (!propose_new(l, v, own))
            break;
    }
}

void leader_flush(struct leader *l, const struct leader_view *v, struct requests *own,
                  struct outbox *o)
{
    fill_window(l, v, own);
    if (l->slot_sent <= v->decided)
        l->slot_sent = v->decided + 1;
    bool is_told = l->announced == v->decided;
    while (l->slot_sent < l->slot_in) {
        l->slot_sent = send_p2a(l, l->slot_sent, l->slot_in, o->everyone, v, o);
        is_told = true;
    }
    l->announced = v->decided;
    if (is_told)
        return;
    struct message m = {.kind = MESSAGE_DECIDED,
                        .decided = {.ballot = l->ballot, .through = v->decided}};
    outbox_send(o, o->others, &m);
}
