/* A hub: one running pipeline feeds others, which join and leave while it runs.
 *
 * The hub is the sink of the pipeline that produces (weir_into_hub) and gives sources for those
 * that consume (weir_from_hub), on any loop or thread. Every consumer gets every item from the
 * moment on at which its source opened, in the order of its producer, through a queue of its own:
 * its outlet.
 *
 *   credit    The hub asks its producers for what every outlet that HOLDS has room for, and at most
 *             for asked_max. Outlets that MISS or LEAVE never hold back a producer.
 *   items     A consumer on the producer's loop gets the item itself (its body is read-only), one
 *             on another loop a clone (weir_item_clone: the item's type must allow it; its `clone`
 *             runs under the hub's lock and may not call the hub). The item ends when it has ended
 *             for all, with the worst outcome, and the producing stage stays open until all that it
 *             handed on has ended (in_flight in its figures): its pipeline, and weir_run, end after
 *             that. An abort takes back what is queued.
 *   memory    outlets_max outlets of at most window + asked_max + 64 items or clones each.
 *   end       When all producers have ended, each consumer ends after what is queued for it; with
 *             an error if a producer's input failed or its pipeline was aborted. Then the hub is
 *             over: who joins later ends at once, and no pipeline can produce for it again.
 *   leaving   A consumer that cancels or aborts leaves at once: what is queued for it ends as
 *             aborted. One that drains gets what is queued, and ends.
 *
 * A pipeline that runs as copies, one on each loop, has a producer or an outlet per copy, and each
 * copy of a consumer gets all items. An item that cannot be handed on (255 holds, no memory, a type
 * that cannot be cloned) fails for all, and stops the producing pipeline unless it is acknowledged.
 */
#ifndef WEIR_HUB_H
#define WEIR_HUB_H

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_hub weir_hub;

enum { WEIR_HUB_OUTLETS_MAX = 240, WEIR_HUB_PRODUCERS_MAX = 64 };

typedef struct weir_hub_config {
    uint32_t outlets_max; /* at once, 1..WEIR_HUB_OUTLETS_MAX; 0: 64 */
    uint32_t asked_max;   /* asked of all producers at once, 1..65536; 0: 256 */
    bool alone_drops;     /* while there is no outlet, ask for all there is and end it as filtered;
                             default: ask for nothing */
} weir_hub_config;

/* What becomes of a consumer whose outlet is full. */
typedef enum weir_hub_slow {
    WEIR_HUB_HOLDS,  /* the producers wait for it: the slowest sets the pace */
    WEIR_HUB_MISSES, /* it misses what comes until there is room again; counted */
    WEIR_HUB_LEAVES  /* it is put out: gets what is queued, then WEIR_EOVERLOAD */
} weir_hub_slow;

typedef struct weir_outlet_config {
    weir_hub_slow slow;
    uint32_t window; /* items queued, 1..65536; 0: 256 */
} weir_outlet_config;

/* Gives a hub with one hold, the caller's; NULL for want of memory. config NULL: all defaults; what
 * is out of range is taken as the nearest limit. */
WEIR_API weir_hub *weir_hub_new(const weir_env *env, const weir_hub_config *config);
/* Releases the caller's hold. Pipelines keep theirs. NULL is fine. */
WEIR_API void weir_hub_free(weir_hub *hub);

/* The sink that feeds the hub. Up to WEIR_HUB_PRODUCERS_MAX, of any pipelines that start before the
 * last one has ended; WEIR_ECLOSED at the start, if the hub is over; WEIR_ELIMIT, if they are too
 * many. */
WEIR_API weir_stage_spec *weir_into_hub(weir_hub *hub);
/* A source that gets what the hub gets, from its opening on; config NULL: all defaults. With
 * outlets_max there already, its pipeline fails with WEIR_ELIMIT. */
WEIR_API weir_stage_spec *weir_from_hub(weir_hub *hub, const weir_outlet_config *config);

typedef struct weir_hub_stats {
    uint32_t outlets, producers; /* now */
    uint64_t queued;             /* in all outlets */
    uint64_t items;              /* that came */
    uint64_t dropped;            /* with no outlet there */
    uint64_t failed;             /* could not be handed on */
    uint64_t joined, refused;    /* outlets that opened, or found outlets_max there */
    uint64_t left, put_out;      /* of their own will; because they were too slow */
    uint64_t missed;             /* items, summed over outlets */
} weir_hub_stats;
/* Any thread; the figures of one instant. */
WEIR_API void weir_hub_stats_get(const weir_hub *hub, weir_hub_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
