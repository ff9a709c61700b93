/* mount.paxfs: what mount(8) runs for `mount -t paxfs STATE_DIR DIR -o OPTIONS`. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/complain.h"
#include "mount-helper/mounting.h"
#include "mount-helper/mountinfo.h"
#include "node/config.h"

static const char usage[] =
    "usage: mount.paxfs STATE_DIR DIR [-sfnv] [-o OPTIONS]\n"
    "Mount the replicated directory of STATE_DIR on DIR; starts its daemon unless it runs.\n"
    "  -o ro, timeo=SECONDS, allow_other, and the generic options of mount(8)\n"
    "  -s ignore unknown options   -f do all but the mount   -n no mtab (ignored)   -v say more\n"
    "Exit code as mount(8): 0 mounted, 1 usage or permission, 2 system, 8 interrupted, 32 "
    "failed.\n";

struct arguments {
    const char *option_lists[16];
    size_t option_list_count;
    bool sloppy, fake, verbose;
};

static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option long_options[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "sfnvo:t:hV", long_options, NULL)) != -1) {
        switch (option) {
        case 's':
            a->sloppy = true;
            break;
        case 'f':
            a->fake = true;
            break;
        case 'n':
        case 't': /* mount.fuse.paxfs is called with the type */
            break;
        case 'v':
            a->verbose = true;
            break;
        case 'o':
            if (a->option_list_count == ARRAY_COUNT(a->option_lists)) {
                complain("too many -o; join them with commas");
                return -EINVAL;
            }
            a->option_lists[a->option_list_count++] = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return 1;
        case 'V':
            puts("mount.paxfs " PAXFS_VERSION);
            return 1;
        default:
            fputs(usage, stderr);
            return -EINVAL;
        }
    }
    if (argc - optind == 2)
        return 0;
    complain("STATE_DIR and DIR are needed; see mount.paxfs --help");
    return -EINVAL;
}

static int resolve(const char *path, const char *what, char *out)
{
    int rc = mountinfo_resolve(path, out);
    if (rc < 0)
        complain("%s %s: %s; check the path", what, path, strerror(-rc));
    return rc;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {0};
    struct mounting m = {0};
    struct config config;
    char state_dir[PATH_MAX], dir[PATH_MAX], log_path[PATH_MAX + 16], error[512];

    complain_as("mount.paxfs");
    int rc = read_arguments(argc, argv, &arguments);
    if (rc != 0)
        return rc < 0 ? MOUNT_USAGE : MOUNT_OK;
    for (size_t i = 0; i < arguments.option_list_count; i++) {
        if (options_parse(arguments.option_lists[i], arguments.sloppy, &m.options, error,
                          sizeof(error)) < 0) {
            complain("%s", error);
            return MOUNT_USAGE;
        }
    }
    if (geteuid() != 0) {
        complain("only root may mount; use sudo");
        return MOUNT_USAGE;
    }
    if (resolve(argv[optind], "state directory", state_dir) < 0 ||
        resolve(argv[optind + 1], "mount point", dir) < 0)
        return MOUNT_FAILED;
    if (config_load(state_dir, &config, error, sizeof(error)) < 0) {
        complain("%s", error);
        return MOUNT_FAILED;
    }
    snprintf(log_path, sizeof(log_path), "%s/paxfsd.log", state_dir);
    m.launch = (struct daemon_launch){.state_dir = state_dir, .log_path = log_path};
    m.dir = dir;
    m.fake = arguments.fake;
    m.verbose = arguments.verbose;
    return mounting_mount(&m);
}
