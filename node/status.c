#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "fs/damage.h"
#include "node/node.h"

enum { REASONS_MAX = 16 };

struct reason {
    const char *code, *what_to_do;
    char text[256];
};

struct health {
    bool works; /* calls are answered: there is a leader to ask, or this is it */
    bool is_degraded;
    uint32_t reason_count;
    struct reason reasons[REASONS_MAX];
};

static struct reason *add_reason(struct health *h, const char *code, const char *what_to_do)
{
    struct reason *r = &h->reasons[h->reason_count < REASONS_MAX ? h->reason_count++ : 0];
    *r = (struct reason){.code = code, .what_to_do = what_to_do};
    return r;
}

static const char *name_of(const struct node *n, uint32_t seat)
{
    return n->membership.members[seat].name;
}

static bool is_connected(const struct node *n, uint32_t seat, struct transport_peer_view *peer)
{
    *peer = (struct transport_peer_view){0};
    if (seat == n->self)
        return true;
    transport_view(n->transport, seat, peer);
    return peer->connected;
}

/* A learner may be away: the others do without it. */
static void judge_member(const struct node *n, struct health *h, uint32_t seat)
{
    struct transport_peer_view peer;
    const struct member *m = &n->membership.members[seat];
    if (!is_connected(n, seat, &peer) && (m->role != MEMBER_LEARNER || m->was_voter)) {
        struct reason *r = add_reason(h, "member_unreachable",
                                      "start paxfsd there, or look at the network between");
        snprintf(r->text, sizeof r->text, "%s is not connected: %s", m->name, peer.last_error);
    }
    if (n->members[seat].diverged) {
        struct reason *r =
            add_reason(h, "digest_differs",
                       "wait: the one that most differ from gets its state anew; if that "
                       "does not come, keep both directories for a report");
        snprintf(r->text, sizeof r->text, "the state of %s differs from this host's", m->name);
    }
    if (seat != n->self && n->members[seat].status.disk_short) {
        struct reason *r = add_reason(h, "disk_short", "make room on the disk of that host");
        snprintf(r->text, sizeof r->text, "the disk of %s is full: it takes no part", m->name);
    }
    if (n->strangers & UINT32_C(1) << seat) {
        struct reason *r =
            add_reason(h, "identity_changed",
                       "put back its old state directory, or replace it: paxfs member replace");
        snprintf(r->text, sizeof r->text, "%s came with a state directory made anew", m->name);
    }
}

static uint32_t connected_of(const struct node *n, uint32_t voters)
{
    uint32_t mask = 0;
    struct transport_peer_view peer;
    NODE_EACH_SEAT (n, i)
        mask |= (uint32_t)is_connected(n, i, &peer) << i;
    return mask & voters;
}

/* How many more of @voters may go; -1: too few are there. */
static int can_lose(const struct node *n, uint32_t voters)
{
    int needed = __builtin_popcount(voters) / 2 + 1;
    int spare = __builtin_popcount(connected_of(n, voters)) - needed;
    return spare < 0 ? -1 : spare;
}

static void judge_members(const struct node *n, struct health *h)
{
    uint32_t voters = members_voters(n);
    NODE_EACH_SEAT (n, i)
        judge_member(n, h, i);
    if (can_lose(n, voters) < 0) {
        struct reason *r =
            add_reason(h, "no_majority", "start more of the hosts; calls wait for it");
        snprintf(r->text, sizeof r->text,
                 "%d of %d voters are connected: too few to decide "
                 "anything",
                 __builtin_popcount(connected_of(n, voters)), __builtin_popcount(voters));
    }
    if (n->listen_error) {
        struct reason *r =
            add_reason(h, "listen_failed", "give this host that address, or free the port");
        snprintf(r->text, sizeof r->text, "this host cannot listen on its new address %s: %s",
                 n->membership.members[n->self].address, strerror(-n->listen_error));
    }
}

static void judge_state(const struct node *n, struct health *h)
{
    struct store_damage damage;
    if (n->quarantine.is_on) {
        struct reason *r = add_reason(h, "quarantined",
                                      "nothing: it gets the files from another host, and then "
                                      "answers again; look at its disk and memory");
        snprintf(r->text, sizeof r->text, "this host's state is set aside: %s",
                 n->quarantine.reason);
    } else if (store_damage(n->store, &damage)) {
        struct reason *r = add_reason(h, "damaged",
                                      "start the other hosts, so that it can get the files anew; "
                                      "alone: put back a backup");
        snprintf(r->text, sizeof r->text, "damaged here, and not given out: %s", damage.first);
    }
}

