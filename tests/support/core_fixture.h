/* tests/support/core_fixture.h: messages, commands and effects for unit tests of the core. */
#ifndef SUPPORT_CORE_FIXTURE_H
#define SUPPORT_CORE_FIXTURE_H

#include "consensus/outbox.h"
#include "consensus/pvalue_table.h"

/* A static command of node 1, session 1: one per sequence below 64; never freed. */
struct command *fixture_command(uint64_t sequence);
struct pvalue fixture_pvalue(struct ballot ballot, uint64_t slot, uint64_t sequence);
struct message fixture_p2a(struct ballot ballot, struct pvalue *pvalues, uint32_t count);
struct message fixture_p1b(struct ballot ballot, struct pvalue *pvalues, uint32_t count);

/* An outbox of member 0 of @members with empty effects; shared, one at a time. */
struct outbox *fixture_outbox(uint32_t members);
/* The effects of the last fixture_outbox(). */
const struct effect *fixture_effect(enum effect_kind kind, uint32_t nth); /* NULL: fewer */
const struct send *fixture_send(enum message_kind kind, uint32_t nth);
uint32_t fixture_effects(enum effect_kind kind);
void fixture_clear(void);

#endif
