#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/damage.h"
#include "node/health.h"

/* ---- packing ---- */

static void pack_health(struct buffer *b, const struct health *h)
{
    pack_key_text(b, "health", !h->works ? "not working" : h->is_degraded ? "degraded" : "fine");
    pack_text(b, "reasons");
    pack_array(b, h->reason_count);
    for (uint32_t i = 0; i < h->reason_count; i++) {
        pack_map(b, 3);
        pack_key_text(b, "code", h->reasons[i].code);
        pack_key_text(b, "text", h->reasons[i].text);
        pack_key_text(b, "what_to_do", h->reasons[i].what_to_do);
    }
}

static void pack_node(struct buffer *b, const struct node *n)
{
    pack_text(b, "node");
    pack_map(b, 7);
    pack_key_text(b, "name", n->config.name);
    pack_key_hex(b, "node_id", n->config.node_id);
    pack_key_u64(b, "seat", n->self);
    pack_key_text(b, "version", PAXFS_VERSION);
    pack_key_u64(b, "pid", (uint64_t)getpid());
    pack_key_text(b, "state_dir", n->state_dir);
    pack_key_u64(b, "uptime_s", (clock_now_ns() - n->started_ns) / NS_PER_S);
}

static void pack_consensus(struct buffer *b, const struct node *n)
{
    static const char *const roles[] = {"follower", "candidate", "leader"};
    static const struct paxos_view none;
    const struct paxos_view *v = n->driver ? driver_view(n->driver) : &none;
    uint64_t now = clock_now_ns();
    const char *ballot_leader = members_name(n, v->ballot.leader);
    char ballot[64];
    snprintf(ballot, sizeof ballot, "%llu.%s", (unsigned long long)v->ballot.round,
             ballot_leader ? ballot_leader : "-");
    pack_key_text(b, "role", roles[v->role]);
    pack_key_text(b, "ballot", ballot);
    pack_key_text(b, "leader", members_name(n, v->leader));
    pack_key_u64(b, "slot_applied", store_applied(n->store));
    pack_key_u64(b, "slot_decided", v->decided);
    pack_key_u64(b, "slot_checkpointed", store_checkpointed(n->store));
    pack_key_u64(b, "slot_collected", v->collect_through);
    pack_key_digest(b, "digest", digests_newest(n)->digest);
    pack_key_u64(b, "digest_slot", digests_newest(n)->slot);
    pack_key_bool(b, "serving", v->serving_until_ns > now);
    pack_key_u64(b, "lease_ms",
                 v->serving_until_ns > now ? (v->serving_until_ns - now) / NS_PER_MS : 0);
}

static const char *role_name(enum member_role role)
{
    switch (role) {
    case MEMBER_VOTER:
        return "voter";
    case MEMBER_LEARNER:
        return "learner";
    case MEMBER_LEAVING:
        return "leaving";
    case MEMBER_FREE:
        break;
    }
    return "-";
}

/* The read lease of the member in @seat: the leader knows everybody's, others their own. The leader
 * itself reads under its leader lease. */
static bool knows_lease(const struct node *n, uint32_t seat, uint64_t *until_ns)
{
    const struct paxos_view *v = n->driver ? driver_view(n->driver) : NULL;
    if (!v || (seat != n->self && v->role != ROLE_LEADER))
        return false;
    if (seat != n->self)
        *until_ns = v->members[seat].lease_until_ns;
    else
        *until_ns = v->role == ROLE_LEADER ? v->serving_until_ns : v->lease.until_ns;
    return true;
}

static void pack_member_role(struct buffer *b, const struct node *n, uint32_t seat)
{
    const struct member *m = &n->membership.members[seat];
    uint64_t until_ns = 0, now = clock_now_ns();
    pack_key_text(b, "role", role_name(m->role));
    pack_key_bool(b, "wants_vote", m->wants_vote);
    pack_key_text(b, "replaces", members_name(n, m->replaces));
    pack_text(b, "lease_ms");
    if (knows_lease(n, seat, &until_ns))
        pack_u64(b, until_ns > now ? (until_ns - now) / NS_PER_MS : 0);
    else
        pack_nil(b);
}

