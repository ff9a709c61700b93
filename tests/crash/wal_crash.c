/* tests/crash/wal_crash.c: random histories of the log on a disk that loses power, over and over.
 *
 *   crash_wal_crash [--seed S] [--histories N]
 *
 * At some operation the power fails, or the process alone dies; what comes back has any subset of
 * the sectors written since the last sync. Then the log is opened (and may crash in that, too). It
 * must hold what some prefix of the appended records gives: at least all that was synced or
 * recovered, nothing that was never appended, and never be called damaged. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"
#include "base/prng.h"
#include "node/wal_internal.h"
#include "tests/support/memdisk.h"

enum { RECORDS_MAX = 600, SLOTS = 200, LIVES = 8, SEGMENT_SIZE = 32 * 1024, SIZE_MAX_BYTES = 3000 };

enum act_kind { ACT_PROMISE, ACT_ACCEPT, ACT_DECISION, ACT_DECIDED, ACT_COLLECT };

struct act {
    enum act_kind kind;
    struct ballot ballot;
    uint64_t slot;
    uint64_t value; /* of the command: its sequence, and the seed of its bytes */
    uint32_t size;
};

/* What a prefix of the acts amounts to. */
struct state {
    struct ballot promised;
    uint64_t decided_through, collected;
    uint32_t held[SLOTS + 1]; /* index + 1 of the last act for the slot; 0: none */
};

struct world {
    uint64_t seed;
    struct prng p;
    struct memdisk *disk;
    struct wal *wal;
    struct act acts[RECORDS_MAX];
    uint32_t act_count;
    uint32_t synced; /* acts that must be there */
    uint64_t value_next;
};

static uint64_t images, recoveries_cut, opened, torn;

#define CHECK(world, condition, ...)                                                               \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "FAILED %s: ", #condition);                                            \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fprintf(stderr, "\nreplay: crash_wal_crash --seed 0x%" PRIx64 " --histories 1\n",      \
                    (world)->seed);                                                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void fill(uint8_t *bytes, const struct act *a)
{
    struct prng p = {a->value};
    for (uint32_t i = 0; i < a->size; i++)
        bytes[i] = (uint8_t)prng_next(&p);
}

/* ---- the model ---- */

static void state_of(const struct world *w, uint32_t count, struct state *s)
{
    memset(s, 0, sizeof *s);
    for (uint32_t i = 0; i < count; i++) {
        const struct act *a = &w->acts[i];
        switch (a->kind) {
        case ACT_ACCEPT:
        case ACT_PROMISE:
            if (ballot_cmp(a->ballot, s->promised) > 0)
                s->promised = a->ballot;
            if (a->kind == ACT_ACCEPT)
                s->held[a->slot] = i + 1;
            break;
        case ACT_DECISION:
            s->held[a->slot] = i + 1;
            break;
        case ACT_DECIDED:
            if (a->slot > s->decided_through)
                s->decided_through = a->slot;
            break;
        case ACT_COLLECT:
            if (a->slot > s->collected)
                s->collected = a->slot;
            break;
        }
    }
    for (uint64_t slot = 0; slot <= s->collected; slot++)
        s->held[slot] = 0;
}

struct reading {
    struct world *w;
    const struct state *expected;
    uint64_t slot; /* last seen */
    bool same;
};

static bool same_pvalue(const struct world *w, uint32_t held, const struct pvalue *p)
{
    uint8_t bytes[SIZE_MAX_BYTES];
    if (held == 0)
        return false;
    const struct act *a = &w->acts[held - 1];
    fill(bytes, a);
    const struct command *c = p->command;
    return ballot_cmp(a->ballot, p->ballot) == 0 && p->time_ns == a->value + 1 && c->node == 5 &&
           c->epoch == 2 && c->sequence == a->value && c->low == 3 && c->size == a->size &&
           memcmp(bytes, c->bytes, c->size) == 0;
}

