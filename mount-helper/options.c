#include "mount-helper/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "base/limits.h"

#define TIMEO_S_MAX UINT64_C(31536000) /* a year: more is a slip of the keyboard */

struct flag_option {
    const char *name;
    unsigned long set, clear;
};

static const struct flag_option flag_options[] = {
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"nosuid", MS_NOSUID, 0},
    {"suid", 0, MS_NOSUID},
    {"nodev", MS_NODEV, 0},
    {"dev", 0, MS_NODEV},
    {"noexec", MS_NOEXEC, 0},
    {"exec", 0, MS_NOEXEC},
    {"sync", MS_SYNCHRONOUS, 0},
    {"async", 0, MS_SYNCHRONOUS},
    {"dirsync", MS_DIRSYNC, 0},
    {"noatime", MS_NOATIME, MS_RELATIME | MS_STRICTATIME},
    {"atime", 0, MS_NOATIME},
    {"relatime", MS_RELATIME, MS_NOATIME | MS_STRICTATIME},
    {"norelatime", 0, MS_RELATIME},
    {"strictatime", MS_STRICTATIME, MS_NOATIME | MS_RELATIME},
    {"nostrictatime", 0, MS_STRICTATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"lazytime", MS_LAZYTIME, 0},
    {"nolazytime", 0, MS_LAZYTIME},
    {"silent", MS_SILENT, 0},
    {"loud", 0, MS_SILENT},
    {"remount", MS_REMOUNT, 0},
    /* fstab's words for mount(8) and systemd, and what always holds on a paxfs mount. */
    {"defaults", 0, 0},
    {"_netdev", 0, 0},
    {"nofail", 0, 0},
    {"auto", 0, 0},
    {"noauto", 0, 0},
    {"user", 0, 0},
    {"users", 0, 0},
    {"nouser", 0, 0},
    {"owner", 0, 0},
    {"group", 0, 0},
    {"allow_other", 0, 0},
    {"default_permissions", 0, 0},
};

/* The ids are what the kernel shows of a mount, and mount(8) hands back on a remount. */
static const char *const ignored_prefixes[] = {
    "x-", "X-", "user=", "comment=", "user_id=0", "group_id=0"};

static bool text_is(const char *text, size_t size, const char *word)
{
    return strlen(word) == size && memcmp(text, word, size) == 0;
}

static bool text_starts_with(const char *text, size_t size, const char *prefix)
{
    size_t prefix_size = strlen(prefix);
    return size >= prefix_size && memcmp(text, prefix, prefix_size) == 0;
}

/* Seconds, with up to nine decimals, in nanoseconds. No strtod: it takes "inf", "0x" and a comma.
 */
static int parse_seconds(const char *text, size_t size, uint64_t *ns)
{
    uint64_t seconds = 0, fraction = 0, unit = NS_PER_S;
    size_t i = 0;
    for (; i < size && isdigit((unsigned char)text[i]); i++) {
        seconds = seconds * 10 + (uint64_t)(text[i] - '0');
        if (seconds > TIMEO_S_MAX)
            return -EINVAL;
    }
    if (i == 0)
        return -EINVAL;
    if (i < size && text[i] == '.') {
        for (i++; i < size && isdigit((unsigned char)text[i]) && unit > 1; i++) {
            unit /= 10;
            fraction += (uint64_t)(text[i] - '0') * unit;
        }
    }
    if (i != size)
        return -EINVAL;
    *ns = seconds * NS_PER_S + fraction;
    return 0;
}

static bool apply_flag_option(const char *text, size_t size, struct mount_options *o)
{
    for (size_t i = 0; i < ARRAY_COUNT(flag_options); i++) {
        if (text_is(text, size, flag_options[i].name)) {
            o->flags &= ~flag_options[i].clear;
            o->flags |= flag_options[i].set;
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_COUNT(ignored_prefixes); i++) {
        if (text_starts_with(text, size, ignored_prefixes[i]))
            return true;
    }
    return false;
}

static int parse_one(const char *text, size_t size, bool sloppy, struct mount_options *o,
                     char *error, size_t error_size)
{
    static const char timeo[] = "timeo=";
    const size_t timeo_size = sizeof(timeo) - 1;

    if (size == 0 || apply_flag_option(text, size, o))
        return 0;
    if (text_starts_with(text, size, timeo)) {
        o->timeo_given = true;
        if (parse_seconds(text + timeo_size, size - timeo_size, &o->timeo_ns) == 0)
            return 0;
        snprintf(error, error_size,
                 "mount option '%.*s': not a number of seconds; write timeo=30, or timeo=0 to wait "
                 "for ever",
                 (int)size, text);
        return -EINVAL;
    }
    if (sloppy)
        return 0;
    snprintf(error, error_size,
             "mount option '%.*s' is not known; paxfs has ro, timeo=SECONDS, allow_other and the "
             "generic ones of mount(8)",
             (int)size, text);
    return -EINVAL;
}

int options_parse(const char *text, bool sloppy, struct mount_options *o, char *error,
                  size_t error_size)
{
    while (*text) {
        size_t size = strcspn(text, ",");
        int rc = parse_one(text, size, sloppy, o, error, error_size);
        if (rc < 0)
            return rc;
        text += size;
        if (*text == ',')
            text++;
    }
    return 0;
}
