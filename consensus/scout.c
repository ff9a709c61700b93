#include "consensus/scout.h"

#include "base/assert.h"

static bool is_majority(uint32_t mask, uint32_t member_count)
{
    return (uint32_t)__builtin_popcount(mask) > member_count / 2;
}

void scout_init(struct scout *s, struct pvalue_table *pmax, uint32_t member_count)
{
    *s = (struct scout){.pmax = pmax, .member_count = member_count};
}

void scout_stop(struct scout *s)
{
    s->phase = SCOUT_IDLE;
}

void scout_prevote(struct scout *s, struct ballot ballot, uint64_t decided, uint64_t now_ns,
                   struct outbox *o)
{
    s->phase = SCOUT_PREVOTE;
    s->ballot = ballot;
    s->started_ns = now_ns;
    s->prevotes = 0;
    struct message m = {.kind = MESSAGE_PREVOTE, .prevote = {.ballot = ballot, .decided = decided}};
    outbox_send(o, o->everyone, &m);
}

enum scout_verdict scout_on_prevote_ack(struct scout *s, uint32_t from, const struct message *m)
{
    if (s->phase != SCOUT_PREVOTE || ballot_cmp(m->prevote_ack.ballot, s->ballot) != 0)
        return SCOUT_GOES_ON;
    if (m->prevote_ack.would_promise)
        s->prevotes |= UINT32_C(1) << from;
    return is_majority(s->prevotes, s->member_count) ? SCOUT_WON : SCOUT_GOES_ON;
}

static void ask(struct scout *s, uint32_t member, struct outbox *o)
{
    struct message m = {.kind = MESSAGE_P1A,
                        .p1a = {.ballot = s->ballot, .slot_first = s->wanted[member]}};
    outbox_send_after_persists(o, UINT32_C(1) << member, &m);
}

void scout_begin(struct scout *s, struct ballot ballot, uint64_t decided, uint64_t now_ns,
                 struct outbox *o)
{
    s->phase = SCOUT_PHASE1;
    s->ballot = ballot;
    s->started_ns = now_ns;
    s->retry_ns = now_ns + SCOUT_RETRY_NS;
    s->done = 0;
    s->collected = 0;
    pvalue_table_clear(s->pmax);
    for (uint32_t i = 0; i < s->member_count; i++) {
        s->wanted[i] = decided + 1;
        ask(s, i, o);
    }
}

/* Keep the pvalues of a page. False when one lies outside the table: then the page counts as lost,
 * since a report that is forgotten could undo a decision; it fits once this node has applied more.
 */
static bool keep_page(struct scout *s, const struct message *m)
{
    for (uint32_t i = 0; i < m->p1b.count; i++) {
        uint64_t slot = m->p1b.pvalues[i].slot;
        if (slot > s->pmax->base && !pvalue_table_covers(s->pmax, slot))
            return false;
    }
    for (uint32_t i = 0; i < m->p1b.count; i++) {
        const struct pvalue *p = &m->p1b.pvalues[i];
        const struct pvalue *best = pvalue_table_get(s->pmax, p->slot);
        bool is_better = !best || ballot_cmp(p->ballot, best->ballot) > 0;
        if (p->slot > s->pmax->base && is_better)
            pvalue_table_put(s->pmax, p);
    }
    return true;
}

enum scout_verdict scout_on_p1b(struct scout *s, uint32_t from, const struct message *m,
                                struct outbox *o)
{
    if (s->phase != SCOUT_PHASE1 || ballot_cmp(m->p1b.asked, s->ballot) != 0)
        return SCOUT_GOES_ON;
    int order = ballot_cmp(m->p1b.promised, s->ballot);
    if (order != 0)
        return order > 0 ? SCOUT_LOST : SCOUT_GOES_ON;

    uint32_t bit = UINT32_C(1) << from;
    if ((s->done & bit) || m->p1b.slot_first != s->wanted[from])
        return SCOUT_GOES_ON; /* a repeated page */
    if (m->p1b.collected > s->collected) {
        s->collected = m->p1b.collected;
        s->collected_by = from;
    }
    if (!keep_page(s, m))
        return SCOUT_GOES_ON;
    if (m->p1b.slot_next > s->wanted[from]) {
        s->wanted[from] = m->p1b.slot_next;
        ask(s, from, o);
        return SCOUT_GOES_ON;
    }
    s->done |= bit;
    return is_majority(s->done, s->member_count) ? SCOUT_WON : SCOUT_GOES_ON;
}

void scout_on_tick(struct scout *s, uint64_t now_ns, struct outbox *o)
{
    if (s->phase != SCOUT_PHASE1 || now_ns < s->retry_ns)
        return;
    s->retry_ns = now_ns + SCOUT_RETRY_NS;
    for (uint32_t i = 0; i < s->member_count; i++) {
        if (!(s->done & UINT32_C(1) << i))
            ask(s, i, o);
    }
}
