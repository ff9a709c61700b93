/* The orderly end, within STOP_LIMIT_NS whether or not there is a quorum:
 *   draining    the leadership is handed over; calls that wait get a little time to be answered
 *   unmounting  what still waits fails with EIO, the mount is detached
 *   closing     the store writes a last checkpoint, the log is synced, sockets close; the loop ends
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "node/node.h"

static bool has_waiting(const struct node *n)
{
    if (!n->frontend)
        return false;
    struct frontend_view view;
    frontend_view(n->frontend, &view);
    return view.waiting > 0;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_module_closed(void *context)
{
    struct node *n = context;
    if (--n->closing == 0)
        uv_walk(&n->loop, close_handle, NULL);
}

static void on_unmounted(struct node *n)
{
    n->stop_phase = STOP_CLOSING;
    if (n->driver)
        driver_flush(n->driver); /* the log gets all records that a last checkpoint waits for */
    reads_stop(&n->reads, -EIO);
    backups_stop(n);
    scrubber_stop(n->scrubber);
    n->scrubber = NULL;
    snapshots_stop(n); /* what is being installed is first */
    storer_stop(n->storer);
    clients_fail(&n->clients, -EIO);
    serving_drain_own(n);
    changes_stop(n);
    admission_stop(n);
    logger_stop(n->logger);
    if (n->verification.request)
        admin_reply_error(n->verification.request, "verify: the daemon is stopping");
    n->closing = 2;
    transport_close(n->transport, on_module_closed, n);
    admin_server_close(n->admin, on_module_closed, n);
}

/* A thread of its own, since the loop itself may hang: it waits for the others' last syncs. */
static void *force_stop(void *context)
{
    const struct node *n = context;
    struct timespec limit = {.tv_sec = STOP_LIMIT_NS / NS_PER_S};
    nanosleep(&limit, NULL);
    log_event(LOG_WARN, "event=stop_forced why=\"the orderly stop took too long\"");
    _exit(n->exit_code);
}

void stop_begin(struct node *n, const char *why)
{
    if (n->stop_phase != STOP_NOT)
        return;
    pthread_t watchdog;
    if (pthread_create(&watchdog, NULL, force_stop, n) == 0)
        pthread_detach(watchdog);
    log_event(LOG_INFO, "event=stopping why=%s", why);
    n->stop_phase = STOP_DRAINING;
    n->stop_ns = clock_now_ns();
    if (n->driver && !atomic_load(&n->failure)) {
        struct event handover = {.kind = EVENT_HANDOVER};
        driver_step(n->driver, &handover);
        driver_flush(n->driver);
    }
}

void stop_tick(struct node *n)
{
    if (n->stop_phase == STOP_NOT)
        return;
    uint64_t since = clock_now_ns() - n->stop_ns;
    if (n->stop_phase != STOP_DRAINING)
        return;
    if (atomic_load(&n->failure) || since > STOP_DRAIN_NS ||
        (since > NS_PER_S / 4 && !has_waiting(n))) {
        n->stop_phase = STOP_UNMOUNTING;
        mounts_release(n, on_unmounted);
    }
}
