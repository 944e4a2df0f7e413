/* Stages that limit: how fast, how many at once, how long, and how often it may fail.
 *
 * What is common to all stages of the library stands in <weir/stages.h>. */
#ifndef WEIR_STAGES_LIMIT_H
#define WEIR_STAGES_LIMIT_H

#include <weir/pipeline.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Items that may not pass are held, and not asked for, unless `reject` is set; with a breaker it is
 * the other way round: rejected, unless `hold` is. */

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
    bool reject;        /* reject (weir_reject) what comes too fast; default: withhold demand */
    weir_status status; /* of what is rejected; 0: WEIR_EOVERLOAD */
} weir_rate_limit_config;

/* A token bucket, full at the start; one for all replicas of the node, whatever loop they are on.
 *   demand    shaping: at most the tokens there are, and 64; items that find no token after all
 *             (cost, another replica) are held, up to 64. Rejecting: as asked of the output, at
 *             most 64; what finds no token is rejected with `status`, and another is asked for.
 * Counted as GCRA counts cells (ITU-T I.371, annex A): in any interval at most burst and what
 * comes in it. A token's time is rounded up to 1/64 ns.
 *   change    of all but `reject`. The tokens that the bucket lacks it lacks still, and they come
 *             at the new rate. */
WEIR_API weir_stage_spec *weir_rate_limit(const weir_rate_limit_config *config);

/* ---- How many at once ----
 *
 * These follow what they let pass to its end, by tickets (weir_tickets): an item that has passed is
 * under way until all that was made of it has ended, on whatever loop, however far below. So they
 * guard a call, a chain or a whole pipeline alike; a fallback below (weir_fallback) is where what
 * they guard ends. They stay open until all that has passed has ended. Tickets are of 128 bytes.
 * Items that come together have one in common (weir_tickets_alike), until the last of them has
 * ended; one each have items of another loop, items that others hold too, and those of a semaphore
 * with `cost` and of a timeout. */

typedef struct weir_semaphore_config {
    uint32_t permits; /* 1..1,000,000,000; required */
    /* Permits that an item takes, borrowed; 0 is free; the same each time it is asked, and from
     * whatever replica. NULL: 1 each. One that costs more than there are takes them all. It is not
     * passed by others, of whatever replica, once it is its turn. */
    uint32_t (*cost)(const weir_item *item, void *user);
    void *user;
    bool reject;        /* reject (weir_reject) what finds none; default: withhold demand */
    weir_status status; /* of what is rejected; 0: WEIR_EOVERLOAD */
} weir_semaphore_config;

/* At most `permits` items under way below it, counted over all replicas of the node.
 *   demand    holding: at most the permits there are, and 64; what finds none after all (cost,
 *             another replica) is held, up to 64. Rejecting: as asked of the output, at most 64;
 *             what finds no permit is rejected with `status`, and another is asked for.
 *   order     of arrival, in each replica; replicas that wait are woken in the order they came.
 *   with      weir_rate_limit: that goes below, so that what has its token is not kept from going.
 *   permits   come back at the end of the turn in which an item ended.
 *   change    of all but `reject`; with fewer permits none passes until as many have come back. */
WEIR_API weir_stage_spec *weir_semaphore(const weir_semaphore_config *config);
/* Permits in use, and those there are, of a node that runs; false if it does not, or is no
 * semaphore. Any thread. */
WEIR_API bool weir_semaphore_look(const weir_node *node, uint64_t *ret_used, uint64_t *ret_permits);

typedef struct weir_adaptive_limit_config {
    uint32_t limit_min;  /* 0: 4 */
    uint32_t limit_max;  /* up to 1,000,000; 0: 1000 */
    uint32_t limit;      /* to begin with; 0: 20, within the bounds */
    uint32_t window_ms;  /* a step each, if ten items ended in it; up to a minute; 0: 500 */
    uint32_t slack;      /* items that may queue below; 0: 4 */
    double tolerance;    /* how much longer than the baseline is still fine, 1..10; 0: 1.5 */
    double smoothing;    /* share of a step that is taken, up to 1; 0: 0.2 */
    uint32_t baseline_n; /* windows that the baseline is the mean of; 0: 600 */
    uint32_t probe_ms;   /* how often that is measured anew, up to a day; 0: 60,000;
                            UINT32_MAX: never */
    bool reject;         /* reject (weir_reject) what is too many; default: withhold demand */
    weir_status status;  /* of what is rejected; 0: WEIR_EOVERLOAD */
} weir_adaptive_limit_config;

