#include "node/snapshot_receive.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/queue.h"

static_assert(SNAPSHOT_WINDOW % SNAPSHOT_PIECE_MAX == 0, "whole pieces are asked for");

/* What the loop gives the thread: a piece, or the word to install. */
struct work {
    struct queue_item item;
    bool is_install, is_last;
    uint64_t hash; /* of all bytes, with the last piece */
    uint32_t size;
    uint8_t bytes[];
};

/* How far the thread is; only grows, but for a failure. */
enum stage { STAGE_WRITING, STAGE_WHOLE, STAGE_INSTALLED, STAGE_STALE, STAGE_FAILED };

struct snapshot_receive {
    struct snapshot_receive_edges edges;
    enum snapshot_phase phase;
    uint64_t numbers; /* of transfers */
    uint64_t installed;
    char last_error[160];

    uint64_t wanted_from, wanted_ns; /* 0: not */
    uint64_t failed_with;            /* the member the last one failed with; 0 */
    uint64_t not_before_ns;

    /* The one under way. */
    uint64_t from, began_ns;
    uint64_t moved_ns;    /* the last piece came, or there was nothing to wait for */
    uint64_t repeated_ns; /* something was asked for, or came */
    uint64_t received;    /* bytes, in order */
    uint64_t asked;       /* pieces before this offset are asked for */

    struct queue queue; /* of work */
    pthread_t thread;
    _Atomic uint64_t written;
    _Atomic bool aborted;
    _Atomic int stage; /* enum stage; what follows is set before it */
    int failure;
    const char *failure_doing;
    bool failure_is_final; /* the store is broken */
    _Atomic bool is_done;  /* the thread has let go of everything */
};

/* ---- the thread ---- */

struct import {
    struct snapshot_receive *r;
    struct store_import *import; /* NULL: not begun, or gone */
    XXH3_state_t *hash;
};

static void set_stage(struct snapshot_receive *r, enum stage stage)
{
    atomic_store(&r->stage, stage);
    r->edges.wake(r->edges.context);
}

static void thread_fail(struct snapshot_receive *r, const char *doing, int rc, bool is_final)
{
    r->failure = rc;
    r->failure_doing = doing;
    r->failure_is_final = is_final;
    set_stage(r, STAGE_FAILED);
}

/* The last piece is written. 0 or -errno. */
static int check_whole(struct import *i, uint64_t hash)
{
    if (XXH3_64bits_digest(i->hash) != hash)
        return -EBADMSG;
    int rc = store_import_finish(i->import, i->r->edges.node);
    if (rc < 0)
        i->import = NULL;
    else
        set_stage(i->r, STAGE_WHOLE);
    return rc;
}

static int write_piece(struct import *i, const struct work *w)
{
    int rc = store_import_write(i->import, w->bytes, w->size);
    if (rc < 0)
        return rc;
    XXH3_64bits_update(i->hash, w->bytes, w->size);
    if (w->is_last)
        return check_whole(i, w->hash);
    atomic_fetch_add(&i->r->written, w->size);
    i->r->edges.wake(i->r->edges.context);
    return 0;
}

static void install(struct import *i)
{
    struct snapshot_receive *r = i->r;
    int rc = r->edges.before_install(r->edges.context, store_import_slot(i->import));
    if (rc < 0) {
        thread_fail(r, "note the slot", rc, false);
        return;
    }
    rc = store_import_install(r->edges.store, i->import);
    if (rc == -EBUSY) { /* the store was not quiet: as if nothing had been received */
        thread_fail(r, "install", rc, false);
        return;
    }
    i->import = NULL;
    if (rc == 0)
        r->edges.after_install(r->edges.context);
    if (rc < 0 && rc != -ESTALE)
        thread_fail(r, "install a snapshot", rc, true);
    else
        set_stage(r, rc == 0 ? STAGE_INSTALLED : STAGE_STALE);
}

/* False: it is over. */
static bool do_work(struct import *i, const struct work *w)
{
    if (atomic_load(&i->r->aborted))
        return false;
    if (w->is_install) {
        install(i);
        return false;
    }
    int rc = write_piece(i, w);
    if (rc < 0)
        thread_fail(i->r, w->is_last ? "check" : "write", rc, false);
    return rc == 0;
}

