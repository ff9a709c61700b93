#include "tests/support/fs_model_state.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/assert.h"

static struct model_node *node_of(const struct model *m, uint64_t ino)
{
    for (size_t i = 0; i < MODEL_NODES_MAX; i++)
        if (m->nodes[i] && m->nodes[i]->attr.ino == ino)
            return m->nodes[i];
    return NULL;
}

static struct model_node *node_add(struct model *m, uint64_t ino, uint32_t mode)
{
    ASSERT(ino > m->ino_last); /* never used before */
    m->ino_last = ino;
    for (size_t i = 0; i < MODEL_NODES_MAX; i++) {
        if (m->nodes[i])
            continue;
        struct model_node *n = calloc(1, sizeof *n);
        ASSERT(n != NULL);
        n->attr.ino = ino;
        n->attr.mode = mode;
        n->attr.nlink = S_ISDIR(mode) ? 2 : 1;
        n->attr.size = S_ISDIR(mode) ? 4096 : 0;
        n->attr.atime_ns = n->attr.mtime_ns = n->attr.ctime_ns = n->attr.btime_ns = m->now;
        m->nodes[i] = n;
        return n;
    }
    ASSERT(!"room for another node");
    return NULL;
}

static void node_free(struct model_node *n)
{
    for (size_t i = 0; i < MODEL_XATTRS_MAX; i++)
        free(n->xattrs[i].value);
    free(n->data);
    free(n);
}

static void node_drop(struct model *m, struct model_node *n)
{
    for (size_t i = 0; i < MODEL_NODES_MAX; i++)
        if (m->nodes[i] == n)
            m->nodes[i] = NULL;
    node_free(n);
}

struct model *model_new(void)
{
    struct model *m = calloc(1, sizeof *m);
    ASSERT(m != NULL);
    struct model_node *root = node_add(m, FS_ROOT_INO, S_IFDIR | 0755);
    root->up = FS_ROOT_INO;
    return m;
}

void model_free(struct model *m)
{
    for (size_t i = 0; i < MODEL_NODES_MAX; i++)
        if (m->nodes[i])
            node_free(m->nodes[i]);
    free(m);
}

/* ---- names ---- */

static struct model_entry *find(struct model_node *dir, const char *name, size_t size)
{
    for (size_t i = 0; i < MODEL_ENTRIES_MAX; i++) {
        struct model_entry *e = &dir->entries[i];
        if (e->ino && strlen(e->name) == size && memcmp(e->name, name, size) == 0)
            return e;
    }
    return NULL;
}

static void enter(struct model_node *dir, const char *name, size_t size, uint64_t ino)
{
    struct model_entry *e = find(dir, name, size);
    for (size_t i = 0; !e && i < MODEL_ENTRIES_MAX; i++)
        if (dir->entries[i].ino == 0)
            e = &dir->entries[i];
    ASSERT(e != NULL);
    memcpy(e->name, name, size);
    e->name[size] = '\0';
    e->ino = ino;
}

static bool is_empty(const struct model_node *dir)
{
    for (size_t i = 0; i < MODEL_ENTRIES_MAX; i++)
        if (dir->entries[i].ino)
            return false;
    return true;
}

static int check_name(const char *name, size_t size)
{
    if (size > 255)
        return ENAMETOOLONG;
    return (size == 1 && !memcmp(name, ".", 1)) || (size == 2 && !memcmp(name, "..", 2)) ? EINVAL
                                                                                         : 0;
}

/* The directory @ino that can take names. */
static int directory(struct model *m, uint64_t ino, struct model_node **dir)
{
    *dir = node_of(m, ino);
    if (!*dir)
        return ESTALE;
    if (!S_ISDIR((*dir)->attr.mode))
        return ENOTDIR;
    return (*dir)->attr.nlink ? 0 : ENOENT;
}

static int name_in_parent(struct model *m, struct model_node **dir, struct model_entry **e)
{
    int error = check_name(m->c->name, m->c->name_size);
    if (error == 0)
        error = directory(m, m->c->parent, dir);
    if (error == 0)
        *e = find(*dir, m->c->name, m->c->name_size);
    return error;
}

