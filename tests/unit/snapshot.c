/* tests/unit/snapshot.c: one host's state to another, over a wire that loses, repeats, damages and
 * breaks. Two donors and a receiver, their stores on the disk, and a clock that tests set. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "fs/disk.h"
#include "node/snapshot_receive.h"
#include "node/snapshot_send.h"
#include "tests/support/letters.h"
#include "tests/support/store_fixture.h"
#include "tests/support/store_ops.h"

enum { ROOT = 1, RECEIVER = 9, DONORS = 2, TURNS_MAX = 20000 };

/* ---- the wire ---- */

static uint32_t pieces; /* delivered */
static bool is_cut[RECEIVER + 1];
/* What happens to a letter: how often it is delivered. NULL: once. */
static uint32_t (*fate)(struct letter *l);

/* ---- donors and receiver ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static bool is_woken;
static uint64_t now_ns;

static struct store_fixture donors[DONORS], receiver; /* donor i is node i + 1 */
static struct snapshot_send *sends[DONORS];
static struct snapshot_receive *receive;
static uint32_t wholes, installs, stales, failures;
static uint64_t noted; /* slot, before the install */
static int export_error, note_error;
static size_t export_pieces; /* so many, whole ones, of zeroes, in the place of the store */
static bool is_checkpointed; /* though the store is to be quiet */
static struct store_checkpoint *checkpoint;

static void wake(void *context)
{
    (void)context;
    pthread_mutex_lock(&lock);
    is_woken = true;
    pthread_mutex_unlock(&lock);
    pthread_cond_signal(&woken);
}

static uint64_t node_of(const struct store_fixture *donor)
{
    return (uint64_t)(donor - donors) + 1;
}

static int export_zeroes(int fd)
{
    static const uint8_t zeroes[SNAPSHOT_PIECE_MAX];
    for (size_t i = 0; i < export_pieces; i++)
        if (write(fd, zeroes, sizeof zeroes) != sizeof zeroes)
            return -EPIPE;
    return 0;
}

static int export_donor(void *context, int fd)
{
    if (export_pieces)
        return export_zeroes(fd);
    int rc = store_export(((struct store_fixture *)context)->store, fd);
    return export_error ? export_error : rc;
}

static void donor_send(void *context, uint64_t node, const struct peer_message *m)
{
    letters_post(node_of(context), node, m);
}

static void receiver_send(void *context, uint64_t node, const struct peer_message *m)
{
    (void)context;
    letters_post(RECEIVER, node, m);
}

static uint64_t other(void *context, uint64_t node)
{
    (void)context;
    for (uint64_t i = 1; i <= DONORS; i++)
        if (i != node && !is_cut[i])
            return i;
    return 0;
}

static void on_whole(void *context)
{
    (void)context;
    wholes++;
    if (is_checkpointed)
        cr_assert_eq(store_checkpoint_begin(receiver.store, &checkpoint), 0);
    snapshot_receive_install(receive); /* nobody else uses the store */
}

static int before_install(void *context, uint64_t slot)
{
    (void)context;
    noted = slot;
    return note_error;
}

static void after_install(void *context)
{
    (void)context;
    ASSERT(store_applied(receiver.store) == noted);
}

static void on_installed(void *context, bool is_installed)
{
    (void)context;
    installs += is_installed;
    stales += !is_installed;
}

static void on_failure(void *context, const char *doing, int error)
{
    (void)context, (void)doing, (void)error;
    failures++;
}

static void fill(struct store_fixture *f, uint32_t files)
{
    static char data[WRITE_SIZE_MAX];
    srand(1);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)rand();
    for (uint32_t i = 0; i < files; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%u", i);
        struct fs_outcome o = op_create(f, ROOT, name, 0644, 0);
        cr_assert_eq(o.error, 0);
        op_write(f, o.attr.ino, 0, data, sizeof data, 0);
    }
}

static void begin_receiver(void)
{
    struct snapshot_receive_edges edges = {.store = receiver.store,
                                           .node = 1,
                                           .send = receiver_send,
                                           .wake = wake,
                                           .other = other,
                                           .on_whole = on_whole,
                                           .before_install = before_install,
                                           .after_install = after_install,
                                           .on_installed = on_installed,
                                           .on_failure = on_failure};
    receive = snapshot_receive_new(&edges, now_ns);
    cr_assert_not_null(receive);
}