static void import_all(struct import *i)
{
    struct snapshot_receive *r = i->r;
    i->hash = XXH3_createState();
    int rc = i->hash ? store_import_begin(r->edges.store, &i->import) : -ENOMEM;
    if (rc < 0) {
        thread_fail(r, "begin", rc, false);
        return;
    }
    XXH3_64bits_reset(i->hash);
    struct queue_item *item;
    bool goes_on = true;
    while (goes_on && (item = queue_take_one_wait(&r->queue))) {
        struct work *w = container_of(item, struct work, item);
        goes_on = do_work(i, w);
        free(w);
    }
}

static void *import_main(void *argument)
{
    struct import i = {.r = argument};
    import_all(&i);
    if (i.import)
        store_import_abort(i.import);
    XXH3_freeState(i.hash);
    atomic_store(&i.r->is_done, true);
    i.r->edges.wake(i.r->edges.context);
    return NULL;
}

/* ---- the loop's side ---- */

static void ask(struct snapshot_receive *r, uint64_t offset)
{
    struct peer_message m = {.kind = PEER_SNAPSHOT_GET,
                             .snapshot_get = {.transfer = r->numbers, .offset = offset}};
    r->edges.send(r->edges.context, r->from, &m);
}

/* As far ahead of the disk as the window allows. */
static void ask_more(struct snapshot_receive *r, uint64_t now_ns)
{
    while (r->asked - atomic_load(&r->written) < SNAPSHOT_WINDOW) {
        uint64_t offset = r->asked;
        r->asked += SNAPSHOT_PIECE_MAX;
        r->repeated_ns = now_ns;
        ask(r, offset);
        if (r->phase != SNAPSHOT_RECEIVING)
            return;
    }
}

static void begin(struct snapshot_receive *r, uint64_t from, uint64_t now_ns)
{
    r->numbers++;
    r->from = from;
    r->began_ns = r->moved_ns = r->repeated_ns = now_ns;
    r->received = r->asked = 0;
    atomic_store(&r->written, 0);
    atomic_store(&r->aborted, false);
    atomic_store(&r->stage, STAGE_WRITING);
    atomic_store(&r->is_done, false);
    queue_init(&r->queue, SIZE_MAX, SIZE_MAX); /* the window bounds it */
    int rc = pthread_create(&r->thread, NULL, import_main, r);
    if (rc != 0) {
        queue_deinit(&r->queue);
        r->not_before_ns = now_ns + SNAPSHOT_PAUSE_NS_OWN;
        snprintf(r->last_error, sizeof r->last_error, "no thread: %s", strerror(rc));
        return;
    }
    pthread_setname_np(r->thread, "snapshot");
    r->phase = SNAPSHOT_RECEIVING;
    log_event(LOG_INFO, "event=snapshot_receive from_node=%llx", (unsigned long long)from);
    ask_more(r, now_ns);
}

static void begin_if_wanted(struct snapshot_receive *r, uint64_t now_ns)
{
    if (r->phase != SNAPSHOT_NONE || !r->wanted_from || now_ns < r->not_before_ns ||
        now_ns - r->wanted_ns > SNAPSHOT_WANTED_NS)
        return;
    uint64_t from = r->wanted_from;
    if (from == r->failed_with) {
        uint64_t other = r->edges.other(r->edges.context, from);
        from = other ? other : from;
    }
    begin(r, from, now_ns);
}

/* The thread ends with the piece at hand; drain() lets go of the rest. */
static void end(struct snapshot_receive *r)
{
    ASSERT(r->phase != SNAPSHOT_NONE);
    atomic_store(&r->aborted, true);
    queue_close(&r->queue);
    r->phase = SNAPSHOT_ENDING;
}

static void fail(struct snapshot_receive *r, const char *why, uint64_t not_before_ns)
{
    if (r->phase == SNAPSHOT_NONE || r->phase == SNAPSHOT_ENDING)
        return;
    log_event(LOG_WARN, "event=snapshot_failed from_node=%llx bytes=%llu why=\"%s\"",
              (unsigned long long)r->from, (unsigned long long)r->received, why);
    snprintf(r->last_error, sizeof r->last_error, "%s", why);
    r->failed_with = r->from;
    r->not_before_ns = not_before_ns;
    end(r);
}

