#include "rpc/transport.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/prng.h"
#include "tests/support/net.h"

static struct net net;
static struct decoder *decoder;

static void init(void)
{
    decoder = decoder_new();
}

static void deinit(void)
{
    net_deinit(&net);
    decoder_free(decoder);
}

/* The time limit only ends a test that waits for what never comes. */
TestSuite(transport, .init = init, .fini = deinit, .timeout = 100);

#define TURN_UNTIL(condition)                                                                      \
    while (!(condition))                                                                           \
    net_turn(&net)

static void open_all(uint32_t count)
{
    net_init(&net, count);
    for (uint32_t i = 0; i < count; i++)
        net_open(&net, i);
}

static bool all_up(void)
{
    for (uint32_t a = 0; a < net.count; a++)
        for (uint32_t b = a + 1; b < net.count; b++)
            if (!net_is_up(&net, a, b))
                return false;
    return true;
}

static struct peer_message numbered(uint64_t number)
{
    struct peer_message m = {.kind = PEER_PAXOS, .paxos = {.kind = MESSAGE_READ}};
    m.paxos.read.id = number;
    return m;
}

static struct command large_command = {.refs = 1, .size = WRITE_SIZE_MAX, .node = 1};
static struct command *large_list[] = {&large_command};

static struct peer_message large_submit(void)
{
    static uint8_t bytes[WRITE_SIZE_MAX];
    large_command.bytes = bytes;
    struct peer_message m = {.kind = PEER_PAXOS, .paxos = {.kind = MESSAGE_SUBMIT}};
    m.paxos.submit.count = 1;
    m.paxos.submit.commands = large_list;
    return m;
}

/* ---- between members ---- */

static const struct peer_message *expected;
static uint64_t matched;

static void compare(struct net_node *n, uint32_t from, const struct peer_message *m)
{
    (void)n, (void)from;
    matched += wire_equal(m, expected);
}

Test(transport, every_message_reaches_every_other_member)
{
    open_all(3);
    TURN_UNTIL(all_up());
    struct wire_samples *s = wire_samples_new(20, 30000, 1);
    for (uint32_t i = 0; i < 3; i++)
        net.nodes[i].on_message = compare;
    uint64_t sent = 0;
    for (int i = 0; i < WIRE_SAMPLES; i++) {
        enum peer_kind kind = s->messages[i].kind;
        if (kind != PEER_PAXOS && kind != PEER_STATUS && kind != PEER_SNAPSHOT_GET &&
            kind != PEER_SNAPSHOT_DATA)
            continue;
        expected = &s->messages[i];
        for (uint32_t from = 0; from < 3; from++) {
            net_send(&net, from, UINT32_MAX, expected); /* the own bit is ignored */
            sent += 2;
            TURN_UNTIL(matched == sent);
        }
    }
    for (uint32_t a = 0; a < 3; a++)
        for (uint32_t b = 0; b < 3; b++)
            cr_expect_eq(net.nodes[a].received[b], a == b ? 0 : sent / 6);
    wire_samples_free(s);
}

static uint64_t next_id;
static bool in_order = true;

static void count_up(struct net_node *n, uint32_t from, const struct peer_message *m)
{
    (void)n, (void)from;
    if (m->paxos.kind == MESSAGE_READ)
        in_order = in_order && m->paxos.read.id == next_id++;
}

Test(transport, large_and_small_frames_of_one_sender_arrive_in_order)
{
    open_all(2);
    TURN_UNTIL(all_up());
    net.nodes[1].on_message = count_up;
    struct peer_message large = large_submit();
    for (uint64_t i = 0; i < 2000; i++) {
        struct peer_message small = numbered(i);
        net_send(&net, 0, 2, &small);
        if (i % 100 == 0)
            net_send(&net, 0, 2, &large);
    }
    TURN_UNTIL(next_id == 2000);
    cr_expect(in_order);
    cr_expect_eq(net_view(&net, 0, 1).dropped_frames, 0);
    cr_expect_eq(net_view(&net, 0, 1).queued_bytes, 0);
    cr_expect_geq(net_view(&net, 0, 1).sent_frames, 2021, "hello, 2000 small, 20 large");
    cr_expect_geq(net_view(&net, 1, 0).received_frames, 2021);
}

Test(transport, what_is_sent_to_a_member_that_is_not_connected_is_lost_quietly)
{
    net_init(&net, 2);
    net_open(&net, 0);
    struct peer_message m = numbered(1);
    net_send(&net, 0, UINT32_MAX, &m);
    net_turn(&net);
    cr_expect_eq(net_view(&net, 0, 1).queued_bytes, 0);
    cr_expect_not(net_view(&net, 0, 1).connected);
}

Test(transport, connects_anew_after_the_other_side_was_away)
{
    open_all(3);
    TURN_UNTIL(all_up());
    for (uint32_t gone = 0; gone < 3; gone++) {
        net_close(&net, gone);
        uint32_t others = 7 ^ UINT32_C(1) << gone;
        uint32_t a = gone == 0 ? 1 : 0, b = gone == 2 ? 1 : 2;
        TURN_UNTIL(!((net.nodes[a].connected | net.nodes[b].connected) & ~others));
        cr_expect(net_is_up(&net, a, b), "the others stay");
        cr_expect_str_eq(net.nodes[a].reason, "closed by the other side");
        net_open(&net, gone);
        TURN_UNTIL(all_up());
        cr_expect_str_eq(net_view(&net, a, gone).last_error, "");
    }
}

Test(transport, a_member_that_is_not_there_is_dialled_until_it_is)
{
    net_init(&net, 2);
    net_open(&net, 0);
    TURN_UNTIL(strcmp(net_view(&net, 0, 1).last_error, "connection refused") == 0);
    net_open(&net, 1);
    TURN_UNTIL(all_up());
}

Test(transport, may_be_closed_from_its_own_callback)
{
    open_all(2);
    TURN_UNTIL(all_up());
    net.nodes[1].closes_on_message = true;
    struct peer_message m = numbered(1);
    for (int i = 0; i < 10; i++)
        net_send(&net, 0, 2, &m);
    TURN_UNTIL(!net.nodes[1].transport);
    TURN_UNTIL(!net.nodes[0].connected);
    cr_expect_eq(net.nodes[1].received[0], 1);
}