/* A semaphore that finds out by itself how many items what is below can take at once: from the
 * gradient of the time from passing to the end (Gradient2 of Netflix's concurrency-limits,
 * https://github.com/Netflix/concurrency-limits). Each window the limit becomes
 *     limit x clamp(tolerance x baseline / time, 0.5, 1) + slack, smoothed,
 * unless fewer than half of it were in use. Demand, order and rejecting as for weir_semaphore.
 * Three things are its own:
 *   failures  only the times of items that ended well count: to fail quickly is not to be quick. A
 *             window in which one in ten or more ended with WEIR_EDEADLINE, WEIR_EOVERLOAD or
 *             WEIR_EUNAVAILABLE takes a tenth off the limit, whatever the times.
 *   drift     under steady load a moving baseline follows the queue that it should show. So every
 *             probe_ms, or up to a quarter sooner, the limit goes to limit_min for two windows,
 *             and the time of the second is the baseline from then on.
 *   replicas  share limit, baseline and permits. */
WEIR_API weir_stage_spec *weir_adaptive_limit(const weir_adaptive_limit_config *config);

typedef struct weir_adaptive_stats {
    uint64_t limit, used;
    uint64_t time_ns;     /* of the last window; 0: none yet */
    uint64_t baseline_ns; /* what that is held against */
} weir_adaptive_stats;
/* Of a node that runs; false if it does not, or is none. Any thread. */
WEIR_API bool weir_adaptive_limit_look(const weir_node *node, weir_adaptive_stats *ret_stats);

/* ---- How often it may fail ---- */

/* A status in a set of them. */
#define WEIR_FAILURE(status) (1u << -(int)(status))

typedef struct weir_breaker_config {
    /* The window that rates are of: the last calls, or those of the last time; it slides by a tenth
     * of its length. */
    uint32_t window_calls;    /* up to 1,000,000; 0: 100 */
    uint32_t window_ms;       /* 10 to an hour, instead of calls; 0: by calls */
    uint32_t calls_min;       /* no judgement by fewer; 0: 10, or window_calls if that is less */
    uint32_t failure_percent; /* of the calls in the window, trips it; 1..100; 0: 50 */
    uint32_t slow_ms;         /* a call that takes longer is slow; 0: none is */
    uint32_t slow_percent;    /* of the calls in the window, trips it; 1..100; 0: 100 */
    uint32_t failures; /* what an item failed with that counts, a sum of WEIR_FAILURE; 0: EDEADLINE,
                          EPROTO, EIO, ECLOSED, EUNAVAILABLE, EOVERLOAD, EINTERNAL and EPARTIAL */
    uint32_t open_ms;  /* it stays open, doubled each time in a row, and up to a tenth more by
                          chance; 0: 5000 */
    uint32_t open_ms_max; /* up to a day; 0: 60,000, or open_ms if that is more */
    uint32_t probes;      /* let through while it is half open, 1..1000; 0: 5 */
    uint32_t probe_ms;    /* if it is half open for longer than that, it opens; 0: 60,000 */
    bool hold;            /* withhold demand while it is open, for sources that can wait; default:
                             reject (weir_reject) at once: to a fallback say */
    weir_status status;   /* of what is rejected; 0: WEIR_EUNAVAILABLE */
} weir_breaker_config;

/* A circuit breaker: judges what is below it by the ends of the items that passed, and lets none
 * pass for a while when too many fail or are slow. Then a few probes pass, and decide. One circuit
 * for all replicas; changes of its state are logged.
 *   counted   good: acked or filtered. Failed: failed, or dead-lettered, with one of `failures`.
 *             Neither: rejected, aborted, or failed otherwise (cancelled, the caller's bad input);
 *             such a probe leaves its place to another. What passed before the last change of state
 *             counts no more.
 *   demand    rejecting: as asked of the output, at most 64. Holding: the same while it is closed,
 *             none while it is open, the rest of the probes while it is half open; what came all
 *             the same is held, up to 64.
 *   change    of all but `hold` and the window. */
WEIR_API weir_stage_spec *weir_breaker(const weir_breaker_config *config);

typedef enum weir_breaker_state {
    WEIR_BREAKER_CLOSED, /* all pass */
    WEIR_BREAKER_OPEN,   /* none does */
    WEIR_BREAKER_HALF_OPEN
} weir_breaker_state;

typedef struct weir_breaker_stats {
    weir_breaker_state state;
    uint64_t opened;              /* how often it did */
    uint64_t calls, failed, slow; /* in the window; half open: of the probes */
} weir_breaker_stats;
/* Of a node that runs; false if it does not, or is none. Any thread. */
WEIR_API bool weir_breaker_look(const weir_node *node, weir_breaker_stats *ret_stats);

/* ---- How long ---- */

