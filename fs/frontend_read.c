/* Operations that change nothing: answered by the worker from its own snapshot where that is shown
 * to be as new as this moment, else from a reader's after a read index. So each looks first, and
 * only then answers, and counts what the kernel holds. */
#include "fs/frontend_ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/fuse.h>

#include "base/log.h"
#include "fs/frontend_call.h"
#include "fs/frontend_reply.h"
#include "fs/space.h"

enum { SNAPSHOTS_MAX = 3 }; /* that a read takes before it rather waits */

/* ---- looking, and answering ---- */

static void look(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                 struct found *found)
{
    found->error = 0;
    found->memory = NULL;
    found->set = (struct read_set){.inos = {op->ino}};
    op->look(fuse, op, reader, found);
}

static void answer(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                   const struct found *found)
{
    if (found->error < 0)
        reply_error(fuse, found->error);
    else
        op->reply(f, fuse, op, found);
}

/* The store is new enough. */
static void serve_from(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                       struct store_reader *reader)
{
    struct found found;
    look(fuse, op, reader, &found);
    answer(f, fuse, op, &found);
    free(found.memory);
}

/* Whether it is, is known only once it was read. */
static enum pending_verdict try_from(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                                     struct store_reader *reader)
{
    struct found found;
    look(fuse, op, reader, &found);
    enum pending_verdict verdict =
        f->config.backend.read_verdict(f->config.backend.context, reader, &found.set);
    if (verdict == PENDING_CLEAR)
        answer(f, fuse, op, &found);
    free(found.memory);
    return verdict;
}

static bool begin_own(fuse_req_t fuse, struct store_reader *reader)
{
    int rc = store_read_begin(reader);
    if (rc < 0) {
        log_event(LOG_WARN, "event=read_begin_failed error=%d", rc);
        fuse_reply_err(fuse, EIO);
    }
    return rc == 0;
}

/* False: it is not answered, and has to wait. */
static bool serve_now(struct frontend *f, fuse_req_t fuse, const struct read_op *op)
{
    struct store_reader *reader = frontend_own_reader();
    enum pending_verdict verdict = PENDING_RENEW;
    for (int i = 0; i < SNAPSHOTS_MAX && verdict == PENDING_RENEW; i++) {
        if (!begin_own(fuse, reader))
            return true;
        verdict = try_from(f, fuse, op, reader);
        store_read_end(reader);
    }
    return verdict == PENDING_CLEAR;
}

static void read_run(struct request *request, int error, struct store_reader *reader)
{
    struct call *c = container_of(request, struct call, request);
    if (call_claim(c)) {
        if (error < 0)
            fuse_reply_err(c->fuse, EIO);
        else
            serve_from(c->frontend, c->fuse, &c->u.read, reader);
        call_unref(c);
    }
    call_unref(c);
}

static void serve_later(struct frontend *f, fuse_req_t fuse, const struct read_op *op)
{
    struct call *c = call_new(f, fuse, op->name_size + 1);
    if (!c) {
        fuse_reply_err(fuse, ENOMEM);
        return;
    }
    c->request.run = read_run;
    c->u.read = *op;
    c->u.read.name = c->name;
    if (op->name_size > 0)
        memcpy(c->name, op->name, op->name_size);
    if (call_wait(c))
        f->config.backend.read(f->config.backend.context, &c->request);
}

static void serve(fuse_req_t fuse, const struct read_op *op)
{
    struct frontend *f = fuse_req_userdata(fuse);
    /* Asked before the snapshot is taken, which then holds all that completed before, but for what
     * the verdict knows to be pending. */
    if (!f->config.backend.read_may_begin(f->config.backend.context) || !serve_now(f, fuse, op))
        serve_later(f, fuse, op);
}

/* ---- lookup, attributes ---- */

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* It looks at the name and, in the answer, at the inode behind it; at the directory itself where
 * that is the answer, or holds it, or does not exist. */
static void look_up(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                    struct found *found)
{
    (void)fuse;
    found->error = store_lookup(reader, op->ino, op->name, op->name_size, &found->u.attr);
    found->set = (struct read_set){
        .inos = {found->error ? 0 : found->u.attr.ino,
                 found->error == -ESTALE || is_dots(op->name) ? op->ino : 0},
        .parent = op->ino,
        .name = op->name,
        .name_size = op->name_size,
    };
}

static void reply_lookup(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                         const struct found *found)
{
    (void)op;
    reply_entry(f, fuse, &found->u.attr);
}

static void on_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    size_t size = strlen(name);
    if (size > FILE_NAME_MAX) {
        fuse_reply_err(fuse, ENAMETOOLONG);
        return;
    }
    serve(fuse,
          &(struct read_op){look_up, reply_lookup, .ino = parent, .name = name, .name_size = size});
}

