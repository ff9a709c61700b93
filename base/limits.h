/* base/limits.h: every bound of paxfs that more than one module relies on, with its unit.
 *
 * A bound that only one file needs lives in that file. The arithmetic between bounds is asserted
 * where it is relied on. */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <stdint.h>

#define KIB       (UINT64_C(1) << 10)
#define MIB       (UINT64_C(1) << 20)
#define GIB       (UINT64_C(1) << 30)
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

enum {
    /* cluster */
    MEMBERS_MAX = 16,     /* hosts in one configuration; a member mask is a uint32_t */
    MEMBER_NAME_MAX = 31, /* bytes, without the NUL */
    ADDRESS_MAX = 63,     /* bytes of "1.2.3.4:7600" or "[::1]:7600", without the NUL */

/* consensus; tests/exhaust sets smaller ones, which make its states small */
#ifndef WINDOW
    WINDOW = 256, /* slots a leader may have proposed and not yet applied (PMMC R5) */
#endif
#ifndef SLOTS_HELD_MAX
    SLOTS_HELD_MAX = 1024, /* slots above the applied one that a node keeps in memory */
#endif
#ifndef ENTRIES_MAX
    ENTRIES_MAX = 64, /* pvalues in one message */
#endif
#ifndef SUBMITS_MAX
    SUBMITS_MAX = 512, /* own commands a node's replica keeps until it sees them decided */
#endif

    /* clients */
    SESSIONS_MAX = 64,      /* client sessions the replicated state remembers */
#ifndef SESSION_OPEN_MAX
    SESSION_OPEN_MAX = 256, /* commands of one session above its low mark */
#endif
    OUTCOME_SIZE_MAX = 224, /* bytes of one encoded outcome */

    /* filesystem */
    FILE_NAME_MAX = 255,
    SYMLINK_MAX = 4095,
    XATTR_NAME_SIZE_MAX = 255,
    XATTR_VALUE_SIZE_MAX = 65536,
    WRITE_SIZE_MAX = 1 << 20,            /* bytes of one FUSE WRITE, hence of one slot's data */
    COMMAND_SIZE_MAX = (1 << 20) + 8192, /* bytes of one encoded command */
};

/* A host's log beyond these is dropped, whoever lags: who needs more of it installs a snapshot. */
#define LOG_BYTES_MAX GIB
#define LOG_SLOTS_MAX UINT64_C(262144)

#define WINDOW_BYTES   (32 * MIB) /* command bytes a leader may have in flight */
#define HELD_BYTES_MAX (80 * MIB) /* command bytes a node keeps in memory; more is not accepted */
#define CLIENT_BYTES_MAX (256 * MIB) /* of a node's own changes that have not ended */
#define MESSAGE_BYTES  (4 * MIB)  /* command bytes after which a message takes no more entries */
#define FRAME_SIZE_MAX (8 * MIB)  /* bytes of one frame; a longer one ends the connection */

#define ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

#endif