static void setup(void)
{
    now_ns = 1000 * NS_PER_S;
    for (uint32_t i = 0; i < DONORS; i++) {
        store_fixture_init_cluster(&donors[i], 3);
        fill(&donors[i], 6);
        struct snapshot_send_edges edges = {
            .context = &donors[i], .export = export_donor, .send = donor_send, .wake = wake};
        sends[i] = snapshot_send_new(&edges);
        cr_assert_not_null(sends[i]);
    }
    store_fixture_init_blank(&receiver);
    begin_receiver();
}

static void teardown(void)
{
    disk_hook = NULL;
    snapshot_receive_free(receive);
    letters_clear();
    for (uint32_t i = 0; i < DONORS; i++) {
        snapshot_send_free(sends[i]);
        store_fixture_deinit(&donors[i]);
    }
    store_fixture_deinit(&receiver);
}

TestSuite(snapshot, .init = setup, .fini = teardown);

/* ---- turns of the loop ---- */

static void deliver(const struct letter *l)
{
    if (is_cut[l->from] || is_cut[l->to])
        return;
    if (l->to != RECEIVER) {
        snapshot_send_on_get(sends[l->to - 1], l->from, &l->message.snapshot_get, now_ns);
        return;
    }
    pieces++;
    snapshot_receive_on_data(receive, l->from, &l->message.snapshot_data, now_ns);
}

static bool deliver_next(void)
{
    struct letter *l = letters_take();
    if (!l)
        return false;
    uint32_t times = fate ? fate(l) : 1;
    for (uint32_t i = 0; i < times; i++)
        deliver(l);
    free(l);
    return true;
}

static void tick(void)
{
    for (uint32_t i = 0; i < DONORS; i++) {
        snapshot_send_drain(sends[i]);
        snapshot_send_tick(sends[i], now_ns);
    }
    snapshot_receive_tick(receive, now_ns);
}

static enum snapshot_phase phase(void)
{
    struct snapshot_receive_view view;
    snapshot_receive_view(receive, &view);
    return view.phase;
}

static const char *last_error(void)
{
    static struct snapshot_receive_view view;
    snapshot_receive_view(receive, &view);
    return view.last_error;
}

/* What the threads and the wire still do, until they wait for something else than each other. The
 * clock of the test stands; that of the world bounds how long one waits for a thread. */
static void settle(void)
{
    for (uint32_t quiet = 0, turn = 0; quiet < 3; turn++) {
        ASSERT(turn < TURNS_MAX);
        bool moved = false;
        while (deliver_next())
            moved = true;
        tick();
        struct timespec limit;
        clock_gettime(CLOCK_REALTIME, &limit);
        limit.tv_nsec += 20 * 1000 * 1000;
        limit.tv_sec += limit.tv_nsec / (1000 * 1000 * 1000);
        limit.tv_nsec %= 1000 * 1000 * 1000;
        pthread_mutex_lock(&lock);
        if (!is_woken && !moved && !letters_are_under_way())
            pthread_cond_timedwait(&woken, &lock, &limit);
        moved |= is_woken;
        is_woken = false;
        pthread_mutex_unlock(&lock);
        bool waits_for_disk = phase() == SNAPSHOT_CHECKING || phase() == SNAPSHOT_INSTALLING ||
                              phase() == SNAPSHOT_ENDING;
        quiet = moved || waits_for_disk ? 0 : quiet + 1;
    }
}

static void later(uint64_t ns)
{
    now_ns += ns;
    tick();
    settle();
}

static void want(uint64_t from)
{
    snapshot_receive_want(receive, from, now_ns);
    settle();
}

static void expect_state_of(struct store_fixture *donor)
{
    struct store_digest theirs = store_fixture_digest(donor),
                        ours = store_fixture_digest(&receiver);
    cr_expect_eq(ours.slot, theirs.slot);
    cr_expect_eq(memcmp(ours.digest, theirs.digest, sizeof ours.digest), 0);
    cr_expect_eq(store_checkpointed(receiver.store), theirs.slot);
    cr_expect_eq(noted, theirs.slot, "said before");
    cr_expect_eq(installs, 1);
    cr_expect_eq(failures, 0);
    cr_expect_eq(phase(), SNAPSHOT_NONE);
}

