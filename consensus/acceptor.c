#include "consensus/acceptor.h"

#include <stddef.h>

#include "base/assert.h"

void acceptor_init(struct acceptor *a, struct pvalue_table *held, struct ballot promised,
                   uint64_t silent_until_ns)
{
    *a = (struct acceptor){.promised = promised, .held = held, .silent_until_ns = silent_until_ns};
}

bool acceptor_would_promise(const struct acceptor *a, struct ballot ballot, uint64_t now_ns)
{
    if (now_ns < a->silent_until_ns)
        return false;
    if (ballot_cmp(ballot, a->promised) <= 0)
        return false;
    return lease_permits(&a->lease, ballot, now_ns);
}

bool acceptor_promise(struct acceptor *a, struct ballot ballot, uint64_t now_ns, struct outbox *o)
{
    if (!acceptor_would_promise(a, ballot, now_ns))
        return false;
    bool is_first = ballot_is_bottom(a->promised);
    a->promised = ballot;
    outbox_persist_promise(o, ballot);
    if (is_first)
        a->first_persist = o->persists;
    return true;
}

/* Fill @m with the pvalues from @m->p1b.slot_first on that fit one message. */
static void fill_page(const struct acceptor *a, struct message *m, struct outbox *o)
{
    uint64_t first = m->p1b.slot_first;
    if (first <= m->p1b.collected)
        first = m->p1b.collected + 1;
    if (first <= a->held->base)
        first = a->held->base + 1;
    uint64_t bytes = 0;
    for (uint64_t slot = first; slot <= a->held->last; slot++) {
        const struct pvalue *p = pvalue_table_get(a->held, slot);
        if (!p)
            continue;
        bytes += p->command->size;
        if (m->p1b.count == ENTRIES_MAX || (m->p1b.count > 0 && bytes > MESSAGE_BYTES)) {
            m->p1b.slot_next = slot;
            return;
        }
        struct pvalue *added = outbox_add_pvalue(o, p);
        if (m->p1b.count++ == 0)
            m->p1b.pvalues = added;
    }
}

/* Promised early: the candidate must know the read leases that the released leader had out. */
static void add_readers(const struct acceptor *a, struct message *m, uint64_t now_ns,
                        struct outbox *o)
{
    if (!lease_is_released(&a->lease, now_ns))
        return;
    for (uint32_t i = 0; i < a->lease.reader_count; i++) {
        const struct lease_reader *r = &a->lease.readers[i];
        if (r->until_ns <= now_ns)
            continue;
        struct holder *added =
            outbox_add_holder(o, (struct holder){r->node, r->life, r->until_ns - now_ns});
        if (m->p1b.holder_count++ == 0)
            m->p1b.holders = added;
    }
}

void acceptor_on_p1a(struct acceptor *a, uint32_t from, const struct message *m, uint64_t decided,
                     uint64_t now_ns, struct outbox *o)
{
    struct ballot asked = m->p1a.ballot;
    if (now_ns < a->silent_until_ns)
        return;
    if (ballot_cmp(asked, a->promised) > 0 && !acceptor_promise(a, asked, now_ns, o))
        return; /* the candidate asks again */

    struct message answer = {.kind = MESSAGE_P1B,
                             .p1b = {.asked = asked,
                                     .promised = a->promised,
                                     .slot_first = m->p1a.slot_first,
                                     .collected = decided}};
    if (ballot_cmp(asked, a->promised) == 0) {
        fill_page(a, &answer, o);
        add_readers(a, &answer, now_ns, o);
    }
    outbox_send_after_persists(o, UINT32_C(1) << from, &answer);
}

static void answer_later(struct acceptor *a, struct ballot ballot, uint64_t slot)
{
    if (ballot_cmp(a->answer_ballot, ballot) != 0) {
        a->answer_ballot = ballot;
        a->answer_count = 0;
    }
    /* A repeat that finds the list full is lost; the leader sends it again. */
    if (a->answer_count < SLOTS_HELD_MAX)
        a->answers[a->answer_count++] = slot;
}

/* True when the vote is cast, now or before. */
static bool accept(struct acceptor *a, const struct pvalue *offered, uint64_t decided,
                   struct outbox *o)
{
    /* What is known decided is not voted on again: the log's last value of such a slot is the
     * decided one, and a late p2a of an old leader must not come after it. A leader that is behind
     * learns the slot from the heartbeat answers. */
    if (offered->slot <= decided || !pvalue_table_covers(a->held, offered->slot))
        return false;
    const struct pvalue *held = pvalue_table_get(a->held, offered->slot);
    if (held && ballot_cmp(held->ballot, offered->ballot) == 0)
        return true; /* one pvalue per ballot and slot: a repeat */

    /* The next slot to decide always fits, or full memory could never be emptied again. */
    uint64_t freed = held ? held->command->size : 0;
    bool fits = a->held->bytes - freed + offered->command->size <= HELD_BYTES_MAX;
    if (!fits && offered->slot != decided + 1)
        return false;
    pvalue_table_put(a->held, offered);
    outbox_persist_pvalue(o, PERSIST_ACCEPT, offered);
    return true;
}

void acceptor_on_p2a(struct acceptor *a, uint32_t from, const struct message *m, uint64_t decided,
                     struct outbox *o)
{
    struct ballot ballot = m->p2a.ballot;
    if (ballot_cmp(ballot, a->promised) < 0) { /* A2 */
        struct message answer = {.kind = MESSAGE_P2B,
                                 .p2b = {.asked = ballot, .promised = a->promised}};
        outbox_send_after_persists(o, UINT32_C(1) << from, &answer);
        return;
    }
    for (uint32_t i = 0; i < m->p2a.count; i++) {
        struct pvalue offered = m->p2a.pvalues[i];
        offered.ballot = ballot;
        if (!accept(a, &offered, decided, o))
            continue;
        if (ballot_is_bottom(a->promised))
            a->first_persist = o->persists;
        a->promised = ballot; /* durable with the pvalue */
        answer_later(a, ballot, offered.slot);
    }
}

bool acceptor_on_heartbeat(struct acceptor *a, struct ballot ballot, uint64_t now_ns,
                           struct outbox *o)
{
    if (ballot_cmp(ballot, a->promised) < 0)
        return false;
    if (ballot_is_bottom(a->promised) && !acceptor_promise(a, ballot, now_ns, o))
        return false;
    return lease_give(&a->lease, ballot, now_ns);
}

void acceptor_flush(struct acceptor *a, uint32_t leader, struct outbox *o)
{
    /* After a higher promise they are as good as lost. */
    uint32_t count = ballot_cmp(a->promised, a->answer_ballot) == 0 ? a->answer_count : 0;
    a->answer_count = 0;
    for (uint32_t i = 0; i < count;) {
        struct message m = {.kind = MESSAGE_P2B,
                            .p2b = {.asked = a->answer_ballot, .promised = a->promised}};
        for (; i < count && m.p2b.count < ENTRIES_MAX; i++) {
            uint64_t *slot = outbox_add_slot(o, a->answers[i]);
            if (m.p2b.count++ == 0)
                m.p2b.slots = slot;
        }
        outbox_send_after_persists(o, UINT32_C(1) << leader, &m);
    }
}
