/* Pipelines: wiring stages into a graph, running it on loops, looking at it, ending it.
 *
 * Wiring latches the first error: write it without checks, and look at what start or run says. */
#ifndef WEIR_PIPELINE_H
#define WEIR_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_node weir_node; /* a stage in the graph, before it runs */

typedef struct weir_pipeline_config {
    const char *name;        /* for metrics and messages; copied; NULL: "weir" */
    const weir_env *env;     /* borrowed; NULL: the defaults */
    uint32_t loops;          /* 0: weir_loops_default(). For weir_run */
    weir_loop_config loop;   /* for the loops that weir_run makes; its env and base are ignored */
    bool pin;                /* pin loop i to the i-th processor allowed */
    bool no_fuse;            /* run every stage on its own */
    uint32_t window;         /* default of every edge; 0: 256 on one loop, 1024 across loops */
    uint32_t item_bytes_max; /* default of every edge; 0: 2 MiB */
    uint32_t drain_ms;       /* weir_run: drain on SIGTERM and SIGINT, abort after this; 0: 5000 */
    uint32_t drain_ms_max;   /* a drain without a deadline aborts after this; 0: 60,000;
                                UINT32_MAX: never */
    uint32_t change_ms_max;  /* a change that a replica has not taken after this is told as late
                                (weir_on_changed); 0: 30,000; UINT32_MAX: never */
} weir_pipeline_config;

typedef struct weir_edge_config {
    uint32_t window;     /* items in flight, 1..1048576; 0: the pipeline's */
    uint32_t window_max; /* what a change may raise it to; 0: the window. Costs 8 bytes an item, up
                            to twice that as its ring is a power of two, taken at the start */
    /* The window sizes itself instead: so that an item waits this long on the edge, by Little's law
     * (J. D. C. Little 1961): window = rate x wait. The rate is that at which the receiver takes
     * items while it has any to work on; looked at once in 100 ms and only as items flow, and half
     * of the difference is made up each time. It begins with `window`, cut to these bounds. */
    uint32_t latency_us; /* 0: the window stays as set */
    uint32_t window_min; /* never less; 0: 1. Never more than window_max (0: the default window) */
    uint64_t window_bytes;   /* bytes in flight (sum of costs); 0: window x item_bytes_max */
    uint32_t item_bytes_max; /* an item that costs more fails with WEIR_ELIMIT; 0: the pipeline's */
    bool error_jumps;        /* an error overtakes the data, which is aborted */
} weir_edge_config;

typedef enum weir_on_error {
    WEIR_ON_ERROR_DEFAULT,     /* skip if the item's source is told of its end, otherwise stop */
    WEIR_ON_ERROR_SKIP,        /* end the item as failed, go on */
    WEIR_ON_ERROR_RETRY,       /* hand it to the stage again after a backoff, then as `then` says */
    WEIR_ON_ERROR_DEAD_LETTER, /* emit it on the dead-letter output, ended by that path's sink */
    WEIR_ON_ERROR_STOP         /* the first error cancels everything */
} weir_on_error;

typedef struct weir_error_policy {
    weir_on_error on_error;
    uint32_t retries_max;    /* 0: 3; at most 255 */
    uint32_t backoff_ms;     /* first wait, doubled each time, with jitter of a half; 0: 50 */
    uint32_t backoff_ms_max; /* 0: 5000 */
    uint32_t waiting_max; /* items waiting for their retry, 0: 256; more: as `then` says. While it
                             is full the stage's demand is withheld by as many */
    weir_on_error then;   /* after the last retry, or when there is no budget; not RETRY */
    /* The budget: in any budget_ms, budget_percent retries for a hundred items that came to the
     * node, and budget_per_second each second besides; for all replicas together. A service that is
     * down is not asked more often than that (Finagle's RetryBudget). */
    uint32_t budget_percent;    /* up to 1000; 0: 20; UINT32_MAX: no budget */
    uint32_t budget_per_second; /* up to 1,000,000; 0: 10 */
    uint32_t budget_ms;         /* 1000..60,000; 0: 10,000 */
} weir_error_policy;

/* Gives a pipeline, or NULL for want of memory, which wiring, check, start and run take too: they
 * say WEIR_ENOMEM. config NULL: all defaults. */
WEIR_API weir_pipeline *weir_pipeline_new(const weir_pipeline_config *config);
/* Takes the pipeline, which must not be running. NULL is fine. */
WEIR_API void weir_pipeline_free(weir_pipeline *pipeline);

/* ---- Wiring; all before start; every spec is taken, also on an error ---- */

/* A chain: from, via…, into. Each links to the one before. They give the node, or NULL after an
 * error, which is latched. */
