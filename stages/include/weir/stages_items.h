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

/* A map that may drop: as weir_map; an item for which it sets *ret_keep, which comes true, to false
 * ends as filtered, and another is asked for. */
WEIR_API weir_stage_spec *
weir_filter_map(weir_status (*fn)(weir_item *item, void *user, bool *ret_keep), void *user);

/* Keeps the items for which `keep` is true, ends the others as filtered and asks for as many again.
 * `keep` borrows the item. */
WEIR_API weir_stage_spec *weir_filter(bool (*keep)(const weir_item *item, void *user), void *user);
/* The same for 1..64 items at a time: writes ret_keep[0..n), which comes all false. */
WEIR_API weir_stage_spec *weir_filter_all(void (*keep)(const weir_item *const *items, size_t n,
                                                       bool *ret_keep, void *user),
                                          void *user);

/* Shows each item to `look`, which borrows it, and passes it on as it is; _all: 1..64 at a time. */
WEIR_API weir_stage_spec *weir_observe(void (*look)(const weir_item *item, void *user), void *user);
WEIR_API weir_stage_spec *
weir_observe_all(void (*look)(const weir_item *const *items, size_t n, void *user), void *user);

/* Drops the first `n` items as filtered, asks for as many again, and passes all that follow. */
WEIR_API weir_stage_spec *weir_skip(uint64_t n);
/* Drops items as filtered up to the first for which `drop`, which borrows the item, is false;
 * passes that one and all that follow, without looking at them. */
WEIR_API weir_stage_spec *weir_skip_while(bool (*drop)(const weir_item *item, void *user),
                                          void *user);

typedef struct weir_scan_config {
    /* Borrows the item and may write both: what is to come out is what it writes into the item,
     * whose body is cloned before if others share it. A status that is not WEIR_OK fails the item;
     * `running` stays as `fn` left it, so change it last. A retry runs `fn` once more. */
    weir_status (*fn)(void *running, weir_item *item, void *user);
    void *user;
    uint32_t state_bytes; /* of `running`, 1..1048576; required. One for each replica */
    const void *initial;  /* copied when the stage opens, borrowed until then; NULL: zeroes */
} weir_scan_config;

/* Shows each item to a running state: sums, rates, sequence numbers. Each item comes out once; the
 * initial state by itself does not. */
WEIR_API weir_stage_spec *weir_scan(const weir_scan_config *config);

typedef struct weir_dedup_config {
    /* Borrows the item. NULL: the key it has. 0 is no key: such an item is never a duplicate. */
    uint64_t (*key)(const weir_item *item, void *user);
    void *user;
    uint32_t keys_max; /* remembered by each replica, 1..16777216; 0: 4096. 48 bytes each, at most;
                          one more than that forgets the key that was not seen for longest */
    uint32_t ttl_ms;   /* a key is forgotten so long after its item passed; 0: never. Duplicates do
                          not prolong it */
    bool forgets_failed; /* forget the key of an item that ended as rejected, aborted or failed, so
                            that it passes when its source sends it again */
} weir_dedup_config;

/* Passes the first item of each key, ends those that follow as filtered, and asks for as many
 * again. A key counts as seen from the time its item passes, also while it is under way. Whether it
 * still does after that item failed further down is up to `forgets_failed`: without, the item is
 * dropped as a duplicate when its source sends it again, and the source, told `filtered`, takes it
 * for settled. So set it behind sources that deliver at least once; it costs a ticket
 * (weir_tickets) an item, and the stage stays open until all that passed have ended. Retries by the
 * policy of a stage below never come by here. Equal 64-bit keys are equal: hash longer ones well.
 * config NULL: all defaults.
 *   change    of ttl_ms. */
WEIR_API weir_stage_spec *weir_dedup(const weir_dedup_config *config);

/* ---- One to many, few ---- */

enum { WEIR_FLAT_MAP_AHEAD = 64, WEIR_FLAT_MAP_MADE_MAX = 16384 };

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

typedef struct weir_flat_map_config {
    /* One of the two; both borrow `item`. `next` as above. `next_all` makes up to `n` at once, from
     * `index` on: writes ret_made[0..*ret_n), with *ret_n zero at first; that it leaves it so says
     * that there are no more. What it made is taken from it whatever its status. */
    weir_status (*next)(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                        weir_item **ret_made);
    weir_status (*next_all)(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                            weir_item **ret_made, size_t n, size_t *ret_n);
    void *user;
    uint32_t ahead;    /* items of input asked for or held, 1..1024; 0: WEIR_FLAT_MAP_AHEAD */
    uint32_t prefetch; /* items made ahead of demand, of the one in hand, 1..64; 0: 1 */
    uint32_t made_max; /* of one item; 0: WEIR_FLAT_MAP_MADE_MAX. More than some 30,000 that live at
                          once fail it with WEIR_ELIMIT anyhow */
} weir_flat_map_config;

