/* mount-helper/member.c: `paxfs member`: who belongs to the cluster. */
#include "mount-helper/commands.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "mount-helper/asking.h"
#include "mount-helper/complain.h"
#include "mount-helper/locate.h"
#include "mount-helper/render.h"
#include "rpc/admin.h"

#define CHANGE_MS 15000 /* the daemon answers within 10 s */

static const char usage[] =
    "usage: paxfs member ls [--json]                       who belongs to it, and who votes\n"
    "       paxfs member add NAME [--learner]              invite a host: prints a token for it\n"
    "       paxfs member replace OLD NEW                   NEW takes OLD's place: a learner at "
    "once,\n"
    "                                                      a host not yet there by invitation\n"
    "       paxfs member promote NAME                      a learner votes from now on\n"
    "       paxfs member remove NAME [--force]             for ever: it would have to join anew\n"
    "       paxfs member set-addr NAME ADDR:PORT           where the others reach it\n"
    "All take --state DIR|MNT, and can be run on any host of the cluster, and again.\n";

struct arguments {
    const char *state, *verb;
    const char *operands[2];
    int operand_count;
    bool json, learner, force;
};

/* What a change is called by, and takes. */
struct change {
    const char *verb, *method;
    int operands;
    const char *keys[2]; /* of the operands */
};

static const struct change changes[] = {
    {"add", "member_add", 1, {"name", NULL}},
    {"promote", "member_promote", 1, {"name", NULL}},
    {"remove", "member_remove", 1, {"name", NULL}},
    {"replace", "member_replace", 2, {"old", "new"}},
    {"set-addr", "member_set_addr", 2, {"name", "address"}},
};

static void print_token(const struct arguments *a, const msgpack_object *result, const char *token)
{
    if (a->json) {
        admin_print_json(stdout, result);
        putchar('\n');
        return;
    }
    printf("the invitation is good for %" PRIu64 " h and for one host. On that host run:\n\n"
           "  paxfs join --state /var/lib/paxfs --listen ADDR:PORT %s\n\n",
           admin_get_u64(result, "expires_s", 0) / 3600, token);
    puts(strcmp(a->verb, "replace") == 0
             ? "then start it there; once it has caught up it takes the other's place by itself"
             : "then start it there; once it has caught up it takes part by itself");
}

static void print_done(const struct arguments *a, const msgpack_object *result)
{
    char did[512], missing[512];
    if (a->json) {
        admin_print_json(stdout, result);
        putchar('\n');
        return;
    }
    puts(admin_get_text(result, "did", did, sizeof did, "done"));
    admin_get_text(result, "missing", missing, sizeof missing, "");
    if (missing[0])
        puts(missing);
}

static int pack_request(const struct arguments *a, const struct change *c, struct buffer *params)
{
    uint32_t pairs = (uint32_t)a->operand_count + a->learner + a->force;
    pack_map(params, pairs);
    for (int i = 0; i < a->operand_count; i++) {
        pack_text(params, c->keys[i]);
        pack_text(params, a->operands[i]);
    }
    if (a->learner) {
        pack_text(params, "learner");
        pack_bool(params, true);
    }
    if (a->force) {
        pack_text(params, "force");
        pack_bool(params, true);
    }
    return params->bytes ? 0 : -ENOMEM;
}

static bool is_member(const msgpack_object *status, const char *name)
{
    char text[MEMBER_NAME_MAX + 1];
    const msgpack_object *members = admin_get(status, "members");
    if (!members || members->type != MSGPACK_OBJECT_ARRAY)
        return false;
    for (uint32_t i = 0; i < members->via.array.size; i++)
        if (strcmp(admin_get_text(&members->via.array.ptr[i], "name", text, sizeof text, ""),
                   name) == 0)
            return true;
    return false;
}

