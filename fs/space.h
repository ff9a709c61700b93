/* fs/space.h: what the state takes, and whether there is room for more.
 *
 * The replicated state holds a capacity in bytes (FS_SET_CAPACITY; 0: none set) and the space that
 * its records take (struct meta). Space is counted in prices: what a record costs of LMDB's file at
 * worst, so that a host which can hold `capacity` bytes can hold the state, whatever it is full of.
 * The prices are part of how commands apply: the same on every replica, for ever. They were
 * measured; see docs/ARCHITECTURE.md. Not counted is what has a bound of its own or goes by itself:
 * sessions, members, and what says which garbage is to be reaped.
 *
 * A command that would grow the space beyond the capacity is answered ENOSPC and changes nothing.
 * What does not grow it always succeeds, also where the capacity was lowered below what is used. */
#ifndef FS_SPACE_H
#define FS_SPACE_H

#include "fs/meta.h"

enum {
    SPACE_PAGE = 4096,        /* LMDB's, for the prices: also where it is another one */
    SPACE_PAGE_HEAD = 16,     /* of a value that has pages to itself */
    SPACE_IN_PAGE_MAX = 2000, /* a value with its key beyond this has */
    SPACE_INODE = 256,
};

/* A key and its value: with others in a page, which deletions may leave half empty, or alone. */
static inline uint64_t space_of_record(uint64_t key_size, uint64_t value_size)
{
    if (key_size + value_size <= SPACE_IN_PAGE_MAX)
        return 2 * (key_size + value_size + 16);
    uint64_t pages = (value_size + SPACE_PAGE_HEAD + SPACE_PAGE - 1) / SPACE_PAGE;
    return pages * SPACE_PAGE + 2 * (key_size + 24);
}

/* A name has two records: by name, and by cookie. */
static inline uint64_t space_of_name(uint64_t size)
{
    return 3 * (size + 48);
}

/* A chunk of @size bytes; 0: there is none. */
uint64_t space_of_chunk(uint64_t size);

static inline uint64_t space_of_xattr(uint64_t name_size, uint64_t value_size)
{
    return space_of_record(8 + name_size, value_size);
}

static inline void space_add(struct meta *m, uint64_t price)
{
    m->space += price;
}

/* @price was added before. */
void space_subtract(struct meta *m, uint64_t price);

/* 0, or ENOSPC: there is no room for @growth bytes more. */
int space_check(const struct meta *m, uint64_t growth);

#endif
