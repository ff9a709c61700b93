#include "consensus/effects.h"

void effects_init(struct effects *e)
{
    e->count = 0;
    e->pvalue_count = 0;
    e->slot_count = 0;
    e->command_count = 0;
    e->holder_count = 0;
}

static void drop_persist(const struct persist *p)
{
    if (p->kind == PERSIST_ACCEPT || p->kind == PERSIST_DECISION)
        command_unref(p->pvalue.command);
}

void effects_clear(struct effects *e)
{
    for (uint32_t i = 0; i < e->count; i++) {
        if (e->list[i].kind == EFFECT_PERSIST)
            drop_persist(&e->list[i].persist);
        else if (e->list[i].kind == EFFECT_DECIDE)
            command_unref(e->list[i].decide.command);
    }
    for (uint32_t i = 0; i < e->pvalue_count; i++)
        command_unref(e->pvalues[i].command);
    for (uint32_t i = 0; i < e->command_count; i++)
        command_unref(e->commands[i]);
    effects_init(e);
}
