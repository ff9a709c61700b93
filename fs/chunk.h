/* fs/chunk.h: file data in pieces of CHUNK_SIZE. Key: data id, index; value: XXH3_128 of the bytes,
 * the slot that wrote them, then the bytes up to the last one written: what a chunk lacks at its
 * end, a missing chunk, and a stale one (fs/stale.h) are zeroes. No byte at or beyond the end of
 * the file is ever stored but in stale chunks. */
#ifndef FS_CHUNK_H
#define FS_CHUNK_H

#include <lmdb.h>

#include "base/limits.h"
#include "fs/state.h"

/* By measurement; see docs/ARCHITECTURE.md. */
#ifndef CHUNK_SIZE
#define CHUNK_SIZE (UINT64_C(32) * 1024)
#endif

/* The head is what the digest takes of a chunk. */
enum { CHUNK_HASH_SIZE = 16, CHUNK_HEAD_SIZE = CHUNK_HASH_SIZE + 8, CHUNK_KEY_SIZE = 16 };

/* No file has one with a greater index. */
#define CHUNK_INDEX_MAX ((uint64_t)INT64_MAX / CHUNK_SIZE)

/* From a reader's snapshot or the batch: the stored bytes, which were compared with their hash
 * (some 3 us for a whole chunk); *@size is 0 for a hole. 0, -EBADMSG, -errno. */
int chunk_read(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t index,
               const uint8_t **bytes, size_t *size);
/* Only how many they are. */
int chunk_size(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t index, size_t *size);
/* The first chunk with an index >= @index that is stored. 0, -ENOENT, -errno. */
int chunk_next(const struct store *s, MDB_txn *txn, uint64_t data, uint64_t *index, size_t *size);

/* Changes, in the batch. *@blocks is the owner's st_blocks; the usage is kept with it. 0 or -errno.
 */

/* Bytes @offset.. of the file become @bytes, or zeroes if that is NULL (stored, not a hole). */
int chunk_write(struct store *s, uint64_t data, uint64_t offset, const void *bytes, uint64_t size,
                uint64_t *blocks);
/* By how much chunk_write() would grow the space (fs/space.h). */
int chunk_growth(struct store *s, uint64_t data, uint64_t offset, uint64_t size, uint64_t *growth);
struct chunk_range {
    uint64_t first, last; /* empty where first > last */
};
/* The bytes from @offset to @end become zeroes; whole chunks become holes. Where that is more than
 * the slot may delete, @left is what the caller must make stale. */
int chunk_punch(struct store *s, uint64_t data, uint64_t offset, uint64_t end,
                struct chunk_range *left, uint64_t *blocks);
/* Remove from @range the chunks that were written before @slot, as many as the slot may still
 * delete or look at; @range becomes what was not looked at. */
int chunk_remove(struct store *s, uint64_t data, struct chunk_range *range, uint64_t slot,
                 uint64_t *blocks);

/* The value's bytes have the hash it begins with. */
bool chunk_is_sound(MDB_val value);

struct chunk_scratch *chunk_scratch_new(void);
void chunk_scratch_free(struct chunk_scratch *scratch);
/* A batch begins. */
void chunk_scratch_begin(struct chunk_scratch *scratch);
/* Learn from the open batch what is stored. 0 or -errno. */
int chunk_scratch_load(struct store *s);

#endif