Test(transport, dials_from_its_own_address)
{
    net_init(&net, 2);
    int listener = raw_listen(net.addresses[1]);
    net_open(&net, 0);
    struct raw r;
    TURN_UNTIL(raw_accept(&r, &net, listener));
    struct sockaddr_storage own;
    struct sockaddr_in remote;
    socklen_t size = sizeof remote;
    cr_assert_eq(getpeername(r.fd, (struct sockaddr *)&remote, &size), 0);
    cr_assert_eq(address_parse(net.addresses[0], &own), 0);
    cr_expect_eq(remote.sin_addr.s_addr, ((struct sockaddr_in *)(void *)&own)->sin_addr.s_addr);
    raw_close(&r);
    close(listener);
}

/* ---- who is let in ---- */

/* The reason of the refusal that comes next, "hello" for a hello, or "" when the connection ended.
 * Keep-alives come in between. */
static const char *next_answer(struct raw *r)
{
    static struct peer_message m;
    do {
        struct frame *f = raw_receive(r);
        if (!f)
            return "";
        cr_assert_eq(codec_decode(decoder, f, &m), 0);
        frame_unref(f);
    } while (m.kind == PEER_ALIVE);
    return m.kind == PEER_REFUSE ? m.refuse.reason : m.kind == PEER_HELLO ? "hello" : "other";
}

Test(transport, refuses_strangers_and_says_why)
{
    net_init(&net, 3);
    net_open(&net, 1);
    struct peer_message fine = raw_hello(&net, 0), m;
    struct {
        struct peer_message hello;
        const char *reason;
    } cases[6];
    size_t count = 0;
#define CASE(why, change)                                                                          \
    m = fine;                                                                                      \
    change;                                                                                        \
    cases[count].hello = m;                                                                        \
    cases[count++].reason = why
    CASE("another cluster", m.hello.cluster_id++);
    CASE("not a member of this cluster", strcpy(m.hello.name, "n9"));
    CASE("my own name", strcpy(m.hello.name, "n1"));
    CASE("another node has that name", m.hello.node_id = 9);
    CASE("no common protocol version: upgrade the older host",
         m.hello.protocol_min = m.hello.protocol_max = PROTOCOL_MAX + 1);
    CASE("hello", (void)0);
#undef CASE
    for (size_t i = 0; i < count; i++) {
        struct raw r;
        raw_connect(&r, &net, 1);
        cr_assert(raw_send(&r, &cases[i].hello));
        cr_expect_str_eq(next_answer(&r), cases[i].reason, "case %zu", i);
        if (i + 1 < count)
            cr_expect_str_eq(next_answer(&r), "", "case %zu ends", i);
        raw_close(&r);
    }
    cr_expect_eq(net.nodes[1].hellos, 2, "only those of a member's name were shown to the node");
}

Test(transport, what_the_node_refuses_both_sides_know)
{
    net_init(&net, 2);
    net.nodes[1].refuses = "a retired node";
    net_open(&net, 0);
    net_open(&net, 1);
    TURN_UNTIL(strstr(net_view(&net, 0, 1).last_error, "a retired node"));
    cr_expect_str_eq(net_view(&net, 0, 1).last_error, "refused by it: a retired node");
    cr_expect_str_eq(net_view(&net, 1, 0).last_error, "refused by us: a retired node");
    cr_expect_eq(net.nodes[0].ups + net.nodes[1].ups, 0);
    net.nodes[1].refuses = NULL; /* and it is asked again */
    TURN_UNTIL(all_up());
}

Test(transport, a_dialler_that_refuses_says_so_too)
{
    net_init(&net, 2);
    net.nodes[0].refuses = "wiped";
    net_open(&net, 0);
    net_open(&net, 1);
    TURN_UNTIL(net.nodes[1].downs);
    cr_expect_str_eq(net.nodes[1].reason, "refused by it: wiped");
    cr_expect_str_eq(net_view(&net, 0, 1).last_error, "refused by us: wiped");
    cr_expect_eq(net.nodes[0].ups, 0);
}

Test(transport, another_cluster_is_refused_by_both)
{
    net_init(&net, 2);
    net.nodes[1].cluster_id++;
    net_open(&net, 0);
    net_open(&net, 1);
    TURN_UNTIL(strstr(net_view(&net, 0, 1).last_error, "another cluster"));
    cr_expect_eq(net.nodes[0].ups + net.nodes[1].ups, 0);
}

Test(transport, the_member_at_an_address_must_be_the_one_that_was_dialled)
{
    net_init(&net, 3);
    int listener = raw_listen(net.addresses[1]);
    net_open(&net, 0);
    struct raw r;
    TURN_UNTIL(raw_accept(&r, &net, listener));
    cr_assert_str_eq(next_answer(&r), "hello");
    struct peer_message wrong = raw_hello(&net, 2);
    raw_send(&r, &wrong);
    cr_expect_str_eq(next_answer(&r), "another member answers at this address");
    cr_expect_eq(net.nodes[0].ups, 0);
    raw_close(&r);
    close(listener);
}

Test(transport, a_newer_connection_of_a_member_replaces_the_older)
{
    net_init(&net, 2);
    net_open(&net, 1);
    struct peer_message hello = raw_hello(&net, 0), m = numbered(1);
    struct raw older, newer;
    raw_connect(&older, &net, 1);
    raw_send(&older, &hello);
    cr_assert_str_eq(next_answer(&older), "hello");
    raw_connect(&newer, &net, 1);
    raw_send(&newer, &hello);
    cr_assert_str_eq(next_answer(&newer), "hello");
    cr_expect_str_eq(next_answer(&older), "");
    raw_send(&newer, &m);
    TURN_UNTIL(net.nodes[1].received[0] == 1);
    cr_expect_eq(net.nodes[1].ups, 2);
    cr_expect_eq(net.nodes[1].downs, 1);
    raw_close(&older);
    raw_close(&newer);
}

Test(transport, connections_without_a_hello_are_few_and_end)
{
    enum { TRIED = STRANGERS_MAX + 20 };
    open_all(2);
    TURN_UNTIL(all_up());
    static struct raw strangers[TRIED];
    for (int i = 0; i < TRIED; i++)
        raw_connect(&strangers[i], &net, 1);
    /* Those beyond the bound end in the turn that accepts them; the others' time is not up then. */
    TURN_UNTIL(raw_has_ended(&strangers[TRIED - 1]));
    int ended = 0;
    for (int i = 0; i < TRIED; i++)
        ended += raw_has_ended(&strangers[i]);
    cr_expect_eq(ended, TRIED - STRANGERS_MAX);
    for (int i = 0; i < TRIED; i++)
        raw_wait_end(&strangers[i]);
    cr_expect(all_up());
    cr_expect_eq(net.nodes[1].ups, 1);
    struct raw late;
    raw_connect(&late, &net, 1); /* there is room again */
    struct peer_message hello = raw_hello(&net, 0);
    raw_send(&late, &hello);
    cr_expect_str_eq(next_answer(&late), "hello");
    raw_close(&late);
    for (int i = 0; i < TRIED; i++)
        raw_close(&strangers[i]);
}

