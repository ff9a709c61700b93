#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/fs_model_state.h"
#include "tests/support/store_ops.h"

struct comparison {
    const struct model *m;
    struct store_reader *r;
    bool has_garbage;
    char *why;
    size_t why_size;
};

__attribute__((format(printf, 2, 3))) static bool differs(struct comparison *c, const char *format,
                                                          ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(c->why, c->why_size, format, arguments);
    va_end(arguments);
    return false;
}

static bool compare_data(struct comparison *c, const struct model_node *n)
{
    uint64_t done = 0;
    while (done < n->attr.size) {
        struct iovec iov[STORE_IOV_MAX];
        int count = STORE_IOV_MAX;
        int64_t got = store_read(c->r, n->attr.ino, done, WRITE_SIZE_MAX, iov, &count);
        if (got <= 0)
            return differs(c, "ino %lu: read at %lu: %ld", n->attr.ino, done, got);
        for (int i = 0; i < count; i++) {
            for (size_t b = 0; b < iov[i].iov_len; b++, done++) {
                bool is_held = n->data && done < MODEL_CHUNKS_MAX * CHUNK_SIZE;
                if (((const uint8_t *)iov[i].iov_base)[b] != (is_held ? n->data[done] : 0))
                    return differs(c, "ino %lu: byte %lu", n->attr.ino, done);
            }
        }
    }
    return true;
}

static bool compare_target(struct comparison *c, const struct model_node *n)
{
    const char *target;
    size_t size;
    int rc = store_readlink(c->r, n->attr.ino, &target, &size);
    if (rc || size != n->attr.size || memcmp(target, n->data, size))
        return differs(c, "ino %lu: target, %d", n->attr.ino, rc);
    return true;
}

struct listing {
    const struct model_node *dir;
    uint64_t cookie;
    int seen;
    bool same;
};

static int compare_entry(void *context, const struct store_dirent *entry)
{
    struct listing *l = context;
    l->same = l->same && entry->cookie > l->cookie;
    l->cookie = entry->cookie;
    if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0) {
        uint64_t ino = entry->name[1] ? l->dir->up : l->dir->attr.ino;
        l->same = l->same && entry->ino == ino;
        return 0;
    }
    l->seen++;
    for (size_t i = 0; i < MODEL_ENTRIES_MAX; i++) {
        const struct model_entry *e = &l->dir->entries[i];
        if (e->ino && e->ino == entry->ino && strcmp(e->name, entry->name) == 0)
            return 0;
    }
    l->same = false;
    return 1;
}

static bool compare_names(struct comparison *c, const struct model_node *n)
{
    struct listing l = {.dir = n, .same = true};
    int rc = store_readdir(c->r, n->attr.ino, 0, compare_entry, &l);
    int count = 0;
    for (size_t i = 0; i < MODEL_ENTRIES_MAX; i++) {
        const struct model_entry *e = &n->entries[i];
        struct fs_attr found;
        count += e->ino != 0;
        if (e->ino && (store_lookup(c->r, n->attr.ino, e->name, strlen(e->name), &found) ||
                       found.ino != e->ino))
            return differs(c, "directory %lu: name %s", n->attr.ino, e->name);
    }
    if (rc || !l.same || l.seen != count)
        return differs(c, "directory %lu: listing %d, %d of %d", n->attr.ino, rc, l.seen, count);
    return true;
}

static bool compare_xattrs(struct comparison *c, const struct model_node *n)
{
    int64_t list_size = 0;
    for (size_t i = 0; i < MODEL_XATTRS_MAX; i++) {
        const struct model_xattr *x = &n->xattrs[i];
        if (x->name[0] == '\0')
            continue;
        list_size += (int64_t)strlen(x->name) + 1;
        const void *value;
        size_t size;
        int rc = store_getxattr(c->r, n->attr.ino, x->name, &value, &size);
        if (rc || size != x->size || (size && memcmp(value, x->value, size)))
            return differs(c, "ino %lu: xattr %s, %d", n->attr.ino, x->name, rc);
    }
    if (store_listxattr(c->r, n->attr.ino, NULL, 0) != list_size)
        return differs(c, "ino %lu: list of xattrs", n->attr.ino);
    return true;
}

static bool compare_node(struct comparison *c, const struct model_node *n)
{
    struct fs_attr attr;
    int rc = store_getattr(c->r, n->attr.ino, &attr);
    if (rc)
        return differs(c, "ino %lu: missing, %d", n->attr.ino, rc);
    if (n->attr.nlink == 0 && n->holders == 0)
        return true; /* half of it may be gone */
    if (c->has_garbage && attr.blocks > n->attr.blocks)
        attr.blocks = n->attr.blocks;
    if (!same_attr(attr, n->attr))
        return differs(c, "ino %lu: mode %o size %lu blocks %lu nlink %u, not %o %lu %lu %u",
                       n->attr.ino, attr.mode, attr.size, attr.blocks, attr.nlink, n->attr.mode,
                       n->attr.size, n->attr.blocks, n->attr.nlink);
    if (S_ISREG(attr.mode) && !compare_data(c, n))
        return false;
    if (S_ISLNK(attr.mode) && !compare_target(c, n))
        return false;
    if (S_ISDIR(attr.mode) && !compare_names(c, n))
        return false;
    return compare_xattrs(c, n);
}

bool model_compare(const struct model *m, struct store_reader *r, bool has_garbage, char *why,
                   size_t why_size)
{
    struct comparison c = {m, r, has_garbage, why, why_size};
    uint64_t inodes = 0, orphans = 0, bytes = 0;
    for (size_t i = 0; i < MODEL_NODES_MAX; i++) {
        if (!m->nodes[i])
            continue;
        inodes++;
        orphans += m->nodes[i]->attr.nlink == 0;
        bytes += m->nodes[i]->attr.blocks * 512;
        if (!compare_node(&c, m->nodes[i]))
            return false;
    }
    struct store_usage usage;
    int rc = store_usage(r, &usage);
    if (has_garbage && rc == 0)
        bytes = usage.bytes;
    if (rc == 0 && !has_garbage && model_doomed_count(m) == 0 && usage.space != model_space(m))
        return differs(&c, "space: %lu, not %lu", usage.space, model_space(m));
    if (rc || usage.inodes != inodes || usage.orphans != orphans || usage.bytes != bytes)
        return differs(&c, "usage: %lu inodes, %lu orphans, %lu bytes, not %lu, %lu, %lu",
                       usage.inodes, usage.orphans, usage.bytes, inodes, orphans, bytes);
    return true;
}
