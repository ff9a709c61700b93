/* tests/unit/wal.c: the log: what comes back, what is cut off, what is called damage. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/wal_internal.h"
#include "tests/support/memdisk.h"

enum { SEGMENT = 64 * 1024, ANY = 512 };

/* ---- fixtures ---- */

struct log {
    struct memdisk *disk;
    struct wal *wal;
    struct wal_recovered recovered;
    char error[512];
};

static int log_try_open(struct log *l, struct memdisk *disk)
{
    struct wal_io io = memdisk_io(disk);
    l->disk = disk;
    l->wal = NULL;
    return wal_open_with(&io, "wal", SEGMENT, &l->wal, &l->recovered, l->error, sizeof l->error);
}

static struct log log_open(struct memdisk *disk)
{
    struct log l;
    int rc = log_try_open(&l, disk);
    cr_assert_eq(rc, 0, "wal_open: %d %s", rc, l.error);
    return l;
}

static struct log log_new(void)
{
    return log_open(memdisk_new());
}

static void log_reopen(struct log *l)
{
    wal_close(l->wal);
    int rc = log_try_open(l, l->disk);
    cr_assert_eq(rc, 0, "wal_open: %d %s", rc, l->error);
}

static void log_end(struct log *l)
{
    wal_close(l->wal);
    memdisk_free(l->disk);
}

static uint8_t pattern[COMMAND_SIZE_MAX];

static struct persist record_of(enum persist_kind kind, uint64_t slot, struct command *c)
{
    struct persist record = {.kind = kind};
    record.pvalue = (struct pvalue){.slot = slot, .time_ns = slot * 10, .command = c};
    if (kind == PERSIST_ACCEPT)
        record.pvalue.ballot = (struct ballot){1, 9};
    return record;
}

static int try_accept(struct wal *w, uint64_t slot, uint64_t sequence, uint32_t size)
{
    memset(pattern, (int)sequence, size);
    struct command c = {
        .size = size, .node = 3, .epoch = 4, .sequence = sequence, .low = 2, .bytes = pattern};
    struct persist record = record_of(PERSIST_ACCEPT, slot, &c);
    return wal_append(w, &record);
}

static void accept(struct wal *w, uint64_t slot, uint64_t sequence, uint32_t size)
{
    cr_assert_eq(try_accept(w, slot, sequence, size), 0);
}

static void sync_log(struct wal *w)
{
    cr_assert_eq(wal_sync(w), 0);
}

/* One synced batch of one accept for each of the slots. */
static void accept_batches(struct wal *w, uint64_t first, uint64_t last, uint32_t size)
{
    for (uint64_t slot = first; slot <= last; slot++) {
        accept(w, slot, slot, size);
        sync_log(w);
    }
}

static int promise(struct wal *w, uint64_t round)
{
    struct persist record = {.kind = PERSIST_PROMISE, .ballot = {round, 9}};
    return wal_append(w, &record);
}

struct got {
    uint64_t slots[ANY], sequences[ANY];
    uint32_t sizes[ANY];
    uint32_t count, stop_at;
};

static int on_pvalue(void *context, const struct pvalue *p)
{
    struct got *g = context;
    cr_assert_lt(g->count, ANY);
    g->slots[g->count] = p->slot;
    g->sequences[g->count] = p->command->sequence;
    g->sizes[g->count] = p->command->size;
    g->count++;
    cr_assert_eq(p->time_ns, p->slot * 10);
    for (uint32_t i = 0; i < p->command->size; i++)
        cr_assert_eq(p->command->bytes[i], (uint8_t)p->command->sequence);
    command_unref(p->command);
    return g->count == g->stop_at;
}

static struct got read_log(struct wal *w, uint64_t first, uint64_t last, uint64_t bytes_max)
{
    struct got g = {.count = 0};
    cr_assert_eq(wal_read(w, first, last, bytes_max, on_pvalue, &g), 0);
    return g;
}

