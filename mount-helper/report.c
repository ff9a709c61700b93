#include "mount-helper/report.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mount-helper/commands.h"
#include "mount-helper/complain.h"
#include "mount-helper/locate.h"
#include "mount-helper/render.h"
#include "rpc/admin.h"

#define STATUS_MS 5000
#define VERIFY_MS 30000

enum { STATUS_NOT_WORKING = 2, STATUS_NO_DAEMON = 3, VERIFY_NO_ANSWER = 1 };

static void print_json(const msgpack_object *value)
{
    admin_print_json(stdout, value);
    putchar('\n');
}

int report_status(const char *state_dir, bool json)
{
    struct admin_response response;
    int rc = admin_call(state_dir, "status", NULL, -1, STATUS_MS, &response);
    if (rc == -ENOENT || rc == -ECONNREFUSED || rc == -ENOTDIR) {
        if (json)
            puts("{\"health\":\"no daemon\"}");
        complain("no daemon runs on %s; start it: paxfs mount %s MNT", state_dir, state_dir);
        return STATUS_NO_DAEMON;
    }
    if (rc < 0) {
        complain("the daemon of %s did not answer: %s; see its log", state_dir, strerror(-rc));
        return STATUS_NOT_WORKING;
    }
    int status = STATUS_NOT_WORKING;
    if (response.error[0]) {
        complain("status: %s", response.error);
    } else {
        if (json)
            print_json(&response.result);
        else
            render_status(stdout, &response.result);
        status = render_status_exit(&response.result);
    }
    admin_response_deinit(&response);
    return status;
}

int report_verify(const char *state_dir, bool json)
{
    struct admin_response response;
    int rc = admin_call(state_dir, "verify", NULL, -1, VERIFY_MS, &response);
    if (rc == -ENOENT || rc == -ECONNREFUSED || rc == -ENOTDIR) {
        complain("verify: no daemon runs on %s; start it: paxfs mount %s MNT", state_dir,
                 state_dir);
        return VERIFY_NO_ANSWER;
    }
    if (rc < 0) {
        complain("verify: no answer from the daemon of %s: %s; is there a quorum? see paxfs status",
                 state_dir, strerror(-rc));
        return VERIFY_NO_ANSWER;
    }
    int status = VERIFY_NO_ANSWER;
    if (response.error[0]) {
        complain("verify: %s", response.error);
    } else {
        if (json)
            print_json(&response.result);
        else
            render_verify(stdout, &response.result);
        status = render_verify_exit(&response.result);
    }
    admin_response_deinit(&response);
    return status;
}

struct arguments {
    const char *state;
    bool json, watch;
};

static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option long_options[] = {
        {"state", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"watch", no_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        switch (option) {
        case 's':
            a->state = optarg;
            break;
        case 'j':
            a->json = true;
            break;
        case 'w':
            a->watch = true;
            break;
        default:
            fprintf(stderr, "usage: paxfs %s [--state DIR|MNT] [--json]%s\n", argv[0],
                    strcmp(argv[0], "status") == 0 ? " [--watch]" : "");
            return -EINVAL;
        }
    }
    if (optind + 1 == argc && !a->state)
        a->state = argv[optind];
    else if (optind < argc) {
        complain("%s: '%s' is one argument too many; see paxfs --help", argv[0], argv[optind]);
        return -EINVAL;
    }
    return 0;
}

static _Noreturn void watch_status(const char *state_dir, bool json)
{
    for (;;) { /* until Ctrl-C */
        if (!json)
            fputs("\033[H\033[2J", stdout);
        report_status(state_dir, json);
        fflush(stdout);
        sleep(1);
    }
}

int command_status(int argc, char **argv)
{
    struct arguments a = {0};
    char state_dir[PATH_MAX];
    if (read_arguments(argc, argv, &a) < 0)
        return EXIT_FAILED;
    if (locate_state_dir(a.state, state_dir) < 0)
        return STATUS_NO_DAEMON;
    if (a.watch)
        watch_status(state_dir, a.json);
    return report_status(state_dir, a.json);
}

int command_verify(int argc, char **argv)
{
    struct arguments a = {0};
    char state_dir[PATH_MAX];
    if (read_arguments(argc, argv, &a) < 0)
        return EXIT_FAILED;
    if (a.watch) {
        complain("verify: --watch is for status; leave it out");
        return EXIT_FAILED;
    }
    if (locate_state_dir(a.state, state_dir) < 0)
        return EXIT_FAILED;
    return report_verify(state_dir, a.json);
}
