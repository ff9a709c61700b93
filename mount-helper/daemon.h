/* mount-helper/daemon.h: start a paxfsd, wait until it answers, end it. */
#ifndef MOUNT_HELPER_DAEMON_H
#define MOUNT_HELPER_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* How a daemon is started. Absolute paths. */
struct daemon_launch {
    const char *state_dir;
    const char *log_path; /* its stderr, appended */
    const char *pid_path; /* NULL: no pid file */
};

struct daemon_child {
    pid_t pid;
    off_t log_start; /* where its lines begin in the log */
};

/* Start paxfsd (the one beside this program, else from PATH) in a session of its own. 0 or -errno.
 */
int daemon_start(const struct daemon_launch *launch, struct daemon_child *child, char *error,
                 size_t error_size);
/* Wait up to 10 s until it answers admin requests. 0; -ECHILD: it ended (@error has its last line);
 * -ETIMEDOUT; -EINTR: interrupted by a signal that @interrupted reports. */
int daemon_await(const struct daemon_launch *launch, const struct daemon_child *child,
                 const volatile int *interrupted, char *error, size_t error_size);
/* 0: a daemon of @state_dir answers; -ENOENT: there is none; other -errno: there is one that does
 * not answer. */
int daemon_probe(const char *state_dir);
/* The pid that the daemon of @state_dir says it has; 0: none answers. */
pid_t daemon_asked_pid(const char *state_dir);
/* The process in @pid_path, or the one that answers (mount(8) starts daemons without a pid file),
 * if it is a paxfsd of @state_dir; else 0. */
pid_t daemon_pid(const char *pid_path, const char *state_dir);
/* Wait until @pid has ended. 0 or -ETIMEDOUT. */
int daemon_wait_gone(pid_t pid, int timeout_ms);

#endif