static void modified(struct model *m, struct model_node *n)
{
    n->attr.mtime_ns = n->attr.ctime_ns = m->now;
}

static void lose_name(struct model *m, struct model_node *n)
{
    n->attr.ctime_ns = m->now;
    n->attr.nlink = S_ISDIR(n->attr.mode) ? 0 : n->attr.nlink - 1;
    if (n->attr.nlink)
        return;
    n->holders = m->open_sessions;
    if (!n->holders)
        node_drop(m, n);
}

static struct model_node *make(struct model *m, struct model_node *dir, uint32_t mode)
{
    struct model_node *n = node_add(m, m->ino_made, mode);
    n->attr.uid = m->c->uid;
    n->attr.gid = dir->attr.mode & S_ISGID ? dir->attr.gid : m->c->gid;
    if (S_ISDIR(mode)) {
        n->attr.mode |= dir->attr.mode & S_ISGID;
        n->up = dir->attr.ino;
        dir->attr.nlink++;
    }
    enter(dir, m->c->name, m->c->name_size, n->attr.ino);
    modified(m, dir);
    m->out.attr = n->attr;
    return n;
}

/* ---- data ---- */

static void count_blocks(struct model_node *n)
{
    n->attr.blocks = 0;
    for (size_t i = 0; i < MODEL_CHUNKS_MAX; i++)
        n->attr.blocks += (n->stored[i] + 4095) / 4096 * 8;
}

/* Bytes from @from to @to become @bytes; NULL: a hole. */
static void put_bytes(struct model_node *n, uint64_t from, uint64_t to, const uint8_t *bytes)
{
    if (!n->data)
        n->data = calloc(MODEL_CHUNKS_MAX, CHUNK_SIZE);
    ASSERT(n->data != NULL);
    ASSERT(to <= MODEL_CHUNKS_MAX * CHUNK_SIZE);
    for (uint64_t at = from; at < to; at++)
        n->data[at] = bytes ? bytes[at - from] : 0;
    for (uint64_t i = 0; i < MODEL_CHUNKS_MAX; i++) {
        uint64_t start = i * CHUNK_SIZE, end = start + CHUNK_SIZE;
        uint64_t first = from > start ? from : start, last = to < end ? to : end;
        if (first >= last)
            continue;
        if (bytes && last - start > n->stored[i])
            n->stored[i] = last - start;
        if (!bytes && last - start >= n->stored[i] && first - start < n->stored[i])
            n->stored[i] = first - start;
    }
    count_blocks(n);
}

static void resize(struct model_node *n, uint64_t size)
{
    if (size < n->attr.size && n->data) {
        uint64_t end = MODEL_CHUNKS_MAX * CHUNK_SIZE;
        put_bytes(n, size < end ? size : end, end, NULL);
    }
    n->attr.size = size;
}

static void remove_xattr(struct model_xattr *x)
{
    free(x->value);
    memset(x, 0, sizeof *x);
}

static struct model_xattr *find_xattr(struct model_node *n, const char *name, size_t size)
{
    for (size_t i = 0; i < MODEL_XATTRS_MAX; i++)
        if (size && strlen(n->xattrs[i].name) == size && !memcmp(n->xattrs[i].name, name, size))
            return &n->xattrs[i];
    return NULL;
}

static void drop_privileges(struct model_node *n, bool with_mode)
{
    if (with_mode)
        n->attr.mode &= ~(uint32_t)(n->attr.mode & 010 ? 06000 : 04000);
    struct model_xattr *x = find_xattr(n, "security.capability", 19);
    if (x)
        remove_xattr(x);
}

static int writable(struct model *m, struct model_node **n)
{
    *n = node_of(m, m->c->ino);
    if (!*n)
        return ESTALE;
    if (S_ISDIR((*n)->attr.mode))
        return EISDIR;
    return S_ISREG((*n)->attr.mode) ? 0 : EINVAL;
}

