/* consensus/session.h: what the replicated state remembers of clients so that a retry applies once.
 *
 * A client is (node id, epoch). Each command carries a sequence number and the lowest one still
 * unanswered; outcomes are kept from that mark on, what is below it is never applied again (a
 * departure from PMMC §2.1, which finds duplicates by keeping every decision). Deterministic; pure;
 * no allocation: the table is one block the caller owns. Used by fs/ at apply and by the simulator.
 */
#ifndef CONSENSUS_SESSION_H
#define CONSENSUS_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/limits.h"

struct session_outcome {
    uint64_t sequence; /* 0: free */
    uint32_t size;
    uint8_t bytes[OUTCOME_SIZE_MAX];
};

struct session {
    uint64_t node;  /* 0: free */
    uint64_t epoch; /* from 1, grows with each open */
    uint64_t life;  /* of the client's node: how often it has started; grows */
    uint64_t low;   /* outcomes below are forgotten */
    bool dirty; /* changed since the caller last cleared this: not part of the replicated state */
    struct session_outcome outcomes[SESSION_OPEN_MAX]; /* at sequence % SESSION_OPEN_MAX */
};

struct session_table {
    struct session sessions[SESSIONS_MAX];
};

enum session_verdict {
    SESSION_NEW,      /* apply it, then session_record() */
    SESSION_REPEATED, /* applied before: here is the outcome */
    SESSION_SETTLED,  /* below the mark: answered long ago; never apply */
    SESSION_FENCED,   /* unknown session or another epoch; never apply */
};

/* Open @node's session for its @life. Returns the epoch; the same again for a repeated open.
 * @changed tells whether a former epoch ended (what it held is to be released). 0: the table is
 * full, or @life is older than the session's, which changes nothing. */
uint64_t session_open(struct session_table *t, uint64_t node, uint64_t life, bool *changed);

struct session *session_find(struct session_table *t, uint64_t node);

/* Judge a command, and raise the session's mark to @low (bounded by what is sane). A sequence that
 * is SESSION_OPEN_MAX or more above the mark is FENCED. @outcome is set with SESSION_REPEATED. */
enum session_verdict session_judge(struct session_table *t, uint64_t node, uint64_t epoch,
                                   uint64_t sequence, uint64_t low,
                                   const struct session_outcome **outcome);

/* Remember the outcome of a command judged SESSION_NEW. @size <= OUTCOME_SIZE_MAX. */
void session_record(struct session_table *t, uint64_t node, uint64_t sequence, const void *bytes,
                    uint32_t size);

/* One session as bytes, canonical (equal sessions give equal bytes), for the store and the digest.
 * Returns the size, at most SESSION_ENCODED_MAX. */
#define SESSION_ENCODED_MAX (48 + SESSION_OPEN_MAX * (12 + OUTCOME_SIZE_MAX))
size_t session_encode(const struct session *s, void *bytes);
/* 0 or -EBADMSG. */
int session_decode(struct session_table *t, const void *bytes, size_t size);

#endif
