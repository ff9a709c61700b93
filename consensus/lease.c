#include "consensus/lease.h"

#include <string.h>

static bool is_running(const struct lease_given *l, uint64_t now_ns)
{
    return !ballot_is_bottom(l->ballot) && now_ns < l->until_ns;
}

bool lease_permits(const struct lease_given *l, struct ballot ballot, uint64_t now_ns)
{
    if (!is_running(l, now_ns) || ballot_cmp(l->ballot, ballot) == 0)
        return true;
    return l->released && ballot_cmp(ballot, l->successor) >= 0;
}

bool lease_give(struct lease_given *l, struct ballot ballot, uint64_t now_ns)
{
    if (l->released && ballot_cmp(l->ballot, ballot) == 0)
        return false; /* a late heartbeat of the leader that gave up */
    if (!lease_permits(l, ballot, now_ns))
        return false;
    *l = (struct lease_given){.ballot = ballot, .until_ns = now_ns + LEASE_GIVEN_NS};
    return true;
}

void lease_release(struct lease_given *l, const struct message *m, uint64_t now_ns)
{
    if (l->released || ballot_cmp(l->ballot, m->release.ballot) != 0)
        return;
    l->released = true;
    l->successor = m->release.successor;
    l->reader_count = 0;
    for (uint32_t i = 0; i < m->release.holder_count && i < MEMBERS_MAX; i++) {
        const struct holder *h = &m->release.holders[i];
        l->readers[l->reader_count++] =
            (struct lease_reader){h->node, h->life, now_ns + lease_told_ns(h->left_ns)};
    }
}

bool lease_is_released(const struct lease_given *l, uint64_t now_ns)
{
    return l->released && is_running(l, now_ns);
}

void lease_reset(struct lease_held *l)
{
    memset(l, 0, sizeof *l);
}

void lease_granted(struct lease_held *l, uint32_t member, uint64_t sent_ns)
{
    uint64_t until_ns = sent_ns + LEASE_COUNTED_NS;
    if (until_ns > l->until_ns[member])
        l->until_ns[member] = until_ns;
}

void lease_forget(struct lease_held *l, uint32_t member)
{
    l->until_ns[member] = 0;
}

uint64_t lease_majority_until_ns(const struct lease_held *l, uint32_t voters)
{
    uint64_t sorted[MEMBERS_MAX]; /* descending */
    uint32_t count = 0;
    for (uint32_t i = 0; i < MEMBERS_MAX; i++) {
        if (!(voters & UINT32_C(1) << i))
            continue;
        uint32_t at = count++;
        for (; at > 0 && sorted[at - 1] < l->until_ns[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = l->until_ns[i];
    }
    return count == 0 ? 0 : sorted[count / 2];
}
