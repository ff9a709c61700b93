/* consensus/pvalue_table.h: at most one pvalue per slot, for the slots above a base (PMMC §4.1).
 *
 * A ring of SLOTS_HELD_MAX slots; it owns one reference to each command in it. */
#ifndef CONSENSUS_PVALUE_TABLE_H
#define CONSENSUS_PVALUE_TABLE_H

#include "base/limits.h"
#include "consensus/pvalue.h"

struct pvalue_table {
    uint64_t base;  /* slots <= base have left */
    uint64_t last;  /* highest slot put since the last clear; base or less when there is none */
    uint64_t bytes; /* of the commands held */
    uint32_t count;
    struct pvalue pvalues[SLOTS_HELD_MAX]; /* at slot % SLOTS_HELD_MAX; command NULL: free */
};

static inline bool pvalue_table_covers(const struct pvalue_table *t, uint64_t slot)
{
    return slot > t->base && slot - t->base <= SLOTS_HELD_MAX;
}

/* NULL when no pvalue is held for @slot. Borrowed until the next put, advance or clear. */
const struct pvalue *pvalue_table_get(const struct pvalue_table *t, uint64_t slot);
/* Replaces what was held for the slot, which must be covered. */
void pvalue_table_put(struct pvalue_table *t, const struct pvalue *pvalue);
/* Slots <= @base leave. */
void pvalue_table_advance(struct pvalue_table *t, uint64_t base);
/* All slots leave; the base stays. */
void pvalue_table_clear(struct pvalue_table *t);

#endif
