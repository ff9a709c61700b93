#include "fs/inode_refs.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/assert.h"

/* uthash would exit() where memory ends; this way it leaves the entry out and says so. */
#define HASH_NONFATAL_OOM              1
#define uthash_nonfatal_oom(entry)     ((entry)->unlisted = true)
#define HASH_FUNCTION(key, size, hash) ((hash) = hash_ino((key), (size)))
#include <uthash.h>
#include <utlist.h>

#define SHARD_COUNT 64 /* more than threads that ever ask at once */

struct inode_ref {
    UT_hash_handle hh;
    struct inode_ref *prev, *next; /* among the released */
    uint64_t ino;
    uint64_t count;    /* the kernel's */
    uint64_t released; /* gather number at which the orphan was last seen not held */
    bool orphan;
    bool unlisted; /* the hash table had no memory for it */
};

struct shard {
    pthread_mutex_t lock;
    struct inode_ref *table;
    struct inode_ref *released; /* orphans with count 0, longest ago first */
    uint64_t mount;             /* whose counts these are; 0: none */
} __attribute__((aligned(64)));

struct inode_refs {
    struct shard shards[SHARD_COUNT];
    _Atomic uint64_t held;
    _Atomic uint64_t gathers;
    _Atomic uint64_t mounts;
};

static uint64_t mix(uint64_t ino)
{
    return ino * UINT64_C(0x9e3779b97f4a7c15); /* Fibonacci hashing: numbers come in a row */
}

static unsigned hash_ino(const void *key, size_t size)
{
    uint64_t ino;
    ASSERT(size == sizeof(ino));
    __builtin_memcpy(&ino, key, sizeof(ino));
    return (unsigned)(mix(ino) >> 32);
}

static struct shard *shard_of(struct inode_refs *refs, uint64_t ino)
{
    return &refs->shards[mix(ino) >> 58];
}
static_assert(SHARD_COUNT == UINT64_C(1) << (64 - 58), "shard_of uses the top bits");

struct inode_refs *inode_refs_new(void)
{
    struct inode_refs *refs = aligned_alloc(_Alignof(struct inode_refs), sizeof(*refs));
    if (!refs)
        return NULL;
    atomic_init(&refs->held, 0);
    atomic_init(&refs->gathers, 0);
    atomic_init(&refs->mounts, 0);
    for (size_t i = 0; i < SHARD_COUNT; i++) {
        struct shard *s = &refs->shards[i];
        pthread_mutex_init(&s->lock, NULL);
        s->table = NULL;
        s->released = NULL;
        s->mount = 0;
    }
    return refs;
}

void inode_refs_free(struct inode_refs *refs)
{
    for (size_t i = 0; i < SHARD_COUNT; i++) {
        struct shard *s = &refs->shards[i];
        struct inode_ref *ref, *after;
        HASH_ITER(hh, s->table, ref, after)
        {
            HASH_DEL(s->table, ref);
            free(ref);
        }
        pthread_mutex_destroy(&s->lock);
    }
    free(refs);
}

static struct inode_ref *find(struct shard *s, uint64_t ino)
{
    struct inode_ref *ref;
    HASH_FIND(hh, s->table, &ino, sizeof(ino), ref);
    return ref;
}

static struct inode_ref *find_or_add(struct shard *s, uint64_t ino)
{
    struct inode_ref *ref = find(s, ino);
    if (ref)
        return ref;
    ref = calloc(1, sizeof(*ref));
    if (!ref)
        return NULL;
    ref->ino = ino;
    HASH_ADD(hh, s->table, ino, sizeof(ref->ino), ref);
    if (!ref->unlisted)
        return ref;
    free(ref);
    return NULL;
}

static void release(struct inode_refs *refs, struct shard *s, struct inode_ref *ref)
{
    ref->released = atomic_load(&refs->gathers);
    DL_APPEND(s->released, ref);
}

/* The count is 0 from now on; may free @ref. */
static void let_go(struct inode_refs *refs, struct shard *s, struct inode_ref *ref)
{
    ref->count = 0;
    atomic_fetch_sub(&refs->held, 1);
    if (ref->orphan) {
        release(refs, s, ref);
    } else {
        HASH_DEL(s->table, ref);
        free(ref);
    }
}

/* What @former (0: whatever) held is let go, and @mount counts from now on. */
static void change_mount(struct inode_refs *refs, uint64_t former, uint64_t mount)
{
    for (size_t i = 0; i < SHARD_COUNT; i++) {
        struct shard *s = &refs->shards[i];
        struct inode_ref *ref, *after;
        pthread_mutex_lock(&s->lock);
        bool applies = former == 0 || s->mount == former;
        if (applies)
            s->mount = mount;
        HASH_ITER(hh, s->table, ref, after)
        {
            if (applies && ref->count > 0)
                let_go(refs, s, ref);
        }
        pthread_mutex_unlock(&s->lock);
    }
}

