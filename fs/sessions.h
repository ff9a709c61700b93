/* fs/sessions.h: the session table of consensus/session.h in the store: in memory while the store
 * is open, those that changed written once a batch. Store thread; 0 or -errno. */
#ifndef FS_SESSIONS_H
#define FS_SESSIONS_H

#include "fs/state.h"

enum { SESSION_KEY_SIZE = 8 }; /* unlike the key of the meta record, which is in the same tree */

/* Fill the table from the open batch, whatever it held before. */
int sessions_load(struct store *s);
int sessions_flush(struct store *s);

#endif
