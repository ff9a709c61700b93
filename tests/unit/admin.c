#include "rpc/admin.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"

/* A daemon's loop in a thread of its own; the test is the client. */
struct daemon {
    char dir[PATH_MAX], path[PATH_MAX + 16];
    uv_loop_t loop;
    uv_async_t stop;
    struct admin_server *server;
    pthread_t thread;
    struct admin_request *kept; /* of "later" */
    int requests;
};

static struct daemon d;

static void on_closed(void *context)
{
    (void)context;
}

static void on_stop(uv_async_t *async)
{
    if (d.kept)
        admin_reply_error(d.kept, "stopped");
    uv_close((uv_handle_t *)async, NULL);
    admin_server_close(d.server, on_closed, NULL);
}

static void echo(struct admin_request *r, const msgpack_object *params)
{
    struct buffer b = {0};
    char text[16];
    pack_map(&b, 2);
    pack_text(&b, "text");
    pack_text(&b, admin_get_text(params, "text", text, sizeof text, "none"));
    pack_text(&b, "number");
    pack_u64(&b, admin_get_u64(params, "number", 7));
    admin_reply(r, &b);
    buffer_deinit(&b);
}

static void large(struct admin_request *r)
{
    struct buffer b = {0};
    pack_array(&b, 50000);
    for (uint64_t i = 0; i < 50000; i++)
        pack_u64(&b, UINT64_MAX - i);
    admin_reply(r, &b);
    buffer_deinit(&b);
}

static void on_request(void *context, struct admin_request *r, const char *method,
                       const msgpack_object *params, int fd)
{
    struct daemon *me = context;
    me->requests++;
    if (fd >= 0) {
        ASSERT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        ssize_t n = write(fd, "passed", 6);
        ASSERT(n == 6);
        close(fd);
    }
    struct buffer half = {(uint8_t *)"\x92\x01", 2, 2};
    if (strcmp(method, "echo") == 0)
        echo(r, params);
    else if (strcmp(method, "large") == 0)
        large(r);
    else if (strcmp(method, "half") == 0)
        admin_reply(r, &half);
    else if (strcmp(method, "later") == 0)
        me->kept = r;
    else if (strcmp(method, "ping") == 0)
        admin_reply(r, NULL);
    else
        admin_reply_error(r, "unknown method: asked of an older daemon; upgrade it");
}

static void *run(void *context)
{
    uv_run(context, UV_RUN_DEFAULT);
    return NULL;
}

static void open_in(const char *dir)
{
    memset(&d, 0, sizeof d);
    snprintf(d.dir, sizeof d.dir, "%s", dir);
    snprintf(d.path, sizeof d.path, "%s/admin.sock", d.dir);
    uv_loop_init(&d.loop);
    uv_async_init(&d.loop, &d.stop, on_stop);
    struct admin_callbacks callbacks = {&d, on_request};
    int rc = admin_server_open(&d.loop, d.path, &callbacks, &d.server);
    cr_assert_eq(rc, 0, "%s", strerror(-rc));
    pthread_create(&d.thread, NULL, run, &d.loop);
}

static void close_daemon(void)
{
    uv_async_send(&d.stop);
    pthread_join(d.thread, NULL);
    cr_expect_eq(uv_loop_close(&d.loop), 0);
}

static char root[] = "/tmp/paxfs-admin-XXXXXX";

static void init(void)
{
    cr_assert_not_null(mkdtemp(root));
    open_in(root);
}

static void deinit(void)
{
    close_daemon();
    rmdir(root);
}

TestSuite(admin, .init = init, .fini = deinit, .timeout = 60);

static struct admin_response response;

static int call(const char *method, const struct buffer *params, int fd)
{
    return admin_call(d.dir, method, params, fd, 20000, &response);
}

Test(admin, a_request_is_answered)
{
    struct buffer params = {0};
    pack_map(&params, 2);
    pack_text(&params, "text");
    pack_text(&params, "hallo");
    pack_text(&params, "number");
    pack_u64(&params, UINT64_MAX);
    cr_assert_eq(call("echo", &params, -1), 0);
    char text[32];
    cr_expect_str_eq(response.error, "");
    cr_expect_str_eq(admin_get_text(&response.result, "text", text, sizeof text, ""), "hallo");
    cr_expect_eq(admin_get_u64(&response.result, "number", 0), UINT64_MAX);
    admin_response_deinit(&response);
    buffer_deinit(&params);
}

Test(admin, parameters_may_be_left_out)
{
    char text[32];
    cr_assert_eq(call("echo", NULL, -1), 0);
    cr_expect_str_eq(admin_get_text(&response.result, "text", text, sizeof text, ""), "none");
    cr_expect_eq(admin_get_u64(&response.result, "number", 0), 7);
    admin_response_deinit(&response);
}

Test(admin, an_error_is_what_a_person_reads)
{
    cr_assert_eq(call("nonsense", NULL, -1), 0);
    cr_expect_str_eq(response.error, "unknown method: asked of an older daemon; upgrade it");
    cr_expect_eq(response.result.type, MSGPACK_OBJECT_NIL);
    admin_response_deinit(&response);
}