static void pack_member(struct buffer *b, const struct node *n, uint32_t seat)
{
    struct transport_peer_view peer;
    bool connected = health_connected(n, seat, &peer);
    bool is_self = seat == n->self;
    const struct member_state *m = &n->members[seat];
    uint64_t mine = store_applied(n->store);
    uint64_t decided = n->driver ? driver_view(n->driver)->decided : mine;
    uint64_t applied = is_self ? mine : m->status.applied;
    uint64_t newest = decided > mine ? decided : mine;
    uint64_t heard = is_self ? clock_now_ns() : m->told_ns;
    uint64_t lag = newest > applied ? newest - applied : 0;
    if (!is_self && connected && heard) /* what it told is old by now: much came since, perhaps */
        lag = m->lag_slots;
    pack_map(b, 18);
    pack_key_text(b, "name", n->membership.members[seat].name);
    pack_key_text(b, "address", n->membership.members[seat].address);
    pack_key_hex(b, "node_id", n->membership.members[seat].node);
    pack_member_role(b, n, seat); /* 4 */
    pack_key_bool(b, "connected", connected);
    pack_key_text(b, "relayed_by", peer.relayed_by);
    pack_key_u64(b, "applied", applied);
    pack_key_u64(b, "checkpointed",
                 is_self ? store_checkpointed(n->store) : m->status.checkpointed);
    pack_key_u64(b, "lag_slots", lag);
    pack_text(b, "last_heard_ms");
    if (heard)
        pack_u64(b, (clock_now_ns() - heard) / NS_PER_MS);
    else
        pack_nil(b);
    pack_key_bool(b, "mounted", is_self ? n->frontend != NULL : m->status.mounted);
    pack_key_u64(b, "digest_slot", is_self ? digests_newest(n)->slot : m->status.digest_slot);
    pack_key_digest(b, "digest", is_self ? digests_newest(n)->digest : m->status.digest);
    pack_key_bool(b, "diverged", m->diverged);
    pack_key_text(b, "last_error", connected ? NULL : peer.last_error);
}

static void pack_members(struct buffer *b, const struct node *n)
{
    pack_text(b, "members");
    pack_array(b, (uint32_t)__builtin_popcount(members_everyone(n)));
    NODE_EACH_SEAT (n, i)
        pack_member(b, n, i);
}

static void pack_membership(struct buffer *b, const struct node *n)
{
    uint32_t voters = members_voters(n);
    int spare = health_can_lose(n, voters),
        spare_before = health_can_lose(n, members_voters_before(n));
    if (spare_before < spare) /* both must agree until the change governs */
        spare = spare_before;
    pack_text(b, "membership");
    pack_map(b, 6);
    pack_key_u64(b, "version", n->membership.version);
    pack_key_u64(b, "from", n->membership.from);
    pack_key_u64(b, "voters", (uint64_t)__builtin_popcount(voters));
    pack_key_u64(b, "voters_up", (uint64_t)__builtin_popcount(health_connected_of(n, voters)));
    pack_key_u64(b, "can_lose", spare < 0 ? 0 : (uint64_t)spare);
    pack_key_bool(b, "change_pending", store_applied(n->store) < n->membership.from);
}

static void pack_mount(struct buffer *b, const struct node *n)
{
    pack_text(b, "mount");
    if (!n->frontend) {
        pack_nil(b);
        return;
    }
    struct frontend_view v;
    frontend_view(n->frontend, &v);
    pack_map(b, 6);
    pack_key_text(b, "dir", n->mount_dir);
    pack_key_bool(b, "read_only", n->read_only);
    pack_key_u64(b, "waiting", v.waiting);
    pack_key_u64(b, "oldest_wait_ms", v.oldest_ns / NS_PER_MS);
    pack_key_u64(b, "requests", v.requests);
    pack_key_u64(b, "inodes_known", v.inodes_known);
}

static void pack_log(struct buffer *b, const struct node *n)
{
    struct logger_view v;
    logger_view(n->logger, &v);
    pack_text(b, "log");
    pack_map(b, 6);
    pack_key_u64(b, "segments", v.wal.segments);
    pack_key_u64(b, "bytes", v.wal.bytes);
    pack_key_u64(b, "slot_first", v.wal.slot_first);
    pack_key_u64(b, "syncs", v.syncs);
    pack_key_u64(b, "sync_us_avg", v.syncs ? v.sync_ns_total / v.syncs / 1000 : 0);
    pack_key_u64(b, "sync_us_max", v.sync_ns_max / 1000);
}