WEIR_API weir_node *weir_from(weir_pipeline *pipeline, weir_stage_spec *source);
WEIR_API weir_node *weir_via(weir_pipeline *pipeline, weir_stage_spec *stage);
WEIR_API weir_node *weir_into(weir_pipeline *pipeline, weir_stage_spec *sink);
/* A graph: nodes, then links between ports. A NULL node is the latched error's and is ignored. */
WEIR_API weir_node *weir_add(weir_pipeline *pipeline, weir_stage_spec *stage);
WEIR_API void weir_link(weir_node *from, uint32_t output, weir_node *to, uint32_t input,
                        const weir_edge_config *config);
/* Continues the chain of from/via/into after `node`, at its next free output. */
WEIR_API void weir_at(weir_pipeline *pipeline, weir_node *node);

/* Sets the edge config of the node's input (of the link that ends there). */
WEIR_API void weir_node_window(weir_node *node, const weir_edge_config *config);
/* Places the node on loop `index`. A pipeline with a placed node runs as one copy, unplaced nodes
 * on loop 0; one without runs as one copy on each loop. */
WEIR_API void weir_node_place(weir_node *node, uint32_t loop_index);
/* What becomes of items that fail at the node. Copies `policy`; without one all is default. */
WEIR_API void weir_node_policy(weir_node *node, const weir_error_policy *policy);
/* Failed and rejected items of `node` go to an input of `to`, by a further edge. Sets DEAD_LETTER
 * if the node has no policy. */
WEIR_API void weir_node_dead_letter(weir_node *node, weir_node *to, uint32_t input);
/* Loss is fine here: lets lossy stages stand at this node although the source is acked. */
WEIR_API void weir_node_best_effort(weir_node *node);

/* Checks the graph as start does, without starting: every port linked, acyclic, no lossy stage on
 * an acked path, configs sane. */
WEIR_API weir_status weir_pipeline_check(weir_pipeline *pipeline) WEIR_MUST_USE;
/* The first error, as a sentence that names the stage; "" if there is none. Borrowed. */
WEIR_API const char *weir_pipeline_why(const weir_pipeline *pipeline);
/* Worst-case memory of one replica's edges in bytes: each window, at the most that it may become,
 * times item_bytes_max, or its window_bytes plus one item. */
WEIR_API uint64_t weir_pipeline_bound(const weir_pipeline *pipeline);

/* ---- Running ---- */

/* Runs on its own loops, one thread each, the caller's among them, until the sources end, a stage
 * fails, or SIGTERM or SIGINT drains it. WEIR_OK, or the first error; that of a drain cut short is
 * WEIR_EDEADLINE (drain_ms passed) or WEIR_ECANCELED (a second signal). Of several runs at once in
 * a process the first has the signals: the others are told by weir_pipeline_shutdown. */
WEIR_API weir_status weir_run(weir_pipeline *pipeline) WEIR_MUST_USE;

/* Starts on loops of yours, which you run; they must not run yet, or there is one, and the call
 * comes from its thread. `finished` runs on loops[0] when all stages have closed. */
WEIR_API weir_status weir_pipeline_start(weir_pipeline *pipeline, weir_loop **loops, uint32_t n,
                                         void (*finished)(weir_pipeline *pipeline,
                                                          weir_status status, void *user),
                                         void *user) WEIR_MUST_USE;

typedef enum weir_shutdown {
    WEIR_DRAIN, /* stop the sources, let everything in flight settle; drain_ms_max at most */
    WEIR_ABORT, /* cancel now, account for what was dropped */
    WEIR_HYBRID /* drain, abort at the deadline */
} weir_shutdown;
/* Begins to end the pipeline. Any thread; a later, harder call hardens it. deadline_ms is for
 * HYBRID. */
WEIR_API void weir_pipeline_shutdown(weir_pipeline *pipeline, weir_shutdown how,
                                     uint32_t deadline_ms);
WEIR_API bool weir_pipeline_is_finished(const weir_pipeline *pipeline);
/* True from the first shutdown or failure on: it takes no new work. Any thread. */
WEIR_API bool weir_pipeline_is_ending(const weir_pipeline *pipeline);
/* The first error, or WEIR_OK. */
WEIR_API weir_status weir_pipeline_status(const weir_pipeline *pipeline);
/* Loop `index` that the pipeline runs on; NULL beyond the last or before the start. Borrowed. */
WEIR_API weir_loop *weir_pipeline_loop(const weir_pipeline *pipeline, uint32_t index);