static void expect_slots(struct wal *w, uint64_t first, uint64_t last)
{
    struct got g = read_log(w, 1, UINT64_MAX, UINT64_MAX);
    cr_assert_eq(g.count, last + 1 - first, "%u slots", g.count);
    for (uint32_t i = 0; i < g.count; i++) {
        cr_assert_eq(g.slots[i], first + i);
        cr_assert_eq(g.sequences[i], first + i);
    }
}

static uint8_t *segment_bytes(struct memdisk *d, uint32_t id)
{
    char path[64];
    size_t size;
    snprintf(path, sizeof path, "wal/segment.%08u", id);
    uint8_t *bytes = memdisk_bytes(d, path, &size);
    cr_assert(bytes);
    cr_assert_eq(size, SEGMENT);
    return bytes;
}

/* ---- what comes back ---- */

Test(wal, gives_back_after_a_restart_what_was_synced)
{
    struct log l = log_new();
    cr_assert(l.recovered.fresh);
    accept(l.wal, 1, 11, 100);
    struct command c = {.size = 0, .node = 0, .sequence = 0};
    struct persist decision = record_of(PERSIST_DECISION, 2, &c);
    cr_assert_eq(wal_append(l.wal, &decision), 0);
    struct persist decided = {.kind = PERSIST_DECIDED, .slot = 2};
    cr_assert_eq(wal_append(l.wal, &decided), 0);
    cr_assert_eq(promise(l.wal, 7), 0);
    cr_assert_gt(wal_batched(l.wal), 0);
    sync_log(l.wal);
    cr_assert_eq(wal_batched(l.wal), 0);
    accept(l.wal, 3, 13, 0); /* never synced */

    log_reopen(&l);
    cr_expect_not(l.recovered.fresh);
    cr_expect_eq(l.recovered.promised.round, 7);
    cr_expect_eq(l.recovered.promised.leader, 9);
    cr_expect_eq(l.recovered.decided_through, 2);
    cr_expect_eq(l.recovered.slot_max, 2);
    cr_expect_eq(l.recovered.collected, 0);
    struct got g = read_log(l.wal, 1, 9, UINT64_MAX);
    cr_assert_eq(g.count, 2);
    cr_expect_eq(g.sizes[0], 100);
    cr_expect_eq(g.sequences[1], 0);
    log_end(&l);
}

Test(wal, an_accept_raises_the_promise)
{
    struct log l = log_new();
    accept_batches(l.wal, 5, 5, 10);
    log_reopen(&l);
    cr_expect_eq(l.recovered.promised.round, 1);
    cr_expect_eq(l.recovered.promised.leader, 9);
    log_end(&l);
}

Test(wal, is_fresh_only_when_it_was_just_made)
{
    struct log l = log_new();
    cr_expect(l.recovered.fresh);
    log_reopen(&l);
    cr_expect_not(l.recovered.fresh);
    log_end(&l);
}

Test(wal, keeps_every_field_of_a_pvalue)
{
    struct log l = log_new();
    uint8_t bytes[] = {1, 1, 1};
    struct command c = {.size = 3,
                        .node = UINT64_MAX,
                        .epoch = UINT64_MAX - 1,
                        .sequence = 257,
                        .low = UINT64_MAX - 3,
                        .bytes = bytes};
    struct persist record = record_of(PERSIST_ACCEPT, UINT64_MAX, &c);
    record.pvalue.ballot = (struct ballot){UINT64_MAX, UINT64_MAX - 5};
    cr_assert_eq(wal_append(l.wal, &record), 0);
    sync_log(l.wal);
    struct batch_header header;
    struct cursor records;
    struct batch_record r;
    cr_assert_eq(wal_batch_at(l.wal, l.wal->live[0], WAL_BLOCK_SIZE, &header, &records), 1);
    cr_assert_eq(batch_next_record(&records, &r), 1);
    cr_expect_eq(r.kind, PERSIST_ACCEPT);
    cr_expect_eq(r.slot, UINT64_MAX);
    cr_expect_eq(r.ballot.round, UINT64_MAX);
    cr_expect_eq(r.ballot.leader, UINT64_MAX - 5);
    cr_expect_eq(r.node, UINT64_MAX);
    cr_expect_eq(r.epoch, UINT64_MAX - 1);
    cr_expect_eq(r.sequence, 257);
    cr_expect_eq(r.low, UINT64_MAX - 3);
    cr_expect_eq(r.size, 3);
    cr_expect_eq(memcmp(r.bytes, bytes, 3), 0);
    cr_expect_eq(batch_next_record(&records, &r), 0);
    struct got g = {.count = 0}; /* the highest slot there is ends the reading */
    record.pvalue.time_ns = 0;
    cr_expect_eq(wal_read(l.wal, 2, UINT64_MAX - 1, UINT64_MAX, on_pvalue, &g), 0);
    cr_expect_eq(g.count, 0);
    log_end(&l);
}

