#include "consensus/leader.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"

static_assert(WINDOW <= SLOTS_HELD_MAX, "the proposals of a window fit the table");
static_assert(2 * WINDOW <= EFFECTS_PVALUES_MAX, "a step sends each proposal at most twice");

void leader_init(struct leader *l, struct pvalue_table *proposals)
{
    memset(l, 0, sizeof *l);
    l->proposals = proposals;
}

void leader_stop(struct leader *l)
{
    l->active = false;
    l->is_serving = false;
    l->lease_before_ns = l->lease_after_ns = 0;
    read_holders_clear(&l->holders);
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
                                      .collect_through = leader_collect_through(l, o->everyone)}};
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
    l->lease_before_ns = l->lease_after_ns = 0;
    lease_reset(&l->lease);
    read_holders_clear(&l->holders);
    wall_init(&l->wall);
    memset(l->members_decided, 0, sizeof l->members_decided);
    memset(l->members_checkpointed, 0, sizeof l->members_checkpointed);
    intake_clear(&l->intake);
    send_heartbeat(l, v, o); /* the leases and the clocks */
}

static void raise(uint64_t *value, uint64_t to)
{
    if (to > *value)
        *value = to;
}

void leader_on_report(struct leader *l, uint64_t collected, uint64_t reported)
{
    raise(&l->collected, collected);
    raise(&l->adopted, collected);
    raise(&l->adopted, reported);
}

static void count_leases(struct leader *l, const struct configuration *c)
{
    l->lease_before_ns = lease_majority_until_ns(&l->lease, c->voters_before);
    l->lease_after_ns = lease_majority_until_ns(&l->lease, c->voters);
}

void leader_configure(struct leader *l, uint32_t changed, const struct leader_view *v)
{
    for (uint32_t seats = changed; seats != 0; seats &= seats - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(seats);
        l->members_decided[i] = l->members_checkpointed[i] = 0;
        lease_forget(&l->lease, i);
        wall_forget(&l->wall, i);
        intake_forget(&l->intake, i);
        read_holders_forget(&l->holders, i);
    }
    for (uint32_t i = 0; changed != 0 && i < WINDOW; i++)
        l->commanders[i].votes &= ~changed;
    count_leases(l, v->configuration);
}

void leader_on_p2b(struct leader *l, uint32_t from, const struct message *m)
{
    for (uint32_t i = 0; i < m->p2b.count; i++) {
        uint64_t slot = m->p2b.slots[i];
        if (slot < l->slot_in && slot + WINDOW >= l->slot_in && slot > l->proposals->base)
            l->commanders[slot % WINDOW].votes |= UINT32_C(1) << from; /* a mask: no vote twice */
    }
}

/* Once @slot is decided, the voters of the next one could elect another leader, which decides that
 * one although a read lease is out: unless they are bound to this leader for as long. Where the
 * voters stay the same they are: by the leases that a read lease ends within, and a new leader is
 * told of those that it inherits. */
static bool is_next_bound(const struct leader *l, uint64_t slot, const struct leader_view *v)
{
    const struct configuration *c = v->configuration;
    bool is_known = slot < v->applied + WINDOW; /* who governs the next */
    if (is_known && slot + 1 != c->from)
        return true;
    uint64_t last_ns = read_holders_last_ns(&l->holders, v->now_ns);
    if (last_ns == 0)
        return true;
    return is_known && configuration_is_majority(v->promised, c->voters) &&
           l->lease_after_ns >= last_ns;
}

/* Who leaves stops once @slot, the first under the new voters, is applied; and until someone of
 * them knows of every decision before, only the old ones can tell. So most of the new ones are to
 * know first, and will after a restart: or the loss of one, with the rest lagging, would leave
 * nobody who can be asked. Their answers to a heartbeat tell, the leader's own too. */
static bool are_heirs_told(const struct leader *l, uint64_t slot, const struct leader_view *v)
{
    const struct configuration *c = v->configuration;
    if (slot != c->from)
        return true;
    uint32_t told = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++)
        told |= (uint32_t)(l->members_decided[i] + 1 >= slot) << i;
    return configuration_is_majority(told, c->voters);
}

const struct pvalue *leader_decision(struct leader *l, uint64_t slot, const struct leader_view *v,
                                     struct outbox *o)
{
    if (slot >= l->slot_in || slot <= l->proposals->base)
        return NULL;
    uint32_t votes = l->commanders[slot % WINDOW].votes;
    if (!configuration_is_majority(votes, configuration_voters(v->configuration, slot)))
        return NULL;
    if (!are_heirs_told(l, slot, v))
        return NULL;
    if (!read_holders_permit(&l->holders, slot, v->now_ns, o) || !is_next_bound(l, slot, v))
        return NULL;
    return pvalue_table_get(l->proposals, slot);
}

void leader_on_heartbeat_ack(struct leader *l, uint32_t from, const struct message *m,
                             const struct leader_view *v)
{
    raise(&l->members_decided[from], m->heartbeat_ack.decided_through);
    raise(&l->members_checkpointed[from], m->heartbeat_ack.checkpointed);
    wall_heard(&l->wall, from, m->heartbeat_ack.wall_ns, v->now_ns);
    if (!m->heartbeat_ack.granted)
        return;
    lease_granted(&l->lease, from, m->heartbeat_ack.sent_ns);
    uint64_t before_ns = leader_lease_until_ns(l, v);
    count_leases(l, v->configuration);
    if (leader_lease_until_ns(l, v) > before_ns)
        l->unanswered = 0;
}

