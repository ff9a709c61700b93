/* Sessions of hosts that have fallen silent end, so that nobody waits for ever for what they hold.
 *
 * The leader's node watches; it counts from when it began to lead at the earliest, since it knows
 * nothing of before. The command names the highest sequence seen applied: a host that has done
 * anything since keeps its session, and one that comes back opens a new one. */
#include "base/clock.h"
#include "base/log.h"
#include "node/node.h"

#define SESSION_SILENCE_NS (10 * NS_PER_S)

static bool is_same(const struct store_session *a, const struct store_session *b)
{
    return a->node == b->node && a->epoch == b->epoch && a->sequence == b->sequence;
}

static bool has_ended(const struct expiry *e, const struct store_session *s)
{
    for (uint32_t i = 0; i < SESSIONS_MAX && i < e->count; i++)
        if (is_same(&e->ended[i], s))
            return true;
    return false;
}

static void on_decided(struct node *n, void *context, int error, const struct fs_outcome *outcome)
{
    (void)context, (void)outcome;
    struct expiry *e = &n->expiry;
    e->is_pending = false;
    if (error)
        return;
    e->ended[e->count++ % SESSIONS_MAX] = e->asked;
    log_event(LOG_INFO, "event=session_expired node=%016llx epoch=%llu",
              (unsigned long long)e->asked.node, (unsigned long long)e->asked.epoch);
}

static void expire(struct node *n, const struct store_session *s)
{
    n->expiry.is_pending = true;
    n->expiry.asked = *s;
    struct fs_command c = {
        .op = FS_SESSION_EXPIRE, .nonce = s->node, .ino = s->epoch, .size = s->sequence};
    serving_submit_own(n, &c, on_decided, NULL);
}

/* How many sessions the store has; 0 also where it cannot be read: the next time, then. */
static int read_sessions(struct node *n, struct store_session list[SESSIONS_MAX])
{
    struct store_reader *reader;
    int count = 0;
    if (store_reader_new(n->store, &reader) < 0)
        return 0;
    if (store_read_begin(reader) == 0) {
        count = store_sessions(reader, list);
        store_read_end(reader);
    }
    store_reader_free(reader);
    return count > 0 ? count : 0;
}

static bool is_silent(const struct node *n, uint64_t node)
{
    const struct paxos_view *view = driver_view(n->driver);
    uint32_t seat = membership_seat(&n->membership, node);
    if (seat == MEMBERS_MAX)
        return true;
    if (seat == n->self)
        return false;
    uint64_t heard = view->members[seat].heard_ns;
    if (heard < n->expiry.leads_since_ns)
        heard = n->expiry.leads_since_ns;
    return clock_now_ns() - heard > SESSION_SILENCE_NS;
}

void expiry_tick(struct node *n)
{
    struct store_session list[SESSIONS_MAX];
    struct expiry *e = &n->expiry;
    bool leads = n->driver && n->stop_phase == STOP_NOT && !n->has_left &&
                 driver_view(n->driver)->serving_until_ns > clock_now_ns();
    if (!leads) {
        e->leads_since_ns = 0;
        return;
    }
    if (e->leads_since_ns == 0)
        e->leads_since_ns = clock_now_ns();
    if (e->is_pending)
        return;
    /* The sessions first: who opened one is then known as a member. */
    int count = read_sessions(n, list);
    members_follow(n);
    for (int i = 0; i < count && !e->is_pending; i++)
        if (!has_ended(e, &list[i]) && is_silent(n, list[i].node))
            expire(n, &list[i]);
}