Test(wal, the_last_record_of_a_slot_wins_across_batches_and_segments)
{
    struct log l = log_new();
    for (uint64_t round = 1; round <= 40; round++) {
        for (uint64_t slot = 1; slot <= 20; slot++)
            accept(l.wal, slot, round * 3 + slot, 300);
        if (round % 2)
            sync_log(l.wal);
    }
    sync_log(l.wal);
    cr_assert_gt(l.wal->live_count, 3);
    for (int again = 0; again < 2; again++) {
        struct got g = read_log(l.wal, 1, 100, UINT64_MAX);
        cr_assert_eq(g.count, 20);
        for (uint64_t i = 0; i < 20; i++)
            cr_expect_eq(g.sequences[i], 40 * 3 + i + 1);
        log_reopen(&l);
    }
    log_end(&l);
}

Test(wal, a_read_stops_after_the_bytes_or_when_told_and_leaves_out_what_is_not_held)
{
    struct log l = log_new();
    accept_batches(l.wal, 10, 19, 1000);
    accept_batches(l.wal, 400, 409, 1000);
    struct got g = read_log(l.wal, 1, UINT64_MAX, UINT64_MAX);
    cr_expect_eq(g.count, 20);
    cr_expect_eq(g.slots[9], 19);
    cr_expect_eq(g.slots[10], 400);
    cr_expect_eq(read_log(l.wal, 1, UINT64_MAX, 2500).count, 3);
    cr_expect_eq(read_log(l.wal, 1, UINT64_MAX, 1).count, 1);
    cr_expect_eq(read_log(l.wal, 12, 14, UINT64_MAX).count, 3);
    cr_expect_eq(read_log(l.wal, 20, 399, UINT64_MAX).count, 0);
    cr_expect_eq(read_log(l.wal, 409, 409, UINT64_MAX).count, 1);
    cr_expect_eq(read_log(l.wal, 14, 12, UINT64_MAX).count, 0);
    struct got stopped = {.stop_at = 4};
    cr_expect_eq(wal_read(l.wal, 1, UINT64_MAX, UINT64_MAX, on_pvalue, &stopped), 0);
    cr_expect_eq(stopped.count, 4);
    log_end(&l);
}

Test(wal, a_read_sees_what_was_synced_since_the_one_before)
{
    struct log l = log_new();
    for (uint64_t slot = 1; slot <= 60; slot++) {
        accept_batches(l.wal, slot, slot, 300);
        expect_slots(l.wal, 1, slot);
    }
    log_end(&l);
}

Test(wal, one_append_after_another_without_a_sync_stays_bounded_in_memory)
{
    struct log l = log_new();
    for (uint64_t slot = 1; slot <= 400; slot++) {
        accept(l.wal, slot, slot, 1000);
        cr_assert_leq(wal_batched(l.wal), SEGMENT);
    }
    sync_log(l.wal);
    log_reopen(&l);
    expect_slots(l.wal, 1, 400);
    log_end(&l);
}