/* ---- space ---- */

static uint64_t price_of_record(uint64_t key, uint64_t value)
{
    bool has_own_pages = key + value > 2000;
    return has_own_pages ? (value + 16 + 4095) / 4096 * 4096 + 2 * key + 48
                         : 2 * key + 2 * value + 32;
}

static uint64_t price_of_name(uint64_t size)
{
    return 3 * size + 144;
}

static uint64_t price_of_chunk(uint64_t size)
{
    return size ? price_of_record(16, 24 + size) : 0;
}

static uint64_t price_of_data(const struct model_node *n)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < MODEL_CHUNKS_MAX; i++)
        sum += price_of_chunk(n->stored[i]);
    return sum;
}

static uint64_t price_of_node(const struct model_node *n)
{
    uint64_t sum = 256 + price_of_data(n);
    for (size_t i = 0; i < MODEL_ENTRIES_MAX; i++)
        if (n->entries[i].ino)
            sum += price_of_name(strlen(n->entries[i].name));
    for (size_t i = 0; i < MODEL_XATTRS_MAX; i++)
        if (n->xattrs[i].name[0])
            sum += price_of_record(8 + strlen(n->xattrs[i].name), n->xattrs[i].size);
    return sum;
}

uint64_t model_space(const struct model *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < MODEL_NODES_MAX; i++)
        if (m->nodes[i])
            sum += price_of_node(m->nodes[i]);
    return sum;
}

void model_set_capacity(struct model *m, uint64_t bytes)
{
    m->capacity = bytes;
}

static int check_space(const struct model *m, uint64_t before, uint64_t after)
{
    if (m->capacity == 0 || after <= before)
        return 0;
    return model_space(m) + (after - before) > m->capacity ? ENOSPC : 0;
}

static int check_new_node(const struct model *m, uint64_t data_size)
{
    return check_space(m, 0, 256 + price_of_name(m->c->name_size) + price_of_chunk(data_size));
}

static int check_write(const struct model *m, const struct model_node *n, uint64_t offset,
                       uint64_t size)
{
    struct model_node after = *n;
    for (uint64_t i = 0; size > 0 && i < MODEL_CHUNKS_MAX; i++) {
        uint64_t start = i * CHUNK_SIZE, end = offset + size;
        if (offset >= start + CHUNK_SIZE || end <= start)
            continue;
        uint64_t last = end < start + CHUNK_SIZE ? end - start : CHUNK_SIZE;
        if (last > after.stored[i])
            after.stored[i] = last;
    }
    return check_space(m, price_of_data(n), price_of_data(&after));
}

/* ---- commands ---- */

/* True where mode and ids alone, without supplementary groups, allow it. */
static bool may_open(const struct model *m, const struct model_node *n)
{
    unsigned others = n->attr.mode & 7, group = n->attr.mode >> 3 & 7,
             owner = n->attr.mode >> 6 & 7;
    unsigned bits = others & group;
    unsigned access = m->c->flags & O_ACCMODE, need = access == O_RDONLY ? 4 : 0;
    if (m->c->gid == n->attr.gid)
        bits = group;
    if (m->c->uid == n->attr.uid)
        bits = owner;
    need |= access == O_WRONLY ? 2 : 0;
    need |= access == O_RDWR ? 6 : 0;
    need |= m->c->flags & O_TRUNC ? 2 : 0;
    return m->c->uid == 0 || (bits & need) == need;
}

static int open_old(struct model *m, struct model_node *n)
{
    if (m->c->flags & O_EXCL)
        return EEXIST;
    if (S_ISDIR(n->attr.mode))
        return EISDIR;
    if (!S_ISREG(n->attr.mode) || !may_open(m, n))
        return ESTALE;
    if (m->c->flags & O_TRUNC) {
        resize(n, 0);
        modified(m, n);
        drop_privileges(n, m->c->uid != 0);
    }
    m->out.attr = n->attr;
    return 0;
}

