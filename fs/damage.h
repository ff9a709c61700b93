/* fs/damage.h: what was found not to be as it was written. Any thread.
 *
 * Every record ends with a check over its key and value, and file data has a hash (fs/record.h,
 * fs/chunk.h). What fails one is never given out: it is noted here, and -EBADMSG. */
#ifndef FS_DAMAGE_H
#define FS_DAMAGE_H

#include "fs/state.h"
#include "fs/store.h"

/* In words, for a person: where the first was found. */
enum { DAMAGE_TEXT_SIZE = 160 };

struct store_damage {
    uint64_t count; /* how often something was; the same may come again */
    char first[DAMAGE_TEXT_SIZE];
};

struct damage; /* of one store */

struct damage *damage_new(void);
void damage_free(struct damage *d);
/* The record of @key, or what leads to it, is damaged. Returns -EBADMSG. */
int damage_note(const struct store *s, enum db db, MDB_val key);
/* Another state is in the place of the damaged one. */
void damage_forget(struct store *s);
/* As damage_note(), where what is wrong is @text. */
void damage_note_text(const struct store *s, const char *text);

/* What was found so far; cheap while that is nothing. */
bool store_damage(const struct store *s, struct store_damage *damage);

#endif
