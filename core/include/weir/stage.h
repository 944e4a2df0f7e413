/* Stages: what a stage author writes (a table of callbacks) and may call.
 *
 * Everything here is for the stage's own loop thread. Callbacks of one stage run one at a time, and
 * never beneath another callback of the loop: request, emit, end and cancel only note what is to be
 * done. The protocol is Reactive Streams 1.0.4 (https://www.reactive-streams.org/): a stage emits
 * at most what was requested of it, and each edge ends once. */
#ifndef WEIR_STAGE_H
#define WEIR_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/context.h>
#include <weir/item.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_stage weir_stage; /* one running instance of a stage */
typedef struct weir_in weir_in;       /* where its items come from */
typedef struct weir_out weir_out;     /* where they go */
typedef struct weir_pipeline weir_pipeline;
typedef struct weir_stage_spec weir_stage_spec; /* what a factory gives: an immutable description */

#define WEIR_UNBOUNDED UINT64_MAX

/* How many ports a stage has. WEIR_PORTS_MANY: as many as are linked, up to WEIR_PORTS_MAX. */
enum { WEIR_PORTS_ONE = 0, WEIR_PORTS_NONE = -1, WEIR_PORTS_MANY = -2, WEIR_PORTS_MAX = 64 };

/* Figures of a stage's own, which weir_pipeline_metrics shows beside those that every stage has. */
typedef enum weir_figure_kind {
    WEIR_FIGURE_COUNTER,
    WEIR_FIGURE_GAUGE,
    WEIR_FIGURE_DURATIONS /* a histogram, by the buckets of weir_stage_stats */
} weir_figure_kind;
typedef struct weir_figure_family {
    const char *name; /* "weir_rpc_server_calls_started"; of one stage type only */
    const char *help;
    weir_figure_kind kind;
} weir_figure_family;
typedef struct weir_figure {
    const char *labels[2], *values[2]; /* labels and their values; NULL: none */
    uint64_t value;
    uint64_t sum_ns;         /* of durations */
    const uint64_t *buckets; /* likewise: WEIR_DURATION_BUCKETS */
} weir_figure;

/* Every callback is optional. `config` is the copy that weir_stage_of made; `state` is zeroed
 * memory of this instance. */
