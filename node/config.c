#include "node/config.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/assert.h"

enum {
    CONFIG_VERSION = 1,
    CONFIG_SIZE_MAX = 8192, /* of either file; MEMBERS_MAX lines are less than half */
    CONFIG_PATH_SIZE = 4096,
    LIST_SIZE_MAX = MEMBERS_MAX * (MEMBER_NAME_MAX + ADDRESS_MAX + 2) + 1,
};

/* Where and for whom a complaint is written. */
struct complaint {
    char *text;
    size_t size;
};

static int complain(const struct complaint *to, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int complain(const struct complaint *to, int rc, const char *format, ...)
{
    if (to->size == 0)
        return rc;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(to->text, to->size, format, arguments);
    va_end(arguments);
    return rc;
}

/* ---- names and addresses ---- */

bool config_name_is_valid(const char *name)
{
    size_t size = strlen(name);
    return size >= 1 && size <= MEMBER_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == size;
}

/* Decimal digits alone, no leading zero, 1..65535. */
static bool port_is_valid(const char *port)
{
    size_t size = strlen(port);
    if (size < 1 || size > 5 || strspn(port, "0123456789") != size || port[0] == '0')
        return false;
    return strtoul(port, NULL, 10) <= 65535;
}

/* Two spellings of one IPv6 address must not be two members, nor two cluster ids: it is written as
 * inet_ntop() does. */
bool config_address(const char *text, char out[ADDRESS_MAX + 1])
{
    char ip[ADDRESS_MAX + 1], shown[INET6_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    if (!colon || strlen(text) > ADDRESS_MAX || !port_is_valid(colon + 1))
        return false;
    size_t size = (size_t)(colon - text);
    memcpy(ip, text, size);
    ip[size] = '\0';

    if (ip[0] == '[' && size > 2 && ip[size - 1] == ']') {
        struct in6_addr six;
        ip[size - 1] = '\0';
        if (inet_pton(AF_INET6, ip + 1, &six) != 1 || IN6_IS_ADDR_UNSPECIFIED(&six) ||
            !inet_ntop(AF_INET6, &six, shown, sizeof shown))
            return false;
        snprintf(out, ADDRESS_MAX + 1, "[%s]:%s", shown, colon + 1);
        return true;
    }
    struct in_addr four;
    if (inet_pton(AF_INET, ip, &four) != 1 || four.s_addr == htonl(INADDR_ANY) ||
        !inet_ntop(AF_INET, &four, shown, sizeof shown))
        return false;
    snprintf(out, ADDRESS_MAX + 1, "%s:%s", shown, colon + 1);
    return true;
}

/* ---- members ---- */

/* @text is NAME=ADDR. */
static int add_member(struct config *c, const char *text, const struct complaint *to)
{
    char name[MEMBER_NAME_MAX + 2];
    const char *equals = strchr(text, '=');
    if (!equals)
        return complain(to, -EINVAL, "\"%s\" is not NAME=ADDRESS:PORT", text);
    size_t size = (size_t)(equals - text);
    snprintf(name, sizeof name, "%.*s", size > MEMBER_NAME_MAX ? MEMBER_NAME_MAX + 1 : (int)size,
             text);
    if (!config_name_is_valid(name))
        return complain(to, -EINVAL,
                        "\"%.*s\" is no name of a member: use 1 to %d of a-z, 0-9, _ and -",
                        size > 64 ? 64 : (int)size, text, MEMBER_NAME_MAX);
    if (c->member_count == MEMBERS_MAX)
        return complain(to, -EINVAL, "more than %d members", MEMBERS_MAX);

    struct config_member *m = &c->members[c->member_count];
    memset(m, 0, sizeof *m);
    memcpy(m->name, name, strlen(name) + 1);
    if (!config_address(equals + 1, m->address))
        return complain(to, -EINVAL,
                        "\"%.80s\" is no address of a member: use IPV4:PORT or [IPV6]:PORT, "
                        "one that the others can dial",
                        equals + 1);
    for (uint32_t i = 0; i < c->member_count; i++) {
        if (strcmp(c->members[i].name, m->name) == 0)
            return complain(to, -EINVAL, "the name %s is there twice", m->name);
        if (strcmp(c->members[i].address, m->address) == 0)
            return complain(to, -EINVAL, "%s and %s have the same address %s", c->members[i].name,
                            m->name, m->address);
    }
    c->member_count++;
    return 0;
}

static int compare_members(const void *a, const void *b)
{
    const struct config_member *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static uint64_t cluster_id_of(const struct config *c)
{
    char list[LIST_SIZE_MAX];
    size_t size = 0;
    for (uint32_t i = 0; i < c->member_count; i++)
        size += (size_t)snprintf(list + size, sizeof list - size, "%s=%s,", c->members[i].name,
                                 c->members[i].address);
    ASSERT(size < sizeof list);
    return XXH3_64bits(list, size);
}

/* Sort, find @name. */
static int settle_members(struct config *c, const char *name, const struct complaint *to)
{
    qsort(c->members, c->member_count, sizeof *c->members, compare_members);
    for (uint32_t i = 0; i < c->member_count; i++) {
        if (strcmp(c->members[i].name, name) == 0) {
            c->self = i;
            return 0;
        }
    }
    return complain(to, -EINVAL, "\"%.64s\" is not the name of any member", name);
}

int config_parse_cluster(struct config *c, const char *cluster, const char *name, char *error,
                         size_t error_size)
{
    struct complaint to = {error, error_size};
    char member[MEMBER_NAME_MAX + ADDRESS_MAX + 66];
    memset(c, 0, sizeof *c);
    for (const char *at = cluster;;) {
        size_t size = strcspn(at, ",");
        if (size >= sizeof member)
            return complain(&to, -EINVAL, "\"%.64s...\" is too long for NAME=ADDRESS:PORT", at);
        memcpy(member, at, size);
        member[size] = '\0';
        int rc = add_member(c, member, &to);
        if (rc < 0)
            return rc;
        if (at[size] == '\0')
            break;
        at += size + 1;
    }
    int rc = settle_members(c, name, &to);
    if (rc < 0)
        return rc;
    c->cluster_id = cluster_id_of(c);
    memcpy(c->name, c->members[c->self].name, sizeof c->name);
    memcpy(c->listen, c->members[c->self].address, sizeof c->listen);
    return 0;
}

/* ---- files ---- */

static int make_path(char path[CONFIG_PATH_SIZE], const char *dir, const char *name)
{
    int size = snprintf(path, CONFIG_PATH_SIZE, "%s/%s", dir, name);
    return size < 0 || size >= CONFIG_PATH_SIZE ? -ENAMETOOLONG : 0;
}

static int sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static int write_synced(const char *path, const char *text, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    ssize_t put = write(fd, text, size);
    int rc = put < 0 ? -errno : (size_t)put != size ? -ENOSPC : 0;
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    if (close(fd) < 0 && rc == 0)
        rc = -errno;
    return rc;
}

/* Durable and whole, or not there. @flags: RENAME_NOREPLACE or 0. */
static int write_file(const char *dir, const char *name, const char *text, size_t size,
                      unsigned flags)
{
    char path[CONFIG_PATH_SIZE], path_new[CONFIG_PATH_SIZE], name_new[32];
    snprintf(name_new, sizeof name_new, "%s.new", name);
    int rc = make_path(path, dir, name);
    if (rc == 0)
        rc = make_path(path_new, dir, name_new);
    if (rc == 0)
        rc = write_synced(path_new, text, size);
    if (rc == 0 && renameat2(AT_FDCWD, path_new, AT_FDCWD, path, flags) < 0)
        rc = -errno;
    if (rc == -EINVAL && rename(path_new, path) == 0) /* a filesystem that knows no flags */
        rc = 0;
    if (rc == 0)
        rc = sync_directory(dir);
    return rc;
}

/* Whole, NUL-terminated. 0; -ENOENT; -EFBIG; -EBADMSG: a NUL inside. */
static int read_file(const char *dir, const char *name, char text[CONFIG_SIZE_MAX])
{
    char path[CONFIG_PATH_SIZE];
    int rc = make_path(path, dir, name);
    if (rc < 0)
        return rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t size = 0;
    while (rc == 0 && size < CONFIG_SIZE_MAX) {
        ssize_t got = read(fd, text + size, CONFIG_SIZE_MAX - size);
        if (got < 0)
            rc = -errno;
        if (got <= 0)
            break;
        size += (size_t)got;
    }
    close(fd);
    if (rc < 0)
        return rc;
    if (size == CONFIG_SIZE_MAX)
        return -EFBIG;
    text[size] = '\0';
    return strlen(text) == size ? 0 : -EBADMSG;
}

/* ---- key=value lines ---- */

/* One pass over a file's lines, the first of which must be its version. */
struct lines {
    const char *dir, *name;
    const struct complaint *to;
    char *at;
    unsigned number;
    char *key, *value;
};

static int damaged(const struct lines *l, const char *why)
{
    return complain(l->to, -EBADMSG,
                    "%s/%s line %u: %s; restore the file from a backup, or replace this member",
                    l->dir, l->name, l->number, why);
}

/* 1, 0 at the end, -EBADMSG. */
static int lines_next(struct lines *l)
{
    if (*l->at == '\0')
        return 0;
    l->number++;
    char *end = strchr(l->at, '\n');
    if (!end)
        return damaged(l, "the line does not end");
    *end = '\0';
    l->key = l->at;
    l->at = end + 1;
    l->value = strchr(l->key, '=');
    if (!l->value)
        return damaged(l, "not key=value");
    *l->value++ = '\0';
    return 1;
}

static int lines_begin(struct lines *l)
{
    int rc = lines_next(l);
    if (rc < 0)
        return rc;
    if (rc == 0 || strcmp(l->key, "version") != 0)
        return damaged(l, "the first line is not version=N");
    if (strcmp(l->value, "1") != 0)
        return complain(l->to, -EBADMSG,
                        "%s/%s: version %.20s is not known to this paxfs (%s, which knows %d); "
                        "start a later one",
                        l->dir, l->name, l->value, PAXFS_VERSION, CONFIG_VERSION);
    return 0;
}

/* Sixteen lower-case hexadecimal digits, as written. */
static bool parse_id(const char *text, uint64_t *id)
{
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return false;
    *id = strtoull(text, NULL, 16);
    return *id != 0;
}

/* ---- config ---- */

static int parse_text(const struct lines *l, char *out, size_t room)
{
    if (out[0] != '\0')
        return damaged(l, "the key is there twice");
    if (l->value[0] == '\0' || strlen(l->value) >= room)
        return damaged(l, "the value is empty or too long");
    memcpy(out, l->value, strlen(l->value) + 1);
    return 0;
}

static int parse_unique_id(const struct lines *l, uint64_t *id)
{
    if (*id != 0)
        return damaged(l, "the key is there twice");
    if (!parse_id(l->value, id))
        return damaged(l, "not an id of 16 hexadecimal digits");
    return 0;
}

static int parse_listen(const struct lines *l, struct config *c)
{
    char canonical[ADDRESS_MAX + 1];
    int rc = parse_text(l, c->listen, sizeof c->listen);
    if (rc < 0)
        return rc;
    if (!config_address(c->listen, canonical))
        return damaged(l, "listen is not IPV4:PORT or [IPV6]:PORT");
    memcpy(c->listen, canonical, sizeof c->listen);
    return 0;
}

static int parse_joined(const struct lines *l, struct config *c)
{
    if (c->has_joined)
        return damaged(l, "the key is there twice");
    if (strcmp(l->value, "1") != 0)
        return damaged(l, "joined is not 1");
    c->has_joined = true;
    return 0;
}

static int parse_line(const struct lines *l, struct config *c)
{
    if (strcmp(l->key, "cluster_id") == 0)
        return parse_unique_id(l, &c->cluster_id);
    if (strcmp(l->key, "node_id") == 0)
        return parse_unique_id(l, &c->node_id);
    if (strcmp(l->key, "name") == 0)
        return parse_text(l, c->name, sizeof c->name);
    if (strcmp(l->key, "listen") == 0)
        return parse_listen(l, c);
    if (strcmp(l->key, "joined") == 0)
        return parse_joined(l, c);
    if (strcmp(l->key, "member") != 0)
        return damaged(l, "unknown key");
    char why[256];
    struct complaint inner = {why, sizeof why};
    return add_member(c, l->value, &inner) < 0 ? damaged(l, why) : 0;
}

/* A join that is not finished has no members yet. The own address may be another by now than the
 * one the cluster began with, so only the members prove that none of the lines was changed. */
static int check_parsed(const struct lines *l, struct config *c)
{
    char why[256];
    struct complaint inner = {why, sizeof why};
    if (c->cluster_id == 0 || c->node_id == 0 || c->name[0] == '\0' || c->listen[0] == '\0' ||
        (c->member_count == 0 && !c->has_joined))
        return damaged(l, "lines are missing before the end");
    if (!config_name_is_valid(c->name))
        return damaged(l, "the name is no name of a member");
    if (c->member_count == 0)
        return 0;
    if (settle_members(c, c->name, &inner) < 0)
        return damaged(l, why);
    if (!c->has_joined && c->cluster_id != cluster_id_of(c))
        return damaged(l, "cluster_id does not match the members: a line was changed");
    c->members[c->self].node_id = c->node_id;
    return 0;
}

static int load_failed(const struct complaint *to, const char *dir, const char *name, int rc)
{
    if (rc == -ENOENT)
        return complain(to, rc,
                        "%s is not a state directory (it has no file `%s`); make one with "
                        "`paxfs init --state %s ...`",
                        dir, name, dir);
    if (rc == -EFBIG || rc == -EBADMSG)
        return complain(to, -EBADMSG,
                        "%s/%s: not a text file of paxfs; restore the file from a backup, or "
                        "replace this member",
                        dir, name);
    return complain(to, rc, "%s/%s: cannot be read: %s", dir, name, strerror(-rc));
}

static int load_config(const char *dir, struct config *c, const struct complaint *to)
{
    memset(c, 0, sizeof *c);
    char text[CONFIG_SIZE_MAX];
    int rc = read_file(dir, "config", text);
    if (rc < 0)
        return load_failed(to, dir, "config", rc);
    struct lines l = {.dir = dir, .name = "config", .to = to, .at = text};
    rc = lines_begin(&l);
    while (rc == 0 && (rc = lines_next(&l)) > 0)
        rc = parse_line(&l, c);
    return rc < 0 ? rc : check_parsed(&l, c);
}

/* ---- members ---- */

static int pin_line(const struct lines *l, struct config *c)
{
    uint64_t id;
    char *equals = strchr(l->value, '=');
    if (strcmp(l->key, "member") != 0)
        return damaged(l, "unknown key");
    if (!equals || !parse_id(equals + 1, &id))
        return damaged(l, "not member=NAME=ID");
    *equals = '\0';
    struct config_member *found = NULL;
    for (uint32_t i = 0; i < c->member_count; i++) {
        if (strcmp(c->members[i].name, l->value) == 0)
            found = &c->members[i];
        else if (c->members[i].node_id == id)
            return damaged(l, "two members with one id");
    }
    if (!found && c->has_joined)
        return 0; /* written before config, by a join that was run again */
    if (!found)
        return damaged(l, "a name that is not in config");
    if (found->node_id != 0 && found->node_id != id)
        return damaged(l, "another id than was pinned before");
    found->node_id = id;
    return 0;
}

static int load_members(const char *dir, struct config *c, const struct complaint *to)
{
    char text[CONFIG_SIZE_MAX];
    int rc = read_file(dir, "members", text);
    if (rc == -ENOENT)
        return 0; /* not yet met */
    if (rc < 0)
        return load_failed(to, dir, "members", rc);
    struct lines l = {.dir = dir, .name = "members", .to = to, .at = text};
    rc = lines_begin(&l);
    while (rc == 0 && (rc = lines_next(&l)) > 0)
        rc = pin_line(&l, c);
    return rc;
}

static bool is_there(const char *dir, const char *name)
{
    char path[CONFIG_PATH_SIZE];
    return make_path(path, dir, name) == 0 && access(path, F_OK) == 0;
}

/* A state half of which is another cluster's must not be used. */
static int refuse_unfinished(const char *dir, const struct complaint *to)
{
    if (is_there(dir, "recovering"))
        return complain(to, -EINPROGRESS,
                        "%s: its recovery was begun and did not end; end it: paxfs recover "
                        "--force-new-cluster --state %s",
                        dir, dir);
    if (is_there(dir, "restoring") && !is_there(dir, "config"))
        return complain(to, -EINPROGRESS,
                        "%s: a restore was begun there and did not end; run it again: paxfs "
                        "restore",
                        dir);
    return 0;
}

int config_load(const char *dir, struct config *c, char *error, size_t error_size)
{
    struct complaint to = {error, error_size};
    int rc = refuse_unfinished(dir, &to);
    if (rc == 0)
        rc = load_config(dir, c, &to);
    if (rc < 0)
        return rc;
    if (c->member_count == 0)
        return complain(&to, -EINPROGRESS,
                        "this host has not joined yet; finish that: paxfs join --state %s "
                        "--listen %s TOKEN, with a token of: paxfs member add %s",
                        dir, c->listen, c->name);
    return load_members(dir, c, &to);
}

int config_pin_members(const char *dir, const struct config *c)
{
    char text[CONFIG_SIZE_MAX];
    size_t size = (size_t)snprintf(text, sizeof text, "version=%d\n", CONFIG_VERSION);
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i].node_id != 0)
            size += (size_t)snprintf(text + size, sizeof text - size, "member=%s=%016" PRIx64 "\n",
                                     c->members[i].name, c->members[i].node_id);
    ASSERT(size < sizeof text);
    return write_file(dir, "members", text, size, 0);
}

bool config_is_formed(const struct config *c)
{
    for (uint32_t i = 0; i < c->member_count; i++)
        if (c->members[i].node_id == 0)
            return false;
    return true;
}

/* ---- life ---- */

int config_life(const char *dir, uint64_t *life)
{
    char text[CONFIG_SIZE_MAX];
    *life = 0;
    int rc = read_file(dir, "life", text);
    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return rc;
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || strcmp(end, "\n") != 0 || value == 0)
        return -EBADMSG;
    *life = value;
    return 0;
}

