/* Bytes into the admin server: it answers or hangs up, and goes on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "rpc/admin.h"
#include "tests/support/mutate.h"

static uv_loop_t loop;
static struct admin_server *server;
static char dir[] = "/tmp/paxfs-fuzz-XXXXXX";
static char path[64];
static FILE *nowhere;

static void on_request(void *context, struct admin_request *r, const char *method,
                       const msgpack_object *params, int fd)
{
    (void)context;
    ASSERT(fd == -1 && strlen(method) < 32);
    ASSERT(params->type == MSGPACK_OBJECT_MAP || params->type == MSGPACK_OBJECT_NIL);
    admin_print_json(nowhere, params);
    if (method[0] == 's')
        admin_reply(r, NULL);
    else
        admin_reply_error(r, method);
}

static void open_server(void)
{
    static const struct admin_callbacks callbacks = {.on_request = on_request};
    log_set_level(LOG_ERROR);
    char *made = mkdtemp(dir);
    ASSERT(made);
    snprintf(path, sizeof path, "%s/admin.sock", dir);
    nowhere = fopen("/dev/null", "w");
    uv_loop_init(&loop);
    int rc = admin_server_open(&loop, path, &callbacks, &server);
    ASSERT(rc == 0 && nowhere);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (!server)
        open_server();
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    int rc = connect(fd, (struct sockaddr *)&a, sizeof a);
    ASSERT(fd >= 0 && rc == 0);
    ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    ASSERT(n >= 0 || size == 0);
    shutdown(fd, SHUT_WR);
    char answer[256];
    do {
        uv_run(&loop, UV_RUN_NOWAIT);
        n = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
    } while (n > 0 || (n < 0 && errno == EAGAIN)); /* it must hang up: nothing more comes */
    close(fd);
    return 0;
}

#ifndef PAXFS_LIBFUZZER
static void seed_input(uint32_t index, struct buffer *out)
{
    static const uint8_t no_prefix[4];
    buffer_append(out, no_prefix, sizeof no_prefix);
    pack_array(out, 4);
    pack_u64(out, 0);
    pack_u64(out, index);
    pack_text(out, index % 2 ? "status" : "mount");
    pack_map(out, 3);
    pack_text(out, "dir");
    pack_text(out, "/mnt/point");
    pack_text(out, "options");
    pack_array(out, 2);
    pack_double(out, 0.5);
    pack_map(out, 0);
    pack_text(out, "read_only");
    pack_bool(out, true);
    out->bytes[0] = (uint8_t)(out->size - sizeof no_prefix);
}

static void on_closed(void *context)
{
    (void)context;
}

int main(int argc, char **argv)
{
    int rc = fuzz_main(argc, argv, 4, 50000, seed_input);
    admin_server_close(server, on_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    fclose(nowhere);
    rmdir(dir);
    return rc;
}
#endif
