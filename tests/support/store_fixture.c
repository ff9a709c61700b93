#include "tests/support/store_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "fs/inode.h"

#define TIME_START_NS (UINT64_C(1700000000) * NS_PER_S)

uint64_t store_fixture_time(uint64_t slot)
{
    return TIME_START_NS + slot * 1000;
}

static void open_store(struct store_fixture *f)
{
    char error[256];
    int rc = store_open(f->dir, &f->store, error, sizeof error);
    if (rc)
        fprintf(stderr, "store_open: %d %s\n", rc, error);
    ASSERT(rc == 0);
    rc = store_reader_new(f->store, &f->reader);
    ASSERT(rc == 0);
    f->slot = store_applied(f->store);
    if (f->deletions_max)
        f->store->deletions_max = f->deletions_max;
}

void store_fixture_limit(struct store_fixture *f, uint64_t deletions_max)
{
    f->deletions_max = f->store->deletions_max = deletions_max;
}

bool store_fixture_has_garbage(const struct store_fixture *f)
{
    return f->store->meta.garbage > 0;
}

bool store_fixture_exists(struct store_fixture *f, uint64_t ino)
{
    if (!f->in_batch)
        return store_fixture_attr(f, ino).ino == ino;
    struct inode inode;
    int rc = inode_get(f->store, ino, &inode);
    ASSERT(rc == 0 || rc == -ENOENT);
    return rc == 0;
}

void store_fixture_init_blank(struct store_fixture *f)
{
    memset(f, 0, sizeof *f);
    const char *parent = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%s/paxfs-store.XXXXXX", parent ? parent : "/tmp");
    ASSERT(mkdtemp(f->dir) != NULL);
    open_store(f);
}

void store_fixture_init(struct store_fixture *f)
{
    store_fixture_init_blank(f);
    store_fixture_session(f, 1, 1);
}

void store_fixture_begin_members(struct store_fixture *f, uint32_t count)
{
    struct member members[MEMBERS_MAX] = {{.node = 0}};
    ASSERT(count <= MEMBERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        members[i].node = i + 1;
        snprintf(members[i].name, sizeof members[i].name, "n%02u", i + 1);
        snprintf(members[i].address, sizeof members[i].address, "10.0.0.%u:7600", i + 1);
    }
    struct membership m;
    membership_begin(&m, members, count);
    int rc = store_begin_membership(f->store, &m);
    ASSERT(rc == 0);
}

void store_fixture_init_cluster(struct store_fixture *f, uint32_t count)
{
    store_fixture_init_blank(f);
    store_fixture_begin_members(f, count);
    store_fixture_session(f, 1, 1);
}

void store_fixture_deinit(struct store_fixture *f)
{
    store_reader_free(f->reader);
    store_close(f->store);
    remove_tree(f->dir);
}

void store_fixture_reopen(struct store_fixture *f)
{
    store_reader_free(f->reader);
    store_close(f->store);
    open_store(f);
}

void store_fixture_checkpoint(struct store_fixture *f)
{
    struct store_checkpoint *c;
    int rc = store_checkpoint_begin(f->store, &c);
    ASSERT(rc == 0);
    rc = store_checkpoint_finish(f->store, c);
    ASSERT(rc == 0);
}

void store_fixture_begin(struct store_fixture *f)
{
    ASSERT(!f->in_batch);
    int rc = store_begin(f->store);
    ASSERT(rc == 0);
    f->in_batch = true;
}

void store_fixture_commit(struct store_fixture *f)
{
    ASSERT(f->in_batch);
    int rc = store_commit(f->store);
    ASSERT(rc == 0);
    f->in_batch = false;
}

static void on_change(void *context, const struct fs_change *change)
{
    struct store_fixture *f = context;
    ASSERT(f->change_count < FIXTURE_CHANGES_MAX);
    char *name = f->names[f->change_count];
    memcpy(name, change->name ? change->name : "", change->name_size);
    name[change->name_size] = '\0';
    f->changes[f->change_count] = *change;
    f->changes[f->change_count++].name = name;
}

struct store_applied store_fixture_apply_bytes(struct store_fixture *f,
                                               const struct command *command)
{
    bool alone = !f->in_batch;
    if (alone)
        store_fixture_begin(f);
    struct store_applied applied;
    f->slot++;
    f->change_count = 0;
    int rc = store_apply(f->store, f->slot, store_fixture_time(f->slot), command, &applied,
                         on_change, f);
    ASSERT(rc == 0);
    if (alone)
        store_fixture_commit(f);
    return applied;
}

