/* node/fsck.h: checks the log of a stopped host, and changes no byte of it. */
#ifndef NODE_FSCK_H
#define NODE_FSCK_H

#include <stddef.h>

/* 0; -EBADMSG or another -errno, with @error. */
int node_fsck_log(const char *state_dir, char *error, size_t error_size);

#endif
