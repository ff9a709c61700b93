/* mount-helper/asking.h: ask the daemon of a state directory, and tell a person what went wrong. */
#ifndef MOUNT_HELPER_ASKING_H
#define MOUNT_HELPER_ASKING_H

#include "rpc/admin.h"

/* Complains by itself: no daemon, no answer, or the daemon's refusal. 0: free @response with
 * admin_response_deinit(); else -errno. @params: packed map or NULL. */
int asking_call(const char *state_dir, const char *method, const struct buffer *params,
                int timeout_ms, struct admin_response *response);
/* ... with a descriptor that goes along. */
int asking_call_with(const char *state_dir, const char *method, const struct buffer *params, int fd,
                     int timeout_ms, struct admin_response *response);

#endif
