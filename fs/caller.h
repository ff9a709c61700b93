/* fs/caller.h: what the signals of a process that waits in a call are about to do to it. */
#ifndef FS_CALLER_H
#define FS_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

/* True: @thread is being killed, or has a signal pending that will end its process. False also
 * where nobody can tell: it is gone, or of another pid namespace (0). Any thread; does not wait. */
bool caller_is_ending(pid_t thread);

#endif
