/* paxfsd: the daemon of one state directory. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "node/node.h"

struct options {
    const char *state_dir, *pid_file, *log_level;
    bool foreground;
};

static const char usage[] =
    "usage: paxfsd --state DIR [--foreground] [--pid-file FILE] [--log-level LEVEL]\n"
    "  --state DIR        state directory made by `paxfs init`\n"
    "  --foreground       stay attached; log to stderr (else to DIR/paxfsd.log)\n"
    "  --pid-file FILE    write the process id there\n"
    "  --log-level LEVEL  error, warn, info (default) or debug\n"
    "  --version          print the version\n";

static int set_log_level(const char *text)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            log_set_level((enum log_level)i);
            return 0;
        }
    }
    fprintf(stderr, "paxfsd: --log-level %s: not one of error, warn, info, debug\n", text);
    return -EINVAL;
}

/* 0; 1: nothing more to do; -EINVAL. */
static int parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"state", required_argument, NULL, 's'},
                                          {"foreground", no_argument, NULL, 'f'},
                                          {"pid-file", required_argument, NULL, 'p'},
                                          {"log-level", required_argument, NULL, 'l'},
                                          {"version", no_argument, NULL, 'V'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int c;
    while ((c = getopt_long(argc, argv, "s:fp:l:Vh", longs, NULL)) != -1) {
        switch (c) {
        case 's':
            o->state_dir = optarg;
            break;
        case 'f':
            o->foreground = true;
            break;
        case 'p':
            o->pid_file = optarg;
            break;
        case 'l':
            if (set_log_level(optarg) < 0)
                return -EINVAL;
            o->log_level = optarg;
            break;
        case 'V':
            printf("paxfsd %s\n", PAXFS_VERSION);
            return 1;
        case 'h':
            fputs(usage, stdout);
            return 1;
        default:
            fputs(usage, stderr);
            return -EINVAL;
        }
    }
    if (!o->state_dir || optind < argc) {
        fprintf(stderr, "paxfsd: %s\n%s",
                o->state_dir ? "unexpected argument" : "--state DIR is missing", usage);
        return -EINVAL;
    }
    return 0;
}

static int complain(const char *state_dir, const char *what, const char *why)
{
    fprintf(stderr, "paxfsd: %s: %s%s%s\n", state_dir, what, why[0] ? ": " : "", why);
    return 1;
}

/* ---- background ---- */

static int ready_pipe = -1;

/* The parent waits until the child serves or fails, so that a script sees which. */
static int go_to_background(const char *state_dir)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return complain(state_dir, "pipe", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        return complain(state_dir, "fork", strerror(errno));
    if (child > 0) {
        char status;
        close(fds[1]);
        _exit(read(fds[0], &status, 1) == 1 && status == 0 ? 0 : 1);
    }
    close(fds[0]);
    ready_pipe = fds[1];
    setsid();
    return 0;
}

/* From here on the log goes to a file; what went wrong before was said on the terminal. */
static void leave_terminal(const char *state_dir)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/paxfsd.log", state_dir);
    int log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    if (log >= 0)
        dup2(log, STDERR_FILENO);
    char ok = 0;
    ssize_t written = write(ready_pipe, &ok, 1);
    (void)written; /* the parent is gone: nobody to tell */
    close(ready_pipe);
}

static void write_pid_file(const char *path)
{
    FILE *f = path ? fopen(path, "we") : NULL;
    if (f) {
        fprintf(f, "%ld\n", (long)getpid());
        fclose(f);
    } else if (path) {
        log_event(LOG_WARN, "event=pid_file_failed path=\"%s\" error=\"%s\"", path,
                  strerror(errno));
    }
}

/* ---- the loop's handles ---- */

static void on_wake(uv_async_t *handle)
{
    struct node *n = handle->data;
    if (n->stop_phase == STOP_CLOSING)
        return;
    serving_drain(n);
    if (atomic_exchange(&n->unmounted, false))
        mounts_on_unmounted(n);
}

