#include "consensus/replica.h"

#include <stddef.h>
#include <string.h>

#include "base/assert.h"
#include "consensus/paxos.h"

#define HINT_NS     (100 * NS_PER_MS)
#define SNAPSHOT_NS (3 * NS_PER_S)    /* said so often */
#define TICK_NS_MAX (100 * NS_PER_MS) /* of a longer one the rest was a pause of this process */

static_assert(SLOTS_HELD_MAX + ENTRIES_MAX + 64 < EFFECTS_PER_STEP_MAX,
              "a step that decides all that is held, and stores a page, fits");

void replica_init(struct replica *r, struct pvalue_table *held, uint32_t self)
{
    memset(r, 0, sizeof *r);
    r->held = held;
    r->self = r->known_by = self;
    requests_init(&r->requests);
}

void replica_configure(struct replica *r, uint32_t changed, uint32_t self)
{
    r->self = self;
    if (changed & UINT32_C(1) << r->known_by)
        r->known_by = self; /* whoever has it: ask in turn */
    if (changed & UINT32_C(1) << r->fetch_from)
        r->fetch_last = 0;
    if (changed & UINT32_C(1) << r->snapshot_from)
        r->snapshot_first = 0;
}

void replica_on_applied(struct replica *r, uint64_t applied, uint64_t checkpointed)
{
    ASSERT(applied <= r->decided);
    ASSERT(checkpointed <= applied);
    if (applied > r->applied) {
        r->applied = applied;
        r->waiting_ns = 0;
    }
    if (checkpointed > r->checkpointed)
        r->checkpointed = checkpointed;
}

void replica_on_tick(struct replica *r, uint64_t now_ns)
{
    uint64_t ns = now_ns - r->ticked_ns;
    r->ticked_ns = now_ns;
    if (r->applied == r->decided)
        r->waiting_ns = 0;
    else
        r->waiting_ns += ns < TICK_NS_MAX ? ns : TICK_NS_MAX;
}

bool replica_is_stuck(const struct replica *r)
{
    return r->waiting_ns >= STUCK_NS;
}

void replica_decide(struct replica *r, const struct pvalue *pvalue, struct outbox *o)
{
    ASSERT(pvalue->slot == r->decided + 1);
    const struct pvalue *held = pvalue_table_get(r->held, pvalue->slot);
    struct pvalue decision = *pvalue;
    if (!held || ballot_cmp(held->ballot, decision.ballot) != 0) {
        /* The log has another vote for this slot, or none; what it holds last is what it replays
         * and serves. In slot order, so such a record also says that all below it is decided. */
        replica_hint_for(r, decision.slot, o);
        decision.ballot = (struct ballot){0};
        outbox_persist_pvalue(o, PERSIST_DECISION, &decision);
        pvalue_table_put(r->held, &decision);
    }
    r->decided++;
    r->decided_after[r->decided % SLOTS_HELD_MAX] = o->persists;
    if (decision.time_ns > r->time_ns)
        r->time_ns = decision.time_ns;
    outbox_decide(o, &decision);
    requests_decided(&r->requests, decision.command);
}

static void advance(struct replica *r, struct ballot ballot, uint64_t through, struct outbox *o)
{
    while (r->decided < through) {
        const struct pvalue *p = pvalue_table_get(r->held, r->decided + 1);
        if (!p || ballot_cmp(p->ballot, ballot) < 0)
            return;
        struct pvalue decided = *p;
        replica_decide(r, &decided, o);
    }
}

void replica_advance(struct replica *r, struct outbox *o)
{
    if (r->is_blank)
        return;
    advance(r, r->known_at, r->known, o);
}

void replica_on_decided(struct replica *r, uint32_t from, struct ballot ballot, uint64_t through,
                        struct outbox *o)
{
    if (!r->is_blank)
        advance(r, ballot, through, o);
    if (through < r->known || through <= r->decided)
        return;
    r->known = through;
    r->known_at = ballot;
    r->known_by = from;
}

