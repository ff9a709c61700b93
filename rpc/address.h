/* rpc/address.h: socket addresses beyond address_parse(). Internal to the transport. */
#ifndef RPC_ADDRESS_H
#define RPC_ADDRESS_H

#include <stddef.h>
#include <sys/socket.h>

/* A non-blocking listening socket, or -errno: -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, ... */
int address_listen(const struct sockaddr_storage *address, int backlog);
/* "1.2.3.4:7600" or "[::1]:7600", cut to @room. */
void address_print(const struct sockaddr_storage *address, char *out, size_t room);
/* To bind to any port of the same IP. */
void address_clear_port(struct sockaddr_storage *address);

#endif