/* ---- tests ---- */

Test(snapshot, a_blank_host_gets_the_whole_state)
{
    want(1);
    expect_state_of(&donors[0]);
    cr_expect_gt(pieces, 6 * MIB / SNAPSHOT_PIECE_MAX);
    store_fixture_reopen(&receiver); /* and finds it again */
    struct store_digest theirs = store_fixture_digest(&donors[0]),
                        ours = store_fixture_digest(&receiver);
    cr_expect_eq(ours.slot, theirs.slot);
}

Test(snapshot, a_host_that_was_away_gets_a_newer_state)
{
    store_fixture_deinit(&receiver);
    store_fixture_init_cluster(&receiver, 3);
    fill(&receiver, 1);
    snapshot_receive_free(receive);
    begin_receiver();
    want(2);
    expect_state_of(&donors[1]);
}

static uint32_t lose_some(struct letter *l)
{
    (void)l;
    return rand() % 7 != 0;
}

Test(snapshot, what_is_lost_is_asked_for_again)
{
    fate = lose_some;
    want(1);
    for (uint32_t i = 0; i < 200 && installs == 0; i++)
        later(SNAPSHOT_REPEAT_NS);
    expect_state_of(&donors[0]);
    cr_expect_eq(last_error()[0], '\0');
}

static uint32_t repeat_all(struct letter *l)
{
    (void)l;
    return 2;
}

Test(snapshot, what_is_repeated_does_no_harm)
{
    fate = repeat_all;
    want(1);
    expect_state_of(&donors[0]);
}

static uint32_t twenty_pieces(struct letter *l)
{
    static uint32_t count;
    count += l->to == RECEIVER && l->from == 1;
    return count <= 20 || l->from != 1;
}

Test(snapshot, when_the_donor_goes_another_one_gives_it_from_the_start)
{
    fate = twenty_pieces;
    want(1);
    cr_assert_eq(phase(), SNAPSHOT_RECEIVING);
    cr_assert_eq(pieces, 20);
    is_cut[1] = true;
    snapshot_receive_on_gone(receive, 1, now_ns);
    snapshot_send_on_gone(sends[0], RECEIVER);
    settle();
    cr_expect_eq(phase(), SNAPSHOT_NONE, "its thread is let go of");
    later(SNAPSHOT_PAUSE_NS);
    expect_state_of(&donors[1]);
    struct snapshot_send_view view;
    snapshot_send_view(sends[0], &view);
    cr_expect_eq(view.count, 0);
}

Test(snapshot, a_donor_that_falls_silent_is_given_up)
{
    fate = twenty_pieces;
    want(1);
    for (uint32_t i = 0; i < 4; i++)
        later(SNAPSHOT_STALL_NS / 5);
    cr_expect_eq(phase(), SNAPSHOT_RECEIVING);
    cr_expect_eq(installs, 0);
    later(SNAPSHOT_STALL_NS / 5);
    expect_state_of(&donors[1]);
    later(SNAPSHOT_SEND_IDLE_NS + 1);
    struct snapshot_send_view view;
    snapshot_send_view(sends[0], &view);
    cr_expect_eq(view.count, 0, "the silent one ends its export too");
}

static uint32_t damage_one(struct letter *l)
{
    static bool is_done;
    if (!is_done && l->from == 1 && l->message.snapshot_data.offset == 10 * SNAPSHOT_PIECE_MAX) {
        ((uint8_t *)(l + 1))[1000] ^= 1;
        is_done = true;
    }
    return 1;
}

Test(snapshot, what_was_damaged_on_the_way_is_not_installed)
{
    fate = damage_one;
    want(1);
    cr_expect_eq(installs, 0);
    cr_expect_eq(wholes, 0);
    cr_expect_str_eq(last_error(), "check: damaged on the way");
    later(SNAPSHOT_PAUSE_NS);
    expect_state_of(&donors[1]);
}

