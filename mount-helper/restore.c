/* mount-helper/restore.c: `paxfs restore`: a new cluster, of this host alone, from a backup. */
#include "mount-helper/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "mount-helper/complain.h"
#include "mount-helper/mountinfo.h"
#include "node/restore.h"

static const char usage[] =
    "usage: paxfs restore FILE --new-cluster --state DIR --listen ADDR:PORT [--name NAME]\n"
    "Make DIR, which is new or empty, the state directory of a new cluster of this host alone, "
    "with\n"
    "the files of the backup FILE. Others join it then: paxfs member add, paxfs join.\n"
    "No cluster that runs is touched; NAME is n1 where it is not given.\n";

struct arguments {
    const char *file, *state, *listen, *name;
    bool is_new;
};

static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option long_options[] = {
        {"new-cluster", no_argument, NULL, 'c'},  {"state", required_argument, NULL, 's'},
        {"listen", required_argument, NULL, 'l'}, {"name", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        switch (option) {
        case 'c':
            a->is_new = true;
            break;
        case 's':
            a->state = optarg;
            break;
        case 'l':
            a->listen = optarg;
            break;
        case 'n':
            a->name = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return 1;
        default:
            fputs(usage, stderr);
            return -EINVAL;
        }
    }
    if (optind + 1 == argc)
        a->file = argv[optind];
    if (!a->file || !a->state || !a->listen) {
        fputs(usage, stderr);
        return -EINVAL;
    }
    if (!a->is_new) {
        complain("restore: it makes a cluster of its own, and changes none that runs; say so: "
                 "--new-cluster");
        return -EINVAL;
    }
    return 0;
}

static void tell(const struct restored *r, const char *dir)
{
    char state[PATH_MAX], when[64] = "?";
    time_t seconds = (time_t)(r->time_ns / NS_PER_S);
    struct tm tm;
    if (gmtime_r(&seconds, &tm))
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S UTC", &tm);
    if (mountinfo_resolve(dir, state) < 0)
        snprintf(state, sizeof state, "%s", dir);
    printf("restored: cluster %016" PRIx64 " through slot %" PRIu64 ", of %s\n"
           "node %s of the new cluster %016" PRIx64 ", alone, listening on %s, state in %s\n"
           "next: mount -t paxfs %s /mnt      (or: paxfs mount %s /mnt)\n"
           "then bring in other hosts: paxfs member add NAME\n",
           r->from_cluster, r->slot, when, r->config.name, r->config.cluster_id, r->config.listen,
           state, state, state);
}

int command_restore(int argc, char **argv)
{
    struct arguments a = {.name = "n1"};
    struct restored restored;
    char error[1024];
    int rc = read_arguments(argc, argv, &a);
    if (rc != 0)
        return rc < 0 ? EXIT_FAILED : EXIT_FINE;
    int fd = open(a.file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        complain("restore: %s: %s; check the name", a.file, strerror(errno));
        return EXIT_FAILED;
    }
    rc = restore_run(fd, a.state, a.name, a.listen, &restored, error, sizeof error);
    close(fd);
    if (rc < 0) {
        if (rc == -EBADMSG)
            complain("restore: %s: %s; nothing was changed", a.file, error);
        else
            complain("restore: %s", error);
        return EXIT_FAILED;
    }
    tell(&restored, a.state);
    return EXIT_FINE;
}
