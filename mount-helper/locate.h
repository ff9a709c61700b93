/* mount-helper/locate.h: which state directory a person means. */
#ifndef MOUNT_HELPER_LOCATE_H
#define MOUNT_HELPER_LOCATE_H

/**
 * @given  a state directory, a paxfs mount point, or NULL: the one paxfs mount of this host
 * @out    PATH_MAX bytes: the state directory, absolute
 *
 * Returns 0 or -errno, after complaining.
 */
int locate_state_dir(const char *given, char *out);

#endif
