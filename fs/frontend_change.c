/* Operations that change something: encoded, handed to the node, answered when applied. */
#include "fs/frontend_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include <linux/fs.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/log.h"
#include "fs/frontend_call.h"
#include "fs/frontend_reply.h"

/* Of an encoded command, beside its names and data. */
#define COMMAND_FIXED_MAX 256

/* A create without O_EXCL that meets a file that another host made since the kernel looked: it is
 * not opened, for the kernel checked no permission on it. ESTALE makes the kernel look the name up
 * again and open what it finds, as open(2) of an existing file. */
static int error_of(const struct call *c, const struct fs_outcome *outcome)
{
    if (c->u.change.look_again && outcome->error == EEXIST)
        return ESTALE;
    return outcome->error;
}

static void change_complete(struct request *request, int error, const struct fs_outcome *outcome)
{
    struct call *c = container_of(request, struct call, request);
    if (call_claim(c)) {
        if (error < 0)
            fuse_reply_err(c->fuse, error == -ENOMEM ? ENOMEM : EIO);
        else if (outcome->error)
            fuse_reply_err(c->fuse, error_of(c, outcome));
        else
            c->u.change.answer(c, outcome);
        call_unref(c);
    }
    call_unref(c);
}

static int encode(struct request *r, const struct fs_command *command)
{
    size_t room =
        COMMAND_FIXED_MAX + command->name_size + command->new_name_size + command->data_size;
    r->bytes = malloc(room);
    if (!r->bytes)
        return -ENOMEM;
    size_t size = fs_command_encode(command, r->bytes, room);
    ASSERT(size > 0);
    r->size = (uint32_t)size;
    return 0;
}

static void submit_open(fuse_req_t fuse, struct fs_command *command, answer_fn *answer,
                        int open_flags)
{
    struct frontend *f = fuse_req_userdata(fuse);
    if (command->name)
        command->name_size = (uint32_t)strlen(command->name);
    if (command->new_name)
        command->new_name_size = (uint32_t)strlen(command->new_name);
    if (command->name_size > FILE_NAME_MAX || command->new_name_size > FILE_NAME_MAX) {
        fuse_reply_err(fuse, ENAMETOOLONG);
        return;
    }
    struct call *c = call_new(f, fuse, 0);
    if (!c) {
        fuse_reply_err(fuse, ENOMEM);
        return;
    }
    command->uid = fuse_req_ctx(fuse)->uid;
    command->gid = fuse_req_ctx(fuse)->gid;
    c->request.complete = change_complete;
    c->request.patient = true;
    c->u.change.answer = answer;
    c->u.change.offset = command->offset;
    c->u.change.size = command->data_size;
    c->u.change.open_flags = open_flags;
    c->u.change.look_again = command->op == FS_CREATE && !(command->flags & O_EXCL);
    if (command->op == FS_CREATE)
        command->flags = O_EXCL;
    if (encode(&c->request, command) < 0) {
        fuse_reply_err(fuse, ENOMEM);
        call_unref(c);
        call_unref(c);
        return;
    }
    if (call_wait(c))
        f->config.backend.submit(f->config.backend.context, &c->request);
}

static void submit(fuse_req_t fuse, struct fs_command *command, answer_fn *answer)
{
    submit_open(fuse, command, answer, 0);
}

/* ---- answers ---- */

static void answer_done(struct call *c, const struct fs_outcome *outcome)
{
    (void)outcome;
    fuse_reply_err(c->fuse, 0);
}

static void answer_entry(struct call *c, const struct fs_outcome *outcome)
{
    reply_entry(c->frontend, c->fuse, &outcome->attr);
}

static void answer_create(struct call *c, const struct fs_outcome *outcome)
{
    reply_create(c->frontend, c->fuse, &outcome->attr, c->u.change.open_flags);
}

/* The kernel takes the mtime of this answer without dropping cached pages, and would then never
 * notice another host's write from before. One nanosecond off, the next GETATTR differs and drops
 * them. */
static void answer_setattr(struct call *c, const struct fs_outcome *outcome)
{
    struct fs_attr attr = outcome->attr;
    if (S_ISREG(attr.mode))
        attr.mtime_ns ^= 1; /* stays within its second */
    struct stat st = attr_to_stat(&attr);
    fuse_reply_attr(c->fuse, &st, 0);
}

