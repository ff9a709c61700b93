/* paxfs: the command a person types. */
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "mount-helper/commands.h"
#include "mount-helper/complain.h"

static const char help[] =
    "usage: paxfs VERB [ARGUMENTS]\n"
    "\n"
    "a cluster\n"
    "  init    --state DIR --listen ADDR:PORT              a cluster of this host alone\n"
    "  init    --state DIR --cluster n1=A:P,n2=A:P,n3=A:P --name n1\n"
    "                                                      on each host, with its own --name\n"
    "  join    --state DIR --listen ADDR:PORT TOKEN        make this host one of a cluster's\n"
    "  member  ls | add NAME | remove NAME | replace OLD [NEW] | promote NAME |\n"
    "          set-addr NAME ADDR:PORT                     who belongs to it; add prints a TOKEN\n"
    "  mount   STATE_DIR DIR [-o OPTIONS]                  as mount -t paxfs; starts the daemon\n"
    "  umount  [-l] DIR                                    the daemon goes on\n"
    "  stop    [--state DIR|MNT]                           end the daemon; nobody waits for it\n"
    "  leader  transfer [--state DIR|MNT]                  hand the leadership to another node\n"
    "\n"
    "how it is\n"
    "  status  [--state DIR|MNT] [--json] [--watch]        exit 0 fine, 1 degraded, 2 not "
    "working,\n"
    "                                                      3 no daemon\n"
    "  verify  [--state DIR|MNT] [--json]                  exit 0 all replicas equal, 1 one did "
    "not\n"
    "                                                      answer, 2 they differ\n"
    "  fsck    STATE_DIR                                   a stopped host's; changes nothing: exit "
    "0\n"
    "                                                      well, 1 wrong, 2 not checked\n"
    "\n"
    "to be safe\n"
    "  backup  FILE|- [--state DIR|MNT]                    all files as of one moment, in use or "
    "not\n"
    "  restore FILE --new-cluster --state DIR --listen ADDR:PORT [--name NAME]\n"
    "                                                      a new cluster from a backup\n"
    "  recover --state DIR [--force-new-cluster]           after the loss of a majority: go on "
    "alone\n"
    "\n"
    "a cluster on this machine, to try things\n"
    "  dev up N [--dir D] [--base PORT]                    N nodes on 127.0.0.1 to 127.0.0.N\n"
    "  dev kill nK | start nK | stop nK [--dir D]\n"
    "  dev add | remove nK | replace nK [--dir D]          change its members\n"
    "  dev status | verify | down [--delete] [--dir D]\n"
    "\n"
    "  --help, --version\n";

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } verbs[] = {
        {"init", command_init},       {"mount", command_mount},   {"umount", command_umount},
        {"stop", command_stop},       {"leader", command_leader}, {"status", command_status},
        {"verify", command_verify},   {"member", command_member}, {"join", command_join},
        {"dev", command_dev},         {"backup", command_backup}, {"restore", command_restore},
        {"recover", command_recover}, {"fsck", command_fsck},
    };

    if (argc < 2) {
        fputs(help, stderr);
        return EXIT_FAILED;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        fputs(help, stdout);
        return EXIT_FINE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("paxfs " PAXFS_VERSION);
        return EXIT_FINE;
    }
    for (size_t i = 0; i < ARRAY_COUNT(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    }
    complain("'%s' is no verb of paxfs; see paxfs --help", argv[1]);
    return EXIT_FAILED;
}
