#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/node.h"

enum { FUSE_WORKERS = 4 };

/* A mount that was asked for. */
struct mounting {
    struct admin_request *request;
    int fd;
    char dir[4096];
    bool read_only;
    uint64_t timeo_ns;
};

static void refuse(struct mounting *m, const char *error)
{
    close(m->fd);
    admin_reply_error(m->request, error);
    free(m);
}

/* Takes @m. Nothing is mounted, and nothing is being released. */
static void start_frontend(struct node *n, struct mounting *m)
{
    struct frontend_config config = {.store = n->store,
                                     .inodes = n->inodes,
                                     .fuse_fd = m->fd,
                                     .mountpoint = m->dir,
                                     .timeo_ns = m->timeo_ns,
                                     .workers = FUSE_WORKERS,
                                     .node_id = n->config.node_id,
                                     .backend = serving_backend(n)};
    struct frontend *f;
    int rc = frontend_start(&config, &f);
    if (rc < 0) {
        char error[256];
        snprintf(error, sizeof error, "mount: the FUSE session did not start: %s", strerror(-rc));
        admin_reply_error(m->request, error);
        free(m);
        return;
    }
    memcpy(n->mount_dir, m->dir, sizeof n->mount_dir);
    n->read_only = m->read_only;
    pthread_mutex_lock(&n->frontend_lock);
    n->frontend = f;
    pthread_mutex_unlock(&n->frontend_lock);
    log_event(LOG_INFO, "event=mounted dir=\"%s\" read_only=%d", n->mount_dir, n->read_only);
    admin_reply(m->request, NULL);
    free(m);
}

/* frontend_stop() takes up to a second: not on the loop thread. */
struct unmounting {
    uv_work_t work;
    struct node *node;
    struct frontend *frontend;
    bool all_ended;
    void (*done)(struct node *n); /* or NULL */
    struct mounting *next;        /* waits for it, or NULL */
};

static void try_mount(struct node *n, struct mounting *m);

static void stop_frontend(uv_work_t *work)
{
    struct unmounting *u = work->data;
    u->all_ended = !u->frontend || frontend_stop(u->frontend);
}

static void frontend_stopped(uv_work_t *work, int status)
{
    struct unmounting *u = work->data;
    (void)status;
    if (u->frontend)
        log_event(LOG_INFO, "event=unmounted dir=\"%s\"", u->node->mount_dir);
    if (!u->all_ended)
        u->node->threads_left = true;
    if (u->next)
        try_mount(u->node, u->next);
    if (u->done)
        u->done(u->node);
    free(u);
}

static void release(struct node *n, struct mounting *next, void (*done)(struct node *n))
{
    struct unmounting *u = calloc(1, sizeof *u);
    ASSERT(u);
    pthread_mutex_lock(&n->frontend_lock);
    u->frontend = n->frontend;
    n->frontend = NULL;
    pthread_mutex_unlock(&n->frontend_lock);
    u->node = n;
    u->next = next;
    u->done = done;
    u->work.data = u;
    int rc = uv_queue_work(&n->loop, &u->work, stop_frontend, frontend_stopped);
    ASSERT(rc == 0);
}

/* Takes @m. Who mounts again after an umount, a lazy one perhaps, may be faster than the kernel's
 * word that the former mount is gone. */
static void try_mount(struct node *n, struct mounting *m)
{
    char error[4200];
    if (n->stop_phase != STOP_NOT) {
        refuse(m, "mount: the daemon is stopping; start it again");
    } else if (!n->frontend) {
        start_frontend(n, m);
    } else if (frontend_is_mounted(n->frontend)) {
        snprintf(error, sizeof error,
                 "mount: already mounted on %s; use that, bind-mount it, or umount it first",
                 n->mount_dir);
        refuse(m, error);
    } else {
        release(n, m, NULL);
    }
}

void mounts_on_request(struct node *n, struct admin_request *r, const msgpack_object *params,
                       int fd)
{
    if (fd < 0) {
        admin_reply_error(r, "mount: no /dev/fuse descriptor came with the request");
        return;
    }
    struct mounting *m = calloc(1, sizeof *m);
    ASSERT(m);
    m->request = r;
    m->fd = fd;
    admin_get_text(params, "dir", m->dir, sizeof m->dir, "");
    m->read_only = admin_get_bool(params, "read_only", false);
    m->timeo_ns = admin_get_u64(params, "timeo_ns", 0);
    try_mount(n, m);
}

void mounts_on_unmounted(struct node *n)
{
    /* It may tell of a former one. */
    if (n->frontend && frontend_has_ended(n->frontend) && n->stop_phase == STOP_NOT)
        release(n, NULL, NULL);
}

void mounts_release(struct node *n, void (*done)(struct node *n))
{
    release(n, NULL, done);
}
