/* An inlet: many producers, on any thread, into one running pipeline, with admission. */
#ifndef WEIR_INLET_H
#define WEIR_INLET_H

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_inlet weir_inlet;

typedef struct weir_inlet_config {
    uint32_t items_max; /* accepted and not yet emitted, up to 1048576; 0: 1024 */
    uint64_t bytes_max; /* the sum of their costs; one that costs more is accepted when nothing is
                           queued. 0: 2 MiB for each of items_max */
} weir_inlet_config;

/* Gives an inlet with one hold, the caller's; NULL for want of memory. */
WEIR_API weir_inlet *weir_inlet_new(const weir_env *env, const weir_inlet_config *config);
/* Releases the caller's hold. Pipelines keep theirs. NULL is fine. */
WEIR_API void weir_inlet_free(weir_inlet *inlet);

/* The source stage that emits what is offered. Each replica takes what it has credit for. A drain
 * ends the inlet, and so does the last of its sources that is swapped out (weir_pipeline_swap). */
WEIR_API weir_stage_spec *weir_from_inlet(weir_inlet *inlet);

/* Offers an item. WEIR_OK: taken. WEIR_EOVERLOAD (full, by items or by bytes) and WEIR_ECLOSED
 * (ended, or its pipeline is): not taken, the item stays the caller's. Any thread; never allocates.
 * The item must be held once; it is a foreign item (weir_item_new_foreign) or its home loop
 * outlives the pipeline. */
WEIR_API weir_status weir_inlet_offer(weir_inlet *inlet, weir_item *item) WEIR_MUST_USE;
/* No more: what was accepted still flows, then the source ends. Any thread; idempotent. */
WEIR_API void weir_inlet_end(weir_inlet *inlet);
/* Accepted and not yet emitted. Any thread. */
WEIR_API uint32_t weir_inlet_queued(const weir_inlet *inlet);

/* Admission: every offer is one of the first four. */
typedef struct weir_inlet_stats {
    uint64_t accepted;
    uint64_t rejected_items;  /* items_max were queued */
    uint64_t rejected_bytes;  /* bytes_max would have been exceeded */
    uint64_t rejected_closed; /* ended, or its pipeline was */
    uint64_t bytes;           /* queued now: the sum of costs */
    uint32_t queued;          /* now */
} weir_inlet_stats;
/* Any thread; the figures of one instant. */
WEIR_API void weir_inlet_stats_get(const weir_inlet *inlet, weir_inlet_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
