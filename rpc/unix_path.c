#include "rpc/unix_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

int unix_path_address(const char *path, struct sockaddr_un *out, int *dir_fd)
{
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    *dir_fd = -1;
    size_t size = strlen(path);
    if (size < sizeof out->sun_path) {
        memcpy(out->sun_path, path, size + 1);
        return 0;
    }
    const char *slash = strrchr(path, '/');
    char dir[PATH_MAX];
    if (!slash || slash == path || (size_t)(slash - path) >= sizeof dir)
        return -ENAMETOOLONG;
    memcpy(dir, path, (size_t)(slash - path));
    dir[slash - path] = '\0';
    *dir_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*dir_fd < 0)
        return -errno;
    int n =
        snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s", *dir_fd, slash + 1);
    return n > 0 && (size_t)n < sizeof out->sun_path ? 0 : -ENAMETOOLONG;
}