static int on_pvalue(void *context, const struct pvalue *p)
{
    struct reading *r = context;
    CHECK(r->w, p->slot > r->slot && p->slot <= SLOTS, "slot %" PRIu64, p->slot);
    for (uint64_t slot = r->slot + 1; slot < p->slot; slot++)
        if (r->expected->held[slot])
            r->same = false;
    if (!same_pvalue(r->w, r->expected->held[p->slot], p))
        r->same = false;
    r->slot = p->slot;
    command_unref(p->command);
    return 0;
}

static bool log_is(struct world *w, const struct wal_recovered *recovered, const struct state *s)
{
    if (ballot_cmp(recovered->promised, s->promised) != 0 ||
        recovered->decided_through != s->decided_through || recovered->collected != s->collected)
        return false;
    struct reading r = {.w = w, .expected = s, .same = true};
    int rc = wal_read(w->wal, 1, UINT64_MAX, UINT64_MAX, on_pvalue, &r);
    CHECK(w, rc == 0, "wal_read: %d", rc);
    for (uint64_t slot = r.slot + 1; slot <= SLOTS; slot++)
        if (s->held[slot])
            r.same = false;
    CHECK(w, !r.same || recovered->slot_max == r.slot, "slot_max %" PRIu64, recovered->slot_max);
    return r.same;
}

/* The recovered log is that of a prefix, which from now on must never be lost. */
static void check_recovered(struct world *w, const struct wal_recovered *recovered)
{
    struct state s;
    for (uint32_t count = w->act_count + 1; count-- > w->synced;) {
        state_of(w, count, &s);
        if (log_is(w, recovered, &s)) {
            w->act_count = count;
            w->synced = count;
            return;
        }
    }
    CHECK(w, false,
          "the log is that of none of the prefixes %u to %u: promised %" PRIu64 " decided %" PRIu64
          " collected %" PRIu64 " slot_max %" PRIu64,
          w->synced, w->act_count, recovered->promised.round, recovered->decided_through,
          recovered->collected, recovered->slot_max);
}

/* ---- acting ---- */

static struct act random_act(struct world *w)
{
    struct prng *p = &w->p;
    struct state s;
    state_of(w, w->act_count, &s);
    struct act a = {.value = w->value_next++};
    uint64_t dice = prng_below(p, 20);
    uint64_t top = s.collected + 1 + prng_below(p, 24);
    a.slot = top > SLOTS ? SLOTS : top;
    a.size = (uint32_t)prng_below(p, prng_below(p, 4) ? 200 : SIZE_MAX_BYTES);
    a.ballot = s.promised;
    if (dice == 0) {
        a.kind = ACT_PROMISE;
        a.ballot = (struct ballot){s.promised.round + 1, 1 + prng_below(p, 3)};
    } else if (dice == 1) {
        a.kind = ACT_DECIDED;
    } else if (dice == 2 && s.collected + 12 < SLOTS) {
        a.kind = ACT_COLLECT;
        a.slot = s.collected + 1 + prng_below(p, 10);
    } else if (dice < 6) {
        a.kind = ACT_DECISION;
        a.ballot = (struct ballot){0, 0};
    } else {
        a.kind = ACT_ACCEPT;
        if (ballot_is_bottom(a.ballot))
            a.ballot = (struct ballot){1, 1};
    }
    if (s.collected + 12 >= SLOTS && a.slot <= s.collected)
        a.slot = SLOTS;
    return a;
}

static int perform(struct world *w, const struct act *a)
{
    static uint8_t bytes[SIZE_MAX_BYTES];
    fill(bytes, a);
    struct command c = {
        .size = a->size, .node = 5, .epoch = 2, .sequence = a->value, .low = 3, .bytes = bytes};
    struct persist record = {.ballot = a->ballot, .slot = a->slot};
    record.pvalue = (struct pvalue){a->ballot, a->slot, a->value + 1, &c};
    switch (a->kind) {
    case ACT_PROMISE:
        record.kind = PERSIST_PROMISE;
        break;
    case ACT_ACCEPT:
        record.kind = PERSIST_ACCEPT;
        break;
    case ACT_DECISION:
        record.kind = PERSIST_DECISION;
        break;
    case ACT_DECIDED:
        record.kind = PERSIST_DECIDED;
        break;
    case ACT_COLLECT:
        return wal_collect(w->wal, a->slot);
    }
    return wal_append(w->wal, &record);
}

