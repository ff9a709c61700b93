#include "consensus/scout.h"

#include "base/assert.h"

void scout_init(struct scout *s, struct pvalue_table *pmax)
{
    *s = (struct scout){.pmax = pmax};
}

void scout_stop(struct scout *s)
{
    s->phase = SCOUT_IDLE;
}

void scout_go_on(struct scout *s)
{
    ASSERT(s->phase == SCOUT_PHASE1);
    s->phase = SCOUT_LEADING;
}

void scout_forget(struct scout *s, uint32_t member)
{
    uint32_t bit = UINT32_C(1) << member;
    s->done &= ~bit;
    s->prevotes &= ~bit;
    s->wanted[member] = 0;
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

enum scout_verdict scout_on_prevote_ack(struct scout *s, uint32_t from, const struct message *m,
                                        const struct in_play *play)
{
    if (s->phase != SCOUT_PREVOTE || ballot_cmp(m->prevote_ack.ballot, s->ballot) != 0)
        return SCOUT_GOES_ON;
    if (m->prevote_ack.would_promise)
        s->prevotes |= UINT32_C(1) << from;
    return in_play_is_majority(play, s->prevotes) ? SCOUT_WON : SCOUT_GOES_ON;
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
    s->proposed = s->reported = 0;
    s->reader_count = 0;
    s->readers_until_ns = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        s->wanted[i] = decided + 1;
        if (o->everyone & UINT32_C(1) << i)
            ask(s, i, o);
    }
}

static void keep_reader(struct scout *s, struct lease_reader r)
{
    for (uint32_t i = 0; i < s->reader_count; i++) {
        struct lease_reader *known = &s->readers[i];
        if (known->node != r.node || known->life != r.life)
            continue;
        if (r.until_ns > known->until_ns)
            known->until_ns = r.until_ns;
        return;
    }
    if (s->reader_count < MEMBERS_MAX)
        s->readers[s->reader_count++] = r;
    else if (r.until_ns > s->readers_until_ns)
        s->readers_until_ns = r.until_ns;
}

/* Keep the pvalues of a page. False when one lies outside the table: then the page counts as lost,
 * since a report that is forgotten could undo a decision; it fits once this node has applied more.
 */
static bool keep_page(struct scout *s, const struct message *m)
{
    for (uint32_t i = 0; i < m->p1b.count; i++) {
        uint64_t slot = m->p1b.pvalues[i].slot;
        if (slot > s->pmax->base && slot > s->proposed && !pvalue_table_covers(s->pmax, slot))
            return false;
    }
    for (uint32_t i = 0; i < m->p1b.count; i++) {
        const struct pvalue *p = &m->p1b.pvalues[i];
        const struct pvalue *best = pvalue_table_get(s->pmax, p->slot);
        bool is_better = !best || ballot_cmp(p->ballot, best->ballot) > 0;
        if (p->slot <= s->pmax->base || p->slot <= s->proposed || !is_better)
            continue;
        pvalue_table_put(s->pmax, p);
        if (p->slot > s->reported)
            s->reported = p->slot;
    }
    return true;
}

enum scout_verdict scout_on_p1b(struct scout *s, uint32_t from, const struct message *m,
                                const struct in_play *play, uint64_t now_ns, struct outbox *o)
{
    bool is_running = s->phase == SCOUT_PHASE1 || s->phase == SCOUT_LEADING;
    if (!is_running || ballot_cmp(m->p1b.asked, s->ballot) != 0)
        return SCOUT_GOES_ON;
    int order = ballot_cmp(m->p1b.promised, s->ballot);
    if (order != 0)
        return order > 0 ? SCOUT_LOST : SCOUT_GOES_ON;
    for (uint32_t i = 0; i < m->p1b.holder_count; i++) {
        const struct holder *h = &m->p1b.holders[i];
        keep_reader(s, (struct lease_reader){h->node, h->life, now_ns + lease_told_ns(h->left_ns)});
    }

    uint32_t bit = UINT32_C(1) << from;
    if ((s->done & bit) || m->p1b.slot_first != s->wanted[from])
        return SCOUT_GOES_ON; /* a repeated page */
    if (s->phase == SCOUT_LEADING && in_play_is_majority(play, s->done))
        return SCOUT_GOES_ON; /* it is asked again should its answer be needed */
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
    return in_play_is_majority(play, s->done) ? SCOUT_WON : SCOUT_GOES_ON;
}

void scout_on_tick(struct scout *s, const struct in_play *play, uint64_t now_ns, struct outbox *o)
{
    bool is_needed = s->phase == SCOUT_PHASE1 ||
                     (s->phase == SCOUT_LEADING && !in_play_is_majority(play, s->done));
    if (!is_needed || now_ns < s->retry_ns)
        return;
    s->retry_ns = now_ns + SCOUT_RETRY_NS;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        uint32_t bit = UINT32_C(1) << i;
        if (!(o->everyone & bit) || (s->done & bit))
            continue;
        if (s->wanted[i] == 0)
            s->wanted[i] = play->first;
        ask(s, i, o);
    }
}