/* Who is to replace another and is no member yet is invited to. 0 or -errno. */
static int resolve(const struct arguments *a, const char *state_dir, struct change *c)
{
    struct admin_response response;
    if (strcmp(c->verb, "replace") != 0)
        return 0;
    int rc = asking_call(state_dir, "status", NULL, CHANGE_MS, &response);
    if (rc < 0)
        return rc;
    if (!is_member(&response.result, a->operands[1]))
        *c = (struct change){"replace", "member_add", 2, {"replaces", "name"}};
    admin_response_deinit(&response);
    return 0;
}

static int change(const struct arguments *a, const char *state_dir, const struct change *named)
{
    struct change c = *named;
    struct buffer params = {0};
    struct admin_response response;
    char token[4096];
    int rc = resolve(a, state_dir, &c);
    if (rc == 0)
        rc = pack_request(a, &c, &params);
    if (rc == 0)
        rc = asking_call(state_dir, c.method, &params, CHANGE_MS, &response);
    buffer_deinit(&params);
    if (rc < 0)
        return EXIT_FAILED;
    admin_get_text(&response.result, "token", token, sizeof token, "");
    if (token[0])
        print_token(a, &response.result, token);
    else
        print_done(a, &response.result);
    admin_response_deinit(&response);
    return EXIT_FINE;
}

static int list(const struct arguments *a, const char *state_dir)
{
    struct admin_response response;
    if (asking_call(state_dir, "status", NULL, CHANGE_MS, &response) < 0)
        return EXIT_FAILED;
    const msgpack_object *members = admin_get(&response.result, "members");
    if (!a->json) {
        render_membership(stdout, &response.result);
    } else if (members) {
        admin_print_json(stdout, members);
        putchar('\n');
    }
    admin_response_deinit(&response);
    return EXIT_FINE;
}

static int read_arguments(int argc, char **argv, struct arguments *a)
{
    static const struct option long_options[] = {
        {"state", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
        {"learner", no_argument, NULL, 'l'},     {"force", no_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        switch (option) {
        case 's':
            a->state = optarg;
            break;
        case 'j':
            a->json = true;
            break;
        case 'l':
            a->learner = true;
            break;
        case 'f':
            a->force = true;
            break;
        case 'h':
            fputs(usage, stdout);
            return 1;
        default:
            fputs(usage, stderr);
            return -EINVAL;
        }
    }
    if (optind < argc)
        a->verb = argv[optind++];
    while (optind < argc && a->operand_count < 2)
        a->operands[a->operand_count++] = argv[optind++];
    if (!a->verb || optind < argc) {
        fputs(usage, stderr);
        return -EINVAL;
    }
    return 0;
}

static bool options_fit(const struct arguments *a)
{
    if (a->learner && strcmp(a->verb, "add") != 0)
        complain("member %s: --learner is for add; leave it out", a->verb);
    else if (a->force && strcmp(a->verb, "remove") != 0)
        complain("member %s: --force is for remove; leave it out", a->verb);
    else
        return true;
    return false;
}

int command_member(int argc, char **argv)
{
    struct arguments a = {0};
    char state_dir[PATH_MAX];
    int rc = read_arguments(argc, argv, &a);
    if (rc != 0)
        return rc < 0 ? EXIT_FAILED : EXIT_FINE;
    if (!options_fit(&a))
        return EXIT_FAILED;
    if (strcmp(a.verb, "ls") == 0 && a.operand_count == 0)
        return locate_state_dir(a.state, state_dir) < 0 ? EXIT_FAILED : list(&a, state_dir);
    for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
        const struct change *c = &changes[i];
        if (strcmp(a.verb, c->verb) != 0)
            continue;
        if (a.operand_count != c->operands) {
            complain("member %s: %d name%s needed; see paxfs member --help", a.verb, c->operands,
                     c->operands == 1 ? " is" : "s or addresses are");
            return EXIT_FAILED;
        }
        return locate_state_dir(a.state, state_dir) < 0 ? EXIT_FAILED : change(&a, state_dir, c);
    }
    complain("member: '%s' is no verb of it, or takes no names; see paxfs member --help", a.verb);
    return EXIT_FAILED;
}
