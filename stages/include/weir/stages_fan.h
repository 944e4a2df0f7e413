/* Stages of several inputs or outputs: fan-out and fan-in.
 *
 * What is common to all stages of the library stands in <weir/stages.h>. */
#ifndef WEIR_STAGES_FAN_H
#define WEIR_STAGES_FAN_H

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Fan-out and fan-in; outputs and inputs are as many as are linked ---- */

typedef enum weir_slow_leg {
    WEIR_SLOW_LEG_HOLDS, /* the slowest leg sets the pace of all */
    WEIR_SLOW_LEG_MISSES /* lossy: a leg without credit misses the item, the fastest sets the pace
                          */
} weir_slow_leg;

/* Hands every item to every output. The body is shared, and read-only from there on (weir_map
 * clones it, weir_item_writable does; edges to other loops do). The item ends when all legs have
 * ended it, with their worst outcome. A leg that is cancelled is left out; when all are, so is the
 * input.
 *   demand    the least of the outputs; for WEIR_SLOW_LEG_MISSES the greatest.
 *   limits    an item that would be held more than 255 times ends as failed, WEIR_ELIMIT. */
WEIR_API weir_stage_spec *weir_broadcast(weir_slow_leg slow_leg);

/* Hands each item to one output, by its key: equal keys go to the same one, in order. `key` borrows
 * the item; its value becomes the item's key, unless the item is shared. NULL: the key it has. `n`
 * must be the number of outputs linked, 1..64.
 *   demand    the least of the outputs: whichever the item is for can take it.
 *   cancel    items for an output that is cancelled end as aborted; when all are, the input is. */
WEIR_API weir_stage_spec *weir_partition(uint64_t (*key)(const weir_item *item, void *user),
                                         uint32_t n);
/* The same with a `user` for `key`. */
WEIR_API weir_stage_spec *weir_partition_by(uint64_t (*key)(const weir_item *item, void *user),
                                            void *user, uint32_t n);

enum { WEIR_BALANCE_AHEAD_MAX = 256 };

/* Hands each item to one output that has credit, taking turns.
 *   demand    the sum of the outputs, at most WEIR_BALANCE_AHEAD_MAX; items are held only when a
 *             leg was cancelled after they were asked for. */
WEIR_API weir_stage_spec *weir_balance(void);

/* Many inputs, one output, which ends when all have. An input's error cancels the others.
 *   demand    each open input is asked for an even share of what is asked of the output, at least
 *             1 so that an idle input starves none, at most 64. What comes when its credit has gone
 *             to another input is held: at most 64 an input, in order of arrival.
 *   order     kept within an input. */
WEIR_API weir_stage_spec *weir_merge(void);

#ifdef __cplusplus
}
#endif
#endif
