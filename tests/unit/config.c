/* tests/unit/config.c: the state directory's files: what is taken, what is refused and how. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/config.h"

#define CLUSTER "n2=10.0.0.2:7600,n1=10.0.0.1:7600,n3=[fe80::1]:7600"

/* ---- fixtures ---- */

static char base[64], state[96], error[512];

static void setup(void)
{
    snprintf(base, sizeof base, "/tmp/paxfs_config.XXXXXX");
    cr_assert(mkdtemp(base));
    snprintf(state, sizeof state, "%s/state", base);
    error[0] = '\0';
}

static void teardown(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", base);
    cr_assert_eq(system(command), 0);
}

TestSuite(config, .init = setup, .fini = teardown);

static struct config cluster(const char *name)
{
    struct config c;
    cr_assert_eq(config_parse_cluster(&c, CLUSTER, name, error, sizeof error), 0, "%s", error);
    return c;
}

static struct config init_state(void)
{
    struct config c = cluster("n1");
    cr_assert_eq(config_init(state, &c, error, sizeof error), 0, "%s", error);
    return c;
}

static int load(struct config *c)
{
    error[0] = '\0';
    return config_load(state, c, error, sizeof error);
}

static size_t read_text(const char *name, char *text, size_t room)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", state, name);
    FILE *f = fopen(path, "r");
    cr_assert(f);
    size_t size = fread(text, 1, room - 1, f);
    fclose(f);
    text[size] = '\0';
    return size;
}

static void write_text(const char *name, const char *text, size_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", state, name);
    FILE *f = fopen(path, "w");
    cr_assert(f);
    cr_assert_eq(fwrite(text, 1, size, f), size);
    fclose(f);
}

/* config with the first @from replaced. */
static void change_config(const char *from, const char *to)
{
    char text[4096], changed[8192];
    read_text("config", text, sizeof text);
    char *at = strstr(text, from);
    cr_assert(at, "%s", from);
    int size = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to,
                        at + strlen(from));
    write_text("config", changed, (size_t)size);
}

/* ---- the cluster as a person types it ---- */

Test(config, members_are_sorted_and_addresses_written_one_way)
{
    struct config c;
    cr_assert_eq(config_parse_cluster(&c, "b=[FE80:0:0::1]:65535,a=127.0.0.1:1", "b", error, 512),
                 0);
    cr_expect_eq(c.member_count, 2);
    cr_expect_str_eq(c.members[0].name, "a");
    cr_expect_str_eq(c.members[0].address, "127.0.0.1:1");
    cr_expect_str_eq(c.members[1].name, "b");
    cr_expect_str_eq(c.members[1].address, "[fe80::1]:65535");
    cr_expect_eq(c.self, 1);
    cr_expect_eq(c.members[0].node_id, 0);
}

Test(config, the_cluster_id_depends_on_the_members_and_not_on_their_order_or_whose_it_is)
{
    struct config a = cluster("n1"), b, other;
    cr_assert_eq(config_parse_cluster(&b, "n3=[FE80::0:1]:7600,n1=10.0.0.1:7600,n2=10.0.0.2:7600",
                                      "n3", error, sizeof error),
                 0);
    cr_assert_eq(config_parse_cluster(&other, "n3=[fe80::1]:7601,n1=10.0.0.1:7600,n2=10.0.0.2:7600",
                                      "n3", error, sizeof error),
                 0);
    cr_expect_eq(a.cluster_id, b.cluster_id);
    cr_expect_neq(a.cluster_id, other.cluster_id);
    cr_expect_neq(a.cluster_id, 0);
}