void replica_on_others_decided(struct replica *r, uint32_t from, uint64_t through)
{
    if (through <= r->known || through <= r->decided)
        return;
    r->known = through;
    r->known_at = (struct ballot){UINT64_MAX, UINT64_MAX};
    r->known_by = from;
}

void replica_on_decisions(struct replica *r, uint32_t from, const struct message *m,
                          struct outbox *o)
{
    if (r->is_blank)
        return;
    if (m->decisions.slot_first > r->decided + 1) { /* its log begins later: it has dropped them */
        r->snapshot_first = m->decisions.slot_first;
        r->snapshot_from = from;
        return;
    }
    for (uint32_t i = 0; i < m->decisions.count; i++) {
        struct pvalue p = m->decisions.pvalues[i];
        if (p.slot != r->decided + 1)
            continue;
        if (!pvalue_table_covers(r->held, p.slot))
            break;
        bool fits = r->held->bytes + p.command->size <= HELD_BYTES_MAX;
        if (!fits && r->decided > r->applied)
            break; /* the store is behind: it frees memory as it applies */
        p.ballot = (struct ballot){0};
        replica_decide(r, &p, o);
        r->fetch_last = 0; /* it answered: the next question need not wait */
    }
    replica_advance(r, o);
}

void replica_on_fetch(const struct replica *r, uint32_t from, const struct message *m,
                      struct outbox *o)
{
    uint64_t first = m->fetch.first, last = m->fetch.last;
    if (last > r->decided)
        last = r->decided;
    if (first == 0 || first > last)
        return;
    if (first < r->log_first) {
        struct message none = {.kind = MESSAGE_DECISIONS,
                               .decisions = {.slot_first = r->log_first}};
        outbox_send(o, UINT32_C(1) << from, &none);
        return;
    }
    if (last - first >= ENTRIES_MAX)
        last = first + ENTRIES_MAX - 1;
    /* Of a slot that left the ring: the oldest number still there, which is no lower. */
    uint64_t at = last + SLOTS_HELD_MAX > r->decided ? last : r->decided - SLOTS_HELD_MAX + 1;
    outbox_fetch(o, from, r->decided_after[at % SLOTS_HELD_MAX], first, last);
}

static uint64_t lowest(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t low = a < b ? a : b;
    return low < c ? low : c;
}

/* The next seat after @member, round the table; oneself only when alone. */
static uint32_t next_member(const struct replica *r, uint32_t member, uint32_t everyone)
{
    for (uint32_t i = 1; i <= MEMBERS_MAX; i++) {
        uint32_t next = (member + i) % MEMBERS_MAX;
        if (next != r->self && (everyone & UINT32_C(1) << next))
            return next;
    }
    return r->self;
}

static void note_progress(struct replica *r, bool is_behind, struct outbox *o)
{
    if (is_behind == r->is_behind)
        return;
    r->is_behind = is_behind;
    outbox_note(o, is_behind ? NOTE_BEHIND : NOTE_CAUGHT_UP, (struct ballot){0}, r->decided);
}

bool replica_needs_snapshot(const struct replica *r)
{
    return r->is_blank || r->decided + 1 < r->snapshot_first;
}

/* Who said that its log does not reach back has the state; then the others in turn. A blank node
 * asks once it hears of anything. */
static void ask_for_snapshot(struct replica *r, uint32_t leader, uint64_t now_ns, struct outbox *o)
{
    bool is_known = leader < MEMBERS_MAX || r->snapshot_first != 0 || r->known > r->decided;
    if (!is_known || now_ns < r->snapshot_ns)
        return;
    bool is_first = r->snapshot_ns == 0;
    r->snapshot_ns = now_ns + SNAPSHOT_NS;
    if (!is_first)
        r->snapshot_from = next_member(r, r->snapshot_from, o->everyone);
    else if (r->snapshot_first == 0)
        r->snapshot_from = leader < MEMBERS_MAX ? leader : r->known_by;
    if (r->snapshot_from == r->self)
        r->snapshot_from = next_member(r, r->self, o->everyone);
    if (r->snapshot_from != r->self)
        outbox_snapshot(o, r->snapshot_from);
}

