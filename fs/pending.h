/* fs/pending.h: what is proposed, or decided, but not yet applied here, and what of the tree it
 * touches: a local read of that must wait (DESIGN §7 stage 2).
 *
 * Each entry is one slot's command: the inodes it names, and the names (parent, name) it adds or
 * takes away. Which inode is behind a name may depend on the slots between the store and the entry:
 * a reader looks the name up in its own snapshot. That is enough: the first pending entry that
 * touches an inode names it by its number or by a name that the snapshot maps to it, since nothing
 * pending before it moved that name there. An inode that the snapshot does not have may be what any
 * pending entry is about to make. Each name that comes or goes changes its directory, which its
 * entry names by number: so a listing is of the directory's number.
 *
 * Why a checked read is linearizable. Every write that completed before the read began was
 * acknowledged by this host (or applied, or its grant's bound covers it). 1. The entry is in the
 * table before the acknowledgement leaves. 2. It leaves the table only after its slot was committed
 * to the store, which raises `removed`. 3. The reader takes its snapshot, reads, and then checks:
 * if `removed` is above its slot, an entry may have come and gone between snapshot and check, and
 * it takes a new snapshot; else whatever is in the table above its slot and touches what it read
 * makes it wait.
 *
 * Any thread; one lock; nothing blocks under it. */
#ifndef FS_PENDING_H
#define FS_PENDING_H

#include "consensus/command.h"
#include "fs/store.h"

struct pending;

struct pending *pending_new(void); /* NULL: no memory */
void pending_free(struct pending *p);

/* @command is proposed for @slot; replaces what was pending for it. A command that does not decode
 * touches nothing (apply will refuse it); a no-op neither. The ring has SLOTS_HELD_MAX slots: the
 * core holds no more. Loop thread. */
void pending_put(struct pending *p, uint64_t slot, const struct command *command);
/* The store has committed every slot <= @applied, or installed a snapshot of it. */
void pending_applied(struct pending *p, uint64_t applied);

/* What a read looked at. */
struct read_set {
    uint64_t inos[2]; /* attributes, data, xattrs, and all the entries, of these; 0: none */
    uint64_t parent;  /* and the name `name` in this directory; 0: none */
    const char *name;
    size_t name_size;
    const uint64_t *children; /* ... and of these, which the snapshot has: a listing's */
    size_t child_count;
};

enum pending_verdict {
    PENDING_CLEAR,   /* what was read from the snapshot is as new as this moment */
    PENDING_TOUCHED, /* wait: something pending touches it */
    PENDING_RENEW,   /* the snapshot is too old to tell: take a new one */
};

/* After reading, before answering; @r is still open. */
enum pending_verdict pending_check(struct pending *p, struct store_reader *r,
                                   const struct read_set *set);

uint32_t pending_count(struct pending *p);

#endif