/* ---- members come, go and move ---- */

static void tell_all(uint32_t mask)
{
    for (uint32_t i = 0; i < NET_NODES_MAX; i++)
        if (mask & UINT32_C(1) << i)
            net_set_members(&net, i);
}

static uint32_t all_downs(void)
{
    uint32_t downs = 0;
    for (uint32_t i = 0; i < NET_NODES_MAX; i++)
        downs += net.nodes[i].downs;
    return downs;
}

Test(transport, a_member_that_is_added_is_connected)
{
    open_all(2);
    TURN_UNTIL(all_up());
    net_seat(&net, 2, 2);
    net.count = 3;
    net_open(&net, 2);
    tell_all(3);
    TURN_UNTIL(all_up());
    cr_expect_eq(net.nodes[0].downs + net.nodes[1].downs, 0);
    struct peer_message m = numbered(1);
    net_send(&net, 0, 4, &m);
    TURN_UNTIL(net.nodes[2].received[0] == 1);
}

Test(transport, the_same_members_told_again_change_nothing)
{
    open_all(3);
    TURN_UNTIL(all_up());
    tell_all(7);
    struct peer_message m = numbered(1);
    net_send(&net, 0, 6, &m);
    TURN_UNTIL(net.nodes[1].received[0] && net.nodes[2].received[0]);
    cr_expect_eq(all_downs(), 0);
}

/* Also the one that everybody else dials, which nobody does any more. */
static void remove_member(uint32_t removed)
{
    open_all(3);
    for (uint32_t i = 0; i < 3; i++)
        net.nodes[i].unknown = transport_retired;
    TURN_UNTIL(all_up());
    uint32_t others = 7 ^ UINT32_C(1) << removed;
    net_seat(&net, removed, MEMBERS_MAX);
    tell_all(others);
    uint32_t any = removed == 0 ? 1 : 0;
    cr_expect_str_eq(net.nodes[any].reason, "no longer a member");
    TURN_UNTIL(net.nodes[removed].retired_by == others);
    cr_expect_eq(net.nodes[any].connected, others & ~(UINT32_C(1) << any));
    cr_expect_eq(net.nodes[any].retired_by, 0);
    struct peer_message m = numbered(1);
    net_send(&net, removed, UINT32_MAX, &m);
    net_send(&net, any, UINT32_MAX, &m);
    uint32_t last = removed == 2 ? 1 : 2;
    TURN_UNTIL(net.nodes[last].received[any] == 1);
    cr_expect_eq(net.nodes[last].received[removed], 0);
}

Test(transport, a_removed_member_that_dials_learns_that_it_has_retired)
{
    remove_member(0);
}

Test(transport, a_removed_member_that_nobody_dials_asks_and_learns_that_it_has_retired)
{
    remove_member(2);
}

Test(transport, only_a_retired_node_is_told_so)
{
    open_all(2);
    net.nodes[1].refuses = "not now";
    TURN_UNTIL(net.nodes[0].refused_by == 2);
    cr_expect_eq(net.nodes[0].retired_by, 0);
    net.nodes[1].refuses = transport_retired;
    TURN_UNTIL(net.nodes[0].retired_by == 2);
    cr_expect_eq(net.nodes[1].refused_by, 0);
}

Test(transport, a_retired_node_that_was_dialled_is_told_so)
{
    net_init(&net, 2);
    net.nodes[0].refuses = transport_retired;
    net_open(&net, 0);
    net_open(&net, 1);
    TURN_UNTIL(net.nodes[1].retired_by == 1);
    cr_expect_eq(net.nodes[0].refused_by, 0);
}

Test(transport, a_stranger_cannot_say_that_one_has_retired)
{
    net_init(&net, 2);
    net_open(&net, 1);
    struct raw r;
    raw_connect(&r, &net, 1);
    struct peer_message m = {.kind = PEER_REFUSE, .refuse.retired = true};
    raw_send(&r, &m);
    raw_wait_end(&r);
    cr_expect_eq(net.nodes[1].refused_by, 0);
    raw_close(&r);
}

Test(transport, another_node_in_a_seat_does_not_get_what_was_for_the_former)
{
    open_all(2);
    TURN_UNTIL(all_up());
    struct peer_message m = numbered(1);
    net_send(&net, 0, 2, &m);
    TURN_UNTIL(net.nodes[1].received[0] == 1);
    cr_expect_gt(net_view(&net, 0, 1).sent_frames, 0);
    net_seat(&net, 1, 2);
    net_set_members(&net, 0);
    cr_expect_eq(net_view(&net, 0, 1).sent_frames, 0);
    cr_expect_eq(net.nodes[0].connected, 0);
    net_send(&net, 0, 2, &m); /* to nobody */
    net_open(&net, 2);
    TURN_UNTIL((net.nodes[0].connected & 2) && (net.nodes[2].connected & 1));
    net_send(&net, 0, 2, &m);
    TURN_UNTIL(net.nodes[2].received[0] == 1);
    cr_expect_eq(net.nodes[1].received[0], 1);
}

Test(transport, what_was_said_before_a_member_goes_still_leaves)
{
    open_all(2);
    TURN_UNTIL(all_up());
    struct peer_message m = numbered(1);
    net_send(&net, 0, 2, &m);
    net_seat(&net, 1, MEMBERS_MAX);
    net_set_members(&net, 0);
    TURN_UNTIL(net.nodes[1].received[0] == 1);
    cr_expect_eq(net.nodes[0].connected, 0);
}

Test(transport, a_name_that_another_node_has_now_lets_the_former_in_no_more)
{
    open_all(2);
    TURN_UNTIL(all_up());
    net.members[1].node_id = 9;
    net_set_members(&net, 0);
    cr_expect_str_eq(net.nodes[0].reason, "another node has its name now");
    TURN_UNTIL(strstr(net_view(&net, 0, 1).last_error, "another node has that name"));
    cr_expect_eq(net.nodes[0].connected, 0);
    net.members[1].node_id = 2;
    net_set_members(&net, 0);
    TURN_UNTIL(all_up());
}

