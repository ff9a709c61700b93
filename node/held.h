/* node/held.h: messages that wait: for a PERSIST to be durable, or for their turn when a node
 * writes to itself. Deep copies, since a step's messages die with its effects. Loop thread only. */
#ifndef NODE_HELD_H
#define NODE_HELD_H

#include "consensus/effects.h"

struct held {
    struct held *next;
    uint32_t to;
    uint64_t after;
    struct message message;
    struct command **commands; /* whose references it owns */
    uint32_t command_count;
};

struct held_list {
    struct held *head, **tail;
};

void held_list_init(struct held_list *l);
/* Copy @send to the end. 0 or -ENOMEM (the message is then lost, which any message may be). */
int held_list_add(struct held_list *l, const struct send *send);
/* The first of those after <= @durable, in order; the caller frees it. NULL: none. */
struct held *held_list_take(struct held_list *l, uint64_t durable);
void held_free(struct held *h);
void held_list_deinit(struct held_list *l);

#endif