static uint32_t damage_hash(struct letter *l)
{
    if (l->from == 1 && l->message.snapshot_data.is_last)
        l->message.snapshot_data.hash ^= 1;
    return 1;
}

Test(snapshot, the_hash_of_all_bytes_is_checked)
{
    fate = damage_hash;
    want(1);
    cr_expect_eq(wholes, 0);
    cr_expect_str_eq(last_error(), "check: damaged on the way");
}

static void expect_nothing_left(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/store.2", receiver.dir);
    cr_expect_neq(access(path, F_OK), 0);
}

static void try_again(void)
{
    now_ns += SNAPSHOT_PAUSE_NS_OWN;
    want(1);
    expect_state_of(&donors[1]);
}

static uint32_t writes, is_full_after;
static const char *full_step;

static int full(const char *step, const char *path)
{
    (void)path;
    writes += strcmp(step, "append") == 0;
    return strcmp(step, full_step) == 0 && writes >= is_full_after ? -ENOSPC : 0;
}

Test(snapshot, a_disk_that_gets_full_leaves_the_own_state_as_it_is)
{
    static const struct {
        const char *step;
        uint32_t after;
    } cases[] = {{"append", 1}, {"append", 9}, {"room", 0}, {"room", 5}, {"sync", 20}};
    disk_hook = full;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        full_step = cases[i].step;
        is_full_after = cases[i].after;
        writes = 0;
        want(1);
        cr_expect_eq(installs, 0);
        cr_expect_eq(failures, 0, "the node goes on");
        cr_expect_not_null(strstr(last_error(), strerror(ENOSPC)));
        cr_expect_eq(store_applied(receiver.store), 0);
        cr_expect_eq(phase(), SNAPSHOT_NONE);
        expect_nothing_left();
        now_ns += SNAPSHOT_PAUSE_NS_OWN;
    }
    disk_hook = NULL;
    try_again();
}

/* The store need not be quiet any more, nothing is left of what came, and it is tried again. */
static void expect_not_installed(int error)
{
    cr_expect_eq(wholes, 1);
    cr_expect_eq(installs, 0);
    cr_expect_eq(stales, 1, "the store may go on");
    cr_expect_eq(failures, 0, "the node goes on");
    cr_expect_not_null(strstr(last_error(), strerror(error)));
    cr_expect_eq(phase(), SNAPSHOT_NONE);
    expect_nothing_left();
}

Test(snapshot, a_slot_that_cannot_be_noted_is_not_installed)
{
    note_error = -ENOSPC;
    want(1);
    expect_not_installed(ENOSPC);
    note_error = 0;
    try_again();
}

Test(snapshot, a_store_that_is_not_quiet_is_not_replaced)
{
    is_checkpointed = true;
    want(1);
    expect_not_installed(EBUSY);
    is_checkpointed = false;
    cr_assert_eq(store_checkpoint_finish(receiver.store, checkpoint), 0);
    try_again();
}

Test(snapshot, whole_pieces_end_with_one_of_no_bytes)
{
    static const size_t counts[] = {1, SNAPSHOT_WINDOW / SNAPSHOT_PIECE_MAX, 20};
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        export_pieces = counts[i];
        pieces = 0;
        want(1);
        cr_expect_eq(pieces, counts[i] + 1);
        cr_expect_str_eq(last_error(), "check: damaged on the way", "it is no state");
        expect_nothing_left();
        now_ns += SNAPSHOT_PAUSE_NS;
        export_pieces = 0;
        snapshot_send_on_gone(sends[0], RECEIVER);
        snapshot_send_on_gone(sends[1], RECEIVER);
    }
}

Test(snapshot, an_export_that_fails_is_told)
{
    export_error = -EIO;
    want(1);
    cr_expect_str_eq(last_error(), strerror(EIO));
    cr_expect_eq(installs, 0);
    export_error = 0;
    later(SNAPSHOT_PAUSE_NS);
    expect_state_of(&donors[1]);
}

Test(snapshot, a_host_without_a_state_refuses)
{
    snapshot_send_forbid(sends[0], true);
    is_cut[2] = true;
    want(1);
    cr_expect_str_eq(last_error(), "this host waits for a snapshot itself");
    snapshot_send_forbid(sends[0], false);
    later(SNAPSHOT_PAUSE_NS);
    expect_state_of(&donors[0]);
}

