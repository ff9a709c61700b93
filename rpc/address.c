#include "rpc/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "rpc/transport.h"

/* Decimal, 1..65535; 0 for anything else. */
static uint16_t parse_port(const char *text)
{
    uint32_t port = 0;
    for (size_t i = 0; text[i]; i++) {
        if (text[i] < '0' || text[i] > '9' || i >= 5)
            return 0;
        port = port * 10 + (uint32_t)(text[i] - '0');
    }
    return port <= UINT16_MAX ? (uint16_t)port : 0;
}

static int parse_ip(const char *host, uint16_t port, bool is_v6, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (is_v6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)out;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 ? 0 : -EINVAL;
    }
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)out;
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? 0 : -EINVAL;
}

int address_parse(const char *text, struct sockaddr_storage *out)
{
    bool is_v6 = text[0] == '[';
    const char *host = text + is_v6;
    const char *host_end = is_v6 ? strchr(text, ']') : strrchr(text, ':');
    if (!host_end || host_end[is_v6] != ':')
        return -EINVAL;
    char ip[ADDRESS_MAX + 1];
    size_t size = (size_t)(host_end - host);
    if (size >= sizeof ip)
        return -EINVAL;
    memcpy(ip, host, size);
    ip[size] = '\0';
    uint16_t port = parse_port(host_end + is_v6 + 1);
    return port ? parse_ip(ip, port, is_v6, out) : -EINVAL;
}

/* With plain calls, since a libuv handle that failed to bind can only be given up a turn later. */
int address_listen(const struct sockaddr_storage *address, int backlog)
{
    bool is_v6 = address->ss_family == AF_INET6;
    socklen_t size = is_v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (const struct sockaddr *)address, size) < 0 || listen(fd, backlog) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

void address_print(const struct sockaddr_storage *address, char *out, size_t room)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
    bool is_v6 = address->ss_family == AF_INET6;
    char ip[INET6_ADDRSTRLEN] = "";
    inet_ntop(address->ss_family, is_v6 ? (const void *)&in6->sin6_addr : &in->sin_addr, ip,
              sizeof ip);
    snprintf(out, room, is_v6 ? "[%s]:%u" : "%s:%u", ip,
             ntohs(is_v6 ? in6->sin6_port : in->sin_port));
}

void address_clear_port(struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = 0;
    else
        ((struct sockaddr_in *)(void *)address)->sin_port = 0;
}
