#include "fs/pending.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/assert.h"

enum {
    ENDS_MAX = 2,    /* names in one command */
    INOS_MAX = 3,    /* inodes it names by number: of a LINK or RENAME */
    HIDDEN_MAX = 16, /* names looked up between two turns of the lock */
    FILTER_BITS = 1024,
};

/* A name that comes or goes. */
struct end {
    uint64_t parent, hash;
    uint32_t size;  /* 0: there is none */
    bool is_hidden; /* the inode behind it changes too */
    char name[FILE_NAME_MAX];
};

struct entry {
    uint64_t slot; /* 0: none yet */
    uint64_t inos[INOS_MAX];
    struct end ends[ENDS_MAX];
    bool makes; /* an inode whose number nobody knows yet */
};

struct pending {
    pthread_mutex_t lock;
    uint64_t removed; /* every slot <= removed is in the store */
    uint64_t last;    /* highest slot put */
    struct entry ring[SLOTS_HELD_MAX];
};

struct pending *pending_new(void)
{
    struct pending *p = calloc(1, sizeof *p);
    if (p)
        pthread_mutex_init(&p->lock, NULL);
    return p;
}

void pending_free(struct pending *p)
{
    if (!p)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- what a command touches ---- */

static uint64_t hash_of(const char *name, size_t size)
{
    return XXH3_64bits(name, size);
}

/* @parent changes with each of its names: so who reads a whole directory asks for its number. A
 * name too long is refused by apply. */
static void add_end(struct entry *e, int index, uint64_t parent, const char *name, uint32_t size,
                    bool is_hidden)
{
    struct end *end = &e->ends[index];
    e->inos[index] = parent;
    if (size > FILE_NAME_MAX)
        return;
    end->parent = parent;
    end->hash = hash_of(name, size);
    end->size = size;
    end->is_hidden = is_hidden;
    memcpy(end->name, name, size);
}

/* May be more than what apply will do, never less. */
static void touch(struct entry *e, const struct fs_command *c)
{
    switch (c->op) {
    case FS_CREATE: /* what is there already is opened, and perhaps emptied */
        add_end(e, 0, c->parent, c->name, c->name_size, c->flags & O_TRUNC);
        e->makes = true;
        return;
    case FS_MKDIR:
    case FS_MKNOD:
    case FS_SYMLINK:
        add_end(e, 0, c->parent, c->name, c->name_size, false);
        e->makes = true;
        return;
    case FS_LINK:
        add_end(e, 0, c->parent, c->name, c->name_size, false);
        e->inos[2] = c->ino;
        return;
    case FS_UNLINK:
    case FS_RMDIR:
        add_end(e, 0, c->parent, c->name, c->name_size, true);
        return;
    case FS_RENAME: /* ".." of a directory that moves is the directory's own matter */
        add_end(e, 0, c->parent, c->name, c->name_size, true);
        add_end(e, 1, c->new_parent, c->new_name, c->new_name_size, true);
        return;
    case FS_SETATTR:
    case FS_WRITE:
    case FS_FALLOCATE:
    case FS_SETXATTR:
    case FS_REMOVEXATTR:
        e->inos[0] = c->ino;
        return;
    case FS_FORGET: /* what no kernel holds */
    case FS_REAP:
    case FS_SESSION_OPEN:
    case FS_SESSION_EXPIRE:
    case FS_SET_CAPACITY:
    case FS_VERIFY:
    case FS_INVITE:
    case FS_JOIN:
    case FS_PROMOTE:
    case FS_REPLACE:
    case FS_REMOVE:
    case FS_SET_ADDRESS:
        return;
    }
}

static struct entry *place_of(struct pending *p, uint64_t slot)
{
    return &p->ring[slot % SLOTS_HELD_MAX];
}

/* Without the bytes of names that are not there. */
static void entry_clear(struct entry *e, uint64_t slot)
{
    e->slot = slot;
    e->makes = false;
    memset(e->inos, 0, sizeof e->inos);
    for (int i = 0; i < ENDS_MAX; i++)
        e->ends[i].size = 0;
}

void pending_put(struct pending *p, uint64_t slot, const struct command *command)
{
    struct fs_command c;
    bool touches =
        !command_is_noop(command) && fs_command_decode(command->bytes, command->size, &c) == 0;
    pthread_mutex_lock(&p->lock);
    /* The core holds no slot so far above what is applied: the store thread has committed that one,
     * and is only about to say so. */
    if (slot > SLOTS_HELD_MAX && p->removed < slot - SLOTS_HELD_MAX)
        p->removed = slot - SLOTS_HELD_MAX;
    if (slot > p->removed) {
        struct entry *e = place_of(p, slot);
        entry_clear(e, slot);
        if (touches)
            touch(e, &c);
        if (slot > p->last)
            p->last = slot;
    }
    pthread_mutex_unlock(&p->lock);
}

void pending_applied(struct pending *p, uint64_t applied)
{
    pthread_mutex_lock(&p->lock);
    if (applied > p->removed)
        p->removed = applied;
    pthread_mutex_unlock(&p->lock);
}

uint32_t pending_count(struct pending *p)
{
    uint32_t count = 0;
    pthread_mutex_lock(&p->lock);
    for (uint64_t slot = p->removed + 1; slot <= p->last; slot++)
        count += place_of(p, slot)->slot == slot;
    pthread_mutex_unlock(&p->lock);
    return count;
}

/* ---- what a read looked at ---- */

/* One check: made before the lock is taken. */
struct look {
    const struct read_set *set;
    uint64_t hash; /* of set->name */
    bool has_inos;
    uint64_t filter[FILTER_BITS / 64]; /* by the low bits of the inodes' numbers */
};

static void filter_add(struct look *l, uint64_t ino)
{
    if (ino == 0)
        return;
    l->has_inos = true;
    l->filter[ino % FILTER_BITS / 64] |= UINT64_C(1) << ino % 64;
}

static struct look look_at(const struct read_set *set)
{
    struct look l = {.set = set};
    if (set->parent)
        l.hash = hash_of(set->name, set->name_size);
    for (size_t i = 0; i < ARRAY_COUNT(set->inos); i++)
        filter_add(&l, set->inos[i]);
    for (size_t i = 0; i < set->child_count; i++)
        filter_add(&l, set->children[i]);
    return l;
}

static bool looks_at_ino(const struct look *l, uint64_t ino)
{
    const struct read_set *set = l->set;
    if (ino == 0 || !(l->filter[ino % FILTER_BITS / 64] >> ino % 64 & 1))
        return false;
    for (size_t i = 0; i < ARRAY_COUNT(set->inos); i++) {
        if (set->inos[i] == ino)
            return true;
    }
    for (size_t i = 0; i < set->child_count; i++) {
        if (set->children[i] == ino)
            return true;
    }
    return false;
}

static bool looks_at_end(const struct look *l, const struct end *end)
{
    const struct read_set *set = l->set;
    return end->size > 0 && set->parent == end->parent && set->name_size == end->size &&
           l->hash == end->hash;
}

/* By what the entry says itself. */
static bool looks_at_entry(const struct look *l, const struct entry *e)
{
    for (int i = 0; i < INOS_MAX; i++) {
        if (looks_at_ino(l, e->inos[i]))
            return true;
    }
    for (int i = 0; i < ENDS_MAX; i++) {
        if (looks_at_end(l, &e->ends[i]))
            return true;
    }
    return false;
}

/* ---- what is behind names ---- */

struct hidden {
    uint64_t parent;
    uint32_t size;
    char name[FILE_NAME_MAX];
};

/* As far as one turn of the lock goes. */
struct turn {
    uint64_t next; /* slot to go on from */
    bool makes;    /* one so far makes an inode */
    uint32_t count;
    struct hidden hidden[HIDDEN_MAX];
};

static void turn_add(struct turn *t, const struct entry *e)
{
    t->makes |= e->makes;
    for (int i = 0; i < ENDS_MAX; i++) {
        const struct end *end = &e->ends[i];
        if (end->size == 0 || !end->is_hidden)
            continue;
        struct hidden *h = &t->hidden[t->count++];
        h->parent = end->parent;
        h->size = end->size;
        memcpy(h->name, end->name, end->size);
    }
}

/* TOUCHED; RENEW; or CLEAR by what the entries up to @t->next say themselves, and @t has the names
 * behind which one has still to look. */
static enum pending_verdict take_turn(struct pending *p, uint64_t snapshot, const struct look *l,
                                      struct turn *t)
{
    enum pending_verdict verdict = PENDING_CLEAR;
    t->count = 0;
    pthread_mutex_lock(&p->lock);
    if (p->removed > snapshot)
        verdict = PENDING_RENEW;
    for (; verdict == PENDING_CLEAR && t->next <= p->last; t->next++) {
        const struct entry *e = place_of(p, t->next);
        if (t->count + ENDS_MAX > HIDDEN_MAX)
            break;
        if (e->slot != t->next)
            continue;
        if (looks_at_entry(l, e))
            verdict = PENDING_TOUCHED;
        else if (l->has_inos)
            turn_add(t, e);
    }
    pthread_mutex_unlock(&p->lock);
    return verdict;
}

static bool looks_behind(const struct look *l, struct store_reader *r, const struct hidden *h)
{
    struct fs_attr attr;
    int rc = store_lookup(r, h->parent, h->name, h->size, &attr);
    switch (rc) {
    case 0:
        return looks_at_ino(l, attr.ino);
    case -ENOENT:
    case -ESTALE:
    case -ENOTDIR:
        return false;
    default:
        return true; /* a disk that fails tells nothing */
    }
}

/* An inode that the snapshot does not have may be one of those that are about to be made. */
static bool looks_for_new(const struct read_set *set, struct store_reader *r)
{
    struct fs_attr attr;
    for (size_t i = 0; i < ARRAY_COUNT(set->inos); i++) {
        if (set->inos[i] && store_getattr(r, set->inos[i], &attr))
            return true;
    }
    return false;
}

/* The entries are few, mostly, and hide little: one turn. Looking behind names reads the store,
 * which may wait for the disk, and so is done outside of the lock; what comes meanwhile is later
 * than the read. */
enum pending_verdict pending_check(struct pending *p, struct store_reader *r,
                                   const struct read_set *set)
{
    uint64_t snapshot = store_read_slot(r);
    struct look l = look_at(set);
    struct turn t = {.next = snapshot + 1};
    do {
        enum pending_verdict verdict = take_turn(p, snapshot, &l, &t);
        if (verdict != PENDING_CLEAR)
            return verdict;
        for (uint32_t i = 0; i < t.count; i++) {
            if (looks_behind(&l, r, &t.hidden[i]))
                return PENDING_TOUCHED;
        }
    } while (t.count > 0); /* each turn but the last goes on by a slot: SLOTS_HELD_MAX at most */
    return t.makes && looks_for_new(set, r) ? PENDING_TOUCHED : PENDING_CLEAR;
}
