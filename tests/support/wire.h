/* tests/support/wire.h: messages between peers for the tests of rpc/. */
#ifndef TESTS_SUPPORT_WIRE_H
#define TESTS_SUPPORT_WIRE_H

#include "rpc/codec.h"

enum wire_sample { /* above those of the core, which are by enum message_kind */
                   WIRE_HELLO = MESSAGE_KIND_COUNT,
                   WIRE_HELLO_LONG,
                   WIRE_REFUSE,
                   WIRE_REFUSE_LONG,
                   WIRE_STATUS,
                   WIRE_ALIVE,
                   WIRE_RELAY,
                   WIRE_JOIN,
                   WIRE_JOINED,
                   WIRE_JOINED_REFUSED,
                   WIRE_SNAPSHOT_GET,
                   WIRE_SNAPSHOT_DATA,
                   WIRE_SNAPSHOT_REFUSED,
                   WIRE_SAMPLES
};

/* Messages of every kind, and the memory they point to. */
struct wire_samples {
    struct peer_message messages[WIRE_SAMPLES];
    struct command commands[ENTRIES_MAX];
    struct command *command_list[ENTRIES_MAX];
    struct pvalue pvalues[ENTRIES_MAX]; /* with ballots, slots ascending, one no-op */
    struct pvalue values[ENTRIES_MAX];  /* the same at the p2a's ballot */
    struct pvalue decided[ENTRIES_MAX]; /* the same without ballots */
    uint64_t slots[ENTRIES_MAX];
    struct holder holders[MEMBERS_MAX];
    uint32_t holder_count; /* as many as entries, but at most MEMBERS_MAX */
    uint8_t *bytes;
    struct frame *relayed; /* the p2a */
};

/* @count entries in those that have entries, of @command_size bytes each; integers from @seed. */
struct wire_samples *wire_samples_new(uint32_t count, uint32_t command_size, uint64_t seed);
void wire_samples_free(struct wire_samples *s);

/* @m as a frame, without its prefix; one reference. */
struct frame *wire_frame(const struct peer_message *m);
struct frame *wire_frame_of(const void *bytes, size_t size);

bool wire_equal(const struct peer_message *a, const struct peer_message *b);
/* NULL when every field of a decoded message is in its range and every command's bytes lie in @f;
 * else what is not. */
const char *wire_out_of_range(const struct peer_message *m, const struct frame *f);

#endif