/* The same with settings.
 *   change    of all: the item in hand goes on by the new settings. */
WEIR_API weir_stage_spec *weir_flat_map_with(const weir_flat_map_config *config);

/* Passes `n` items (at least 1), then cancels the input and ends the output. Never asks for more
 * than are left to pass, so none is lost. */
WEIR_API weir_stage_spec *weir_take(uint64_t n);

/* Passes items up to the first for which `keep`, which borrows the item, is false; then cancels the
 * input and ends the output. That first one ends as filtered; what was asked for behind it ends as
 * aborted, for nobody has looked at it. */
WEIR_API weir_stage_spec *weir_take_while(bool (*keep)(const weir_item *item, void *user),
                                          void *user);
/* The same, but passes the first for which `keep` is false too, as the last. */
WEIR_API weir_stage_spec *weir_take_while_inclusive(bool (*keep)(const weir_item *item, void *user),
                                                    void *user);

enum { WEIR_EXPAND_MADE_MAX = 1024 };

typedef struct weir_expand_config {
    /* Makes another item of `item`, which it borrows, on `loop`; index 0, 1, 2 … since it came.
     * That it leaves *ret_made NULL says that there are no more of this one. A status that is not
     * WEIR_OK fails `item`, which has passed: a retry passes it again. NULL: copies of it (a type
     * that cannot be cloned: the item fails with WEIR_EUNSUPPORTED). */
    weir_status (*next)(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                        weir_item **ret_made);
    void *user;
    uint32_t made_max; /* of one item; 0: WEIR_EXPAND_MADE_MAX; UINT32_MAX: no limit, and then a
                          receiver that always asks keeps the loop busy */
} weir_expand_config;

/* Passes every item, and makes more of the last one while more is asked for than comes: nothing is
 * lost of a quick sender, and a slow one is filled in for. What is made is derived from the item,
 * which is held, its body read-only, until a newer one passes or the input is over; then what was
 * made and found no room is given up. The input's end is passed on at once. config NULL: all
 * defaults.
 *   demand    as asked of the output, at most 64; one item ahead when nothing is asked. */
WEIR_API weir_stage_spec *weir_expand(const weir_expand_config *config);

/* ---- Sources ---- */

/* Makes items as they are asked for. `next` is called with index 0, 1, 2 … and gives a new item
 * made on `loop`; that it leaves *ret_made NULL ends the output, a status that is not WEIR_OK ends
 * it as that error; both after what was made. Each replica counts by itself. A drain ends it.
 *   limits    up to 64 items that were asked for wait here while the byte window below is full. */
WEIR_API weir_stage_spec *weir_generate(weir_status (*next)(weir_loop *loop, uint64_t index,
                                                            void *user, weir_item **ret_made),
                                        void *user);
/* Makes `n` items (0: ends unasked, UINT64_MAX: for ever) whose bodies are the uint64_t `first`,
 * first + 1, … Without memory it ends as WEIR_ENOMEM. Each replica makes them all. A drain ends it.
 *   limits    as generate. */
WEIR_API weir_stage_spec *weir_range(uint64_t first, uint64_t n);

typedef struct weir_tick_config {
    uint64_t interval_us; /* at least 1, at most a year; required */
    uint64_t delay_us;    /* before the first tick, at most a year; 0: at once */
    uint64_t limit;       /* ticks emitted, then the output ends; 0: no limit */
    bool coalesce; /* make up for the ticks missed by one, as soon as it is asked for; default: wait
                      for the next */
} weir_tick_config;

/* The body of a tick. */
typedef struct weir_tick_body {
    uint64_t number; /* of those emitted by this replica: 0, 1, 2 … */
    uint64_t missed; /* since the one before: not asked for, or without memory */
} weir_tick_body;

/* Emits an item each interval. A tick that is not asked for is missed, never queued. Ticks keep to
 * the grid of the first: a late one does not put off the next, and a loop that stalled makes up for
 * none. A drain ends it.
 *   change    of interval_us: the next tick comes so long after the last. */
WEIR_API weir_stage_spec *weir_tick(const weir_tick_config *config);

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