typedef struct weir_timeout_config {
    uint32_t timeout_ms; /* from passing to the item's end; up to a day; 0: no limit */
    uint32_t in_flight;  /* items under way at most, up to 65,536; 0: 256. About 250 bytes each */
    uint32_t idle_ms; /* the next item must come within it while there is demand; up to a day; 0: no
                         limit. One of the two must be set */
    bool idle_ends;   /* if none comes: cancel the input and end the output; default: fail, the
                         pipeline stops with WEIR_EDEADLINE */
} weir_timeout_config;

/* Gives each item that passes a context of its own with a deadline, below the one that it has
 * (<weir/context.h>). What has not ended by then is cancelled with WEIR_EDEADLINE: it fails at the
 * next stage's door, operations on it are given up (asynchronous stages, clients), and they fail it
 * with that status, as their node's policy says. What a stage keeps without looking at its context
 * ends when that stage lets go of it. A cancel of the context above reaches below, on any loop.
 *   demand    as asked of the output, at most in_flight less what is under way, and 64.
 *   end       it stays open until all that has passed has ended. idle_ends ends it as the input's
 *             end would, behind what is held: items that found no place after all, at most 64. */
WEIR_API weir_stage_spec *weir_timeout(const weir_timeout_config *config);

/* ---- What failed ---- */

typedef struct weir_failure {
    weir_status status; /* what it failed with */
    uint32_t tries;     /* how often the stage was handed it: 1 without a retry policy */
    const char *stage;  /* the name of the stage that failed it; lives as long as the pipeline */
} weir_failure;

/* A sink for dead-letter edges (weir_node_dead_letter), as many as are linked. `keep` borrows the
 * item and puts it aside; the item ends as dead-lettered, with the status that it failed with. If
 * `keep` gives another status than WEIR_OK the item fails with that. Dead letters are handed over
 * also when their context is over.
 *   demand    unbounded: the work is done within the call. */
WEIR_API weir_stage_spec *weir_dead_letter(weir_status (*keep)(const weir_item *item,
                                                               const weir_failure *failure,
                                                               void *user),
                                           void *user);

/* Input 0: the normal flow; input 1: the dead letters of a stage above, which are made good. `fn`
 * borrows the item: it changes it in place, as weir_map does, or gives *ret_made, a new item made
 * on `loop`, which is derived from it. That goes on in the normal flow, and ends as it ends there:
 * the failure is forgotten (weir_item_forgive), and the limits that the item has passed, a
 * weir_breaker say, take it for ended here, as a failure. Without a substitute, another status than
 * WEIR_OK, the item fails as it had.
 *   demand    as for weir_merge: an even share of what is asked of the output to each input that
 *             is open, 1 to 64; what comes when its credit has gone to the other is held: at most
 *             64 an input.
 *   order     kept within an input.
 *   end       when both inputs have; an error of one cancels the other.
 *   limits    of an item that others hold too (weir_broadcast) the failure is not forgotten: at
 *             best it ends as dead-lettered. */
WEIR_API weir_stage_spec *weir_fallback(weir_status (*fn)(weir_loop *loop, weir_item *item,
                                                          const weir_failure *failure, void *user,
                                                          weir_item **ret_made),
                                        void *user);

/* ---- A switch for what runs ---- */

/* One handle that ends any number of running pipelines (Akka's SharedKillSwitch). It is borrowed by
 * its stages: free it after the pipelines. */
typedef struct weir_switch weir_switch;

/* Gives a switch that is on; NULL for want of memory. */
WEIR_API weir_switch *weir_switch_new(const weir_env *env);
/* Takes it. No pipeline may be left that has a stage of it. NULL is fine. */
WEIR_API void weir_switch_free(weir_switch *handle);

/* Every stage of the switch cancels its input, and ends its output: with WEIR_OK as an end, with
 * another status as that error. Those that open later do so at once. The first call counts; any
 * thread; never allocates. */
WEIR_API void weir_switch_off(weir_switch *handle, weir_status status);
/* Aborts the pipeline of every stage of the switch instead, also of those that open later. A stage
 * that weir_switch_off closed before has no say any more. The first call counts; any thread; never
 * allocates. */
WEIR_API void weir_switch_abort(weir_switch *handle);
/* After either. Any thread. */
WEIR_API bool weir_switch_is_off(const weir_switch *handle);

/* Passes items until the switch is off. What it has emitted still flows; what is queued before it
 * ends as aborted.
 *   demand    as asked of the output; it holds nothing. */
WEIR_API weir_stage_spec *weir_switch_stage(weir_switch *handle);

#ifdef __cplusplus
}
#endif
#endif
