#include "consensus/read_lease.h"

#include <stddef.h>

#include "base/assert.h"
#include "consensus/lease.h"

/* Of a lease that nobody can acknowledge for: no process has this life. */
enum { LIFE_NONE = 0 };

/* ---- the holder ---- */

void read_lease_init(struct read_lease *l, uint64_t life)
{
    *l = (struct read_lease){.life = life};
}

bool read_lease_is_valid(const struct read_lease *l, uint64_t now_ns)
{
    return now_ns < l->until_ns;
}

void read_lease_drop(struct read_lease *l, struct outbox *o)
{
    if (l->until_ns == 0)
        return;
    l->until_ns = 0;
    outbox_note(o, NOTE_READ_LEASE_LOST, l->ballot, l->bound);
}

void read_lease_end(struct read_lease *l, struct outbox *o)
{
    read_lease_drop(l, o);
    l->is_over = true;
}

void read_lease_on_tick(struct read_lease *l, uint64_t now_ns, struct outbox *o)
{
    if (!read_lease_is_valid(l, now_ns))
        read_lease_drop(l, o);
}

void read_lease_ask(struct read_lease *l, uint32_t leader, struct ballot ballot, uint64_t now_ns,
                    struct outbox *o)
{
    if (l->is_over || now_ns < l->ask_ns)
        return;
    l->ask_ns = now_ns + READ_ASK_NS;
    if (!l->has_asked)
        l->ack_due = true; /* what was proposed before counts too */
    l->has_asked = true;
    struct message m = {.kind = MESSAGE_LEASE_ASK,
                        .lease_ask = {.ballot = ballot, .life = l->life, .sent_ns = now_ns}};
    outbox_send(o, UINT32_C(1) << leader, &m);
}

void read_lease_on_grant(struct read_lease *l, const struct message *m, uint64_t now_ns,
                         struct outbox *o)
{
    uint64_t sent_ns = m->lease_grant.sent_ns, left_ns = m->lease_grant.left_ns;
    if (l->is_over || m->lease_grant.life != l->life || sent_ns > now_ns || left_ns > READ_LEASE_NS)
        return;
    uint64_t until_ns = sent_ns + left_ns / 100 * (100 - CLOCK_RATE_ERROR_PERCENT);
    if (until_ns <= now_ns || until_ns <= l->until_ns)
        return;
    /* While the old lease is valid every decided slot is applied or pending here, and stays so
     * under the new one: nothing new need be applied first. */
    bool is_renewal = read_lease_is_valid(l, now_ns);
    if (!is_renewal || m->lease_grant.bound < l->bound)
        l->bound = m->lease_grant.bound;
    l->ballot = m->lease_grant.ballot;
    l->until_ns = until_ns;
    if (!is_renewal)
        outbox_note(o, NOTE_READ_LEASE, l->ballot, l->bound);
}

void read_lease_on_p2a(struct read_lease *l, const struct message *m)
{
    int order = ballot_cmp(m->p2a.ballot, l->ack_ballot);
    if (order < 0)
        return;
    if (order > 0) {
        l->ack_ballot = m->p2a.ballot;
        l->acked = 0;
    }
    if (m->p2a.count > 0 && m->p2a.pvalues[0].slot <= l->acked)
        l->ack_due = true; /* sent again: the acknowledgement may have been lost */
    /* What the leader has decided needs none. */
    if (m->p2a.decided_through > l->acked)
        l->acked = m->p2a.decided_through;
}

void read_lease_acknowledge(struct read_lease *l, const struct pvalue_table *held, uint64_t decided,
                            uint32_t leader, struct outbox *o)
{
    if (ballot_is_bottom(l->ack_ballot) || !l->has_asked)
        return;
    if (decided > l->acked)
        l->acked = decided;
    bool is_due = l->ack_due || (l->is_over && l->acked != READ_ACKED_ALL);
    if (l->is_over)
        l->acked = READ_ACKED_ALL;
    const struct pvalue *p = l->is_over ? NULL : pvalue_table_get(held, l->acked + 1);
    while (p && ballot_cmp(p->ballot, l->ack_ballot) == 0) {
        l->acked++;
        is_due = true;
        p = pvalue_table_get(held, l->acked + 1);
    }
    l->ack_due = false;
    if (!is_due)
        return;
    struct message m = {
        .kind = MESSAGE_LEASE_ACK,
        .lease_ack = {.ballot = l->ack_ballot, .life = l->life, .through = l->acked}};
    outbox_send(o, UINT32_C(1) << leader, &m);
}

/* ---- the leader ---- */

void read_holders_clear(struct read_holders *h)
{
    *h = (struct read_holders){0};
}

static void raise(uint64_t *value, uint64_t to)
{
    if (to > *value)
        *value = to;
}

/* The seat's lease is out, but nobody is left who could acknowledge for it. */
static void wait_out(struct read_holders *h, uint32_t seat)
{
    struct read_holder *r = &h->at[seat];
    if (r->acked != READ_ACKED_ALL)
        raise(&h->waited_out_ns, r->until_ns);
    r->until_ns = r->waiting_ns = r->acked = 0;
    h->out &= ~(UINT32_C(1) << seat);
}

void read_holders_inherit(struct read_holders *h, uint32_t seat, uint64_t life, uint64_t until_ns)
{
    struct read_holder *r = seat < MEMBERS_MAX ? &h->at[seat] : NULL;
    bool is_taken = r && r->until_ns != 0 && r->life != life;
    if (!r || is_taken || life == LIFE_NONE) {
        raise(&h->waited_out_ns, until_ns);
        return;
    }
    if (r->life != life)
        r->acked = 0;
    r->life = life;
    raise(&r->until_ns, until_ns);
    h->out |= UINT32_C(1) << seat;
}

