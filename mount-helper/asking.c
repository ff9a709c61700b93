#include "mount-helper/asking.h"

#include <errno.h>
#include <string.h>

#include "mount-helper/complain.h"

int asking_call(const char *state_dir, const char *method, const struct buffer *params,
                int timeout_ms, struct admin_response *response)
{
    return asking_call_with(state_dir, method, params, -1, timeout_ms, response);
}

int asking_call_with(const char *state_dir, const char *method, const struct buffer *params, int fd,
                     int timeout_ms, struct admin_response *response)
{
    int rc = admin_call(state_dir, method, params, fd, timeout_ms, response);
    if (rc == -ENOENT || rc == -ECONNREFUSED || rc == -ENOTDIR) {
        complain("%s: no daemon runs on %s; start it: paxfs mount %s MNT", method, state_dir,
                 state_dir);
        return rc;
    }
    if (rc < 0) {
        complain("%s: the daemon of %s did not answer: %s; see its log", method, state_dir,
                 strerror(-rc));
        return rc;
    }
    if (response->error[0]) {
        complain("%s", response->error); /* it says what was asked */
        admin_response_deinit(response);
        return -EIO;
    }
    return 0;
}
