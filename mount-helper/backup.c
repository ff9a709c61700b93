/* mount-helper/backup.c: `paxfs backup`: the daemon writes into a pipe, and the command from there
 * into a file or to stdout: so no daemon waits for a slow disk of somebody else's, or for its own
 * mount. */
#include "mount-helper/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "mount-helper/asking.h"
#include "mount-helper/complain.h"
#include "mount-helper/locate.h"
#include "rpc/admin.h"

enum {
    BACKUP_MS = (2 * 3600 + 60) * 1000, /* the daemon gives up before */
    PIECE_SIZE = 256 << 10,
};

static const char usage[] =
    "usage: paxfs backup FILE [--state DIR|MNT]     one state of all files, while they are in use\n"
    "       paxfs backup - [--state DIR|MNT]        to stdout, to be sent elsewhere\n"
    "FILE is there, whole, or not at all; one that was there before is replaced then.\n"
    "See paxfs restore.\n";

/* From the pipe to where the person wants it; a thread of its own, for the daemon answers only once
 * all is taken. */
struct drain {
    int from, to;
    int rc;
    pthread_t thread;
};

static int write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t written = write(fd, bytes, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return -errno;
        bytes += written;
        size -= (size_t)written;
    }
    return 0;
}

static int copy(const struct drain *d, char *piece)
{
    for (;;) {
        ssize_t got = read(d->from, piece, PIECE_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : 0;
        int rc = write_all(d->to, piece, (size_t)got);
        if (rc < 0)
            return rc;
    }
}

static void *drain_main(void *argument)
{
    struct drain *d = argument;
    char *piece = malloc(PIECE_SIZE);
    d->rc = piece ? copy(d, piece) : -ENOMEM;
    free(piece);
    close(d->from); /* where it failed the daemon ends too */
    return NULL;
}

/* 0: all of it was written to @to, and @response is the daemon's answer. Else complains. */
static int take(const char *state_dir, int to, const char *where, struct admin_response *response)
{
    int ends[2];
    struct drain d = {.to = to};
    if (pipe2(ends, O_CLOEXEC) < 0) {
        complain("backup: no pipe: %s", strerror(errno));
        return -errno;
    }
    d.from = ends[0];
    int rc = -pthread_create(&d.thread, NULL, drain_main, &d);
    if (rc < 0) {
        close(ends[0]);
        close(ends[1]);
        complain("backup: no thread: %s", strerror(-rc));
        return rc;
    }
    rc = asking_call_with(state_dir, "backup", NULL, ends[1], BACKUP_MS, response);
    close(ends[1]);
    pthread_join(d.thread, NULL);
    if (d.rc < 0)
        complain("backup: %s cannot be written: %s; what is there of it is no backup", where,
                 strerror(-d.rc));
    if (rc == 0 && d.rc < 0)
        admin_response_deinit(response);
    return rc < 0 ? rc : d.rc;
}

static void tell(FILE *out, const struct admin_response *response, const char *where)
{
    uint64_t bytes = admin_get_u64(&response->result, "bytes", 0);
    fprintf(out, "%s: %" PRIu64 ".%" PRIu64 " MiB, all that was done through slot %" PRIu64 "\n",
            where, bytes / MIB, bytes % MIB * 10 / MIB,
            admin_get_u64(&response->result, "slot", 0));
    if (admin_get_bool(&response->result, "behind", false))
        complain("backup: no majority of the hosts answers: this is what this host has; the last "
                 "changes of others may be missing");
}

static int to_stdout(const char *state_dir)
{
    struct admin_response response;
    if (isatty(STDOUT_FILENO)) {
        complain("backup: stdout is a terminal; give a file, or send it on: paxfs backup - | ...");
        return EXIT_FAILED;
    }
    if (take(state_dir, STDOUT_FILENO, "stdout", &response) < 0)
        return EXIT_FAILED;
    tell(stderr, &response, "backup");
    admin_response_deinit(&response);
    return EXIT_FINE;
}

/* ---- into a file ---- */

static int sync_parent(const char *file)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", file);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return rc;
}

static int finish_file(int fd, const char *file_new, const char *file)
{
    if (fsync(fd) < 0 || rename(file_new, file) < 0)
        return -errno;
    return sync_parent(file);
}

static int to_file(const char *state_dir, const char *file)
{
    char file_new[PATH_MAX];
    struct admin_response response;
    struct stat s;
    if (lstat(file, &s) == 0 && !S_ISREG(s.st_mode)) {
        complain("backup: %s is there and is no file; give another name, or - for stdout", file);
        return EXIT_FAILED;
    }
    if (snprintf(file_new, sizeof file_new, "%s.new", file) >= (int)sizeof file_new) {
        complain("backup: the name is too long; give a shorter one");
        return EXIT_FAILED;
    }
    (void)unlink(file_new); /* of one that was interrupted */
    int fd = open(file_new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        complain("backup: %s cannot be made: %s; give another place", file_new, strerror(errno));
        return EXIT_FAILED;
    }
    int rc = take(state_dir, fd, file_new, &response);
    if (rc == 0) {
        rc = finish_file(fd, file_new, file);
        if (rc < 0)
            complain("backup: %s cannot be written: %s; make room, or give another place", file,
                     strerror(-rc));
        else
            tell(stdout, &response, file);
        admin_response_deinit(&response);
    }
    close(fd);
    if (rc < 0)
        (void)unlink(file_new);
    return rc < 0 ? EXIT_FAILED : EXIT_FINE;
}

int command_backup(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"state", required_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *given = NULL;
    char state_dir[PATH_MAX];
    int option;
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        if (option == 's') {
            given = optarg;
            continue;
        }
        fputs(usage, option == 'h' ? stdout : stderr);
        return option == 'h' ? EXIT_FINE : EXIT_FAILED;
    }
    if (argc - optind != 1) {
        fputs(usage, stderr);
        return EXIT_FAILED;
    }
    const char *file = argv[optind];
    if (locate_state_dir(given, state_dir) < 0)
        return EXIT_FAILED;
    return strcmp(file, "-") == 0 ? to_stdout(state_dir) : to_file(state_dir, file);
}