/* ---- Changing it while items flow ----
 *
 * Any thread, callbacks of its stages included, from the start on until it has finished: the caller
 * sees to it that the pipeline is not freed meanwhile. A stage goes by its name, as in the figures
 * (weir_stage_named). Either a call is refused: it gives an error, `*ret_why` (optional) a static
 * text that says why, and nothing has happened; or it gives WEIR_OK, and the change goes from
 * replica to replica, on the loop of each, replica 0 first. Changes of one stage happen in the
 * order of the calls.
 *
 * Refused are: WEIR_ENOTFOUND, no such stage or input; WEIR_ECLOSED, not started, aborting or over;
 * WEIR_EOVERLOAD, WEIR_CHANGES_MAX are under way; WEIR_ENOMEM; WEIR_EUNSUPPORTED, the stage cannot;
 * WEIR_EINVAL and whatever the stage's `check` says, a bad value. */

enum { WEIR_CHANGES_MAX = 64 };

/* Told once what became of a change that was not refused: WEIR_OK, all replicas that are still open
 * have it; WEIR_ECLOSED, none was; WEIR_EDEADLINE, it, or one that it waits behind, waits at a
 * replica for longer than change_ms_max, and goes on, of which nothing more is told; another
 * status: a replica could not, and all have what they had. A change that is late holds up what
 * flows through its stage, and the changes behind it, but no shutdown. Runs on a loop of the
 * pipeline, beneath no other callback, before the pipeline's `finished`. */
typedef struct weir_on_changed {
    void (*done)(weir_pipeline *pipeline, weir_status status, const char *why, void *user);
    void *user; /* borrowed until then */
} weir_on_changed;

/* Gives a stage new settings: a whole config of its type, or what its documentation names instead
 * (async: weir_async_options). Copies `config`, `config_size` bytes; pointers in it stay borrowed
 * until the pipeline is freed. `on_changed` is copied; NULL: nobody is told. */
WEIR_API weir_status weir_pipeline_change(weir_pipeline *pipeline, const char *stage,
                                          const void *config, size_t config_size,
                                          const weir_on_changed *on_changed,
                                          const char **ret_why) WEIR_MUST_USE;

/* What `share` of the node's stage made, if that is of `type` and the pipeline has been started;
 * otherwise NULL. Borrowed until the pipeline is freed, weir_run returns, or the stage is swapped:
 * who may ask while it is sees to that. Any thread. */
WEIR_API void *weir_node_shared(const weir_node *node, const weir_stage_type *type);

/* Sets the window of the edge to input `input` of a stage: 1..window_max of its config, and not of
 * one that sizes itself. A larger one is granted at once; after a smaller one nothing is granted
 * until fewer are in flight. An edge within a fused chain is given back its queue first: the chain
 * is fused no more. */
WEIR_API weir_status weir_pipeline_set_window(weir_pipeline *pipeline, const char *stage,
                                              uint32_t input, uint32_t window,
                                              const weir_on_changed *on_changed,
                                              const char **ret_why) WEIR_MUST_USE;

/* Sets a stage's error policy: it decides what fails from then on. Items that wait for their next
 * try keep their turn and their place in the order of their key, whatever the new policy is.
 * Dead letters need a link that was there at the start (WEIR_EINVAL). Copies `policy`. */
WEIR_API weir_status weir_pipeline_set_policy(weir_pipeline *pipeline, const char *stage,
                                              const weir_error_policy *policy,
                                              const weir_on_changed *on_changed,
                                              const char **ret_why) WEIR_MUST_USE;

/* Puts another stage in the place of one, replica by replica; takes `spec`, always. The new one
 * needs the ports that are linked there; it keeps the old one's name, figures, error policy and
 * dead letters. On each replica the old one gets no more items (they stay on the edge); waiting
 * retries are let run out; then it is told that its inputs have ended (a source: to drain), emits
 * what it holds as demand comes, and when it has ended its outputs and released its holds it is
 * closed, the ends not passed on. Then the new one opens at the same ports. Ports that were over
 * stay so, and it is told of them. Pure stages in a fused chain change places within it; any other
 * unfuses the chain. So nothing is lost, doubled or overtaken; how long it takes is up to the old
 * stage and to the demand below. One that follows its items to their end (a breaker, a semaphore,
 * a dedup that forgets) waits until all that it passed on has ended: above a window that waits for
 * more without a time that is for ever, and all that is left is to end the pipeline; `on_changed`
 * tells of it (WEIR_EDEADLINE). A zip ends what has no partner as aborted. Swaps wait for each
 * other. If the new one cannot open, the pipeline fails with its reason: the old one is gone by
 * then. A replica whose ports are all over, or that is aborted meanwhile, ends with the old one.
 * Refused besides: a lossy stage on an acked path, one that differs in `acks`. */