Test(admin, an_answer_larger_than_the_socket_arrives_whole)
{
    cr_assert_eq(call("large", NULL, -1), 0);
    cr_assert_eq(response.result.via.array.size, 50000);
    cr_expect_eq(response.result.via.array.ptr[49999].via.u64, UINT64_MAX - 49999);
    admin_response_deinit(&response);
}

Test(admin, an_answer_that_could_not_be_packed_is_an_error)
{
    cr_assert_eq(call("half", NULL, -1), 0);
    cr_expect_neq(response.error[0], '\0');
    admin_response_deinit(&response);
}

Test(admin, a_descriptor_rides_with_a_request)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    cr_assert_eq(call("ping", NULL, ends[1]), 0);
    admin_response_deinit(&response);
    close(ends[1]); /* the daemon closed its own: end of file follows */
    char text[16] = "";
    cr_expect_eq(read(ends[0], text, sizeof text), 6);
    cr_expect_str_eq(text, "passed");
    cr_expect_eq(read(ends[0], text, sizeof text), 0);
    close(ends[0]);
}

Test(admin, only_the_owner_may_connect)
{
    struct stat st;
    cr_assert_eq(stat(d.path, &st), 0);
    cr_expect_eq(st.st_mode & 07777, 0600);
    cr_expect(S_ISSOCK(st.st_mode));
}

Test(admin, a_request_that_is_not_answered_in_time_times_out)
{
    cr_expect_eq(admin_call(d.dir, "later", NULL, -1, 50, &response), -ETIMEDOUT);
    cr_assert_eq(call("ping", NULL, -1), 0, "and its late answer harms nobody");
    admin_response_deinit(&response);
}

Test(admin, an_answer_may_come_later)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%.100s", d.path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    static const uint8_t later[] = "\x0a\0\0\0\x94\x00\x05\xa5later\xc0";
    cr_assert_eq(send(fd, later, sizeof later - 1, 0), sizeof later - 1);
    cr_assert_eq(call("ping", NULL, -1), 0); /* the loop has seen both */
    admin_response_deinit(&response);
    close_daemon(); /* answers what it kept, and stops */
    uint8_t bytes[64];
    ssize_t n = recv(fd, bytes, sizeof bytes, 0);
    cr_expect_eq(n, 16);
    cr_expect_eq(memcmp(bytes, "\x0c\0\0\0\x94\x01\x05\xa7stopped\xc0", 16), 0);
    close(fd);
    open_in(root);
}

Test(admin, no_daemon_is_told_apart)
{
    close_daemon();
    cr_expect_eq(call("ping", NULL, -1), -ENOENT);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%.100s", d.path);
    cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    close(fd); /* as a daemon that was killed leaves it */
    cr_expect_eq(call("ping", NULL, -1), -ECONNREFUSED);
    open_in(root); /* which the next one replaces */
    cr_expect_eq(call("ping", NULL, -1), 0);
    admin_response_deinit(&response);
}

Test(admin, the_path_may_be_of_any_length)
{
    char dir[PATH_MAX];
    size_t size = (size_t)snprintf(dir, sizeof dir, "%s", root);
    while (size < 3000) {
        dir[size++] = '/';
        memset(dir + size, 'x', 200);
        size += 200;
        dir[size] = '\0';
        cr_assert_eq(mkdir(dir, 0700), 0);
    }
    close_daemon();
    open_in(dir);
    struct stat st;
    cr_expect_eq(stat(d.path, &st), 0);
    cr_expect_eq(call("ping", NULL, -1), 0);
    admin_response_deinit(&response);
    close_daemon();
    cr_expect_eq(stat(d.path, &st), -1, "and it goes with the server");
    while (size > strlen(root)) {
        rmdir(dir);
        size -= 201;
        dir[size] = '\0';
    }
    open_in(root);
}

static int connect_raw(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%.100s", d.path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

Test(admin, what_is_no_request_ends_the_connection)
{
    static const struct {
        const char *name;
        uint8_t bytes[16];
        size_t size;
    } cases[] = {
        {"empty", {0, 0, 0, 0}, 4},
        {"too long", {1, 0, 1, 0}, 4},
        {"not msgpack", {1, 0, 0, 0, 0xc1}, 5},
        {"no array", {1, 0, 0, 0, 5}, 5},
        {"a notification", {8, 0, 0, 0, 0x93, 2, 0xa4, 'p', 'i', 'n', 'g', 0xc0}, 12},
        {"parameters of another type", {9, 0, 0, 0, 0x94, 0, 1, 0xa4, 'p', 'i', 'n', 'g', 1}, 13},
        {"a claim of more", {9, 0, 0, 0, 0x94, 0, 1, 0xdf, 0xff, 0xff, 0xff, 0xff, 1}, 13},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int fd = connect_raw();
        cr_assert_eq(send(fd, cases[i].bytes, cases[i].size, 0), cases[i].size);
        char byte;
        cr_expect_leq(recv(fd, &byte, 1, 0), 0, "%s", cases[i].name);
        close(fd);
    }
    cr_expect_eq(d.requests, 0);
}

static void send_with_descriptors(int fd, const void *bytes, size_t size, const int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(16 * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)(uintptr_t)bytes, size};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
    m.msg_controllen = CMSG_SPACE(n * sizeof(int));
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(h), fds, n * sizeof(int));
    cr_assert_eq(sendmsg(fd, &m, 0), size);
}