Test(wal, the_real_disk_keeps_the_largest_commands)
{
    char dir[] = "/tmp/paxfs_wal.XXXXXX", path[64], remove[96], error[512] = "";
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/wal", dir);
    struct wal *w;
    struct wal_recovered r;
    cr_assert_eq(wal_open(path, &w, &r, error, sizeof error), 0, "%s", error);
    cr_expect(r.fresh);
    for (uint64_t slot = 1; slot <= 20; slot++)
        accept(w, slot, slot, COMMAND_SIZE_MAX);
    sync_log(w);
    accept(w, 21, 21, 5);
    sync_log(w);
    struct wal_view view;
    wal_view(w, &view);
    cr_expect_eq(view.records, 21);
    cr_expect_eq(view.segments, 1);
    cr_expect_eq(view.bytes, WAL_SEGMENT_SIZE);
    wal_close(w);

    cr_assert_eq(wal_open(path, &w, &r, error, sizeof error), 0, "%s", error);
    cr_expect_not(r.fresh);
    cr_expect_eq(r.slot_max, 21);
    cr_expect_eq(r.torn_bytes, 0);
    expect_slots(w, 1, 21);
    wal_close(w);
    snprintf(remove, sizeof remove, "rm -r %s", dir);
    cr_assert_eq(system(remove), 0);
}

/* ---- collecting ---- */

Test(wal, recycles_segments_in_which_all_slots_are_collected)
{
    struct log l = log_new();
    struct wal_view view;
    for (uint64_t slot = 1; slot <= 400; slot++) {
        accept_batches(l.wal, slot, slot, 2000);
        if (slot > 40)
            cr_assert_eq(wal_collect(l.wal, slot - 40), 0);
    }
    wal_view(l.wal, &view);
    cr_expect_leq(view.segments, 4);
    cr_expect_leq(l.wal->id_next, 6); /* as many files as the log ever was long */
    cr_expect_eq(view.slot_first, 361);
    expect_slots(l.wal, 361, 400);
    for (uint32_t i = 0; i < l.wal->live_count; i++)
        cr_expect_leq(l.wal->live[i]->place_count, SEGMENT / WAL_BLOCK_SIZE);
    log_reopen(&l);
    cr_expect_geq(l.recovered.collected,
                  350); /* a mark that freed nothing rides with the next batch */
    cr_expect_eq(l.recovered.slot_max, 400);
    struct got g = read_log(l.wal, 361, 400, UINT64_MAX);
    cr_expect_eq(g.count, 40);
    log_end(&l);
}

Test(wal, never_collects_the_current_segment_nor_one_that_holds_a_higher_slot)
{
    struct log l = log_new();
    accept_batches(l.wal, 500, 500, 10);
    accept_batches(l.wal, 1, 60, 2000);
    uint32_t live = l.wal->live_count;
    cr_assert_gt(live, 3);
    cr_assert_eq(wal_collect(l.wal, 60), 0);
    cr_expect_eq(l.wal->live_count, live, "slot 500 lies in the oldest one");
    cr_assert_eq(wal_collect(l.wal, 500), 0);
    cr_expect_eq(l.wal->live_count, 1);
    cr_assert_eq(promise(l.wal, 5), 0);
    sync_log(l.wal);
    log_reopen(&l);
    cr_expect_eq(l.recovered.slot_max, 0);
    cr_expect_eq(l.recovered.collected, 500);
    cr_expect_eq(l.recovered.promised.round, 5);
    cr_expect_eq(read_log(l.wal, 1, UINT64_MAX, UINT64_MAX).count, 0);
    log_end(&l);
}

