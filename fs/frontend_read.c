/* Operations that change nothing: answered by the worker from its own snapshot when the store is
 * current, else from a reader's after a read index. */
#include "fs/frontend_ops.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/fuse.h>

#include "base/log.h"
#include "fs/frontend_call.h"
#include "fs/frontend_reply.h"

static void read_run(struct request *request, int error, struct store_reader *reader)
{
    struct call *c = container_of(request, struct call, request);
    if (call_claim(c)) {
        if (error < 0)
            fuse_reply_err(c->fuse, EIO);
        else
            c->u.read.serve(c->frontend, c->fuse, &c->u.read, reader);
        call_unref(c);
    }
    call_unref(c);
}

static void serve_now(struct frontend *f, fuse_req_t fuse, const struct read_op *op)
{
    struct store_reader *reader = frontend_own_reader();
    int rc = store_read_begin(reader);
    if (rc < 0) {
        log_event(LOG_WARN, "event=read_begin_failed error=%d", rc);
        fuse_reply_err(fuse, EIO);
        return;
    }
    op->serve(f, fuse, op, reader);
    store_read_end(reader);
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
    /* Asked before the snapshot is taken: what is current then holds all that completed before. */
    if (f->config.backend.read_is_current(f->config.backend.context))
        serve_now(f, fuse, op);
    else
        serve_later(f, fuse, op);
}

/* ---- lookup, attributes ---- */

static void serve_lookup(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                         struct store_reader *reader)
{
    struct fs_attr attr;
    int rc = store_lookup(reader, op->ino, op->name, op->name_size, &attr);
    if (rc < 0)
        reply_error(fuse, rc);
    else
        reply_entry(f, fuse, &attr);
}

static void on_lookup(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    size_t size = strlen(name);
    if (size > FILE_NAME_MAX) {
        fuse_reply_err(fuse, ENAMETOOLONG);
        return;
    }
    serve(fuse, &(struct read_op){serve_lookup, .ino = parent, .name = name, .name_size = size});
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

static void serve_getattr(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                          struct store_reader *reader)
{
    (void)f;
    struct fs_attr attr;
    int rc = store_getattr(reader, op->ino, &attr);
    if (rc < 0) {
        reply_error(fuse, rc);
        return;
    }
    struct stat st = attr_to_stat(&attr);
    fuse_reply_attr(fuse, &st, 0);
}

static void on_getattr(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *file)
{
    (void)file;
    serve(fuse, &(struct read_op){serve_getattr, .ino = ino});
}

static void serve_open(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                       struct store_reader *reader)
{
    (void)f;
    struct fs_attr attr;
    struct fuse_file_info file = open_as(op->open_flags);
    int rc = store_getattr(reader, op->ino, &attr);
    if (rc < 0)
        reply_error(fuse, rc);
    else
        fuse_reply_open(fuse, &file);
}

/* Opens need no read index: the LOOKUP before them had one, and READ, READDIR, GETATTR after them
 * each have their own. Only an inode that is gone is refused here. */
static void on_open(fuse_req_t fuse, fuse_ino_t ino, struct fuse_file_info *file)
{
    struct read_op op = {serve_open, .ino = ino, .open_flags = file->flags};
    serve_now(fuse_req_userdata(fuse), fuse, &op);
}

static void serve_readlink(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                           struct store_reader *reader)
{
    (void)f;
    const char *target;
    size_t size;
    int rc = store_readlink(reader, op->ino, &target, &size);
    if (rc < 0)
        reply_error(fuse, rc);
    else
        fuse_reply_buf(fuse, target, size);
}

static void on_readlink(fuse_req_t fuse, fuse_ino_t ino)
{
    serve(fuse, &(struct read_op){serve_readlink, .ino = ino});
}

/* ---- data ---- */

static void serve_read(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                       struct store_reader *reader)
{
    (void)f;
    struct iovec pieces[STORE_IOV_MAX];
    int count = STORE_IOV_MAX;
    int64_t size = store_read(reader, op->ino, op->offset, op->size, pieces, &count);
    if (size < 0)
        reply_error(fuse, (int)size);
    else if (size == 0)
        fuse_reply_buf(fuse, NULL, 0);
    else if (count == 1)
        fuse_reply_buf(fuse, pieces[0].iov_base, pieces[0].iov_len); /* saves an allocation */
    else
        fuse_reply_iov(fuse, pieces, count);
}

static void on_read(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *file)
{
    (void)file;
    serve(fuse, &(struct read_op){
                    serve_read,
                    .ino = ino,
                    .offset = (uint64_t)offset,
                    .size = size < WRITE_SIZE_MAX ? size : WRITE_SIZE_MAX,
                });
}

static void serve_seek(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                       struct store_reader *reader)
{
    (void)f;
    int64_t offset = store_seek(reader, op->ino, op->offset, op->whence);
    if (offset < 0)
        reply_error(fuse, (int)offset);
    else
        fuse_reply_lseek(fuse, offset);
}

static void on_lseek(fuse_req_t fuse, fuse_ino_t ino, off_t offset, int whence,
                     struct fuse_file_info *file)
{
    (void)file;
    serve(fuse,
          &(struct read_op){serve_seek, .ino = ino, .offset = (uint64_t)offset, .whence = whence});
}

/* ---- directories ---- */

/* A READDIR answer as it fills. */
struct listing {
    struct frontend *frontend;
    fuse_req_t fuse;
    struct store_reader *reader;
    char *bytes;
    size_t size, room;
    bool plus;
    int error;
};

static bool is_dot(const struct store_dirent *d)
{
    return strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0;
}

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
    if (!is_dot(d) && store_getattr(l->reader, d->ino, &attr) == 0 &&
        inode_refs_get(l->frontend->config.inodes, l->frontend->mount, d->ino) == 0)
        entry = attr_to_entry(&attr);
    l->size += fuse_add_direntry_plus(l->fuse, l->bytes + l->size, left, d->name, &entry,
                                      (off_t)d->cookie);
    return 0;
}

