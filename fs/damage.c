#include "fs/damage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fs/chunk.h"
#include "fs/record.h"

struct damage {
    _Atomic uint64_t count;
    pthread_mutex_t lock;
    char first[DAMAGE_TEXT_SIZE];
};

struct damage *damage_new(void)
{
    struct damage *d = calloc(1, sizeof *d);
    if (d)
        pthread_mutex_init(&d->lock, NULL);
    return d;
}

void damage_free(struct damage *d)
{
    if (!d)
        return;
    pthread_mutex_destroy(&d->lock);
    free(d);
}

void damage_note_text(const struct store *s, const char *text)
{
    struct damage *d = s->damage;
    pthread_mutex_lock(&d->lock);
    if (atomic_load(&d->count) == 0)
        snprintf(d->first, sizeof d->first, "%s", text);
    pthread_mutex_unlock(&d->lock);
    atomic_fetch_add(&d->count, 1);
}

int damage_note(const struct store *s, enum db db, MDB_val key)
{
    static const char *const names[DB_COUNT] = {
        [DB_META] = "the numbers of the whole",
        [DB_INODES] = "inode",
        [DB_DIRENTS] = "an entry of directory",
        [DB_COOKIES] = "an entry (by cookie) of directory",
        [DB_CHUNKS] = "file data",
        [DB_XATTRS] = "an attribute of inode",
        [DB_ORPHANS] = "a record of orphans",
        [DB_SESSIONS] = "the session of node",
        [DB_STALE] = "what is stale of data",
    };
    char text[DAMAGE_TEXT_SIZE];
    bool has_number = key.mv_size >= 8 && db != DB_META && db != DB_ORPHANS;
    if (db == DB_CHUNKS && key.mv_size == CHUNK_KEY_SIZE)
        snprintf(text, sizeof text, "%s: chunk %" PRIu64 " of data %" PRIu64, names[db],
                 record_key_read_u64((const uint8_t *)key.mv_data + 8),
                 record_key_read_u64(key.mv_data));
    else if (has_number)
        snprintf(text, sizeof text, "%s %" PRIu64, names[db], record_key_read_u64(key.mv_data));
    else
        snprintf(text, sizeof text, "%s", names[db]);
    damage_note_text(s, text);
    return -EBADMSG;
}

void damage_forget(struct store *s)
{
    pthread_mutex_lock(&s->damage->lock);
    s->damage->first[0] = '\0';
    pthread_mutex_unlock(&s->damage->lock);
    atomic_store(&s->damage->count, 0);
}

bool store_damage(const struct store *s, struct store_damage *damage)
{
    struct damage *d = s->damage;
    *damage = (struct store_damage){.count = atomic_load(&d->count)};
    if (damage->count == 0)
        return false;
    pthread_mutex_lock(&d->lock);
    snprintf(damage->first, sizeof damage->first, "%s", d->first);
    pthread_mutex_unlock(&d->lock);
    return true;
}
