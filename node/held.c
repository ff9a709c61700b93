#include "node/held.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

void held_list_init(struct held_list *l)
{
    l->head = NULL;
    l->tail = &l->head;
}

/* The arrays of a message: at most one of pvalues, slots, commands; and holders. */
struct arrays {
    struct pvalue **pvalues;
    uint64_t **slots;
    struct command ***commands;
    uint32_t count;
    struct holder **holders;
    uint32_t holder_count;
};

static struct arrays arrays_of(struct message *m)
{
    switch (m->kind) {
    case MESSAGE_P1B:
        return (struct arrays){.pvalues = &m->p1b.pvalues,
                               .count = m->p1b.count,
                               .holders = &m->p1b.holders,
                               .holder_count = m->p1b.holder_count};
    case MESSAGE_P2A:
        return (struct arrays){.pvalues = &m->p2a.pvalues, .count = m->p2a.count};
    case MESSAGE_DECISIONS:
        return (struct arrays){.pvalues = &m->decisions.pvalues, .count = m->decisions.count};
    case MESSAGE_P2B:
        return (struct arrays){.slots = &m->p2b.slots, .count = m->p2b.count};
    case MESSAGE_SUBMIT:
        return (struct arrays){.commands = &m->submit.commands, .count = m->submit.count};
    case MESSAGE_RELEASE:
        return (struct arrays){.holders = &m->release.holders,
                               .holder_count = m->release.holder_count};
    case MESSAGE_PREVOTE:
    case MESSAGE_PREVOTE_ACK:
    case MESSAGE_P1A:
    case MESSAGE_DECIDED:
    case MESSAGE_HEARTBEAT:
    case MESSAGE_HEARTBEAT_ACK:
    case MESSAGE_READ:
    case MESSAGE_READ_ACK:
    case MESSAGE_FETCH:
    case MESSAGE_LEASE_ASK:
    case MESSAGE_LEASE_GRANT:
    case MESSAGE_LEASE_ACK:
    case MESSAGE_KIND_COUNT:
        break;
    }
    return (struct arrays){0};
}

/* Layout: the struct, its array, for pvalues the list of commands to let go, and the holders. */
static struct held *copy_of(const struct send *send)
{
    struct message m = send->message;
    struct arrays a = arrays_of(&m);
    size_t element = a.pvalues ? sizeof **a.pvalues : sizeof(uint64_t);
    size_t array_size = a.count * element;
    size_t list_size = a.pvalues ? a.count * sizeof(struct command *) : 0;
    size_t holders_size = a.holder_count * sizeof **a.holders;
    struct held *h = malloc(sizeof *h + array_size + list_size + holders_size);
    if (!h)
        return NULL;
    *h = (struct held){.to = send->to, .after = send->after};
    void *array = h + 1;
    if (a.pvalues) {
        if (a.count)
            memcpy(array, *a.pvalues, array_size);
        *a.pvalues = array;
        h->commands = (struct command **)(void *)((char *)array + array_size);
        for (uint32_t i = 0; i < a.count; i++)
            h->commands[i] = (*a.pvalues)[i].command;
        h->command_count = a.count;
    } else if (a.commands) {
        memcpy(array, *a.commands, array_size);
        *a.commands = h->commands = array;
        h->command_count = a.count;
    } else if (a.slots) {
        if (a.count)
            memcpy(array, *a.slots, array_size);
        *a.slots = array;
    }
    if (a.holders && a.holder_count) {
        void *holders = (char *)array + array_size + list_size;
        memcpy(holders, *a.holders, holders_size);
        *a.holders = holders;
    }
    for (uint32_t i = 0; i < h->command_count; i++)
        command_ref(h->commands[i]);
    h->message = m;
    return h;
}

int held_list_add(struct held_list *l, const struct send *send)
{
    struct held *h = copy_of(send);
    if (!h)
        return -ENOMEM;
    *l->tail = h;
    l->tail = &h->next;
    return 0;
}

struct held *held_list_take(struct held_list *l, uint64_t durable)
{
    for (struct held **at = &l->head; *at; at = &(*at)->next) {
        struct held *h = *at;
        if (h->after > durable)
            continue;
        *at = h->next;
        if (!h->next)
            l->tail = at;
        h->next = NULL;
        return h;
    }
    return NULL;
}

void held_free(struct held *h)
{
    for (uint32_t i = 0; i < h->command_count; i++)
        command_unref(h->commands[i]);
    free(h);
}

void held_list_deinit(struct held_list *l)
{
    while (l->head) {
        struct held *h = l->head;
        l->head = h->next;
        held_free(h);
    }
    held_list_init(l);
}