/* Whom to ask: a member that did not answer in time is passed over. */
static uint32_t choose_member(const struct replica *r, uint32_t leader, bool is_asked,
                              uint32_t everyone)
{
    if (is_asked)
        return next_member(r, r->fetch_from, everyone);
    uint32_t member = leader < MEMBERS_MAX ? leader : r->known_by;
    if (member == r->self)
        member = r->known_by;
    bool has_seat = everyone & UINT32_C(1) << member;
    return has_seat && member != r->self ? member : next_member(r, r->self, everyone);
}

void replica_fetch(struct replica *r, uint32_t leader, uint64_t now_ns, struct outbox *o)
{
    if (replica_needs_snapshot(r)) {
        note_progress(r, true, o);
        ask_for_snapshot(r, leader, now_ns, o);
        return;
    }
    r->snapshot_ns = 0;
    if (r->decided >= r->known) {
        r->fetch_last = 0;
        note_progress(r, false, o);
        return;
    }
    uint64_t first = r->decided + 1;
    uint64_t last = lowest(r->known, r->decided + ENTRIES_MAX, r->applied + SLOTS_HELD_MAX);
    bool is_asked = r->fetch_last >= first;
    if (first > last || (is_asked && now_ns < r->fetch_retry_ns))
        return;
    note_progress(r, true, o);

    r->fetch_from = choose_member(r, leader, is_asked, o->everyone);
    r->fetch_first = first;
    r->fetch_last = last;
    r->fetch_retry_ns = now_ns + RETRY_NS;
    struct message m = {.kind = MESSAGE_FETCH, .fetch = {.first = first, .last = last}};
    outbox_send(o, UINT32_C(1) << r->fetch_from, &m);
}

void replica_on_installed(struct replica *r, uint64_t slot, uint64_t time_ns, struct outbox *o)
{
    ASSERT(slot >= r->applied);
    r->is_blank = false;
    r->snapshot_first = 0;
    r->snapshot_ns = 0;
    r->fetch_last = 0;
    r->applied = r->checkpointed = slot;
    r->waiting_ns = 0;
    if (time_ns > r->time_ns)
        r->time_ns = time_ns;
    if (slot > r->decided)
        r->decided = slot;
    /* What the log holds of those slots may be votes that lost: it gives none of them to others. A
     * restart begins above them. */
    r->log_first = slot + 1;
    r->hinted = r->decided;
    outbox_persist_decided(o, r->decided);
}

void replica_hint(struct replica *r, uint64_t now_ns, struct outbox *o)
{
    if (r->decided == r->hinted || now_ns < r->hint_ns)
        return;
    r->hinted = r->decided;
    r->hint_ns = now_ns + HINT_NS;
    outbox_persist_decided(o, r->decided);
}

void replica_hint_for(struct replica *r, uint64_t slot, struct outbox *o)
{
    if (slot <= r->hinted + SLOTS_HELD_MAX || r->hinted == r->decided)
        return;
    r->hinted = r->decided;
    outbox_persist_decided(o, r->decided);
}

bool replica_remember(struct replica *r, uint64_t slot, struct outbox *o)
{
    if (r->decided < slot || r->remembered >= slot)
        return false;
    r->remembered = r->hinted = r->decided;
    outbox_persist_decided_to_last(o, r->decided);
    return true;
}

void replica_forward(struct replica *r, uint32_t leader, uint64_t now_ns, struct outbox *o)
{
    struct command *c = requests_peek(&r->requests);
    while (c) {
        struct message m = {.kind = MESSAGE_SUBMIT};
        uint64_t bytes = 0;
        for (; c && m.submit.count < ENTRIES_MAX && bytes < MESSAGE_BYTES;
             c = requests_peek(&r->requests)) {
            bytes += c->size;
            struct command **added = outbox_add_command(o, c);
            if (m.submit.count++ == 0)
                m.submit.commands = added;
            requests_sent(&r->requests, now_ns);
        }
        outbox_send(o, UINT32_C(1) << leader, &m);
    }
}