int config_begin_life(const char *dir, uint64_t life)
{
    char text[32];
    int size = snprintf(text, sizeof text, "%" PRIu64 "\n", life);
    return write_file(dir, "life", text, (size_t)size, 0);
}

/* ---- init ---- */

/* 0: empty, but for what an init that crashed left; -EEXIST; -ENOTEMPTY. */
static int check_empty(const char *dir)
{
    DIR *directory = opendir(dir);
    if (!directory)
        return -errno;
    int rc = 0;
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "config.new") == 0)
            continue;
        rc = -ENOTEMPTY;
        if (strcmp(name, "config") == 0) {
            rc = -EEXIST;
            break;
        }
    }
    closedir(directory);
    return rc;
}

static int make_directory(const char *dir)
{
    char parent[CONFIG_PATH_SIZE];
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return -errno;
    int rc = check_empty(dir);
    if (rc < 0)
        return rc;
    if (chmod(dir, 0700) < 0)
        return -errno;
    rc = make_path(parent, dir, "..");
    return rc < 0 ? rc : sync_directory(parent);
}

/* Ids are unique for ever: a node that lost its disk is a new one. */
static int random_id(uint64_t *id)
{
    do {
        if (getrandom(id, sizeof *id, 0) != (ssize_t)sizeof *id)
            return -EIO;
    } while (*id == 0);
    return 0;
}

