/* tests/support/letters.h: messages between the modules of a test, on a wire of its own: they come
 * in the order they were sent, unless the test does something else with them. One thread. */
#ifndef TESTS_SUPPORT_LETTERS_H
#define TESTS_SUPPORT_LETTERS_H

#include "rpc/codec.h"

struct letter {
    uint64_t from, to; /* node ids */
    struct peer_message message;
};

/* @m is copied, the bytes of a piece of a snapshot with it. */
void letters_post(uint64_t from, uint64_t to, const struct peer_message *m);
/* The next one, for the caller to free; NULL: none. */
struct letter *letters_take(void);
bool letters_are_under_way(void);
/* Free them all. */
void letters_clear(void);

#endif
