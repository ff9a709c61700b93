#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fs/apply.h"
#include "fs/chunk.h"
#include "fs/space.h"

enum { DIR_SIZE = 4096 }; /* what ls is used to */

/* The parent must be a directory that can get entries, the name free. */
static int check_new(struct apply *a, struct dirent_name *n, struct inode *parent)
{
    int rc = apply_name(n, a->c->parent, a->c->name, a->c->name_size);
    if (rc == 0)
        rc = apply_dir(a, a->c->parent, parent);
    return rc ? rc : apply_absent(a, n);
}

/* There is room for a new object under that name, with so many bytes of its own. */
static int check_room(const struct apply *a, const struct dirent_name *n, uint64_t size)
{
    return space_check(&a->s->meta, SPACE_INODE + space_of_name(n->size) + space_of_chunk(size));
}

static int add_object(struct apply *a, const struct dirent_name *n, struct inode *parent,
                      struct inode *inode)
{
    /* inode_add gives the number that the data is kept under, too. */
    inode->data = a->s->meta.next_ino;
    int rc = inode_add(a->s, inode);
    if (rc == 0)
        rc = dirent_add(a->s, n, inode->attr.ino, inode->attr.mode);
    if (rc == 0)
        rc = apply_put_modified(a, parent);
    a->outcome->attr = inode->attr;
    return rc;
}

/* A new object of the caller's; a setgid directory hands its group down, and to directories the
 * bit. */
static struct inode new_inode(const struct apply *a, const struct inode *parent, uint32_t mode)
{
    struct inode inode = {
        .attr = {.mode = mode, .nlink = 1, .uid = a->c->uid, .gid = a->c->gid},
        .slot = a->slot,
        .author = a->author,
    };
    inode.attr.atime_ns = inode.attr.mtime_ns = a->time_ns;
    inode.attr.ctime_ns = inode.attr.btime_ns = a->time_ns;
    if (parent->attr.mode & S_ISGID) {
        inode.attr.gid = parent->attr.gid;
        if (S_ISDIR(mode))
            inode.attr.mode |= S_ISGID;
    }
    return inode;
}

static uint32_t permissions(uint32_t mode)
{
    return mode & 07777;
}

/* The kernel believes it made the file and checks no permission. So an existing one is opened only
 * where owner, group or others surely may; ESTALE makes it look again, and then it asks all its
 * questions. */
static bool may_surely_open(const struct apply *a, const struct inode *inode)
{
    uint32_t flags = a->c->flags, wanted = 0;
    if ((flags & O_ACCMODE) != O_WRONLY)
        wanted |= 4;
    if ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC))
        wanted |= 2;
    uint32_t granted = inode->attr.mode & 7;
    if (a->c->uid == inode->attr.uid)
        granted = inode->attr.mode >> 6 & 7;
    else if (a->c->gid == inode->attr.gid)
        granted = inode->attr.mode >> 3 & 7;
    else
        granted &= inode->attr.mode >> 3 & 7; /* a supplementary group might be the file's */
    return a->c->uid == 0 || (granted & wanted) == wanted;
}

/* Another host, or this one a moment ago, was faster. */
static int open_existing(struct apply *a, uint64_t ino)
{
    struct inode inode;
    int rc = apply_inode(a, ino, &inode);
    if (rc)
        return rc;
    if (a->c->flags & O_EXCL)
        return EEXIST;
    if (inode_is_dir(&inode))
        return EISDIR;
    if (!inode_is_file(&inode) || !may_surely_open(a, &inode))
        return ESTALE; /* the kernel walks again and follows a symlink, opens a fifo */
    if (a->c->flags & O_TRUNC) {
        rc = apply_size(a, &inode, 0);
        if (rc == 0)
            rc = apply_drop_privileges(a, &inode, a->c->uid != 0);
        if (rc == 0)
            rc = apply_put_modified(a, &inode);
    }
    a->outcome->attr = inode.attr;
    return rc;
}

int apply_create(struct apply *a)
{
    struct dirent_name n;
    struct inode parent;
    int rc = apply_name(&n, a->c->parent, a->c->name, a->c->name_size);
    if (rc == 0)
        rc = apply_dir(a, a->c->parent, &parent);
    if (rc)
        return rc;
    struct dirent d;
    rc = apply_find(a, &n, &d);
    if (rc == 0)
        return open_existing(a, d.ino);
    if (rc == ENOENT)
        rc = check_room(a, &n, 0);
    if (rc)
        return rc;
    struct inode inode = new_inode(a, &parent, S_IFREG | permissions(a->c->mode));
    return add_object(a, &n, &parent, &inode);
}

