/* mount-helper/fsck.c: `paxfs fsck`: is what a stopped host has on its disk as it was written? */
#include "mount-helper/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/fsck.h"
#include "mount-helper/complain.h"
#include "node/config.h"
#include "node/fsck.h"

static const char usage[] =
    "usage: paxfs fsck STATE_DIR\n"
    "Checks a stopped host's state directory, and changes nothing: its identity, each batch of "
    "the\n"
    "log, each record and all file data as of the last checkpoint, and that they fit together.\n"
    "exit 0 all is well, 1 something is wrong (each in a sentence), 2 it could not be checked\n";

enum { EXIT_WRONG = 1, EXIT_UNCHECKED = 2 };

static void print_sentence(void *context, const char *sentence)
{
    (void)context;
    printf("%s\n", sentence);
}

static int check_parts(const char *dir)
{
    struct store_fsck f = {.say = print_sentence};
    char error[1024];
    uint64_t problems = 0;
    int rc = node_fsck_log(dir, error, sizeof error);
    if (rc) {
        printf("the log: %s\n", error);
        problems++;
    }
    char note[4096];
    snprintf(note, sizeof note, "%s/quarantine", dir);
    if (access(note, F_OK) == 0) {
        printf("this host is in quarantine: it had a state that was wrong, and has no new one yet; "
               "start it\n");
        return EXIT_WRONG;
    }
    rc = store_fsck(dir, &f);
    if (rc) {
        complain("fsck: the store cannot be read: %s", strerror(-rc));
        return EXIT_UNCHECKED;
    }
    problems += f.problems;
    if (f.problems > FSCK_SAID_MAX)
        printf("... and %" PRIu64 " more\n", f.problems - FSCK_SAID_MAX);
    printf("%s: slot %" PRIu64 ", %" PRIu64 " inodes, %" PRIu64 " records, %" PRIu64
           " bytes; %" PRIu64 " problems\n",
           dir, f.slot, f.inodes, f.records, f.bytes, problems);
    if (problems)
        printf("Where other hosts are well, this one gets their state as it finds the damage by "
               "itself; else use a backup.\n");
    return problems ? EXIT_WRONG : EXIT_FINE;
}

int command_fsck(int argc, char **argv)
{
    struct config config;
    char error[1024];
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        return EXIT_FINE;
    }
    if (argc != 2 || argv[1][0] == '-') {
        fputs(usage, stderr);
        return EXIT_UNCHECKED;
    }
    int rc = config_load(argv[1], &config, error, sizeof error);
    if (rc < 0) {
        complain("fsck: %s: %s", argv[1], error);
        return rc == -EBADMSG ? EXIT_WRONG : EXIT_UNCHECKED;
    }
    int lock = config_lock(argv[1]);
    if (lock < 0) {
        complain("fsck: %s: %s", argv[1],
                 lock == -EWOULDBLOCK ? "a paxfsd runs on it; stop it first: paxfs stop"
                                      : strerror(-lock));
        return EXIT_UNCHECKED;
    }
    int code = check_parts(argv[1]);
    close(lock);
    return code;
}
