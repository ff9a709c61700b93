#include "fs/fsck.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <uthash.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "base/limits.h"
#include "fs/checkpoint.h"
#include "fs/chunk.h"
#include "fs/digest.h"
#include "fs/dirent.h"
#include "fs/environment.h"
#include "fs/inode.h"
#include "fs/members.h"
#include "fs/record.h"
#include "fs/sessions.h"
#include "fs/space.h"
#include "fs/store.h"

/* Addresses, as in fs/environment.c. */
#define MAP_SIZE_MAX (16 * 1024 * GIB)
#define MAP_SIZE_MIN (16 * GIB)

enum { BLOCK_BYTES = 4096 };

/* What was found of one inode. */
struct seen {
    struct inode inode;
    uint64_t names, subdirs, xattrs, xattr_bytes;
    uint64_t named_in; /* the directory of its last name */
    UT_hash_handle by_ino;
};

/* Chunks of one data id. */
struct data {
    uint64_t id, blocks, owner_blocks;
    bool has_owner;
    UT_hash_handle hh;
};

struct check {
    struct store_fsck *f;
    struct store *s;
    MDB_txn *txn;
    struct meta meta;
    struct seen *inodes;
    struct data *datas;
    uint64_t sum[2];
    uint64_t orphans, garbage, blocks, names, cookies, space;
};

__attribute__((format(printf, 2, 3))) static void say(struct check *k, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (k->f->problems++ < FSCK_SAID_MAX)
        k->f->say(k->f->context, text);
}

/* ---- opening ---- */

/* Where the file @inode is mapped. NULL: nowhere. */
static void *find_map(ino_t inode)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[4096 + 128];
    void *found = NULL;
    while (maps && !found && fgets(line, sizeof line, maps)) {
        uint64_t start, offset, number;
        if (sscanf(line, "%" SCNx64 "-%*x %*s %" SCNx64 " %*s %" SCNu64, &start, &offset,
                   &number) == 3 &&
            offset == 0 && number == inode)
            found = (void *)(uintptr_t)start;
    }
    if (maps)
        fclose(maps);
    return found;
}

/* The metas of the checkpoint take the place of the file's, in memory alone: what a daemon does to
 * the file itself when it starts. LMDB looks at them as a transaction begins. */
