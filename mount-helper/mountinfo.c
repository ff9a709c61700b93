#include "mount-helper/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The kernel writes space, tab, newline and backslash as \ooo. */
static void unescape(const char *in, char *out, size_t room)
{
    size_t used = 0;
    while (*in && used + 1 < room) {
        if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' && in[2] <= '7' &&
            in[3] >= '0' && in[3] <= '7') {
            out[used++] = (char)(((in[1] - '0') << 6) | ((in[2] - '0') << 3) | (in[3] - '0'));
            in += 4;
            continue;
        }
        out[used++] = *in++;
    }
    out[used] = '\0';
}

/* "36 35 98:0 /root /dir options [tag...] - type source options" */
static int parse_line(char *line, struct mountinfo *out)
{
    char *save = NULL, *fields[6];
    for (size_t i = 0; i < 6; i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " \n", &save);
        if (!fields[i])
            return -EBADMSG;
    }
    char *word = strtok_r(NULL, " \n", &save);
    while (word && strcmp(word, "-") != 0)
        word = strtok_r(NULL, " \n", &save);
    char *type = strtok_r(NULL, " \n", &save);
    char *source = strtok_r(NULL, " \n", &save);
    if (!type || !source || sscanf(fields[2], "%u:%u", &out->major, &out->minor) != 2)
        return -EBADMSG;
    unescape(fields[4], out->dir, sizeof(out->dir));
    unescape(type, out->type, sizeof(out->type));
    unescape(source, out->source, sizeof(out->source));
    return 0;
}

/* Which mount: the topmost at a directory, or the paxfs mount after so many others. */
struct search {
    const char *dir; /* NULL: paxfs mounts */
    unsigned skip;
};

static int search_mounts(struct search search, struct mountinfo *out)
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (!file)
        return -errno;
    struct mountinfo *line_info = malloc(sizeof(*line_info));
    char *line = NULL;
    size_t room = 0;
    int rc = line_info ? -ENOENT : -ENOMEM;
    while (line_info && getline(&line, &room, file) > 0) {
        if (parse_line(line, line_info) < 0)
            continue;
        if (search.dir) {
            if (strcmp(line_info->dir, search.dir) != 0)
                continue;
        } else if (strcmp(line_info->type, PAXFS_MOUNT_TYPE) != 0 || search.skip-- > 0) {
            continue;
        }
        *out = *line_info;
        rc = 0;
        if (!search.dir)
            break; /* at a directory the last line is the topmost mount: go on */
    }
    free(line);
    free(line_info);
    fclose(file);
    return rc;
}

int mountinfo_at(const char *dir, struct mountinfo *out)
{
    return search_mounts((struct search){.dir = dir}, out);
}

int mountinfo_paxfs(unsigned index, struct mountinfo *out)
{
    return search_mounts((struct search){.skip = index}, out);
}

int mountinfo_resolve(const char *path, char *out)
{
    char trimmed[PATH_MAX];
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--; /* "dir/" would be looked into, "dir" is not */
    if (size == 0)
        return -ENOENT;
    if (size >= sizeof(trimmed))
        return -ENAMETOOLONG;
    memcpy(trimmed, path, size);
    trimmed[size] = '\0';
    return realpath(trimmed, out) ? 0 : -errno;
}
