/* rpc/methods.h: names of the notifications between peers. Internal to the codec. */
#ifndef RPC_METHODS_H
#define RPC_METHODS_H

#include "consensus/message.h"

#define METHOD_HELLO         "hello"
#define METHOD_REFUSE        "refuse"
#define METHOD_STATUS        "status"
#define METHOD_ALIVE         "alive"
#define METHOD_RELAY         "relay"
#define METHOD_JOIN          "join"
#define METHOD_JOINED        "joined"
#define METHOD_SNAPSHOT_GET  "snapshot_get"
#define METHOD_SNAPSHOT_DATA "snapshot_data"

/* msgpack-rpc: the first element of a notification */
enum { NOTIFICATION = 2 };

/* By enum message_kind. */
extern const char *const paxos_methods[MESSAGE_KIND_COUNT];

#endif