Test(admin, descriptors_beyond_the_first_are_closed)
{
    static const size_t counts[] = {2, 12}; /* 12: more than are even looked at */
    static const uint8_t ping[] = "\x09\0\0\0\x94\x00\x05\xa4ping\xc0";
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        int ends[2], fds[16];
        cr_assert_eq(pipe(ends), 0);
        for (size_t k = 0; k < counts[i]; k++)
            fds[k] = ends[1];
        int fd = connect_raw();
        send_with_descriptors(fd, ping, sizeof ping - 1, fds, counts[i]);
        uint8_t byte;
        cr_assert_eq(recv(fd, &byte, 1, 0), 1); /* answered */
        close(fd);
        close(ends[1]);
        char text[16] = "";
        cr_expect_eq(read(ends[0], text, sizeof text), 6);
        cr_expect_eq(read(ends[0], text, sizeof text), 0, "none is left open");
        close(ends[0]);
    }
}

Test(admin, a_descriptor_of_a_client_that_hangs_up_is_closed)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    int fd = connect_raw();
    send_with_descriptors(fd, "\x09", 1, &ends[1], 1);
    close(fd);
    close(ends[1]);
    char byte;
    cr_expect_eq(read(ends[0], &byte, 1), 0); /* waits until the daemon let go */
    close(ends[0]);
}

Test(admin, more_clients_than_there_is_room_for_wait_their_turn)
{
    int fds[ADMIN_CLIENTS_MAX];
    for (size_t i = 0; i < ARRAY_COUNT(fds); i++)
        fds[i] = connect_raw();
    cr_expect_eq(admin_call(d.dir, "ping", NULL, -1, 50, &response), -ETIMEDOUT);
    close(fds[0]);
    cr_expect_eq(call("ping", NULL, -1), 0);
    admin_response_deinit(&response);
    for (size_t i = 1; i < ARRAY_COUNT(fds); i++)
        close(fds[i]);
}

Test(admin, prints_json)
{
    struct buffer b = {0};
    pack_map(&b, 6);
    pack_text(&b, "a\"\\\n\x01");
    pack_array(&b, 4);
    pack_u64(&b, UINT64_MAX);
    pack_double(&b, 0.1);
    pack_double(&b, 1.0 / 0.0);
    pack_nil(&b);
    pack_text(&b, "bin");
    buffer_append(&b, "\xc4\x02\x00\xff", 4);
    pack_text(&b, "empty");
    pack_array(&b, 2);
    pack_array(&b, 0);
    pack_map(&b, 0);
    pack_text(&b, "utf8");
    pack_text(&b, "\xc3\xa9 \xff \xe2\x82");
    pack_text(&b, "yes");
    pack_bool(&b, true);
    pack_u64(&b, 3);
    buffer_append(&b, "\xff", 1); /* -1 */
    msgpack_unpacked u;
    msgpack_unpacked_init(&u);
    cr_assert_eq(msgpack_unpack_next(&u, (const char *)b.bytes, b.size, NULL),
                 MSGPACK_UNPACK_SUCCESS);
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    admin_print_json(out, &u.data);
    fclose(out);
    cr_expect_str_eq(text, "{\"a\\\"\\\\\\u000a\\u0001\": [18446744073709551615, 0.1, null, null], "
                           "\"bin\": \"00ff\", \"empty\": [[], {}], "
                           "\"utf8\": \"\xc3\xa9 \\ufffd \\ufffd\\ufffd\", \"yes\": true, "
                           "\"3\": -1}");
    free(text);
    msgpack_unpacked_destroy(&u);
    buffer_deinit(&b);
}

Test(admin, missing_values_and_values_of_another_type_give_the_fallback)
{
    struct buffer b = {0};
    pack_map(&b, 1);
    pack_text(&b, "key");
    pack_text(&b, "a long value");
    msgpack_unpacked u;
    msgpack_unpacked_init(&u);
    cr_assert_eq(msgpack_unpack_next(&u, (const char *)b.bytes, b.size, NULL),
                 MSGPACK_UNPACK_SUCCESS);
    char text[7];
    cr_expect_eq(admin_get_u64(&u.data, "key", 5), 5);
    cr_expect(admin_get_bool(&u.data, "key", true));
    cr_expect_str_eq(admin_get_text(&u.data, "key", text, sizeof text, ""), "a long");
    cr_expect_str_eq(admin_get_text(&u.data, "ke", text, sizeof text, "-"), "-");
    cr_expect_null(admin_get(&u.data, "keys"));
    cr_expect_null(admin_get(NULL, "key"));
    msgpack_unpacked_destroy(&u);
    buffer_deinit(&b);
}
