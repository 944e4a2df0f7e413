/* The sliding window of a circuit: calls, failures and slow ones of the last calls, or time. */
#ifndef WI_CIRCUIT_WINDOW_H
#define WI_CIRCUIT_WINDOW_H

#include "circuit.h"

typedef struct wi_circuit_sums {
    uint64_t calls, failed, slow;
} wi_circuit_sums;

/* Adds `n` calls, all of which failed, or were slow, or did not and were not. */
void wi_circuit_add(wi_circuit *circuit, uint32_t replica, uint64_t era, uint64_t now_ns,
                    uint64_t n, bool failed, bool slow);
/* Of the window that ends now; now_ns 0: of what was added last. */
wi_circuit_sums wi_circuit_sum(wi_circuit *circuit, uint64_t era, uint64_t now_ns);

#endif