Test(config, a_cluster_that_makes_no_sense_is_refused_with_the_reason)
{
    static const struct {
        const char *cluster, *name, *reason;
    } cases[] = {
        {"", "a", "not NAME=ADDRESS"},
        {"a", "a", "not NAME=ADDRESS"},
        {"a=1.2.3.4:1,", "a", "not NAME=ADDRESS"},
        {",a=1.2.3.4:1", "a", "not NAME=ADDRESS"},
        {"=1.2.3.4:1", "a", "no name"},
        {"A=1.2.3.4:1", "A", "no name"},
        {"a.b=1.2.3.4:1", "a.b", "no name"},
        {"a b=1.2.3.4:1", "a", "no name"},
        {"abcdefghijklmnopqrstuvwxyz012345=1.2.3.4:1", "a", "no name"},
        {"a=1.2.3.4", "a", "no address"},
        {"a=1.2.3.4:", "a", "no address"},
        {"a=1.2.3.4:0", "a", "no address"},
        {"a=1.2.3.4:01", "a", "no address"},
        {"a=1.2.3.4:65536", "a", "no address"},
        {"a=1.2.3.4:-1", "a", "no address"},
        {"a=1.2.3.4:+1", "a", "no address"},
        {"a=1.2.3.4: 1", "a", "no address"},
        {"a=1.2.3:1", "a", "no address"},
        {"a=1.2.3.256:1", "a", "no address"},
        {"a=0.0.0.0:1", "a", "no address"},
        {"a=host:1", "a", "no address"},
        {"a=::1:1", "a", "no address"},
        {"a=[::]:1", "a", "no address"},
        {"a=[]:1", "a", "no address"},
        {"a=[1.2.3.4]:1", "a", "no address"},
        {"a=[::1:1", "a", "no address"},
        {"a=:1", "a", "no address"},
        {"a=1.2.3.4:1,a=1.2.3.5:1", "a", "twice"},
        {"a=1.2.3.4:1,b=1.2.3.4:1", "a", "same address"},
        {"a=[::1]:1,b=[0::1]:1", "a", "same address"},
        {"a=1.2.3.4:1", "b", "not the name of any member"},
        {"a=1.2.3.4:1", "", "not the name of any member"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct config c;
        error[0] = '\0';
        cr_expect_eq(config_parse_cluster(&c, cases[i].cluster, cases[i].name, error, sizeof error),
                     -EINVAL, "%s", cases[i].cluster);
        cr_expect(strstr(error, cases[i].reason), "%s: %s", cases[i].cluster, error);
    }
}

Test(config, names_of_every_length_up_to_the_bound_and_members_up_to_the_bound_are_taken)
{
    char text[4096];
    size_t size = 0;
    for (int i = 0; i < MEMBERS_MAX; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "%sn%029d_=1.2.3.%d:7600",
                                 i ? "," : "", i, i + 1);
    struct config c;
    cr_expect_eq(config_parse_cluster(&c, text, "n00000000000000000000000000003_", error, 512), 0,
                 "%s", error);
    cr_expect_eq(c.member_count, MEMBERS_MAX);
    cr_expect_eq(strlen(c.members[0].name), MEMBER_NAME_MAX);
    snprintf(text + size, sizeof text - size, ",one-more=1.2.4.1:1");
    cr_expect_eq(config_parse_cluster(&c, text, "one-more", error, 512), -EINVAL);
    cr_expect(strstr(error, "more than 16"), "%s", error);
}

Test(config, very_long_text_is_refused)
{
    static char text[100000];
    memset(text, 'a', sizeof text - 1);
    struct config c;
    cr_expect_eq(config_parse_cluster(&c, text, "a", error, sizeof error), -EINVAL);
    text[10] = '=';
    cr_expect_eq(config_parse_cluster(&c, text, text, error, sizeof error), -EINVAL);
    memset(text, ',', sizeof text - 1);
    cr_expect_eq(config_parse_cluster(&c, text, "a", error, sizeof error), -EINVAL);
}

/* ---- init ---- */

Test(config, what_init_wrote_is_loaded)
{
    struct config made = init_state(), c;
    cr_assert_eq(load(&c), 0, "%s", error);
    cr_expect_eq(c.cluster_id, made.cluster_id);
    cr_expect_eq(c.node_id, made.node_id);
    cr_expect_neq(c.node_id, 0);
    cr_expect_eq(c.self, 0);
    cr_expect_eq(c.member_count, 3);
    cr_expect_eq(c.members[0].node_id, c.node_id, "one's own id is pinned");
    cr_expect_eq(c.members[1].node_id, 0);
    cr_expect_str_eq(c.members[2].address, "[fe80::1]:7600");
    cr_expect_not(config_is_formed(&c));
    struct stat status;
    cr_assert_eq(stat(state, &status), 0);
    cr_expect_eq(status.st_mode & 07777, 0700);
}

Test(config, every_init_gives_another_node_id)
{
    struct config a = init_state();
    snprintf(state, sizeof state, "%s/other", base);
    struct config b = init_state();
    cr_expect_neq(a.node_id, b.node_id);
}

Test(config, init_leaves_an_existing_state_as_it_is)
{
    struct config made = init_state(), again = cluster("n2"), c;
    cr_expect_eq(config_init(state, &again, error, sizeof error), -EEXIST);
    cr_expect(strstr(error, state), "%s", error);
    cr_assert_eq(load(&c), 0);
    cr_expect_eq(c.node_id, made.node_id);
    cr_expect_str_eq(c.members[c.self].name, "n1");
}

Test(config, init_refuses_a_directory_that_holds_something_else)
{
    cr_assert_eq(mkdir(state, 0755), 0);
    write_text("precious", "x", 1);
    struct config c = cluster("n1");
    cr_expect_eq(config_init(state, &c, error, sizeof error), -ENOTEMPTY);
    cr_expect(strstr(error, "not empty"), "%s", error);
    struct stat status;
    cr_assert_eq(stat(state, &status), 0);
    cr_expect_eq(status.st_mode & 07777, 0755, "nothing is changed");
}

Test(config, init_takes_an_empty_directory_and_what_a_crashed_init_left)
{
    cr_assert_eq(mkdir(state, 0755), 0);
    write_text("config.new", "version=1\nclu", 13);
    struct config made = init_state(), c;
    cr_assert_eq(load(&c), 0);
    cr_expect_eq(c.node_id, made.node_id);
    struct stat status;
    cr_assert_eq(stat(state, &status), 0);
    cr_expect_eq(status.st_mode & 07777, 0700);
}

Test(config, init_below_what_is_not_there_says_why)
{
    snprintf(state, sizeof state, "%s/no/state", base);
    struct config c = cluster("n1");
    cr_expect_eq(config_init(state, &c, error, sizeof error), -ENOENT);
    cr_expect(strstr(error, "No such file"), "%s", error);
}

/* ---- load ---- */

Test(config, what_is_no_state_directory_says_what_to_do)
{
    struct config c;
    cr_expect_eq(load(&c), -ENOENT);
    cr_expect(strstr(error, "paxfs init --state"), "%s", error);
    cr_assert_eq(mkdir(state, 0700), 0);
    cr_expect_eq(load(&c), -ENOENT);
}

Test(config, a_config_that_was_changed_is_refused_with_file_and_line)
{
    static const struct {
        const char *from, *to, *reason;
    } cases[] = {
        {"version=1", "version=2", "version 2 is not known"},
        {"version=1", "version=01", "not known"},
        {"version=1\n", "", "first line is not version"},
        {"version=1\n", "\nversion=1\n", "line 1: not key=value"},
        {"cluster_id=", "cluster_id=0", "line 2: not an id"},
        {"node_id=", "node_id= ", "line 3: not an id"},
        {"node_id=", "node-id=", "line 3: unknown key"},
        {"name=n1\n", "name=n1\nname=n1\n", "line 5: the key is there twice"},
        {"name=n1", "name=n9", "not the name of any member"},
        {"name=n1", "name=", "line 4: the value is empty"},
        {"name=n1\n", "", "lines are missing"},
        {"listen=10.0.0.1", "listen=10.0.0.300", "line 5: listen is not IPV4:PORT"},
        {"listen=10.0.0.1:7600", "listen=", "line 5: the value is empty"},
        {"name=n1\n", "name=n1\njoined=0\n", "line 5: joined is not 1"},
        {"name=n1\n", "name=n1\njoined=1\njoined=1\n", "line 6: the key is there twice"},
        {"member=n1=10.0.0.1", "member=n1=10.0.0.300", "line 6: \"10.0.0.300"},
        {"member=n2=10.0.0.2", "member=n2=10.0.0.3", "cluster_id does not match"},
        {"member=n2=10.0.0.2:7600\n", "", "cluster_id does not match"},
        {"member=n2=10.0.0.2:7600\n", "member=n2\n", "line 7"},
        {"member=n3=[fe80::1]:7600\n", "member=n3=[fe80::1]:7600", "the line does not end"},
        {"member=n3=[fe80::1]:7600\n", "member=n3=[fe80::1]:7600\n\n", "line 9: not key=value"},
    };
    struct config c = init_state();
    char text[4096];
    size_t size = read_text("config", text, sizeof text);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        write_text("config", text, size);
        change_config(cases[i].from, cases[i].to);
        cr_expect_eq(load(&c), -EBADMSG, "%s -> %s", cases[i].from, cases[i].to);
        cr_expect(strstr(error, "state/config"), "%s", error);
        cr_expect(strstr(error, cases[i].reason), "%s -> %s: %s", cases[i].from, cases[i].to,
                  error);
    }
}