/* What memory is bounded by, from the limits that bound it. A command is counted once for each part
 * that may hold the last reference to it; so all of it together is less. */
static void pack_bounds(struct buffer *b, const struct node *n)
{
    uint64_t peers = (uint64_t)__builtin_popcount(members_everyone(n)) - 1;
    const struct {
        const char *key;
        uint64_t bytes;
    } parts[] = {
        {"held", HELD_BYTES_MAX},      /* votes, and what is decided and not applied */
        {"proposals", WINDOW_BYTES},   /* a leader's */
        {"intake", HELD_BYTES_MAX},    /* what others want proposed */
        {"clients", CLIENT_BYTES_MAX}, /* own changes, not answered */
        {"send_queues", peers * SEND_QUEUE_BYTES_MAX},
        {"store_batch", HELD_BYTES_MAX}, /* being applied, and answered */
        {"log_queue", HELD_BYTES_MAX},   /* being written */
        {"snapshots", SNAPSHOT_SEND_BYTES + SNAPSHOT_WINDOW},
    };
    uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        sum += parts[i].bytes;
    pack_key_u64(b, "bound_bytes", sum);
    pack_text(b, "bound_parts");
    pack_map(b, ARRAY_COUNT(parts));
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        pack_key_u64(b, parts[i].key, parts[i].bytes);
}

