/* tests/support/mutate.h: inputs for the fuzz programs, and their main().
 *
 * A fuzz program defines LLVMFuzzerTestOneInput and calls fuzz_main(); built with PAXFS_LIBFUZZER
 * it leaves main() to libFuzzer. */
#ifndef TESTS_SUPPORT_MUTATE_H
#define TESTS_SUPPORT_MUTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/prng.h"
#include "rpc/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Change @b a little: bits, bytes, runs inserted, removed or repeated, the end cut off. */
void mutate(struct buffer *b, struct prng *r);

/* Mutations of @seed_input(i), i below @inputs, given to LLVMFuzzerTestOneInput. Arguments: --seed
 * N,
 * --count N. Prints the seed first, and with a crash the line that replays it. */
int fuzz_main(int argc, char **argv, uint32_t inputs, uint64_t count,
              void (*seed_input)(uint32_t index, struct buffer *out));

#endif
