/* mount-helper/join.c: `paxfs join`: this host becomes a member of a running cluster. */
#include "mount-helper/commands.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>

#include "mount-helper/complain.h"
#include "mount-helper/joining.h"
#include "mount-helper/mountinfo.h"

static const char usage[] =
    "usage: paxfs join --state DIR --listen ADDR:PORT TOKEN\n"
    "Make this host's state directory, as a member of the cluster that the TOKEN is of: what\n"
    "`paxfs member add` printed on one of its hosts. ADDR:PORT is where the others reach this "
    "one.\n"
    "After a failure run the same again.\n";

struct arguments {
    const char *state, *listen, *token;
};

static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option long_options[] = {
        {"state", required_argument, NULL, 's'},
        {"listen", required_argument, NULL, 'l'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        switch (option) {
        case 's':
            a->state = optarg;
            break;
        case 'l':
            a->listen = optarg;
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
        a->token = argv[optind];
    if (!a->state || !a->listen || !a->token) {
        fputs(usage, stderr);
        return -EINVAL;
    }
    return 0;
}

int command_join(int argc, char **argv)
{
    struct arguments a = {0};
    struct token token;
    char state[PATH_MAX];
    int rc = read_arguments(argc, argv, &a);
    if (rc != 0)
        return rc < 0 ? EXIT_FAILED : EXIT_FINE;
    if (token_parse(a.token, &token) < 0) {
        complain(
            "join: that is no token: it begins with paxfs-join-1: and was perhaps cut; copy all "
            "of it");
        return EXIT_FAILED;
    }
    if (joining_join(a.state, a.listen, &token) < 0)
        return EXIT_FAILED;
    if (mountinfo_resolve(a.state, state) < 0)
        snprintf(state, sizeof state, "%s", a.state);
    printf("%s is a member; its state is in %s\n"
           "next: mount -t paxfs %s /mnt      (or: paxfs mount %s /mnt)\n"
           "it fetches the files first; see: paxfs member ls\n",
           token.name, state, state, state);
    return EXIT_FINE;
}