static void get(uint64_t node, uint64_t transfer, uint64_t offset)
{
    struct peer_snapshot_get g = {.transfer = transfer, .offset = offset};
    snapshot_send_on_get(sends[0], node, &g, now_ns);
}

/* The next answer to anybody; none: refused "-". */
static struct peer_snapshot_data answer(void)
{
    struct peer_snapshot_data data = {.refused = "-"};
    for (uint32_t i = 0; i < 500 && !letters_are_under_way(); i++) {
        struct timespec moment = {.tv_nsec = 2 * 1000 * 1000};
        nanosleep(&moment, NULL);
        snapshot_send_drain(sends[0]);
    }
    struct letter *l = letters_take();
    if (!l)
        return data;
    data = l->message.snapshot_data;
    data.bytes = NULL;
    free(l);
    return data;
}

Test(snapshot, a_host_gives_few_snapshots_at_a_time)
{
    for (uint64_t node = 5; node < 5 + SNAPSHOT_SENDS_MAX; node++) {
        get(node, 1, 0);
        cr_expect_str_eq(answer().refused, "");
    }
    get(8, 1, 0);
    cr_expect_str_eq(answer().refused, "this host gives snapshots to others already");
    get(5, 2, 0); /* begun anew: in the room of its former one */
    cr_expect_str_eq(answer().refused, "");
    struct snapshot_send_view view;
    snapshot_send_view(sends[0], &view);
    cr_expect_eq(view.count, SNAPSHOT_SENDS_MAX);
    get(5, 1, SNAPSHOT_PIECE_MAX);
    cr_expect_str_eq(answer().refused, "that transfer has ended; begin anew");
    snapshot_send_on_gone(sends[0], 6);
    get(8, 2, 0);
    cr_expect_str_eq(answer().refused, "");
}

Test(snapshot, a_host_keeps_the_last_pieces_alone)
{
    for (uint64_t i = 0; i < 20; i++) {
        get(5, 1, i * SNAPSHOT_PIECE_MAX);
        struct peer_snapshot_data data = answer();
        cr_assert_eq(data.offset, i * SNAPSHOT_PIECE_MAX);
        cr_assert_eq(data.size, SNAPSHOT_PIECE_MAX);
    }
    get(5, 1, 10 * SNAPSHOT_PIECE_MAX);
    cr_expect_eq(answer().offset, 10 * SNAPSHOT_PIECE_MAX);
    get(5, 1, 2 * SNAPSHOT_PIECE_MAX);
    cr_expect_str_eq(answer().refused, "that piece is not kept any more; begin anew");
    get(5, 1, UINT64_MAX);
    get(5, 1, 300 * SNAPSHOT_PIECE_MAX);
    cr_expect_not(letters_are_under_way(), "far ahead of what was sent");
}

Test(snapshot, a_transfer_that_takes_too_long_ends)
{
    get(5, 1, 0);
    cr_expect_str_eq(answer().refused, "");
    struct snapshot_send_view view;
    for (uint64_t since = 0; since <= SNAPSHOT_SEND_NS_MAX; since += 20 * NS_PER_S) {
        snapshot_send_view(sends[0], &view);
        cr_assert_eq(view.count, 1);
        now_ns += 20 * NS_PER_S;
        get(5, 1, 0);
        cr_assert_eq(answer().offset, 0);
        tick();
    }
    snapshot_send_view(sends[0], &view);
    cr_expect_eq(view.count, 0);
}

Test(snapshot, a_stop_while_it_is_received_or_given_waits_for_no_peer)
{
    fate = twenty_pieces;
    want(1);
    cr_expect_eq(phase(), SNAPSHOT_RECEIVING);
    snapshot_receive_view(receive, &(struct snapshot_receive_view){0});
    snapshot_receive_abort(receive, "test");
    settle();
    cr_expect_eq(phase(), SNAPSHOT_NONE);
    later(SNAPSHOT_PAUSE_NS);
    cr_expect_eq(phase(), SNAPSHOT_NONE, "it is not wanted any more");
    want(1);
    /* teardown frees both in the middle of it */
}
