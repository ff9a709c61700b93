#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/node.h"

enum { REPLAY_BATCH_BYTES = 16 << 20, REPLAY_BATCH_SLOTS = 256 };

/* ---- the log into the store ---- */

struct replay {
    struct store *store;
    uint64_t next;  /* slot */
    uint32_t count; /* applied in this batch */
};

static int replay_one(void *context, const struct pvalue *pvalue)
{
    struct replay *r = context;
    int rc = 1; /* a gap ends the replay: what follows is learned from the others */
    if (pvalue->slot == r->next && r->count < REPLAY_BATCH_SLOTS) {
        struct store_applied result;
        rc = store_apply(r->store, pvalue->slot, pvalue->time_ns, pvalue->command, &result, NULL,
                         NULL);
        r->next += rc == 0;
        r->count += rc == 0;
    }
    command_unref(pvalue->command);
    return rc;
}

/* Apply what the log knows decided and the store does not have. 0 or -errno. */
static int replay_decided(struct node *n, struct wal *wal)
{
    struct replay r = {.store = n->store, .next = store_applied(n->store) + 1};
    uint64_t first = r.next;
    do {
        int rc = store_begin(n->store);
        if (rc < 0)
            return rc;
        r.count = 0;
        if (r.next <= n->recovered.decided_through)
            rc = wal_read(wal, r.next, n->recovered.decided_through, REPLAY_BATCH_BYTES, replay_one,
                          &r);
        if (rc < 0) {
            store_abort(n->store);
            return rc;
        }
        rc = store_commit(n->store);
        if (rc < 0)
            return rc;
    } while (r.count > 0);
    if (r.next > first)
        log_event(LOG_INFO, "event=replayed first=%llu last=%llu", (unsigned long long)first,
                  (unsigned long long)(r.next - 1));
    return 0;
}

static int gather_accepted(void *context, const struct pvalue *pvalue)
{
    struct accepted *a = context;
    /* The core accepts nothing further above what it applied, and tells the log how far that is. */
    ASSERT(a->count < SLOTS_HELD_MAX);
    a->pvalues[a->count++] = *pvalue;
    return 0;
}

/* Before a new log could be made: a host that took part must not forget its votes. Decided by what
 * outlives one start, or the second start would find the new log and think nothing of it. */
static int refuse_lost_log(struct node *n, const char *log_dir, char *error, size_t error_size)
{
    int rc = config_life(n->state_dir, &n->life);
    if (rc < 0) {
        snprintf(error, error_size, "life: %s; put it back from the newest copy",
                 rc == -EBADMSG ? "damaged" : strerror(-rc));
        return rc;
    }
    if (wal_is_born(log_dir) || (n->store && n->life == 0 && store_applied(n->store) == 0))
        return 0;
    snprintf(
        error, error_size,
        "the log is gone, but this host took part already (its store is at slot %llu): it would "
        "forget its votes; put back wal/, or make a new state directory",
        (unsigned long long)(n->store ? store_applied(n->store) : 0));
    return -EBADMSG;
}

static int refuse_mismatch(struct node *n, char *error, size_t error_size)
{
    uint64_t applied = store_applied(n->store);
    if (n->recovered.collected > applied) {
        snprintf(
            error, error_size,
            "the log was collected through slot %llu but the store is at %llu: the store is older "
            "than the log; put back the store that belongs to it",
            (unsigned long long)n->recovered.collected, (unsigned long long)applied);
        return -EBADMSG;
    }
    return 0;
}

/* This host has joined, and has not installed its first snapshot; or what it had was wrong. */
static bool is_blank(const struct node *n)
{
    return n->quarantine.is_on ||
           (n->config.has_joined && store_membership_version(n->store) == 0);
}

/* Bring the store up to what the log knows decided, and gather the votes above. */
static int recover(struct node *n, struct wal *wal, char *error, size_t error_size)
{
    if (n->recovered.torn_bytes)
        log_event(LOG_WARN, "event=torn_tail bytes=%llu",
                  (unsigned long long)n->recovered.torn_bytes);
    int rc = refuse_mismatch(n, error, error_size);
    if (rc < 0)
        return rc;
    rc = snapshots_recover(n->state_dir, n->store, wal);
    if (rc == 0 && !is_blank(n)) /* else there is no state that a slot could be applied to */
        rc = replay_decided(n, wal);
    if (rc == 0)
        rc = wal_read(wal, store_applied(n->store) + 1, UINT64_MAX, UINT64_MAX, gather_accepted,
                      n->accepted);
    if (rc < 0)
        snprintf(error, error_size, "replaying the log failed: %s", strerror(-rc));
    return rc;
}

