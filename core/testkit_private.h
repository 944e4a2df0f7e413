/* Between the testkit and its probes: who owns their memory. */
#ifndef WI_TESTKIT_PRIVATE_H
#define WI_TESTKIT_PRIVATE_H

#include <weir/testkit.h>

/* An array of `n` probes, one per replica, in front of the list `next`. NULL for want of memory. */
weir_probe *wi_probes_new(uint32_t n, weir_probe *next);
weir_probe *wi_probes_next(const weir_probe *probes);
void wi_probes_free(weir_probe *probes, uint32_t n);

#endif