static int create(struct model *m)
{
    struct model_node *dir;
    struct model_entry *e;
    int error = name_in_parent(m, &dir, &e);
    if (error)
        return error;
    if (e)
        return open_old(m, node_of(m, e->ino));
    error = check_new_node(m, 0);
    if (error)
        return error;
    make(m, dir, S_IFREG | (m->c->mode & 07777));
    return 0;
}

static int new_name(struct model *m, struct model_node **dir)
{
    struct model_entry *e;
    int error = name_in_parent(m, dir, &e);
    return error ? error : e ? EEXIST : 0;
}

static int do_mkdir(struct model *m)
{
    struct model_node *dir;
    int error = new_name(m, &dir);
    if (error == 0)
        error = check_new_node(m, 0);
    if (error == 0)
        make(m, dir, S_IFDIR | (m->c->mode & 07777));
    return error;
}

static int do_mknod(struct model *m)
{
    uint32_t type = m->c->mode & S_IFMT;
    if (type == S_IFDIR)
        return EPERM;
    if (type != 0 && type != S_IFREG && type != S_IFIFO && type != S_IFCHR && type != S_IFBLK &&
        type != S_IFSOCK)
        return EINVAL;
    struct model_node *dir;
    int error = new_name(m, &dir);
    if (error == 0)
        error = check_new_node(m, 0);
    if (error)
        return error;
    struct model_node *n = make(m, dir, (type ? type : S_IFREG) | (m->c->mode & 07777));
    if (type == S_IFCHR || type == S_IFBLK)
        n->attr.rdev = m->c->rdev;
    m->out.attr = n->attr;
    return 0;
}

static int do_symlink(struct model *m)
{
    struct model_node *dir;
    if (m->c->data_size == 0)
        return ENOENT;
    if (m->c->data_size > 4095)
        return ENAMETOOLONG;
    int error = new_name(m, &dir);
    if (error == 0)
        error = check_new_node(m, m->c->data_size);
    if (error)
        return error;
    struct model_node *n = make(m, dir, S_IFLNK | 0777);
    put_bytes(n, 0, m->c->data_size, m->c->data);
    n->attr.size = m->c->data_size;
    m->out.attr = n->attr;
    return 0;
}

static int do_link(struct model *m)
{
    struct model_node *n = node_of(m, m->c->ino), *dir;
    if (!n)
        return ESTALE;
    int error = new_name(m, &dir);
    if (error)
        return error;
    if (S_ISDIR(n->attr.mode))
        return EPERM;
    if (n->attr.nlink == 0)
        return ENOENT;
    error = check_space(m, 0, price_of_name(m->c->name_size));
    if (error)
        return error;
    n->attr.nlink++;
    n->attr.ctime_ns = m->now;
    enter(dir, m->c->name, m->c->name_size, n->attr.ino);
    modified(m, dir);
    m->out.attr = n->attr;
    return 0;
}

static int do_remove(struct model *m, bool is_rmdir)
{
    struct model_node *dir;
    struct model_entry *e;
    int error = name_in_parent(m, &dir, &e);
    if (error)
        return error;
    if (!e)
        return ENOENT;
    struct model_node *n = node_of(m, e->ino);
    if (is_rmdir && !S_ISDIR(n->attr.mode))
        return ENOTDIR;
    if (!is_rmdir && S_ISDIR(n->attr.mode))
        return EISDIR;
    if (is_rmdir && !is_empty(n))
        return ENOTEMPTY;
    e->ino = 0;
    if (is_rmdir)
        dir->attr.nlink--;
    modified(m, dir);
    m->out.attr = n->attr;
    m->out.attr.ctime_ns = m->now;
    m->out.attr.nlink = is_rmdir ? 0 : n->attr.nlink - 1;
    lose_name(m, n);
    return 0;
}

static bool is_within(const struct model *m, uint64_t dir, uint64_t ino)
{
    while (dir != ino && dir != FS_ROOT_INO)
        dir = node_of(m, dir)->up;
    return dir == ino;
}

