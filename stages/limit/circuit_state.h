/* The states of a circuit, and its ways from one to another; all but the reading under its lock. */
#ifndef WI_CIRCUIT_STATE_H
#define WI_CIRCUIT_STATE_H

#include "circuit.h"

/* Of a circuit's word. */
static inline uint64_t wi_era_of(uint64_t word)
{
    return word >> 2;
}
static inline weir_breaker_state wi_state_of(uint64_t word)
{
    return (weir_breaker_state)(word & 3);
}

/* Opens, for longer each time in a row. */
void wi_circuit_trip(wi_circuit *circuit, weir_stage *stage, const char *why);
/* Closes again. */
void wi_circuit_restore(wi_circuit *circuit, weir_stage *stage);
/* Moves on if its time has come: half open, or, if probes do not come back, open again. */
void wi_circuit_look_at_time(wi_circuit *circuit, weir_stage *stage);

#endif
