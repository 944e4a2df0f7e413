/* Stages that work item by item: change, choose, look, make more of one, end.
 *
 * What is common to all stages of the library stands in <weir/stages.h>. */
#ifndef WEIR_STAGES_ITEMS_H
#define WEIR_STAGES_ITEMS_H

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- One to one; these fuse with their like ---- */

/* Changes items in place. `fn` borrows the item and may write its body, cost and key; a body that
 * others share is cloned first (a type that cannot be cloned: the item fails with
 * WEIR_EUNSUPPORTED). A status that is not WEIR_OK fails the item with it. */
WEIR_API weir_stage_spec *weir_map(weir_status (*fn)(weir_item *item, void *user), void *user);
/* The same for 1..64 items at a time; a status that is not WEIR_OK fails all of them. Bodies that
 * are shared are cloned before. */
WEIR_API weir_stage_spec *
weir_map_all(weir_status (*fn)(weir_item *const *items, size_t n, void *user), void *user);

/* Keeps the items for which `keep` is true, ends the others as filtered and asks for as many again.
 * `keep` borrows the item. */
WEIR_API weir_stage_spec *weir_filter(bool (*keep)(const weir_item *item, void *user), void *user);
/* The same for 1..64 items at a time: writes ret_keep[0..n), which comes all false. */
WEIR_API weir_stage_spec *weir_filter_all(void (*keep)(const weir_item *const *items, size_t n,
                                                       bool *ret_keep, void *user),
                                          void *user);

/* Shows each item to `look`, which borrows it, and passes it on as it is. */
WEIR_API weir_stage_spec *weir_observe(void (*look)(const weir_item *item, void *user), void *user);
WEIR_API weir_stage_spec *
weir_observe_all(void (*look)(const weir_item *const *items, size_t n, void *user), void *user);

/* ---- One to many, few ---- */

enum { WEIR_FLAT_MAP_AHEAD = 16, WEIR_FLAT_MAP_MADE_MAX = 16384 };

/* Makes any number of items of each. `next` is called with index 0, 1, 2 … while there is demand
 * for what it makes, and once more to see if that was the last, until it leaves *ret_made NULL. It
 * borrows `item`, and gives a new item made on `loop`, which the stage derives from `item`: that
 * one ends after all that were made of it, or as filtered if none was. A status that is not WEIR_OK
 * fails `item`; what was made of it before stays out.
 *   demand    an item of input for each asked of the output, at most WEIR_FLAT_MAP_AHEAD of them.
 *   limits    more than WEIR_FLAT_MAP_MADE_MAX of one item fail it with WEIR_ELIMIT. */
WEIR_API weir_stage_spec *weir_flat_map(weir_status (*next)(weir_loop *loop, const weir_item *item,
                                                            uint32_t index, void *user,
                                                            weir_item **ret_made),
                                        void *user);

/* Passes `n` items (at least 1), then cancels the input and ends the output. Never asks for more
 * than are left to pass, so none is lost. */
WEIR_API weir_stage_spec *weir_take(uint64_t n);

/* ---- Sinks ---- */

/* Runs `fn`, which borrows the item; then the item is acked, or fails with the status.
 *   demand    unbounded: the work is done within the call. */
WEIR_API weir_stage_spec *weir_for_each(weir_status (*fn)(weir_item *item, void *user), void *user);
/* The same for 1..64 items at a time; a status that is not WEIR_OK fails all of them. */
WEIR_API weir_stage_spec *
weir_for_each_all(weir_status (*fn)(weir_item *const *items, size_t n, void *user), void *user);

#ifdef __cplusplus
}
#endif
#endif