/* @flags as of write_file(). */
static int write_config(const char *dir, const struct config *c, unsigned flags)
{
    char text[CONFIG_SIZE_MAX];
    size_t size = (size_t)snprintf(text, sizeof text,
                                   "version=%d\ncluster_id=%016" PRIx64 "\nnode_id=%016" PRIx64
                                   "\nname=%s\nlisten=%s\n%s",
                                   CONFIG_VERSION, c->cluster_id, c->node_id, c->name, c->listen,
                                   c->has_joined ? "joined=1\n" : "");
    for (uint32_t i = 0; i < c->member_count; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "member=%s=%s\n",
                                 c->members[i].name, c->members[i].address);
    ASSERT(size < sizeof text);
    return write_file(dir, "config", text, size, flags);
}

int config_init(const char *dir, struct config *c, char *error, size_t error_size)
{
    struct complaint to = {error, error_size};
    ASSERT(c->self < c->member_count);
    int rc = make_directory(dir);
    if (rc == 0)
        rc = random_id(&c->node_id);
    if (rc == 0) {
        c->members[c->self].node_id = c->node_id;
        rc = write_config(dir, c, RENAME_NOREPLACE);
    }
    if (rc == -EEXIST)
        return complain(&to, rc, "%s is a state directory already: it was left as it is", dir);
    if (rc == -ENOTEMPTY)
        return complain(&to, rc, "%s is not empty: give a new or an empty directory", dir);
    if (rc < 0)
        return complain(&to, rc, "%s cannot be made a state directory: %s", dir, strerror(-rc));
    return 0;
}

