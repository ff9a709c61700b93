/* Snapshots, wired to the node. Installing one:
 *
 *   1. It is whole and checked, beside the store. The storer is asked to be quiet, and says so.
 *   2. Durably noted: the slot. The log has no records of the slots that come with it, but perhaps
 *      votes for them that lost, and must never again be asked for them, also not after a crash
 *      between this and 4.
 *   3. The store is replaced; a restart from now on finds it.
 *   4. The core hears of it, and the log lets go of everything up to the slot. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "fs/disk.h"
#include "node/node.h"

enum { NOTE_SIZE_MAX = 64, ORPHANS_PER_LOOK = 256 };

static const char note_name[] = "snapshot-installed";

/* ---- what a restart must know ---- */

/* Of the snapshot that is about to be installed, or was; and of the one that was installed before,
 * which the log may have forgotten in memory alone. 0: none. */
struct install_note {
    uint64_t slot, before;
};

/* 0, also where there is none; -EBADMSG; -errno. */
static int read_note(const char *state_dir, struct install_note *note)
{
    char path[4096], text[NOTE_SIZE_MAX + 1];
    *note = (struct install_note){0};
    snprintf(path, sizeof path, "%s/%s", state_dir, note_name);
    size_t size;
    int rc = disk_read_all(path, text, sizeof text - 1, &size);
    if (rc < 0)
        return rc == -ENOENT ? 0 : rc;
    text[size] = '\0';
    int count = sscanf(text, "slot=%" SCNu64 " before=%" SCNu64, &note->slot, &note->before);
    return count == 2 ? 0 : -EBADMSG;
}

/* The slot up to which the store, at @applied, came by a snapshot. */
static uint64_t installed_through(const struct install_note *note, uint64_t applied)
{
    return applied >= note->slot ? note->slot : note->before; /* else it was not installed */
}

int snapshots_note(const char *state_dir, const struct store *store, uint64_t slot)
{
    struct install_note former;
    int rc = read_note(state_dir, &former);
    if (rc < 0)
        return rc;
    char text[NOTE_SIZE_MAX];
    int size = snprintf(text, sizeof text, "slot=%" PRIu64 " before=%" PRIu64 "\n", slot,
                        installed_through(&former, store_checkpointed(store)));
    return disk_replace(state_dir, note_name, text, (size_t)size);
}

static int before_install(void *context, uint64_t slot)
{
    const struct node *n = context;
    return snapshots_note(n->state_dir, n->store, slot);
}

int snapshots_recover(const char *state_dir, struct store *store, struct wal *wal)
{
    struct install_note note;
    int rc = read_note(state_dir, &note);
    if (rc < 0 || note.slot == 0)
        return rc;
    rc = wal_collect(wal, installed_through(&note, store_applied(store)));
    if (rc == 0)
        rc = wal_sync(wal);
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", state_dir, note_name);
    if (rc == 0)
        (void)unlink(path); /* where it comes back it does no harm */
    return rc;
}

/* ---- what the skipped slots would have told ---- */

/* Inodes that lost their names in them, and that the own session may hold: inode_refs tells those
 * that the kernel does not hold from those that it does. */
static int gather_orphans(struct node *n, struct store_reader *reader)
{
    uint64_t inos[ORPHANS_PER_LOOK], from = 0;
    int64_t count;
    while ((count = store_orphans(reader, n->config.node_id, from, inos, ORPHANS_PER_LOOK)) > 0) {
        for (int64_t i = 0; i < count; i++)
            if (inode_refs_orphaned(n->inodes, inos[i]) < 0)
                return -ENOMEM;
        from = inos[count - 1] + 1;
    }
    return (int)count;
}

static int look_for_orphans(struct node *n)
{
    struct store_reader *reader;
    int rc = store_reader_new(n->store, &reader);
    if (rc < 0)
        return rc;
    rc = store_read_begin(reader);
    if (rc == 0) {
        rc = gather_orphans(n, reader);
        store_read_end(reader);
    }
    store_reader_free(reader);
    return rc;
}

/* From the receiver's thread, while the storer stands still. */
static void after_install(void *context)
{
    struct node *n = context;
    clients_on_installed(&n->clients, n->store);
    int rc = look_for_orphans(n);
    if (rc < 0)
        log_event(LOG_WARN, "event=orphans_kept error=\"%s\"", strerror(-rc));
    pthread_mutex_lock(&n->frontend_lock);
    if (n->frontend)
        frontend_on_installed(n->frontend);
    pthread_mutex_unlock(&n->frontend_lock);
}

/* ---- edges ---- */

static void send_to(void *context, uint64_t node, const struct peer_message *m)
{
    struct node *n = context;
    uint32_t seat = news_seat_of(n, node);
    if (seat < MEMBERS_MAX && n->stop_phase != STOP_CLOSING)
        transport_send(n->transport, UINT32_C(1) << seat, m);
}

static int export_store(void *context, int fd)
{
    return store_export(((struct node *)context)->store, fd);
}