Test(config, a_config_cut_off_anywhere_or_with_a_nul_is_refused)
{
    struct config c = init_state();
    char text[4096];
    size_t size = read_text("config", text, sizeof text);
    for (size_t cut = 0; cut < size; cut++) {
        write_text("config", text, cut);
        cr_expect_eq(load(&c), -EBADMSG, "cut at %zu", cut);
        cr_expect_neq(error[0], '\0');
    }
    for (size_t at = 0; at < size; at++) {
        char was = text[at];
        text[at] = '\0';
        write_text("config", text, size);
        cr_expect_eq(load(&c), -EBADMSG, "NUL at %zu", at);
        text[at] = was;
    }
    static char large[20000];
    memset(large, 'x', sizeof large);
    write_text("config", large, sizeof large);
    cr_expect_eq(load(&c), -EBADMSG);
}

Test(config, a_small_buffer_for_the_error_is_not_overrun)
{
    struct config c;
    char small[8] = "";
    cr_expect_eq(config_load(state, &c, small, sizeof small), -ENOENT);
    cr_expect_eq(strlen(small), sizeof small - 1);
    cr_expect_eq(config_load(state, &c, NULL, 0), -ENOENT);
}

/* ---- members ---- */

Test(config, pinned_ids_are_loaded_again)
{
    struct config c = init_state(), again;
    c.members[1].node_id = 2;
    cr_assert_eq(config_pin_members(state, &c), 0);
    cr_assert_eq(load(&again), 0, "%s", error);
    cr_expect_eq(again.members[0].node_id, c.node_id);
    cr_expect_eq(again.members[1].node_id, 2);
    cr_expect_not(config_is_formed(&again));
    c.members[2].node_id = UINT64_MAX;
    cr_assert_eq(config_pin_members(state, &c), 0);
    cr_assert_eq(load(&again), 0, "%s", error);
    cr_expect_eq(again.members[2].node_id, UINT64_MAX);
    cr_expect(config_is_formed(&again));
}

