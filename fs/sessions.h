/* fs/sessions.h: the session table of consensus/session.h in the store: in memory while the store
 * is open, those that changed written once a batch. Store thread; 0 or -errno. */
#ifndef FS_SESSIONS_H
#define FS_SESSIONS_H

#include "fs/state.h"

enum { SESSION_KEY_SIZE = 8 }; /* unlike the other records' in the same tree: meta, members */

/* Fill the table from the open batch, whatever it held before. */
int sessions_load(struct store *s);
int sessions_flush(struct store *s);
/* The table is full: let go of a session that has ended, of a node that is no member any more, if
 * there is one. In the open batch. */
int sessions_make_room(struct store *s);

/* From a reader's snapshot or the batch, into an empty table: all, or @node's if it has one. */
int sessions_read(const struct store *s, MDB_txn *txn, struct session_table *table);
int sessions_read_one(const struct store *s, MDB_txn *txn, uint64_t node,
                      struct session_table *table);

#endif
