#include "fs/xattr.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "fs/record.h"
#include "fs/space.h"

enum { KEY_SIZE_MAX = 8 + XATTR_NAME_SIZE_MAX };

static MDB_val xattr_key(uint8_t key[KEY_SIZE_MAX], uint64_t ino, const char *name, size_t size)
{
    ASSERT(size <= XATTR_NAME_SIZE_MAX);
    record_key_u64(key, ino);
    if (size)
        memcpy(key + 8, name, size);
    return record_val(key, 8 + size);
}

int xattr_get(const struct store *s, MDB_txn *txn, uint64_t ino, const char *name, size_t name_size,
              MDB_val *value)
{
    uint8_t key[KEY_SIZE_MAX];
    return record_get(s, txn, DB_XATTRS, xattr_key(key, ino, name, name_size), value);
}

int xattr_walk(const struct store *s, MDB_txn *txn, uint64_t ino,
               int (*each)(void *context, const char *name, size_t size), void *context)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(txn, s->dbis[DB_XATTRS], &cursor);
    if (rc)
        return store_errno(rc);
    uint8_t start[KEY_SIZE_MAX];
    MDB_val key = xattr_key(start, ino, NULL, 0), value;
    rc = record_cursor_get(s, cursor, DB_XATTRS, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && record_key_read_u64(key.mv_data) == ino) {
        if (each(context, (const char *)key.mv_data + 8, key.mv_size - 8))
            break;
        rc = record_cursor_get(s, cursor, DB_XATTRS, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == -ENOENT ? 0 : rc;
}

int xattr_set(struct store *s, struct inode *inode, const char *name, size_t name_size,
              MDB_val value)
{
    uint8_t bytes[KEY_SIZE_MAX];
    MDB_val key = xattr_key(bytes, inode->attr.ino, name, name_size), old;
    int rc = record_get(s, s->txn, DB_XATTRS, key, &old);
    if (rc && rc != -ENOENT)
        return rc;
    if (rc == 0) {
        inode->xattr_count--;
        inode->xattr_bytes -= (uint32_t)(name_size + old.mv_size);
        space_subtract(&s->meta, space_of_xattr(name_size, old.mv_size));
    }
    space_add(&s->meta, space_of_xattr(name_size, value.mv_size));
    inode->xattr_count++;
    inode->xattr_bytes += (uint32_t)(name_size + value.mv_size);
    return record_put(s, DB_XATTRS, key, value);
}

int xattr_remove(struct store *s, struct inode *inode, const char *name, size_t name_size)
{
    uint8_t bytes[KEY_SIZE_MAX];
    MDB_val key = xattr_key(bytes, inode->attr.ino, name, name_size), old;
    int rc = record_get(s, s->txn, DB_XATTRS, key, &old);
    if (rc)
        return rc;
    ASSERT(inode->xattr_count > 0);
    inode->xattr_count--;
    inode->xattr_bytes -= (uint32_t)(name_size + old.mv_size);
    space_subtract(&s->meta, space_of_xattr(name_size, old.mv_size));
    return record_remove(s, DB_XATTRS, key, old);
}

int xattr_remove_some(struct store *s, struct inode *inode)
{
    MDB_cursor *cursor;
    int rc = mdb_cursor_open(s->txn, s->dbis[DB_XATTRS], &cursor);
    if (rc)
        return store_errno(rc);
    uint8_t start[KEY_SIZE_MAX];
    MDB_val key = xattr_key(start, inode->attr.ino, NULL, 0), value;
    rc = record_cursor_get(s, cursor, DB_XATTRS, &key, &value, MDB_SET_RANGE);
    while (rc == 0 && inode->xattr_count > 0 && s->deletions_left > 0) {
        if (record_key_read_u64(key.mv_data) != inode->attr.ino) {
            rc = -EBADMSG; /* the count says that there are more */
            break;
        }
        s->deletions_left--;
        inode->xattr_count--;
        inode->xattr_bytes -= (uint32_t)(key.mv_size - 8 + value.mv_size);
        space_subtract(&s->meta, space_of_xattr(key.mv_size - 8, value.mv_size));
        rc = record_remove_at(s, DB_XATTRS, cursor, key, value);
        if (rc == 0)
            rc = record_cursor_get(s, cursor, DB_XATTRS, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == -ENOENT ? 0 : rc;
}
