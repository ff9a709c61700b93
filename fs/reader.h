/* fs/reader.h: a reader from the inside: one read transaction, used again and again.
 *
 * Between begin and end it holds the store's `swap` lock with the other readers: so the environment
 * stays. One that takes its place ends the transactions of all readers, and each begins a new one
 * when it is next used. */
#ifndef FS_READER_H
#define FS_READER_H

#include "fs/state.h"
#include "fs/store.h"

struct store_reader {
    struct store *s;
    MDB_txn *txn; /* reset between end and begin; NULL: to be made */
    bool is_open;
    struct store_reader *prev, *next; /* of s->readers */
};

/* The environment is about to go; `swap` is held alone, and `lock`. */
void reader_detach_all(struct store *s);

#endif