typedef struct weir_stage_type {
    const char *name;
    size_t config_size; /* 0: none; else weir_stage_of copies it (pointers in it stay borrowed) */
    size_t state_size;
    int inputs, outputs; /* 0: one; else WEIR_PORTS_NONE, WEIR_PORTS_MANY, or the number */
    bool lossy;          /* may drop items: refused on acked paths unless its node is best-effort */
    bool acks;           /* its items' ends matter: a source that commits what was settled */
    /* Bits of the outputs on which on_items emits all that it takes, at once: it is handed no more
     * than fits their byte windows. Other stages look at weir_out_fits, and hold what does not fit.
     * A stage of one input and output without on_demand is taken to be such a one. */
    uint64_t at_once;

    /* One value for all replicas of a node: made before the first open, on the thread that starts
     * the pipeline (or swaps the stage in); freed after the last close. For pools, limits and
     * single writers. On an error `*why`, a general text so far, may get a static one that says
     * more. */
    weir_status (*share)(const void *config, const weir_env *env, uint32_t replicas,
                         void **ret_shared, const char **why);
    void (*unshare)(void *shared);

    /* Checks the config while the pipeline is built; `*why` gets a static text on an error. */
    weir_status (*check)(const void *config, const char **why);
    /* The same, when the config says how many of WEIR_PORTS_MANY there may be: of the ports that
     * are linked. Without, at least one must be. */
    weir_status (*check_ports)(const void *config, uint32_t inputs, uint32_t outputs,
                               const char **why);
    weir_status (*open)(weir_stage *stage, const void *config, void *state);
    /* All edges over, all holds released: free what open made. Not called if open failed. What was
     * posted before (weir_post to a task in the state) runs after it: it finds the state, and may
     * use neither the stage, in whose place there may be another, nor what was freed. */
    void (*close)(weir_stage *stage, void *state);

    /* The credit of `out` has risen to `credit` (a level, coalesced). Default, with one input: tops
     * it up to the credit of the one output; without outputs, asks for all there is, and the window
     * bounds it. Under a RETRY policy the default leaves room for the items that wait; a stage with
     * an on_demand of its own is handed them on top of what it asked for. */
    void (*on_demand)(weir_stage *stage, weir_out *out, uint64_t credit, void *state);
    /* Takes items[0..n), 1 <= n <= 64; the array may be overwritten. A status that is not WEIR_OK
     * is the stage's own failure and stops the pipeline; items not yet ended must be by then. */
    weir_status (*on_items)(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                            void *state);
    /* The same, item by item; used when on_items is NULL. Default of both: emit on the output. */
    weir_status (*on_item)(weir_stage *stage, weir_in *in, weir_item *item, void *state);
    /* A pure 1:1 stage instead: works on items in place, gives how many are left, moved to the
     * front; what it takes out it ends (weir_fail, weir_item_end). Refunds, emits and fuses by
     * itself. Excludes on_demand, on_items, on_item. */
    size_t (*transform)(weir_stage *stage, weir_item **items, size_t n, void *state);
    /* The input is over, after its last item: WEIR_OK for its end, otherwise its error. Default:
     * when all inputs are over, ends all outputs (an error: fails them at once). */
    void (*on_end)(weir_stage *stage, weir_in *in, weir_status status, void *state);
    /* Nobody wants `out` any more. Default: when all outputs are over, cancels all inputs. */
    void (*on_cancel)(weir_stage *stage, weir_out *out, void *state);
    /* Sources: take no new work, finish what is under way, then end the outputs. Default: ends
     * them. */
    void (*on_drain)(weir_stage *stage, void *state);
    /* The pipeline is aborting: give up what is held and release the holds, now. */
    void (*on_abort)(weir_stage *stage, void *state);

    /* ---- For a stage that holds items: two that do for most of those above ---- */

    /* Something has changed: items came, credit rose, one output of several was cancelled, an input
     * is over, a drain began, settings are new, weir_stage_wake was called, or it has just opened.
     * Once for all that a visit brought, after the other callbacks; never when all outputs are
     * over, nor after an abort. Emits what may go, asks for what there is room for, and passes the
     * end on (weir_finish). With it, on_demand, on_end and on_drain do nothing by default. Excludes
     * transform. */
    void (*run)(weir_stage *stage, void *state);
    /* Ends what is held, as aborted, and stops timers: all outputs are over, the pipeline is
     * aborting, or, right before close, the stage is closing; it may come more than once. The
     * default of on_abort; that of on_cancel, once all outputs are over, lets go and cancels the
     * inputs. */
    void (*let_go)(weir_stage *stage, void *state);

    /* ---- New settings while it runs: weir_pipeline_change; refused without on_change ---- */

    /* Bytes of what a change brings; 0: config_size, a config of this type. */
    size_t change_size;
    /* Puts `change` into `config`, which is a copy of the present one; a field that cannot change
     * while the stage runs is refused, and `*why` gets a static text. What comes out is looked at
     * by `check`. Any thread, under a lock: quick, and calls nothing of weir. Default: copies all
     * of it. */
    weir_status (*merge_change)(void *config, const void *change, const char **why);
    /* Gives the shared value its new settings: once, on the loop of the replica that is the first
     * to change, before its on_change. Other replicas use the value meanwhile: atomics, or its
     * mutex. It may not fail. */
    void (*change_shared)(weir_stage *stage, const void *config, void *shared);
    /* This replica's new settings, on its loop. `config` is what weir_stage_config gives from here
     * on; the one before lasts until this returns, so a stage that keeps a pointer to its config
     * moves it. What is held stays held: a smaller limit takes effect as it drains. Ask and emit
     * here as what changed allows, nobody else will wake the stage. If a replica cannot take it (no
     * memory), it stays as it was and gives the status: then those that changed before it are
     * handed their old config, and have to take that. Not called once the stage has closed. */
    weir_status (*on_change)(weir_stage *stage, const void *config, void *state);

    /* ---- Figures of its own ---- */

    const weir_figure_family *families;
    size_t family_count;
    /* Figure `index` of a family, of all replicas together; false beyond the last. What it points
     * to lasts until the next call. Any thread, under a lock: quick, and calls nothing of weir. */
    bool (*figure)(const void *shared, size_t family, size_t index, weir_figure *ret_figure);
} weir_stage_type;

