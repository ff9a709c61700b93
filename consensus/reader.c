#include "consensus/reader.h"

#include "consensus/paxos.h"

#define REFUSED_RETRY_NS (20 * NS_PER_MS) /* a new leader serves within a round trip or two */

void reader_init(struct reader *r, uint64_t salt)
{
    *r = (struct reader){.base = salt >> 1}; /* room above it to count */
}

void reader_on_read(struct reader *r, uint64_t read)
{
    if (read > r->wanted)
        r->wanted = read;
}

static void become_ready(struct reader *r, uint64_t read, uint64_t slot, struct outbox *o)
{
    if (read <= r->ready)
        return;
    r->ready = read;
    outbox_read_ready(o, read, slot);
}

void reader_serve(struct reader *r, uint64_t slot, struct outbox *o)
{
    become_ready(r, r->wanted, slot, o);
    r->is_waiting = false;
}

void reader_flush(struct reader *r, uint32_t leader, uint64_t now_ns, struct outbox *o)
{
    if (r->wanted <= r->ready)
        return;
    if (r->is_waiting && now_ns < r->retry_ns)
        return;
    r->is_waiting = true;
    r->retry_ns = now_ns + RETRY_NS;
    r->asked = r->wanted;
    struct message m = {.kind = MESSAGE_READ, .read = {.id = r->base + r->asked}};
    outbox_send(o, UINT32_C(1) << leader, &m);
}

void reader_on_ack(struct reader *r, const struct message *m, uint64_t now_ns, struct outbox *o)
{
    uint64_t read = m->read_ack.id - r->base;
    if (read > r->asked || read <= r->ready)
        return;
    if (m->read_ack.ok)
        become_ready(r, read, m->read_ack.slot, o);
    if (read != r->asked)
        return;
    r->is_waiting = !m->read_ack.ok;
    r->retry_ns = now_ns + REFUSED_RETRY_NS;
}

void reader_restart(struct reader *r)
{
    r->is_waiting = false;
}
