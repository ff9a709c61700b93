/* mount-helper/dev_members.c: the verbs of `paxfs dev` that change who belongs to its cluster: what
 * an operator does with `paxfs member` and `paxfs join`, in one step. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "mount-helper/asking.h"
#include "mount-helper/commands.h"
#include "mount-helper/complain.h"
#include "mount-helper/dev_cluster.h"
#include "node/token.h"

#define CHANGE_MS   15000
#define PROMOTED_NS (120 * NS_PER_S) /* the newcomer fetches everything first */
#define POLL_MS     100

/* {key: value}, and {key2: value2} unless that is NULL. */
static int ask(const struct dev_node *n, const char *method, const char *const pairs[4],
               struct admin_response *response)
{
    struct buffer params = {0};
    uint32_t count = pairs[2] ? 2 : 1;
    pack_map(&params, count);
    for (uint32_t i = 0; i < 2 * count; i++)
        pack_text(&params, pairs[i]);
    int rc = params.bytes ? asking_call(n->state, method, &params, CHANGE_MS, response) : -ENOMEM;
    buffer_deinit(&params);
    return rc;
}

/* Whether member @name votes, as @by sees it; -ENOENT: it is no member. */
static int votes(const struct dev_node *by, const char *name)
{
    char text[64];
    struct admin_response response;
    int rc = asking_call(by->state, "status", NULL, CHANGE_MS, &response);
    if (rc < 0)
        return rc;
    const msgpack_object *members = admin_get(&response.result, "members");
    rc = -ENOENT;
    for (uint32_t i = 0;
         members && members->type == MSGPACK_OBJECT_ARRAY && i < members->via.array.size; i++) {
        const msgpack_object *m = &members->via.array.ptr[i];
        if (strcmp(admin_get_text(m, "name", text, sizeof text, ""), name) == 0)
            rc = strcmp(admin_get_text(m, "role", text, sizeof text, ""), "voter") == 0;
    }
    admin_response_deinit(&response);
    return rc;
}

/* Until @name votes (@wanted 1), or is no member (-ENOENT). */
static int await_role(const struct dev_node *by, const char *name, int wanted)
{
    uint64_t deadline = clock_now_ns() + PROMOTED_NS;
    while (clock_now_ns() < deadline) {
        int now = votes(by, name);
        if (now == wanted)
            return 0;
        if (now < 0 && now != -ENOENT)
            return now;
        poll(NULL, 0, POLL_MS);
    }
    complain("%s: still not done after %d s; see paxfs member ls --state %s", name,
             (int)(PROMOTED_NS / NS_PER_S), by->state);
    return -ETIMEDOUT;
}

/* One more node, invited by @by with @pairs; its number is the next one. */
static int join_next(struct dev_cluster *c, const struct dev_node *by, const struct dev_node *n,
                     const char *const pairs[4])
{
    char token[TOKEN_SIZE_MAX];
    struct admin_response response;
    int rc = ask(by, "member_add", pairs, &response);
    if (rc < 0)
        return rc;
    admin_get_text(&response.result, "token", token, sizeof token, "");
    admin_response_deinit(&response);
    rc = dev_node_join(n, token);
    if (rc < 0)
        return rc;
    c->count = n->number;
    rc = dev_cluster_save(c);
    if (rc < 0)
        complain("cannot write %s/dev: %s", c->dir, strerror(-rc));
    return rc < 0 ? rc : dev_node_start(n, DEV_START_MS);
}

static int next_node(const struct dev_cluster *c, struct dev_node *n)
{
    if (c->count < DEV_NODES_MAX)
        return dev_cluster_node(c, c->count + 1, n);
    complain("%s had %d nodes already; begin another cluster", c->dir, DEV_NODES_MAX);
    return -E2BIG;
}

int dev_add(const struct dev_arguments *a)
{
    struct dev_cluster c;
    struct dev_node by, n;
    if (dev_cluster_open(a->dir, &c) < 0 || dev_cluster_running(&c, 0, &by) < 0 ||
        next_node(&c, &n) < 0)
        return EXIT_FAILED;
    const char *const pairs[4] = {"name", n.name};
    if (join_next(&c, &by, &n, pairs) < 0 || await_role(&by, n.name, 1) < 0)
        return EXIT_FAILED;
    printf("%s votes; it is mounted on %s\n", n.name, n.mnt);
    return EXIT_FINE;
}

/* It stops by itself once it knows; what cannot know is stopped here. */
static int see_it_end(const struct dev_node *n)
{
    pid_t pid = dev_node_pid(n);
    if (pid > 0 && daemon_wait_gone(pid, DEV_START_MS) < 0)
        kill(pid, SIGTERM);
    int rc = dev_node_finish_stop(n, pid);
    return rc < 0 ? rc : dev_node_retire(n);
}

int dev_remove(const struct dev_arguments *a)
{
    struct dev_cluster c;
    struct dev_node by, n;
    struct admin_response response;
    if (dev_cluster_open(a->dir, &c) < 0 || dev_cluster_named(&c, a, &n) < 0 ||
        dev_cluster_running(&c, n.number, &by) < 0)
        return EXIT_FAILED;
    const char *const pairs[4] = {"name", n.name};
    if (ask(&by, "member_remove", pairs, &response) < 0)
        return EXIT_FAILED;
    admin_response_deinit(&response);
    if (await_role(&by, n.name, -ENOENT) < 0 || see_it_end(&n) < 0)
        return EXIT_FAILED;
    printf("%s has left; what it had is still in %s\n", n.name, n.dir);
    return EXIT_FINE;
}

int dev_replace(const struct dev_arguments *a)
{
    struct dev_cluster c;
    struct dev_node by, old, n;
    if (dev_cluster_open(a->dir, &c) < 0 || dev_cluster_named(&c, a, &old) < 0 ||
        dev_cluster_running(&c, old.number, &by) < 0 || next_node(&c, &n) < 0)
        return EXIT_FAILED;
    const char *const pairs[4] = {"name", n.name, "replaces", old.name};
    if (join_next(&c, &by, &n, pairs) < 0 || await_role(&by, old.name, -ENOENT) < 0 ||
        see_it_end(&old) < 0)
        return EXIT_FAILED;
    printf("%s votes in the place of %s; it is mounted on %s\n", n.name, old.name, n.mnt);
    return EXIT_FINE;
}
