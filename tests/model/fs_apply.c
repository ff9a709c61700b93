/* Random histories, from a seed that is printed, against a store and the model; and the same slots
 * against a second store with other batches, restarts and checkpoints. PAXFS_SEED=... replays one.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "fs/state.h"
#include "tests/support/fs_history.h"
#include "tests/support/fs_model.h"
#include "tests/support/store_copy.h"
#include "tests/support/store_ops.h"

enum { SLOTS = 4000, NODES = 3, RETRIES = 64, REAPS_MAX = 2000 };

/* A decided slot, kept so that the second store gets it, too, and again after each restart. */
struct decided {
    uint64_t node, epoch, sequence, low;
    uint8_t *bytes;
    uint32_t size;
};

struct client {
    uint64_t epoch, sequence;
};

static struct decided slots[SLOTS + REAPS_MAX + 1];
static struct store_applied results[SLOTS + REAPS_MAX + 1];
static uint64_t deletions_max;
static struct client clients[NODES + 1];
static uint64_t slot_count;
static uint8_t encoded[COMMAND_SIZE_MAX];
static uint64_t seed;
static uint64_t capacity;   /* as the state has it */
static uint64_t full_count; /* commands answered ENOSPC */

static uint64_t choose_seed(const char *test)
{
    const char *given = getenv("PAXFS_SEED");
    seed = given ? strtoull(given, NULL, 0) : clock_wall_ns();
    fprintf(stderr, "%s seed=0x%" PRIx64 "\n", test, seed);
    return seed;
}

#define REPLAY "replay: PAXFS_SEED=0x%" PRIx64 " model_fs_apply"

static struct command command_of(const struct decided *d)
{
    return (struct command){.size = d->size,
                            .node = d->node,
                            .epoch = d->epoch,
                            .sequence = d->sequence,
                            .low = d->low,
                            .bytes = d->bytes};
}

static void decide(uint64_t node, uint64_t epoch, uint64_t sequence, uint64_t low,
                   const struct fs_command *c)
{
    struct decided *d = &slots[++slot_count];
    ASSERT(slot_count <= SLOTS + REAPS_MAX);
    free(d->bytes);
    size_t size = fs_command_encode(c, encoded, sizeof encoded);
    ASSERT(size > 0);
    *d = (struct decided){node, epoch, sequence, low, malloc(size), (uint32_t)size};
    ASSERT(d->bytes != NULL);
    memcpy(d->bytes, encoded, size);
}

static struct store_applied apply_last(struct store_fixture *f)
{
    struct command command = command_of(&slots[slot_count]);
    results[slot_count] = store_fixture_apply_bytes(f, &command);
    return results[slot_count];
}

static void open_client(struct store_fixture *f, struct model *m, uint64_t node, uint64_t life)
{
    struct fs_command open = {.op = FS_SESSION_OPEN, .nonce = life};
    decide(node, 0, 0, 0, &open);
    struct store_applied applied = apply_last(f);
    cr_assert(applied.verdict == SESSION_NEW && applied.outcome.epoch > 0);
    bool is_anew = clients[node].epoch && applied.outcome.epoch != clients[node].epoch;
    clients[node] = (struct client){applied.outcome.epoch, 0};
    model_session(m, node, is_anew);
}

static bool same_outcome(const struct fs_outcome *a, const struct fs_outcome *b)
{
    return a->error == b->error && a->offset == b->offset && a->epoch == b->epoch &&
           a->verdict == b->verdict && a->from == b->from && same_attr(a->attr, b->attr);
}

static bool exists(void *context, uint64_t ino)
{
    return store_fixture_exists(context, ino);
}

