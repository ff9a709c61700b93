#include "fs/apply.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "fs/digest.h"
#include "fs/members.h"
#include "fs/orphan.h"
#include "fs/sessions.h"

int apply_inode(struct apply *a, uint64_t ino, struct inode *inode)
{
    int rc = inode_get(a->s, ino, inode);
    return rc == -ENOENT ? ESTALE : rc;
}

int apply_dir(struct apply *a, uint64_t ino, struct inode *inode)
{
    int rc = apply_inode(a, ino, inode);
    if (rc)
        return rc;
    if (!inode_is_dir(inode))
        return ENOTDIR;
    return inode->attr.nlink == 0 ? ENOENT : 0;
}

int apply_name(struct dirent_name *n, uint64_t parent, const char *name, uint32_t size)
{
    *n = (struct dirent_name){.parent = parent, .name = name, .size = size};
    if (size > FILE_NAME_MAX)
        return ENAMETOOLONG;
    bool is_dot = size == 1 && name[0] == '.';
    bool is_dot_dot = size == 2 && name[0] == '.' && name[1] == '.';
    return is_dot || is_dot_dot ? EINVAL : 0;
}

int apply_find(struct apply *a, const struct dirent_name *n, struct dirent *d)
{
    int rc = dirent_get(a->s, a->s->txn, n, d);
    return rc == -ENOENT ? ENOENT : rc;
}

int apply_absent(struct apply *a, const struct dirent_name *n)
{
    struct dirent d;
    int rc = dirent_get(a->s, a->s->txn, n, &d);
    if (rc == -ENOENT)
        return 0;
    return rc ? rc : EEXIST;
}

int apply_put_changed(struct apply *a, struct inode *inode)
{
    inode->attr.ctime_ns = a->time_ns;
    inode->slot = a->slot;
    inode->author = a->author;
    return inode_put(a->s, inode);
}

int apply_put_modified(struct apply *a, struct inode *inode)
{
    inode->attr.mtime_ns = a->time_ns;
    return apply_put_changed(a, inode);
}

static void emit(struct apply *a, struct fs_change change)
{
    if (!a->on_change)
        return;
    change.slot = a->slot;
    change.author = a->author;
    a->on_change(a->context, &change);
}

void apply_emit_gone(struct apply *a, const struct dirent_name *n, uint64_t ino)
{
    emit(a, (struct fs_change){.kind = FS_ENTRY_GONE,
                               .ino = ino,
                               .parent = n->parent,
                               .name = n->name,
                               .name_size = (uint32_t)n->size});
}

void apply_emit_mtime(struct apply *a, uint64_t ino)
{
    emit(a, (struct fs_change){.kind = FS_MTIME_SET, .ino = ino});
}

void apply_emit_data(struct apply *a, uint64_t ino, uint64_t offset, uint64_t size)
{
    if (size)
        emit(a, (struct fs_change){.kind = FS_DATA, .ino = ino, .offset = offset, .size = size});
}

int apply_unlinked(struct apply *a, struct inode *inode)
{
    /* A directory loses its name and its own "." at once. */
    ASSERT(inode->attr.nlink > 0);
    inode->attr.nlink = inode_is_dir(inode) ? 0 : inode->attr.nlink - 1;
    int rc = apply_put_changed(a, inode);
    if (rc || inode->attr.nlink > 0)
        return rc;
    rc = orphan_add(a->s, inode);
    if (rc == 0)
        emit(a, (struct fs_change){.kind = FS_ORPHANED, .ino = inode->attr.ino});
    return rc;
}

static int apply_forget(struct apply *a)
{
    struct cursor inos = cursor_of(a->c->inos, (size_t)a->c->ino_count * 8);
    for (uint32_t i = 0; i < a->c->ino_count; i++) {
        int rc = orphan_forget(a->s, cursor_u64(&inos), a->author);
        if (rc)
            return rc;
    }
    return 0;
}

static int apply_reap(struct apply *a)
{
    if (a->c->size < a->s->deletions_left)
        a->s->deletions_left = a->c->size;
    return orphan_reap(a->s);
}

/* Whoever was silent has spoken since, or its session is over: nothing happens. */
static int apply_session_expire(struct apply *a)
{
    uint64_t node = a->c->nonce, epoch = a->c->ino, sequence = a->c->size;
    bool is_ended = session_expire(a->s->sessions, node, epoch, sequence);
    return is_ended ? orphan_forget_all(a->s, node) : 0;
}

