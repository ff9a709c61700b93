/* tests/support/local_backend.h: one frontend on one store, without consensus: commands are applied
 * in the order in which they come. Needs root and /dev/fuse.
 *
 * The caller gets a mount namespace of its own, and in it a tmpfs that holds the store: whatever
 * becomes of the process, no mount and no state is left behind. */
#ifndef TESTS_LOCAL_BACKEND_H
#define TESTS_LOCAL_BACKEND_H

#include <sys/types.h>

#include "fs/frontend.h"

#define LOCAL_NODE   UINT64_C(1)
#define FOREIGN_NODE UINT64_C(2) /* what local_backend_apply() does, "another host" did */

struct local_backend_config {
    bool reads_wait;    /* read_may_begin() is false: each read goes through backend.read() */
    bool reads_touched; /* each read is found to be PENDING_TOUCHED: tried, then as with reads_wait
                         */
    bool read_only;     /* mounted so */
    bool ticks;         /* call frontend_tick() ten times a second */
    uint64_t timeo_ns;
    uint32_t workers;       /* 0: 4 */
    const char *state_dir;  /* NULL: in the tmpfs */
    const char *mountpoint; /* NULL: in the tmpfs, and the namespace is made; else in this one */
};

struct local_backend;

struct local_backend *local_backend_start(const struct local_backend_config *config);
const char *local_backend_mountpoint(const struct local_backend *b);
struct frontend *local_backend_frontend(struct local_backend *b);
struct store *local_backend_store(struct local_backend *b);

/* Withhold the callbacks of all requests that come from now on, or let them go. */
void local_backend_hold(struct local_backend *b, bool hold);
/* Wait until @count requests have come since the hold began. */
void local_backend_wait_held(struct local_backend *b, uint32_t count);
/* Let the next @count reads go that are, or will be, withheld. */
void local_backend_let_go(struct local_backend *b, uint32_t count);
/* The next @count reads are found to be @verdict, the others PENDING_CLEAR. */
void local_backend_judge(struct local_backend *b, enum pending_verdict verdict, uint32_t count);
uint32_t local_backend_verdicts_left(struct local_backend *b);
/* What the last of them looked at, without what it pointed to. */
struct read_set local_backend_looked_at(struct local_backend *b);
/* Apply @command as another host's. */
struct fs_outcome local_backend_apply(struct local_backend *b, const struct fs_command *command);
/* Run forgets_tick() until the store has no orphans and no garbage. */
void local_backend_settle(struct local_backend *b);
/* Wait until the notify thread has taken all its notices, though it may still hang in the last. */
void local_backend_wait_notified(struct local_backend *b);
/* fork(), and in the child close the device: a process that waits for an answer must not keep alive
 * the connection that owes it one, or a test that fails leaves it behind, unkillable. The child
 * makes system calls and _exit()s. */
pid_t local_backend_fork(struct local_backend *b);
/* Wait until the mount was reported gone. */
void local_backend_wait_unmounted(struct local_backend *b);
/* Wait until @count requests were cancelled. */
void local_backend_wait_cancelled(struct local_backend *b, uint32_t count);
/* Open /dev/fuse and mount; the descriptor. */
int local_backend_mount_fuse(struct local_backend *b);
/* What a frontend of @b is started with. */
struct frontend_config local_backend_frontend_config(struct local_backend *b, int fuse_fd);
/* Stop the frontend, where there is one; start another on a mount made anew. */
void local_backend_unmount(struct local_backend *b);
void local_backend_mount(struct local_backend *b);

/* Stop the frontend, then answer what is withheld, close the store. */
void local_backend_stop(struct local_backend *b);

#endif
