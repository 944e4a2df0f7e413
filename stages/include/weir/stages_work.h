/* Stages that work on many items at once: asynchronous, in threads, in processes.
 *
 * What is common to all stages of the library stands in <weir/stages.h>. */
#ifndef WEIR_STAGES_WORK_H
#define WEIR_STAGES_WORK_H

#include <weir/async.h>
#include <weir/pipeline.h>
#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

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
 *   change    by weir_async_options: in_flight and timeout_ms.
 *   cancel    of the output, or an abort, cancels what is under way. */
WEIR_API weir_stage_spec *weir_async(const weir_async_fn_config *config);

/* ---- Asynchronous, by key ---- */

typedef struct weir_async_by_key_config {
    const char *name; /* for metrics; copied; NULL: "async_by_key" */
    /* As weir_async_fn_config.start, with the memory of the item's key: key_bytes, zeroed when the
     * key is new, kept while the key is in use and idle_ms after. Required. */
    void (*start)(weir_op *op, void *key_state, void *user);
    void (*cancel)(weir_op *op, weir_status status, void *user); /* as there */
    /* Borrows the item; 0 is a key like any other. NULL: the item's key. */
    uint64_t (*key)(const weir_item *item, void *user);
    /* The key is about to be forgotten: free what its memory owns. Optional. */
    void (*key_expired)(uint64_t key, void *key_state, void *user);
    void *user;
    uint32_t in_flight;   /* operations at once per replica, 1..32768; 0: 64 */
    uint32_t waiting_max; /* items that wait for their key's turn; 0: 256. Both together: 65536 */
    uint32_t keys_max;    /* known at once, at most 1048576, more than the sum of those two. 0:
                             1024, or one more than that sum */
    uint32_t key_bytes;   /* at most 65536 */
    uint32_t idle_ms;     /* a key unused for so long is forgotten; sooner, if there are keys_max:
                             the one unused for longest. 0: 60,000 */
    uint32_t timeout_ms;  /* each item, from its arrival; 0: none. Its context's deadline counts */
} weir_async_by_key_config;

/* Work that is started now and finished later, one operation at a time for each key: equal keys one
 * after the other, in order, different keys at once, as an actor for each key would. Keys with
 * something waiting take turns, an item each.
 *   demand    `in_flight` and `waiting_max` less what is inside, ahead of any demand below. Items
 *             of a key that is slow may come to fill that, and hold up the others: put a
 *             weir_fair_queue with `of_key_max` before it where that is to be refused instead.
 *   order     of arrival for equal keys, of finishing for others.
 *   replicas  each has keys of its own: where keys must meet, partition before, or place the node.
 *   change    by weir_async_options: timeout_ms, and in_flight, which counts all that is inside:
 *             at most `in_flight` and `waiting_max` of this config together.
 *   cancel    of the output, or an abort, cancels what is under way; what waits ends at once. */
WEIR_API weir_stage_spec *weir_async_by_key(const weir_async_by_key_config *config);

typedef struct weir_fair_queue_config {
    uint64_t (*key)(const weir_item *item, void *user); /* borrows; NULL: the item's key */
    void *user;
    uint32_t items_max;  /* held, 1..1048576; 0: 256 */
    uint32_t of_key_max; /* held of one key; more are rejected (weir_reject), WEIR_EOVERLOAD. 0:
                            items_max, so that none is rejected, and one key may fill the queue */
} weir_fair_queue_config;

/* Holds items by key, and hands them on by turns, one of each key that has some: however many one
 * key sends, an item of another waits for at most one of each. A key takes memory only while
 * something of it is held. config NULL: all defaults.
 *   demand    as much as there is room for, ahead of any demand below.
 *   order     of arrival for equal keys. */
WEIR_API weir_stage_spec *weir_fair_queue(const weir_fair_queue_config *config);

/* ---- Several calls for one item ---- */

enum { WEIR_GATHER_CALLS_MAX = 8, WEIR_GATHER_WORK_BYTES = 64 };