Test(config, a_members_file_that_contradicts_is_refused)
{
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"", "first line is not version"},
        {"version=9\n", "not known"},
        {"version=1\nmember=n9=0000000000000001\n", "line 2: a name that is not in config"},
        {"version=1\nmember=n2=1\n", "line 2: not member=NAME=ID"},
        {"version=1\nmember=n2=0000000000000000\n", "line 2: not member=NAME=ID"},
        {"version=1\nmember=n2\n", "line 2: not member=NAME=ID"},
        {"version=1\nmembers=n2=0000000000000001\n", "line 2: unknown key"},
        {"version=1\nmember=n2=0000000000000001\nmember=n3=0000000000000001\n", "one id"},
        {"version=1\nmember=n2=0000000000000001\nmember=n2=0000000000000002\n", "another id"},
        {"version=1\nmember=n1=0000000000000001\n", "another id"},
    };
    struct config c = init_state();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        write_text("members", cases[i].text, strlen(cases[i].text));
        cr_expect_eq(load(&c), -EBADMSG, "%s", cases[i].text);
        cr_expect(strstr(error, "state/members"), "%s", error);
        cr_expect(strstr(error, cases[i].reason), "%s: %s", cases[i].text, error);
    }
}

/* ---- the own address ---- */

Test(config, the_own_address_may_change_while_the_members_stay_what_they_began_with)
{
    struct config made = init_state(), c;
    cr_assert_eq(config_set_listen(state, "[FE80::0:7]:7601"), 0);
    cr_assert_eq(load(&c), 0, "%s", error);
    cr_expect_str_eq(c.listen, "[fe80::7]:7601");
    cr_expect_str_eq(c.members[c.self].address, "10.0.0.1:7600");
    cr_expect_eq(c.node_id, made.node_id);
    cr_expect_eq(c.cluster_id, made.cluster_id);
    cr_expect_eq(config_set_listen(state, "nowhere"), -EINVAL);
    cr_assert_eq(load(&c), 0, "%s", error);
    cr_expect_str_eq(c.listen, "[fe80::7]:7601", "a refused address changes nothing");
}

/* ---- join ---- */

static struct config begin_join(const char *listen)
{
    struct config c;
    memset(&c, 0xee, sizeof c);
    cr_assert_eq(config_begin_join(state, "n4", listen, 77, &c, error, sizeof error), 0, "%s",
                 error);
    return c;
}

static void note_member(struct config *c, const char *name, const char *address, uint64_t id)
{
    struct config_member *m = &c->members[c->member_count++];
    *m = (struct config_member){.node_id = id};
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->address, sizeof m->address, "%s", address);
}

static struct config finish_join(struct config c)
{
    c.member_count = 0;
    note_member(&c, "n4", c.listen, c.node_id);
    note_member(&c, "n1", "10.0.0.1:7600", 1);
    note_member(&c, "n2", "10.0.0.2:7600", 2);
    cr_assert_eq(config_finish_join(state, &c), 0);
    return c;
}