Test(transport, ids_that_become_known_end_no_connection_but_a_wrong_ones)
{
    net_init(&net, 3);
    for (uint32_t i = 0; i < 3; i++) { /* each knows its own alone */
        net.members[(i + 1) % 3].node_id = net.members[(i + 2) % 3].node_id = 0;
        net_open(&net, i);
        for (uint32_t k = 0; k < 3; k++)
            net.members[k].node_id = k + 1;
    }
    TURN_UNTIL(all_up());
    tell_all(7);
    cr_expect_eq(all_downs(), 0);
    cr_expect(all_up());
    net.members[2].node_id = 9;
    tell_all(1);
    cr_expect_eq(net.nodes[0].connected, 2);
}

Test(transport, a_node_id_is_one_members_only)
{
    net_init(&net, 3);
    net.members[0].node_id = 0; /* not known yet: any would do, but those of others */
    net_open(&net, 1);
    static const char *const reasons[] = {"my own node id", "the node id of another member",
                                          "hello"};
    for (uint64_t i = 0; i < ARRAY_COUNT(reasons); i++) {
        struct peer_message hello = raw_hello(&net, 0);
        hello.hello.node_id = 2 + i;
        struct raw r;
        raw_connect(&r, &net, 1);
        raw_send(&r, &hello);
        cr_expect_str_eq(next_answer(&r), reasons[i]);
        raw_close(&r);
    }
}

Test(transport, a_member_keeps_nothing_but_its_name_and_id_when_its_seat_moves)
{
    open_all(3);
    TURN_UNTIL(all_up());
    net_seat(&net, 0, 1); /* at 2 alone: seats may differ while one lags */
    net_seat(&net, 1, 0);
    net_set_members(&net, 2);
    cr_expect_eq(net.nodes[2].downs, 2);
    TURN_UNTIL(all_up());
    struct peer_message m = numbered(1);
    net_send(&net, 2, 1, &m);
    TURN_UNTIL(net.nodes[1].received[2] == 1);
    net_send(&net, 0, 4, &m);
    TURN_UNTIL(net.nodes[2].received[1] == 1);
    cr_expect_eq(net.nodes[0].received[2] + net.nodes[2].received[0], 0);
    cr_expect(net_is_up(&net, 0, 1), "not theirs to notice");
    cr_expect_eq(net.nodes[0].downs + net.nodes[1].downs, 2);
}

Test(transport, the_own_seat_may_move)
{
    open_all(3);
    TURN_UNTIL(all_up());
    net_seat(&net, 5, 0);
    net_seat(&net, 0, MEMBERS_MAX);
    net_set_members(&net, 0);
    struct peer_message m = numbered(1);
    net_send(&net, 0, UINT32_MAX, &m);
    TURN_UNTIL(net.nodes[1].received[0] == 1 && net.nodes[2].received[0] == 1);
    cr_expect_eq(all_downs(), 0);
    for (uint64_t since = uv_hrtime(); uv_hrtime() - since < NS_PER_S / 2; net_turn(&net))
        cr_assert_null(net_view(&net, 0, 1).relayed_by, "it sees that it is heard");
}

Test(transport, who_is_no_member_itself_is_alone_until_it_is_one_again)
{
    open_all(2);
    TURN_UNTIL(all_up());
    net_seat(&net, 1, MEMBERS_MAX);
    net_set_members(&net, 1);
    cr_expect_eq(net.nodes[1].connected, 0);
    TURN_UNTIL(strstr(net_view(&net, 0, 1).last_error, "I am no member myself"));
    net_seat(&net, 1, 1);
    net_set_members(&net, 1);
    TURN_UNTIL(all_up());
}

Test(transport, members_may_change_while_one_says_hello)
{
    for (uint32_t judge = 0; judge < 2; judge++) {
        uint32_t other = 1 - judge;
        open_all(2);
        net.nodes[judge].sets_members_on_hello = true;
        net_seat(&net, other, MEMBERS_MAX);
        TURN_UNTIL(net.nodes[judge].hellos == 1);
        for (int i = 0; i < 10; i++)
            net_turn(&net);
        cr_expect_eq(net.nodes[judge].connected, 0);
        cr_expect_str_eq(net_view(&net, judge, other).last_error, "it has not dialled yet",
                         "of a seat that is free now");
        net_seat(&net, other, other);
        net_set_members(&net, judge);
        TURN_UNTIL(all_up());
        if (judge == 0)
            net_deinit(&net);
    }
}

/* ---- other addresses ---- */