static void judge(const struct node *n, struct health *h)
{
    *h = (struct health){0};
    if (!n->driver) {
        struct reason *r = add_reason(
            h, "not_formed", "start paxfsd on every host once, so that they learn who they are");
        snprintf(r->text, sizeof r->text, "the members have not all met yet");
    }
    judge_members(n, h);
    if (n->disk.is_short) {
        struct reason *r = add_reason(h, "disk_short",
                                      "make room there; it then goes on by itself, and calls "
                                      "on its mount wait until then");
        snprintf(r->text, sizeof r->text,
                 "the disk of %.100s has %llu MiB left, less than %llu: this host takes no part",
                 n->state_dir, (unsigned long long)(n->disk.available / MIB),
                 (unsigned long long)(n->disk.shares.floor / MIB));
    }
    const struct paxos_view *view = n->driver ? driver_view(n->driver) : NULL;
    judge_state(n, h);
    if (view && view->needs_snapshot) {
        struct reason *r = add_reason(h, "needs_snapshot", "wait: it fetches the files");
        snprintf(r->text, sizeof r->text, "this host has yet to get another one's state");
    }
    if (view && view->leader == 0) {
        struct reason *r = add_reason(h, "no_leader", "wait a moment; else start more hosts");
        snprintf(r->text, sizeof r->text, "no leader is known here");
    }
    h->works = view && view->leader != 0 && !n->disk.is_short &&
               (view->role != ROLE_LEADER || view->serving_until_ns > clock_now_ns());
    h->is_degraded = h->reason_count > 0;
}

/* ---- packing ---- */

static void pack_key_u64(struct buffer *b, const char *key, uint64_t value)
{
    pack_text(b, key);
    pack_u64(b, value);
}

static void pack_key_text(struct buffer *b, const char *key, const char *value)
{
    pack_text(b, key);
    if (value)
        pack_text(b, value);
    else
        pack_nil(b);
}

static void pack_key_bool(struct buffer *b, const char *key, bool value)
{
    pack_text(b, key);
    pack_bool(b, value);
}

static void pack_key_hex(struct buffer *b, const char *key, uint64_t value)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)value);
    pack_key_text(b, key, text);
}

static void pack_key_digest(struct buffer *b, const char *key, const uint64_t digest[2])
{
    char text[33];
    snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)digest[0],
             (unsigned long long)digest[1]);
    pack_key_text(b, key, text);
}

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

static const struct digest_point *newest_point(const struct node *n)
{
    static const struct digest_point none;
    return n->point_count ? &n->points[(n->point_count - 1) % DIGESTS_KEPT] : &none;
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
    pack_key_digest(b, "digest", newest_point(n)->digest);
    pack_key_u64(b, "digest_slot", newest_point(n)->slot);
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
    bool connected = is_connected(n, seat, &peer);
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
    pack_key_text(b, "name", name_of(n, seat));
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
    pack_key_u64(b, "digest_slot", is_self ? newest_point(n)->slot : m->status.digest_slot);
    pack_key_digest(b, "digest", is_self ? newest_point(n)->digest : m->status.digest);
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
    int spare = can_lose(n, voters), spare_before = can_lose(n, members_voters_before(n));
    if (spare_before < spare) /* both must agree until the change governs */
        spare = spare_before;
    pack_text(b, "membership");
    pack_map(b, 6);
    pack_key_u64(b, "version", n->membership.version);
    pack_key_u64(b, "from", n->membership.from);
    pack_key_u64(b, "voters", (uint64_t)__builtin_popcount(voters));
    pack_key_u64(b, "voters_up", (uint64_t)__builtin_popcount(connected_of(n, voters)));
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
        (void)is_connected(n, i, &peer);
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
    judge(n, &health);
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

/* ---- digests ---- */

void status_tell_peers(struct node *n)
{
    const struct digest_point *point = newest_point(n);
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
        pack_key_text(&b, "name", name_of(n, i));
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

void status_on_verify(struct node *n, struct admin_request *r)
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
                name_of(n, seat), (unsigned long long)p->slot);
        n->members[seat].diverged = true;
        judge_own(n, p);
    }
}

void status_on_digest(struct node *n, const struct digest_point *point)
{
    n->points[n->point_count++ % DIGESTS_KEPT] = *point;
    n->digest_asked_slot = point->slot;
    status_tell_peers(n);
    verification_note(n, n->self, point->nonce, point->slot, point->digest);
    NODE_EACH_SEAT (n, i)
        if (n->members[i].told_ns)
            compare(n, i, &n->members[i].status);
}

void status_on_peer(struct node *n, uint32_t seat, const struct peer_status *status)
{
    uint64_t mine = store_applied(n->store);
    n->members[seat].status = *status;
    n->members[seat].told_ns = clock_now_ns();
    /* Applied against applied: what is decided is ahead of that anywhere, under load by much. */
    n->members[seat].lag_slots = mine > status->applied ? mine - status->applied : 0;
    forming_on_status(n);
    compare(n, seat, status);
    verification_note(n, seat, status->verify_nonce, status->digest_slot, status->digest);
}

void status_tick(struct node *n)
{
    status_tell_peers(n);
    storer_tick(n->storer);
    quarantine_tick(n);
    if (n->verification.request && clock_now_ns() >= n->verification.deadline_ns)
        end_verification(n);
    uint64_t applied = store_applied(n->store);
    if (n->driver && !capacity_is_paused(n) && driver_view(n->driver)->serving_until_ns &&
        applied >= n->digest_asked_slot + DIGEST_EVERY_SLOTS) {
        n->digest_asked_slot = applied;
        serving_ask_digest(n, 0);
    }
}