static void answer_write(struct call *c, const struct fs_outcome *outcome)
{
    struct frontend *f = c->frontend;
    uint64_t ino = outcome->attr.ino;
    bool moved = outcome->offset != c->u.change.offset;
    fuse_reply_write(c->fuse, c->u.change.size);
    /* An append that went elsewhere than this kernel thought: its page cache holds the bytes at the
     * wrong place. Without memory for the notice: until the next GETATTR, which finds a new mtime.
     */
    if (moved && notify_inode(f->notify, ino) < 0)
        log_event(LOG_WARN, "event=notice_dropped ino=%lu", ino);
}

/* ---- names ---- */

static void on_create(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode,
                      struct fuse_file_info *file)
{
    struct fs_command command = {
        .op = FS_CREATE,
        .parent = parent,
        .name = name,
        .mode = mode,
        .flags = (uint32_t)(file->flags & O_EXCL),
    };
    submit_open(fuse, &command, answer_create, file->flags);
}

static void on_mkdir(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct fs_command command = {.op = FS_MKDIR, .parent = parent, .name = name, .mode = mode};
    submit(fuse, &command, answer_entry);
}

static void on_mknod(fuse_req_t fuse, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct fs_command command = {
        .op = FS_MKNOD,
        .parent = parent,
        .name = name,
        .mode = mode,
        .rdev = (uint32_t)rdev,
    };
    submit(fuse, &command, answer_entry);
}

static void on_symlink(fuse_req_t fuse, const char *target, fuse_ino_t parent, const char *name)
{
    struct fs_command command = {
        .op = FS_SYMLINK,
        .parent = parent,
        .name = name,
        .data = target,
        .data_size = (uint32_t)strlen(target),
    };
    if (command.data_size > SYMLINK_MAX)
        fuse_reply_err(fuse, ENAMETOOLONG);
    else
        submit(fuse, &command, answer_entry);
}

static void on_link(fuse_req_t fuse, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct fs_command command = {.op = FS_LINK, .ino = ino, .parent = parent, .name = name};
    submit(fuse, &command, answer_entry);
}

static void on_unlink(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    struct fs_command command = {.op = FS_UNLINK, .parent = parent, .name = name};
    submit(fuse, &command, answer_done);
}

static void on_rmdir(fuse_req_t fuse, fuse_ino_t parent, const char *name)
{
    struct fs_command command = {.op = FS_RMDIR, .parent = parent, .name = name};
    submit(fuse, &command, answer_done);
}

static void on_rename(fuse_req_t fuse, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
                      const char *new_name, unsigned int flags)
{
    struct fs_command command = {
        .op = FS_RENAME,
        .parent = parent,
        .name = name,
        .new_parent = new_parent,
        .new_name = new_name,
        .flags = flags,
    };
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) /* RENAME_WHITEOUT comes through */
        fuse_reply_err(fuse, EINVAL);
    else
        submit(fuse, &command, answer_done);
}

/* ---- inodes ---- */

static uint32_t set_of(int to_set)
{
    static const struct {
        int fuse;
        uint32_t fs;
    } bits[] = {
        {FUSE_SET_ATTR_MODE, FS_SET_MODE},
        {FUSE_SET_ATTR_UID, FS_SET_UID},
        {FUSE_SET_ATTR_GID, FS_SET_GID},
        {FUSE_SET_ATTR_SIZE, FS_SET_SIZE},
        {FUSE_SET_ATTR_ATIME, FS_SET_ATIME},
        {FUSE_SET_ATTR_MTIME, FS_SET_MTIME},
        {FUSE_SET_ATTR_ATIME_NOW, FS_SET_ATIME_NOW},
        {FUSE_SET_ATTR_MTIME_NOW, FS_SET_MTIME_NOW},
    };
    uint32_t set = 0;
    for (size_t i = 0; i < ARRAY_COUNT(bits); i++) {
        if (to_set & bits[i].fuse)
            set |= bits[i].fs;
    }
    /* The kernel sends "now" beside the field itself, whose value is then its own clock's. */
    if (set & FS_SET_ATIME_NOW)
        set &= ~(uint32_t)FS_SET_ATIME;
    if (set & FS_SET_MTIME_NOW)
        set &= ~(uint32_t)FS_SET_MTIME;
    return set;
}

