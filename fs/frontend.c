#include "fs/frontend.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "fs/frontend_call.h"
#include "fs/frontend_device.h"
#include "fs/frontend_internal.h"
#include "fs/frontend_ops.h"

#define BACKGROUND_MAX                                                                             \
    256                   /* requests the kernel may have out without a caller waiting for each    \
                           */
#define STOP_WAIT_MS 1000 /* for threads that hang in the kernel or in the node */
#define STOP_WAKE_MS 10   /* between two wake-ups of a worker that reads the device */

/* libfuse hands no thread context to its callbacks. */
static _Thread_local struct worker *this_worker;

struct store_reader *frontend_own_reader(void)
{
    ASSERT(this_worker);
    return this_worker->reader;
}

/* ---- life ---- */

static void frontend_free(struct frontend *f)
{
    ASSERT(!f->calls);
    if (f->notify)
        notify_free(f->notify);
    if (f->session)
        fuse_session_destroy(f->session);
    if (!f->has_device)
        close(f->config.fuse_fd);
    pthread_mutex_destroy(&f->calls_lock);
    pthread_mutex_destroy(&f->threads_lock);
    pthread_cond_destroy(&f->thread_ended);
    free((char *)f->config.mountpoint);
    free(f);
}

void frontend_ref(struct frontend *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
}

void frontend_unref(struct frontend *f)
{
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) == 1)
        frontend_free(f);
}

/* ---- session ---- */

static void want(struct fuse_conn_info *connection, unsigned capabilities)
{
    connection->want |= connection->capable & capabilities;
}

static void on_init(void *context, struct fuse_conn_info *connection)
{
    struct frontend *f = context;
    f->capable = connection->capable;
    want(connection, FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_AUTO_INVAL_DATA |
                         FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
                         FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_PARALLEL_DIROPS);
    /* Without ATOMIC_O_TRUNC the kernel truncates by a SETATTR of its own after the open: a change
     * like any other. HANDLE_KILLPRIV would leave suid to us where the caller's capabilities are
     * not known. */
    connection->want &=
        ~(unsigned)(FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_WRITEBACK_CACHE |
                    FUSE_CAP_IOCTL_DIR | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE);
    connection->max_write = WRITE_SIZE_MAX;
    connection->max_background = BACKGROUND_MAX;
    connection->congestion_threshold = BACKGROUND_MAX * 3 / 4;
}

static void log_of_libfuse(enum fuse_log_level level, const char *format, va_list arguments)
{
    char text[256];
    vsnprintf(text, sizeof(text), format, arguments);
    text[strcspn(text, "\n")] = '\0';
    log_event(level <= FUSE_LOG_WARNING ? LOG_WARN : LOG_DEBUG, "event=libfuse text=\"%s\"", text);
}

static int session_new(struct frontend *f)
{
    struct fuse_lowlevel_ops ops = {.init = on_init};
    frontend_read_ops(&ops);
    frontend_change_ops(&ops);
    char *arguments[] = {(char *)"paxfs", NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, arguments);
    fuse_set_log_func(log_of_libfuse);
    f->session = fuse_session_new(&args, &ops, sizeof(ops), f);
    fuse_opt_free_args(&args);
    if (!f->session)
        return -ENOMEM;
    int rc = fuse_session_custom_io(f->session, &device_io, f->config.fuse_fd);
    f->has_device = rc == 0;
    return rc;
}

/* ---- threads ---- */

static void thread_begins(struct frontend *f)
{
    frontend_ref(f);
    pthread_mutex_lock(&f->threads_lock);
    f->thread_count++;
    pthread_mutex_unlock(&f->threads_lock);
}

static void thread_ends(struct frontend *f)
{
    pthread_mutex_lock(&f->threads_lock);
    f->thread_count--;
    pthread_cond_signal(&f->thread_ended);
    pthread_mutex_unlock(&f->threads_lock);
    frontend_unref(f);
}

static void worker_end(void *context)
{
    struct worker *w = context;
    struct frontend *f = w->frontend;
    free(w->buffer.mem);
    if (w->reader)
        store_reader_free(w->reader);
    pthread_mutex_lock(&f->threads_lock);
    w->ended = true;
    pthread_mutex_unlock(&f->threads_lock);
    thread_ends(f);
}

