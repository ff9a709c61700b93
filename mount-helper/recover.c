/* mount-helper/recover.c: `paxfs recover`: after the loss of a majority, one host's state directory
 * becomes a new cluster. */
#include "mount-helper/commands.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>

#include "mount-helper/complain.h"
#include "mount-helper/mountinfo.h"
#include "node/recover.h"

static const char usage[] =
    "usage: paxfs recover --state DIR                        what DIR holds; changes nothing\n"
    "       paxfs recover --force-new-cluster --state DIR    DIR becomes a new cluster, alone\n"
    "For when a majority of the hosts is lost for good, and only then: whatever the others alone\n"
    "decided is lost. Stop all that is left of the cluster, look at each directory, and take the\n"
    "one with the highest ballot and, of those, the highest slot; the other hosts join it anew:\n"
    "paxfs member add, paxfs join.\n";

static int read_arguments(int argc, char **argv, const char **state, bool *is_forced)
{
    static const struct option long_options[] = {
        {"state", required_argument, NULL, 's'},
        {"force-new-cluster", no_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        switch (option) {
        case 's':
            *state = optarg;
            break;
        case 'f':
            *is_forced = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return 1;
        default:
            fputs(usage, stderr);
            return -EINVAL;
        }
    }
    if (!*state || optind < argc) {
        fputs(usage, stderr);
        return -EINVAL;
    }
    return 0;
}

int command_recover(int argc, char **argv)
{
    const char *given = NULL;
    bool is_forced = false;
    char state[PATH_MAX], error[1024], text[RECOVER_TEXT_SIZE];
    struct recovery r;
    int rc = read_arguments(argc, argv, &given, &is_forced);
    if (rc != 0)
        return rc < 0 ? EXIT_FAILED : EXIT_FINE;
    if (mountinfo_resolve(given, state) < 0)
        snprintf(state, sizeof state, "%s", given);
    rc = is_forced ? recover_force(state, &r, error, sizeof error)
                   : recover_look(state, &r, error, sizeof error);
    if (rc < 0) {
        complain("recover: %s", error);
        return EXIT_FAILED;
    }
    recover_text(&r, text);
    fputs(text, stdout);
    if (is_forced)
        printf("        this text is in %s/RECOVERED-%s\n", state, r.date);
    else
        printf("nothing was changed. If no other directory has a higher ballot, or a higher slot "
               "with the same,\nand a majority of the hosts is lost for good: paxfs recover "
               "--force-new-cluster --state %s\n",
               state);
    return EXIT_FINE;
}