WEIR_API weir_status weir_pipeline_swap(weir_pipeline *pipeline, const char *stage,
                                        weir_stage_spec *spec, const weir_on_changed *on_changed,
                                        const char **ret_why) WEIR_MUST_USE;

/* ---- Looking at it, from any thread while it runs or stands ---- */

#define WEIR_DURATION_BUCKETS 28 /* bucket i: up to 128 ns << i; the last: longer */

typedef struct weir_stage_stats {
    const char *name;
    uint32_t replicas;
    uint64_t items_in, items_out, filtered, aborted, failed, retried, dead_lettered, over_emitted;
    uint64_t failed_by[WEIR_STATUS_COUNT];             /* by -status */
    uint64_t busy_ns, starved_ns, blocked_ns, idle_ns; /* summed over replicas */
    uint64_t in_flight;                                /* holds: operations under way */
    /* Time in the callbacks per item, sampled and weighted; of asynchronous stages that of each
     * operation, from its start to its end. */
    uint64_t duration_count, duration_ns;
    uint64_t duration[WEIR_DURATION_BUCKETS];
} weir_stage_stats;

typedef struct weir_edge_stats {
    const char *from, *to;
    uint32_t output, input;
    uint64_t window, queued, credit, window_bytes, bytes; /* summed over replicas */
    uint64_t no_credit_ns;                                /* how long the sender had none */
    uint64_t resizes; /* how often the window was changed: by itself or by a call */
} weir_edge_stats;

WEIR_API uint32_t weir_pipeline_stages(const weir_pipeline *pipeline);
WEIR_API uint32_t weir_pipeline_edges(const weir_pipeline *pipeline);
WEIR_API weir_status weir_pipeline_stage_stats(const weir_pipeline *pipeline, uint32_t index,
                                               weir_stage_stats *ret_stats);
WEIR_API weir_status weir_pipeline_edge_stats(const weir_pipeline *pipeline, uint32_t index,
                                              weir_edge_stats *ret_stats);

/* The nanoseconds within which a share `q` (0..1) of the items were done: the upper end of their
 * bucket, UINT64_MAX for the last; 0 without figures. */
WEIR_API uint64_t weir_duration_quantile(const weir_stage_stats *stats, double q);
/* A window for the edge to a stage whose durations vary so: 2 x p99 / median, at least 2, at most
 * 1048576. 0 below 100 items: too few to tell. It is a start; to hold a latency, see latency_us. */
WEIR_API uint32_t weir_window_advice(const weir_stage_stats *stats);

typedef struct weir_bottleneck {
    const char *stage; /* NULL: nothing holds the rest back */
    double held_back;  /* share of the time, 0..1, for which it kept its senders without credit */
    double busy;       /* share of the time in its callbacks */
} weir_bottleneck;
/* Names the stage that holds the rest back, since the last call (or the start): of the stages that
 * left their senders without credit while they had credit themselves, the one that did it longest;
 * failing that, one that keeps its loop busy by itself. */
WEIR_API void weir_pipeline_bottleneck(weir_pipeline *pipeline, weir_bottleneck *ret_bottleneck);

/* Names the circle of a deadlock: stages that wait for each other's items and credit, so that none
 * can move again, as "deadlock: zip waits for items of left, left waits for items of broadcast,
 * broadcast waits for credit of right, right waits for credit of zip", and what is queued on their
 * edges. 0: there is none. Only graphs in which paths part and meet again can have one; it is
 * looked for whenever a loop has nothing left to do, and logged once as a warning. Every loop of
 * the pipeline must be idle (of a pipeline that runs as copies: the copy's), with no timer running.
 * A stage with something under way (weir_stage_hold), a source that has credit, or a sink that asks
 * for nothing is waited for, not deadlocked. As snprintf below. Any thread. */
WEIR_API size_t weir_pipeline_deadlock(const weir_pipeline *pipeline, char *buffer, size_t cap);

/* Text writers, as snprintf: give the length that the whole text has, write at most cap bytes with
 * the final NUL. */
WEIR_API size_t weir_pipeline_dot(const weir_pipeline *pipeline, char *buffer, size_t cap);
WEIR_API size_t weir_pipeline_json(const weir_pipeline *pipeline, char *buffer, size_t cap);
typedef enum weir_metrics_format { WEIR_PROMETHEUS_TEXT, WEIR_OPENMETRICS } weir_metrics_format;
/* Prometheus text 0.0.4, or OpenMetrics 1.0.0. */
WEIR_API size_t weir_pipeline_metrics(const weir_pipeline *pipeline, weir_metrics_format format,
                                      char *buffer, size_t cap);

#ifdef __cplusplus
}
#endif
#endif
