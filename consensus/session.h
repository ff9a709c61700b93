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
    uint64_t node;   /* 0: free */
    uint64_t epoch;  /* from 1, grows with each open */
    uint64_t life;   /* of the client's node: how often it has started; grows */
    uint64_t low;    /* outcomes below are forgotten */
    bool is_expired; /* ended from outside; new commands are fenced until the next open */
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
    SESSION_FENCED,   /* unknown session, another epoch, or expired; never apply */
};

/* Open @node's session for its @life. Returns the epoch; the same again for a repeated open. One
 * that has expired is opened anew, in the next epoch. @changed tells whether a former epoch ended
 * here (what it held is to be released). 0: the table is full, or @life is older than the
 * session's, which changes nothing. */
uint64_t session_open(struct session_table *t, uint64_t node, uint64_t life, bool *changed);
/* As session_open(), but opens an expired session of the same life anew only if @ended, the epoch
 * its client knows to have ended, is the one that has expired. A first open says 0. So an open that
 * comes twice, the second time after the session expired, begins no epoch that the client does not
 * know of: with that one's beginning the outcomes would go which a client that lags, and installs a
 * snapshot, has not seen. */
uint64_t session_open_after(struct session_table *t, uint64_t node, uint64_t life, uint64_t ended,
                            bool *changed);

/* End @node's session from outside, for a client that is silent. False, and nothing changes, if it
 * is of another epoch, has applied a sequence above @sequence (so the client was heard after all),
 * or has expired before. Otherwise what it held is to be released; from then on what was never
 * applied of it is FENCED. Its outcomes are kept until the next open. */
bool session_expire(struct session_table *t, uint64_t node, uint64_t epoch, uint64_t sequence);
/* Highest sequence applied; 0: none. */
uint64_t session_highest(const struct session *s);

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
