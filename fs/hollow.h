/* fs/hollow.h: the place of a state that turned out to be wrong: a store that knows how far it came
 * and who the members are, and nothing else. It gives nothing out; only a snapshot of the same slot
 * or a later one fills it. */
#ifndef FS_HOLLOW_H
#define FS_HOLLOW_H

#include "consensus/membership.h"
#include "fs/store.h"

/* The environment that `checkpoint` names; where that cannot be read, the newest there is; "": none.
 * 0 or -errno. */
int store_environment_name(const char *state_dir, char *name, size_t room);
/* Nothing of @s is given out any more: store_read_begin() fails with -EBADMSG. For ever, but for a
 * snapshot that is installed into a hollow one. Any thread. */
void store_refuse(struct store *s);

/* Set STATE/@bad aside as STATE/@bad.bad (of those there is one at most), if it is still there, and
 * open a hollow store in its place: applied and durable through @slot. @m: the members, or empty.
 * Until a snapshot is installed, the caller must remember durably to open it thus again. 0 or
 * -errno. */
int store_open_hollow(const char *state_dir, const char *bad, uint64_t slot,
                      const struct membership *m, struct store **out);
/* The slot of the last durable checkpoint, as far as that can still be read; 0: not. */
uint64_t store_checkpoint_slot(const char *state_dir);

#endif
