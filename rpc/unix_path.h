/* rpc/unix_path.h: unix socket addresses for paths of any length. Internal to admin. */
#ifndef RPC_UNIX_PATH_H
#define RPC_UNIX_PATH_H

#include <sys/un.h>

/* sun_path holds 107 bytes, a state directory may be longer: then the address goes through a
 * descriptor of the directory, which is opened and must stay so until bind or connect returned.
 * Returns 0 with *@dir_fd -1 or the descriptor to close; -errno. */
int unix_path_address(const char *path, struct sockaddr_un *out, int *dir_fd);

#endif