Test(wal, keeps_so_many_bytes_or_slots_whoever_lags)
{
    struct wal_bound few_bytes = {.bytes = 2 * SEGMENT, .slots = UINT64_MAX},
                     few_slots = {.bytes = UINT64_MAX, .slots = 100};
    struct log l = log_new();
    accept_batches(l.wal, 1, 200, 2000);
    uint32_t live = l.wal->live_count;
    cr_assert_gt(live, 8);
    struct wal_view view;

    cr_assert_eq(wal_bound(l.wal, &few_slots, 0), 0);
    wal_view(l.wal, &view);
    cr_expect_eq(view.collected, 0, "nothing is checkpointed");
    cr_assert_eq(wal_bound(l.wal, &few_slots, 200), 0);
    wal_view(l.wal, &view);
    cr_expect_leq(view.collected, 100);
    cr_expect_gt(view.collected, 100 - 200 / (live - 1), "one segment more would be too many");
    expect_slots(l.wal, view.collected + 1, 200);

    cr_assert_eq(wal_bound(l.wal, &few_bytes, 200), 0);
    cr_expect_eq(l.wal->live_count, 2);
    wal_view(l.wal, &view);
    expect_slots(l.wal, view.collected + 1, 200);
    log_reopen(&l);
    cr_expect_eq(l.recovered.collected, view.collected, "durable before anything is overwritten");
    log_end(&l);
}

Test(wal, its_bound_drops_no_segment_with_a_slot_above_the_checkpoint)
{
    struct wal_bound none = {.bytes = 0, .slots = 0};
    struct log l = log_new();
    accept_batches(l.wal, 1, 60, 2000);
    accept_batches(l.wal, 500, 500, 10);
    accept_batches(l.wal, 61, 120, 2000);
    cr_assert_eq(wal_bound(l.wal, &none, 120), 0);
    struct wal_view view;
    wal_view(l.wal, &view);
    cr_expect_leq(view.collected, 60, "slot 500 lies in the segment behind");
    cr_expect_gt(view.collected, 0);
    struct got g = read_log(l.wal, 1, UINT64_MAX, UINT64_MAX);
    cr_expect_eq(g.count, 121 - view.collected);
    cr_expect_eq(g.slots[g.count - 1], 500);
    log_end(&l);
}

Test(wal, keeps_few_spare_segments_and_removes_the_rest)
{
    struct log l = log_new();
    accept_batches(l.wal, 1, 200, 2000);
    cr_assert_gt(l.wal->live_count, SPARES_MAX + 3);
    cr_assert_eq(wal_collect(l.wal, 200), 0);
    cr_expect_eq(l.wal->spare_count, SPARES_MAX);
    uint32_t files = 0;
    while (memdisk_path(l.disk, files))
        files++;
    cr_expect_eq(files, 1 + 1 + SPARES_MAX);
    log_end(&l);
}

Test(wal, a_start_removes_spare_segments_that_a_crash_left)
{
    struct log l = log_new();
    accept_batches(l.wal, 1, 200, 2000);
    memdisk_die_at(l.disk, memdisk_operations(l.disk) + 4); /* write, sync, the first removal */
    cr_assert_eq(wal_collect(l.wal, 200), -EIO);
    cr_expect_eq(promise(l.wal, 5), -EIO);
    memdisk_kill(l.disk);
    log_reopen(&l);
    cr_expect_eq(l.wal->spare_count, SPARES_MAX);
    cr_expect_eq(l.recovered.collected, 200);
    accept_batches(l.wal, 201, 300, 2000);
    log_reopen(&l);
    expect_slots(l.wal, 201, 300);
    log_end(&l);
}

Test(wal, what_a_recycled_segment_held_before_never_comes_back)
{
    for (uint64_t kept = 0; kept <= 16; kept++) {
        struct log l = log_new();
        accept_batches(l.wal, 1, 47, 2000); /* three segments, near enough */
        cr_assert_eq(wal_collect(l.wal, 47), 0);
        accept_batches(l.wal, 100, 100 + kept, 2000);
        log_reopen(&l);
        expect_slots(l.wal, 100, 100 + kept);
        cr_expect_eq(l.recovered.torn_bytes, 0);
        log_end(&l);
    }
}

/* ---- torn tails ---- */