typedef struct weir_call {
    weir_stage *stage;
    const weir_item *item; /* borrowed, and read-only while calls run */
    weir_context *context; /* over as soon as another call has failed, or the item's is; has its
                              deadline. Stop your watches on it before the call is done */
    void *work;            /* WEIR_GATHER_WORK_BYTES of your own for this call, zeroed at first,
                              kept from use to use of the slot */
    uint32_t index;
} weir_call;

typedef struct weir_gather_call {
    /* Starts the call; weir_call_done or _done_from ends it, once, now or later. */
    void (*start)(weir_call *call, void *user);
    /* Another call failed (WEIR_ECANCELED), or the item timed out or was cancelled: give up, and
     * end the call now or as soon as it can be given up. Optional: without it the item waits. */
    void (*cancel)(weir_call *call, weir_status status, void *user);
    void *user;
} weir_gather_call;

typedef struct weir_gather_config {
    const char *name;                              /* for metrics; copied; NULL: "gather" */
    weir_gather_call calls[WEIR_GATHER_CALLS_MAX]; /* up to the first without a start; at least 1 */
    /* All calls are done well: puts their results into the item, whose body it may write if it is
     * not shared. works[i] is the work of call i. Optional. */
    weir_status (*join)(weir_item *item, void *const *works, void *user);
    void *user;
    uint32_t in_flight;  /* items at once per replica, 1..65536; 0: 64 */
    bool unordered;      /* emit as they finish; default: in the order of arrival */
    uint32_t timeout_ms; /* each item; 0: none. The context's deadline counts too */
} weir_gather_config;

/* Makes several calls for each item at the same time, and waits for all. The first that fails
 * cancels those under way, and what was not started yet never is; its status is the item's,
 * whatever the others say (as errgroup does, https://pkg.go.dev/golang.org/x/sync/errgroup). The
 * item goes on, or fails, when all calls are over: none outlives it.
 *   demand    as weir_async.
 *   change    as weir_async. */
WEIR_API weir_stage_spec *weir_gather(const weir_gather_config *config);

/* Ends the call; `why` is a static text. The call must not be touched afterwards. Loop thread;
 * _from: any thread, once, never allocates. */
WEIR_API void weir_call_done(weir_call *call, weir_status status, const char *why);
WEIR_API void weir_call_done_from(weir_call *call, weir_status status, const char *why);

/* ---- Workers ---- */

/* Changes and shows a pool, from any thread. In caller memory, zeroed; it outlives the pipeline. */
typedef struct weir_pool_control {
    uint64_t bounds; /* weir's, like all */
    uint32_t size, waiting;
} weir_pool_control;

typedef struct weir_pool_figures {
    uint32_t size;    /* workers now, of all replicas */
    uint32_t waiting; /* items that wait for one, as of the last look or start */
} weir_pool_figures;

/* Sets the bounds of each replica, cut to 1..`most` of the config. They hold from the next item or
 * look on. What is under way beyond a lower bound is finished. Any thread. */
WEIR_API void weir_pool_set_bounds(weir_pool_control *control, uint32_t min, uint32_t max);
/* Any thread. */
WEIR_API void weir_pool_look(const weir_pool_control *control, weir_pool_figures *ret_figures);

typedef struct weir_pool_config {
    const char *name; /* for metrics and threads; copied for metrics; NULL: "pool" */
    /* Either asynchronous work, as weir_async_fn_config says */
    void (*start)(weir_op *op, void *user);
    void (*cancel)(weir_op *op, weir_status status, void *user);
    /* or work that blocks, in a thread: changes the item in place (a body that others share is
     * cloned first), looks at nothing else of weir but weir_context_status(item->context, …); a
     * status that is not WEIR_OK fails the item. */
    weir_status (*run)(weir_item *item, void *thread_state, void *user);
    /* Of each thread, before its first item and after its last; optional (see offload.h). */
    weir_status (*open)(void *user, void **ret_thread_state);
    void (*close)(void *thread_state, void *user);
    void *user;
    uint32_t min, max; /* workers of each replica; 0: 1 and 16 */
    uint32_t most;  /* to which bounds may be raised, 1..1024; 0: max. With `run` there are as many
                       threads, shared by all replicas, from the start */
    uint32_t queue; /* items that wait for a worker, 1..65536; 0: 64 */
    uint32_t look_ms;           /* 0: 500 */
    bool unordered;             /* emit as they finish; default: in the order of arrival */
    uint32_t timeout_ms;        /* each item, from when a worker takes it; 0: none */
    weir_pool_control *control; /* borrowed; NULL: none */
} weir_pool_config;

