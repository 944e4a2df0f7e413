/* The stage library: ready-made stages, each built on the public headers alone.
 *
 * Common to all, unless an entry says otherwise:
 *   demand    asked of the input is never more than what is asked of the output. Entries that ask
 *             ahead say by how much; what came ahead is held inside, within that limit.
 *   order     is that of arrival.
 *   end       and error of the input follow what is held: it is emitted as demand comes, then the
 *             output ends the same way.
 *   cancel    of the output ends what is held as aborted and cancels the input. So does an abort.
 *   failing   an item is weir_fail: what becomes of it is the node's error policy.
 *   memory    is taken when the stage opens; none per item, but for the items that a stage makes.
 *   user      pointers are borrowed, shared by all replicas, and not synchronised by weir.
 *
 * Each factory gives a spec for weir_from, weir_via, weir_into or weir_add, who take it, or NULL
 * for want of memory (which they latch as WEIR_ENOMEM). Configs are copied; their faults are found
 * by weir_pipeline_check. Factories: any thread. User functions: the stage's loop thread; they may
 * not block, emit or request. */
#ifndef WEIR_STAGES_H
#define WEIR_STAGES_H

#include <weir/async.h>
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

/* ---- One to many, many to one, few ---- */

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

typedef struct weir_batch_config {
    uint32_t count;   /* members at most, 1..65535; 0: 64 */
    uint32_t bytes;   /* sum of costs at most, but for one item that is larger alone; 0: 1 MiB */
    uint32_t wait_us; /* no item waits longer for its batch to fill, demand given; 0: for ever */
} weir_batch_config;

/* Joins items to batches (weir_items_join). A batch goes when it is full, when its oldest member
 * has waited `wait_us`, and when the input is over; always only with demand. Without, it goes on
 * filling, and stops asking. config NULL: all defaults.
 *   demand    `count` items for each batch asked of the output, with at most the larger of `count`
 *             and 64 items asked for or held. */
WEIR_API weir_stage_spec *weir_batch(const weir_batch_config *config);

/* ---- Asynchronous ---- */

enum { WEIR_ASYNC_FN_WORK_BYTES = 64 };

typedef struct weir_async_fn_config {
    const char *name; /* for metrics; copied; NULL: "async" */
    /* Starts work on op->item; weir_op_done, _done_consumed or _done_from ends it, once, now or
     * later. op->work is WEIR_ASYNC_FN_WORK_BYTES of your own, zeroed at first, kept from use to
     * use of the slot. Required. */
    void (*start)(weir_op *op, void *user);
    /* Timed out or cancelled: give up and call weir_op_done. Optional: without it the slot stays
     * taken until the work is done. */
    void (*cancel)(weir_op *op, weir_status status, void *user);
    /* After the last start of a turn: send what they prepared. Optional. */
    void (*flush)(weir_stage *stage, void *user);
    void *user;
    uint32_t in_flight;  /* operations at once per replica, 1..65536; 0: 64 */
    bool unordered;      /* emit as they finish; default: in the order of arrival */
    uint32_t timeout_ms; /* each operation; 0: none. The context's deadline counts too */
} weir_async_fn_config;

/* Work that is started now and finished later (see async.h, whose mechanism this is).
 *   demand    `in_flight` less those under way or done and not emitted, ahead of any demand below.
 *   cancel    of the output, or an abort, cancels what is under way. */
WEIR_API weir_stage_spec *weir_async(const weir_async_fn_config *config);

/* ---- Pace ---- */

typedef struct weir_rate_limit_config {
    uint64_t rate;      /* tokens that come in a period, 1..1,000,000,000; required */
    uint32_t period_ms; /* up to a day; 0: 1000 */
    uint64_t burst;     /* tokens the bucket holds, 1..1,000,000,000, filled within a year;
                           0: a tenth of `rate`, or 1 */
    /* Tokens that an item takes, borrowed; 0 is free. NULL: 1 each. One that costs more than
     * `burst` waits for a full bucket and leaves it in debt. */
    uint32_t (*cost)(const weir_item *item, void *user);
    void *user;
    bool enforce;       /* reject what comes too fast; default: withhold demand */
    weir_status status; /* of what is rejected; 0: WEIR_EOVERLOAD */
} weir_rate_limit_config;

/* A token bucket, full at the start; one for all replicas of the node, whatever loop they are on.
 *   demand    shaping: at most the tokens there are, and 64; items that find no token after all
 *             (cost, another replica) are held. Enforcing: as asked of the output; what finds no
 *             token ends as rejected, with `status`, and another is asked for.
 * Counted as GCRA counts cells (ITU-T I.371, annex A): in any interval at most burst and what
 * comes in it. A token's time is rounded up to 1/64 ns. */
WEIR_API weir_stage_spec *weir_rate_limit(const weir_rate_limit_config *config);

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
 * The dropping kinds are lossy: refused on acked paths unless the node is best-effort. */
WEIR_API weir_stage_spec *weir_buffer(const weir_buffer_config *config);

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