/* The answer did not reach the kernel: it holds none of the inodes in it. */
static void take_back(struct listing *l)
{
    size_t at = 0;
    while (l->plus && at < l->size) {
        struct fuse_direntplus entry;
        memcpy(&entry, l->bytes + at, sizeof(entry));
        if (entry.entry_out.nodeid != 0)
            inode_refs_put(l->frontend->config.inodes, l->frontend->mount, entry.entry_out.nodeid,
                           1);
        at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + entry.dirent.namelen);
    }
}

static void serve_listing(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                          struct store_reader *reader, bool plus)
{
    struct listing l = {
        .frontend = f, .fuse = fuse, .reader = reader, .room = op->size, .plus = plus};
    l.bytes = malloc(l.room);
    if (!l.bytes) {
        fuse_reply_err(fuse, ENOMEM);
        return;
    }
    int rc = store_readdir(reader, op->ino, op->offset, plus ? list_plus : list_plain, &l);
    if (rc < 0) {
        take_back(&l);
        reply_error(fuse, rc);
    } else if (fuse_reply_buf(fuse, l.bytes, l.size) < 0) {
        take_back(&l);
    }
    free(l.bytes);
}

static void serve_readdir(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                          struct store_reader *reader)
{
    serve_listing(f, fuse, op, reader, false);
}

static void serve_readdirplus(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                              struct store_reader *reader)
{
    serve_listing(f, fuse, op, reader, true);
}

static void on_readdir(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info *file)
{
    (void)file;
    serve(fuse,
          &(struct read_op){serve_readdir, .ino = ino, .offset = (uint64_t)offset, .size = size});
}

static void on_readdirplus(fuse_req_t fuse, fuse_ino_t ino, size_t size, off_t offset,
                           struct fuse_file_info *file)
{
    (void)file;
    serve(fuse, &(struct read_op){serve_readdirplus, .ino = ino, .offset = (uint64_t)offset,
                                  .size = size});
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

static void serve_getxattr(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                           struct store_reader *reader)
{
    (void)f;
    const void *value;
    size_t size;
    int rc = store_getxattr(reader, op->ino, op->name, &value, &size);
    if (rc < 0)
        reply_error(fuse, rc);
    else
        reply_xattr(fuse, op, value, size);
}

static void on_getxattr(fuse_req_t fuse, fuse_ino_t ino, const char *name, size_t size)
{
    struct read_op op = {serve_getxattr, .ino = ino, .size = size, .name = name,
                         .name_size = strlen(name)};
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

static void serve_listxattr(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                            struct store_reader *reader)
{
    (void)f;
    int64_t room = store_listxattr(reader, op->ino, NULL, 0);
    char *list = room > 0 ? malloc((size_t)room) : NULL;
    if (room > 0 && !list) {
        fuse_reply_err(fuse, ENOMEM);
        return;
    }
    int64_t size = room > 0 ? store_listxattr(reader, op->ino, list, (size_t)room) : room;
    if (size < 0)
        reply_error(fuse, (int)size);
    else
        reply_xattr(fuse, op, list,
                    op->privileged || size == 0 ? (size_t)size : hide_trusted(list, size));
    free(list);
}

static void on_listxattr(fuse_req_t fuse, fuse_ino_t ino, size_t size)
{
    serve(fuse, &(struct read_op){
                    serve_listxattr,
                    .ino = ino,
                    .size = size,
                    .privileged = fuse_req_ctx(fuse)->uid == 0,
                });
}

static void serve_statfs(struct frontend *f, fuse_req_t fuse, const struct read_op *op,
                         struct store_reader *reader)
{
    (void)f;
    (void)op;
    const uint64_t block_size = 4096;
    struct store_usage usage;
    int rc = store_usage(reader, &usage);
    if (rc < 0) {
        reply_error(fuse, rc);
        return;
    }
    struct statvfs st = {
        .f_bsize = block_size,
        .f_frsize = block_size,
        .f_blocks = usage.disk_total / block_size,
        .f_bfree = usage.disk_free / block_size,
        .f_bavail = usage.disk_free / block_size,
        /* As many more as the space has room for: nothing else limits them. */
        .f_files = usage.inodes + usage.disk_free / block_size,
        .f_ffree = usage.disk_free / block_size,
        .f_favail = usage.disk_free / block_size,
        .f_namemax = FILE_NAME_MAX,
    };
    fuse_reply_statfs(fuse, &st);
}

static void on_statfs(fuse_req_t fuse, fuse_ino_t ino)
{
    serve(fuse, &(struct read_op){serve_statfs, .ino = ino});
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
