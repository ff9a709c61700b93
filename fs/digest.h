/* fs/digest.h: 128 bits that are equal on two replicas if their state is.
 *
 * Each record has a term, XXH3_128 over (database, key, value); the digest is the sum of all terms,
 * each half modulo 2^64, so a change costs its own record and no other. A chunk's term covers the
 * XXH3_128 its value begins with and the size instead of the data: what is overwritten need not be
 * read. */
#ifndef FS_DIGEST_H
#define FS_DIGEST_H

#include <lmdb.h>
#include <stdbool.h>

#include "fs/state.h"

struct term {
    uint64_t half[2];
};

struct term digest_term(enum db db, MDB_val key, MDB_val value);
/* The digest of a state: the sum, and the numbers of fs/meta.h. */
void digest_fold(const struct meta *m, uint64_t digest[2]);
/* Sum the terms of every record anew; checks chunks against their own hash. 0; -EBADMSG: a damaged
 * chunk; -errno. */
int digest_sum(const struct store *s, MDB_txn *txn, uint64_t sum[2]);

static inline void digest_add(uint64_t sum[2], struct term t)
{
    sum[0] += t.half[0];
    sum[1] += t.half[1];
}

static inline void digest_subtract(uint64_t sum[2], struct term t)
{
    sum[0] -= t.half[0];
    sum[1] -= t.half[1];
}

#endif
