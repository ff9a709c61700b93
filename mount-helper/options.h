/* mount-helper/options.h: the text after `mount -o`. Pure. */
#ifndef MOUNT_HELPER_OPTIONS_H
#define MOUNT_HELPER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mount_options {
    unsigned long flags; /* for mount(2): MS_RDONLY, MS_NOSUID, MS_REMOUNT, ... */
    uint64_t timeo_ns;   /* a call that waits longer fails with EIO; 0: waits for ever */
    bool timeo_given;    /* a remount cannot change it */
};

/**
 * Read a comma-separated list, as mount(8) hands it over. The last of two that contradict wins.
 * May be called again with the same @o: a later list adds to the earlier ones.
 *
 * @sloppy  ignore options that are not known (mount -s)
 * @error   names the option, says why, and what to do
 *
 * Returns 0 or -EINVAL.
 */
int options_parse(const char *text, bool sloppy, struct mount_options *o, char *error,
                  size_t error_size);

#endif