Test(wal, a_tail_torn_at_any_byte_is_cut_off)
{
    enum { STALE_ZERO, STALE_OLD, STALE_COUNT };
    for (int stale = 0; stale < STALE_COUNT; stale++) {
        struct log l = log_new();
        if (stale == STALE_OLD) { /* the segment was used before */
            accept_batches(l.wal, 1, 16, 3000);
            cr_assert_eq(wal_collect(l.wal, 16), 0);
        }
        accept_batches(l.wal, 101, 104, 300);
        struct memdisk *before = memdisk_copy(l.disk);
        uint32_t id = l.wal->live[l.wal->live_count - 1]->id;
        uint64_t at = l.wal->live[l.wal->live_count - 1]->end;
        accept_batches(l.wal, 105, 105, 300);
        uint64_t used = BATCH_HEADER_SIZE + BATCH_RECORD_SIZE + 300;

        for (uint64_t byte = 0; byte < used; byte++) {
            struct memdisk *disk = memdisk_copy(before);
            memcpy(segment_bytes(disk, id) + at, segment_bytes(l.disk, id) + at, byte);
            struct log torn = log_open(disk);
            expect_slots(torn.wal, 101, 104);
            accept_batches(torn.wal, 105, 107, 10); /* and goes on over it */
            log_reopen(&torn);
            expect_slots(torn.wal, 101, 107);
            log_end(&torn);
        }
        memdisk_free(before);
        log_end(&l);
    }
}

Test(wal, a_torn_first_batch_of_a_new_segment_is_cut_off)
{
    struct log l = log_new();
    uint64_t slot = 0;
    while (l.wal->live_count < 2) {
        slot++;
        accept_batches(l.wal, slot, slot, 300);
    }
    uint32_t id = l.wal->live[1]->id;
    wal_close(l.wal);
    segment_bytes(l.disk, id)[100] ^= 1;
    cr_assert_eq(log_try_open(&l, l.disk), 0, "%s", l.error);
    cr_expect_eq(l.recovered.torn_bytes, WAL_BLOCK_SIZE);
    expect_slots(l.wal, 1, slot - 1);
    accept_batches(l.wal, slot, slot + 20, 300);
    log_reopen(&l);
    expect_slots(l.wal, 1, slot + 20);
    log_end(&l);
}

Test(wal, a_batch_made_up_by_a_user_in_a_torn_one_is_no_batch)
{
    struct log l = log_new();
    accept_batches(l.wal, 1, 3, 300);
    static uint8_t forged[4 * WAL_BLOCK_SIZE];
    struct batch_header header = {.use = 1, .number = 90, .state = {.use_first = 1}};
    uint64_t at = l.wal->live[0]->end;
    /* Placed so that it begins with a block of the segment. */
    batch_seal(forged + WAL_BLOCK_SIZE - BATCH_HEADER_SIZE - BATCH_RECORD_SIZE, &header,
               l.wal->salt + 1);
    struct command c = {.size = sizeof forged, .node = 3, .bytes = forged};
    struct persist record = record_of(PERSIST_ACCEPT, 4, &c);
    cr_assert_eq(wal_append(l.wal, &record), 0);
    sync_log(l.wal);
    struct batch_header peeked;
    cr_assert(batch_peek(segment_bytes(l.disk, 1) + at + WAL_BLOCK_SIZE, &peeked));
    cr_assert_eq(peeked.number, 90);
    segment_bytes(l.disk, 1)[at + 20] ^= 1;
    log_reopen(&l);
    expect_slots(l.wal, 1, 3);
    log_end(&l);
}

/* ---- damage ---- */

Test(wal, a_flipped_byte_before_a_good_later_batch_is_reported)
{
    struct log l = log_new();
    accept_batches(l.wal, 1, 19, 300); /* with the first one: 20 batches, 16 in a segment */
    cr_assert_eq(l.wal->live_count, 2);
    uint64_t last = l.wal->live[1]->end - WAL_BLOCK_SIZE;
    wal_close(l.wal);
    for (uint32_t id = 1; id <= 2; id++) {
        uint64_t end = id == 1 ? SEGMENT : last;
        for (uint64_t at = 0; at < end; at += at % WAL_BLOCK_SIZE < 480 ? 1 : 97) {
            segment_bytes(l.disk, id)[at] ^= 0x10;
            int rc = log_try_open(&l, l.disk);
            cr_assert_eq(rc, -EBADMSG, "segment %u byte %" PRIu64 ": %d", id, at, rc);
            segment_bytes(l.disk, id)[at] ^= 0x10;
        }
    }
    segment_bytes(l.disk, 1)[3 * WAL_BLOCK_SIZE + 9] ^= 1;
    cr_assert_eq(log_try_open(&l, l.disk), -EBADMSG);
    cr_expect(strstr(l.error, "wal/segment.00000001 offset 12288: "), "%s", l.error);
    cr_expect(strstr(l.error, "replace this member"), "%s", l.error);
    memdisk_free(l.disk);
}