static void settle(struct model *m, struct model_node *n, struct model_node *from,
                   struct model_node *to)
{
    n->attr.ctime_ns = m->now;
    if (!S_ISDIR(n->attr.mode) || from == to)
        return;
    from->attr.nlink--;
    to->attr.nlink++;
    n->up = to->attr.ino;
}

static int check_rename(struct model *m, struct model_node *from, struct model_node *to,
                        struct model_node *old, struct model_node *new)
{
    bool exchange = m->c->flags & RENAME_EXCHANGE;
    if (new && (m->c->flags & RENAME_NOREPLACE))
        return EEXIST;
    if (!new &&exchange)
        return ENOENT;
    if (from != to && S_ISDIR(old->attr.mode) && is_within(m, to->attr.ino, old->attr.ino))
        return EINVAL;
    if (from != to && new &&S_ISDIR(new->attr.mode) && is_within(m, from->attr.ino, new->attr.ino))
        return exchange ? EINVAL : ENOTEMPTY;
    if (!new || new == old || exchange)
        return 0;
    if (S_ISDIR(old->attr.mode) != S_ISDIR(new->attr.mode))
        return S_ISDIR(old->attr.mode) ? ENOTDIR : EISDIR;
    return S_ISDIR(new->attr.mode) && !is_empty(new) ? ENOTEMPTY : 0;
}

static int do_rename(struct model *m)
{
    const struct fs_command *c = m->c;
    struct model_node *from, *to;
    struct model_entry *old_entry;
    if (c->flags > 2)
        return EINVAL;
    int error = name_in_parent(m, &from, &old_entry);
    if (error == 0 && !old_entry)
        error = ENOENT;
    if (error == 0)
        error = check_name(c->new_name, c->new_name_size);
    if (error == 0)
        error = directory(m, c->new_parent, &to);
    if (error)
        return error;
    struct model_entry *new_entry = find(to, c->new_name, c->new_name_size);
    struct model_node *old = node_of(m, old_entry->ino);
    struct model_node *new = new_entry ? node_of(m, new_entry->ino) : NULL;
    error = check_rename(m, from, to, old, new);
    if (error == 0 && !new)
        error = check_space(m, price_of_name(c->name_size), price_of_name(c->new_name_size));
    if (error)
        return error;
    m->out.attr = old->attr;
    if (old == new)
        return 0;

    settle(m, old, from, to);
    if (c->flags & RENAME_EXCHANGE) {
        settle(m, new, to, from);
        old_entry->ino = new->attr.ino;
        new_entry->ino = old->attr.ino;
    } else {
        old_entry->ino = 0;
        enter(to, c->new_name, c->new_name_size, old->attr.ino);
        if (new &&S_ISDIR(new->attr.mode))
            to->attr.nlink--;
    }
    modified(m, from);
    modified(m, to);
    m->out.attr = old->attr;
    if (new && !(c->flags & RENAME_EXCHANGE))
        lose_name(m, new);
    return 0;
}

static int do_setattr(struct model *m)
{
    const struct fs_command *c = m->c;
    struct model_node *n = node_of(m, c->ino);
    if (!n)
        return ESTALE;
    if (c->set & FS_SET_SIZE) {
        int error = writable(m, &n);
        if (error)
            return error;
        if (c->size > INT64_MAX)
            return EFBIG;
        resize(n, c->size);
        n->attr.mtime_ns = m->now;
    }
    if (c->set & FS_SET_MODE)
        n->attr.mode = (n->attr.mode & S_IFMT) | (c->mode & 07777);
    if (c->set & FS_SET_UID)
        n->attr.uid = c->set_uid;
    if (c->set & FS_SET_GID)
        n->attr.gid = c->set_gid;
    if (!S_ISDIR(n->attr.mode) && (c->set & (FS_SET_UID | FS_SET_GID | FS_SET_KILL_PRIV)))
        drop_privileges(n, true);
    else if (c->set & FS_SET_SIZE)
        drop_privileges(n, false);
    if (c->set & (FS_SET_ATIME | FS_SET_ATIME_NOW))
        n->attr.atime_ns = c->set & FS_SET_ATIME_NOW ? m->now : c->atime_ns;
    if (c->set & (FS_SET_MTIME | FS_SET_MTIME_NOW))
        n->attr.mtime_ns = c->set & FS_SET_MTIME_NOW ? m->now : c->mtime_ns;
    if (c->set)
        n->attr.ctime_ns = m->now;
    m->out.attr = n->attr;
    return 0;
}