/* Of this process, as the kernel counts; 0: it does not say. */
static uint64_t resident_bytes(void)
{
    unsigned long long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%llu %llu", &size, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t queued_bytes(const struct node *n)
{
    uint64_t sum = 0;
    NODE_EACH_SEAT (n, i) {
        struct transport_peer_view peer;
        (void)health_connected(n, i, &peer);
        sum += peer.queued_bytes;
    }
    return sum;
}

static void pack_memory(struct buffer *b, struct node *n)
{
    static const struct paxos_view none;
    const struct paxos_view *v = n->driver ? driver_view(n->driver) : &none;
    pack_text(b, "memory");
    pack_map(b, 10);
    pack_key_u64(b, "slots_held", v->slots_held);
    pack_key_u64(b, "slots_held_max", SLOTS_HELD_MAX);
    pack_key_u64(b, "bytes_held", v->bytes_held);
    pack_key_u64(b, "bytes_held_max", HELD_BYTES_MAX);
    pack_key_u64(b, "submits", v->submits);
    pack_key_u64(b, "bytes_clients", clients_bytes(&n->clients));
    pack_key_u64(b, "bytes_queued", queued_bytes(n));
    pack_key_u64(b, "resident_bytes", resident_bytes());
    pack_bounds(b, n); /* 2 */
}

/* A snapshot being fetched from another member, and those given to others. */
static void pack_snapshot(struct buffer *b, const struct node *n)
{
    static const char *const phases[] = {[SNAPSHOT_NONE] = "none",
                                         [SNAPSHOT_RECEIVING] = "receiving",
                                         [SNAPSHOT_CHECKING] = "checking",
                                         [SNAPSHOT_WHOLE] = "whole",
                                         [SNAPSHOT_INSTALLING] = "installing",
                                         [SNAPSHOT_ENDING] = "ending"};
    struct snapshot_receive_view in = {0};
    struct snapshot_send_view out = {0};
    if (n->driver) {
        snapshot_receive_view(n->snapshot_receive, &in);
        snapshot_send_view(n->snapshot_send, &out);
    }
    pack_text(b, "snapshot");
    pack_map(b, 6);
    pack_key_text(b, "phase", phases[in.phase]);
    pack_key_text(b, "from", members_name(n, in.from));
    pack_key_u64(b, "bytes", in.bytes);
    pack_key_u64(b, "installed", in.installed);
    pack_key_text(b, "last_error", in.last_error[0] ? in.last_error : NULL);
    pack_key_u64(b, "given_now", out.count);
}

/* What was found to be damaged, and how far the pass is that looks for more. */
static void pack_integrity(struct buffer *b, const struct node *n)
{
    struct store_damage damage;
    struct scrub scrub;
    bool is_damaged = store_damage(n->store, &damage);
    scrubber_view(n->scrubber, &scrub);
    pack_text(b, "integrity");
    pack_map(b, 8);
    pack_key_bool(b, "quarantined", n->quarantine.is_on);
    pack_key_text(b, "reason", n->quarantine.is_on ? n->quarantine.reason : NULL);
    pack_key_u64(b, "damaged", damage.count);
    pack_key_text(b, "first_damage", is_damaged ? damage.first : NULL);
    pack_key_u64(b, "scrub_passes", scrub.passes);
    pack_key_u64(b, "scrub_bytes", scrub.bytes);
    pack_key_u64(b, "scrub_records", scrub.records);
    pack_key_u64(b, "scrub_errors", scrub.errors);
}

static void pack_latency(struct buffer *b, struct node *n)
{
    struct stages s = clients_stages(&n->clients);
    uint64_t count = s.changes ? s.changes : 1;
    pack_text(b, "latency");
    pack_map(b, 5);
    pack_key_u64(b, "changes", s.changes);
    pack_key_u64(b, "queue_us_avg", s.queue_ns / count / 1000);
    pack_key_u64(b, "decide_us_avg", s.decide_ns / count / 1000);
    pack_key_u64(b, "apply_us_avg", s.apply_ns / count / 1000);
    pack_key_u64(b, "answer_us_avg", s.answer_ns / count / 1000);
}

static void pack_space(struct buffer *b, struct node *n)
{
    struct store_usage usage = {0};
    struct store_reader *reader;
    if (store_reader_new(n->store, &reader) == 0) {
        if (store_read_begin(reader) == 0) {
            (void)store_usage(reader, &usage);
            store_read_end(reader);
        }
        store_reader_free(reader);
    }
    pack_text(b, "space");
    pack_map(b, 9);
    pack_key_u64(b, "capacity", usage.capacity);
    pack_key_u64(b, "used", usage.space);
    pack_key_u64(b, "own_capacity", capacity_own(n));
    pack_key_bool(b, "disk_short", n->disk.is_short);
    pack_key_u64(b, "disk_total", usage.disk_total);
    pack_key_u64(b, "disk_free", usage.disk_free);
    pack_key_u64(b, "bytes", usage.bytes);
    pack_key_u64(b, "inodes", usage.inodes);
    pack_key_u64(b, "orphans", usage.orphans);
}

void status_on_request(struct node *n, struct admin_request *r)
{
    struct buffer b = {0};
    struct health health;
    health_judge(n, &health);
    pack_map(&b, 26);
    pack_health(&b, &health); /* 2 */
    pack_key_hex(&b, "cluster_id", n->config.cluster_id);
    pack_key_bool(&b, "encrypted", false);
    pack_node(&b, n);
    pack_consensus(&b, n); /* 11 */
    pack_key_bool(&b, "needs_snapshot", n->driver && driver_view(n->driver)->needs_snapshot);
    pack_members(&b, n);
    pack_membership(&b, n);
    pack_mount(&b, n);
    pack_log(&b, n);
    pack_memory(&b, n);
    pack_snapshot(&b, n);
    pack_integrity(&b, n);
    pack_latency(&b, n);
    pack_space(&b, n);
    admin_reply(r, &b);
    buffer_deinit(&b);
}

/* ---- what members tell each other ---- */

void status_tell_peers(struct node *n)
{
    const struct digest_point *point = digests_newest(n);
    struct peer_message m = {.kind = PEER_STATUS,
                             .status = {.applied = n->quarantine.is_on ? 0 : /* of a state */
                                                       store_applied(n->store),
                                        .checkpointed = store_checkpointed(n->store),
                                        .digest_slot = point->slot,
                                        .digest = {point->digest[0], point->digest[1]},
                                        .verify_nonce = point->nonce,
                                        .mounted = n->frontend != NULL,
                                        .met = forming_met(n),
                                        .capacity = capacity_own(n),
                                        .disk_short = n->disk.is_paused}};
    transport_send(n->transport, members_everyone(n), &m);
}

void status_on_peer(struct node *n, uint32_t seat, const struct peer_status *status)
{
    uint64_t mine = store_applied(n->store);
    n->members[seat].status = *status;
    n->members[seat].told_ns = clock_now_ns();
    /* Applied against applied: what is decided is ahead of that anywhere, under load by much. */
    n->members[seat].lag_slots = mine > status->applied ? mine - status->applied : 0;
    forming_on_status(n);
    digests_on_peer(n, seat, status);
}

void status_tick(struct node *n)
{
    status_tell_peers(n);
    storer_tick(n->storer);
    quarantine_tick(n);
    digests_tick(n);
}