/* The one that has applied most. */
static uint64_t other_member(void *context, uint64_t node)
{
    const struct node *n = context;
    uint64_t best = 0, applied = 0;
    NODE_EACH_SEAT (n, seat) {
        uint64_t id = n->membership.members[seat].node;
        if (id == 0 || id == node || seat == n->self || !members_is_up(n, seat))
            continue;
        if (best == 0 || n->members[seat].status.applied > applied) {
            best = id;
            applied = n->members[seat].status.applied;
        }
    }
    return best;
}

static void on_whole(void *context)
{
    struct node *n = context;
    if (!driver_view(n->driver)->needs_snapshot && !news_is_wanted(n)) {
        snapshot_receive_abort(n->snapshot_receive, "not_needed");
        return;
    }
    storer_pause(n->storer);
}

void snapshots_on_paused(void *context)
{
    struct node *n = context;
    atomic_store(&n->store_is_quiet, true);
    uv_async_send(&n->wake);
}

/* The core goes on from the store's slot, if it has not come as far by itself meanwhile. */
static void tell_core(struct node *n, uint64_t slot)
{
    if (driver_view(n->driver)->decided >= slot && !n->quarantine.is_on) {
        members_follow(n);
        return;
    }
    struct configuration configuration = members_installed(n);
    n->applied_seen = n->checkpointed_seen = slot;
    struct event event = {.kind = EVENT_INSTALLED,
                          .installed = {.slot = slot,
                                        .time_ns = store_time_ns(n->store),
                                        .configuration = &configuration}};
    driver_step(n->driver, &event);
}

static void on_installed(void *context, bool is_installed)
{
    struct node *n = context;
    n->is_installing = false;
    if (is_installed) {
        uint64_t slot = store_applied(n->store);
        pending_applied(n->pending, slot);
        tell_core(n, slot);
        quarantine_end(n);
        snapshot_send_forbid(n->snapshot_send, false);
    }
    storer_resume(n->storer);
    atomic_store(&n->progress, true); /* reads may wait for it */
    uv_async_send(&n->wake);
}

int snapshots_open(struct node *n, bool is_blank)
{
    struct snapshot_send_edges send = {
        .context = n, .export = export_store, .send = send_to, .wake = serving_wake};
    n->snapshot_send = snapshot_send_new(&send);
    struct snapshot_receive_edges receive = {.context = n,
                                             .store = n->store,
                                             .node = n->config.node_id,
                                             .send = send_to,
                                             .wake = serving_wake,
                                             .other = other_member,
                                             .on_whole = on_whole,
                                             .before_install = before_install,
                                             .after_install = after_install,
                                             .on_installed = on_installed,
                                             /* a broken disk, whoever finds it */
                                             .on_failure = serving_storer_callbacks(n).on_failure};
    n->snapshot_receive = snapshot_receive_new(&receive, clock_now_ns());
    if (!n->snapshot_send || !n->snapshot_receive)
        return -ENOMEM;
    snapshot_send_forbid(n->snapshot_send, is_blank);
    return 0;
}

/* ---- from the loop ---- */

void snapshots_on_wanted(void *context, uint32_t from)
{
    struct node *n = context;
    uint64_t node = n->membership.members[from].node;
    if (node && n->stop_phase == STOP_NOT)
        snapshot_receive_want(n->snapshot_receive, node, clock_now_ns());
}

void snapshots_on_message(struct node *n, uint32_t seat, const struct peer_message *m)
{
    uint64_t node = news_node_at(n, seat);
    if (!n->driver || !node || n->stop_phase != STOP_NOT)
        return;
    if (m->kind == PEER_SNAPSHOT_GET)
        snapshot_send_on_get(n->snapshot_send, node, &m->snapshot_get, clock_now_ns());
    if (m->kind == PEER_SNAPSHOT_DATA)
        snapshot_receive_on_data(n->snapshot_receive, node, &m->snapshot_data, clock_now_ns());
}

void snapshots_on_gone(struct node *n, uint32_t seat)
{
    uint64_t node = news_node_at(n, seat);
    if (!n->driver || !node)
        return;
    snapshot_send_on_gone(n->snapshot_send, node);
    snapshot_receive_on_gone(n->snapshot_receive, node, clock_now_ns());
}

void snapshots_drain(struct node *n)
{
    if (!n->driver || n->stop_phase == STOP_CLOSING)
        return;
    if (atomic_exchange(&n->store_is_quiet, false)) {
        n->is_installing = true;
        snapshot_receive_install(n->snapshot_receive);
    }
    uint64_t now_ns = clock_now_ns();
    snapshot_send_drain(n->snapshot_send);
    snapshot_send_tick(n->snapshot_send, now_ns);
    snapshot_receive_tick(n->snapshot_receive, now_ns);
}

void snapshots_stop(struct node *n)
{
    snapshot_send_free(n->snapshot_send);
    snapshot_receive_free(n->snapshot_receive);
    n->snapshot_send = NULL;
    n->snapshot_receive = NULL;
}
