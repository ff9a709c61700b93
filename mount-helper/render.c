#include "mount-helper/render.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/limits.h"
#include "rpc/admin.h"

#define TEXT_ROOM 256

/* ---- values as text ---- */

static const char *text_of(const msgpack_object *map, const char *key, char *out)
{
    return admin_get_text(map, key, out, TEXT_ROOM, "-");
}

static const char *bytes_text(uint64_t bytes, char *out)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    double value = (double)bytes;
    for (; value >= 1024 && unit + 1 < ARRAY_COUNT(units); unit++)
        value /= 1024;
    snprintf(out, TEXT_ROOM, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

static const char *duration_text(uint64_t seconds, char *out)
{
    if (seconds < 120)
        snprintf(out, TEXT_ROOM, "%" PRIu64 " s", seconds);
    else if (seconds < 7200)
        snprintf(out, TEXT_ROOM, "%" PRIu64 " min", seconds / 60);
    else if (seconds < 172800)
        snprintf(out, TEXT_ROOM, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600,
                 seconds / 60 % 60);
    else
        snprintf(out, TEXT_ROOM, "%" PRIu64 " days", seconds / 86400);
    return out;
}

/* A digest, or "-" before the first was taken. */
static const char *digest_text(const msgpack_object *map, char *out)
{
    if (admin_get_u64(map, "digest_slot", 0) == 0)
        return "-";
    return text_of(map, "digest", out);
}

/* A number, or "-" where there is none. */
static const char *number_text(const msgpack_object *map, const char *key, char *out)
{
    uint64_t value = admin_get_u64(map, key, UINT64_MAX);
    if (value == UINT64_MAX)
        return "-";
    snprintf(out, TEXT_ROOM, "%" PRIu64, value);
    return out;
}

static bool is_map(const msgpack_object *value)
{
    return value && value->type == MSGPACK_OBJECT_MAP;
}

static const msgpack_object_array *array_of(const msgpack_object *map, const char *key)
{
    const msgpack_object *value = admin_get(map, key);
    return value && value->type == MSGPACK_OBJECT_ARRAY ? &value->via.array : NULL;
}

/* ---- status ---- */

static void render_head(FILE *out, const msgpack_object *status)
{
    char a[TEXT_ROOM], b[TEXT_ROOM], c[TEXT_ROOM];
    const msgpack_object *node = admin_get(status, "node");
    fprintf(out, "%s: %s", text_of(node, "name", a), text_of(status, "health", b));
    fprintf(out, "   (paxfsd %s, pid %" PRIu64 ", up %s)\n", text_of(node, "version", a),
            admin_get_u64(node, "pid", 0), duration_text(admin_get_u64(node, "uptime_s", 0), b));
    fprintf(out, "  state    %s\n", text_of(node, "state_dir", a));
    fprintf(out, "  cluster  %s\n", text_of(status, "cluster_id", a));
    fprintf(out, "  role     %s, ballot %s, leader %s, %s, lease %" PRIu64 " ms\n",
            text_of(status, "role", a), text_of(status, "ballot", b), text_of(status, "leader", c),
            admin_get_bool(status, "serving", false) ? "serving" : "not serving",
            admin_get_u64(status, "lease_ms", 0));
    fprintf(out, "  slots    decided %" PRIu64 ", applied %" PRIu64 ", checkpointed %" PRIu64 "\n",
            admin_get_u64(status, "slot_decided", 0), admin_get_u64(status, "slot_applied", 0),
            admin_get_u64(status, "slot_checkpointed", 0));
    fprintf(out, "  digest   %s at slot %" PRIu64 "\n", digest_text(status, a),
            admin_get_u64(status, "digest_slot", 0));
}

static void render_reasons(FILE *out, const msgpack_object *status)
{
    char code[TEXT_ROOM], text[TEXT_ROOM], todo[TEXT_ROOM];
    const msgpack_object_array *reasons = array_of(status, "reasons");
    for (uint32_t i = 0; reasons && i < reasons->size; i++) {
        const msgpack_object *reason = &reasons->ptr[i];
        fprintf(out, "  ! %s: %s; %s\n", text_of(reason, "code", code),
                text_of(reason, "text", text), text_of(reason, "what_to_do", todo));
    }
}

static void render_members(FILE *out, const msgpack_object *status)
{
    char name[TEXT_ROOM], address[TEXT_ROOM], digest[TEXT_ROOM], error[TEXT_ROOM];
    char heard[TEXT_ROOM], role[TEXT_ROOM], lease[TEXT_ROOM];
    const msgpack_object_array *members = array_of(status, "members");
    if (!members)
        return;
    fprintf(out, "\n  %-8s %-22s %-7s %-5s %10s %6s %12s %8s %8s %-7s %s\n", "MEMBER", "ADDRESS",
            "ROLE", "LINK", "APPLIED", "LAG", "CHECKPOINTED", "HEARD ms", "LEASE ms", "MOUNTED",
            "DIGEST");
    for (uint32_t i = 0; i < members->size; i++) {
        const msgpack_object *m = &members->ptr[i];
        bool connected = admin_get_bool(m, "connected", false);
        fprintf(out,
                "  %-8s %-22s %-7s %-5s %10" PRIu64 " %6" PRIu64 " %12" PRIu64
                " %8s %8s %-7s %.16s\n",
                text_of(m, "name", name), text_of(m, "address", address), text_of(m, "role", role),
                connected ? "up" : "down", admin_get_u64(m, "applied", 0),
                admin_get_u64(m, "lag_slots", 0), admin_get_u64(m, "checkpointed", 0),
                number_text(m, "last_heard_ms", heard), number_text(m, "lease_ms", lease),
                admin_get_bool(m, "mounted", false) ? "yes" : "no", digest_text(m, digest));
        admin_get_text(m, "last_error", error, sizeof(error), "");
        if (!connected && error[0])
            fprintf(out, "           %s\n", error);
        admin_get_text(m, "relayed_by", error, sizeof(error), "");
        if (error[0])
            fprintf(out, "           reached through %s\n", error);
    }
    fputc('\n', out);
}

/* "voter", or what it is on its way to. */
static const char *role_text(const msgpack_object *m, char *out)
{
    char role[TEXT_ROOM], replaces[TEXT_ROOM];
    text_of(m, "role", role);
    admin_get_text(m, "replaces", replaces, sizeof(replaces), "");
    if (replaces[0])
        snprintf(out, TEXT_ROOM, "%.32s, to replace %.32s", role, replaces);
    else if (admin_get_bool(m, "wants_vote", false))
        snprintf(out, TEXT_ROOM, "%.32s, to vote once caught up", role);
    else
        snprintf(out, TEXT_ROOM, "%s", role);
    return out;
}

static void render_quorum(FILE *out, const msgpack_object *membership)
{
    uint64_t voters = admin_get_u64(membership, "voters", 0);
    uint64_t up = admin_get_u64(membership, "voters_up", 0);
    uint64_t can_lose = admin_get_u64(membership, "can_lose", 0);
    if (2 * up <= voters)
        fprintf(out, "%" PRIu64 " of %" PRIu64 " voters are up: too few to decide anything\n", up,
                voters);
    else
        fprintf(out, "%" PRIu64 " of %" PRIu64 " voters are up; you can lose %" PRIu64 "%s\n", up,
                voters, can_lose, can_lose ? "" : " until another is up, or joins");
    if (admin_get_bool(membership, "change_pending", false))
        fprintf(out, "a change of voters governs from slot %" PRIu64 " on, in a moment\n",
                admin_get_u64(membership, "from", 0));
}

void render_membership(FILE *out, const msgpack_object *status)
{
    char name[TEXT_ROOM], address[TEXT_ROOM], role[TEXT_ROOM];
    const msgpack_object_array *members = array_of(status, "members");
    const msgpack_object *membership = admin_get(status, "membership");
    if (!members)
        return;
    fprintf(out, "%-10s %-22s %-5s %8s %9s  %s\n", "NAME", "ADDRESS", "LINK", "LAG", "LEASE ms",
            "ROLE");
    for (uint32_t i = 0; i < members->size; i++) {
        const msgpack_object *m = &members->ptr[i];
        char lease[TEXT_ROOM];
        fprintf(out, "%-10s %-22s %-5s %8" PRIu64 " %9s  %s\n", text_of(m, "name", name),
                text_of(m, "address", address),
                admin_get_bool(m, "connected", false) ? "up" : "down",
                admin_get_u64(m, "lag_slots", 0), number_text(m, "lease_ms", lease),
                role_text(m, role));
    }
    if (is_map(membership))
        render_quorum(out, membership);
}

static void render_mount(FILE *out, const msgpack_object *mount)
{
    char a[TEXT_ROOM];
    if (!is_map(mount)) {
        fprintf(out, "  mount    none\n");
        return;
    }
    fprintf(out, "  mount    %s, %" PRIu64 " calls wait, the oldest for %" PRIu64 " ms\n",
            text_of(mount, "dir", a), admin_get_u64(mount, "waiting", 0),
            admin_get_u64(mount, "oldest_wait_ms", 0));
}

static void render_resources(FILE *out, const msgpack_object *status)
{
    char a[TEXT_ROOM], b[TEXT_ROOM], c[TEXT_ROOM];
    const msgpack_object *log = admin_get(status, "log");
    const msgpack_object *memory = admin_get(status, "memory");
    const msgpack_object *space = admin_get(status, "space");
    if (is_map(log))
        fprintf(out,
                "  log      %s in %" PRIu64 " segments, %" PRIu64 " syncs of %" PRIu64
                " us (longest %" PRIu64 ")\n",
                bytes_text(admin_get_u64(log, "bytes", 0), a), admin_get_u64(log, "segments", 0),
                admin_get_u64(log, "syncs", 0), admin_get_u64(log, "sync_us_avg", 0),
                admin_get_u64(log, "sync_us_max", 0));
    if (is_map(memory))
        fprintf(out, "  memory   %" PRIu64 " slots held, %s of %s, %" PRIu64 " own commands wait\n",
                admin_get_u64(memory, "slots_held", 0),
                bytes_text(admin_get_u64(memory, "bytes_held", 0), a),
                bytes_text(admin_get_u64(memory, "bytes_held_max", 0), b),
                admin_get_u64(memory, "submits", 0));
    if (is_map(space)) {
        fprintf(out,
                "  files    %s in %" PRIu64 " inodes, %" PRIu64 " orphans; %s of %s are used\n",
                bytes_text(admin_get_u64(space, "bytes", 0), a), admin_get_u64(space, "inodes", 0),
                admin_get_u64(space, "orphans", 0), bytes_text(admin_get_u64(space, "used", 0), b),
                bytes_text(admin_get_u64(space, "capacity", 0), c));
        fprintf(out, "  disk     %s free of %s\n",
                bytes_text(admin_get_u64(space, "disk_free", 0), a),
                bytes_text(admin_get_u64(space, "disk_total", 0), b));
    }
}

void render_status(FILE *out, const msgpack_object *status)
{
    render_head(out, status);
    render_reasons(out, status);
    render_members(out, status);
    render_mount(out, admin_get(status, "mount"));
    render_resources(out, status);
}

int render_status_exit(const msgpack_object *status)
{
    char health[TEXT_ROOM];
    text_of(status, "health", health);
    if (strcmp(health, "fine") == 0)
        return 0;
    return strcmp(health, "degraded") == 0 ? 1 : 2;
}

/* ---- verify ---- */

void render_verify(FILE *out, const msgpack_object *result)
{
    static const char *const verdicts[] = {
        "all members are equal",
        "those that answered are equal; not all answered: see paxfs status",
        "THE REPLICAS DIFFER: keep the state directories, and stop the node that stands alone",
    };
    char name[TEXT_ROOM], digest[TEXT_ROOM];
    const msgpack_object_array *members = array_of(result, "members");
    for (uint32_t i = 0; members && i < members->size; i++) {
        admin_get_text(&members->ptr[i], "digest", digest, sizeof(digest), "no answer");
        fprintf(out, "%-8s %s\n", text_of(&members->ptr[i], "name", name), digest);
    }
    fprintf(out, "slot %" PRIu64 ": %s\n", admin_get_u64(result, "slot", 0),
            verdicts[render_verify_exit(result)]);
}

/* Two digests that differ are the worst, whatever the daemon concludes from them. */
int render_verify_exit(const msgpack_object *result)
{
    char first[TEXT_ROOM] = "", digest[TEXT_ROOM];
    bool missing = admin_get_u64(result, "missing", 0) > 0;
    const msgpack_object_array *members = array_of(result, "members");
    for (uint32_t i = 0; members && i < members->size; i++) {
        admin_get_text(&members->ptr[i], "digest", digest, sizeof(digest), "");
        if (!digest[0])
            missing = true;
        else if (!first[0])
            memcpy(first, digest, sizeof(first));
        else if (strcmp(first, digest) != 0)
            return 2;
    }
    if (missing)
        return 1;
    return admin_get_bool(result, "equal", false) ? 0 : 2;
}