static bool is_listening(uint32_t at)
{
    struct sockaddr_storage a;
    cr_assert_eq(address_parse(net.addresses[at], &a), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int rc = connect(fd, (struct sockaddr *)&a, sizeof(struct sockaddr_in));
    close(fd);
    return rc == 0;
}

Test(transport, a_member_that_moves_is_dialled_at_its_new_address)
{
    open_all(2);
    TURN_UNTIL(all_up());
    cr_expect_eq(transport_listen(net.nodes[1].transport, net.addresses[3]), 0);
    net_turn(&net);
    cr_expect(is_listening(3));
    cr_expect_not(is_listening(1));
    cr_expect_eq(all_downs(), 0, "what is connected stays");
    memcpy(net.members[1].address, net.addresses[3], sizeof net.members[1].address);
    tell_all(3);
    cr_expect_str_eq(net.nodes[0].reason, "its address has changed");
    TURN_UNTIL(net.nodes[0].ups == 2 && all_up());
}

Test(transport, listens_where_it_did_when_it_cannot_elsewhere)
{
    open_all(2);
    TURN_UNTIL(all_up());
    struct transport *t = net.nodes[1].transport;
    cr_expect_eq(transport_listen(t, net.addresses[0]), -EADDRINUSE);
    cr_expect_eq(transport_listen(t, "192.0.2.1:7600"), -EADDRNOTAVAIL);
    cr_expect_eq(transport_listen(t, "nowhere"), -EINVAL);
    cr_expect_eq(transport_listen(t, net.addresses[1]), 0, "as it does");
    net_turn(&net);
    cr_expect(is_listening(1));
    cr_expect_eq(all_downs(), 0);
}

Test(transport, an_address_that_is_none_is_not_dialled)
{
    open_all(2);
    TURN_UNTIL(all_up());
    strcpy(net.members[1].address, "nowhere");
    tell_all(1);
    cr_expect_not(net_view(&net, 0, 1).connected);
    strcpy(net.members[1].address, net.addresses[1]);
    tell_all(1);
    TURN_UNTIL(all_up());
}

Test(transport, who_is_dialled_by_nobody_dials)
{
    net_init(&net, 2);
    memcpy(net.members[1].address, net.addresses[3], sizeof net.members[1].address);
    net_open(&net, 0); /* it was told another address */
    net_seat(&net, 1, 1);
    net_open(&net, 1);
    TURN_UNTIL(all_up());
    net_close(&net, 0); /* and who should dial finds its way again */
    memcpy(net.members[1].address, net.addresses[1], sizeof net.members[1].address);
    net_open(&net, 0);
    TURN_UNTIL(all_up());
}

Test(transport, who_should_be_dialled_does_not_end_the_connection_there_is)
{
    net_init(&net, 2);
    int listener = raw_listen(net.addresses[1]);
    net_open(&net, 0);
    struct raw r, wrong;
    TURN_UNTIL(raw_accept(&r, &net, listener));
    struct peer_message hello = raw_hello(&net, 1);
    raw_send(&r, &hello);
    TURN_UNTIL(net.nodes[0].connected & 2);
    raw_connect(&wrong, &net, 0);
    raw_send(&wrong, &hello);
    cr_expect_str_eq(next_answer(&wrong), "the wrong side dials");
    cr_expect_eq(net.nodes[0].connected, 2);
    raw_close(&wrong);
    raw_close(&r);
    close(listener);
}

/* ---- who asks to join ---- */

static struct peer_message joining(void)
{
    struct peer_message m = {.kind = PEER_JOIN};
    struct peer_message hello = raw_hello(&net, 9);
    m.join = (struct peer_join){.protocol_min = PROTOCOL_MIN,
                                .protocol_max = PROTOCOL_MAX,
                                .cluster_id = hello.hello.cluster_id,
                                .node_id = 10,
                                .secret = "0123456789abcde",
                                .name = "n9",
                                .address = "1.2.3.4:5"};
    return m;
}

/* The answer, or "" for none, or "let in". */
static const char *joined_answer(struct raw *r)
{
    static struct peer_message m;
    struct frame *f = raw_receive(r);
    if (!f)
        return "";
    cr_assert_eq(codec_decode(decoder, f, &m), 0);
    frame_unref(f);
    cr_assert_eq(m.kind, PEER_JOINED);
    return m.joined.refused[0] ? m.joined.refused : "let in";
}

Test(transport, a_joiner_is_answered_once_the_node_knows)
{
    open_all(2);
    TURN_UNTIL(all_up());
    struct raw r;
    raw_connect(&r, &net, 1);
    struct peer_message m = joining();
    raw_send(&r, &m);
    struct net_node *n = &net.nodes[1];
    TURN_UNTIL(n->join_count == 1);
    cr_expect_str_eq(n->join.name, "n9");
    cr_expect_eq(n->join.node_id, 10);
    cr_expect_eq(memcmp(n->join.secret, m.join.secret, SECRET_SIZE), 0);
    struct peer_message later =
        numbered(1); /* all goes on meanwhile, for longer than a hello may */
    for (uint64_t i = 0; i < 130; i++) {
        net_send(&net, 0, 2, &later);
        TURN_UNTIL(n->received[0] == i + 1);
        usleep(20000);
    }
    cr_expect_not(raw_has_ended(&r));
    struct peer_joined answer = {0};
    transport_answer_join(n->transport, n->joins[0], &answer);
    cr_expect_str_eq(joined_answer(&r), "let in");
    cr_expect_str_eq(joined_answer(&r), "", "then it ends");
    cr_expect_eq(n->ups, 1, "that was no member's hello");
    raw_close(&r);
}

Test(transport, a_joiner_that_hung_up_is_answered_in_vain)
{
    net_init(&net, 2);
    net_open(&net, 1);
    struct peer_message m = joining();
    struct net_node *n = &net.nodes[1];
    for (uint32_t i = 0; i < JOINS_MAX; i++) {
        struct raw r;
        raw_connect(&r, &net, 1);
        raw_send(&r, &m);
        TURN_UNTIL(n->join_count == i + 1);
        raw_close(&r);
        for (int k = 0; k < 3; k++)
            net_turn(&net);
    }
    struct raw late; /* those are still remembered */
    raw_connect(&late, &net, 1);
    raw_send(&late, &m);
    cr_expect_str_eq(joined_answer(&late), "too many ask to join: try again");
    raw_close(&late);
    struct peer_joined answer = {.refused = "no"};
    for (uint32_t i = 0; i < JOINS_MAX / 2; i++) /* the others are never answered */
        transport_answer_join(n->transport, n->joins[i], &answer);
    n->join_count = 0;
    raw_connect(&late, &net, 1);
    raw_send(&late, &m);
    TURN_UNTIL(n->join_count == 1);
    transport_answer_join(n->transport, n->joins[0], &answer);
    cr_expect_str_eq(joined_answer(&late), "no");
    raw_close(&late);
}

Test(transport, a_joiner_that_gets_no_answer_is_let_go)
{
    net_init(&net, 2);
    net_open(&net, 1);
    struct raw r;
    raw_connect(&r, &net, 1);
    struct peer_message m = joining();
    raw_send(&r, &m);
    uint64_t since = uv_hrtime();
    raw_wait_end(&r);
    cr_expect_geq(uv_hrtime() - since, JOIN_NS - NS_PER_S);
    struct peer_joined answer = {0};
    transport_answer_join(net.nodes[1].transport, net.nodes[1].joins[0], &answer);
    raw_close(&r);
}

Test(transport, a_joiner_that_makes_no_sense_is_told_so)
{
    net_init(&net, 2);
    net_open(&net, 1);
    struct peer_message other = joining(), newer = joining(), fine = joining();
    other.join.cluster_id++;
    newer.join.protocol_min = newer.join.protocol_max = PROTOCOL_MAX + 1;
    struct raw r;
    raw_connect(&r, &net, 1);
    raw_send(&r, &other);
    cr_expect_str_eq(joined_answer(&r), "another cluster answers at this address");
    raw_close(&r);
    raw_connect(&r, &net, 1);
    raw_send(&r, &newer);
    cr_expect_str_eq(joined_answer(&r), "no common protocol version: upgrade the older host");
    raw_close(&r);
    cr_expect_eq(net.nodes[1].join_count, 0);

    struct peer_message hello = raw_hello(&net, 0);
    raw_connect(&r, &net, 1);
    raw_send(&r, &hello);
    cr_assert_str_eq(next_answer(&r), "hello");
    raw_send(&r, &fine); /* a member does not join */
    raw_wait_end(&r);
    cr_expect_eq(net.nodes[1].join_count, 0);
    raw_close(&r);
}

/* ---- bad bytes ---- */

Test(transport, bad_frames_end_the_connection)
{
    static const struct {
        const char *name;
        bool greets;
        uint8_t bytes[12];
        size_t size;
        const char *reason; /* of a member */
    } cases[] = {
        {"a stranger's long frame", false, {0x01, 0x10, 0, 0}, 4, ""},
        {"an empty frame", false, {0, 0, 0, 0}, 4, ""},
        {"not msgpack", false, {1, 0, 0, 0, 0xc1}, 5, ""},
        {"a message before hello",
         false,
         {8, 0, 0, 0, 0x93, 2, 0xa4, 'r', 'e', 'a', 'd', 0x91},
         12,
         ""},
        {"http", false, {'G', 'E', 'T', ' ', '/', ' ', 'H'}, 7, ""},
        {"a member's long frame",
         true,
         {1, 0, 0x80, 0},
         4,
         "sent a frame of a length that is not allowed"},
        {"a member's nonsense", true, {2, 0, 0, 0, 0x91, 0xc1}, 6, "sent a malformed message"},
    };
    net_init(&net, 2);
    net_open(&net, 1);
    struct peer_message hello = raw_hello(&net, 0);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct raw r;
        raw_connect(&r, &net, 1);
        if (cases[i].greets) {
            raw_send(&r, &hello);
            cr_assert_str_eq(next_answer(&r), "hello");
        }
        cr_assert(raw_send_bytes(&r, cases[i].bytes, cases[i].size));
        if (i == 3) /* its last byte */
            cr_assert(raw_send_bytes(&r, "\x01", 1));
        raw_wait_end(&r);
        if (cases[i].greets)
            cr_expect_str_eq(net.nodes[1].reason, cases[i].reason, "%s", cases[i].name);
        raw_close(&r);
    }
    cr_expect_eq(net.nodes[1].received[0], 0);
}