static bool waits_for(const struct snapshot_receive *r, uint64_t from)
{
    return r->phase == SNAPSHOT_RECEIVING && r->from == from;
}

void snapshot_receive_want(struct snapshot_receive *r, uint64_t from, uint64_t now_ns)
{
    r->wanted_from = from;
    r->wanted_ns = now_ns;
    begin_if_wanted(r, now_ns);
}

static void take_piece(struct snapshot_receive *r, const struct peer_snapshot_data *data)
{
    struct work *w = malloc(sizeof *w + data->size);
    if (!w)
        return; /* as if it was lost: asked for again */
    *w = (struct work){.is_last = data->is_last, .hash = data->hash, .size = data->size};
    if (data->size)
        memcpy(w->bytes, data->bytes, data->size);
    int rc = queue_push(&r->queue, &w->item, data->size);
    ASSERT(rc == 0); /* open, and without a bound */
    r->received += data->size;
    if (data->is_last)
        r->phase = SNAPSHOT_CHECKING;
}

void snapshot_receive_on_data(struct snapshot_receive *r, uint64_t from,
                              const struct peer_snapshot_data *data, uint64_t now_ns)
{
    if (!waits_for(r, from) || data->transfer != r->numbers)
        return;
    if (data->refused[0]) {
        fail(r, data->refused, now_ns + SNAPSHOT_PAUSE_NS);
        return;
    }
    if (data->offset != r->received)
        return; /* repeated, or after one that was lost */
    if (!data->is_last && data->size != SNAPSHOT_PIECE_MAX) {
        fail(r, "a piece of odd size", now_ns + SNAPSHOT_PAUSE_NS);
        return;
    }
    if (data->offset >= r->asked)
        return; /* nobody asked for it: the window is memory */
    r->moved_ns = r->repeated_ns = now_ns;
    take_piece(r, data);
    if (r->phase == SNAPSHOT_RECEIVING)
        ask_more(r, now_ns);
}

void snapshot_receive_on_gone(struct snapshot_receive *r, uint64_t node, uint64_t now_ns)
{
    if (waits_for(r, node))
        fail(r, "the connection broke", now_ns + SNAPSHOT_PAUSE_NS);
}

static void on_thread_failure(struct snapshot_receive *r, uint64_t now_ns)
{
    bool is_awaited = r->phase == SNAPSHOT_INSTALLING && !r->failure_is_final;
    char why[160];
    snprintf(why, sizeof why, "%s: %s", r->failure_doing,
             r->failure == -EBADMSG  ? "damaged on the way"
             : r->failure == -ESTALE ? "no newer than the own state"
                                     : strerror(-r->failure));
    bool is_own = r->failure != -EBADMSG && r->failure != -ESTALE;
    fail(r, why, now_ns + (is_own ? SNAPSHOT_PAUSE_NS_OWN : SNAPSHOT_PAUSE_NS));
    if (r->failure_is_final)
        r->edges.on_failure(r->edges.context, r->failure_doing, r->failure);
    else if (is_awaited)
        r->edges.on_installed(r->edges.context, false);
}

static void free_work(struct queue_item *list)
{
    while (list) {
        struct work *w = container_of(list, struct work, item);
        list = list->next;
        free(w);
    }
}

/* Its thread is done, or is waited for. */
static void let_go(struct snapshot_receive *r)
{
    pthread_join(r->thread, NULL);
    free_work(queue_take_all(&r->queue));
    queue_deinit(&r->queue);
    r->phase = SNAPSHOT_NONE;
}

static void on_installed(struct snapshot_receive *r, bool is_installed)
{
    log_event(LOG_INFO, "event=snapshot_%s from_node=%llx bytes=%llu slot=%llu",
              is_installed ? "installed" : "stale", (unsigned long long)r->from,
              (unsigned long long)r->received, (unsigned long long)store_applied(r->edges.store));
    r->installed += is_installed;
    r->last_error[0] = '\0';
    r->failed_with = r->wanted_from = 0;
    end(r);
    r->edges.on_installed(r->edges.context, is_installed);
}