/* ---- join ---- */

/* What a former try left: its identity is kept, since the cluster may know it already. */
static int resume_join(const char *dir, const struct config *wanted, struct config *c,
                       const struct complaint *to)
{
    int rc = load_config(dir, c, to);
    if (rc < 0)
        return rc;
    if (!c->has_joined || c->cluster_id != wanted->cluster_id || strcmp(c->name, wanted->name) != 0)
        return complain(to, -EEXIST,
                        "%s is the state directory of %s of cluster %016" PRIx64
                        ": it was left as it is; give a new one",
                        dir, c->name, c->cluster_id);
    if (strcmp(c->listen, wanted->listen) == 0)
        return 0;
    memcpy(c->listen, wanted->listen, sizeof c->listen);
    rc = write_config(dir, c, 0);
    return rc < 0 ? complain(to, rc, "%s/config: cannot be written: %s", dir, strerror(-rc)) : 0;
}

int config_begin_join(const char *dir, const char *name, const char *listen, uint64_t cluster_id,
                      struct config *c, char *error, size_t error_size)
{
    struct complaint to = {error, error_size};
    struct config wanted = {.cluster_id = cluster_id, .has_joined = true};
    if (!config_name_is_valid(name))
        return complain(&to, -EINVAL, "the token names no member: it was changed; copy it again");
    if (!config_address(listen, wanted.listen))
        return complain(&to, -EINVAL,
                        "\"%.80s\" is no address to listen on: use IPV4:PORT or [IPV6]:PORT, one "
                        "that the others can dial",
                        listen);
    memcpy(wanted.name, name, strlen(name) + 1);
    int rc = make_directory(dir);
    if (rc == 0)
        rc = random_id(&wanted.node_id);
    if (rc == 0)
        rc = write_config(dir, &wanted, RENAME_NOREPLACE);
    if (rc == -EEXIST)
        return resume_join(dir, &wanted, c, &to);
    if (rc == -ENOTEMPTY)
        return complain(&to, rc, "%s is not empty: give a new or an empty directory", dir);
    if (rc < 0)
        return complain(&to, rc, "%s cannot be made a state directory: %s", dir, strerror(-rc));
    *c = wanted;
    return 0;
}

