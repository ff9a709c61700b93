/* node/driver.h: performs what the core wants: the log, the wire, the store; and tells the core
 * what happened. Loop thread only.
 *
 * A burst of events is stepped one by one and ends with driver_flush(), so that what belongs
 * together shares one message and one sync. Messages that depend on a PERSIST are held until it is
 * durable. */
#ifndef NODE_DRIVER_H
#define NODE_DRIVER_H

#include <stdbool.h>

#include "consensus/paxos.h"
#include "fs/pending.h"
#include "node/logger.h"
#include "node/storer.h"
#include "rpc/transport.h"

struct driver;

/* What the driver performs effects with. All borrowed. */
struct driver_edges {
    struct logger *logger;
    struct storer *storer;
    struct transport *transport;
    struct pending *pending; /* hears of a pvalue before anybody else hears that it is held */
    void *context;
    /* Reads up to @read may run once @slot is applied. */
    void (*on_read_ready)(void *context, uint64_t read, uint64_t slot);
    /* The core's view changed; before the effects of the step that changed it. */
    void (*on_view)(void *context, const struct paxos_view *view);
    /* A snapshot is to be installed, from the member in seat @from; asked for again and again. */
    void (*on_snapshot)(void *context, uint32_t from);
    /* Name of a node id, for the log lines. */
    const char *(*node_name)(void *context, uint64_t node_id);
};

int driver_new(const struct paxos_config *config, const struct paxos_recovered *recovered,
               bool fresh, const struct driver_edges *edges, struct driver **out);
void driver_free(struct driver *d);

/* Tell the core; perform what does not need the end of the burst. @event's clocks are filled in.
 *
 * EVENT_INSTALLED only where nothing at or above its slot is decided here yet: what was applied is
 * else told as ever. The log lets go of all slots up to it: what it holds of them may be votes that
 * lost. */
void driver_step(struct driver *d, struct event *event);
/* End of a burst. */
void driver_flush(struct driver *d);
/* The log is durable through PERSIST @number: held messages leave. */
void driver_on_durable(struct driver *d, uint64_t number);
/* The log thread read decided slots for member @to; takes the command references. @slot_first: the
 * log gives none below; 0: it has them all. That is told also where there is nothing to give. */
void driver_on_decisions(struct driver *d, uint32_t to, uint64_t slot_first, struct pvalue *pvalues,
                         uint32_t count);

/* Every slot <= it has its records durably in this node's log. What the core hears as applied, and
 * what a checkpoint covers, must not be above: else this node would call slots decided that its log
 * cannot serve, or holds a lost vote for; and memory would grow while the log's disk is slow. */
uint64_t driver_logged(const struct driver *d);
const struct paxos_view *driver_view(const struct driver *d);

#endif