/* The descriptor gives no more requests: umount, abort, or something worse. */
static void tell_unmounted(struct frontend *f, int error)
{
    if (atomic_load(&f->stopping) || atomic_exchange(&f->unmounted, true))
        return;
    log_event(LOG_INFO, "event=unmounted error=%d", error);
    f->config.backend.unmounted(f->config.backend.context);
}

static void serve_device(struct worker *w)
{
    struct frontend *f = w->frontend;
    bool init_answered = false;
    int rc = -EINTR;
    while (!atomic_load(&f->stopping) && (rc > 0 || rc == -EINTR || rc == -EAGAIN)) {
        rc = fuse_session_receive_buf(f->session, &w->buffer);
        if (rc <= 0)
            continue;
        init_answered = atomic_load_explicit(&f->init_answered, memory_order_relaxed);
        atomic_fetch_add_explicit(&f->requests, 1, memory_order_relaxed);
        fuse_session_process_buf(f->session, &w->buffer);
        if (!init_answered)
            device_raise_readahead(f->device_minor);
    }
    tell_unmounted(f, rc);
}

static void *worker_main(void *context)
{
    struct worker *w = context;
    device_wake_prepare();
    this_worker = w;
    serve_device(w);
    worker_end(w);
    return NULL;
}

static int worker_start(struct frontend *f, struct worker *w)
{
    w->frontend = f;
    int rc = store_reader_new(f->config.store, &w->reader);
    if (rc < 0)
        return rc;
    thread_begins(f);
    rc = -pthread_create(&w->thread, NULL, worker_main, w);
    if (rc < 0)
        worker_end(w);
    return rc;
}

static void on_notify_ended(void *context)
{
    thread_ends(context);
}

static int start_threads(struct frontend *f)
{
    const struct notify_callbacks callbacks = {
        .context = f,
        .ended = on_notify_ended,
    };
    thread_begins(f);
    int rc = notify_start(f->session, &callbacks, &f->notify);
    if (rc < 0) {
        thread_ends(f);
        return rc;
    }
    for (; rc == 0 && f->worker_count < f->config.workers; f->worker_count += rc == 0)
        rc = worker_start(f, &f->workers[f->worker_count]);
    return rc;
}

