/* consensus/membership.h: the replicated list of members: who may vote from which slot on, where
 * each is reached, who was invited, who has retired.
 *
 * Changed only by commands of the log, the same on every replica; the core learns the voters from
 * it (membership_configuration). A joiner comes as a learner, by invitation; it is promoted, or
 * replaces a voter, by a command of its own. A change of voters in slot s governs from s + WINDOW
 * on; until then another one is refused. Node ids are never used again: who has left stays
 * `retired`. Pure and deterministic; no allocation. Used by fs/ at apply and by the simulator. */
#ifndef CONSENSUS_MEMBERSHIP_H
#define CONSENSUS_MEMBERSHIP_H

#include <stddef.h>

#include "consensus/configuration.h"

enum {
    VOTERS_MAX = 7,
    INVITATIONS_MAX = 16,
    RETIRED_MAX = 64, /* the last ones; of older ones nobody knows that they were members */
    SECRET_SIZE = 16,
};

enum member_role {
    MEMBER_FREE,
    MEMBER_VOTER,
    MEMBER_LEARNER,
    MEMBER_LEAVING, /* votes on slots below `from`, then has left */
};

struct member {
    uint64_t node; /* 0: the seat is free */
    enum member_role role; /* from slot `from` on */
    bool was_voter;        /* on slots below `from` */
    bool wants_vote;       /* a learner to be promoted once it has caught up ... */
    uint64_t replaces;     /* ... in the place of this voter; 0: besides the others */
    char name[MEMBER_NAME_MAX + 1];
    char address[ADDRESS_MAX + 1];
};

struct invitation {
    uint8_t secret[SECRET_SIZE];
    uint64_t expires_ns; /* by the time of slots; 0: free */
    char name[MEMBER_NAME_MAX + 1];
    bool wants_vote;
    uint64_t replaces;
    uint64_t used_by; /* node id; 0: not yet. The same node may come again */
};

struct membership {
    uint64_t version; /* grows with each change */
    uint64_t from;    /* see struct configuration */
    struct member members[MEMBERS_MAX]; /* by seat */
    struct invitation invitations[INVITATIONS_MAX];
    uint64_t retired[RETIRED_MAX]; /* newest last; 0: none */
};

enum membership_verdict {
    MEMBERSHIP_DONE,
    MEMBERSHIP_ALREADY, /* it is so; nothing changed */
    MEMBERSHIP_BUSY,    /* the change before does not govern yet: try again in a moment */
    MEMBERSHIP_UNKNOWN, /* no such member */
    MEMBERSHIP_NAME_TAKEN,
    MEMBERSHIP_ADDRESS_TAKEN,
    MEMBERSHIP_FULL,        /* no seat is free */
    MEMBERSHIP_VOTERS_FULL, /* VOTERS_MAX: stay a learner */
    MEMBERSHIP_LAST_VOTER,
    MEMBERSHIP_RETIRED, /* that node id has left for ever */
    MEMBERSHIP_NOT_LEARNER,
    MEMBERSHIP_NOT_VOTER,
    MEMBERSHIP_NOT_INVITED,
    MEMBERSHIP_EXPIRED,
    MEMBERSHIP_USED,       /* by another node */
    MEMBERSHIP_TOO_MANY,   /* invitations */
    MEMBERSHIP_VERDICT_COUNT
};

/* Why, as a person reads it: a part of a sentence. */
const char *membership_reason(enum membership_verdict verdict);

/* A cluster begins: @members, sorted by name, are voters in the seats 0, 1, ... */
void membership_begin(struct membership *m, const struct member *members, uint32_t count);
bool membership_is_empty(const struct membership *m); /* never begun */

/* Before the command of each slot: what changes at @slot of itself (who was leaving has left).
 * True when something did. */
bool membership_advance(struct membership *m, uint64_t slot);

/* Ask @invitation in (used_by 0); one with the same secret is ALREADY. Expired ones make room. */
enum membership_verdict membership_invite(struct membership *m, const struct invitation *invitation,
                                          uint64_t time_ns);
/* @node comes with @secret: becomes a learner. The same node again: ALREADY; its address is set.
 * @name is the invitation's. Whoever is to replace a member may have that one's address. */
enum membership_verdict membership_join(struct membership *m, uint64_t time_ns,
                                        const uint8_t secret[SECRET_SIZE], uint64_t node,
                                        const char *name, const char *address);
/* Changes of voters, decided in @slot. A removed learner leaves at once. */
enum membership_verdict membership_promote(struct membership *m, uint64_t slot, uint64_t node);
enum membership_verdict membership_replace(struct membership *m, uint64_t slot, uint64_t voter,
                                           uint64_t learner);
enum membership_verdict membership_remove(struct membership *m, uint64_t slot, uint64_t node);
enum membership_verdict membership_set_address(struct membership *m, uint64_t node,
                                               const char *address);

bool membership_has_retired(const struct membership *m, uint64_t node);
/* Seat; MEMBERS_MAX: none. */
uint32_t membership_seat(const struct membership *m, uint64_t node);
uint32_t membership_seat_by_name(const struct membership *m, const char *name);
struct configuration membership_configuration(const struct membership *m);

/* Canonical bytes (equal memberships give equal bytes), with a format version. Returns the size. */
#define MEMBERSHIP_ENCODED_MAX 8192
size_t membership_encode(const struct membership *m, void *bytes);
/* 0 or -EBADMSG. */
int membership_decode(const void *bytes, size_t size, struct membership *m);

#endif
