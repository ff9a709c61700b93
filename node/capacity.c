/* Space: what the state may take is agreed by all, what this host's disk has is its own affair.
 *
 * The leader's node keeps the capacity in the state (fs/space.h) at what the smallest voter's disk
 * can hold. It rises once all voters have said so for a moment; it falls after a while longer: what
 * fills one host's disk for a moment is that host's trouble. A voter that takes no part does
 * not count: the others go on.
 *
 * A host whose disk has less than its floor left takes no part, before anything of it has failed:
 * it hands the leadership over, and from then on its core is told nothing: no message, no time, no
 * call. To the others that is a host that hangs, which they are made for; calls on its mount wait,
 * and what it promised is on disk. With twice the floor free it goes on where it was, as a host
 * does that was suspended. What is under way when room ends waits for it: the log before it begins
 * another file, the store with its transaction aborted. Neither tries a write again that may have
 * reached the disk in part: a batch or a sync of the log that fails, or a checkpoint, for want of
 * room or whatever else, is final, and the daemon stops. */
#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/log.h"
#include "node/node.h"

/* The voters can hold more, or less, for so long. What they say is not all of one moment: a file of
 * the log that is being made counts twice, or not at all. */
#define RISE_NS     (2 * NS_PER_S)
#define FALL_NS     (10 * NS_PER_S)
#define HANDOVER_NS (NS_PER_S / 2) /* of a leader whose disk is short */
#define CHANGE_MIN  50             /* a change is worth a slot from one part in so many on */

static bool look(struct node *n, uint64_t *total, uint64_t *available)
{
    struct statvfs disk;
    if (statvfs(n->state_dir, &disk) < 0)
        return false;
    *total = (uint64_t)disk.f_blocks * disk.f_frsize;
    *available = (uint64_t)disk.f_bavail * disk.f_frsize;
    return true;
}

int capacity_open(struct node *n)
{
    uint64_t total;
    if (!look(n, &total, &n->disk.available))
        return -errno;
    n->disk.shares = shares_of(total);
    return 0;
}

uint64_t capacity_own(struct node *n)
{
    if (n->driver && driver_view(n->driver)->needs_snapshot)
        return 0;
    struct logger_view log;
    logger_view(n->logger, &log);
    uint64_t bytes = shares_for_files(
        &n->disk.shares, n->disk.available + store_file_size(n->store) + log.wal.bytes);
    return bytes ? bytes : 1;
}

/* ---- the own disk ---- */

static void become_short(struct node *n)
{
    n->disk.is_short = true;
    n->disk.short_ns = clock_now_ns();
    log_event(
        LOG_ERROR,
        "event=disk_short free_bytes=%llu floor_bytes=%llu what_to_do=\"make room on the disk "
        "of %s; this host takes no part until then, and calls on its mount wait\"",
        (unsigned long long)n->disk.available, (unsigned long long)n->disk.shares.floor,
        n->state_dir);
    if (!n->driver)
        return;
    struct event handover = {.kind = EVENT_HANDOVER};
    driver_step(n->driver, &handover);
    driver_flush(n->driver);
}

static void become_whole(struct node *n)
{
    n->disk.is_short = n->disk.is_paused = false;
    log_event(LOG_INFO, "event=disk_has_room free_bytes=%llu",
              (unsigned long long)n->disk.available);
    status_tell_peers(n);
}

void capacity_look(struct node *n)
{
    struct disk_state *d = &n->disk;
    uint64_t total;
    if (n->stop_phase != STOP_NOT || !look(n, &total, &d->available))
        return;
    if (!d->is_short && d->available < d->shares.floor)
        become_short(n);
    else if (d->is_short && d->available >= 2 * d->shares.floor)
        become_whole(n);
    bool leads = n->driver && driver_view(n->driver)->role == ROLE_LEADER;
    bool waited = clock_now_ns() - d->short_ns >= HANDOVER_NS;
    if (d->is_short && !d->is_paused && (!leads || waited)) {
        d->is_paused = true;
        status_tell_peers(n);
    }
}

bool capacity_is_paused(const struct node *n)
{
    return n->disk.is_paused && n->stop_phase == STOP_NOT;
}

/* ---- everybody's ---- */

static bool read_capacity(struct node *n, uint64_t *capacity)
{
    struct store_usage usage;
    struct store_reader *reader;
    bool is_read = false;
    if (store_reader_new(n->store, &reader) < 0)
        return false;
    if (store_read_begin(reader) == 0) {
        is_read = store_usage(reader, &usage) == 0;
        store_read_end(reader);
    }
    store_reader_free(reader);
    if (is_read)
        *capacity = usage.capacity;
    return is_read;
}

/* What the smallest voter can hold; 0: nobody knows. @all: every voter has said it. */
static uint64_t smallest(struct node *n, bool *all)
{
    uint64_t least = 0;
    *all = true;
    NODE_EACH_SEAT (n, i) {
        if (n->membership.members[i].role != MEMBER_VOTER)
            continue;
        uint64_t own = i == n->self ? capacity_own(n) : n->members[i].status.capacity;
        bool counts = members_is_up(n, i) && own > 0;
        *all = *all && counts;
        if (counts && (least == 0 || own < least))
            least = own;
    }
    return least;
}

/* @capacity is to become @least now. */
static bool is_due(struct node *n, uint64_t capacity, uint64_t least, bool all)
{
    uint64_t now = clock_now_ns();
    bool rises = all && capacity != 0 && least > capacity + capacity / CHANGE_MIN;
    bool falls = capacity == 0 || least < capacity - capacity / CHANGE_MIN;
    int direction = rises - falls;
    if (direction != n->disk.direction || direction == 0)
        n->disk.since_ns = now;
    n->disk.direction = direction;
    if (capacity == 0 && all)
        return true;
    return direction != 0 && now - n->disk.since_ns >= (rises ? RISE_NS : FALL_NS);
}

static void on_decided(struct node *n, void *context, int error, const struct fs_outcome *outcome)
{
    (void)context, (void)error, (void)outcome; /* else it is due again */
    n->disk.is_asking = false;
}

void capacity_tick(struct node *n)
{
    uint64_t capacity;
    bool all;
    bool leads = n->driver && n->stop_phase == STOP_NOT && !n->has_left && !n->disk.is_short &&
                 driver_view(n->driver)->serving_until_ns > clock_now_ns();
    if (!leads || !read_capacity(n, &capacity)) {
        n->disk.direction = 0;
        return;
    }
    uint64_t least = smallest(n, &all);
    if (least == 0 || n->disk.is_asking || !is_due(n, capacity, least, all))
        return;
    n->disk.is_asking = true;
    log_event(LOG_INFO, "event=capacity bytes=%llu before=%llu", (unsigned long long)least,
              (unsigned long long)capacity);
    struct fs_command c = {.op = FS_SET_CAPACITY, .size = least};
    serving_submit_own(n, &c, on_decided, NULL);
}