uint64_t leader_lease_until_ns(const struct leader *l, const struct leader_view *v)
{
    uint64_t from = v->configuration->from;
    if (v->decided + 1 >= from)
        return l->lease_after_ns;
    bool is_across = l->slot_in >= from && l->lease_after_ns < l->lease_before_ns;
    return is_across ? l->lease_after_ns : l->lease_before_ns;
}

bool leader_is_ready(const struct leader *l, const struct leader_view *v)
{
    /* The voters of the first undecided slot are known, and a majority of them promised: no leader
     * before this one can still decide it, and what one did decide was reported. */
    uint64_t next = v->decided + 1;
    return v->decided >= l->adopted && next <= v->applied + WINDOW &&
           configuration_is_majority(v->promised, configuration_voters(v->configuration, next));
}

bool leader_may_serve(const struct leader *l, const struct leader_view *v)
{
    return l->active && leader_is_ready(l, v) && v->now_ns < leader_lease_until_ns(l, v);
}

static bool has_vote_at_last(const struct leader_view *v)
{
    return v->configuration->voters & UINT32_C(1) << v->self;
}

bool leader_is_done(const struct leader_view *v)
{
    return !has_vote_at_last(v) && v->decided + 1 >= v->configuration->from;
}

uint64_t leader_collect_through(const struct leader *l, uint32_t everyone)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if ((everyone & UINT32_C(1) << i) && l->members_checkpointed[i] < lowest)
            lowest = l->members_checkpointed[i];
    }
    return lowest;
}

/* ---- read leases ---- */

/* It would make every decision wait until it has what it lacks. */
static bool is_far_behind(const struct leader *l, uint32_t member, uint64_t life, uint64_t decided)
{
    const struct read_holder *r = &l->holders.at[member];
    uint64_t has = l->members_decided[member];
    if (r->life == life && r->acked > has)
        has = r->acked;
    return has < decided && decided - has > ENTRIES_MAX;
}

void leader_on_lease_ask(struct leader *l, uint32_t from, const struct message *m,
                         const struct leader_view *v, struct outbox *o)
{
    if (from == v->self || !leader_may_serve(l, v))
        return;
    uint64_t life = m->lease_ask.life;
    if (configuration_is_leaving(v->configuration, from))
        return; /* it stops soon, and every decision would wait until its lease has ended */
    if (is_far_behind(l, from, life, v->decided) ||
        !read_holders_may_have(&l->holders, from, v->now_ns))
        return;
    uint64_t left_ns =
        read_holders_grant(&l->holders, from, life, leader_lease_until_ns(l, v), v->now_ns);
    if (left_ns == 0)
        return;
    uint64_t bound = l->adopted; /* decided, as it is ready */
    if (l->slot_in - 1 > bound)
        bound = l->slot_in - 1;
    if (v->decided > bound)
        bound = v->decided;
    struct message answer = {.kind = MESSAGE_LEASE_GRANT,
                             .lease_grant = {.ballot = l->ballot,
                                             .life = life,
                                             .sent_ns = m->lease_ask.sent_ns,
                                             .left_ns = left_ns,
                                             .bound = bound}};
    outbox_send(o, UINT32_C(1) << from, &answer);
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
    if (now_ns < c->sent_ns + wait_ns)
        return 0;
    return everyone & (~c->votes | read_holders_lacking(&l->holders, slot, now_ns));
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
    uint32_t voters = configuration_voters(v->configuration, l->slot_in);
    struct command *mine = requests_peek(own), *theirs = intake_peek(&l->intake);
    bool is_forwarded = theirs && (l->takes_forwarded || !mine);
    struct command *c = is_forwarded ? theirs : mine;
    if (!c || !wall_is_known(&l->wall, voters) || !has_room(l, c))
        return false;
    l->takes_forwarded = !is_forwarded;

    uint64_t time_ns = wall_bounded(&l->wall, voters, v->wall_ns, v->now_ns);
    propose(l, c, time_ns > l->time_ns ? time_ns : l->time_ns + 1);
    if (is_forwarded)
        intake_drop(&l->intake);
    else
        requests_sent(own, v->now_ns);
    return true;
}

/* R5; a majority of those who govern slot_in promised the ballot and reported; and who has no vote
 * from the change on leaves the slots after it to another. */
static bool may_propose(const struct leader *l, const struct leader_view *v)
{
    const struct configuration *c = v->configuration;
    if (l->slot_in > v->applied + WINDOW)
        return false;
    if (!configuration_is_majority(v->promised, configuration_voters(c, l->slot_in)))
        return false;
    return l->slot_in < c->from || has_vote_at_last(v);
}

static void fill_window(struct leader *l, const struct leader_view *v, struct requests *own)
{
    if (v->decided < l->collected)
        return; /* catching up: what was collected is decided, though not known here */
    if (l->slot_in <= v->decided)
        l->slot_in = v->decided + 1; /* fetched past it */
    while (may_propose(l, v)) {
        if (l->slot_in <= l->adopted)
            propose_adopted(l);
        else if (propose_new(l, v, own))
            continue;
        else if (l->slot_in <= v->configuration->from)
            propose(l, command_noop(), l->time_ns); /* so that the change governs soon */
        else
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
    if (l->announced != v->decided && v->decided + 1 == v->configuration->from) {
        send_heartbeat(l, v, o); /* the answers are awaited: see are_heirs_told() */
        is_told = true;
    }
    l->announced = v->decided;
    if (is_told)
        return;
    struct message m = {.kind = MESSAGE_DECIDED,
                        .decided = {.ballot = l->ballot, .through = v->decided}};
    outbox_send(o, o->others, &m);
}