/* In quarantine, once the log tells how far this host has come. */
static int open_hollow_if_due(struct node *n, char *error, size_t error_size)
{
    if (!n->quarantine.is_on)
        return 0;
    int rc = quarantine_open_store(n);
    if (rc < 0)
        snprintf(error, error_size, "cannot set the damaged store aside: %s", strerror(-rc));
    return rc;
}

int node_open_state(struct node *n, char *error, size_t error_size)
{
    n->accepted = calloc(1, sizeof *n->accepted);
    n->pending = pending_new();
    if (!n->accepted || !n->pending)
        return -ENOMEM;
    int rc = capacity_open(n);
    if (rc < 0) {
        snprintf(error, error_size, "cannot look at its disk: %s", strerror(-rc));
        return rc;
    }
    rc = quarantine_load(n->state_dir, &n->quarantine);
    if (rc < 0) {
        snprintf(error, error_size, "quarantine: %s", rc == -EBADMSG ? "damaged" : strerror(-rc));
        return rc;
    }
    if (!n->quarantine.is_on)
        rc = store_open(n->state_dir, &n->store, error, error_size);
    if (rc == -EBADMSG && quarantine_begin_at_start(n, error))
        rc = 0;
    if (rc < 0)
        return rc;
    if (n->store && config_is_formed(&n->config))
        rc = forming_begin_membership(n);
    if (rc < 0) {
        snprintf(error, error_size, "store: %s",
                 rc == -EPROTO ? "made by an earlier paxfs, which kept no members in it; make the "
                                 "cluster anew and copy the files"
                               : strerror(-rc));
        return rc;
    }
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/wal", n->state_dir);
    rc = refuse_lost_log(n, dir, error, error_size);
    if (rc < 0)
        return rc;
    struct wal *wal;
    rc = wal_open_sized(dir, n->disk.shares.segment, &wal, &n->recovered, error, error_size);
    if (rc < 0)
        return rc;
    rc = open_hollow_if_due(n, error, error_size);
    if (rc == 0)
        rc = recover(n, wal, error, error_size);
    if (rc == -EBADMSG && !n->quarantine.is_on && quarantine_begin_at_start(n, error)) {
        store_close(n->store);
        n->store = NULL;
        rc = open_hollow_if_due(n, error, error_size);
        if (rc == 0)
            rc = recover(n, wal, error, error_size);
    }
    if (rc == 0)
        rc = members_open(n, error, error_size);
    if (rc < 0)
        return rc;
    rc = config_begin_life(n->state_dir, ++n->life);
    if (rc < 0) {
        snprintf(error, error_size, "life: cannot be written: %s", strerror(-rc));
        return rc;
    }
    struct logger_callbacks logger = serving_logger_callbacks(n);
    struct wal_bound bound = {.bytes = n->disk.shares.log, .slots = LOG_SLOTS_MAX};
    rc = logger_start_with(wal, &bound, &logger, &n->logger);
    if (rc < 0)
        snprintf(error, error_size, "cannot start the log thread: %s", strerror(-rc));
    return rc;
}

/* ---- edges ---- */

/* The transport logs connections itself, with addresses. Who comes should not wait for the next
 * tick. */
static void on_state(void *context, uint32_t seat, bool connected, const char *reason)
{
    (void)reason;
    if (connected)
        status_tell_peers(context);
    else
        snapshots_on_gone(context, seat);
}

static void on_message(void *context, uint32_t seat, const struct peer_message *m)
{
    struct node *n = context;
    bool is_guest = news_is_guest(n, seat);
    if (m->kind == PEER_STATUS && !is_guest)
        status_on_peer(n, seat, &m->status);
    if (capacity_is_paused(n))
        return;
    snapshots_on_message(n, seat, m);
    if (is_guest || m->kind != PEER_PAXOS || !n->driver || n->stop_phase == STOP_CLOSING)
        return;
    struct event event = {.kind = EVENT_MESSAGE, .message = {.from = seat, .message = &m->paxos}};
    driver_step(n->driver, &event);
}

