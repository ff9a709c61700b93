#include "mount-helper/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "rpc/admin.h"

#define ANSWER_NS   (10 * NS_PER_S)
#define PROBE_MS    2000
#define POLL_NS     (20 * NS_PER_MS)
#define DAEMON_NAME "paxfsd"

/* The paxfsd beside this program, or its bare name, for execvp to find. */
static void find_daemon(char *out, size_t room)
{
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (size > 0) {
        self[size] = '\0';
        char *slash = strrchr(self, '/');
        if (slash) {
            *slash = '\0';
            int needed = snprintf(out, room, "%s/" DAEMON_NAME, self);
            if (needed > 0 && (size_t)needed < room && access(out, X_OK) == 0)
                return;
        }
    }
    snprintf(out, room, DAEMON_NAME);
}

/* In the child. Nothing of the caller's may stay open: whoever reads our output would wait for
 * ever. */
static _Noreturn void run_daemon(const struct daemon_launch *launch, const char *program, int log)
{
    setsid();
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0 || chdir("/") < 0)
        _exit(127);
    close_range(STDERR_FILENO + 1, ~0U, 0);
    char *arguments[] = {
        (char *)DAEMON_NAME,
        (char *)"--state",
        (char *)launch->state_dir,
        (char *)"--foreground",
        (char *)(launch->pid_path ? "--pid-file" : NULL),
        (char *)launch->pid_path,
        NULL,
    };
    execvp(program, arguments);
    dprintf(STDERR_FILENO, "cannot run %s: %s\n", program, strerror(errno));
    _exit(127);
}

int daemon_start(const struct daemon_launch *launch, struct daemon_child *child, char *error,
                 size_t error_size)
{
    char program[PATH_MAX + sizeof(DAEMON_NAME) + 1];
    find_daemon(program, sizeof(program));
    int log = open(launch->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0) {
        int rc = -errno;
        snprintf(error, error_size, "cannot open the log %s: %s; check the directory",
                 launch->log_path, strerror(-rc));
        return rc;
    }
    child->log_start = lseek(log, 0, SEEK_END);
    fflush(NULL); /* or the child would print what we have not yet */
    child->pid = fork();
    if (child->pid == 0)
        run_daemon(launch, program, log);
    int rc = child->pid < 0 ? -errno : 0;
    close(log);
    if (rc < 0)
        snprintf(error, error_size, "cannot start " DAEMON_NAME ": fork: %s; try again",
                 strerror(-rc));
    return rc;
}

/* The last line at or after @start: why it ended, in its own words. */
static void last_log_line(const char *path, off_t start, char *out, size_t room)
{
    char bytes[4096];
    snprintf(out, room, "no line in %s", path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    off_t end = lseek(fd, 0, SEEK_END);
    off_t from = end - (off_t)sizeof(bytes) + 1;
    if (from < start)
        from = start;
    ssize_t size = pread(fd, bytes, sizeof(bytes) - 1, from);
    close(fd);
    if (size <= 0)
        return;
    while (size > 0 && bytes[size - 1] == '\n')
        size--;
    if (size == 0)
        return;
    bytes[size] = '\0';
    char *newline = strrchr(bytes, '\n');
    const char *line = newline ? newline + 1 : bytes;
    snprintf(out, room, "%.*s", (int)room - 1, line);
}

static void pause_ns(uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
    nanosleep(&t, NULL);
}

int daemon_probe(const char *state_dir)
{
    struct admin_response response;
    int rc = admin_call(state_dir, "status", NULL, -1, PROBE_MS, &response);
    if (rc == 0)
        admin_response_deinit(&response);
    return rc == -ECONNREFUSED ? -ENOENT : rc;
}

int daemon_await(const struct daemon_launch *launch, const struct daemon_child *child,
                 const volatile int *interrupted, char *error, size_t error_size)
{
    char line[512];
    uint64_t deadline = clock_now_ns() + ANSWER_NS;
    do {
        if (daemon_probe(launch->state_dir) == 0)
            return 0;
        int status;
        if (waitpid(child->pid, &status, WNOHANG) == child->pid) {
            last_log_line(launch->log_path, child->log_start, line, sizeof(line));
            if (WIFSIGNALED(status))
                snprintf(error, error_size,
                         DAEMON_NAME " died of signal %d (%s); see %s; its last line: %s",
                         WTERMSIG(status), strsignal(WTERMSIG(status)), launch->log_path, line);
            else
                snprintf(error, error_size, DAEMON_NAME " ended at once: %s", line);
            return -ECHILD;
        }
        if (interrupted && *interrupted) {
            snprintf(error, error_size, "interrupted; " DAEMON_NAME " (pid %d) goes on",
                     (int)child->pid);
            return -EINTR;
        }
        pause_ns(POLL_NS);
    } while (clock_now_ns() < deadline);
    last_log_line(launch->log_path, child->log_start, line, sizeof(line));
    snprintf(error, error_size,
             DAEMON_NAME " (pid %d) does not answer after 10 s; see %s; its last line: %s",
             (int)child->pid, launch->log_path, line);
    return -ETIMEDOUT;
}

/* True when the command line of @pid is "...paxfsd ... --state @state_dir ...": a pid in an old
 * file may by now be anybody's. */
static bool is_daemon_of(pid_t pid, const char *state_dir)
{
    char path[64], line[3 * PATH_MAX];
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, line, sizeof(line) - 1);
    close(fd);
    if (size <= 0)
        return false; /* a zombie has none */
    line[size] = '\0';
    const char *end = line + size;
    const char *base = strrchr(line, '/');
    if (strcmp(base ? base + 1 : line, DAEMON_NAME) != 0)
        return false;
    for (const char *word = line + strlen(line) + 1; word < end; word += strlen(word) + 1) {
        if (strcmp(word, state_dir) == 0)
            return true;
    }
    return false;
}

static pid_t pid_in_file(const char *path)
{
    char text[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t size = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (size <= 0)
        return 0;
    text[size] = '\0';
    long pid = strtol(text, NULL, 10);
    return pid > 1 && pid <= INT_MAX ? (pid_t)pid : 0;
}

pid_t daemon_asked_pid(const char *state_dir)
{
    struct admin_response response;
    if (admin_call(state_dir, "status", NULL, -1, PROBE_MS, &response) < 0)
        return 0;
    uint64_t pid = admin_get_u64(admin_get(&response.result, "node"), "pid", 0);
    admin_response_deinit(&response);
    return pid <= INT_MAX ? (pid_t)pid : 0;
}

pid_t daemon_pid(const char *pid_path, const char *state_dir)
{
    pid_t pid = pid_in_file(pid_path);
    if (pid > 0 && is_daemon_of(pid, state_dir))
        return pid;
    pid = daemon_asked_pid(state_dir);
    return pid > 1 && is_daemon_of(pid, state_dir) ? pid : 0;
}

int daemon_wait_gone(pid_t pid, int timeout_ms)
{
    /* A pidfd reports the end of a process also while nobody has reaped it. */
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return errno == ESRCH || errno == EINVAL ? 0 : -errno;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    uint64_t deadline = clock_now_ns() + (uint64_t)timeout_ms * NS_PER_MS;
    int ready;
    for (;;) {
        uint64_t now = clock_now_ns();
        int left_ms = now < deadline ? (int)((deadline - now) / NS_PER_MS) + 1 : 0;
        ready = poll(&wait, 1, left_ms);
        if (ready >= 0 || errno != EINTR)
            break;
    }
    int rc = ready > 0 ? 0 : ready == 0 ? -ETIMEDOUT : -errno;
    close(fd);
    return rc;
}