static void on_burst_end(uv_check_t *handle)
{
    struct node *n = handle->data;
    if (n->driver && n->stop_phase != STOP_CLOSING && !capacity_is_paused(n))
        driver_flush(n->driver);
}

static void on_tick(uv_timer_t *handle)
{
    struct node *n = handle->data;
    if (capacity_is_paused(n)) {
        serving_drain(n);
    } else if (n->driver && n->stop_phase != STOP_CLOSING) {
        struct event tick = {.kind = EVENT_TICK};
        driver_step(n->driver, &tick);
        serving_drain(n);
        serving_reap(n);
        changes_tick(n);
        admission_tick(n);
        driver_flush(n->driver); /* the burst's end comes only after the next poll */
    }
    if (n->stop_phase != STOP_CLOSING)
        backups_tick(n);
    if (++n->ticks % FRONTEND_EVERY_TICKS == 0) {
        capacity_look(n);
        if (n->frontend)
            frontend_tick(n->frontend, clock_now_ns());
        if (n->driver && n->stop_phase == STOP_NOT && !n->disk.is_short)
            forgets_tick(&n->forgets);
    }
    stop_tick(n);
}

static void on_status_tick(uv_timer_t *handle)
{
    struct node *n = handle->data;
    if (n->stop_phase == STOP_CLOSING)
        return;
    status_tick(n);
    if (capacity_is_paused(n))
        return;
    members_tick(n);
    expiry_tick(n);
    capacity_tick(n);
}