/* The ids first: config with its members is what makes the directory a member's. */
int config_finish_join(const char *dir, const struct config *c)
{
    ASSERT(c->has_joined);
    ASSERT(c->member_count > 0);
    int rc = config_pin_members(dir, c);
    return rc < 0 ? rc : write_config(dir, c, 0);
}

int config_renew(struct config *c, const char *name, const char *listen, char *error,
                 size_t error_size)
{
    struct complaint to = {error, error_size};
    struct config renewed = {.has_joined = true, .member_count = 1};
    if (!config_name_is_valid(name))
        return complain(&to, -EINVAL,
                        "\"%.64s\" is no name of a member: use 1 to %d of a-z, 0-9, _ and -", name,
                        MEMBER_NAME_MAX);
    if (!config_address(listen, renewed.listen))
        return complain(&to, -EINVAL,
                        "\"%.80s\" is no address to listen on: use IPV4:PORT or [IPV6]:PORT, one "
                        "that the others can dial",
                        listen);
    int rc = random_id(&renewed.cluster_id);
    if (rc == 0)
        rc = random_id(&renewed.node_id);
    if (rc < 0)
        return complain(&to, rc, "no random numbers: %s", strerror(-rc));
    memcpy(renewed.name, name, strlen(name) + 1);
    struct config_member *alone = &renewed.members[0];
    alone->node_id = renewed.node_id;
    memcpy(alone->name, renewed.name, sizeof alone->name);
    memcpy(alone->address, renewed.listen, sizeof alone->address);
    *c = renewed;
    return 0;
}

int config_set_listen(const char *dir, const char *listen)
{
    struct config c;
    struct complaint to = {NULL, 0};
    char canonical[ADDRESS_MAX + 1];
    if (!config_address(listen, canonical))
        return -EINVAL;
    int rc = load_config(dir, &c, &to);
    if (rc < 0)
        return rc;
    memcpy(c.listen, canonical, sizeof c.listen);
    return write_config(dir, &c, 0);
}

/* ---- lock ---- */

int config_lock(const char *dir)
{
    char path[CONFIG_PATH_SIZE];
    int rc = make_path(path, dir, "lock");
    if (rc < 0)
        return rc;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        rc = -errno;
        close(fd);
        return rc;
    }
    /* An init that was killed may have left names that a power cut would still take away: this
     * node's id must not go once it is in use. */
    rc = sync_directory(dir);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fd;
}