static void forget(struct frontend *f, fuse_ino_t ino, uint64_t count)
{
    inode_refs_put(f->config.inodes, f->mount, ino, count);
}

static void on_forget(fuse_req_t fuse, fuse_ino_t ino, uint64_t count)
{
    forget(fuse_req_userdata(fuse), ino, count);
    fuse_reply_none(fuse);
}

static void on_forget_multi(fuse_req_t fuse, size_t count, struct fuse_forget_data *forgets)
{
    for (size_t i = 0; i < count; i++)
        forget(fuse_req_userdata(fuse), forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(fuse);
}

static void look_at_attr(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                         struct found *found)
{
    (void)fuse;
    found->error = store_getattr(reader, op->ino, &found->u.attr);
}

static void reply_attr(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                       const struct found *found)
{
    (void)f;
    (void)op;
    struct stat st = attr_to_stat(&found->u.attr);
    fuse_reply_attr(fuse, &st, 0);
}

static void on_getattr(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *file)
{
    (void)file;
    serve(fuse, &(struct read_op){look_at_attr, reply_attr, .ino = ino});
}

static void reply_opened(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                         const struct found *found)
{
    (void)f;
    (void)found;
    struct fuse_file_info file = open_as(op->open_flags);
    fuse_reply_open(fuse, &file);
}

/* Opens ask nobody: the LOOKUP before them was as new as its moment, and READ, READDIR, GETATTR
 * after them are as new as theirs. Only an inode that is gone is refused here. */
static void on_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *file)
{
    struct read_op op = {look_at_attr, reply_opened, .ino = ino, .open_flags = file->flags};
    struct store_reader *reader = frontend_own_reader();
    if (!begin_own(fuse, reader))
        return;
    serve_from(fuse_req_userdata(fuse), fuse, &op, reader);
    store_read_end(reader);
}

static void look_at_link(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                         struct found *found)
{
    (void)fuse;
    const char *target = NULL;
    found->error = store_readlink(reader, op->ino, &target, &found->u.view.size);
    found->u.view.bytes = target;
}

static void reply_link(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                       const struct found *found)
{
    (void)f;
    (void)op;
    fuse_reply_buf(fuse, found->u.view.bytes, found->u.view.size);
}

static void on_readlink(fuse_req_t fuse, fuse_ino_t ino)
{
    serve(fuse, &(struct read_op){look_at_link, reply_link, .ino = ino});
}

/* ---- data ---- */

static void look_at_data(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                         struct found *found)
{
    (void)fuse;
    found->u.data.count = STORE_IOV_MAX;
    int64_t size = store_read(reader, op->ino, op->offset, op->size, found->u.data.pieces,
                              &found->u.data.count);
    if (size < 0)
        found->error = (int)size;
}

static void reply_data(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                       const struct found *found)
{
    (void)f;
    (void)op;
    const struct iovec *pieces = found->u.data.pieces;
    if (found->u.data.count == 0)
        fuse_reply_buf(fuse, NULL, 0);
    else if (found->u.data.count == 1)
        fuse_reply_buf(fuse, pieces[0].iov_base, pieces[0].iov_len); /* saves an allocation */
    else
        fuse_reply_iov(fuse, pieces, found->u.data.count);
}

static void on_read(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *file)
{
    (void)file;
    serve(fuse, &(struct read_op){
                    look_at_data,
                    reply_data,
                    .ino = ino,
                    .offset = (uint64_t)offset,
                    .size = size < WRITE_SIZE_MAX ? size : WRITE_SIZE_MAX,
                });
}

static void look_for_offset(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                            struct found *found)
{
    (void)fuse;
    found->u.offset = store_seek(reader, op->ino, op->offset, op->whence);
    if (found->u.offset < 0)
        found->error = (int)found->u.offset;
}

static void reply_offset(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                         const struct found *found)
{
    (void)f;
    (void)op;
    fuse_reply_lseek(fuse, found->u.offset);
}

static void on_lseek(fuse_req_t fuse, fuse_ino_t ino, off_t offset, int whence,
                     struct fuse_file_info *file)
{
    (void)file;
    serve(fuse, &(struct read_op){look_for_offset, reply_offset, .ino = ino,
                                  .offset = (uint64_t)offset, .whence = whence});
}

/* ---- directories ---- */

/* A READDIR answer as it fills. */
struct listing {
    fuse_req_t fuse;
    struct store_reader *reader;
    char *bytes;
    size_t size, room;
    uint64_t *children; /* inodes in it */
    size_t child_count;
};