int apply_mkdir(struct apply *a)
{
    struct dirent_name n;
    struct inode parent;
    int rc = check_new(a, &n, &parent);
    if (rc == 0)
        rc = check_room(a, &n, 0);
    if (rc)
        return rc;
    struct inode inode = new_inode(a, &parent, S_IFDIR | permissions(a->c->mode));
    inode.attr.nlink = 2;
    inode.attr.size = DIR_SIZE;
    inode.parent = a->c->parent;
    parent.attr.nlink++;
    return add_object(a, &n, &parent, &inode);
}

static int check_node_type(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case 0:
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
    case S_IFCHR:
    case S_IFBLK:
        return 0;
    case S_IFDIR:
        return EPERM;
    default:
        return EINVAL;
    }
}

int apply_mknod(struct apply *a)
{
    struct dirent_name n;
    struct inode parent;
    int rc = check_node_type(a->c->mode);
    if (rc == 0)
        rc = check_new(a, &n, &parent);
    if (rc == 0)
        rc = check_room(a, &n, 0);
    if (rc)
        return rc;
    uint32_t type = a->c->mode & S_IFMT ? a->c->mode & S_IFMT : S_IFREG;
    struct inode inode = new_inode(a, &parent, type | permissions(a->c->mode));
    if (S_ISCHR(type) || S_ISBLK(type))
        inode.attr.rdev = a->c->rdev;
    return add_object(a, &n, &parent, &inode);
}

/* The target lies in the first chunk, as the data of a file would. */
int apply_symlink(struct apply *a)
{
    if (a->c->data_size == 0)
        return ENOENT;
    if (a->c->data_size > SYMLINK_MAX)
        return ENAMETOOLONG;
    if (memchr(a->c->data, '\0', a->c->data_size))
        return EINVAL;
    struct dirent_name n;
    struct inode parent;
    int rc = check_new(a, &n, &parent);
    if (rc == 0)
        rc = check_room(a, &n, a->c->data_size);
    if (rc)
        return rc;
    struct inode inode = new_inode(a, &parent, S_IFLNK | 0777);
    inode.attr.size = a->c->data_size;
    rc = chunk_write(a->s, a->s->meta.next_ino, 0, a->c->data, a->c->data_size, &inode.attr.blocks);
    return rc ? rc : add_object(a, &n, &parent, &inode);
}

int apply_link(struct apply *a)
{
    struct dirent_name n;
    struct inode parent, inode;
    int rc = apply_inode(a, a->c->ino, &inode);
    if (rc == 0)
        rc = check_new(a, &n, &parent);
    if (rc)
        return rc;
    if (inode_is_dir(&inode))
        return EPERM;
    if (inode.attr.nlink == 0)
        return ENOENT;
    if (inode.attr.nlink >= LINK_MAX_COUNT)
        return EMLINK;
    rc = space_check(&a->s->meta, space_of_name(n.size));
    if (rc)
        return rc;
    inode.attr.nlink++;
    rc = apply_put_changed(a, &inode);
    if (rc == 0)
        rc = dirent_add(a->s, &n, inode.attr.ino, inode.attr.mode);
    if (rc == 0)
        rc = apply_put_modified(a, &parent);
    a->outcome->attr = inode.attr;
    return rc;
}

/* The entry to be removed, its parent and its inode. */
static int find_entry(struct apply *a, struct dirent_name *n, struct dirent *d,
                      struct inode *parent, struct inode *inode)
{
    int rc = apply_name(n, a->c->parent, a->c->name, a->c->name_size);
    if (rc == 0)
        rc = apply_dir(a, a->c->parent, parent);
    if (rc == 0)
        rc = apply_find(a, n, d);
    return rc ? rc : apply_inode(a, d->ino, inode);
}

static int remove_entry(struct apply *a, const struct dirent_name *n, const struct dirent *d,
                        struct inode *parent, struct inode *inode)
{
    int rc = dirent_remove(a->s, n, d);
    if (rc == 0)
        rc = apply_put_modified(a, parent);
    if (rc == 0)
        apply_emit_gone(a, n, d->ino);
    if (rc == 0)
        rc = apply_unlinked(a, inode);
    a->outcome->attr = inode->attr;
    return rc;
}

int apply_unlink(struct apply *a)
{
    struct dirent_name n;
    struct dirent d;
    struct inode parent, inode;
    int rc = find_entry(a, &n, &d, &parent, &inode);
    if (rc)
        return rc;
    if (inode_is_dir(&inode))
        return EISDIR;
    return remove_entry(a, &n, &d, &parent, &inode);
}

int apply_rmdir(struct apply *a)
{
    struct dirent_name n;
    struct dirent d;
    struct inode parent, inode;
    int rc = find_entry(a, &n, &d, &parent, &inode);
    if (rc)
        return rc;
    if (!inode_is_dir(&inode))
        return ENOTDIR;
    rc = dirent_check_empty(a->s, a->s->txn, inode.attr.ino);
    if (rc)
        return rc == -ENOTEMPTY ? ENOTEMPTY : rc;
    parent.attr.nlink--;
    return remove_entry(a, &n, &d, &parent, &inode);
}