/* @node's next command; the model does it, too. */
static void command(struct store_fixture *f, struct model *m, struct fs_history *h, uint64_t node,
                    struct fs_command c)
{
    /* What waits to be freed takes space that the model knows nothing of. */
    bool knows_space = !store_fixture_has_garbage(f) && model_doomed_count(m) == 0;
    model_set_capacity(m, knows_space ? capacity : 0);
    uint64_t sequence = ++clients[node].sequence;
    uint64_t low = sequence > 20 ? sequence - prng_below(&h->prng, 20) : 1;
    decide(node, clients[node].epoch, sequence, low, &c);
    struct store_applied applied = apply_last(f);
    cr_assert_eq(applied.verdict, SESSION_NEW);
    bool frees = c.op == FS_REAP || c.op == FS_FORGET;
    if (!frees)
        model_reconcile(m, exists, f);
    full_count += applied.outcome.error == ENOSPC;
    if (!knows_space && capacity && applied.outcome.error == ENOSPC)
        return;
    if (model_is_doomed(m, c.ino))
        return; /* nobody asks for such a one, and how much of it is left is the store's affair */
    struct fs_outcome expected =
        model_apply(m, node, store_fixture_time(slot_count), &c, applied.outcome.attr.ino);
    if (frees)
        model_reconcile(m, exists, f);
    results[slot_count] = applied; /* to the block, also when it is repeated */
    if (store_fixture_has_garbage(f) && applied.outcome.attr.blocks > expected.attr.blocks)
        applied.outcome.attr.blocks = expected.attr.blocks;
    cr_assert(same_outcome(&applied.outcome, &expected),
              "slot %" PRIu64 " %s: error %d, model says %d (ino %lu, %lu)\n" REPLAY, slot_count,
              fs_op_name(c.op), applied.outcome.error, expected.error, applied.outcome.attr.ino,
              expected.attr.ino, seed);
    fs_history_note(h, &applied.outcome);
}

static void one_command(struct store_fixture *f, struct model *m, struct fs_history *h)
{
    uint64_t node = 1 + prng_below(&h->prng, NODES);
    command(f, m, h, node, fs_history_next(h));
}

/* A slot that was decided before is decided again: as a retry, or from a life that has ended. */
static void one_retry(struct store_fixture *f, struct fs_history *h)
{
    uint64_t back = 1 + prng_below(&h->prng, slot_count < RETRIES ? slot_count : RETRIES);
    struct decided old = slots[slot_count - back + 1];
    uint64_t first = slot_count - back + 1;
    if (old.sequence == 0)
        return;
    struct fs_command c;
    ASSERT(fs_command_decode(old.bytes, old.size, &c) == 0);
    decide(old.node, old.epoch, old.sequence, old.low, &c);
    struct store_applied applied = apply_last(f);
    if (old.epoch != clients[old.node].epoch)
        cr_assert_eq(applied.verdict, SESSION_FENCED, REPLAY, seed);
    else if (applied.verdict == SESSION_REPEATED)
        cr_assert(same_outcome(&applied.outcome, &results[first].outcome), REPLAY, seed);
    else
        cr_assert_eq(applied.verdict, SESSION_SETTLED, REPLAY, seed);
    if (results[first].verdict != SESSION_FENCED && applied.verdict == SESSION_REPEATED)
        results[slot_count].outcome = applied.outcome;
}

/* A command that no file depends on, whatever its answer. */
static void command_apart(struct store_fixture *f, uint64_t node, const struct fs_command *c)
{
    uint64_t sequence = ++clients[node].sequence;
    decide(node, clients[node].epoch, sequence, sequence, c);
    struct store_applied applied = apply_last(f);
    cr_assert_eq(applied.verdict, SESSION_NEW, REPLAY, seed);
    cr_assert_eq(applied.outcome.error, 0, REPLAY, seed);
}

/* A change of members, mostly sensible: there are few nodes, names and secrets. */
static void one_member_command(struct store_fixture *f, struct fs_history *h)
{
    static const uint8_t ops[] = {FS_INVITE,  FS_INVITE, FS_JOIN,    FS_JOIN,       FS_PROMOTE,
                                  FS_PROMOTE, FS_REMOVE, FS_REPLACE, FS_SET_ADDRESS};
    struct fs_command c = {.op = ops[prng_below(&h->prng, sizeof ops)]};
    uint8_t secret[SECRET_SIZE] = {(uint8_t)prng_below(&h->prng, 8)};
    char name[16], address[32];
    c.nonce = 1 + prng_below(&h->prng, 12);
    c.name = name;
    c.name_size = (uint32_t)snprintf(name, sizeof name, "g%d", secret[0]);
    c.data = secret;
    c.data_size = sizeof secret;
    c.new_name = address;
    c.new_name_size = (uint32_t)snprintf(address, sizeof address, "10.0.0.%" PRIu64 ":7600",
                                         1 + prng_below(&h->prng, 20));
    c.ino = 1 + prng_below(&h->prng, 12);
    if (c.op == FS_INVITE) {
        c.mode = (uint32_t)prng_below(&h->prng, 2);
        c.size = prng_below(&h->prng, 1000000);
        c.nonce = prng_below(&h->prng, 2) * c.nonce;
    }
    if (c.op == FS_SET_ADDRESS) {
        c.name = c.new_name;
        c.name_size = c.new_name_size;
    }
    command_apart(f, 1 + prng_below(&h->prng, NODES), &c);
}