static void on_setattr(fuse_req_t fuse, fuse_ino_t ino, struct stat *st, int to_set,
                       struct fuse_file_info *file)
{
    (void)file;
    struct fs_command command = {
        .op = FS_SETATTR,
        .ino = ino,
        .set = set_of(to_set),
        .mode = st->st_mode,
        .set_uid = st->st_uid,
        .set_gid = st->st_gid,
        .size = (uint64_t)st->st_size,
        .atime_ns = time_to_ns(st->st_atim),
        .mtime_ns = time_to_ns(st->st_mtim),
    };
    if ((command.set & FS_SET_SIZE) && fuse_req_ctx(fuse)->uid != 0)
        command.set |= FS_SET_KILL_PRIV;
    submit(fuse, &command, answer_setattr);
}

static void on_write(fuse_req_t fuse, fuse_ino_t ino, const char *bytes, size_t size, off_t offset,
                     struct fuse_file_info *file)
{
    struct fs_command command = {
        .op = FS_WRITE,
        .ino = ino,
        .offset = (uint64_t)offset,
        .data = bytes,
        .data_size = (uint32_t)size,
    };
    ASSERT(size <= WRITE_SIZE_MAX); /* max_write */
    /* The descriptor's flags now. Pages written back for a mapping know their place: no append. */
    if ((file->flags & O_APPEND) && !file->writepage)
        command.flags |= FS_WRITE_APPEND;
    /* The kernel has cleared suid by a SETATTR of its own; a chmod may have come in between. */
    if (fuse_req_ctx(fuse)->uid != 0 && !file->writepage)
        command.flags |= FS_WRITE_KILL_PRIV;
    submit(fuse, &command, answer_write);
}

static void on_fallocate(fuse_req_t fuse, fuse_ino_t ino, int mode, off_t offset, off_t size,
                         struct fuse_file_info *file)
{
    (void)file;
    struct fs_command command = {
        .op = FS_FALLOCATE,
        .ino = ino,
        .offset = (uint64_t)offset,
        .size = (uint64_t)size,
        .mode = (uint32_t)mode,
    };
    submit(fuse, &command, answer_done);
}

/* ---- extended attributes ---- */

/* POSIX ACLs would be kept but not enforced: refuse them, so that setfacl and cp -a know. */
static bool is_refused_xattr(const char *name)
{
    return strncmp(name, "system.", 7) == 0;
}

static void on_setxattr(fuse_req_t fuse, fuse_ino_t ino, const char *name, const char *value,
                        size_t size, int flags)
{
    struct fs_command command = {
        .op = FS_SETXATTR,
        .ino = ino,
        .name = name,
        .data = value,
        .data_size = (uint32_t)size,
        .flags = (uint32_t)flags,
    };
    if (is_refused_xattr(name))
        fuse_reply_err(fuse, EOPNOTSUPP);
    else if (size > XATTR_VALUE_SIZE_MAX)
        fuse_reply_err(fuse, E2BIG);
    else
        submit(fuse, &command, answer_done);
}

static void on_removexattr(fuse_req_t fuse, fuse_ino_t ino, const char *name)
{
    struct fs_command command = {.op = FS_REMOVEXATTR, .ino = ino, .name = name};
    if (is_refused_xattr(name))
        fuse_reply_err(fuse, EOPNOTSUPP);
    else
        submit(fuse, &command, answer_done);
}

void frontend_change_ops(struct fuse_lowlevel_ops *ops)
{
    ops->create = on_create;
    ops->mkdir = on_mkdir;
    ops->mknod = on_mknod;
    ops->symlink = on_symlink;
    ops->link = on_link;
    ops->unlink = on_unlink;
    ops->rmdir = on_rmdir;
    ops->rename = on_rename;
    ops->setattr = on_setattr;
    ops->write = on_write;
    ops->fallocate = on_fallocate;
    ops->setxattr = on_setxattr;
    ops->removexattr = on_removexattr;
}
