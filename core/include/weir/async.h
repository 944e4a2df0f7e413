/* Asynchronous stages: start work on an item now, finish it later, `in_flight` at a time.
 *
 * The mechanism owns the slots, the order, timeouts and cancels; the author's callbacks own the
 * work. Clients (HTTP, PostgreSQL, NATS) and offloaded work are such stages. */
#ifndef WEIR_ASYNC_H
#define WEIR_ASYNC_H

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_op weir_op;
struct weir_op {
    weir_stage *stage;
    weir_item *item; /* borrowed while the operation runs; may be replaced by one derived from it */
    void *work;      /* the author's, per slot: work_size zeroed bytes, kept from use to use */
    weir_context *context; /* the item's, or NULL */
    uint64_t started_ns;
};

/* What weir_pipeline_change takes for an asynchronous stage. `unordered` cannot change. Fewer
 * `in_flight`: what is under way goes on, nothing new starts until there are fewer. `timeout_ms`
 * holds for what starts from then on. */
typedef struct weir_async_options {
    uint32_t in_flight;  /* operations at once, 1..65536; 0: 64. It is also the demand above */
    bool unordered;      /* emit as they finish; default: in the order of arrival */
    uint32_t timeout_ms; /* each operation; 0: none. The context's deadline counts too */
    uint32_t queue;      /* items asked for beyond those, to wait for their turn, at most 65536 */
} weir_async_options;

typedef struct weir_async_type {
    const char *name;
    size_t config_size, state_size, work_size;
    weir_status (*share)(const void *config, const weir_env *env, uint32_t replicas,
                         void **ret_shared, const char **why);
    void (*unshare)(void *shared);
    weir_status (*check)(const void *config, const char **why);
    weir_status (*open)(weir_stage *stage, const void *config, void *state);
    void (*close)(weir_stage *stage, void *state);
    /* Starts the work. Must call weir_op_done exactly once, now or later. */
    void (*start)(weir_op *op, void *state);
    /* Once after the last start of a turn: send what they prepared. Optional. */
    void (*flush)(weir_stage *stage, void *state);
    /* Timed out, or its context was cancelled: `status` says which. Give the work up and call
     * weir_op_done, at once or when the work can be given up; the item fails with `status`. Without
     * this callback the slot stays taken until the work is done. */
    void (*cancel)(weir_op *op, weir_status status, void *state);
    /* The operation has ended; its item is no longer to be touched, op->work still is. May only
     * note it: it runs beneath weir_op_done. Optional. */
    void (*ended)(weir_op *op, void *state);
    /* Looks at options that weir_pipeline_change brings, in which 0 `in_flight` stands as its
     * default: refuses those that the config has no room for; `*why` gets a static text. Any
     * thread, quick. Optional. */
    weir_status (*check_options)(const void *config, const weir_async_options *options,
                                 const char **why);
} weir_async_type;

/* Describes an asynchronous stage; options and config are copied. NULL for want of memory. */
WEIR_API weir_stage_spec *weir_async_of(const weir_async_type *type,
                                        const weir_async_options *options, const void *config);

/* Ends the operation: WEIR_OK emits op->item, another status fails it (weir_fail), `why` a static
 * text. The op must not be touched afterwards. Loop thread only. */
WEIR_API void weir_op_done(weir_op *op, weir_status status, const char *why);
/* Ends the operation and the item with it: nothing is emitted, the item ends as acked. */
WEIR_API void weir_op_done_consumed(weir_op *op);
/* Ends it from any thread, once; never allocates. `why` as above. */
WEIR_API void weir_op_done_from(weir_op *op, weir_status status, const char *why);

/* The stage's async state, for callbacks that start from the stage (timers, connections). */
WEIR_API void *weir_async_state(weir_stage *stage);
WEIR_API const void *weir_async_config(const weir_stage *stage);
/* What its type's `share` made, or NULL. */
WEIR_API void *weir_async_shared(const weir_stage *stage);
WEIR_API uint32_t weir_async_in_flight(const weir_stage *stage);
/* Items that wait for an operation to end, or for the limit to rise. */
WEIR_API uint32_t weir_async_waiting(const weir_stage *stage);
/* Limits the operations at once for a while, 0 to hold all demand (a client that is not connected),
 * UINT32_MAX for the configured number. What is queued stays queued, and upstream feels it. */
WEIR_API void weir_async_limit(weir_stage *stage, uint32_t in_flight);

#ifdef __cplusplus
}
#endif
#endif