Test(config, a_join_that_is_not_finished_is_no_state_to_start_from_and_says_what_to_do)
{
    begin_join("10.0.0.4:7600");
    struct config c;
    cr_expect_eq(load(&c), -EINPROGRESS);
    cr_expect(strstr(error, "paxfs join --state"), "%s", error);
    cr_expect(strstr(error, "--listen 10.0.0.4:7600"), "%s", error);
}

Test(config, a_finished_join_is_loaded_with_the_members_it_was_told)
{
    struct config made = finish_join(begin_join("10.0.0.4:7600")), c;
    cr_assert_eq(load(&c), 0, "%s", error);
    cr_expect(c.has_joined);
    cr_expect_eq(c.cluster_id, 77, "it is not of these members");
    cr_expect_eq(c.node_id, made.node_id);
    cr_expect_str_eq(c.name, "n4");
    cr_expect_str_eq(c.listen, "10.0.0.4:7600");
    cr_expect_eq(c.member_count, 3);
    cr_expect_eq(c.self, 2);
    cr_expect_eq(c.members[0].node_id, 1);
    cr_expect_eq(c.members[2].node_id, made.node_id);
    cr_expect(config_is_formed(&c));
}

Test(config, a_join_run_again_keeps_its_identity_and_takes_over_the_address)
{
    struct config first = begin_join("10.0.0.4:7600"), again = begin_join("10.0.0.5:7600"), c;
    cr_expect_neq(first.node_id, 0);
    cr_expect_eq(again.node_id, first.node_id);
    cr_expect_str_eq(again.listen, "10.0.0.5:7600");
    finish_join(again);
    again = begin_join("10.0.0.6:7600");
    cr_expect_eq(again.node_id, first.node_id, "also once it is finished");
    cr_assert_eq(load(&c), 0, "%s", error);
    cr_expect_str_eq(c.listen, "10.0.0.6:7600");
}

Test(config, a_second_finish_that_crashed_half_way_is_still_a_state)
{
    struct config c = finish_join(begin_join("10.0.0.4:7600")), later = c, loaded;
    note_member(&later, "n5", "10.0.0.5:7600", 5);
    cr_assert_eq(config_pin_members(state, &later), 0);
    cr_assert_eq(load(&loaded), 0, "%s", error);
    cr_expect_eq(loaded.member_count, 3);
    cr_expect_eq(loaded.members[0].node_id, 1);
}

Test(config, a_join_leaves_what_is_anothers_as_it_is)
{
    struct config made = init_state(), c;
    cr_expect_eq(
        config_begin_join(state, "n1", "10.0.0.1:7600", made.cluster_id, &c, error, sizeof error),
        -EEXIST, "begun, not joined");
    cr_expect(strstr(error, "n1"), "%s", error);
    cr_assert_eq(load(&c), 0, "%s", error);
    cr_expect_eq(c.node_id, made.node_id);

    snprintf(state, sizeof state, "%s/other", base);
    begin_join("10.0.0.4:7600");
    cr_expect_eq(config_begin_join(state, "n4", "10.0.0.4:7600", 78, &c, error, sizeof error),
                 -EEXIST, "of another cluster");
    cr_expect_eq(config_begin_join(state, "n5", "10.0.0.4:7600", 77, &c, error, sizeof error),
                 -EEXIST, "of another name");

    snprintf(state, sizeof state, "%s/full", base);
    cr_assert_eq(mkdir(state, 0755), 0);
    write_text("precious", "x", 1);
    cr_expect_eq(config_begin_join(state, "n4", "10.0.0.4:7600", 77, &c, error, sizeof error),
                 -ENOTEMPTY);
}

Test(config, a_join_refuses_what_others_cannot_dial)
{
    static const char *const cases[] = {"", "host:1", "0.0.0.0:1", "10.0.0.4", "10.0.0.4:0"};
    struct config c;
    struct stat status;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        cr_expect_eq(config_begin_join(state, "n4", cases[i], 77, &c, error, sizeof error), -EINVAL,
                     "%s", cases[i]);
        cr_expect(strstr(error, "no address to listen on"), "%s", error);
    }
    cr_expect_lt(stat(state, &status), 0, "nothing was made");
}

/* ---- lock ---- */

Test(config, the_lock_is_held_by_one_at_a_time)
{
    init_state();
    int held = config_lock(state);
    cr_assert_geq(held, 0);
    cr_expect_eq(config_lock(state), -EWOULDBLOCK);
    close(held);
    held = config_lock(state);
    cr_expect_geq(held, 0);
    close(held);
}
