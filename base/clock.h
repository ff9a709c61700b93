/* base/clock.h: the two clocks. Any thread.
 *
 * clock_now_ns: CLOCK_BOOTTIME, so that a suspended host finds its leases over when it wakes.
 * clock_wall_ns: CLOCK_REALTIME, for file timestamps alone; never for leases or expiry. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_now_ns(void);
uint64_t clock_wall_ns(void);

#endif
