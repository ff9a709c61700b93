#include "tests/support/store_copy.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"

enum { PIECE = 100000 }; /* no multiple of a page */

struct export
{
    struct store *s;
    int fd, rc;
};

static void *run_export(void *context)
{
    struct export *e = context;
    e->rc = store_export(e->s, e->fd);
    close(e->fd);
    return NULL;
}

struct store_copy store_copy_of(struct store *s)
{
    int ends[2];
    int rc = pipe(ends);
    ASSERT(rc == 0);
    struct export e = {.s = s, .fd = ends[1]};
    pthread_t thread;
    rc = pthread_create(&thread, NULL, run_export, &e);
    ASSERT(rc == 0);
    struct store_copy c = {.bytes = NULL};
    struct membership members;
    store_membership(s, &members);
    for (uint32_t i = 0; i < MEMBERS_MAX && c.node == 0; i++)
        c.node = members.members[i].node;
    ssize_t got;
    do {
        c.bytes = realloc(c.bytes, c.size + PIECE);
        ASSERT(c.bytes != NULL);
        got = read(ends[0], c.bytes + c.size, PIECE);
        ASSERT(got >= 0);
        c.size += (size_t)got;
    } while (got > 0);
    close(ends[0]);
    pthread_join(thread, NULL);
    ASSERT(e.rc == 0);
    return c;
}

void store_copy_free(struct store_copy *c)
{
    free(c->bytes);
    c->bytes = NULL;
}

int store_copy_receive(const struct store_copy *c, struct store *to, struct store_import **out)
{
    struct store_import *i;
    int rc = store_import_begin(to, &i);
    if (rc)
        return rc;
    for (size_t at = 0; rc == 0 && at < c->size; at += PIECE)
        rc = store_import_write(i, c->bytes + at, c->size - at < PIECE ? c->size - at : PIECE);
    if (rc) {
        store_import_abort(i);
        return rc;
    }
    *out = i;
    return store_import_finish(i, c->node);
}

int store_copy_install(const struct store_copy *c, struct store *to)
{
    struct store_import *i;
    int rc = store_copy_receive(c, to, &i);
    return rc ? rc : store_import_install(to, i);
}

void store_fixture_install(struct store_fixture *to, struct store_fixture *from)
{
    struct store_copy c = store_copy_of(from->store);
    int rc = store_copy_install(&c, to->store);
    ASSERT(rc == 0);
    store_copy_free(&c);
    to->slot = store_applied(to->store);
    to->node = from->node;
    to->epoch = from->epoch;
    to->sequence = from->sequence;
}
