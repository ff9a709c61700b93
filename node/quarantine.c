#include "node/quarantine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "fs/damage.h"
#include "fs/disk.h"
#include "fs/hollow.h"
#include "node/node.h"

enum { NOTE_SIZE_MAX = 512 + 2 * MEMBERSHIP_ENCODED_MAX };

static const char note_name[] = "quarantine";

/* ---- the file ---- */

static void write_hex(char *to, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sprintf(to + 2 * i, "%02x", bytes[i]);
    to[2 * size] = '\0';
}

static int read_hex(const char *from, uint8_t *bytes, size_t room, size_t *size)
{
    *size = strlen(from) / 2;
    if (strlen(from) % 2 || *size > room)
        return -EBADMSG;
    for (size_t i = 0; i < *size; i++) {
        unsigned byte;
        if (sscanf(from + 2 * i, "%2x", &byte) != 1)
            return -EBADMSG;
        bytes[i] = (uint8_t)byte;
    }
    return 0;
}

static int save(const char *state_dir, const struct quarantine *q)
{
    static char text[NOTE_SIZE_MAX], members[2 * MEMBERSHIP_ENCODED_MAX + 1];
    static uint8_t bytes[MEMBERSHIP_ENCODED_MAX];
    members[0] = '\0';
    if (!membership_is_empty(&q->membership))
        write_hex(members, bytes, membership_encode(&q->membership, bytes));
    int size = snprintf(text, sizeof text, "reason=%s\nstore=%s\nmembers=%s\n", q->reason, q->bad,
                        members);
    ASSERT(size > 0 && (size_t)size < sizeof text);
    return disk_replace(state_dir, note_name, text, (size_t)size);
}

/* The value of the next line, which must be of @key; cut out of *@text. */
static const char *next_value(char **text, const char *key)
{
    char *line = strsep(text, "\n");
    size_t size = strlen(key);
    return line && *text && strncmp(line, key, size) == 0 ? line + size : NULL;
}

static int parse(char *text, struct quarantine *q)
{
    static uint8_t bytes[MEMBERSHIP_ENCODED_MAX];
    const char *reason = next_value(&text, "reason=");
    const char *bad = reason ? next_value(&text, "store=") : NULL;
    const char *members = bad ? next_value(&text, "members=") : NULL;
    if (!members || strlen(reason) >= sizeof q->reason || strlen(bad) >= sizeof q->bad)
        return -EBADMSG;
    *q = (struct quarantine){.is_on = true};
    strcpy(q->reason, reason);
    strcpy(q->bad, bad);
    size_t size;
    int rc = read_hex(members, bytes, sizeof bytes, &size);
    return rc || size == 0 ? rc : membership_decode(bytes, size, &q->membership);
}

int quarantine_load(const char *state_dir, struct quarantine *q)
{
    static char text[NOTE_SIZE_MAX + 1];
    char path[4096];
    size_t size;
    *q = (struct quarantine){.is_on = false};
    snprintf(path, sizeof path, "%s/%s", state_dir, note_name);
    int rc = disk_read_all(path, text, sizeof text - 1, &size);
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    text[size] = '\0';
    return parse(text, q);
}

/* ---- beginning ---- */

static int note(struct node *n, const char *reason)
{
    struct quarantine q = {.is_on = true};
    snprintf(q.reason, sizeof q.reason, "%s", reason);
    if (n->store)
        store_membership(n->store, &q.membership);
    int rc = store_environment_name(n->state_dir, q.bad, sizeof q.bad);
    if (rc == 0)
        rc = save(n->state_dir, &q);
    if (rc < 0) {
        log_event(LOG_ERROR, "event=quarantine_failed error=\"%s\" reason=\"%s\"", strerror(-rc),
                  reason);
        return rc;
    }
    log_event(LOG_ERROR,
              "event=quarantine reason=\"%s\" what_to_do=\"nothing: this host gets its state anew "
              "from another; look at its disk and memory\"",
              reason);
    n->quarantine = q;
    return 0;
}

bool quarantine_begin_at_start(struct node *n, const char *reason)
{
    bool may_have_others = n->config.has_joined || n->config.member_count > 1;
    return may_have_others && note(n, reason) == 0;
}

int quarantine_open_store(struct node *n)
{
    const struct quarantine *q = &n->quarantine;
    uint64_t slot = store_checkpoint_slot(n->state_dir);
    if (n->recovered.decided_through > slot)
        slot = n->recovered.decided_through;
    if (n->recovered.collected > slot)
        slot = n->recovered.collected;
    log_event(LOG_WARN, "event=quarantined slot=%llu reason=\"%s\"", (unsigned long long)slot,
              q->reason);
    return store_open_hollow(n->state_dir, q->bad, slot, &q->membership, &n->store);
}

/* One that is in quarantine itself says that it has applied nothing. */
static bool another_has_a_state(const struct node *n)
{
    NODE_EACH_SEAT (n, seat)
        if (seat != n->self && members_is_up(n, seat) && n->members[seat].status.applied > 0)
            return true;
    return false;
}

bool quarantine_begin(struct node *n, const char *reason)
{
    if (n->quarantine.is_on || n->restarts || n->stop_phase != STOP_NOT)
        return true;
    if (!n->driver || !another_has_a_state(n) || note(n, reason) < 0)
        return false;
    n->quarantine.is_on = false; /* until the start that begins with it */
    store_refuse(n->store);
    n->restarts = true;
    n->exit_code = 1; /* where it ends here all the same, it has to be started */
    stop_begin(n, "quarantine");
    return true;
}

void quarantine_tick(struct node *n)
{
    struct store_damage damage;
    if (n->quarantine.is_on || n->stop_phase != STOP_NOT || !store_damage(n->store, &damage))
        return;
    if (damage.count != n->damage_logged && n->damage_logged == 0)
        log_event(LOG_ERROR, "event=damaged what=\"%s\"", damage.first);
    n->damage_logged = damage.count;
    char reason[QUARANTINE_REASON_SIZE];
    snprintf(reason, sizeof reason, "damaged: %s", damage.first);
    (void)quarantine_begin(n, reason);
}

void quarantine_end(struct node *n)
{
    if (!n->quarantine.is_on)
        return;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", n->state_dir, note_name);
    int rc = unlink(path) ? -errno : disk_sync_dir(n->state_dir);
    if (rc < 0) /* the next start then gets a snapshot once more, and needs none */
        log_event(LOG_WARN, "event=quarantine_file_stays error=\"%s\"", strerror(-rc));
    log_event(LOG_INFO, "event=quarantine_ended set_aside=\"%s.bad\"", n->quarantine.bad);
    n->quarantine.is_on = false;
}
