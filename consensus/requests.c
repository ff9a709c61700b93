#include "consensus/requests.h"

#include <stddef.h>
#include <string.h>
#include <utlist.h>

#include "base/assert.h"

void requests_init(struct requests *r)
{
    memset(r, 0, sizeof *r);
    for (size_t i = 0; i < SUBMITS_MAX; i++)
        DL_APPEND(r->unused, &r->pool[i]);
}

void requests_deinit(struct requests *r)
{
    struct request *q;
    DL_FOREACH(r->waiting, q)
    command_unref(q->command);
    DL_FOREACH(r->sent, q)
    command_unref(q->command);
    requests_init(r);
}

void requests_submit(struct requests *r, struct command *command)
{
    struct request *q = r->unused;
    ASSERT(q != NULL);
    DL_DELETE(r->unused, q);
    q->command = command_ref(command);
    DL_APPEND(r->waiting, q);
    r->count++;
}

struct command *requests_peek(const struct requests *r)
{
    return r->waiting ? r->waiting->command : NULL;
}

void requests_sent(struct requests *r, uint64_t now_ns)
{
    struct request *q = r->waiting;
    ASSERT(q != NULL);
    DL_DELETE(r->waiting, q);
    q->sent_ns = now_ns;
    DL_APPEND(r->sent, q);
}

/* @again come before what waits already: they are older. */
static void wait_again(struct requests *r, struct request *again)
{
    DL_CONCAT(again, r->waiting);
    r->waiting = again;
}

void requests_resend_all(struct requests *r)
{
    struct request *again = r->sent;
    r->sent = NULL;
    wait_again(r, again);
}

void requests_resend_old(struct requests *r, uint64_t sent_ns)
{
    struct request *again = NULL;
    while (r->sent && r->sent->sent_ns <= sent_ns) { /* the list is in the order of sending */
        struct request *q = r->sent;
        DL_DELETE(r->sent, q);
        DL_APPEND(again, q);
    }
    wait_again(r, again);
}

static bool is_same(const struct command *a, const struct command *b)
{
    if (a->node != b->node || a->epoch != b->epoch || a->sequence != b->sequence)
        return false;
    if (a->sequence != 0)
        return true;
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

static bool remove_from(struct requests *r, struct request **list, const struct command *command)
{
    struct request *q;
    DL_FOREACH(*list, q)
    {
        if (!is_same(q->command, command))
            continue;
        DL_DELETE(*list, q);
        command_unref(q->command);
        q->command = NULL;
        DL_APPEND(r->unused, q);
        r->count--;
        return true;
    }
    return false;
}

void requests_decided(struct requests *r, const struct command *command)
{
    if (!remove_from(r, &r->sent, command))
        remove_from(r, &r->waiting, command);
}
