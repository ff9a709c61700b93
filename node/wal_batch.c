#include "node/wal_batch.h"

#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "base/assert.h"
#include "base/limits.h"
#include "node/wal_io.h"

#define MAGIC UINT32_C(0x4c585850) /* "PXXL" */

enum { KIND_ACCEPT = 1, KIND_DECISION = 2 };

uint64_t batch_blocks_size(uint64_t size)
{
    return (BATCH_HEADER_SIZE + size + WAL_BLOCK_SIZE - 1) / WAL_BLOCK_SIZE * WAL_BLOCK_SIZE;
}

void batch_write_record(struct writer *w, const struct persist *record)
{
    const struct pvalue *p = &record->pvalue;
    const struct command *c = p->command;
    write_u8(w, record->kind == PERSIST_ACCEPT ? KIND_ACCEPT : KIND_DECISION);
    write_u64(w, p->ballot.round);
    write_u64(w, p->ballot.leader);
    write_u64(w, p->slot);
    write_u64(w, p->time_ns);
    write_u64(w, c->node);
    write_u64(w, c->epoch);
    write_u64(w, c->sequence);
    write_u64(w, c->low);
    write_u32(w, c->size);
    write_bytes(w, c->bytes, c->size);
}

static uint64_t checksum(const uint8_t *bytes, uint64_t size, uint64_t salt)
{
    return XXH3_64bits_withSeed(bytes + sizeof(uint64_t), size - sizeof(uint64_t), salt);
}

uint64_t batch_seal(uint8_t *bytes, const struct batch_header *header, uint64_t salt)
{
    uint64_t used = BATCH_HEADER_SIZE + header->size;
    uint64_t size = batch_blocks_size(header->size);
    memset(bytes + used, 0, size - used);

    struct writer w = writer_of(bytes, BATCH_HEADER_SIZE);
    write_u64(&w, 0);
    write_u32(&w, MAGIC);
    write_u32(&w, header->record_count);
    write_u64(&w, header->use);
    write_u64(&w, header->number);
    write_u64(&w, header->state.promised.round);
    write_u64(&w, header->state.promised.leader);
    write_u64(&w, header->state.decided_through);
    write_u64(&w, header->state.collected);
    write_u64(&w, header->state.use_first);
    write_u64(&w, header->size);
    ASSERT(!w.failed);
    ASSERT(w.size == BATCH_HEADER_SIZE);

    w = writer_of(bytes, sizeof(uint64_t));
    write_u64(&w, checksum(bytes, size, salt));
    return size;
}

bool batch_peek(const uint8_t *block, struct batch_header *header)
{
    struct cursor c = cursor_of(block, BATCH_HEADER_SIZE);
    cursor_u64(&c);
    bool is_header = cursor_u32(&c) == MAGIC;
    header->record_count = cursor_u32(&c);
    header->use = cursor_u64(&c);
    header->number = cursor_u64(&c);
    header->state.promised.round = cursor_u64(&c);
    header->state.promised.leader = cursor_u64(&c);
    header->state.decided_through = cursor_u64(&c);
    header->state.collected = cursor_u64(&c);
    header->state.use_first = cursor_u64(&c);
    uint64_t size = cursor_u64(&c);
    header->size = (uint32_t)size;
    ASSERT(cursor_done(&c));
    return is_header && size <= UINT32_MAX;
}

bool batch_is_whole(const uint8_t *bytes, uint64_t size, uint64_t salt)
{
    struct cursor c = cursor_of(bytes, sizeof(uint64_t));
    return cursor_u64(&c) == checksum(bytes, size, salt);
}

int batch_next_record(struct cursor *c, struct batch_record *record)
{
    if (cursor_done(c))
        return 0;
    uint8_t kind = cursor_u8(c);
    record->kind = kind == KIND_ACCEPT ? PERSIST_ACCEPT : PERSIST_DECISION;
    record->ballot.round = cursor_u64(c);
    record->ballot.leader = cursor_u64(c);
    record->slot = cursor_u64(c);
    record->time_ns = cursor_u64(c);
    record->node = cursor_u64(c);
    record->epoch = cursor_u64(c);
    record->sequence = cursor_u64(c);
    record->low = cursor_u64(c);
    record->size = cursor_u32(c);
    record->bytes = cursor_bytes(c, record->size);
    if (c->failed || (kind != KIND_ACCEPT && kind != KIND_DECISION) || record->slot == 0 ||
        record->size > COMMAND_SIZE_MAX)
        return -EBADMSG;
    return 1;
}