Test(transport, a_long_hello_is_not_even_read)
{
    net_init(&net, 2);
    net_open(&net, 1);
    struct peer_message hello = raw_hello(&net, 0);
    struct frame *f = wire_frame(&hello);
    static const size_t more[] = {4096, 5000};
    for (size_t i = 0; i < ARRAY_COUNT(more); i++) {
        /* The same hello with a parameter more, as a later version might say, of that length in
         * all. */
        static uint8_t bytes[4 + 8192];
        size_t size = more[i], text_size = size - f->size - 3;
        memset(bytes, 'x', sizeof bytes);
        bytes[0] = (uint8_t)size, bytes[1] = (uint8_t)(size >> 8), bytes[2] = bytes[3] = 0;
        memcpy(bytes + 4, f->bytes, f->size);
        cr_assert_eq(bytes[4 + 8], 0x97, "the array of parameters");
        bytes[4 + 8]++;
        uint8_t *text = bytes + 4 + f->size;
        text[0] = 0xda, text[1] = (uint8_t)(text_size >> 8), text[2] = (uint8_t)text_size;
        struct raw r;
        raw_connect(&r, &net, 1);
        raw_send_bytes(&r, bytes, 4 + size);
        cr_expect_str_eq(next_answer(&r), i == 0 ? "hello" : "");
        raw_close(&r);
    }
    cr_expect_eq(net.nodes[1].hellos, 1);
    frame_unref(f);
}

Test(transport, hello_is_said_once)
{
    net_init(&net, 2);
    net_open(&net, 1);
    struct peer_message hello = raw_hello(&net, 0);
    struct raw r;
    raw_connect(&r, &net, 1);
    raw_send(&r, &hello);
    cr_assert_str_eq(next_answer(&r), "hello");
    raw_send(&r, &hello);
    raw_wait_end(&r);
    cr_expect_str_eq(net.nodes[1].reason, "said hello twice");
    raw_close(&r);
}

Test(transport, garbage_reaches_nobody_and_harms_nobody)
{
    uint64_t seed = 0x9e3779b9;
    printf("seed %lu\n", seed);
    struct prng p = {seed};
    open_all(2);
    TURN_UNTIL(all_up());
    struct peer_message m = numbered(1);
    for (uint64_t round = 0; round < 200; round++) {
        struct raw r;
        raw_connect(&r, &net, prng_below(&p, 2) ? 1 : 0);
        uint8_t bytes[600];
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)prng_next(&p);
        if (prng_below(&p, 2)) /* at least a length that is allowed */
            bytes[1] &= 1, bytes[2] = bytes[3] = 0;
        raw_send_bytes(&r, bytes, prng_below(&p, sizeof bytes));
        net_turn(&net);
        raw_close(&r);
        net_send(&net, 0, 2, &m);
        TURN_UNTIL(net.nodes[1].received[0] == round + 1);
    }
    cr_expect_eq(net.nodes[0].downs + net.nodes[1].downs, 0);
}

/* ---- slow and silent ---- */

Test(transport, a_slow_member_loses_frames_and_slows_nobody)
{
    net_init(&net, 3);
    int listener = raw_listen(net.addresses[2]);
    net_open(&net, 0);
    net_open(&net, 1);
    struct raw slow; /* says hello and reads no more */
    TURN_UNTIL(raw_accept(&slow, &net, listener));
    struct peer_message hello = raw_hello(&net, 2), large = large_submit();
    raw_send(&slow, &hello);
    TURN_UNTIL((net.nodes[0].connected & 4) && net_is_up(&net, 0, 1));
    enum { FRAMES = 120 };
    for (uint64_t i = 0; i < FRAMES; i++) {
        net_send(&net, 0, 6, &large);
        TURN_UNTIL(net.nodes[1].received[0] == i + 1);
        cr_assert_leq(net_view(&net, 0, 2).queued_bytes, SEND_QUEUE_BYTES_MAX);
    }
    cr_expect_gt(net_view(&net, 0, 2).dropped_frames, 0);
    cr_expect_gt(net_view(&net, 0, 2).queued_bytes, SEND_QUEUE_BYTES_MAX / 2);
    cr_expect_eq(net_view(&net, 0, 1).dropped_frames, 0);
    raw_close(&slow);
    close(listener);
}

Test(transport, many_small_frames_do_not_escape_the_bound)
{
    net_init(&net, 2);
    int listener = raw_listen(net.addresses[1]);
    net_open(&net, 0);
    struct raw slow;
    TURN_UNTIL(raw_accept(&slow, &net, listener));
    struct peer_message hello = raw_hello(&net, 1), m = numbered(1);
    raw_send(&slow, &hello);
    TURN_UNTIL(net.nodes[0].connected & 2);
    while (net_view(&net, 0, 1).dropped_frames == 0) {
        net_send(&net, 0, 2, &m);
        cr_assert_leq(net_view(&net, 0, 1).queued_bytes, SEND_QUEUE_BYTES_MAX);
    }
    raw_close(&slow);
    close(listener);
}

