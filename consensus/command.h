/* consensus/command.h: a client's command: opaque bytes with a session and a sequence number.
 *
 * Counted references, since the log, the store, the wire and the core hold one command at once; the
 * count is atomic. The core never allocates one; whoever did is called back by `release` when the
 * last reference goes. Immutable once shared. */
#ifndef CONSENSUS_COMMAND_H
#define CONSENSUS_COMMAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct command {
    _Atomic uint32_t refs;
    uint32_t size; /* of bytes */
    uint64_t node; /* session: the client is (node, epoch); node 0 is the no-op */
    uint64_t epoch;
    uint64_t sequence;    /* 1, 2, ... within the session; 0 for a session open, which has a life */
    uint64_t low;         /* lowest sequence this session had unanswered when it was submitted */
    const uint8_t *bytes; /* lives as long as the command */
    void (*release)(struct command *c); /* may be NULL: static storage */
};

static inline struct command *command_ref(struct command *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

static inline void command_unref(struct command *c)
{
    if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1 && c->release)
        c->release(c);
}

/* The command that changes nothing; it fills gaps (PMMC §2.4). Static; references cost nothing. */
struct command *command_noop(void);

static inline bool command_is_noop(const struct command *c)
{
    return c->node == 0;
}

#endif
