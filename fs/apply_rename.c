#include <errno.h>
#include <linux/fs.h>

#include "base/assert.h"
#include "fs/apply.h"
#include "fs/space.h"

/* One end of a rename: a name, and what it stands for. */
struct end {
    struct dirent_name name;
    struct dirent dirent;
    struct inode inode;
    bool exists;
};

struct rename {
    struct end old, new;
    bool is_exchange;
};

static int find_end(struct apply *a, struct end *e, uint64_t parent, const char *name,
                    uint32_t size)
{
    struct inode dir;
    int rc = apply_name(&e->name, parent, name, size);
    if (rc == 0)
        rc = apply_dir(a, parent, &dir);
    if (rc == 0)
        rc = apply_find(a, &e->name, &e->dirent);
    e->exists = rc == 0;
    return rc ? rc : apply_inode(a, e->dirent.ino, &e->inode);
}

/* EBUSY: @ino is @dir or above it. The tree has no more directories than inodes: the walk ends. */
static int check_not_above(struct apply *a, uint64_t ino, uint64_t dir)
{
    for (uint64_t depth = 0; depth <= a->s->meta.inodes; depth++) {
        if (dir == ino)
            return EBUSY;
        if (dir == FS_ROOT_INO)
            return 0;
        struct inode inode;
        int rc = apply_inode(a, dir, &inode);
        if (rc)
            return rc;
        dir = inode.parent;
    }
    return -EIO; /* a cycle: the store contradicts itself */
}

/* As Linux does: neither end may lie above the other's directory. */
static int check_tree(struct apply *a, const struct rename *r)
{
    if (r->old.name.parent == r->new.name.parent)
        return 0;
    if (inode_is_dir(&r->old.inode)) {
        int rc = check_not_above(a, r->old.dirent.ino, r->new.name.parent);
        if (rc)
            return rc == EBUSY ? EINVAL : rc;
    }
    if (r->new.exists && inode_is_dir(&r->new.inode)) {
        int rc = check_not_above(a, r->new.dirent.ino, r->old.name.parent);
        if (rc == EBUSY)
            return r->is_exchange ? EINVAL : ENOTEMPTY;
        return rc;
    }
    return 0;
}

static int check_target(struct apply *a, const struct rename *r)
{
    if (!r->new.exists || r->is_exchange)
        return 0;
    bool old_is_dir = inode_is_dir(&r->old.inode), new_is_dir = inode_is_dir(&r->new.inode);
    if (old_is_dir && !new_is_dir)
        return ENOTDIR;
    if (!old_is_dir && new_is_dir)
        return EISDIR;
    if (!new_is_dir)
        return 0;
    int rc = dirent_check_empty(a->s, a->s->txn, r->new.dirent.ino);
    return rc == -ENOTEMPTY ? ENOTEMPTY : rc;
}

/* A new name that is longer than the old one takes more. */
static int check_room(const struct apply *a, const struct rename *r)
{
    if (r->new.exists)
        return 0;
    uint64_t before = space_of_name(r->old.name.size), after = space_of_name(r->new.name.size);
    return space_check(&a->s->meta, after > before ? after - before : 0);
}