Test(wal, files_that_are_missing_or_of_another_size_are_reported)
{
    static const char *const paths[] = {"wal/format", "wal/segment.00000001",
                                        "wal/segment.00000002"};
    struct log l = log_new();
    accept_batches(l.wal, 1, 40, 300);
    cr_assert_eq(l.wal->live_count, 3);
    wal_close(l.wal);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        struct memdisk *disk = memdisk_copy(l.disk);
        memdisk_remove_file(disk, paths[i]);
        struct log damaged;
        cr_expect_eq(log_try_open(&damaged, disk), -EBADMSG, "%s", paths[i]);
        cr_expect_neq(damaged.error[0], '\0');
        memdisk_free(disk);
    }
    memdisk_free(l.disk);
}

Test(wal, a_format_file_that_changed_is_reported)
{
    struct log l = log_new();
    accept_batches(l.wal, 1, 5, 300);
    wal_close(l.wal);
    size_t size;
    uint8_t *format = memdisk_bytes(l.disk, "wal/format", &size);
    for (size_t i = 0; i < size; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            format[i] ^= (uint8_t)(1u << bit);
            cr_assert_eq(log_try_open(&l, l.disk), -EBADMSG, "byte %zu bit %u", i, bit);
            cr_assert_neq(l.error[0], '\0');
            format[i] ^= (uint8_t)(1u << bit);
        }
    }
    memdisk_free(l.disk);
}

Test(wal, damage_that_came_after_the_start_is_found_by_the_read)
{
    struct log l = log_new();
    accept_batches(l.wal, 1, 40, 300);
    segment_bytes(l.disk, 1)[5 * WAL_BLOCK_SIZE + 200] ^= 1;
    struct got g = {.count = 0};
    cr_expect_eq(wal_read(l.wal, 1, 10, UINT64_MAX, on_pvalue, &g), -EBADMSG);
    cr_expect_eq(read_log(l.wal, 20, 40, UINT64_MAX).count, 21);
    log_end(&l);
}

static int read_refused(void *context, int file, void *bytes, size_t size, uint64_t offset)
{
    (void)context;
    (void)file;
    (void)bytes;
    (void)size;
    (void)offset;
    return -EIO;
}

Test(wal, a_read_that_fails_is_an_error_and_no_end_of_the_log)
{
    struct log l = log_new();
    accept_batches(l.wal, 1, 5, 300);
    wal_close(l.wal);
    struct wal_io io = memdisk_io(l.disk);
    io.read = read_refused;
    cr_expect_eq(wal_open_with(&io, "wal", SEGMENT, &l.wal, &l.recovered, l.error, sizeof l.error),
                 -EIO);
    memdisk_free(l.disk);
}

/* ---- the disk fails ---- */

static void expect_refusal(struct wal *w, int error)
{
    struct got g = {.count = 0};
    cr_expect_eq(wal_sync(w), error);
    cr_expect_eq(try_accept(w, 900, 1, 10), error);
    cr_expect_eq(promise(w, 100), error);
    cr_expect_eq(wal_collect(w, 1), error);
    cr_expect_eq(wal_read(w, 1, 5, UINT64_MAX, on_pvalue, &g), error);
    cr_expect_eq(wal_sync(w), error);
}

Test(wal, a_failed_write_is_final)
{
    struct log l = log_new();
    accept_batches(l.wal, 1, 5, 300);
    memdisk_fail_write(l.disk, -EIO);
    accept(l.wal, 6, 6, 300);
    expect_refusal(l.wal, -EIO);
    log_reopen(&l);
    expect_slots(l.wal, 1, 5);
    log_end(&l);
}