/* Describes a stage of `type` with a copy of `config` (config_size bytes; NULL: zeroes). Gives a
 * spec for weir_via and its kin, who take it; NULL for want of memory. Any thread. */
WEIR_API weir_stage_spec *weir_stage_of(const weir_stage_type *type, const void *config);
/* The same with a name of its own for metrics and messages (copied, at most 63 bytes kept; NULL: as
 * it is). In a pipeline the second stage of a name is called `name_2`, and so on. */
WEIR_API weir_stage_spec *weir_stage_named(weir_stage_spec *spec, const char *name);
WEIR_API void weir_stage_spec_free(weir_stage_spec *spec);

/* The stage's surroundings; all borrowed. */
WEIR_API weir_loop *weir_stage_loop(const weir_stage *stage);
WEIR_API const weir_env *weir_stage_env(const weir_stage *stage);
WEIR_API weir_pipeline *weir_stage_pipeline(const weir_stage *stage);
WEIR_API const char *weir_stage_name(const weir_stage *stage);
WEIR_API void *weir_stage_state(weir_stage *stage);
/* The present settings: those it was described with, or those of the last change. */
WEIR_API const void *weir_stage_config(const weir_stage *stage);
WEIR_API void *weir_stage_shared(const weir_stage *stage);
WEIR_API uint32_t weir_stage_replica(const weir_stage *stage); /* 0 … replicas - 1 */
WEIR_API uint32_t weir_stage_replicas(const weir_stage *stage);
WEIR_API bool weir_stage_is_draining(const weir_stage *stage);
WEIR_API bool weir_stage_is_acked(const weir_stage *stage);

/* Ports, by index; NULL beyond the last. weir_stage_in and _out: the first. */
WEIR_API uint32_t weir_stage_inputs(const weir_stage *stage);
WEIR_API uint32_t weir_stage_outputs(const weir_stage *stage);
WEIR_API weir_in *weir_stage_in_at(weir_stage *stage, uint32_t index);
WEIR_API weir_out *weir_stage_out_at(weir_stage *stage, uint32_t index);
static inline weir_in *weir_stage_in(weir_stage *stage)
{
    return weir_stage_in_at(stage, 0);
}
static inline weir_out *weir_stage_out(weir_stage *stage)
{
    return weir_stage_out_at(stage, 0);
}
WEIR_API uint32_t weir_in_index(const weir_in *in);
WEIR_API uint32_t weir_out_index(const weir_out *out);
/* The name of the stage at the other end: of a dead-letter edge, the one that failed. */
WEIR_API const char *weir_in_from(const weir_in *in);

/* ---- Upstream: demand ---- */

/* Asks for `n` more items. Adds, and saturates at WEIR_UNBOUNDED. 0 is WEIR_EINVAL; on an input
 * that is over it does nothing. */
WEIR_API weir_status weir_request(weir_in *in, uint64_t n);
/* Tops up what is outstanding to `level`; never over-asks. */
WEIR_API void weir_request_to(weir_in *in, uint64_t level);
/* Asked for and not yet handed to the stage; 0 on an input that is over. */
WEIR_API uint64_t weir_in_outstanding(const weir_in *in);
/* What an item of the input costs at most; more fails before it comes here. Never 0. For a stage
 * whose room is counted in bytes: asked for room / this many, what comes fits. */
WEIR_API uint32_t weir_in_item_bytes_max(const weir_in *in);
/* No more, please: what is queued is released as aborted. Idempotent, O(1), allocates nothing. */
WEIR_API void weir_cancel(weir_in *in);
/* True once the input has ended, failed or was cancelled, and nothing of it is left. */
WEIR_API bool weir_in_is_over(const weir_in *in);
/* The error that an input which is over ended with; WEIR_OK if with none, or by a cancel. */
WEIR_API weir_status weir_in_status(const weir_in *in);
/* Drops one item on purpose: ends it as filtered and asks for one in its place. Takes `item`. */
WEIR_API void weir_drop(weir_in *in, weir_item *item);

