#include "fs/forgets.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/cursor.h"
#include "base/log.h"

#define FORGETS_MAX       4096 /* inodes in one FS_FORGET */
#define COMMAND_FIXED_MAX 256  /* of the command, beside them */

void forgets_init(struct forgets *f, struct inode_refs *inodes,
                  void (*submit)(void *context, struct request *r), void *context)
{
    *f = (struct forgets){.inodes = inodes, .submit = submit, .context = context};
}

void forgets_on_change(struct forgets *f, const struct fs_change *change)
{
    if (change->kind == FS_ORPHANED && inode_refs_orphaned(f->inodes, change->ino) < 0)
        log_event(LOG_WARN, "event=forget_dropped ino=%lu error=%d", change->ino, -ENOMEM);
}

static void on_complete(struct request *r, int error, const struct fs_outcome *outcome)
{
    struct forgets *f = container_of(r, struct forgets, request);
    (void)outcome;
    if (error < 0) /* the session ends, and with it all that it held */
        log_event(LOG_DEBUG, "event=forget_dropped error=%d", error);
    free(request_bytes_take(r));
    atomic_store(&f->in_flight, false);
}

/* Bytes of the command; 0: nothing to forget. */
static size_t gather(struct forgets *f, uint8_t *bytes, size_t room)
{
    uint64_t inos[FORGETS_MAX];
    uint8_t list[sizeof(inos)];
    size_t count = inode_refs_gather(f->inodes, inos, FORGETS_MAX);
    if (count == 0)
        return 0;
    struct writer w = writer_of(list, sizeof(list));
    for (size_t i = 0; i < count; i++)
        write_u64(&w, inos[i]);
    struct fs_command command = {.op = FS_FORGET, .inos = list, .ino_count = (uint32_t)count};
    size_t size = fs_command_encode(&command, bytes, room);
    ASSERT(size > 0);
    return size;
}

void forgets_tick(struct forgets *f)
{
    size_t room = COMMAND_FIXED_MAX + FORGETS_MAX * sizeof(uint64_t);
    if (atomic_load(&f->in_flight))
        return;
    uint8_t *bytes = malloc(room); /* before the gathering, which cannot be undone */
    size_t size = bytes ? gather(f, bytes, room) : 0;
    if (size == 0) {
        free(bytes);
        return;
    }
    f->request = (struct request){
        .bytes = bytes,
        .size = (uint32_t)size,
        .complete = on_complete,
    };
    atomic_store(&f->in_flight, true);
    f->submit(f->context, &f->request);
}