/* The capacity changes: to none, to less than is used, or to a little more. */
static void one_capacity(struct store_fixture *f, struct model *m, struct fs_history *h)
{
    static const uint64_t more[] = {0, 500, 5000, 100000, 1000000};
    capacity = model_space(m) + more[prng_below(&h->prng, ARRAY_COUNT(more))];
    if (prng_below(&h->prng, 3) == 0)
        capacity = prng_below(&h->prng, 2) * capacity / 2;
    struct fs_command c = {.op = FS_SET_CAPACITY, .size = capacity};
    command_apart(f, 1 + prng_below(&h->prng, NODES), &c);
}

/* A session is ended by another node, things go on for a while, and it comes back. */
static void one_expiry(struct store_fixture *f, struct model *m, struct fs_history *h)
{
    uint64_t node = 1 + prng_below(&h->prng, NODES);
    uint64_t other = 1 + node % NODES;
    struct client *gone = &clients[node];
    struct fs_command c = {.op = FS_SESSION_EXPIRE,
                           .nonce = node,
                           .ino = gone->epoch - prng_below(&h->prng, 2),
                           .size = gone->sequence - prng_below(&h->prng, 2)};
    if (c.ino == 0 || c.size > gone->sequence)
        return;
    bool ends = c.ino == gone->epoch && c.size == gone->sequence;
    command_apart(f, other, &c);
    if (!ends)
        return;
    model_session_end(m, node);
    for (uint64_t i = prng_below(&h->prng, 6); i > 0; i--)
        command(f, m, h, other, fs_history_next(h));
    open_client(f, m, node, 100 + slot_count);
}

static void compare(struct store_fixture *f, struct model *m)
{
    char why[256];
    model_reconcile(m, exists, f);
    cr_assert_eq(store_read_begin(f->reader), 0);
    bool same = model_compare(m, f->reader, store_fixture_has_garbage(f), why, sizeof why);
    store_read_end(f->reader);
    cr_assert(same, "slot %" PRIu64 ": %s\n" REPLAY, slot_count, why, seed);
    struct store_digest kept = store_fixture_digest(f), is = store_fixture_digest_recompute(f);
    cr_assert_eq(memcmp(&kept, &is, sizeof kept), 0, "slot %" PRIu64 " digest\n" REPLAY, slot_count,
                 seed);
}

/* In the end all that is to be freed is. */
static void reap_all(struct store_fixture *f, struct model *m, struct fs_history *h)
{
    for (int i = 0; store_fixture_has_garbage(f); i++) {
        cr_assert_lt(i, REAPS_MAX, REPLAY, seed);
        command(f, m, h, 1, (struct fs_command){.op = FS_REAP, .size = 100});
    }
    cr_assert_eq(model_doomed_count(m), 0, REPLAY, seed);
}

static void run_history(struct store_fixture *f, struct model *m, struct fs_history *h)
{
    slot_count = capacity = full_count = 0;
    memset(clients, 0, sizeof clients);
    /* Descending: the table in memory is then in another order than one read back from the store.
     */
    for (uint64_t node = NODES; node > 0; node--)
        open_client(f, m, node, node);
    while (slot_count < SLOTS) {
        uint64_t chance = prng_below(&h->prng, 200);
        bool batch = prng_below(&h->prng, 3) > 0 && !f->in_batch;
        if (batch)
            store_fixture_begin(f);
        if (chance == 0)
            open_client(f, m, 1 + prng_below(&h->prng, NODES), 100 + slot_count);
        else if (chance < 20)
            one_retry(f, h);
        else if (chance < 24)
            one_expiry(f, m, h);
        else if (chance < 36)
            one_member_command(f, h);
        else if (chance < 38)
            one_capacity(f, m, h);
        else
            one_command(f, m, h);
        if (f->in_batch && prng_below(&h->prng, 6) == 0)
            store_fixture_commit(f);
        if (!f->in_batch && prng_below(&h->prng, 40) == 0)
            compare(f, m);
    }
    if (f->in_batch)
        store_fixture_commit(f);
    compare(f, m);
    cr_expect_gt(full_count, 0, "never full\n" REPLAY, seed);
    reap_all(f, m, h);
    compare(f, m);
}

