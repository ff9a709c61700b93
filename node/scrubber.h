/* node/scrubber.h: a thread that checks all that is stored, slowly, again and again. */
#ifndef NODE_SCRUBBER_H
#define NODE_SCRUBBER_H

#include "fs/scrub.h"

#define SCRUB_STEP_NS    (100 * NS_PER_MS)
#define SCRUB_STEP_BYTES MIB              /* 10 MiB/s at most */
#define SCRUB_PAUSE_NS   (600 * NS_PER_S) /* between two passes */

struct scrubber;

/* NULL: no memory, or no thread. */
struct scrubber *scrubber_start(struct store *store);
/* How far it is. @s stays NULL where there is none. */
void scrubber_view(struct scrubber *s, struct scrub *view);
void scrubber_stop(struct scrubber *s);

#endif