static int do_write(struct model *m)
{
    const struct fs_command *c = m->c;
    struct model_node *n;
    int error = writable(m, &n);
    if (error)
        return error;
    uint64_t offset = c->flags & FS_WRITE_APPEND ? n->attr.size : c->offset;
    if (offset > INT64_MAX || offset + c->data_size > INT64_MAX)
        return EFBIG;
    error = check_write(m, n, offset, c->data_size);
    if (error)
        return error;
    if (c->data_size) {
        put_bytes(n, offset, offset + c->data_size, c->data);
        if (offset + c->data_size > n->attr.size)
            n->attr.size = offset + c->data_size;
        drop_privileges(n, c->flags & FS_WRITE_KILL_PRIV);
        modified(m, n);
    }
    m->out.attr = n->attr;
    m->out.offset = offset;
    return 0;
}

static int do_fallocate(struct model *m)
{
    const struct fs_command *c = m->c;
    bool is_hole = c->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
    if (c->mode & FALLOC_FL_COLLAPSE_RANGE)
        return EOPNOTSUPP;
    if (c->size == 0)
        return EINVAL;
    struct model_node *n;
    int error = writable(m, &n);
    if (error)
        return error == EINVAL ? ENODEV : error;
    uint64_t end = c->offset + c->size;
    if (!is_hole)
        error = check_space(m, n->attr.blocks * 512, c->size);
    if (error)
        return error;
    if (is_hole && c->offset < n->attr.size)
        put_bytes(n, c->offset, end < n->attr.size ? end : n->attr.size, NULL);
    drop_privileges(n, false);
    if (!(c->mode & FALLOC_FL_KEEP_SIZE) && end > n->attr.size)
        n->attr.size = end;
    modified(m, n);
    m->out.attr = n->attr;
    return 0;
}

static int check_xattr_name(const struct fs_command *c)
{
    static const char *const prefixes[] = {"user.", "security.", "trusted."};
    for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++) {
        size_t size = strlen(prefixes[i]);
        if (c->name_size >= size && !memcmp(c->name, prefixes[i], size))
            return c->name_size == size ? EINVAL : 0;
    }
    return EOPNOTSUPP;
}

static int do_setxattr(struct model *m)
{
    const struct fs_command *c = m->c;
    int error = check_xattr_name(c);
    if (error)
        return error;
    if (c->data_size > 65536)
        return E2BIG;
    struct model_node *n = node_of(m, c->ino);
    if (!n)
        return ESTALE;
    struct model_xattr *x = find_xattr(n, c->name, c->name_size);
    if (x && c->flags == XATTR_CREATE)
        return EEXIST;
    if (!x && c->flags == XATTR_REPLACE)
        return ENODATA;
    error = check_space(m, x ? price_of_record(8 + c->name_size, x->size) : 0,
                        price_of_record(8 + c->name_size, c->data_size));
    if (error)
        return error;
    for (size_t i = 0; !x && i < MODEL_XATTRS_MAX; i++)
        if (n->xattrs[i].name[0] == '\0')
            x = &n->xattrs[i];
    ASSERT(x != NULL);
    remove_xattr(x);
    memcpy(x->name, c->name, c->name_size);
    x->value = malloc(c->data_size + 1);
    ASSERT(x->value != NULL);
    x->size = c->data_size;
    if (x->size)
        memcpy(x->value, c->data, x->size);
    n->attr.ctime_ns = m->now;
    m->out.attr = n->attr;
    return 0;
}