/* A store at slot 0. */
static void init_bare(struct store_fixture *f)
{
    store_fixture_init_blank(f);
    store_fixture_begin_members(f, NODES);
    store_fixture_limit(f, deletions_max);
}

/* Back at the last checkpoint, or at the beginning. */
static void restart(struct store_fixture *f)
{
    store_fixture_reopen(f);
    if (store_membership_version(f->store) == 0)
        store_fixture_begin_members(f, NODES);
}

/* Go on with another store, which is given the state. */
static void move_on(struct store_fixture *f)
{
    struct store_fixture next;
    store_fixture_init_blank(&next);
    store_fixture_install(&next, f);
    store_fixture_limit(&next, deletions_max);
    store_fixture_deinit(f);
    *f = next;
}

static struct fs_history history;

static struct store_digest run_first(uint64_t from_seed)
{
    static struct store_fixture f;
    fs_history_init(&history, from_seed);
    /* Files here have a dozen chunks: so few deletions leave garbage of every kind. */
    deletions_max =
        prng_below(&history.prng, 3) ? 1 + prng_below(&history.prng, 6) : SLOT_DELETIONS_MAX;
    init_bare(&f);
    struct model *m = model_new();
    run_history(&f, m, &history);
    struct store_digest digest = store_fixture_digest(&f);
    model_free(m);
    store_fixture_deinit(&f);
    return digest;
}

Test(fs_apply, does_what_the_model_does)
{
    run_first(choose_seed("does_what_the_model_does"));
}

/* The same slots with other batches, checkpoints, snapshots and power cuts (a reopen goes back to
 * the last checkpoint, from which the log is replayed). */
static struct store_digest run_second(struct prng *prng)
{
    static struct store_fixture f;
    init_bare(&f);
    uint64_t slot = 0;
    while (slot < slot_count) {
        uint64_t batch = 1 + prng_below(prng, 50);
        store_fixture_begin(&f);
        for (uint64_t i = 0; i < batch && slot < slot_count; i++) {
            struct command command = command_of(&slots[++slot]);
            struct store_applied applied = store_fixture_apply_bytes(&f, &command);
            cr_assert_eq(applied.verdict, results[slot].verdict);
            cr_assert(same_outcome(&applied.outcome, &results[slot].outcome),
                      "slot %" PRIu64 "\n" REPLAY, slot, seed);
        }
        bool aborts = prng_below(prng, 10) == 0;
        if (aborts) {
            store_abort(f.store);
            f.in_batch = false;
            slot = f.slot = store_applied(f.store);
            continue;
        }
        store_fixture_commit(&f);
        if (prng_below(prng, 10) == 0)
            store_fixture_checkpoint(&f);
        if (prng_below(prng, 40) == 0)
            move_on(&f);
        if (prng_below(prng, 25) == 0)
            restart(&f);
        slot = f.slot;
    }
    struct store_digest digest = store_fixture_digest(&f);
    struct store_digest is = store_fixture_digest_recompute(&f);
    cr_assert_eq(memcmp(&digest, &is, sizeof is), 0, REPLAY, seed);
    store_fixture_deinit(&f);
    return digest;
}

Test(fs_apply, gives_one_digest_wherever_batches_end_and_restarts_fall)
{
    uint64_t from = choose_seed("gives_one_digest");
    struct store_digest first = run_first(from);
    struct prng prng = {from ^ 1};
    struct store_digest second = run_second(&prng);
    cr_assert_eq(memcmp(&first, &second, sizeof first), 0, REPLAY, seed);
}