uint64_t inode_refs_begin(struct inode_refs *refs)
{
    uint64_t mount = atomic_fetch_add(&refs->mounts, 1) + 1;
    change_mount(refs, 0, mount);
    return mount;
}

void inode_refs_end(struct inode_refs *refs, uint64_t mount)
{
    change_mount(refs, mount, 0);
}

int inode_refs_get(struct inode_refs *refs, uint64_t mount, uint64_t ino)
{
    struct shard *s = shard_of(refs, ino);
    pthread_mutex_lock(&s->lock);
    if (s->mount != mount) {
        pthread_mutex_unlock(&s->lock);
        return 0;
    }
    struct inode_ref *ref = find_or_add(s, ino);
    if (!ref) {
        pthread_mutex_unlock(&s->lock);
        return -ENOMEM;
    }
    if (ref->count == 0)
        atomic_fetch_add(&refs->held, 1);
    if (ref->count == 0 && ref->orphan)
        DL_DELETE(s->released, ref);
    ref->count++;
    pthread_mutex_unlock(&s->lock);
    return 0;
}

void inode_refs_put(struct inode_refs *refs, uint64_t mount, uint64_t ino, uint64_t count)
{
    struct shard *s = shard_of(refs, ino);
    pthread_mutex_lock(&s->lock);
    struct inode_ref *ref = find(s, ino);
    /* The root is held without a lookup, and may be forgotten so. */
    if (s->mount != mount || !ref || ref->count == 0 || count == 0) {
        pthread_mutex_unlock(&s->lock);
        return;
    }
    if (count < ref->count)
        ref->count -= count;
    else
        let_go(refs, s, ref);
    pthread_mutex_unlock(&s->lock);
}

bool inode_refs_holds(struct inode_refs *refs, uint64_t ino)
{
    struct shard *s = shard_of(refs, ino);
    pthread_mutex_lock(&s->lock);
    struct inode_ref *ref = find(s, ino);
    bool holds = ref && ref->count > 0;
    pthread_mutex_unlock(&s->lock);
    return holds;
}

int inode_refs_orphaned(struct inode_refs *refs, uint64_t ino)
{
    struct shard *s = shard_of(refs, ino);
    pthread_mutex_lock(&s->lock);
    struct inode_ref *ref = find_or_add(s, ino);
    if (ref && !ref->orphan) {
        ref->orphan = true;
        if (ref->count == 0)
            release(refs, s, ref);
    }
    pthread_mutex_unlock(&s->lock);
    return ref ? 0 : -ENOMEM;
}

static size_t gather_shard(struct shard *s, uint64_t gather, uint64_t *inos, size_t room)
{
    size_t count = 0;
    pthread_mutex_lock(&s->lock);
    while (count < room && s->released && s->released->released < gather) {
        struct inode_ref *ref = s->released;
        inos[count++] = ref->ino;
        DL_DELETE(s->released, ref);
        HASH_DEL(s->table, ref);
        free(ref);
    }
    pthread_mutex_unlock(&s->lock);
    return count;
}

size_t inode_refs_gather(struct inode_refs *refs, uint64_t *inos, size_t room)
{
    uint64_t gather = atomic_fetch_add(&refs->gathers, 1);
    size_t count = 0;
    for (size_t i = 0; i < SHARD_COUNT && count < room; i++)
        count += gather_shard(&refs->shards[i], gather, inos + count, room - count);
    return count;
}

/* Append what one shard holds. */
static int list_shard(struct shard *s, uint64_t **inos, size_t *count)
{
    struct inode_ref *ref, *after;
    pthread_mutex_lock(&s->lock);
    size_t room = *count + HASH_COUNT(s->table);
    uint64_t *list = room ? realloc(*inos, room * sizeof *list) : *inos;
    if (room && !list) {
        pthread_mutex_unlock(&s->lock);
        return -ENOMEM;
    }
    *inos = list;
    HASH_ITER(hh, s->table, ref, after)
    {
        if (ref->count > 0)
            list[(*count)++] = ref->ino;
    }
    pthread_mutex_unlock(&s->lock);
    return 0;
}

int inode_refs_list(struct inode_refs *refs, uint64_t **inos, size_t *count)
{
    *inos = NULL;
    *count = 0;
    for (size_t i = 0; i < SHARD_COUNT; i++) {
        int rc = list_shard(&refs->shards[i], inos, count);
        if (rc < 0) {
            free(*inos);
            *inos = NULL;
            *count = 0;
            return rc;
        }
    }
    return 0;
}

uint64_t inode_refs_count(struct inode_refs *refs)
{
    return atomic_load(&refs->held);
}
