#include "tests/support/core_fixture.h"

#include <stddef.h>

#include "base/assert.h"

static struct effects effects;
static struct outbox box;

struct command *fixture_command(uint64_t sequence)
{
    static struct command commands[64];
    ASSERT(sequence < ARRAY_COUNT(commands));
    struct command *c = &commands[sequence];
    if (c->refs == 0) {
        c->refs = 1;
        c->node = 1;
        c->epoch = 1;
        c->sequence = sequence;
    }
    return c;
}

struct pvalue fixture_pvalue(struct ballot ballot, uint64_t slot, uint64_t sequence)
{
    return (struct pvalue){ballot, slot, slot, fixture_command(sequence)};
}

struct message fixture_p2a(struct ballot ballot, struct pvalue *pvalues, uint32_t count)
{
    return (struct message){.kind = MESSAGE_P2A,
                            .p2a = {.ballot = ballot, .count = count, .pvalues = pvalues}};
}

struct message fixture_p1b(struct ballot ballot, struct pvalue *pvalues, uint32_t count)
{
    return (struct message){.kind = MESSAGE_P1B,
                            .p1b = {.asked = ballot,
                                    .promised = ballot,
                                    .slot_first = 1,
                                    .count = count,
                                    .pvalues = pvalues}};
}

struct outbox *fixture_outbox(uint32_t members)
{
    effects_clear(&effects);
    box = (struct outbox){.out = &effects};
    box.everyone = (UINT32_C(1) << members) - 1;
    box.others = box.everyone & ~UINT32_C(1);
    return &box;
}

const struct effect *fixture_effect(enum effect_kind kind, uint32_t nth)
{
    for (uint32_t i = 0; i < effects.count; i++) {
        if (effects.list[i].kind == kind && nth-- == 0)
            return &effects.list[i];
    }
    return NULL;
}

const struct send *fixture_send(enum message_kind kind, uint32_t nth)
{
    for (uint32_t i = 0; i < effects.count; i++) {
        const struct effect *e = &effects.list[i];
        if (e->kind == EFFECT_SEND && e->send.message.kind == kind && nth-- == 0)
            return &e->send;
    }
    return NULL;
}

uint32_t fixture_effects(enum effect_kind kind)
{
    uint32_t count = 0;
    while (fixture_effect(kind, count))
        count++;
    return count;
}

void fixture_clear(void)
{
    effects_clear(&effects);
}