/* Both ends, checked in the order in which Linux does. */
static int prepare(struct apply *a, struct rename *r)
{
    uint32_t flags = a->c->flags;
    if (flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return EINVAL;
    if ((flags & RENAME_NOREPLACE) && (flags & RENAME_EXCHANGE))
        return EINVAL;
    r->is_exchange = flags & RENAME_EXCHANGE;

    int rc = find_end(a, &r->old, a->c->parent, a->c->name, a->c->name_size);
    if (rc)
        return rc;
    rc = find_end(a, &r->new, a->c->new_parent, a->c->new_name, a->c->new_name_size);
    if (rc == ENOENT && !r->new.exists && !r->is_exchange) {
        struct inode dir;
        rc = apply_dir(a, a->c->new_parent, &dir); /* ENOENT may have meant a removed directory */
    }
    if (rc)
        return rc;
    if (r->new.exists && (flags & RENAME_NOREPLACE))
        return EEXIST;
    return check_tree(a, r);
}

/* A directory's ".." counts as a name of its parent. */
static int move_parent_link(struct apply *a, uint64_t from, uint64_t to)
{
    struct inode inode;
    int rc = inode_get(a->s, from, &inode);
    if (rc)
        return rc;
    inode.attr.nlink--;
    rc = inode_put(a->s, &inode);
    if (rc)
        return rc;
    if (to == 0)
        return 0;
    rc = inode_get(a->s, to, &inode);
    if (rc)
        return rc;
    inode.attr.nlink++;
    return inode_put(a->s, &inode);
}

/* @e's object now lies in @parent. */
static int move_object(struct apply *a, struct end *e, uint64_t parent)
{
    int rc = 0;
    if (inode_is_dir(&e->inode) && e->name.parent != parent) {
        e->inode.parent = parent;
        rc = move_parent_link(a, e->name.parent, parent);
    }
    return rc ? rc : apply_put_changed(a, &e->inode);
}

static int touch_dir(struct apply *a, uint64_t ino)
{
    struct inode inode;
    int rc = inode_get(a->s, ino, &inode);
    return rc ? rc : apply_put_modified(a, &inode);
}

static int exchange(struct apply *a, struct rename *r)
{
    int rc =
        dirent_replace(a->s, &r->old.name, &r->old.dirent, r->new.dirent.ino, r->new.dirent.mode);
    if (rc == 0)
        rc = dirent_replace(a->s, &r->new.name, &r->new.dirent, r->old.dirent.ino,
                            r->old.dirent.mode);
    if (rc == 0)
        rc = move_object(a, &r->old, r->new.name.parent);
    if (rc == 0)
        rc = move_object(a, &r->new, r->old.name.parent);
    return rc;
}

/* What readdir has given must not come again, or a loop of readdir and rename never ends: within
 * one directory the entry keeps its place; where it replaces a name, that name, which is there all
 * the time, keeps its own (each such rename leaves one entry fewer). */
static int move_name(struct apply *a, const struct rename *r)
{
    if (!r->new.exists && r->new.name.parent == r->old.name.parent)
        return dirent_rename(a->s, &r->old.name, &r->old.dirent, &r->new.name);
    int rc = dirent_remove(a->s, &r->old.name, &r->old.dirent);
    if (rc)
        return rc;
    if (!r->new.exists)
        return dirent_add(a->s, &r->new.name, r->old.dirent.ino, r->old.dirent.mode);
    return dirent_replace(a->s, &r->new.name, &r->new.dirent, r->old.dirent.ino,
                          r->old.dirent.mode);
}

static int replace(struct apply *a, struct rename *r)
{
    int rc = move_name(a, r);
    if (rc == 0 && r->new.exists && inode_is_dir(&r->new.inode))
        rc = move_parent_link(a, r->new.name.parent, 0);
    return rc ? rc : move_object(a, &r->old, r->new.name.parent);
}

static int touch_dirs(struct apply *a, const struct rename *r)
{
    int rc = touch_dir(a, r->old.name.parent);
    if (rc == 0 && r->new.name.parent != r->old.name.parent)
        rc = touch_dir(a, r->new.name.parent);
    return rc;
}

int apply_rename(struct apply *a)
{
    struct rename r = {.is_exchange = false};
    int rc = prepare(a, &r);
    if (rc)
        return rc;
    a->outcome->attr = r.old.inode.attr;
    if (r.new.exists && r.new.dirent.ino == r.old.dirent.ino)
        return 0; /* two names of one file: POSIX wants nothing done */
    rc = check_target(a, &r);
    if (rc == 0)
        rc = check_room(a, &r);
    if (rc)
        return rc;

    rc = r.is_exchange ? exchange(a, &r) : replace(a, &r);
    if (rc == 0)
        rc = touch_dirs(a, &r);
    if (rc)
        return rc;
    a->outcome->attr = r.old.inode.attr;
    apply_emit_gone(a, &r.old.name, r.old.dirent.ino);
    if (r.new.exists)
        apply_emit_gone(a, &r.new.name, r.new.dirent.ino);
    return r.new.exists && !r.is_exchange ? apply_unlinked(a, &r.new.inode) : 0;
}