static int list_plain(void *context, const struct store_dirent *d)
{
    struct listing *l = context;
    struct stat st = {.st_ino = d->ino, .st_mode = d->mode};
    size_t left = l->room - l->size;
    size_t size =
        fuse_add_direntry(l->fuse, l->bytes + l->size, left, d->name, &st, (off_t)d->cookie);
    if (size > left)
        return 1;
    l->size += size;
    return 0;
}

/* Each entry with an inode is a lookup that the kernel will forget; "." and ".." come without one.
 */
static int list_plus(void *context, const struct store_dirent *d)
{
    struct listing *l = context;
    struct fuse_entry_param entry = {.attr = {.st_ino = d->ino, .st_mode = d->mode}};
    struct fs_attr attr;
    size_t left = l->room - l->size;
    if (fuse_add_direntry_plus(l->fuse, NULL, 0, d->name, &entry, 0) > left)
        return 1;
    if (!is_dots(d->name) && store_getattr(l->reader, d->ino, &attr) == 0) {
        entry = attr_to_entry(&attr);
        l->children[l->child_count++] = d->ino;
    }
    l->size += fuse_add_direntry_plus(l->fuse, l->bytes + l->size, left, d->name, &entry,
                                      (off_t)d->cookie);
    return 0;
}

static void list(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                 struct found *found, bool plus)
{
    size_t child_room = plus ? op->size / FUSE_NAME_OFFSET_DIRENTPLUS + 1 : 0;
    struct listing l = {.fuse = fuse, .reader = reader, .room = op->size};
    found->memory = malloc(child_room * sizeof(*l.children) + l.room);
    if (!found->memory) {
        found->error = -ENOMEM;
        return;
    }
    l.children = found->memory;
    l.bytes = (char *)(l.children + child_room);
    found->error = store_readdir(reader, op->ino, op->offset, plus ? list_plus : list_plain, &l);
    found->u.listing.bytes = l.bytes;
    found->u.listing.size = l.size;
    found->u.listing.plus = plus;
    found->set.children = l.children;
    found->set.child_count = l.child_count;
}

static void look_at_names(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                          struct found *found)
{
    list(fuse, op, reader, found, false);
}

static void look_at_entries(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                            struct found *found)
{
    list(fuse, op, reader, found, true);
}

/* The kernel is given the inodes in the answer: counted before. Without memory to count one, its
 * entry comes without it. */
static void give(struct frontend *f, char *bytes, size_t size)
{
    size_t at = 0;
    while (at < size) {
        struct fuse_direntplus entry;
        memcpy(&entry, bytes + at, sizeof(entry));
        if (entry.entry_out.nodeid != 0 &&
            inode_refs_get(f->config.inodes, f->mount, entry.entry_out.nodeid) < 0)
            memset(bytes + at + offsetof(struct fuse_direntplus, entry_out.nodeid), 0,
                   sizeof(entry.entry_out.nodeid));
        at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + entry.dirent.namelen);
    }
}

/* The answer did not reach the kernel: it holds none of the inodes in it. */
static void take_back(struct frontend *f, const char *bytes, size_t size)
{
    size_t at = 0;
    while (at < size) {
        struct fuse_direntplus entry;
        memcpy(&entry, bytes + at, sizeof(entry));
        if (entry.entry_out.nodeid != 0)
            inode_refs_put(f->config.inodes, f->mount, entry.entry_out.nodeid, 1);
        at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + entry.dirent.namelen);
    }
}

static void reply_listing(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                          const struct found *found)
{
    (void)op;
    char *bytes = found->u.listing.bytes;
    size_t size = found->u.listing.size;
    if (found->u.listing.plus)
        give(f, bytes, size);
    if (fuse_reply_buf(fuse, bytes, size) < 0 && found->u.listing.plus)
        take_back(f, bytes, size);
}

static void on_readdir(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *file)
{
    (void)file;
    serve(fuse, &(struct read_op){look_at_names, reply_listing, .ino = ino,
                                  .offset = (uint64_t)offset, .size = size});
}

static void on_readdirplus(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *file)
{
    (void)file;
    serve(fuse, &(struct read_op){look_at_entries, reply_listing, .ino = ino,
                                  .offset = (uint64_t)offset, .size = size});
}

/* ---- extended attributes, statfs ---- */

/* With size 0 the caller asks how much room it needs. */
static void reply_xattr(fuse_req_t fuse, const struct read_op *op, const void *bytes, size_t size)
{
    if (op->size == 0)
        fuse_reply_xattr(fuse, size);
    else if (size > op->size)
        fuse_reply_err(fuse, ERANGE);
    else
        fuse_reply_buf(fuse, bytes, size);
}

static void reply_xattr_view(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                             const struct found *found)
{
    (void)f;
    reply_xattr(fuse, op, found->u.view.bytes, found->u.view.size);
}

