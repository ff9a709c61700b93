#include "fs/space.h"

#include <errno.h>
#include <stdbool.h>

#include "base/assert.h"
#include "fs/chunk.h"

uint64_t space_of_chunk(uint64_t size)
{
    return size ? space_of_record(CHUNK_KEY_SIZE, CHUNK_HEAD_SIZE + size) : 0;
}

void space_subtract(struct meta *m, uint64_t price)
{
    ASSERT(m->space >= price);
    m->space -= price;
}

int space_check(const struct meta *m, uint64_t growth)
{
    if (growth == 0 || m->capacity == 0)
        return 0;
    bool is_full = m->space >= m->capacity;
    return is_full || growth > m->capacity - m->space ? ENOSPC : 0;
}
