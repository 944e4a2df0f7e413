/* An inlet: many producers, on any thread, into one running pipeline, with admission. */
#ifndef WEIR_INLET_H
#define WEIR_INLET_H

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_inlet weir_inlet;

typedef struct weir_inlet_config {
    uint32_t items_max; /* accepted and not yet emitted; 0: 1024 */
} weir_inlet_config;

/* Gives an inlet with one hold, the caller's; NULL for want of memory. */
WEIR_API weir_inlet *weir_inlet_new(const weir_env *env, const weir_inlet_config *config);
/* Releases the caller's hold. Pipelines keep theirs. NULL is fine. */
WEIR_API void weir_inlet_free(weir_inlet *inlet);

/* The source stage that emits what is offered. Each replica takes what it has credit for. */
WEIR_API weir_stage_spec *weir_from_inlet(weir_inlet *inlet);

/* Offers an item. WEIR_OK: taken. WEIR_EOVERLOAD (full) and WEIR_ECLOSED (ended, or its pipeline
 * is): not taken, the item stays the caller's. Any thread; never allocates. The item must be held
 * once; it is a foreign item (weir_item_new_foreign) or its home loop outlives the pipeline. */
WEIR_API weir_status weir_inlet_offer(weir_inlet *inlet, weir_item *item) WEIR_MUST_USE;
/* No more: what was accepted still flows, then the source ends. Any thread; idempotent. */
WEIR_API void weir_inlet_end(weir_inlet *inlet);
/* Accepted and not yet emitted. Any thread. */
WEIR_API uint32_t weir_inlet_queued(const weir_inlet *inlet);

#ifdef __cplusplus
}
#endif
#endif