static void on_signal(uv_signal_t *handle, int signal_number)
{
    stop_begin(handle->data, signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
}

static void open_handles(struct node *n)
{
    uv_check_init(&n->loop, &n->burst_end);
    uv_timer_init(&n->loop, &n->tick);
    uv_timer_init(&n->loop, &n->status_tick);
    uv_signal_init(&n->loop, &n->sigterm);
    uv_signal_init(&n->loop, &n->sigint);
    n->burst_end.data = n->tick.data = n->status_tick.data = n->sigterm.data = n->sigint.data = n;
    uv_check_start(&n->burst_end, on_burst_end);
    uv_timer_start(&n->tick, on_tick, TICK_MS, TICK_MS);
    uv_timer_start(&n->status_tick, on_status_tick, STATUS_MS, STATUS_MS);
    uv_signal_start(&n->sigterm, on_signal, SIGTERM);
    uv_signal_start(&n->sigint, on_signal, SIGINT);
}

static int open_node(struct node *n, char *error, size_t error_size)
{
    n->started_ns = clock_now_ns();
    n->loop_thread = pthread_self();
    pthread_mutex_init(&n->frontend_lock, NULL);
    n->inodes = inode_refs_new();
    ASSERT(n->inodes);
    forgets_init(&n->forgets, n->inodes, serving_submit, n);
    pthread_mutex_init(&n->durable_lock, NULL);
    pthread_cond_init(&n->durable_moved, NULL);
    queue_init(&n->from_log, SIZE_MAX,
               SIZE_MAX); /* an answer for each EFFECT_FETCH, which are bounded */
    queue_init(&n->own_done, SIZE_MAX, SIZE_MAX); /* an end for each own request: as few */
    queue_init(&n->digests, DIGESTS_KEPT, SIZE_MAX);
    uv_loop_init(&n->loop);
    uv_async_init(&n->loop, &n->wake, on_wake);
    n->wake.data = n;

    int rc = node_open_state(n, error, error_size);
    if (rc < 0)
        return rc;
    n->applied_seen = store_applied(n->store);
    n->checkpointed_seen = store_checkpointed(n->store);
    struct storer_callbacks storer = serving_storer_callbacks(n);
    clients_init(&n->clients, n->config.node_id, n->life, serving_wake, n);
    if ((rc = reads_init(&n->reads, n->store, n->pending, serving_wake, n)) < 0 ||
        (rc = storer_start(n->store, n->config.node_id, &storer, &n->storer)) < 0) {
        snprintf(error, error_size, "cannot start: %s", strerror(-rc));
        return rc;
    }
    storer_set_checkpoint_bytes(n->storer, n->disk.shares.checkpoint);
    rc = node_open_edges(n, error, error_size);
    if (rc < 0)
        return rc;
    open_handles(n);
    n->scrubber = scrubber_start(n->store);
    if (!n->scrubber)
        log_event(LOG_WARN, "event=no_scrub");
    if (n->config.has_joined || config_is_formed(&n->config)) {
        rc = node_start_core(n);
        if (rc < 0)
            snprintf(error, error_size, "cannot start: %s", strerror(-rc));
    }
    return rc;
}

/* The same process, the lock free: in quarantine. It has left its terminal already. */
static void begin_anew(const struct options *o)
{
    const char *arguments[9] = {"paxfsd", "--state", o->state_dir, "--foreground"};
    size_t count = 4;
    if (o->pid_file) {
        arguments[count++] = "--pid-file";
        arguments[count++] = o->pid_file;
    }
    if (o->log_level) {
        arguments[count++] = "--log-level";
        arguments[count++] = o->log_level;
    }
    arguments[count] = NULL;
    execv("/proc/self/exe", (char **)(uintptr_t)arguments);
    log_event(LOG_ERROR, "event=restart_failed error=\"%s\" what_to_do=\"start paxfsd again\"",
              strerror(errno));
}

static int serve(struct node *n, const struct options *o)
{
    char error[1024];
    if (open_node(n, error, sizeof error) < 0)
        return complain(o->state_dir, error, "");
    write_pid_file(o->pid_file);
    log_event(LOG_INFO, "event=started version=%s pid=%ld applied=%llu formed=%d", PAXFS_VERSION,
              (long)getpid(), (unsigned long long)n->applied_seen, n->driver != NULL);
    if (!o->foreground)
        leave_terminal(o->state_dir);
    uv_run(&n->loop, UV_RUN_DEFAULT);
    if (n->threads_left) { /* what they use must not go before them */
        if (o->pid_file)
            unlink(o->pid_file);
        log_event(LOG_WARN, "event=stopped threads_left=1");
        if (n->restarts)
            begin_anew(o);
        _exit(n->exit_code);
    }

    if (n->driver)
        driver_free(n->driver);
    clients_deinit(&n->clients);
    if (!atomic_load(
            &n->failure)) /* with a broken disk there may be a checkpoint that never ends */
        store_close(n->store);
    inode_refs_free(n->inodes);
    uv_loop_close(&n->loop);
    if (o->pid_file)
        unlink(o->pid_file);
    log_event(LOG_INFO, "event=stopped");
    return n->exit_code;
}

int main(int argc, char **argv)
{
    struct options o = {0};
    int rc = parse(argc, argv, &o);
    if (rc)
        return rc < 0 ? 1 : 0;

    static struct node node;
    char error[1024];
    char *state_dir = realpath(o.state_dir, NULL);
    if (!state_dir)
        return complain(o.state_dir, strerror(errno), "make it with `paxfs init --state DIR`");
    node.state_dir = state_dir;
    rc = config_load(state_dir, &node.config, error, sizeof error); /* before a lock file is made */
    if (rc < 0)
        return complain(state_dir, error, "");
    int lock = config_lock(state_dir);
    if (lock < 0)
        return complain(state_dir,
                        lock == -EWOULDBLOCK ? "another paxfsd runs on this state directory"
                                             : strerror(-lock),
                        lock == -EWOULDBLOCK ? "use that one, or stop it (paxfs stop)" : "");
    rc = config_load(state_dir, &node.config, error, sizeof error); /* as the last daemon left it */
    if (rc < 0)
        return complain(state_dir, error, "");
    log_set_node(node.config.name);
    signal(SIGPIPE, SIG_IGN);
    umask(0077);
    if (!o.foreground && go_to_background(state_dir))
        return 1;
    rc = serve(&node, &o);
    close(lock);
    if (node.restarts)
        begin_anew(&o);
    free(state_dir);
    return rc;
}
