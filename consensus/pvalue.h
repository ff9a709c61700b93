/* consensus/pvalue.h: (ballot, slot, value) (PMMC §2.2). The value is the command together with the
 * time its first proposer gave it: both are agreed. */
#ifndef CONSENSUS_PVALUE_H
#define CONSENSUS_PVALUE_H

#include "consensus/ballot.h"
#include "consensus/command.h"

struct pvalue {
    struct ballot ballot;
    uint64_t slot;    /* from 1 */
    uint64_t time_ns; /* wall clock of the leader that first proposed it; grows with slot */
    struct command *command;
};

#endif