static void on_admin(void *context, struct admin_request *r, const char *method,
                     const msgpack_object *params, int fd)
{
    struct node *n = context;
    if (strcmp(method, "mount") == 0) {
        mounts_on_request(n, r, params, fd);
        return;
    }
    if (strcmp(method, "backup") == 0) {
        backups_on_request(n, r, fd);
        return;
    }
    if (fd >= 0)
        close(fd);
    if (changes_on_request(n, r, method, params))
        return;
    if (strcmp(method, "status") == 0) {
        status_on_request(n, r);
    } else if (strcmp(method, "verify") == 0) {
        digests_on_verify(n, r);
    } else if (strcmp(method, "stop") == 0) {
        admin_reply(r, NULL);
        stop_begin(n, "asked");
    } else if (strcmp(method, "transfer") == 0) {
        if (!n->driver || driver_view(n->driver)->role != ROLE_LEADER) {
            admin_reply_error(r, "leader transfer: this host does not lead; ask the leader "
                                 "(paxfs status names it)");
            return;
        }
        struct event handover = {.kind = EVENT_HANDOVER};
        driver_step(n->driver, &handover);
        admin_reply(r, NULL);
    } else {
        admin_reply_error(r, "unknown method: this daemon is of another version than the command");
    }
}

static const char *name_of(void *context, uint64_t node_id)
{
    const char *name = members_name(context, node_id);
    return name ? name : "-";
}

/* At the address that the members know, or, where this host does not have that one any more or not
 * yet, at the one it was last at. */
static int open_transport(struct node *n)
{
    struct transport_config t = {.self = n->self,
                                 .cluster_id = n->config.cluster_id,
                                 .callbacks = {.context = n,
                                               .on_hello = members_on_hello,
                                               .on_unknown = members_on_unknown,
                                               .on_join = admission_on_join,
                                               .on_state = on_state,
                                               .on_message = on_message,
                                               .on_refused = members_on_refused},
                                 .fill_hello = members_fill_hello};
    members_for_transport(&n->membership, t.members);
    if (n->membership.version) {
        memcpy(t.listen, t.members[n->self].address, sizeof t.listen);
        if (transport_open(&n->loop, &t, &n->transport) == 0)
            return 0;
    }
    memcpy(t.listen, n->config.listen, sizeof t.listen);
    return transport_open(&n->loop, &t, &n->transport);
}

int node_open_edges(struct node *n, char *error, size_t error_size)
{
    int rc = open_transport(n);
    if (rc < 0) {
        snprintf(error, error_size,
                 "cannot listen on %s: %s; free the port, or, if this host has moved, say so on "
                 "another one (paxfs member set-addr %s ADDR:PORT) and change listen= in %s/config",
                 n->config.listen, strerror(-rc), n->config.name, n->state_dir);
        return rc;
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/admin.sock", n->state_dir);
    struct admin_callbacks admin = {.context = n, .on_request = on_admin};
    rc = admin_server_open(&n->loop, path, &admin, &n->admin);
    if (rc < 0)
        snprintf(error, error_size, "cannot listen on %s: %s", path, strerror(-rc));
    return rc;
}

/* ---- the core ---- */

static int make_driver(struct node *n)
{
    struct paxos_config config = {.configuration = membership_configuration(&n->membership),
                                  .node = n->config.node_id,
                                  .life = n->life,
                                  .seed = n->config.node_id ^ clock_now_ns(),
                                  .is_blank = is_blank(n)};
    struct paxos_recovered recovered = {.promised = n->recovered.promised,
                                        .applied = store_applied(n->store),
                                        .checkpointed = store_checkpointed(n->store),
                                        .time_ns = store_time_ns(n->store),
                                        .count = n->accepted->count,
                                        .accepted = n->accepted->pvalues};
    struct driver_edges edges = {.logger = n->logger,
                                 .storer = n->storer,
                                 .transport = n->transport,
                                 .pending = n->pending,
                                 .context = n,
                                 .on_read_ready = serving_on_read_ready,
                                 .on_view = serving_on_view,
                                 .on_snapshot = snapshots_on_wanted,
                                 .node_name = name_of};
    return driver_new(&config, &recovered, n->recovered.fresh, &edges, &n->driver);
}

int node_start_core(struct node *n)
{
    int rc = snapshots_open(n, is_blank(n));
    if (rc == 0)
        rc = make_driver(n);
    for (uint32_t i = 0; i < n->accepted->count; i++)
        command_unref(n->accepted->pvalues[i].command);
    free(n->accepted);
    n->accepted = NULL;
    if (rc < 0)
        return rc;

    struct command *open = clients_session_open(&n->clients);
    if (!open)
        return -ENOMEM;
    struct event event = {.kind = EVENT_SUBMIT, .submit = open};
    driver_step(n->driver, &event);
    command_unref(open);
    return 0;
}
