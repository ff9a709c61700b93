/* base/prng.h: SplitMix64 (Steele, Lea, Flood 2014), for jitter and for tests: small state, any
 * seed. Not for secrets. */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t state;
};

static inline uint64_t prng_next(struct prng *p)
{
    uint64_t z = (p->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform in [0, @bound) but for a bias below 2^-32 for small bounds; 0 when @bound is 0. */
static inline uint64_t prng_below(struct prng *p, uint64_t bound)
{
    return bound ? prng_next(p) % bound : 0;
}

#endif
