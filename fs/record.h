/* fs/record.h: the only place where replicated records change, so that the digest changes with
 * them.
 *
 * Each ends with a check, 8 bytes: half of its term, which is there anyway (fs/digest.h). It is
 * added and compared here and nowhere else; no value that is given or got has it. LMDB itself keeps
 * none: a page is whatever the disk gave.
 *
 * 0 or -errno; -EIO: the store contradicts itself (a record thought absent is there, or the
 * reverse); -EBADMSG: a record is not what was written, and is noted as damaged. Values that are
 * got are views: of the map, or of the open batch until its next change.
 */
#ifndef FS_RECORD_H
#define FS_RECORD_H

#include "fs/digest.h"

static inline MDB_val record_val(const void *bytes, size_t size)
{
    return (MDB_val){.mv_size = size, .mv_data = (void *)(uintptr_t)bytes};
}

/* Big-endian, so that keys sort as their numbers do. */
static inline void record_key_u64(uint8_t bytes[8], uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        bytes[i] = (uint8_t)value;
}

static inline uint64_t record_key_read_u64(const void *bytes)
{
    const uint8_t *b = bytes;
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | b[i];
    return value;
}

/* 0, -ENOENT, -errno. @txn: the batch's, or a reader's. */
int record_get(const struct store *s, MDB_txn *txn, enum db db, MDB_val key, MDB_val *value);
/* As mdb_cursor_get(). 0, -ENOENT, -errno. */
int record_cursor_get(const struct store *s, MDB_cursor *cursor, enum db db, MDB_val *key,
                      MDB_val *value, MDB_cursor_op op);
/* The greatest key, in the batch. 0, -ENOENT, -errno. */
int record_last_key(const struct store *s, enum db db, MDB_val *key);
/* A record that is not there yet. */
int record_insert(struct store *s, enum db db, MDB_val key, MDB_val value);
/* A record that may be there. */
int record_put(struct store *s, enum db db, MDB_val key, MDB_val value);
/* A record whose stored term the caller remembers (@was_stored says whether there is one); @stored
 * becomes the new one's. @is_last: the key is beyond all others in the database. */
int record_replace(struct store *s, enum db db, MDB_val key, MDB_val value, bool is_last,
                   struct term *stored, bool was_stored);
/* Remove a record that is there, and is @value. */
int record_remove(struct store *s, enum db db, MDB_val key, MDB_val value);
/* Remove what @cursor (in the batch) stands on. */
int record_remove_at(struct store *s, enum db db, MDB_cursor *cursor, MDB_val key, MDB_val value);
/* Room for a chunk value of @size bytes in place of the one with term @old (NULL: none): the caller
 * fills it, then calls record_reserved(). */
int record_reserve(struct store *s, enum db db, MDB_val key, size_t size, bool is_last,
                   const struct term *old, void **room);
void record_reserved(struct store *s, enum db db, MDB_val key, MDB_val value);
/* The one record that holds the digest's sum, and so is not in it. */
int record_put_unsummed(struct store *s, enum db db, MDB_val key, MDB_val value);

#endif