Test(transport, a_silent_member_is_dropped)
{
    net_init(&net, 2);
    net_open(&net, 1);
    struct raw r;
    raw_connect(&r, &net, 1);
    struct peer_message hello = raw_hello(&net, 0);
    raw_send(&r, &hello);
    raw_wait_end(&r);
    cr_expect_str_eq(net.nodes[1].reason, "silent for too long");
    raw_close(&r);
}

/* ---- relaying ---- */

static bool is_relayed(uint32_t of, uint32_t peer)
{
    return net_view(&net, of, peer).relayed_by != NULL;
}

/* 0 and 2 do not let each other in; 1 is connected to both. */
static void open_with_pair_apart(void)
{
    net_init(&net, 3);
    net.nodes[2].refuses = "not now";
    net.nodes[2].admits = 2;
    for (uint32_t i = 0; i < 3; i++)
        net_open(&net, i);
    TURN_UNTIL(net_is_up(&net, 0, 1) && net_is_up(&net, 1, 2));
}

Test(transport, a_pair_that_is_not_connected_talks_through_a_third_until_it_is)
{
    open_with_pair_apart();
    TURN_UNTIL(is_relayed(0, 2) && is_relayed(2, 0));
    cr_expect_str_eq(net_view(&net, 0, 2).relayed_by, "n1");
    struct peer_message m = numbered(7), large = large_submit();
    struct peer_message status = {.kind = PEER_STATUS};
    net_send(&net, 0, 4, &m);
    net_send(&net, 0, 4, &large);
    net_send(&net, 0, 4, &status); /* not the core's */
    net_send(&net, 2, 1, &m);
    TURN_UNTIL(net.nodes[2].relayed[0] == 2 && net.nodes[0].relayed[2] == 1);
    cr_expect_eq(net.nodes[1].received[0] + net.nodes[1].received[2], 0, "not for 1");
    cr_expect_not(is_relayed(0, 1) || is_relayed(1, 0) || is_relayed(1, 2) || is_relayed(2, 1));

    net.nodes[2].refuses = NULL; /* and it is asked again */
    TURN_UNTIL(all_up());
    TURN_UNTIL(!is_relayed(0, 2) && !is_relayed(2, 0));
    expected = &m;
    net.nodes[2].on_message = compare;
    net_send(&net, 0, 4, &m);
    TURN_UNTIL(matched == 1);
    cr_expect_eq(net.nodes[2].received[0], 3, "nothing came twice");
    cr_expect_eq(net.nodes[1].downs + net.nodes[2].downs, 0, "nothing was refused");
}

Test(transport, every_message_of_the_core_is_relayed_as_it_was)
{
    open_with_pair_apart();
    TURN_UNTIL(is_relayed(0, 2));
    net.nodes[2].on_message = compare;
    struct wire_samples *s = wire_samples_new(ENTRIES_MAX, 70000, 2);
    for (uint64_t i = 0; i < MESSAGE_KIND_COUNT; i++) {
        expected = &s->messages[i];
        net_send(&net, 0, 4, expected);
        TURN_UNTIL(matched == i + 1);
    }
    wire_samples_free(s);
}

static const uint64_t ids[] = {1, 2, 3, 4};

/* Members 1 and 2 are real, 0 is two raw connections. */
struct half_cut {
    struct raw to_1, to_2;
};

static void open_half_cut(struct half_cut *h)
{
    net_init(&net, 3);
    net_open(&net, 1);
    net_open(&net, 2);
    struct peer_message hello = raw_hello(&net, 0);
    raw_connect(&h->to_1, &net, 1);
    raw_connect(&h->to_2, &net, 2);
    raw_send(&h->to_1, &hello);
    raw_send(&h->to_2, &hello);
    cr_assert_str_eq(next_answer(&h->to_1), "hello");
    cr_assert_str_eq(next_answer(&h->to_2), "hello");
    TURN_UNTIL(net_is_up(&net, 1, 2));
}

static void close_half_cut(struct half_cut *h)
{
    raw_close(&h->to_1);
    raw_close(&h->to_2);
}

static void say_alive(struct raw *r, uint32_t hears)
{
    struct peer_message m = {.kind = PEER_ALIVE};
    for (uint32_t i = 0; i < ARRAY_COUNT(ids); i++)
        if (hears & UINT32_C(1) << i)
            m.alive.hears[m.alive.count++] = ids[i];
    cr_assert(raw_send(r, &m));
    net_turn(&net);
}

/* The next frame but keep-alives; decoded until the next one is. */
static const struct peer_message *next_message(struct raw *r)
{
    static struct peer_message m;
    static struct frame *frame; /* a relay points into it */
    do {
        if (frame)
            frame_unref(frame);
        frame = raw_receive(r);
        cr_assert(frame && codec_decode(decoder, frame, &m) == 0);
    } while (m.kind == PEER_ALIVE);
    return &m;
}

Test(transport, a_connected_member_that_is_silent_here_but_heard_elsewhere_is_sent_to_both_ways)
{
    struct half_cut h;
    open_half_cut(&h);
    while (!is_relayed(2, 0))
        say_alive(&h.to_1, 2);
    struct peer_message m = numbered(5);
    net_send(&net, 2, 1, &m);
    const struct peer_message *got = next_message(&h.to_2);
    cr_expect(wire_equal(got, &m), "directly");
    got = next_message(&h.to_1);
    cr_assert_eq(got->kind, PEER_RELAY);
    cr_expect_eq(got->relay.origin, ids[2]);
    cr_expect_eq(got->relay.target, ids[0]);
    struct peer_message unwrapped = *got;
    cr_assert_eq(codec_unwrap(decoder, &unwrapped), 0);
    cr_expect(wire_equal(&unwrapped, &m));

    while (is_relayed(2, 0))
        say_alive(&h.to_2, 4);
    close_half_cut(&h);
}

Test(transport, a_member_that_is_heard_but_does_not_hear_is_relayed_to)
{
    struct half_cut h;
    open_half_cut(&h);
    while (!is_relayed(2, 0)) {
        say_alive(&h.to_1, 2);
        say_alive(&h.to_2, 2);
    }
    while (is_relayed(2, 0))
        say_alive(&h.to_2, 6);
    close_half_cut(&h);
}