/* Go on until the disk dies, or, now and then, stop cleanly. */
static void live(struct world *w)
{
    uint32_t steps = (uint32_t)prng_below(&w->p, 60);
    for (uint32_t i = 0; i < steps && w->act_count < RECORDS_MAX; i++) {
        struct act a = random_act(w);
        w->acts[w->act_count++] = a;
        if (perform(w, &a) < 0)
            return;
        if (prng_below(&w->p, 3) != 0)
            continue;
        if (wal_sync(w->wal) < 0)
            return;
        w->synced = w->act_count;
    }
}

static int open_log(struct world *w, struct wal_recovered *recovered, char *error,
                    size_t error_size)
{
    struct wal_io io = memdisk_io(w->disk);
    return wal_open_with(&io, "wal", SEGMENT_SIZE, &w->wal, recovered, error, error_size);
}

static void lose_power(struct world *w)
{
    struct memdisk *after = memdisk_crash(w->disk, &w->p);
    memdisk_free(w->disk);
    w->disk = after;
    images++;
}

static void crash(struct world *w)
{
    if (prng_below(&w->p, 4) == 0)
        memdisk_kill(w->disk);
    else
        lose_power(w);
}

static void schedule_death(struct world *w, uint64_t within)
{
    memdisk_die_at(w->disk, memdisk_operations(w->disk) + 1 + prng_below(&w->p, within));
}

/* Open; half of the time the disk dies while that goes on, a few times. */
static void recover(struct world *w)
{
    char error[512];
    struct wal_recovered recovered;
    for (int attempt = 0;; attempt++) {
        bool is_cut = attempt < 3 && prng_below(&w->p, 2) == 0;
        if (is_cut)
            schedule_death(w, 8);
        int rc = open_log(w, &recovered, error, sizeof error);
        opened++;
        if (rc == 0)
            break;
        CHECK(w, is_cut && rc == -EIO, "wal_open: %d %s", rc, error);
        recoveries_cut++;
        crash(w);
    }
    memdisk_die_at(w->disk, 0);
    torn += recovered.torn_bytes > 0;
    check_recovered(w, &recovered);
}

static void run_history(uint64_t seed)
{
    static struct world world;
    struct world *w = &world;
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->p.state = seed;
    w->disk = memdisk_new();
    for (int life = 0; life < LIVES; life++) {
        recover(w);
        schedule_death(w, 60);
        live(w);
        wal_close(w->wal);
        crash(w);
    }
    memdisk_free(w->disk);
}

/* Seeds that found a bug; always run first. */
static const uint64_t found_seeds[] = {
    0xbeedab91a732846a, /* a torn batch was made whole by what a crash left of the next one */
};

int main(int argc, char **argv)
{
    uint64_t seed = 0, histories = 800;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        return 1;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(argv[i + 1], NULL, 0);
        else if (strcmp(argv[i], "--histories") == 0)
            histories = strtoull(argv[i + 1], NULL, 0);
    }
    printf("seed 0x%" PRIx64 " histories %" PRIu64 "\n", seed, histories);
    fflush(stdout);
    for (size_t i = 0; i < ARRAY_COUNT(found_seeds); i++)
        run_history(found_seeds[i]);
    for (uint64_t i = 0; i < histories; i++)
        run_history(seed + i);
    printf("opened %" PRIu64 " images %" PRIu64 " torn %" PRIu64 " recoveries cut %" PRIu64 "\n",
           opened, images, torn, recoveries_cut);
    return 0;
}
