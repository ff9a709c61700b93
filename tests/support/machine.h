/* tests/support/machine.h: the simulated cluster's state machine: counters, with sessions as fs/
 * has them, and a hash of its whole history. */
#ifndef SUPPORT_MACHINE_H
#define SUPPORT_MACHINE_H

#include "consensus/pvalue.h"
#include "consensus/session.h"

enum { MACHINE_COUNTERS = 4 };

struct machine {
    uint64_t applied, time_ns;
    uint64_t counters[MACHINE_COUNTERS];
    uint64_t hash; /* of every slot so far: slot, time, command, outcome */
    struct session_table *sessions;
};

struct machine_result {
    enum session_verdict verdict;
    uint64_t value; /* NEW, REPEATED: the counter after the increment; of an open: the epoch */
};

struct command *machine_open(uint64_t node, uint64_t life);
struct command *machine_increment(uint64_t node, uint64_t epoch, uint64_t sequence, uint64_t low,
                                  uint64_t op, uint32_t counter, uint32_t padding);
/* The op of an increment; 0 for others. */
uint64_t machine_op(const struct command *c);

/* The life of an open; 0 for others. */
uint64_t machine_life(const struct command *c);

void machine_init(struct machine *m);
void machine_deinit(struct machine *m);
struct machine_result machine_apply(struct machine *m, const struct pvalue *p);

/* A checkpoint: what a restart finds. */
struct machine_image {
    struct machine state; /* sessions NULL: encoded below */
    uint32_t size;
    uint8_t *bytes;
};
void machine_save(const struct machine *m, struct machine_image *image);
void machine_load(struct machine *m, const struct machine_image *image);
void machine_image_deinit(struct machine_image *image);

#endif
