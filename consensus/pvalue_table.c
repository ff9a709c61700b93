#include "consensus/pvalue_table.h"

#include <stddef.h>

#include "base/assert.h"

const struct pvalue *pvalue_table_get(const struct pvalue_table *t, uint64_t slot)
{
    if (!pvalue_table_covers(t, slot))
        return NULL;
    const struct pvalue *p = &t->pvalues[slot % SLOTS_HELD_MAX];
    return p->command ? p : NULL;
}

static void drop(struct pvalue_table *t, struct pvalue *p)
{
    if (!p->command)
        return;
    t->bytes -= p->command->size;
    t->count--;
    command_unref(p->command);
    p->command = NULL;
}

void pvalue_table_put(struct pvalue_table *t, const struct pvalue *pvalue)
{
    ASSERT(pvalue_table_covers(t, pvalue->slot));
    struct pvalue *p = &t->pvalues[pvalue->slot % SLOTS_HELD_MAX];
    command_ref(pvalue->command); /* before the drop: it may be the very command held */
    drop(t, p);
    *p = *pvalue;
    t->bytes += p->command->size;
    t->count++;
    if (p->slot > t->last)
        t->last = p->slot;
}

void pvalue_table_advance(struct pvalue_table *t, uint64_t base)
{
    if (base <= t->base)
        return;
    uint64_t end = base - t->base > SLOTS_HELD_MAX ? t->base + SLOTS_HELD_MAX : base;
    for (uint64_t slot = t->base + 1; slot <= end; slot++)
        drop(t, &t->pvalues[slot % SLOTS_HELD_MAX]);
    t->base = base;
}

void pvalue_table_clear(struct pvalue_table *t)
{
    for (uint32_t i = 0; t->count > 0 && i < SLOTS_HELD_MAX; i++)
        drop(t, &t->pvalues[i]);
    t->last = t->base;
}