/* ---- Downstream: items ---- */

/* Items that may be emitted on `out` now. */
WEIR_API uint64_t weir_out_credit(const weir_out *out);
/* True if an item of `cost` bytes may be emitted: there is credit, and either it fits the byte
 * window or nothing is in flight (so that no window can be too small for an item). */
WEIR_API bool weir_out_fits(const weir_out *out, uint32_t cost);
/* How many of items[0..n), from the first on, may be emitted now: as if weir_out_fits was asked
 * before each. Asking it for the sum of their costs is wrong: when nothing is in flight one item
 * may be larger than the window, many may not. */
WEIR_API size_t weir_out_room(const weir_out *out, weir_item *const *items, size_t n);
/* Hands `item` to the edge. Takes it, always. Needs credit: emitting without is a bug in the stage;
 * it aborts in debug builds, and is counted and ends the item as aborted in release builds. */
WEIR_API void weir_emit(weir_out *out, weir_item *item);
WEIR_API void weir_emit_all(weir_out *out, weir_item **items, size_t n);
/* No more items on `out`. Needs no credit; follows the data. Idempotent. */
WEIR_API void weir_end(weir_out *out);
/* The same as an error; WEIR_OK: as weir_end. Follows the data unless the edge lets errors jump it.
 */
WEIR_API void weir_end_error(weir_out *out, weir_status status);
/* Passes the end of the inputs on, behind `held` items that are yet to go: once all inputs are
 * over, or one has failed, which cancels the others, and nothing is held, all outputs end,
 * likewise. Says whether no more will come. Without inputs it does nothing, and says false. */
WEIR_API bool weir_finish(weir_stage *stage, uint64_t held);
/* True once ended or cancelled. */
WEIR_API bool weir_out_is_over(const weir_out *out);

/* ---- Failure ---- */

/* This item failed. Takes it; what becomes of it is the node's error policy. `why` is a static text
 * (or lives as long as the pipeline). A stage with an on_demand of its own is told its outputs'
 * credit again, so that it can ask for another. */
WEIR_API void weir_fail(weir_stage *stage, weir_item *item, weir_status status, const char *why);
/* This item is not let in. Takes it. It goes the way of dead letters if the node's policy has one,
 * and otherwise ends as rejected; it is not tried again, and the pipeline goes on. The rest as for
 * weir_fail. */
WEIR_API void weir_reject(weir_stage *stage, weir_item *item, weir_status status, const char *why);
/* The stage itself failed: the pipeline stops with this as its error, if it is the first. */
WEIR_API void weir_stage_fail(weir_stage *stage, weir_status status, const char *why);

/* ---- Time and work under way ---- */

/* Keeps the stage open while something is under way that will call back. Pairs. A stage with no
 * inputs that are open, no outputs that are open and no holds is closed. */
WEIR_API void weir_stage_hold(weir_stage *stage);
WEIR_API void weir_stage_release(weir_stage *stage);
/* Has `run` called, soon; _after: when `ns` have passed, by a timer of the stage's, which let_go
 * stops (weir_timer_stop). No holds: a stage that is over does not wait for it. */
WEIR_API void weir_stage_wake(weir_stage *stage);
WEIR_API void weir_stage_wake_after(weir_stage *stage, weir_timer *timer, uint64_t ns);

/* Saturating arithmetic on credit: WEIR_UNBOUNDED stays so. */
static inline uint64_t weir_credit_add(uint64_t a, uint64_t b)
{
    return a > WEIR_UNBOUNDED - b ? WEIR_UNBOUNDED : a + b;
}
static inline uint64_t weir_credit_sub(uint64_t a, uint64_t b)
{
    return a == WEIR_UNBOUNDED ? a : a > b ? a - b : 0;
}
static inline uint64_t weir_credit_mul(uint64_t a, uint64_t b)
{
    return b != 0 && a > WEIR_UNBOUNDED / b ? WEIR_UNBOUNDED : a * b;
}

#ifdef __cplusplus
}
#endif
#endif
