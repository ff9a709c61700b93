/* fs/members.h: the membership of consensus/membership.h in the store: one record, in memory while
 * the store is open, written by each command that may change it, and published to other threads by
 * each commit. Store thread; 0 or -errno. */
#ifndef FS_MEMBERS_H
#define FS_MEMBERS_H

#include "fs/record.h"

/* Of the record: it is beside the sessions and the meta record in the same tree. */
bool members_is_key(MDB_val key);

/* From the open batch; without a record: empty. Publishes it. */
int members_load(struct store *s);
/* What @slot changes of itself. */
int members_advance(struct store *s, uint64_t slot);
/* A command may have changed s->membership: put it. */
int members_put(struct store *s);
/* The batch was committed: any thread may now see it. */
void members_publish(struct store *s);
/* The batch was aborted. */
void members_restore(struct store *s);

#endif
