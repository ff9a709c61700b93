#include "mount-helper/commands.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/complain.h"
#include "mount-helper/mountinfo.h"
#include "node/config.h"

static const char usage[] =
    "usage: paxfs init --state DIR --listen ADDR:PORT\n"
    "       paxfs init --state DIR --cluster n1=ADDR:PORT,n2=ADDR:PORT,n3=ADDR:PORT --name n1\n"
    "Make this host's state directory. The --cluster list is the same on every host.\n";

struct arguments {
    const char *state, *listen, *cluster, *name;
};

static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option long_options[] = {
        {"state", required_argument, NULL, 's'},   {"listen", required_argument, NULL, 'l'},
        {"cluster", required_argument, NULL, 'c'}, {"name", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},          {NULL, 0, NULL, 0},
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
        case 'c':
            a->cluster = optarg;
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
    if (optind < argc) {
        complain("init: '%s' is one argument too many; see paxfs init --help", argv[optind]);
        return -EINVAL;
    }
    return 0;
}

static int check_arguments(struct arguments *a)
{
    if (!a->state) {
        complain("init: no state directory; give --state DIR");
        return -EINVAL;
    }
    if (!a->listen && !a->cluster) {
        complain("init: no address; give --listen ADDR:PORT, or --cluster with --name");
        return -EINVAL;
    }
    if (a->cluster && !a->name) {
        complain("init: which of the cluster is this host? give --name");
        return -EINVAL;
    }
    if (!a->name)
        a->name = "n1";
    return 0;
}

/* A cluster of this host alone. */
static int parse_alone(const struct arguments *a, struct config *c, char *error, size_t error_size)
{
    char one[MEMBER_NAME_MAX + ADDRESS_MAX + 64];
    int size = snprintf(one, sizeof(one), "%s=%s", a->name, a->listen);
    if (size < 0 || (size_t)size >= sizeof(one)) {
        snprintf(error, error_size, "--name or --listen is too long; shorten it");
        return -EINVAL;
    }
    return config_parse_cluster(c, one, a->name, error, error_size);
}

static int read_members(const struct arguments *a, struct config *c, char *error, size_t error_size)
{
    struct config alone = {0};
    int rc = a->listen ? parse_alone(a, &alone, error, error_size) : 0;
    if (rc < 0)
        return rc;
    if (!a->cluster) {
        *c = alone;
        return 0;
    }
    rc = config_parse_cluster(c, a->cluster, a->name, error, error_size);
    if (rc < 0)
        return rc;
    const char *address = c->members[c->self].address;
    if (a->listen && strcmp(alone.members[0].address, address) != 0) {
        snprintf(error, error_size,
                 "--listen %s is not %s, the address of %s in --cluster; make them equal, or leave "
                 "--listen out",
                 a->listen, address, a->name);
        return -EINVAL;
    }
    return 0;
}

static void print_done(const char *dir, const struct config *c)
{
    char state[PATH_MAX];
    if (mountinfo_resolve(dir, state) < 0)
        snprintf(state, sizeof(state), "%s", dir);
    printf("node %s of a cluster of %u, listening on %s, state in %s\n", c->members[c->self].name,
           c->member_count, c->members[c->self].address, state);
    if (c->member_count > 1)
        printf("do the same on the other hosts (same --cluster, their own --name), then on each\n");
    printf("next: mount -t paxfs %s /mnt      (or: paxfs mount %s /mnt)\n", state, state);
}

int command_init(int argc, char **argv)
{
    struct arguments a = {0};
    struct config c = {0};
    char error[512];
    int rc = read_arguments(argc, argv, &a);
    if (rc != 0)
        return rc < 0 ? EXIT_FAILED : EXIT_FINE;
    if (check_arguments(&a) < 0)
        return EXIT_FAILED;
    if (read_members(&a, &c, error, sizeof(error)) < 0 ||
        config_init(a.state, &c, error, sizeof(error)) < 0) {
        complain("init: %s", error);
        return EXIT_FAILED;
    }
    print_done(a.state, &c);
    return EXIT_FINE;
}
