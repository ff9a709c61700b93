#include "rpc/transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

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
