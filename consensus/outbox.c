#include "consensus/outbox.h"

#include "base/assert.h"

static struct effect *add(struct outbox *o, enum effect_kind kind)
{
    ASSERT(o->out->count < EFFECTS_PER_STEP_MAX);
    struct effect *e = &o->out->list[o->out->count++];
    e->kind = kind;
    return e;
}

static struct persist *add_persist(struct outbox *o, enum persist_kind kind)
{
    struct persist *p = &add(o, EFFECT_PERSIST)->persist;
    *p = (struct persist){.kind = kind, .number = ++o->persists};
    return p;
}

void outbox_persist_promise(struct outbox *o, struct ballot ballot)
{
    add_persist(o, PERSIST_PROMISE)->ballot = ballot;
}

void outbox_persist_pvalue(struct outbox *o, enum persist_kind kind, const struct pvalue *pvalue)
{
    ASSERT(kind == PERSIST_ACCEPT || kind == PERSIST_DECISION);
    struct persist *p = add_persist(o, kind);
    p->pvalue = *pvalue;
    command_ref(pvalue->command);
}

void outbox_persist_decided(struct outbox *o, uint64_t slot)
{
    add_persist(o, PERSIST_DECIDED)->slot = slot;
}

void outbox_persist_decided_to_last(struct outbox *o, uint64_t slot)
{
    struct persist *p = add_persist(o, PERSIST_DECIDED);
    p->slot = slot;
    p->must_last = true;
}

void outbox_send_after(struct outbox *o, uint32_t to, uint64_t number, const struct message *m)
{
    if (to == 0)
        return;
    struct send *s = &add(o, EFFECT_SEND)->send;
    s->to = to;
    s->after = number;
    s->message = *m;
}

void outbox_send(struct outbox *o, uint32_t to, const struct message *m)
{
    outbox_send_after(o, to, 0, m);
}

void outbox_send_after_persists(struct outbox *o, uint32_t to, const struct message *m)
{
    outbox_send_after(o, to, o->persists, m);
}

struct pvalue *outbox_add_pvalue(struct outbox *o, const struct pvalue *pvalue)
{
    ASSERT(o->out->pvalue_count < EFFECTS_PVALUES_MAX);
    struct pvalue *p = &o->out->pvalues[o->out->pvalue_count++];
    *p = *pvalue;
    command_ref(p->command);
    return p;
}

struct command **outbox_add_command(struct outbox *o, struct command *command)
{
    ASSERT(o->out->command_count < SUBMITS_MAX);
    struct command **c = &o->out->commands[o->out->command_count++];
    *c = command_ref(command);
    return c;
}

uint64_t *outbox_add_slot(struct outbox *o, uint64_t slot)
{
    ASSERT(o->out->slot_count < EFFECTS_PVALUES_MAX);
    uint64_t *s = &o->out->slots[o->out->slot_count++];
    *s = slot;
    return s;
}

struct holder *outbox_add_holder(struct outbox *o, struct holder holder)
{
    ASSERT(o->out->holder_count < EFFECTS_HOLDERS_MAX);
    struct holder *h = &o->out->holders[o->out->holder_count++];
    *h = holder;
    return h;
}

void outbox_decide(struct outbox *o, const struct pvalue *pvalue)
{
    struct effect *e = add(o, EFFECT_DECIDE);
    e->decide = *pvalue;
    command_ref(pvalue->command);
}

void outbox_read_ready(struct outbox *o, uint64_t read, uint64_t slot)
{
    struct effect *e = add(o, EFFECT_READ_READY);
    e->read_ready.read = read;
    e->read_ready.slot = slot;
}

void outbox_fetch(struct outbox *o, uint32_t to, uint64_t after, uint64_t first, uint64_t last)
{
    struct effect *e = add(o, EFFECT_FETCH);
    e->fetch.to = to;
    e->fetch.after = after;
    e->fetch.first = first;
    e->fetch.last = last;
}

void outbox_collect(struct outbox *o, uint64_t slot)
{
    add(o, EFFECT_COLLECT)->collect.slot = slot;
}

void outbox_snapshot(struct outbox *o, uint32_t from)
{
    add(o, EFFECT_SNAPSHOT)->snapshot.from = from;
}

void outbox_note(struct outbox *o, enum note_kind kind, struct ballot ballot, uint64_t slot)
{
    struct note *n = &add(o, EFFECT_NOTE)->note;
    n->kind = kind;
    n->ballot = ballot;
    n->slot = slot;
}
