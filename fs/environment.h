/* fs/environment.h: the LMDB environment of a store, and its directory in the state directory:
 * store.N, where N grows by one with each snapshot that is installed. Store thread, or whoever
 * opens or imports; 0 or -errno. */
#ifndef FS_ENVIRONMENT_H
#define FS_ENVIRONMENT_H

#include <limits.h>

#include "fs/state.h"

/* The directory an environment is made in before `checkpoint` names it. */
#define ENVIRONMENT_UNBORN "store.new"
#define ENVIRONMENT_FIRST  "store.1"

/* STATE/@name, or the file @file in it. */
int environment_path(char path[PATH_MAX], const struct store *s, const char *name,
                     const char *file);
/* N of "store.N"; 0: no such name. */
uint64_t environment_number(const char *name);
/* STATE/@name is there: 1; not there: 0. */
int environment_exists(const struct store *s, const char *name);
/* The greatest N there is a directory of; 0: none. */
int environment_last(const struct store *s, uint64_t *number);
/* Remove STATE/@name, if it is there. */
int environment_remove(const struct store *s, const char *name);
/* Remove all of them but s->name. */
int environment_remove_others(const struct store *s);

/* Open STATE/@name as s->env. */
int environment_open(struct store *s, const char *name);
void environment_close(struct store *s);
/* In the open batch. @flags: 0 or MDB_CREATE. -EBADMSG: one is missing. */
int environment_open_dbs(struct store *s, unsigned flags);
/* What @s keeps in memory of the environment just opened. */
int environment_load(struct store *s);

#endif
