/* consensus/reader.h: read index for the own clients (PMMC §4.5, read-only commands).
 *
 * One question to the leader at a time; reads that come meanwhile gather for the next. An answer
 * covers the reads that began before its question was sent. Pure. */
#ifndef CONSENSUS_READER_H
#define CONSENSUS_READER_H

#include "consensus/outbox.h"

struct reader {
    uint64_t base;     /* question id = base + read: an answer to a former life matches nothing */
    uint64_t wanted;   /* newest read */
    uint64_t asked;    /* newest read a question covers */
    uint64_t ready;    /* newest read answered */
    bool is_waiting;   /* for the answer to `asked`, or to ask again */
    uint64_t retry_ns; /* when */
};

/* @salt: differs between the lives of a node. */
void reader_init(struct reader *r, uint64_t salt);
void reader_on_read(struct reader *r, uint64_t read);
/* This node serves: every read so far may be answered from @slot. */
void reader_serve(struct reader *r, uint64_t slot, struct outbox *o);
/* Ask the leader, if there is something to ask. */
void reader_flush(struct reader *r, uint32_t leader, uint64_t now_ns, struct outbox *o);
void reader_on_ack(struct reader *r, const struct message *m, uint64_t now_ns, struct outbox *o);
/* Another leader: ask it at once. */
void reader_restart(struct reader *r);

#endif
