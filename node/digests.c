/* Digests of the whole state: every replica takes one at the slots of FS_VERIFY, and they are
 * compared: by `paxfs verify`, and every so many slots by themselves. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "node/node.h"

const struct digest_point *digests_newest(const struct node *n)
{
    static const struct digest_point none;
    return n->point_count ? &n->points[(n->point_count - 1) % DIGESTS_KEPT] : &none;
}

static void end_verification(struct node *n)
{
    struct verification *v = &n->verification;
    uint32_t missing = 0;
    bool equal = true;
    NODE_EACH_SEAT (n, i) {
        missing += !v->answered[i];
        if (v->answered[i] && v->answered[n->self])
            equal = equal && memcmp(v->digests[i], v->digests[n->self], sizeof v->digests[i]) == 0;
    }
    struct buffer b = {0};
    pack_map(&b, 4);
    pack_key_u64(&b, "slot", v->slot);
    pack_key_bool(&b, "equal", equal);
    pack_key_u64(&b, "missing", missing);
    pack_text(&b, "members");
    pack_array(&b, (uint32_t)__builtin_popcount(members_everyone(n)));
    NODE_EACH_SEAT (n, i) {
        pack_map(&b, 2);
        pack_key_text(&b, "name", n->membership.members[i].name);
        if (v->answered[i])
            pack_key_digest(&b, "digest", v->digests[i]);
        else
            pack_key_text(&b, "digest", NULL);
    }
    admin_reply(v->request, &b);
    buffer_deinit(&b);
    *v = (struct verification){0};
}

static void verification_note(struct node *n, uint32_t seat, uint64_t nonce, uint64_t slot,
                              const uint64_t digest[2])
{
    struct verification *v = &n->verification;
    if (!v->request || v->nonce != nonce)
        return;
    v->slot = slot;
    v->answered[seat] = true;
    memcpy(v->digests[seat], digest, sizeof v->digests[seat]);
    NODE_EACH_SEAT (n, i)
        if (!v->answered[i])
            return;
    end_verification(n);
}

void digests_on_verify(struct node *n, struct admin_request *r)
{
    struct verification *v = &n->verification;
    if (v->request) {
        admin_reply_error(r, "verify: another one is under way; try again in a few seconds");
        return;
    }
    if (!n->driver) {
        admin_reply_error(r,
                          "verify: the members have not all met yet; start paxfsd on every host");
        return;
    }
    *v = (struct verification){.request = r, .deadline_ns = clock_now_ns() + VERIFY_TIMEOUT_NS};
    do {
        if (getrandom(&v->nonce, sizeof v->nonce, 0) != sizeof v->nonce)
            v->nonce = clock_now_ns();
    } while (v->nonce == 0);
    serving_ask_digest(n, v->nonce);
}

/* How many voters told @digest of @slot. */
static uint32_t count_equal(const struct node *n, uint64_t slot, const uint64_t digest[2])
{
    uint32_t count = 0, voters = members_voters(n);
    NODE_EACH_SEAT (n, i) {
        const struct peer_status *s = &n->members[i].status;
        bool is_of_slot = i != n->self && n->members[i].told_ns && s->digest_slot == slot;
        count +=
            is_of_slot && (voters >> i & 1) && memcmp(digest, s->digest, sizeof s->digest) == 0;
    }
    return count;
}

/* A majority of the voters that are of one mind at one slot are right, and then this host, which
 * is not, is wrong. Without one nobody knows, and all say so. */
static void judge_own(struct node *n, const struct digest_point *own)
{
    uint32_t majority = (uint32_t)__builtin_popcount(members_voters(n)) / 2 + 1;
    NODE_EACH_SEAT (n, i) {
        const struct peer_status *s = &n->members[i].status;
        bool differs = i != n->self && n->members[i].told_ns && s->digest_slot == own->slot &&
                       memcmp(own->digest, s->digest, sizeof own->digest) != 0;
        if (!differs || count_equal(n, own->slot, s->digest) < majority)
            continue;
        char reason[QUARANTINE_REASON_SIZE];
        snprintf(reason, sizeof reason, "diverged: a majority had another digest at slot %llu",
                 (unsigned long long)own->slot);
        (void)quarantine_begin(n, reason);
        return;
    }
}

/* Two replicas that differ at one slot: somebody is wrong, and it must not stay unsaid. */
static void compare(struct node *n, uint32_t seat, const struct peer_status *s)
{
    for (uint32_t i = 0; i < DIGESTS_KEPT; i++) {
        const struct digest_point *p = &n->points[i];
        if (p->slot == 0 || p->slot != s->digest_slot)
            continue;
        if (memcmp(p->digest, s->digest, sizeof p->digest) == 0) {
            n->members[seat].diverged = false; /* it has its state anew */
            continue;
        }
        if (!n->members[seat].diverged)
            log_event(
                LOG_ERROR,
                "event=digest_differs member=%s slot=%llu what_to_do=\"the one that a majority "
                "differs from gets its state anew; without a majority stop both and keep "
                "their state directories for a report\"",
                n->membership.members[seat].name, (unsigned long long)p->slot);
        n->members[seat].diverged = true;
        judge_own(n, p);
    }
}

void digests_on_own(struct node *n, const struct digest_point *point)
{
    n->points[n->point_count++ % DIGESTS_KEPT] = *point;
    n->digest_asked_slot = point->slot;
    status_tell_peers(n);
    verification_note(n, n->self, point->nonce, point->slot, point->digest);
    NODE_EACH_SEAT (n, i)
        if (n->members[i].told_ns)
            compare(n, i, &n->members[i].status);
}

void digests_on_peer(struct node *n, uint32_t seat, const struct peer_status *status)
{
    compare(n, seat, status);
    verification_note(n, seat, status->verify_nonce, status->digest_slot, status->digest);
}

void digests_tick(struct node *n)
{
    if (n->verification.request && clock_now_ns() >= n->verification.deadline_ns)
        end_verification(n);
    uint64_t applied = store_applied(n->store);
    if (n->driver && !capacity_is_paused(n) && driver_view(n->driver)->serving_until_ns &&
        applied >= n->digest_asked_slot + DIGEST_EVERY_SLOTS) {
        n->digest_asked_slot = applied;
        serving_ask_digest(n, 0);
    }
}
