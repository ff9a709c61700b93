#include "mount-helper/locate.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mount-helper/complain.h"
#include "mount-helper/mountinfo.h"

static int locate_only_mount(char *out)
{
    struct mountinfo mount;
    char source[PATH_MAX] = "";
    for (unsigned i = 0; mountinfo_paxfs(i, &mount) == 0; i++) {
        if (source[0] && strcmp(source, mount.source) != 0) {
            complain("several paxfs directories are mounted here; say which: --state DIR");
            return -EINVAL;
        }
        memcpy(source, mount.source, sizeof(source));
    }
    if (!source[0]) {
        complain("no paxfs is mounted here; say which node: --state DIR");
        return -ENOENT;
    }
    memcpy(out, source, sizeof(source));
    return 0;
}

int locate_state_dir(const char *given, char *out)
{
    struct mountinfo mount;
    if (!given)
        return locate_only_mount(out);
    int rc = mountinfo_resolve(given, out);
    if (rc < 0) {
        complain("state directory %s: %s; check the path, or make one: paxfs init --state %s",
                 given, strerror(-rc), given);
        return rc;
    }
    /* Before any look inside: in a mount without a quorum that look would wait. */
    if (mountinfo_at(out, &mount) == 0 && strcmp(mount.type, PAXFS_MOUNT_TYPE) == 0)
        memcpy(out, mount.source, sizeof(mount.source));
    return 0;
}
