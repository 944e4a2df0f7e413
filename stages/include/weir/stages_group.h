/* Stages that hold items back to put them together, apart, or in another pace.
 *
 * Joined items cost the sum of their members, and what costs more than the item_bytes_max of the
 * edge below (2 MiB, weir_edge_config) fails there with WEIR_ELIMIT: raise it for larger ones.
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
 *   change    of all; what is held is put together anew, and goes by the new rules. Memory that a
 *             larger count took is kept. */
WEIR_API weir_stage_spec *weir_batch(const weir_batch_config *config);

enum { WEIR_UNBATCH_AHEAD = 2 };

/* Takes joined items apart (weir_items_split): the members go on themselves, with the type, key,
 * context and end that they had before they were joined, so that each is acked or fails alone. An
 * item that is no joined one is passed on; members that are joined items stay so.
 *   shared    A joined item that others hold too (a broadcast's), or came from another loop with
 *             members that others hold, yields copies (weir_item_copy), derived from it: all its
 *             members end as the worst of them. A member that cannot be copied fails it.
 *   demand    a joined item for each item asked of the output, at most WEIR_UNBATCH_AHEAD.
 *   limits    what a policy tries again takes memory on top of that; without, it fails with
 *             WEIR_ENOMEM. */
WEIR_API weir_stage_spec *weir_unbatch(void);

typedef struct weir_window_config {
    uint32_t count; /* members, at most 65535; 0: 64. By time: at most so many, a fuller window is
                       emitted in parts */
    uint32_t slide; /* by count: the next window begins so many items later, at most 65535; 0:
                       `count`. Fewer: windows overlap, each item in at most 201. More: those
                       between are dropped, as filtered. By time: refused */
    uint32_t every_us; /* by time: a window ends at each multiple of it since the stage opened */
    uint32_t bytes; /* by time: sum of costs at most, as for batch; 0: 1 MiB. By count: refused */
} weir_window_config;

/* Joins items to windows, by count, or by time if `every_us` is set. config NULL: all defaults.
 *   by count  each window has `count` members; the last one, when the input is over, those that
 *             were in none yet, behind as many before them as it has room for. The members of
 *             windows that overlap are shared, read-only; each ends when all its windows have.
 *   by time   an item is in the window in which it came, however late that finds demand. A window
 *             in which nothing came is not emitted: there is nothing to make it of, or to ack.
 *   demand    by count, the items that make the windows asked of the output, with at most `count`
 *             and 64 held; by time, as for batch.
 *   memory    a window that finds none fails the items that would have left with it. */
WEIR_API weir_stage_spec *weir_window(const weir_window_config *config);

typedef struct weir_conflate_config {
    /* Puts what `item` says into `held`, whose body it may write (a shared one is cloned before). A
     * status that is not WEIR_OK fails `item`. NULL: the latest item takes the held one's place. */
    weir_status (*combine)(weir_item *held, const weir_item *item, void *user);
    void *user;
} weir_conflate_config;

/* Passes items on while they are asked for; while not, holds one and puts all that come into it.
 * Never pushes back. Lossy, also with `combine`: an item ends as filtered when it is combined, and
 * hears nothing of what becomes of the one that is held. config NULL: keeps the latest.
 *   demand    unbounded. */
WEIR_API weir_stage_spec *weir_conflate(const weir_conflate_config *config);

typedef enum weir_overflow {
    WEIR_OVERFLOW_HOLD,        /* withhold demand: nothing is lost */
    WEIR_OVERFLOW_REJECT,      /* reject the new item (weir_reject), WEIR_EOVERLOAD */
    WEIR_OVERFLOW_DROP_OLDEST, /* lossy: end the oldest held as filtered */
    WEIR_OVERFLOW_DROP_NEWEST, /* lossy: end the new item as filtered */
    WEIR_OVERFLOW_DROP_ALL,    /* lossy: end all that is held as filtered, hold the new item */
    WEIR_OVERFLOW_FAIL         /* reject the new item and stop the pipeline, WEIR_EOVERLOAD */
} weir_overflow;

typedef struct weir_buffer_config {
    uint32_t items_max; /* held, 1..1048576; 0: 256 */
    uint64_t bytes_max; /* sum of costs held; one item is always held; 0: 16 MiB */
    weir_overflow overflow;
} weir_buffer_config;

/* Holds items between a sender and a receiver of different pace. config NULL: all defaults.
 *   demand    holding: as much as there is room for, ahead of any demand below (with bytes_max
 *             reached: none; what was asked for before still comes). Else: unbounded.
 *   change    of items_max and bytes_max. With more held than the new limits allow: holding, it
 *             asks for none until there is room; else the next item overflows.
 * The dropping kinds are lossy: refused on acked paths unless the node is best-effort
 * (weir_node_best_effort). */
WEIR_API weir_stage_spec *weir_buffer(const weir_buffer_config *config);

#ifdef __cplusplus
}
#endif
#endif
