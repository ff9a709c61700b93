/* fs/frontend_ops.h: the FUSE operations: reads (frontend_read.c) and changes (frontend_change.c).
 */
#ifndef FS_FRONTEND_OPS_H
#define FS_FRONTEND_OPS_H

#include "fs/frontend_internal.h"

void frontend_read_ops(struct fuse_lowlevel_ops *ops);
void frontend_change_ops(struct fuse_lowlevel_ops *ops);

#endif