Test(transport, a_member_that_nobody_hears_is_not_relayed_to)
{
    struct half_cut h;
    open_half_cut(&h);
    bool was_relayed = false;
    while (net.nodes[1].downs + net.nodes[2].downs < 2) { /* silent for PEER_IDLE_NS */
        net_turn(&net);
        was_relayed = was_relayed || is_relayed(1, 0) || is_relayed(2, 0);
    }
    cr_expect_not(was_relayed);
    close_half_cut(&h);
}

Test(transport, a_relay_knows_members_by_id_whatever_seats_the_others_gave_them)
{
    net_init(&net, 3);
    net.nodes[2].refuses = "not now";
    net.nodes[2].admits = 2;
    net_open(&net, 2);
    net_seat(&net, 0, MEMBERS_MAX); /* what 0 thinks */
    net_seat(&net, 4, 0);
    net_open(&net, 0);
    for (uint32_t i = 0; i < 5; i++)
        net_seat(&net, i, MEMBERS_MAX);
    net_seat(&net, 0, 2); /* what 1 thinks */
    net_seat(&net, 9, 1);
    net_seat(&net, 2, 0);
    net_open(&net, 1);
    TURN_UNTIL(is_relayed(0, 2) && is_relayed(2, 0));
    struct peer_message m = numbered(7);
    net_send(&net, 0, 4, &m);
    net_send(&net, 2, 1, &m);
    TURN_UNTIL(net.nodes[2].relayed[0] == 1 && net.nodes[0].relayed[2] == 1);
    cr_expect_eq(net.nodes[0].received[0] + net.nodes[0].received[4] + net.nodes[2].received[2], 0);

    net_seat(&net, 2, MEMBERS_MAX); /* 1 no longer knows 0, nor hears it */
    net_set_members(&net, 1);
    TURN_UNTIL(!is_relayed(2, 0));
}

/* By member; those above are of nobody. */
static struct peer_message relay_of(const struct frame *f, uint32_t origin, uint32_t target)
{
    return (struct peer_message){.kind = PEER_RELAY,
                                 .relay = {origin + 1, target + 1, f->size, f->bytes}};
}

Test(transport, relays_that_make_no_sense_end_the_connection)
{
    struct peer_message m = numbered(1), status = {.kind = PEER_STATUS};
    struct frame *core = wire_frame(&m), *other = wire_frame(&status);
    struct frame *broken = wire_frame_of("\xc1", 1);
    struct peer_message inner = relay_of(core, 2, 1);
    struct frame *nested = wire_frame(&inner);
    const struct {
        const char *name;
        struct peer_message relay; /* from member 0 to 1 */
        const char *reason;        /* NULL: the connection stays */
    } cases[] = {
        {"of its own, for another", relay_of(core, 0, 2), NULL},
        {"of another, for us", relay_of(core, 2, 1), NULL},
        {"of its own, for us", relay_of(core, 0, 1), "relayed what it should not"},
        {"of another, for another", relay_of(core, 3, 2), "relayed what it should not"},
        {"our own", relay_of(core, 1, 2), "relayed what it should not"},
        {"of nobody", relay_of(core, 4, 1), NULL},
        {"for nobody", relay_of(core, 0, 4), NULL},
        {"a relay in a relay", relay_of(nested, 2, 1), "relayed a malformed message"},
        {"a status in a relay", relay_of(other, 2, 1), "relayed a malformed message"},
        {"nonsense in a relay", relay_of(broken, 2, 1), "relayed a malformed message"},
    };
    net_init(&net, 4);
    net_open(&net, 1);
    struct peer_message hello = raw_hello(&net, 0), last = numbered(2);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct raw r;
        raw_connect(&r, &net, 1);
        raw_send(&r, &hello);
        cr_assert_str_eq(next_answer(&r), "hello");
        uint64_t before = net.nodes[1].received[0];
        cr_assert(raw_send(&r, &cases[i].relay));
        if (cases[i].reason) {
            raw_wait_end(&r);
            cr_expect_str_eq(net.nodes[1].reason, cases[i].reason, "%s", cases[i].name);
        } else {
            raw_send(&r, &last);
            TURN_UNTIL(net.nodes[1].received[0] > before);
        }
        raw_close(&r);
    }
    cr_expect_eq(net.nodes[1].received[2], 1);
    frame_unref(core);
    frame_unref(other);
    frame_unref(broken);
    frame_unref(nested);
}

/* ---- opening ---- */

static int try_open(const char *address)
{
    struct transport_config c = {.self = 0};
    c.members[0].node_id = 1;
    strcpy(c.members[0].name, "n0");
    strcpy(c.members[0].address, address);
    struct transport *t = NULL;
    return transport_open(&net.loop, &c, &t);
}

Test(transport, says_why_it_cannot_listen)
{
    net_init(&net, 1);
    net_open(&net, 0);
    cr_expect_eq(try_open(net.addresses[0]), -EADDRINUSE);
    cr_expect_eq(try_open("192.0.2.1:7600"), -EADDRNOTAVAIL);
    cr_expect_eq(try_open("nowhere"), -EINVAL);
}

Test(transport, addresses_are_parsed_strictly)
{
    static const struct {
        const char *text;
        int rc;
    } cases[] = {
        {"1.2.3.4:7600", 0},
        {"[::1]:7600", 0},
        {"[fe80::1:2]:65535", 0},
        {"1.2.3.4:0", -EINVAL},
        {"1.2.3.4:65536", -EINVAL},
        {"1.2.3.4:", -EINVAL},
        {"1.2.3.4", -EINVAL},
        {"::1:7600", -EINVAL},
        {"[::1]7600", -EINVAL},
        {"[::1:7600", -EINVAL},
        {"", -EINVAL},
        {":7600", -EINVAL},
        {"host:7600", -EINVAL},
        {"1.2.3.4:76a0", -EINVAL},
        {"1.2.3.4:-1", -EINVAL},
        {"1.2.3.4: 76", -EINVAL},
        {"[1.2.3.4]:76", -EINVAL},
        {"1.2.3.4:000000080", -EINVAL},
    };
    net_init(&net, 0);
    struct sockaddr_storage a;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        cr_expect_eq(address_parse(cases[i].text, &a), cases[i].rc, "%s", cases[i].text);
    cr_assert_eq(address_parse("1.2.3.4:7600", &a), 0);
    cr_expect_eq(((struct sockaddr_in *)(void *)&a)->sin_port, htons(7600));
    cr_expect_eq(((struct sockaddr_in *)(void *)&a)->sin_addr.s_addr, htonl(0x01020304));
}