int frontend_start(const struct frontend_config *config, struct frontend **out)
{
    ASSERT(config->workers > 0);
    struct frontend *f = calloc(1, sizeof(*f) + config->workers * sizeof(f->workers[0]));
    if (!f) {
        close(config->fuse_fd);
        return -ENOMEM;
    }
    f->config = *config;
    f->config.mountpoint = strdup(config->mountpoint);
    atomic_init(&f->refs, 1);
    pthread_mutex_init(&f->calls_lock, NULL);
    pthread_mutex_init(&f->threads_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&f->thread_ended, &monotonic);
    pthread_condattr_destroy(&monotonic);

    int rc = f->config.mountpoint ? 0 : -ENOMEM;
    if (rc == 0)
        rc = device_minor(f->config.mountpoint, &f->device_minor);
    if (rc == 0)
        rc = session_new(f);
    if (rc < 0) {
        frontend_unref(f);
        return rc;
    }
    f->mount = inode_refs_begin(f->config.inodes);
    /* Signals are for the thread that waits for them, not for these. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = start_threads(f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc < 0) {
        frontend_stop(f);
        return rc;
    }
    *out = f;
    return 0;
}

static bool worker_has_ended(struct frontend *f, const struct worker *w)
{
    pthread_mutex_lock(&f->threads_lock);
    bool ended = w->ended;
    pthread_mutex_unlock(&f->threads_lock);
    return ended;
}

/* True when all have ended. */
static bool end_threads(struct frontend *f)
{
    for (int waited_ms = 0; waited_ms < STOP_WAIT_MS; waited_ms += STOP_WAKE_MS) {
        for (uint32_t i = 0; i < f->worker_count; i++) {
            if (!worker_has_ended(f, &f->workers[i]))
                device_wake(f->workers[i].thread);
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += STOP_WAKE_MS * (long)NS_PER_MS;
        until.tv_sec += until.tv_nsec / (long)NS_PER_S;
        until.tv_nsec %= (long)NS_PER_S;
        int rc = 0;
        pthread_mutex_lock(&f->threads_lock);
        while (f->thread_count > 0 && rc == 0)
            rc = pthread_cond_timedwait(&f->thread_ended, &f->threads_lock, &until);
        bool ended = f->thread_count == 0;
        pthread_mutex_unlock(&f->threads_lock);
        if (ended)
            return true;
    }
    return false;
}

bool frontend_has_ended(const struct frontend *f)
{
    return atomic_load(&f->unmounted);
}

bool frontend_is_mounted(const struct frontend *f)
{
    uint32_t minor;
    return device_is_connected(f->config.fuse_fd) &&
           device_minor(f->config.mountpoint, &minor) == 0 && minor == f->device_minor;
}

/* While the kernel has the session the device's minor is ours. Afterwards it may be that of the
 * next mount, even at the same place. */
static void end_session(struct frontend *f)
{
    if (!device_is_connected(f->config.fuse_fd))
        return;
    device_detach(f->config.mountpoint, f->device_minor);
    device_abort(f->device_minor);
}

bool frontend_stop(struct frontend *f)
{
    atomic_store(&f->stopping, true);
    calls_fail(f, 0, 0);
    if (f->notify)
        notify_stop(f->notify);
    end_session(f);
    bool all_ended = end_threads(f);
    if (!all_ended)
        log_event(LOG_WARN, "event=frontend_threads_left");
    for (uint32_t i = 0; i < f->worker_count; i++) {
        struct worker *w = &f->workers[i];
        if (worker_has_ended(f, w))
            pthread_join(w->thread, NULL);
        else
            pthread_detach(w->thread); /* keeps its reference to @f for as long as it hangs */
    }
    /* What the node still has keeps @f, but not the mount. */
    device_blind(f->config.fuse_fd);
    inode_refs_end(f->config.inodes, f->mount);
    frontend_unref(f);
    return all_ended;
}

/* ---- from the node ---- */

void frontend_on_change(struct frontend *f, const struct fs_change *change)
{
    bool is_foreign = change->author != f->config.node_id;
    switch (change->kind) {
    case FS_ENTRY_GONE:
        /* Names are revalidated at each use; this is for the FORGET of an inode that another host
         * unlinked. Our own kernel did its own changes itself. */
        if (is_foreign && inode_refs_holds(f->config.inodes, change->ino))
            notify_entry(f->notify, change->parent, change->name, change->name_size);
        return;
    case FS_MTIME_SET:
        /* After another host's write, back to the mtime from before: the kernel sees none changed,
         * and keeps the pages of before the write. */
        if (is_foreign && inode_refs_holds(f->config.inodes, change->ino) &&
            notify_inode(f->notify, change->ino) < 0)
            log_event(LOG_WARN, "event=notice_dropped ino=%lu", change->ino);
        return;
    case FS_DATA: /* attributes have no timeout, and their mtime drops the pages */
    case FS_ORPHANED:
    case FS_DIGEST:
        return;
    }
}

void frontend_on_installed(struct frontend *f)
{
    uint64_t *inos;
    size_t count;
    if (inode_refs_list(f->config.inodes, &inos, &count) < 0) {
        log_event(LOG_WARN, "event=notices_dropped why=no_memory");
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (notify_inode(f->notify, inos[i]) < 0)
            log_event(LOG_WARN, "event=notice_dropped ino=%lu", inos[i]);
    free(inos);
}

void frontend_tick(struct frontend *f, uint64_t now_ns)
{
    if (f->config.timeo_ns > 0)
        calls_fail(f, now_ns, f->config.timeo_ns);
    calls_interrupt(f, now_ns);
}

void frontend_view(struct frontend *f, struct frontend_view *view)
{
    uint64_t now = clock_now_ns();
    pthread_mutex_lock(&f->calls_lock);
    view->waiting = f->call_count;
    view->interrupted = calls_interrupted_locked(f);
    view->oldest_ns = f->calls && now > f->calls->since_ns ? now - f->calls->since_ns : 0;
    pthread_mutex_unlock(&f->calls_lock);
    view->inodes_known = inode_refs_count(f->config.inodes);
    view->requests = atomic_load(&f->requests);
    view->notify_queued = notify_count(f->notify);
}
