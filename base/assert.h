/* base/assert.h: ASSERT for what cannot happen. It stays on in release builds: Paxos survives a
 * node that stops, not one that lies. Never for bytes from outside (refuse those). */
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include <assert.h> /* static_assert */

_Noreturn void assert_failed(const char *expression, const char *file, int line);

#define ASSERT(expression)                                                                         \
    do {                                                                                           \
        if (__builtin_expect(!(expression), 0))                                                    \
            assert_failed(#expression, __FILE__, __LINE__);                                        \
    } while (0)

#endif
