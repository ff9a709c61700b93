#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/node.h"

enum { FUSE_WORKERS = 4 };

void mounts_on_request(struct node *n, struct admin_request *r, const msgpack_object *params,
                       int fd)
{
    if (fd < 0) {
        admin_reply_error(r, "mount: no /dev/fuse descriptor came with the request");
        return;
    }
    if (n->stop_phase != STOP_NOT || n->frontend) {
        char error[4200];
        if (n->stop_phase != STOP_NOT)
            snprintf(error, sizeof error, "mount: the daemon is stopping; start it again");
        else
            snprintf(error, sizeof error,
                     "mount: already mounted on %s; use that, bind-mount it, or umount it first",
                     n->mount_dir);
        close(fd);
        admin_reply_error(r, error);
        return;
    }
    admin_get_text(params, "dir", n->mount_dir, sizeof n->mount_dir, "");
    n->read_only = admin_get_bool(params, "read_only", false);
    struct frontend_config config = {.store = n->store,
                                     .fuse_fd = fd,
                                     .mountpoint = n->mount_dir,
                                     .read_only = n->read_only,
                                     .timeo_ns = admin_get_u64(params, "timeo_ns", 0),
                                     .workers = FUSE_WORKERS,
                                     .node_id = n->config.node_id,
                                     .backend = serving_backend(n)};
    struct frontend *f;
    int rc = frontend_start(&config, &f);
    if (rc < 0) {
        char error[256];
        snprintf(error, sizeof error, "mount: the FUSE session did not start: %s", strerror(-rc));
        admin_reply_error(r, error);
        return;
    }
    pthread_mutex_lock(&n->frontend_lock);
    n->frontend = f;
    pthread_mutex_unlock(&n->frontend_lock);
    log_event(LOG_INFO, "event=mounted dir=\"%s\" read_only=%d", n->mount_dir, n->read_only);
    admin_reply(r, NULL);
}

/* frontend_stop() takes up to a second: not on the loop thread. */
struct unmounting {
    uv_work_t work;
    struct node *node;
    struct frontend *frontend;
    void (*done)(struct node *n);
};

static void stop_frontend(uv_work_t *work)
{
    struct unmounting *u = work->data;
    if (u->frontend)
        frontend_stop(u->frontend);
}

static void frontend_stopped(uv_work_t *work, int status)
{
    struct unmounting *u = work->data;
    (void)status;
    if (u->frontend)
        log_event(LOG_INFO, "event=unmounted dir=\"%s\"", u->node->mount_dir);
    if (u->done)
        u->done(u->node);
    free(u);
}

void mounts_release(struct node *n, void (*done)(struct node *n))
{
    struct unmounting *u = calloc(1, sizeof *u);
    ASSERT(u);
    pthread_mutex_lock(&n->frontend_lock);
    u->frontend = n->frontend;
    n->frontend = NULL;
    pthread_mutex_unlock(&n->frontend_lock);
    u->node = n;
    u->done = done;
    u->work.data = u;
    int rc = uv_queue_work(&n->loop, &u->work, stop_frontend, frontend_stopped);
    ASSERT(rc == 0);
}