/* Workers that take one item each, as many as the queue before them calls for: every `look_ms`
 * there is one more if more than half the queue is taken, one less if none of it is.
 *   demand    the workers there are, and `queue`, ahead of any demand below.
 *   deadline  of an item's context, or its cancel: what waits fails within 50 ms; what a thread has
 *             not begun is spared; a thread is never interrupted, its worker stays taken, and the
 *             item fails if `run` says so (look at the context in long work).
 *   cancel    of the output, or an abort, waits for threads that are at work.
 *   change    by weir_async_options: timeout_ms and queue, with `most` for in_flight. The number of
 *             workers by weir_pool_set_bounds. */
WEIR_API weir_stage_spec *weir_pool(const weir_pool_config *config);

typedef struct weir_blocking_config {
    const char *name;                                                    /* NULL: "blocking" */
    weir_status (*run)(weir_item *item, void *thread_state, void *user); /* as weir_pool_config */
    weir_status (*open)(void *user, void **ret_thread_state);
    void (*close)(void *thread_state, void *user);
    void *user;
    uint32_t threads;    /* of all replicas, 1..1024; 0: 4 */
    uint32_t queue;      /* items that wait for a thread, of each replica; 0: as many as threads */
    bool unordered;      /* emit as they finish; default: in the order of arrival */
    uint32_t timeout_ms; /* each item, from when it is handed to a thread; 0: none */
} weir_blocking_config;

/* Work that blocks, in a fixed number of threads: a weir_pool that neither grows nor shrinks. */
WEIR_API weir_stage_spec *weir_blocking(const weir_blocking_config *config);

/* ---- Copies of a stage ---- */

typedef struct weir_parallel_config {
    /* Gives the spec of copy `index`, of a stage with one input and one output. Required. */
    weir_stage_spec *(*stage)(uint32_t index, void *user);
    /* Sees each copy once it is wired: for its policy. Optional. */
    void (*wired)(weir_node *copy, uint32_t index, void *user);
    void *user;
    uint32_t copies;              /* 1..63; 0: 4 */
    bool unordered;               /* default: in the order of arrival */
    uint32_t in_flight;           /* ordered: items between the two ends, 1..65536; 0: 64 a copy */
    uint32_t loops;               /* spread the copies over so many loops; 0: place nothing */
    uint32_t first_loop;          /* the first of them */
    uint32_t loop;                /* of the two ends, if `loops` is not 0 */
    const weir_edge_config *edge; /* to and from each copy; NULL: the defaults */
} weir_parallel_config;

/* Continues the chain with copies of a stage, each item handed to one that has credit, and gives
 * the node behind them, at which the chain goes on; NULL after an error, which is latched.
 *   demand    unordered: as weir_balance and weir_merge. Ordered: `in_flight` less what is inside,
 *             as far as the copies ask.
 *   order     ordered: a copy may drop or fail items, late or never emit them; those behind wait
 *             until it has ended them (a dead letter: until its sink has). It may emit one item for
 *             each at most, the same or one derived from it; others fail with WEIR_EINVAL.
 *   errors    of a copy's output end all the copies. */
WEIR_API weir_node *weir_parallel(weir_pipeline *pipeline, const weir_parallel_config *config);

#ifdef __cplusplus
}
#endif
#endif
