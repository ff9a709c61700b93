/* node/token.h: what `paxfs member add` prints and `paxfs join` takes: one word with all a new host
 * needs to know.
 *
 *   paxfs-join-1:<cluster id, 16 hex>:<secret, 32 hex>:<name>:<address>,<address>,...
 *
 * The secret is the invitation's (consensus/membership.h): whoever has it can join once. Pure. */
#ifndef NODE_TOKEN_H
#define NODE_TOKEN_H

#include <stddef.h>

#include "consensus/membership.h"

struct token {
    uint64_t cluster_id;
    uint8_t secret[SECRET_SIZE];
    char name[MEMBER_NAME_MAX + 1]; /* of the host that is to join */
    uint32_t address_count;
    char addresses[MEMBERS_MAX][ADDRESS_MAX + 1]; /* of members, to knock at */
};

#define TOKEN_SIZE_MAX (16 + 17 + 33 + MEMBER_NAME_MAX + 1 + MEMBERS_MAX * (ADDRESS_MAX + 1) + 1)

/* @out gets the word, NUL-terminated. */
void token_format(const struct token *t, char out[TOKEN_SIZE_MAX]);
/* 0 or -EINVAL. Addresses are not looked at. */
int token_parse(const char *text, struct token *t);

#endif