Test(wal, a_failed_sync_is_final)
{
    struct log l = log_new();
    accept_batches(l.wal, 1, 5, 300);
    memdisk_fail_sync(l.disk, -EIO);
    accept(l.wal, 6, 6, 300);
    expect_refusal(l.wal, -EIO);
    log_end(&l);
}

Test(wal, a_log_that_finds_no_room_for_its_next_segment_goes_on_once_there_is)
{
    struct log l = log_new();
    memdisk_limit_files(l.disk, 1);
    uint64_t slot = 0;
    int rc = 0;
    while (rc == 0) {
        slot++;
        accept(l.wal, slot, slot, 300);
        rc = wal_sync(l.wal);
    }
    cr_expect_eq(rc, -ENOSPC);
    cr_expect_eq(wal_sync(l.wal), -ENOSPC, "there still is none");
    expect_slots(l.wal, 1, slot - 1);
    memdisk_limit_files(l.disk, 100);
    cr_expect_eq(wal_sync(l.wal), 0);
    accept_batches(l.wal, slot + 1, slot + 5, 300);
    log_reopen(&l);
    expect_slots(l.wal, 1, slot + 5);
    log_end(&l);
}

Test(wal, a_log_that_died_for_want_of_room_lost_nothing_that_was_synced)
{
    struct log l = log_new();
    memdisk_limit_files(l.disk, 1);
    uint64_t slot = 0;
    int rc = 0;
    while (rc == 0) {
        slot++;
        accept(l.wal, slot, slot, 300);
        rc = wal_sync(l.wal);
    }
    log_reopen(&l);
    expect_slots(l.wal, 1, slot - 1);
    log_end(&l);
}

Test(wal, a_disk_that_is_full_where_a_batch_is_written_is_final)
{
    struct log l = log_new();
    accept_batches(l.wal, 1, 5, 300);
    memdisk_fail_write(l.disk, -ENOSPC);
    accept(l.wal, 6, 6, 300);
    expect_refusal(l.wal, -EIO);
    log_end(&l);
}

Test(wal, the_next_segment_is_made_ahead_a_piece_at_a_time)
{
    struct log l = log_new();
    struct wal_view view;
    cr_assert_eq(wal_prepare(l.wal, 1), 0);
    for (int i = 0; i < 2; i++) { /* once there is a free one, nothing more is made */
        cr_assert_eq(wal_prepare(l.wal, SEGMENT), 0);
        wal_view(l.wal, &view);
        cr_expect_eq(view.segments_free, 1);
    }
    accept_batches(l.wal, 1, 40, 3000); /* more than one segment */
    wal_view(l.wal, &view);
    cr_expect_gt(view.segments, 1);
    log_reopen(&l);
    expect_slots(l.wal, 1, 40);
    log_end(&l);
}

Test(wal, a_full_disk_while_preparing_does_no_harm_until_the_segment_is_needed)
{
    struct log l = log_new();
    memdisk_limit_files(l.disk, 0);
    cr_expect_eq(wal_prepare(l.wal, SEGMENT), -ENOSPC);
    accept_batches(l.wal, 1, 3, 100);
    memdisk_limit_files(l.disk, 100);
    accept_batches(l.wal, 4, 40, 3000);
    log_reopen(&l);
    expect_slots(l.wal, 1, 40);
    log_end(&l);
}

Test(wal, a_limit_on_the_size_of_files_is_an_error_of_the_open)
{
    char dir[] = "/tmp/paxfs_wal.XXXXXX", path[64], error[512] = "";
    cr_assert(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/wal", dir);
    struct rlimit limit = {MIB, MIB};
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct wal *w;
    struct wal_recovered r;
    cr_expect_eq(wal_open(path, &w, &r, error, sizeof error), -EFBIG);
    cr_expect_neq(error[0], '\0');
    cr_expect_eq(rmdir(path), 0, "nothing is left behind");
    rmdir(dir);
}
