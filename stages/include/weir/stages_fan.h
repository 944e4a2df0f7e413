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
    WEIR_SLOW_LEG_HOLDS,    /* the slowest leg sets the pace of all */
    WEIR_SLOW_LEG_MISSES,   /* the fastest does; lossy: a leg without credit misses the item */
    WEIR_SLOW_LEG_CANCELLED /* the fastest leg sets the pace; one that lags too far is cut off */
} weir_slow_leg;

typedef struct weir_broadcast_config {
    weir_slow_leg slow_leg;
    /* of WEIR_SLOW_LEG_CANCELLED, of which a leg may breach neither: */
    uint32_t lag_items; /* items that wait for a leg's demand, 1..65536; 0: 256 */
    uint32_t lag_ms;    /* without taking one of those that wait; 0: for ever */
} weir_broadcast_config;

/* Hands every item to every output. The body is shared, and read-only from there on (weir_map
 * clones it, weir_item_writable does; edges to other loops do). The item ends when all legs have
 * ended it, with their worst outcome. A leg that is cancelled is left out; when all are, so is the
 * input.
 *   demand    the least of the outputs; for WEIR_SLOW_LEG_MISSES the greatest; for _CANCELLED the
 *             greatest, at most `lag_items`.
 *   cutting   WEIR_SLOW_LEG_CANCELLED loses nothing on the way: until it is cut off a leg gets
 *             every item, from then on none. What waits for it ends as aborted, so its source
 *             hears; the leg's output ends as an error, WEIR_EOVERLOAD. The last leg is never cut.
 *   limits    an item that would be held more than 255 times ends as failed, WEIR_ELIMIT. An item
 *             counts its failed deliveries once, whichever leg they were on: if several legs retry
 *             (WEIR_ON_ERROR_RETRY) they share its `retries_max`. Put weir_map, or an edge to
 *             another loop, before a leg that must count for itself: it gets a copy. */
WEIR_API weir_stage_spec *weir_broadcast(weir_slow_leg slow_leg);
WEIR_API weir_stage_spec *weir_broadcast_with(const weir_broadcast_config *config);

typedef struct weir_tap_config {
    uint64_t *missed; /* counts the items that the side missed, atomically; borrowed; NULL: don't */
} weir_tap_config;

/* Shows the items of output 0, the main one, to output 1, the side: it gets those that it has
 * credit and bytes for, and misses the others. config NULL: uncounted.
 *   demand    that of the main output; the side's makes no difference.
 *   cancel    of the side leaves the main output as it is; of the main output ends both.
 *   outcome   as with a broadcast: the source hears of an item after the side has ended it too, and
 *             the worst of both counts. How many that may be is the side edge's window. */
WEIR_API weir_stage_spec *weir_tap(const weir_tap_config *config);

#define WEIR_ROUTE_NONE UINT32_MAX

typedef struct weir_route_config {
    /* Gives the index of the output for `item`, which it borrows, or WEIR_ROUTE_NONE: then the item
     * ends as filtered, and another is asked for. Required. An index beyond the outputs linked
     * fails the item with WEIR_EINVAL. */
    uint32_t (*output)(const weir_item *item, void *user);
    void *user;
    /* WEIR_SLOW_LEG_HOLDS: a slow output holds up all. WEIR_SLOW_LEG_MISSES: an item whose output
     * has no credit is rejected (weir_reject), WEIR_EOVERLOAD; the others go on */
    weir_slow_leg slow_leg;
} weir_route_config;

/* Hands each item to the output that a function says.
 *   demand    the least of the outputs, at most 64; for WEIR_SLOW_LEG_MISSES the greatest.
 *   order     kept within an output.
 *   cancel    items for an output that is cancelled end as aborted; when all are, the input is.
 *   limits    an item that its output has credit but no bytes for is held, unless it is to miss,
 *             and so are those behind it, whatever their output: at most 64. */
WEIR_API weir_stage_spec *weir_route(const weir_route_config *config);

/* Hands each item to one output, by its key: equal keys go to the same one, in order. `key` borrows
 * the item; its value becomes the item's key, unless the item is shared. NULL: the key it has. `n`
 * must be the number of outputs linked, 1..64.
 *   demand    the least of the outputs: whichever the item is for can take it.
 *   cancel    items for an output that is cancelled end as aborted; when all are, the input is. */
WEIR_API weir_stage_spec *weir_partition(uint64_t (*key)(const weir_item *item, void *user),
                                         void *user, uint32_t n);

enum { WEIR_BALANCE_AHEAD_MAX = 256 };

/* Hands each item to one output that has credit, taking turns.
 *   demand    the sum of the outputs, at most WEIR_BALANCE_AHEAD_MAX; items are held only when a
 *             leg was cancelled after they were asked for.
 *   order     kept within an output.
 *   cancel    of an output: the others get what is left; of all: the input's. */
WEIR_API weir_stage_spec *weir_balance(void);

/* Many inputs, one output, which ends when all have. An input's error cancels the others.
 *   demand    each open input is asked for an even share of what is asked of the output, at least
 *             1 so that an idle input starves none; where 64 or more are asked, for 64, so that
 *             they come by the vector. What comes when its credit has gone to another input is
 *             held: at most 64 an input, in order of arrival.
 *   order     kept within an input. */
WEIR_API weir_stage_spec *weir_merge(void);

typedef struct weir_merge_priority_config {
    /* Items that input i may send while others wait, in each round; 0: 1. All 0: strictly by
     * input, 0 first */
    uint16_t weights[WEIR_PORTS_MAX];
    /* An item that has waited so long here goes before all that have not, and after those that have
     * waited longer. 0: 1000; UINT32_MAX: never, so that inputs may starve */
    uint32_t ageing_ms;
    uint32_t ahead; /* items held of each input, 1..64; 0: 64 */
} weir_merge_priority_config;

/* Many inputs, one output, the more important first; ends and errors as with weir_merge.
 *   demand    `ahead` items of each input, those held counted, before any demand below: a choice
 *             needs something to choose from. An input that others keep from its turn moves at
 *             least `ahead` items each `ageing_ms`.
 *   order     kept within an input. What has been emitted is past choosing: give the edge below a
 *             small window where latency matters. */
WEIR_API weir_stage_spec *weir_merge_priority(const weir_merge_priority_config *config);

/* `n` items (1..64) of each input in turn. It waits for the input whose turn it is; one that is
 * over loses its turn. Ends and errors as with weir_merge.
 *   demand    `n` of each input, at most what is asked of the output; those held counted. */
WEIR_API weir_stage_spec *weir_interleave(uint32_t n);

/* Waits for one item of each input and joins them in the order of inputs (weir_items_join). When an
 * input has ended, or failed, and its items are used up, the output ends the same way, and the
 * others are cancelled, also those that would have ended by themselves at the next item; what is
 * held of them ends as aborted.
 *   demand    of each input what is asked of the output, at most 64; those held counted.
 *   limits    when there is no memory to join, the items end as failed, WEIR_ENOMEM; without a
 *             source that hears it, the pipeline stops. */
WEIR_API weir_stage_spec *weir_zip(void);

/* The inputs one after the other: nothing is asked of one before those before it have ended. An
 * error counts when its turn comes, ends the output and cancels the others.
 *   demand    of the input whose turn it is; at most 64. */
WEIR_API weir_stage_spec *weir_concat(void);

#ifdef __cplusplus
}
#endif
#endif
