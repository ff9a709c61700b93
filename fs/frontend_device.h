/* fs/frontend_device.h: /dev/fuse and the mount as the kernel sees them. */
#ifndef FS_FRONTEND_DEVICE_H
#define FS_FRONTEND_DEVICE_H

#include <pthread.h>
#include <stdbool.h>

#include "fs/frontend_internal.h"

/* The INIT answer gets the flags libfuse leaves out. */
extern const struct fuse_custom_io device_io;

/* The minor number of the mount's device, without asking the filesystem itself. 0 or -errno. */
int device_minor(const char *mountpoint, uint32_t *minor);
/* Let the kernel read ahead as far as INIT allowed. After INIT; needs root, else it stays as it is.
 */
void device_raise_readahead(uint32_t minor);
/* End every call that the kernel still has, and every read of the device. */
void device_abort(uint32_t minor);
/* False: the kernel has ended the session: no mount and no call is left of it. Does not block. */
bool device_is_connected(int fd);
/* Detach the mount if it still is at @mountpoint. */
void device_detach(const char *mountpoint, uint32_t minor);
/* Let @fd refer to nothing, while others may still use the number. */
void device_blind(int fd);

/* A thread that waits in a read of the device can be woken: it prepares, another one wakes it. A
 * wake-up that comes just before the read is lost: repeat it until the thread has ended. (Not
 * pthread_cancel, whose unwinding the address sanitizer does not survive.) */
void device_wake_prepare(void);
void device_wake(pthread_t reader);

#endif