static int lay_metas_over(const struct checkpoint *c, ino_t inode)
{
    void *map = find_map(inode);
    size_t size = 2 * (size_t)c->page_size;
    if (!map)
        return -ENOMEM;
    void *own =
        mmap(map, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (own == MAP_FAILED)
        return -errno;
    memcpy(own, c->metas, size);
    return 0;
}

static int open_env(struct store *s, const char *path)
{
    int rc = ENOMEM;
    for (uint64_t size = MAP_SIZE_MAX; rc == ENOMEM && size >= MAP_SIZE_MIN; size /= 4) {
        rc = mdb_env_create(&s->env);
        if (rc)
            break;
        rc = mdb_env_set_mapsize(s->env, size);
        if (rc == 0)
            rc = mdb_env_set_maxdbs(s->env, DB_COUNT);
        if (rc == 0)
            rc = mdb_env_open(s->env, path, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0600);
        if (rc) {
            mdb_env_close(s->env);
            s->env = NULL;
        }
    }
    return store_errno(rc);
}

static int open_store(struct check *k, const struct checkpoint *c)
{
    struct store *s = k->s;
    char path[PATH_MAX], file[PATH_MAX];
    struct stat status;
    int rc = environment_path(path, s, c->name, NULL);
    if (rc == 0)
        rc = environment_path(file, s, c->name, "data.mdb");
    if (rc)
        return rc;
    if (stat(file, &status))
        return -errno;
    rc = open_env(s, path);
    if (rc == 0)
        rc = lay_metas_over(c, status.st_ino);
    if (rc == 0)
        rc = store_errno(mdb_txn_begin(s->env, NULL, MDB_RDONLY, &k->txn));
    s->txn = k->txn;
    MDB_envinfo info;
    if (rc == 0)
        rc = store_errno(mdb_env_info(s->env, &info));
    if (rc == 0 && (info.me_last_pgno + 1) * c->page_size > (uint64_t)status.st_size)
        rc = -EBADMSG; /* a page beyond the end of the file would be a signal */
    return rc ? rc : environment_open_dbs(s, 0);
}

/* ---- records ---- */

static struct seen *find_inode(struct check *k, uint64_t ino)
{
    struct seen *found;
    HASH_FIND(by_ino, k->inodes, &ino, sizeof ino, found);
    return found;
}

static struct data *data_of(struct check *k, uint64_t id)
{
    struct data *d;
    HASH_FIND(hh, k->datas, &id, sizeof id, d);
    if (d)
        return d;
    d = calloc(1, sizeof *d);
    ASSERT(d);
    d->id = id;
    HASH_ADD(hh, k->datas, id, sizeof d->id, d);
    return d;
}

static void on_inode(struct check *k, MDB_val key)
{
    struct seen *seen = calloc(1, sizeof *seen);
    ASSERT(seen);
    uint64_t ino = key.mv_size == 8 ? record_key_read_u64(key.mv_data) : 0;
    if (ino == 0 || inode_read(k->s, k->txn, ino, &seen->inode)) {
        say(k, "inode %" PRIu64 " does not read as one", ino);
        free(seen);
        return;
    }
    k->f->inodes++;
    k->space += SPACE_INODE;
    k->orphans += seen->inode.attr.nlink == 0;
    HASH_ADD(by_ino, k->inodes, inode.attr.ino, sizeof ino, seen);
    struct data *d = data_of(k, seen->inode.data);
    d->has_owner = true;
    d->owner_blocks = seen->inode.attr.blocks;
}

static void on_dirent(struct check *k, MDB_val key)
{
    k->names++;
    struct dirent d;
    struct dirent_name n = {.size = 0};
    if (key.mv_size > 8)
        n = (struct dirent_name){record_key_read_u64(key.mv_data), (const char *)key.mv_data + 8,
                                 key.mv_size - 8};
    if (n.size == 0 || n.size > FILE_NAME_MAX || dirent_get(k->s, k->txn, &n, &d)) {
        say(k, "an entry of directory %" PRIu64 " does not read as one", n.parent);
        return;
    }
    k->space += space_of_name(n.size);
    int size = (int)n.size;
    struct seen *dir = find_inode(k, n.parent), *named = find_inode(k, d.ino);
    if (!dir || !inode_is_dir(&dir->inode))
        say(k, "'%.*s' is in directory %" PRIu64 ", which is none", size, n.name, n.parent);
    if (!named) {
        say(k, "'%.*s' in directory %" PRIu64 " names inode %" PRIu64 ", which is not there", size,
            n.name, n.parent, d.ino);
        return;
    }
    named->names++;
    named->named_in = n.parent;
    if ((named->inode.attr.mode & S_IFMT) != d.mode)
        say(k, "'%.*s' in directory %" PRIu64 " has another type than inode %" PRIu64, size, n.name,
            n.parent, d.ino);
    if (dir && inode_is_dir(&named->inode))
        dir->subdirs++;
}

/* Each must have its other half. */
static void on_cookie(struct check *k, MDB_val key, MDB_val value)
{
    k->cookies++;
    struct dirent d;
    bool is_whole = key.mv_size == 16 && value.mv_size > 9 && value.mv_size <= 9 + FILE_NAME_MAX;
    struct dirent_name n = {.size = 0};
    if (is_whole)
        n = (struct dirent_name){record_key_read_u64(key.mv_data), (const char *)value.mv_data + 9,
                                 value.mv_size - 9};
    is_whole = is_whole && dirent_get(k->s, k->txn, &n, &d) == 0 &&
               d.cookie == record_key_read_u64((const uint8_t *)key.mv_data + 8);
    if (!is_whole)
        say(k, "the listing of directory %" PRIu64 " has an entry that cannot be looked up",
            n.parent);
}

static void on_chunk(struct check *k, MDB_val key, MDB_val value)
{
    if (key.mv_size != CHUNK_KEY_SIZE) {
        say(k, "a record of file data does not read as one");
        return;
    }
    if (!chunk_is_sound(value))
        say(k, "file data %" PRIu64 " is damaged in chunk %" PRIu64,
            record_key_read_u64(key.mv_data),
            record_key_read_u64((const uint8_t *)key.mv_data + 8));
    size_t size = value.mv_size - CHUNK_HEAD_SIZE;
    uint64_t blocks = (size + BLOCK_BYTES - 1) / BLOCK_BYTES * (BLOCK_BYTES / 512);
    data_of(k, record_key_read_u64(key.mv_data))->blocks += blocks;
    k->blocks += blocks;
    k->space += space_of_chunk(size);
}

static void on_xattr(struct check *k, MDB_val key, MDB_val value)
{
    struct seen *seen = key.mv_size > 8 ? find_inode(k, record_key_read_u64(key.mv_data)) : NULL;
    if (!seen) {
        say(k, "an attribute belongs to an inode that is not there");
        return;
    }
    k->space += space_of_xattr(key.mv_size - 8, value.mv_size);
    seen->xattrs++;
    seen->xattr_bytes += key.mv_size - 8 + value.mv_size;
}

/* Kinds as in fs/orphan.c: 0 is held, the others are garbage; 1 is data, with its blocks. */
static void on_orphan(struct check *k, MDB_val key, MDB_val value)
{
    const uint8_t *kind = key.mv_data;
    if (key.mv_size != 9) {
        say(k, "a record of orphans does not read as one");
        return;
    }
    k->garbage += kind[0] != 0;
    if (kind[0] == 0 && !find_inode(k, record_key_read_u64(kind + 1)))
        say(k, "orphan %" PRIu64 " is not there", record_key_read_u64(kind + 1));
    if (kind[0] == 1 && value.mv_size == 9) {
        struct cursor c = cursor_of(value.mv_data, value.mv_size);
        (void)cursor_u8(&c);
        struct data *d = data_of(k, record_key_read_u64(kind + 1));
        d->has_owner = true;
        d->owner_blocks = cursor_u64(&c);
    }
}

static void on_record(struct check *k, enum db db, MDB_val key, MDB_val value)
{
    if (db == DB_INODES)
        on_inode(k, key);
    else if (db == DB_DIRENTS)
        on_dirent(k, key);
    else if (db == DB_COOKIES)
        on_cookie(k, key, value);
    else if (db == DB_CHUNKS)
        on_chunk(k, key, value);
    else if (db == DB_XATTRS)
        on_xattr(k, key, value);
    else if (db == DB_ORPHANS)
        on_orphan(k, key, value);
    else if (db == DB_STALE)
        k->garbage++;
}

static void add_term(struct check *k, enum db db, MDB_val key, MDB_val value)
{
    if (db != DB_SESSIONS || key.mv_size == SESSION_KEY_SIZE)
        digest_add(k->sum, digest_term(db, key, value));
    else if (members_is_key(key))
        digest_add(k->sum, digest_term(DB_META, key, value));
}

static void say_damaged(struct check *k, enum db db, MDB_val key)
{
    static const char *const names[DB_COUNT] = {
        [DB_INODES] = "inodes",     [DB_DIRENTS] = "names",     [DB_COOKIES] = "listings",
        [DB_CHUNKS] = "file data",  [DB_XATTRS] = "attributes", [DB_ORPHANS] = "orphans",
        [DB_SESSIONS] = "sessions", [DB_STALE] = "stale data",
    };
    if (key.mv_size >= 8)
        say(k, "a record of %s is damaged (number %" PRIu64 ")", names[db],
            record_key_read_u64(key.mv_data));
    else
        say(k, "a record of %s is damaged", names[db]);
}

static void check_db(struct check *k, enum db db)
{
    MDB_cursor *cursor;
    if (mdb_cursor_open(k->txn, k->s->dbis[db], &cursor)) {
        say(k, "database %d cannot be read", (int)db);
        return;
    }
    MDB_val key = {0}, value = {0}, before = {0};
    int rc;
    while ((rc = record_cursor_get(k->s, cursor, db, &key, &value, MDB_NEXT)) != -ENOENT) {
        bool has_moved = key.mv_data != before.mv_data;
        before = key;
        if (rc)
            say_damaged(k, db, has_moved ? key : (MDB_val){0});
        if (rc && (rc != -EBADMSG || !has_moved))
            break; /* no way to what follows */
        k->f->records++;
        k->f->bytes += key.mv_size + value.mv_size;
        if (rc)
            continue;
        add_term(k, db, key, value);
        on_record(k, db, key, value);
    }
    mdb_cursor_close(cursor);
}

/* ---- the whole ---- */

static void judge_inode(struct check *k, const struct seen *seen)
{
    const struct inode *i = &seen->inode;
    uint64_t ino = i->attr.ino, names = seen->names;
    if (inode_is_dir(i)) {
        bool is_root = ino == FS_ROOT_INO;
        if (names > 1 || (is_root && names > 0))
            say(k, "directory %" PRIu64 " has %" PRIu64 " names", ino, names);
        if (names == 1 && seen->named_in != i->parent)
            say(k, "directory %" PRIu64 " is in %" PRIu64 " but says %" PRIu64, ino, seen->named_in,
                i->parent);
        bool is_there = names > 0 || is_root;
        names = is_there ? 2 + seen->subdirs : 0;
    }
    if (names != i->attr.nlink)
        say(k, "inode %" PRIu64 " has %" PRIu64 " links but counts %" PRIu32, ino, names,
            i->attr.nlink);
    if (seen->xattrs != i->xattr_count || seen->xattr_bytes != i->xattr_bytes)
        say(k, "inode %" PRIu64 " miscounts its attributes", ino);
}

static void judge_number(struct check *k, const char *what, uint64_t found, uint64_t counted)
{
    if (found != counted)
        say(k, "%s: %" PRIu64 " found, %" PRIu64 " counted", what, found, counted);
}

static void judge(struct check *k)
{
    struct seen *seen, *next;
    struct data *d, *after;
    HASH_ITER(by_ino, k->inodes, seen, next)
    judge_inode(k, seen);
    HASH_ITER(hh, k->datas, d, after)
    {
        if (!d->has_owner)
            say(k, "file data %" PRIu64 " belongs to nothing", d->id);
        else if (d->blocks != d->owner_blocks)
            say(k, "file data %" PRIu64 " has %" PRIu64 " blocks, %" PRIu64 " are counted", d->id,
                d->blocks, d->owner_blocks);
    }
    judge_number(k, "inodes", k->f->inodes, k->meta.inodes);
    judge_number(k, "bytes", k->blocks * 512, k->meta.bytes);
    judge_number(k, "space", k->space, k->meta.space);
    judge_number(k, "orphans", k->orphans, k->meta.orphans);
    judge_number(k, "records of garbage", k->garbage, k->meta.garbage);
    judge_number(k, "names in listings", k->cookies, k->names);
    if (memcmp(k->sum, k->meta.sum, sizeof k->sum) != 0)
        say(k, "the digest is not that of the records: some were lost, or are too many");
}

static void free_all(struct check *k)
{
    struct seen *seen, *next;
    struct data *d, *after;
    HASH_ITER(by_ino, k->inodes, seen, next)
    {
        HASH_DELETE(by_ino, k->inodes, seen);
        free(seen);
    }
    HASH_ITER(hh, k->datas, d, after)
    {
        HASH_DELETE(hh, k->datas, d);
        free(d);
    }
    store_close(k->s);
}

static int check_all(struct check *k, const struct checkpoint *c)
{
    int rc = open_store(k, c);
    if (rc == 0)
        rc = store_meta_read(k->s, k->txn, &k->meta);
    if (rc == -EBADMSG) {
        say(k, "STATE/%s is damaged where everything begins", c->name);
        return 0;
    }
    if (rc)
        return rc;
    k->f->slot = k->meta.applied;
    if (k->meta.applied != c->applied)
        say(k, "the store is of slot %" PRIu64 ", its checkpoint of %" PRIu64, k->meta.applied,
            c->applied);
    for (int db = DB_META + 1; db < DB_COUNT; db++) /* inodes before what points to them */
        check_db(k, (enum db)db);
    judge(k);
    return 0;
}

int store_fsck(const char *state_dir, struct store_fsck *f)
{
    struct check k = {.f = f, .s = store_new(state_dir)};
    struct checkpoint c;
    if (!k.s)
        return -ENOMEM;
    int rc = checkpoint_load(state_dir, &c);
    if (rc == -EBADMSG)
        say(&k, "STATE/checkpoint is damaged");
    else if (rc == 0)
        rc = check_all(&k, &c);
    if (rc == 0)
        checkpoint_free(&c);
    free_all(&k);
    return rc == -EBADMSG ? 0 : rc;
}
