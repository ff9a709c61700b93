/* tests/support/machine.h: the simulated cluster's state machine: counters, sessions and membership
 * as fs/ has them, and a hash of its whole history. */
#ifndef SUPPORT_MACHINE_H
#define SUPPORT_MACHINE_H

#include "consensus/membership.h"
#include "consensus/pvalue.h"
#include "consensus/session.h"

enum { MACHINE_COUNTERS = 4 };

struct machine {
    uint64_t applied, time_ns;
    uint64_t counters[MACHINE_COUNTERS];
    uint64_t hash; /* of every slot so far: slot, time, command, outcome */
    struct session_table *sessions;
    struct membership membership;
};

enum machine_kind {
    MACHINE_OPEN = 1,
    MACHINE_INCREMENT,
    MACHINE_INVITE,  /* node to come, voter it is to replace or 0 */
    MACHINE_JOIN,    /* node */
    MACHINE_PROMOTE, /* node */
    MACHINE_REPLACE, /* voter, learner */
    MACHINE_REMOVE,  /* node */
    MACHINE_EXPIRE,  /* node, epoch, sequence */
};

/* What a command asks for. */
struct machine_change {
    enum machine_kind kind;
    uint64_t op;           /* of the caller's; names it */
    uint64_t arguments[3]; /* see above; of an increment: the counter; of an open: the life */
    uint32_t padding;
};

struct machine_result {
    enum session_verdict verdict;
    uint64_t value; /* NEW, REPEATED: the counter after the increment; of an open: the epoch; of a
                       change of members: enum membership_verdict; of an expiry: whether it did */
};

/* @ended: see session_open_after(). */
struct command *machine_open(uint64_t node, uint64_t life, uint64_t ended);
struct command *machine_command(uint64_t node, uint64_t epoch, uint64_t sequence, uint64_t low,
                                const struct machine_change *change);
struct machine_change machine_change_of(const struct command *c); /* not of a no-op */
/* It changes this counter. */
bool machine_touches(const struct command *c, uint32_t counter);
/* @count voters begin. */
void machine_begin(struct machine *m, const uint64_t *nodes, uint32_t count);

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