static void look_at_xattr(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                          struct found *found)
{
    (void)fuse;
    found->error =
        store_getxattr(reader, op->ino, op->name, &found->u.view.bytes, &found->u.view.size);
}

static void on_getxattr(fuse_req_t fuse, fuse_ino_t ino, const char *name, size_t size)
{
    struct read_op op = {look_at_xattr, reply_xattr_view, .ino = ino,
                         .size = size,  .name = name,     .name_size = strlen(name)};
    /* POSIX ACLs are not kept, and so not enforced. */
    if (strncmp(name, "system.", 7) == 0)
        fuse_reply_err(fuse, EOPNOTSUPP);
    else if (op.name_size > XATTR_NAME_SIZE_MAX)
        fuse_reply_err(fuse, ERANGE);
    else
        serve(fuse, &op);
}

/* Takes out the names that only the privileged may know, as local filesystems do; the size left. */
static size_t hide_trusted(char *list, int64_t size)
{
    const char *end = list + size;
    char *to = list;
    for (const char *from = list, *next; from < end; from = next) {
        next = from + strlen(from) + 1;
        if (strncmp(from, "trusted.", 8) == 0)
            continue;
        memmove(to, from, (size_t)(next - from));
        to += next - from;
    }
    return (size_t)(to - list);
}

static void look_at_xattrs(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                           struct found *found)
{
    (void)fuse;
    int64_t room = store_listxattr(reader, op->ino, NULL, 0);
    found->memory = room > 0 ? malloc((size_t)room) : NULL;
    if (room > 0 && !found->memory) {
        found->error = -ENOMEM;
        return;
    }
    int64_t size = room > 0 ? store_listxattr(reader, op->ino, found->memory, (size_t)room) : room;
    if (size < 0)
        found->error = (int)size;
    else
        found->u.view.size =
            op->privileged || size == 0 ? (size_t)size : hide_trusted(found->memory, size);
    found->u.view.bytes = found->memory;
}

static void on_listxattr(fuse_req_t fuse, fuse_ino_t ino, size_t size)
{
    serve(fuse, &(struct read_op){
                    look_at_xattrs,
                    reply_xattr_view,
                    .ino = ino,
                    .size = size,
                    .privileged = fuse_req_ctx(fuse)->uid == 0,
                });
}

/* Approximate: it looks at nothing that could be pending. */
static void look_at_usage(fuse_req_t fuse, const struct read_op *op, struct store_reader *reader,
                          struct found *found)
{
    (void)fuse;
    (void)op;
    found->set = (struct read_set){.parent = 0};
    found->error = store_usage(reader, &found->u.usage);
}

static void reply_usage(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                        const struct found *found)
{
    (void)f;
    (void)op;
    const uint64_t block_size = 4096;
    struct store_usage usage = found->u.usage;
    /* Until there is a capacity, what this host's disk has. */
    uint64_t total = usage.capacity, free = total > usage.space ? total - usage.space : 0;
    if (usage.capacity == 0) {
        total = usage.disk_total;
        free = usage.disk_free;
    }
    uint64_t files = free / (SPACE_INODE + space_of_name(FILE_NAME_MAX));
    struct statvfs st = {
        .f_bsize = block_size,
        .f_frsize = block_size,
        .f_blocks = total / block_size,
        .f_bfree = free / block_size,
        .f_bavail = free / block_size,
        /* As many more as the space has room for: nothing else limits them. */
        .f_files = usage.inodes + files,
        .f_ffree = files,
        .f_favail = files,
        .f_namemax = FILE_NAME_MAX,
    };
    fuse_reply_statfs(fuse, &st);
}

static void on_statfs(fuse_req_t fuse, fuse_ino_t ino)
{
    serve(fuse, &(struct read_op){look_at_usage, reply_usage, .ino = ino});
}

/* Left out on purpose: flush, fsync and fsyncdir, since ENOSYS makes the kernel answer them itself
 * from then on (every change is durable when it returns); release, which would have nothing to do;
 * access, which default_permissions does without; locks, which stay local so; copy_file_range, for
 * which the kernel falls back to read and write. */
void frontend_read_ops(struct fuse_lowlevel_ops *ops)
{
    ops->lookup = on_lookup;
    ops->forget = on_forget;
    ops->forget_multi = on_forget_multi;
    ops->getattr = on_getattr;
    ops->open = on_open;
    ops->opendir = on_open;
    ops->readlink = on_readlink;
    ops->read = on_read;
    ops->lseek = on_lseek;
    ops->readdir = on_readdir;
    ops->readdirplus = on_readdirplus;
    ops->getxattr = on_getxattr;
    ops->listxattr = on_listxattr;
    ops->statfs = on_statfs;
}
