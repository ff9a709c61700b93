/* consensus/outbox.h: how the roles append to a step's effects.
 *
 * Numbers the PERSISTs of this life. Every function asserts that the effects have room; why they do
 * is written at each caller that loops. */
#ifndef CONSENSUS_OUTBOX_H
#define CONSENSUS_OUTBOX_H

#include "consensus/effects.h"

struct outbox {
    struct effects *out; /* of the current step */
    uint64_t persists;   /* number of the newest PERSIST */
    uint32_t everyone;   /* mask of all with a seat, oneself included */
    uint32_t others;     /* ... without oneself */
};

void outbox_persist_promise(struct outbox *o, struct ballot ballot);
void outbox_persist_pvalue(struct outbox *o, enum persist_kind kind, const struct pvalue *pvalue);
void outbox_persist_decided(struct outbox *o, uint64_t slot);
/* ... for which a message is to wait. */
void outbox_persist_decided_to_last(struct outbox *o, uint64_t slot);

/* @to: mask of members. The arrays in @m come from outbox_add_*() of this step. */
void outbox_send(struct outbox *o, uint32_t to, const struct message *m);
/* As outbox_send, but it leaves only after every PERSIST so far, also those of earlier steps: a
 * repeated p2a adds none, and a p2b whose pvalue a crash forgets could undo a decision. */
void outbox_send_after_persists(struct outbox *o, uint32_t to, const struct message *m);
/* As outbox_send, but it leaves only after PERSIST @number. */
void outbox_send_after(struct outbox *o, uint32_t to, uint64_t number, const struct message *m);

/* Append one more element to the array a message under construction ends with; returns its address.
 * Elements added one after another are contiguous. A command's reference is taken. */
struct pvalue *outbox_add_pvalue(struct outbox *o, const struct pvalue *pvalue);
struct command **outbox_add_command(struct outbox *o, struct command *command);
uint64_t *outbox_add_slot(struct outbox *o, uint64_t slot);
struct holder *outbox_add_holder(struct outbox *o, struct holder holder);

void outbox_decide(struct outbox *o, const struct pvalue *pvalue);
void outbox_read_ready(struct outbox *o, uint64_t read, uint64_t slot);
void outbox_fetch(struct outbox *o, uint32_t to, uint64_t after, uint64_t first, uint64_t last);
void outbox_collect(struct outbox *o, uint64_t slot);
void outbox_snapshot(struct outbox *o, uint32_t from);
void outbox_note(struct outbox *o, enum note_kind kind, struct ballot ballot, uint64_t slot);

#endif
