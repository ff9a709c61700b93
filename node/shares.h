/* node/shares.h: how much of a host's disk is for what. Pure; any thread. */
#ifndef NODE_SHARES_H
#define NODE_SHARES_H

#include <stdint.h>

struct shares {
    uint64_t segment;    /* of the log: the size of its files */
    uint64_t log;        /* the log is dropped beyond that, whoever lags */
    uint64_t log_whole;  /* what its files may take: with what no checkpoint covers, and the next */
    uint64_t checkpoint; /* of commands, or growth of the store's file, until one is due */
    uint64_t slack;      /* of the store's file: freed pages that a checkpoint keeps from reuse */
    uint64_t reserve;    /* for others, and for what a full filesystem still does */
    uint64_t floor;      /* with less than that free the host takes no part; see node/capacity.c */
};

/* Of a disk of @total bytes, however small. */
struct shares shares_of(uint64_t total);
/* What files may take of a disk of @total bytes, where @available is free or taken by the own log
 * and store. */
uint64_t shares_for_files(const struct shares *s, uint64_t available);

#endif