int apply_command(struct apply *a)
{
    switch (a->c->op) {
    case FS_CREATE:
        return apply_create(a);
    case FS_MKDIR:
        return apply_mkdir(a);
    case FS_MKNOD:
        return apply_mknod(a);
    case FS_SYMLINK:
        return apply_symlink(a);
    case FS_LINK:
        return apply_link(a);
    case FS_UNLINK:
        return apply_unlink(a);
    case FS_RMDIR:
        return apply_rmdir(a);
    case FS_RENAME:
        return apply_rename(a);
    case FS_SETATTR:
        return apply_setattr(a);
    case FS_WRITE:
        return apply_write(a);
    case FS_FALLOCATE:
        return apply_fallocate(a);
    case FS_SETXATTR:
        return apply_setxattr(a);
    case FS_REMOVEXATTR:
        return apply_removexattr(a);
    case FS_FORGET:
        return apply_forget(a);
    case FS_REAP:
        return apply_reap(a);
    case FS_VERIFY:
        return 0; /* its effect is what store_apply() reports */
    case FS_INVITE:
    case FS_JOIN:
    case FS_PROMOTE:
    case FS_REPLACE:
    case FS_REMOVE:
    case FS_SET_ADDRESS:
        return apply_membership(a);
    case FS_SESSION_EXPIRE:
        return apply_session_expire(a);
    case FS_SET_CAPACITY:
        a->s->meta.capacity = a->c->size;
        return 0;
    case FS_SESSION_OPEN:
        return EINVAL; /* has sequence 0, and is judged before it gets here */
    }
    return EINVAL;
}

/* Turn apply's answer into an outcome. What an agreed error leaves of the outcome is the error
 * alone. */
static int conclude(int rc, struct fs_outcome *outcome)
{
    if (rc < 0)
        return rc;
    if (rc > 0)
        *outcome = (struct fs_outcome){.error = rc};
    return 0;
}

/* The session's former epoch, if it had one, lets go of its orphans. @ended: the epoch that the
 * client knows to have expired. */
static int open_session(struct apply *a, uint64_t ended)
{
    bool changed = false;
    int rc = session_find(a->s->sessions, a->author) ? 0 : sessions_make_room(a->s);
    if (rc)
        return rc;
    a->outcome->epoch = session_open_after(a->s->sessions, a->author, a->c->nonce, ended, &changed);
    if (a->outcome->epoch == 0)
        return EUSERS;
    return changed ? orphan_forget_all(a->s, a->author) : 0;
}

static void remember(struct store *s, const struct command *command,
                     const struct fs_outcome *outcome)
{
    uint8_t bytes[OUTCOME_SIZE_MAX];
    size_t size = fs_outcome_encode(outcome, bytes, sizeof bytes);
    ASSERT(size > 0);
    session_record(s->sessions, command->node, command->sequence, bytes, (uint32_t)size);
}

/* The digest after this slot: what the batch still keeps in memory is written first, so that it
 * does not depend on where batches end. */
static int report_digest(struct apply *a)
{
    int rc = inode_flush(a->s);
    if (rc == 0)
        rc = sessions_flush(a->s);
    if (rc)
        return rc;
    struct fs_change change = {.kind = FS_DIGEST, .nonce = a->c->nonce};
    digest_fold(&a->s->meta, change.digest);
    emit(a, change);
    return 0;
}

static int apply_new(struct apply *a, const struct command *command, bool decoded)
{
    int rc = conclude(decoded ? apply_command(a) : EINVAL, a->outcome);
    if (rc)
        return rc;
    remember(a->s, command, a->outcome);
    return decoded && a->c->op == FS_VERIFY ? report_digest(a) : 0;
}

/* Sequence 0 is for a session open alone. */
static int apply_unsequenced(struct apply *a, const struct command *command, bool decoded,
                             struct store_applied *result)
{
    if (!decoded || a->c->op != FS_SESSION_OPEN) {
        result->verdict = SESSION_FENCED;
        return 0;
    }
    result->verdict = SESSION_NEW;
    return conclude(open_session(a, command->epoch), a->outcome);
}

static int apply_judged(struct apply *a, const struct command *command, bool decoded,
                        struct store_applied *result)
{
    const struct session_outcome *before = NULL;
    result->verdict = session_judge(a->s->sessions, command->node, command->epoch,
                                    command->sequence, command->low, &before);
    switch (result->verdict) {
    case SESSION_NEW:
        return apply_new(a, command, decoded);
    case SESSION_REPEATED:
        return fs_outcome_decode(before->bytes, before->size, &result->outcome);
    case SESSION_SETTLED:
    case SESSION_FENCED:
        return 0;
    }
    return 0;
}

int store_apply(struct store *s, uint64_t slot, uint64_t time_ns, const struct command *command,
                struct store_applied *result,
                void (*on_change)(void *context, const struct fs_change *change), void *context)
{
    ASSERT(s->txn != NULL);
    ASSERT(slot == s->meta.applied + 1); /* R3: in slot order, each once */

    *result = (struct store_applied){.verdict = SESSION_SETTLED};
    s->meta.applied = slot;
    s->deletions_left = s->deletions_max;
    /* A slot adopted from a former leader may carry an earlier time than the one before it. */
    if (time_ns <= s->meta.time_ns)
        time_ns = s->meta.time_ns + 1;
    s->meta.time_ns = time_ns;
    int rc = members_advance(s, slot);
    if (rc || command_is_noop(command))
        return rc;

    struct fs_command c;
    bool decoded = fs_command_decode(command->bytes, command->size, &c) == 0;
    struct apply a = {
        .s = s,
        .c = &c,
        .slot = slot,
        .time_ns = time_ns,
        .author = command->node,
        .outcome = &result->outcome,
        .on_change = on_change,
        .context = context,
    };
    if (command->sequence == 0)
        return apply_unsequenced(&a, command, decoded, result);
    return apply_judged(&a, command, decoded, result);
}
