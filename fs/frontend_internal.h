/* fs/frontend_internal.h: what the frontend's own files share. Nobody else includes it. */
#ifndef FS_FRONTEND_INTERNAL_H
#define FS_FRONTEND_INTERNAL_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <pthread.h>
#include <stdatomic.h>

#include "fs/frontend.h"
#include "fs/inode_refs.h"
#include "fs/notify.h"

struct call;

struct worker {
    struct frontend *frontend;
    pthread_t thread;
    struct store_reader *reader;
    struct fuse_buf buffer;
    bool ended; /* under threads_lock */
};

struct frontend {
    struct frontend_config config;
    /* The owner's, one for each thread, one for each call the node has: the last one frees. */
    _Atomic uint32_t refs;

    struct fuse_session *session;
    bool has_device;       /* the session closes the descriptor */
    uint32_t device_minor; /* of the mount's st_dev; names it in sysfs */
    _Atomic bool init_answered;
    uint64_t capable; /* FUSE_CAP_* that the kernel offers */
    _Atomic bool stopping;
    _Atomic bool unmounted; /* the node has been told */

    uint64_t mount; /* number among the mounts of config.inodes */
    struct notify *notify;

    _Atomic uint64_t requests;
    pthread_mutex_t calls_lock;
    struct call *calls; /* that wait, oldest first */
    uint32_t call_count;

    pthread_mutex_t threads_lock;
    pthread_cond_t thread_ended;
    uint32_t thread_count; /* running, notify among them */
    uint32_t worker_count;
    struct worker workers[];
};

void frontend_ref(struct frontend *f);
void frontend_unref(struct frontend *f);
/* The reader of the worker that runs this callback. */
struct store_reader *frontend_own_reader(void);

#endif