void read_holders_forget(struct read_holders *h, uint32_t seat)
{
    wait_out(h, seat);
    h->at[seat] = (struct read_holder){0};
}

bool read_holders_may_have(const struct read_holders *h, uint32_t seat, uint64_t now_ns)
{
    const struct read_holder *r = &h->at[seat];
    bool is_waited_for = r->waiting_ns != 0 && now_ns - r->waiting_ns >= READ_PATIENCE_NS;
    return now_ns >= r->paused_until_ns && !is_waited_for;
}

/* Another life of the holder goes on only when the lease of the one before has ended, and whoever
 * made a decision wait for that pauses: or one that starts and dies again and again would make all
 * wait each time. */
static bool is_held_by_other_life(const struct read_holder *r, uint64_t life, uint64_t now_ns)
{
    return r->life != life && (now_ns < r->until_ns || r->waiting_ns != 0);
}

uint64_t read_holders_grant(struct read_holders *h, uint32_t seat, uint64_t life, uint64_t until_ns,
                            uint64_t now_ns)
{
    ASSERT(until_ns >= now_ns);
    uint64_t left_ns = (until_ns - now_ns) / (100 + CLOCK_RATE_ERROR_PERCENT) * 100;
    if (left_ns > READ_LEASE_NS)
        left_ns = READ_LEASE_NS;
    if (left_ns == 0 || life == LIFE_NONE)
        return 0;
    struct read_holder *r = &h->at[seat];
    if (is_held_by_other_life(r, life, now_ns))
        return 0;
    if (r->life != life) {
        wait_out(h, seat);
        r->life = life;
    }
    raise(&r->until_ns, now_ns + left_ns / 100 * (100 + CLOCK_RATE_ERROR_PERCENT));
    h->out |= UINT32_C(1) << seat;
    return left_ns / 100 * 100;
}

void read_holders_on_ack(struct read_holders *h, uint32_t seat, uint64_t life, uint64_t through,
                         uint64_t now_ns)
{
    struct read_holder *r = &h->at[seat];
    if (is_held_by_other_life(r, life, now_ns))
        return;
    if (r->life != life) {
        wait_out(h, seat);
        r->life = life;
    }
    if (through <= r->acked)
        return;
    r->acked = through;
    r->waiting_ns = 0; /* it moves */
}

/* Its lease has run out. */
static void end(struct read_holders *h, uint32_t seat, uint64_t now_ns, struct outbox *o)
{
    struct read_holder *r = &h->at[seat];
    bool made_wait = r->waiting_ns != 0;
    r->until_ns = r->waiting_ns = 0;
    h->out &= ~(UINT32_C(1) << seat);
    if (!made_wait)
        return;
    bool is_new = r->pause_ns == 0 || now_ns - r->delayed_ns > READ_PAUSE_FORGET_NS;
    r->pause_ns = is_new ? READ_PAUSE_NS_MIN : 2 * r->pause_ns;
    if (r->pause_ns > READ_PAUSE_NS_MAX)
        r->pause_ns = READ_PAUSE_NS_MAX;
    r->paused_until_ns = now_ns + r->pause_ns;
    r->delayed_ns = now_ns;
    outbox_note(o, NOTE_HOLDER_WAITED_OUT, (struct ballot){0}, seat);
}

bool read_holders_permit(struct read_holders *h, uint64_t slot, uint64_t now_ns, struct outbox *o)
{
    bool is_permitted = now_ns >= h->waited_out_ns;
    for (uint32_t out = h->out; out != 0; out &= out - 1) {
        uint32_t seat = (uint32_t)__builtin_ctz(out);
        struct read_holder *r = &h->at[seat];
        if (now_ns >= r->until_ns) {
            end(h, seat, now_ns, o);
        } else if (r->acked < slot) {
            is_permitted = false;
            if (r->waiting_ns == 0)
                r->waiting_ns = now_ns;
        }
    }
    return is_permitted;
}

uint32_t read_holders_lacking(const struct read_holders *h, uint64_t slot, uint64_t now_ns)
{
    uint32_t lacking = 0;
    for (uint32_t out = h->out; out != 0; out &= out - 1) {
        uint32_t seat = (uint32_t)__builtin_ctz(out);
        const struct read_holder *r = &h->at[seat];
        if (now_ns < r->until_ns && r->acked < slot)
            lacking |= UINT32_C(1) << seat;
    }
    return lacking;
}

uint64_t read_holders_last_ns(const struct read_holders *h, uint64_t now_ns)
{
    uint64_t last_ns = h->waited_out_ns > now_ns ? h->waited_out_ns : 0;
    for (uint32_t out = h->out; out != 0; out &= out - 1) {
        const struct read_holder *r = &h->at[__builtin_ctz(out)];
        if (r->until_ns > now_ns && r->acked != READ_ACKED_ALL)
            raise(&last_ns, r->until_ns);
    }
    return last_ns;
}

static void tell(struct message *release, struct holder holder, struct outbox *o)
{
    struct holder *added = outbox_add_holder(o, holder);
    if (release->release.holder_count++ == 0)
        release->release.holders = added;
}

void read_holders_tell(const struct read_holders *h, const struct configuration *c, uint32_t self,
                       uint64_t now_ns, struct message *release, struct outbox *o)
{
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        const struct read_holder *r = &h->at[i];
        if (i != self && r->until_ns > now_ns && r->acked != READ_ACKED_ALL)
            tell(release, (struct holder){c->members[i], r->life, r->until_ns - now_ns}, o);
    }
    /* In the leader's own place: it holds none, and no process has that life. */
    if (h->waited_out_ns > now_ns)
        tell(release, (struct holder){c->members[self], LIFE_NONE, h->waited_out_ns - now_ns}, o);
}