static void on_stage(struct snapshot_receive *r, enum stage stage, uint64_t now_ns)
{
    if (stage == STAGE_FAILED && r->phase != SNAPSHOT_ENDING) {
        on_thread_failure(r, now_ns);
    } else if (stage == STAGE_WHOLE && r->phase == SNAPSHOT_CHECKING) {
        r->phase = SNAPSHOT_WHOLE;
        r->edges.on_whole(r->edges.context);
    } else if (stage > STAGE_WHOLE && r->phase == SNAPSHOT_INSTALLING) {
        on_installed(r, stage == STAGE_INSTALLED);
    }
}

void snapshot_receive_drain(struct snapshot_receive *r, uint64_t now_ns)
{
    if (r->phase == SNAPSHOT_NONE)
        return;
    on_stage(r, (enum stage)atomic_load(&r->stage), now_ns);
    if (r->phase == SNAPSHOT_RECEIVING)
        ask_more(r, now_ns);
    if (r->phase == SNAPSHOT_ENDING && atomic_load(&r->is_done)) {
        let_go(r);
        begin_if_wanted(r, now_ns);
    }
}

static void look_for_stall(struct snapshot_receive *r, uint64_t now_ns)
{
    if (r->received >= r->asked) {
        r->moved_ns = now_ns; /* the own disk is what one waits for */
    } else if (now_ns - r->moved_ns >= SNAPSHOT_STALL_NS) {
        fail(r, "no answer", now_ns);
    } else if (now_ns - r->repeated_ns >= SNAPSHOT_REPEAT_NS) {
        r->asked = r->received;
        ask_more(r, now_ns);
    }
}

void snapshot_receive_tick(struct snapshot_receive *r, uint64_t now_ns)
{
    snapshot_receive_drain(r, now_ns);
    if (r->phase == SNAPSHOT_RECEIVING)
        look_for_stall(r, now_ns);
    begin_if_wanted(r, now_ns);
}

void snapshot_receive_install(struct snapshot_receive *r)
{
    ASSERT(r->phase == SNAPSHOT_WHOLE);
    struct work *w = malloc(sizeof *w);
    ASSERT(w); /* the store stands still for it */
    *w = (struct work){.is_install = true};
    int rc = queue_push(&r->queue, &w->item, 0);
    ASSERT(rc == 0);
    r->phase = SNAPSHOT_INSTALLING;
}

void snapshot_receive_abort(struct snapshot_receive *r, const char *why)
{
    if (r->phase == SNAPSHOT_NONE || r->phase == SNAPSHOT_ENDING || r->phase == SNAPSHOT_INSTALLING)
        return;
    log_event(LOG_INFO, "event=snapshot_aborted from_node=%llx why=%s", (unsigned long long)r->from,
              why);
    r->wanted_from = 0;
    end(r);
}

void snapshot_receive_view(const struct snapshot_receive *r, struct snapshot_receive_view *view)
{
    *view = (struct snapshot_receive_view){.phase = r->phase, .installed = r->installed};
    memcpy(view->last_error, r->last_error, sizeof view->last_error);
    if (r->phase == SNAPSHOT_NONE)
        return;
    view->from = r->from;
    view->bytes = r->received;
    view->since_ns = r->began_ns;
}

struct snapshot_receive *snapshot_receive_new(const struct snapshot_receive_edges *edges,
                                              uint64_t now_ns)
{
    struct snapshot_receive *r = calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->edges = *edges;
    r->numbers = now_ns; /* others than those of a former life, which a sender may remember */
    return r;
}

void snapshot_receive_free(struct snapshot_receive *r)
{
    if (!r)
        return;
    if (r->phase == SNAPSHOT_INSTALLING) {
        queue_close(&r->queue); /* what is in it is still done */
        let_go(r);
    }
    if (r->phase != SNAPSHOT_NONE) {
        end(r);
        let_go(r);
    }
    free(r);
}
