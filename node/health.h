/* node/health.h: whether this node works, whether anything is amiss, and what a person can do about
 * it. Loop thread. */
#ifndef NODE_HEALTH_H
#define NODE_HEALTH_H

#include "node/node.h"

enum { REASONS_MAX = 16 };

struct reason {
    const char *code, *what_to_do;
    char text[256];
};

struct health {
    bool works; /* calls are answered: there is a leader to ask, or this is it */
    bool is_degraded;
    uint32_t reason_count;
    struct reason reasons[REASONS_MAX];
};

void health_judge(const struct node *n, struct health *h);

/* Whether the member in @seat is connected, and how its connection is; the own one always is. */
bool health_connected(const struct node *n, uint32_t seat, struct transport_peer_view *peer);
/* Those of @voters, a mask, that are. */
uint32_t health_connected_of(const struct node *n, uint32_t voters);
/* How many more of @voters may go; -1: too few are there. */
int health_can_lose(const struct node *n, uint32_t voters);

#endif
