/* tests/support/store_fixture.h: a store in a directory of its own, fed with commands as if they
 * had been decided. Whatever fails outside of what a test looks at is an assertion. */
#ifndef SUPPORT_STORE_FIXTURE_H
#define SUPPORT_STORE_FIXTURE_H

#include "fs/store.h"

enum { FIXTURE_CHANGES_MAX = 64 };

struct store_fixture {
    char dir[64];
    struct store *store;
    struct store_reader *reader; /* between batches it shows the last commit */
    uint64_t slot;               /* the last one applied */
    uint64_t node, epoch, sequence;
    bool in_batch; /* between store_fixture_begin and _commit */
    uint64_t
        deletions_max; /* of one slot, where it is less than SLOT_DELETIONS_MAX; 0: it is not */
    /* what the last command told */
    struct fs_change changes[FIXTURE_CHANGES_MAX];
    char names[FIXTURE_CHANGES_MAX][FILE_NAME_MAX + 1];
    uint32_t change_count;
};

/* A new store in a new directory; node 1 has opened a session in slot 1. */
void store_fixture_init(struct store_fixture *f);
/* ... that began with these members, nodes 1..@count. */
void store_fixture_init_cluster(struct store_fixture *f, uint32_t count);
/* One at slot 0: without a session, and members. */
void store_fixture_init_blank(struct store_fixture *f);
/* At slot 0: let it begin with these members. */
void store_fixture_begin_members(struct store_fixture *f, uint32_t count);
void store_fixture_deinit(struct store_fixture *f);
/* Close and open again: back at the last checkpoint. */
void store_fixture_reopen(struct store_fixture *f);
void store_fixture_checkpoint(struct store_fixture *f);

void store_fixture_begin(struct store_fixture *f);
void store_fixture_commit(struct store_fixture *f);

/* From now on one slot deletes so few records. */
void store_fixture_limit(struct store_fixture *f, uint64_t deletions_max);
/* Whether garbage waits, also within a batch. */
bool store_fixture_has_garbage(const struct store_fixture *f);
/* The inode is stored, also within a batch. */
bool store_fixture_exists(struct store_fixture *f, uint64_t ino);

/* The time of a slot: grows with it. */
uint64_t store_fixture_time(uint64_t slot);

/* Open (again) the session of @node for its @life, and be that node from now on. */
void store_fixture_session(struct store_fixture *f, uint64_t node, uint64_t life);
/* ... anew, by a client that knows its epoch @ended to have ended. */
void store_fixture_session_after(struct store_fixture *f, uint64_t node, uint64_t life,
                                 uint64_t ended);
/* The next command of this session in the next slot; a batch of its own unless one is open. */
struct fs_outcome store_fixture_apply(struct store_fixture *f, const struct fs_command *c);
/* Any bytes under any session. */
struct store_applied store_fixture_apply_bytes(struct store_fixture *f,
                                               const struct command *command);

struct fs_attr store_fixture_attr(struct store_fixture *f, uint64_t ino);
/* The inode at an absolute path; 0 when there is none. */
uint64_t store_fixture_find(struct store_fixture *f, const char *path);
/* All of a file, at most @room bytes; returns its size. */
uint64_t store_fixture_read(struct store_fixture *f, uint64_t ino, void *bytes, uint64_t room);
struct store_digest store_fixture_digest(struct store_fixture *f);
struct store_digest store_fixture_digest_recompute(struct store_fixture *f);

/* Remove a directory and what is in it, two levels deep. */
void remove_tree(const char *dir);

#endif