static struct store_applied apply_encoded(struct store_fixture *f, const struct fs_command *c,
                                          uint64_t sequence)
{
    static uint8_t bytes[COMMAND_SIZE_MAX];
    size_t size = fs_command_encode(c, bytes, sizeof bytes);
    ASSERT(size > 0);
    struct command command = {
        .size = (uint32_t)size,
        .node = f->node,
        .epoch = f->epoch,
        .sequence = sequence,
        .low = sequence,
        .bytes = bytes,
    };
    return store_fixture_apply_bytes(f, &command);
}

void store_fixture_session(struct store_fixture *f, uint64_t node, uint64_t life)
{
    store_fixture_session_after(f, node, life, 0);
}

void store_fixture_session_after(struct store_fixture *f, uint64_t node, uint64_t life,
                                 uint64_t ended)
{
    f->node = node;
    f->epoch = ended;
    struct fs_command open = {.op = FS_SESSION_OPEN, .nonce = life};
    struct store_applied applied = apply_encoded(f, &open, 0);
    ASSERT(applied.verdict == SESSION_NEW);
    ASSERT(applied.outcome.error == 0);
    f->epoch = applied.outcome.epoch;
    f->sequence = 0;
}

struct fs_outcome store_fixture_apply(struct store_fixture *f, const struct fs_command *c)
{
    struct store_applied applied = apply_encoded(f, c, ++f->sequence);
    ASSERT(applied.verdict == SESSION_NEW);
    return applied.outcome;
}

static void read_begin(struct store_fixture *f)
{
    int rc = store_read_begin(f->reader);
    ASSERT(rc == 0);
}

struct fs_attr store_fixture_attr(struct store_fixture *f, uint64_t ino)
{
    struct fs_attr attr;
    read_begin(f);
    int rc = store_getattr(f->reader, ino, &attr);
    store_read_end(f->reader);
    if (rc)
        memset(&attr, 0, sizeof attr);
    return attr;
}

uint64_t store_fixture_find(struct store_fixture *f, const char *path)
{
    struct fs_attr attr = {.ino = FS_ROOT_INO};
    read_begin(f);
    while (attr.ino && *path) {
        size_t skip = strspn(path, "/"), size = strcspn(path + skip, "/");
        if (size && store_lookup(f->reader, attr.ino, path + skip, size, &attr))
            attr.ino = 0;
        path += skip + size;
    }
    store_read_end(f->reader);
    return attr.ino;
}

uint64_t store_fixture_read(struct store_fixture *f, uint64_t ino, void *bytes, uint64_t room)
{
    uint64_t done = 0;
    int64_t got;
    read_begin(f);
    do {
        struct iovec iov[STORE_IOV_MAX];
        int count = STORE_IOV_MAX;
        uint64_t want = room - done < WRITE_SIZE_MAX ? room - done : WRITE_SIZE_MAX;
        got = store_read(f->reader, ino, done, want, iov, &count);
        ASSERT(got >= 0);
        for (int i = 0; i < count; i++) {
            memcpy((uint8_t *)bytes + done, iov[i].iov_base, iov[i].iov_len);
            done += iov[i].iov_len;
        }
    } while (got > 0);
    store_read_end(f->reader);
    return done;
}

struct store_digest store_fixture_digest(struct store_fixture *f)
{
    struct store_digest digest;
    read_begin(f);
    int rc = store_digest(f->reader, &digest);
    ASSERT(rc == 0);
    store_read_end(f->reader);
    return digest;
}

struct store_digest store_fixture_digest_recompute(struct store_fixture *f)
{
    struct store_digest digest;
    read_begin(f);
    int rc = store_digest_recompute(f->reader, &digest);
    ASSERT(rc == 0);
    store_read_end(f->reader);
    return digest;
}

static void remove_files(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    struct dirent *entry;
    while ((entry = readdir(d)))
        unlinkat(dirfd(d), entry->d_name, 0);
    closedir(d);
}

void remove_tree(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return;
    struct dirent *entry;
    while ((entry = readdir(d))) {
        char path[512];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        if (unlink(path) == 0)
            continue;
        remove_files(path);
        rmdir(path);
    }
    closedir(d);
    rmdir(dir);
}
