/* Stages that hold items back to put them together, apart, or in another pace.
 *
 * What is common to all stages of the library stands in <weir/stages.h>. */
#ifndef WEIR_STAGES_GROUP_H
#define WEIR_STAGES_GROUP_H

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_batch_config {
    uint32_t count;   /* members at most, 1..65535; 0: 64 */
    uint32_t bytes;   /* sum of costs at most, but for one item that is larger alone; 0: 1 MiB */
    uint32_t wait_us; /* no item waits longer for its batch to fill, demand given; 0: for ever */
} weir_batch_config;

/* Joins items to batches (weir_items_join). A batch goes when it is full, when its oldest member
 * has waited `wait_us`, and when the input is over; always only with demand. Without, it goes on
 * filling, and stops asking. config NULL: all defaults.
 *   demand    `count` items for each batch asked of the output, with at most the larger of `count`
 *             and 64 items asked for or held.
 *   change    of all (weir_pipeline_change); what is held is put together anew, and goes by the
 *             new rules. Memory that a larger count took is kept. */
WEIR_API weir_stage_spec *weir_batch(const weir_batch_config *config);

typedef enum weir_overflow {
    WEIR_OVERFLOW_HOLD,        /* withhold demand: nothing is lost */
    WEIR_OVERFLOW_REJECT,      /* end the new item as rejected, WEIR_EOVERLOAD: its source hears */
    WEIR_OVERFLOW_DROP_OLDEST, /* lossy: end the oldest held as filtered */
    WEIR_OVERFLOW_DROP_NEWEST  /* lossy: end the new item as filtered */
} weir_overflow;

typedef struct weir_buffer_config {
    uint32_t items_max; /* held, 1..1048576; 0: 256 */
    uint64_t bytes_max; /* sum of costs held; one item is always held; 0: 16 MiB */
    weir_overflow overflow;
} weir_buffer_config;

/* Holds items between a sender and a receiver of different pace. config NULL: all defaults.
 *   demand    holding: as much as there is room for, ahead of any demand below (with bytes_max
 *             reached: none; what was asked for before still comes). Else: unbounded.
 *   change    of items_max and bytes_max (weir_pipeline_change). With more held than the new limits
 *             allow: holding, it asks for none until there is room; else the next item overflows.
 * The dropping kinds are lossy: refused on acked paths unless the node is best-effort. */
WEIR_API weir_stage_spec *weir_buffer(const weir_buffer_config *config);

#ifdef __cplusplus
}
#endif
#endif