static int do_removexattr(struct model *m)
{
    int error = check_xattr_name(m->c);
    if (error)
        return error;
    struct model_node *n = node_of(m, m->c->ino);
    if (!n)
        return ESTALE;
    struct model_xattr *x = find_xattr(n, m->c->name, m->c->name_size);
    if (!x)
        return ENODATA;
    remove_xattr(x);
    n->attr.ctime_ns = m->now;
    m->out.attr = n->attr;
    return 0;
}

static void release(struct model_node *n, uint64_t node)
{
    if (n->attr.nlink || !(n->holders & 1ull << node))
        return;
    n->holders &= ~(1ull << node);
}

static bool is_doomed(const struct model_node *n)
{
    return n && n->attr.nlink == 0 && n->holders == 0;
}

void model_reconcile(struct model *m, bool (*exists)(void *context, uint64_t ino), void *context)
{
    for (size_t i = 0; i < MODEL_NODES_MAX; i++)
        if (is_doomed(m->nodes[i]) && !exists(context, m->nodes[i]->attr.ino))
            node_drop(m, m->nodes[i]);
}

bool model_is_doomed(const struct model *m, uint64_t ino)
{
    return is_doomed(node_of(m, ino));
}

uint64_t model_doomed_count(const struct model *m)
{
    uint64_t count = 0;
    for (size_t i = 0; i < MODEL_NODES_MAX; i++)
        count += is_doomed(m->nodes[i]);
    return count;
}

static int do_forget(struct model *m)
{
    for (uint32_t i = 0; i < m->c->ino_count; i++) {
        uint64_t ino;
        memcpy(&ino, m->c->inos + (size_t)i * 8, 8);
        struct model_node *n = node_of(m, le64toh(ino));
        if (n)
            release(n, m->caller);
    }
    return 0;
}

void model_session_end(struct model *m, uint64_t node)
{
    ASSERT(node < 64);
    m->open_sessions &= ~(1ull << node);
    for (size_t i = 0; i < MODEL_NODES_MAX; i++)
        if (m->nodes[i])
            release(m->nodes[i], node);
}

void model_session(struct model *m, uint64_t node, bool is_anew)
{
    if (is_anew)
        model_session_end(m, node);
    m->open_sessions |= 1ull << node;
}

static int dispatch(struct model *m)
{
    switch (m->c->op) {
    case FS_CREATE:
        return create(m);
    case FS_MKDIR:
        return do_mkdir(m);
    case FS_MKNOD:
        return do_mknod(m);
    case FS_SYMLINK:
        return do_symlink(m);
    case FS_LINK:
        return do_link(m);
    case FS_UNLINK:
        return do_remove(m, false);
    case FS_RMDIR:
        return do_remove(m, true);
    case FS_RENAME:
        return do_rename(m);
    case FS_SETATTR:
        return do_setattr(m);
    case FS_WRITE:
        return do_write(m);
    case FS_FALLOCATE:
        return do_fallocate(m);
    case FS_SETXATTR:
        return do_setxattr(m);
    case FS_REMOVEXATTR:
        return do_removexattr(m);
    case FS_FORGET:
        return do_forget(m);
    case FS_REAP:
    case FS_VERIFY:
        return 0;
    case FS_INVITE:
    case FS_JOIN:
    case FS_PROMOTE:
    case FS_REPLACE:
    case FS_REMOVE:
    case FS_SET_ADDRESS:
    case FS_SESSION_EXPIRE:
    case FS_SET_CAPACITY:
    case FS_SESSION_OPEN:
        break;
    }
    return EINVAL;
}

struct fs_outcome model_apply(struct model *m, uint64_t node, uint64_t time_ns,
                              const struct fs_command *c, uint64_t ino_made)
{
    m->caller = node;
    m->now = time_ns;
    m->c = c;
    m->ino_made = ino_made;
    m->out = (struct fs_outcome){.error = 0};
    int error = dispatch(m);
    if (error)
        m->out = (struct fs_outcome){.error = error};
    return m->out;
}
