/* tests/support/store_copy.h: a snapshot on its way from one store to another, through a pipe as in
 * the daemon. */
#ifndef SUPPORT_STORE_COPY_H
#define SUPPORT_STORE_COPY_H

#include "tests/support/store_fixture.h"

/* What an export gives; the caller frees @bytes. */
struct store_copy {
    uint8_t *bytes;
    size_t size;
    uint64_t node; /* a member in it, on whose behalf it is received; 0: it has none */
};

struct store_copy store_copy_of(struct store *s);
void store_copy_free(struct store_copy *c);

/* Receive, finish and install @c. The first error, whoever made it. */
int store_copy_install(const struct store_copy *c, struct store *to);
/* Receive and finish; *@out is then to be installed. */
int store_copy_receive(const struct store_copy *c, struct store *to, struct store_import **out);
/* @to, a fixture, becomes as @from is. */
void store_fixture_install(struct store_fixture *to, struct store_fixture *from);

#endif
