#include "mount-helper/commands.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/asking.h"
#include "mount-helper/complain.h"
#include "mount-helper/daemon.h"
#include "mount-helper/locate.h"
#include "mount-helper/mounting.h"
#include "mount-helper/mountinfo.h"
#include "node/config.h"
#include "rpc/admin.h"

#define STOP_MS     15000 /* the daemon promises 10 s */
#define TRANSFER_MS 10000

/* ---- mount, umount ---- */

static int mount_resolved(const char *state, const char *where, struct mount_options options)
{
    char state_dir[PATH_MAX], dir[PATH_MAX], log_path[PATH_MAX + 16], error[512];
    struct config config;
    int rc = mountinfo_resolve(state, state_dir);
    if (rc < 0) {
        complain("state directory %s: %s; check the path", state, strerror(-rc));
        return MOUNT_FAILED;
    }
    rc = mountinfo_resolve(where, dir);
    if (rc < 0) {
        complain("mount point %s: %s; make it first: mkdir -p %s", where, strerror(-rc), where);
        return MOUNT_FAILED;
    }
    if (config_load(state_dir, &config, error, sizeof(error)) < 0) {
        complain("%s", error);
        return MOUNT_FAILED;
    }
    snprintf(log_path, sizeof(log_path), "%s/paxfsd.log", state_dir);
    struct mounting m = {
        .launch = {.state_dir = state_dir, .log_path = log_path},
        .dir = dir,
        .options = options,
        .verbose = true,
    };
    return mounting_mount(&m);
}

int command_mount(int argc, char **argv)
{
    struct mount_options options = {0};
    char error[512];
    int option;
    while ((option = getopt(argc, argv, "o:")) != -1) {
        if (option != 'o') {
            fputs("usage: paxfs mount STATE_DIR DIR [-o OPTIONS]\n", stderr);
            return MOUNT_USAGE;
        }
        if (options_parse(optarg, false, &options, error, sizeof(error)) < 0) {
            complain("%s", error);
            return MOUNT_USAGE;
        }
    }
    if (argc - optind != 2) {
        complain("mount: two arguments are needed: paxfs mount STATE_DIR DIR [-o OPTIONS]");
        return MOUNT_USAGE;
    }
    if (geteuid() != 0) {
        complain("only root may mount; use sudo");
        return MOUNT_USAGE;
    }
    return mount_resolved(argv[optind], argv[optind + 1], options);
}

int command_umount(int argc, char **argv)
{
    char dir[PATH_MAX];
    bool lazily = false;
    int option;
    while ((option = getopt(argc, argv, "l")) != -1) {
        if (option != 'l') {
            fputs("usage: paxfs umount [-l] DIR\n", stderr);
            return EXIT_FAILED;
        }
        lazily = true;
    }
    if (argc - optind != 1) {
        complain("umount: one directory is needed: paxfs umount [-l] DIR");
        return EXIT_FAILED;
    }
    int rc = mountinfo_resolve(argv[optind], dir);
    if (rc == 0)
        rc = mounting_unmount(dir, lazily);
    if (rc == 0)
        return EXIT_FINE;
    if (rc == -EINVAL)
        complain("%s is no paxfs mount; see: grep " PAXFS_MOUNT_TYPE " /proc/mounts", dir);
    else if (rc == -EBUSY)
        complain("%s is in use; leave it and close its files, or: paxfs umount -l %s", dir, dir);
    else
        complain("cannot unmount %s: %s; run as root, check the path", argv[optind], strerror(-rc));
    return EXIT_FAILED;
}

/* ---- stop, leader ---- */

/* --state DIR alone, as several verbs take it. 0 or -EINVAL. */
static int read_state(int argc, char **argv, const char **state)
{
    static const struct option long_options[] = {{"state", required_argument, NULL, 's'},
                                                 {NULL, 0, NULL, 0}};
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (option != 's') {
            fprintf(stderr, "usage: paxfs %s [--state DIR]\n", argv[0]);
            return -EINVAL;
        }
        *state = optarg;
    }
    return 0;
}

/* Ask where there is nothing to read in the answer. */
static int ask(const char *state_dir, const char *method, int timeout_ms)
{
    struct admin_response response;
    int rc = asking_call(state_dir, method, NULL, timeout_ms, &response);
    if (rc == 0)
        admin_response_deinit(&response);
    return rc;
}

int command_stop(int argc, char **argv)
{
    const char *given = NULL;
    char state_dir[PATH_MAX];
    if (read_state(argc, argv, &given) < 0)
        return EXIT_FAILED;
    if (optind < argc)
        given = argv[optind];
    if (locate_state_dir(given, state_dir) < 0)
        return EXIT_FAILED;
    pid_t pid = daemon_asked_pid(state_dir); /* to see it end */
    if (ask(state_dir, "stop", STOP_MS) < 0)
        return EXIT_FAILED;
    if (pid > 0 && daemon_wait_gone(pid, STOP_MS) < 0) {
        complain("stop: paxfsd (pid %d) still runs after %d s; see its log, or: kill -9 %d",
                 (int)pid, STOP_MS / 1000, (int)pid);
        return EXIT_FAILED;
    }
    return EXIT_FINE;
}

int command_leader(int argc, char **argv)
{
    const char *given = NULL;
    char state_dir[PATH_MAX];
    if (read_state(argc, argv, &given) < 0)
        return EXIT_FAILED;
    if (argc - optind != 1 || strcmp(argv[optind], "transfer") != 0) {
        complain("leader: what to do is missing: paxfs leader transfer [--state DIR]");
        return EXIT_FAILED;
    }
    if (locate_state_dir(given, state_dir) < 0 || ask(state_dir, "transfer", TRANSFER_MS) < 0)
        return EXIT_FAILED;
    puts("the leadership is handed over; see: paxfs status");
    return EXIT_FINE;
}
