/* The engine's own structures, shared by core's files and seen by nobody else. */
#ifndef WI_CORE_H
#define WI_CORE_H

#include <pthread.h>
#include <stdatomic.h>

#include <weir/context.h>
#include <weir/env.h>
#include <weir/item.h>
#include <weir/loop.h>
#include <weir/pipeline.h>
#include <weir/stage.h>

#define WI_CACHE_LINE  64
#define WI_VECTOR_MAX  64
#define WI_LOOPS_MAX   64
#define SPIN_HITS_MAX  8
#define WI_LIKELY(x)   __builtin_expect(!!(x), 1)
#define WI_UNLIKELY(x) __builtin_expect(!!(x), 0)

typedef struct wi_edge wi_edge;
typedef struct wi_part wi_part;
typedef struct wi_home wi_home;

/* Counters have one writer, their loop, and readers anywhere: plain moves, made whole. */
static inline void wi_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}
static inline void wi_set(uint64_t *value, uint64_t n)
{
    __atomic_store_n(value, n, __ATOMIC_RELAXED);
}
static inline uint64_t wi_read(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* The first cache line boundary in memory that has a line to spare. */
static inline void *wi_aligned(void *memory)
{
    return (void *)(((uintptr_t)memory + WI_CACHE_LINE - 1) & ~(uintptr_t)(WI_CACHE_LINE - 1));
}

/* ---- env.c ---- */
uint64_t wi_clock(const weir_env *env);
uint64_t wi_entropy(const weir_env *env, uint64_t *state);

/* ---- item.c: slabs, and the way home ---- */

#define WI_CLASSES 8

/* A free stack per size: room for every item that exists, so that giving back cannot fail. */
typedef struct wi_class {
    weir_item **free;
    uint64_t n_free, n_total;
    void *slabs; /* a list, linked through each slab's first line */
} wi_class;

/* Items that come home from one other loop: a ring of pointers. Held by both ends. */
#define WI_HOME_RING 4096
struct wi_home {
    _Alignas(WI_CACHE_LINE) uint64_t tail; /* the sender's */
    uint64_t head_seen;
    bool urgent; /* an end is waited for: ring the bell */
    bool dirty;
    weir_loop *home;
    wi_home *next_sent; /* the sender's list */
    _Alignas(WI_CACHE_LINE) atomic_uint_fast64_t tail_published;
    _Alignas(WI_CACHE_LINE) atomic_uint_fast64_t head_published;
    uint64_t head; /* the home loop's */
    wi_home *next; /* the home loop's list */
    atomic_int ends;
    atomic_bool closed;
    const weir_env *env;
    void *memory; /* what was allocated: the ring lies aligned in it */
    weir_item *slots[WI_HOME_RING];
};

/* Items in the free stacks; any thread. */
uint64_t wi_items_free(const weir_loop *loop);
/* Ends what was leaked, so that its sources hear of it; in debug builds that is the end. */
void wi_items_nack_leaked(weir_loop *loop);
void wi_items_done(weir_loop *loop);
/* Takes in what came home; says whether there was anything. */
bool wi_items_collect(weir_loop *loop);
bool wi_items_pending(weir_loop *loop);
/* Notes an outcome, if it is worse than what the item has. */
void wi_item_note(weir_item *item, weir_outcome outcome, weir_status status);
/* Runs the `ended` callbacks that are due. */
bool wi_items_run_ended(weir_loop *loop);
void wi_items_publish(weir_loop *loop);
/* What counts for a status: one that is none is a bug of whoever says it. */
static inline weir_status wi_status_of(weir_status status)
{
    return status <= WEIR_OK && status > -WEIR_STATUS_COUNT ? status : WEIR_EINTERNAL;
}

static inline uint32_t wi_item_outcome(const weir_item *item)
{
    return (uint32_t)(item->bits >> 4) & 7u;
}

/* ---- loop.c ---- */

struct weir_loop {
    const weir_env *env;
    weir_env env_default;
    weir_loop_config config;
    struct event_base *base;
    struct event *bell_event, *timer_event;
    int bell_fd, timer_fd; /* timer_fd: of an own base; an adopted one has its timeouts */
    uint64_t now, polled_ns, timer_armed_ns, entropy;

    weir_stage *ready_head, *ready_tail;
    weir_task *defer_head, *defer_tail;
    wi_edge *owed;                 /* edges with credit to hand up at the end of the drain */
    wi_edge *dirty_out, *dirty_in; /* edges with something to publish to another loop */
    wi_edge *cross_out, *cross_in; /* edges to and from other loops */
    wi_part *watched;              /* parts of pipelines in which a deadlock is possible */
    weir_timer *timers;
    weir_item *ended_head, *ended_tail;
    uint32_t budget;
    bool in_turn, kicked, now_stale;
    struct weir_testkit *kit; /* a virtual loop's, whose testkit steers and watches it; or NULL */
    uint32_t spin_hits;       /* how often of late spinning paid */
    void *memory;

    wi_class classes[WI_CLASSES];
    wi_home *sent; /* rings to other loops' homes */
    bool sent_dirty;
    weir_loop_stats stats;

    _Alignas(WI_CACHE_LINE) _Atomic(weir_task *) posts;
    _Atomic(weir_item *) returned; /* items from threads without a ring */
    _Atomic(wi_home *) homes;      /* rings from other loops */
    atomic_int sleeping;
    atomic_uint guests; /* other threads within a post */
    atomic_bool stop;
    _Atomic(pthread_t) thread;
    atomic_bool has_thread;
};

/* The loop whose turn runs on this thread. An item's end needs it to know which way is home. */
extern _Thread_local weir_loop *wi_here __attribute__((tls_model("initial-exec")));

/* Wakes the loop if it sleeps. The caller has published what there is to see. */
void wi_loop_ring(weir_loop *loop);
/* Is there anything for a turn to do, timers aside? */
bool wi_loop_has_work(weir_loop *loop);
/* Work was made ready outside a turn of an adopted loop. */
void wi_loop_kick(weir_loop *loop);
/* Runs nothing but ends of items that came home; for the time after the loop has stopped. */
bool wi_loop_quiesce(weir_loop *loop);

/* The i-th processor this process may run on. */
int wi_allowed_cpu(uint32_t index);

/* ---- timer.c ---- */
bool wi_timers_fire(weir_loop *loop);
/* UINT64_MAX is never: what starts itself again there would be due for ever. */
static inline bool wi_timers_due(const weir_loop *loop, uint64_t now)
{
    return loop->timers != NULL && loop->timers->due_ns <= now &&
           loop->timers->due_ns != UINT64_MAX;
}

/* ---- edge.c ---- */

/* The sender's half. credit = granted - tail. */
struct weir_out {
    weir_stage *stage;
    wi_edge *edge;
    weir_item **ring;
    uint64_t mask;
    uint64_t tail;    /* emitted */
    uint64_t granted; /* as the sender knows it */
    uint64_t bytes;   /* cost emitted */
    uint64_t zero_since, no_credit_ns;
    uint32_t index;
    bool over, cancelled;
    bool parked; /* as of an input */
};

/* The receiver's half. granted - head = credit + queued; outstanding = demand + granted - head. */
struct weir_in {
    weir_stage *stage;
    wi_edge *edge;
    uint64_t demand; /* requested, not yet granted */
    uint64_t head;   /* handed to the stage */
    uint64_t granted;
    uint64_t tail_seen;
    uint64_t surplus; /* granted, but not to the stage that is here now: it gets none of these
                         before it asks, and what it asks for is taken from here first */
    uint32_t index;
    bool over, cancelled, end_seen;
    bool parked;    /* over for a stage that is being swapped out only */
    uint64_t bytes; /* cost taken off */
};

struct wi_edge {
    _Alignas(WI_CACHE_LINE) weir_out out;
    uint64_t out_published;
    weir_status end_status;
    bool ended, on_dirty_out;
    bool has_contexts; /* an item with a context has been emitted; read after the tail */
    uint64_t bytes_seen;
    wi_edge *next_dirty_out;
    _Alignas(WI_CACHE_LINE) weir_in in;
    bool on_owed, on_dirty_in;
    wi_edge *next_owed, *next_dirty_in;
    _Alignas(WI_CACHE_LINE) atomic_uint_fast64_t tail_shared;    /* written by the sender's loop */
    atomic_int end_shared;                                       /* 0, or 1 - status */
    _Alignas(WI_CACHE_LINE) atomic_uint_fast64_t granted_shared; /* by the receiver's loop */
    atomic_uint_fast64_t bytes_shared;
    atomic_bool cancel_shared;
    _Alignas(WI_CACHE_LINE) uint64_t window, window_bytes; /* window: the receiver's loop */
    uint64_t latency_ns;                                   /* 0: the window is not its own */
    uint32_t item_bytes_max, link;
    bool is_cross, error_jumps, is_fused;
    bool is_dead_letter; /* carries also what is over: it is kept aside for that */
    wi_edge *next_cross_out, *next_cross_in;
    weir_item **slots;
    uint32_t window_min, window_max;
    uint64_t resizes;
    uint64_t sized_ns, sized_head, sized_work_ns; /* at the last look at its size */
};

weir_status wi_edge_init(wi_edge *edge, const weir_env *env, const weir_edge_config *config,
                         bool is_cross);
void wi_edge_done(wi_edge *edge, const weir_env *env);
/* Another window, within the ring. The receiver's loop. */
void wi_edge_set_window(wi_edge *edge, uint64_t window);
/* Sizes a window that is its own, if it is time to. After items were taken, on the receiver's loop.
 */
void wi_edge_size_itself(wi_edge *edge);
/* Hands up the small credit that was kept back. */
void wi_edges_flush_owed(weir_loop *loop);
/* Looks at the rings from and the credit by other loops; says whether there was anything. */
bool wi_edges_poll(weir_loop *loop);
/* The same look, without taking: is there anything? */
bool wi_edges_pending(weir_loop *loop);
void wi_edges_publish(weir_loop *loop);
/* Releases what is left on the edge, as aborted. */
void wi_edge_release_queue(wi_edge *edge);

/* ---- stage.c ---- */

typedef struct wi_retry wi_retry;
typedef struct wi_live wi_live;
typedef struct wi_setting wi_setting;
typedef struct wi_waits wi_waits;

typedef enum wi_after_visit { WI_NOTHING, WI_TOPS_UP, WI_RUNS } wi_after_visit;

struct weir_stage {
    _Alignas(WI_CACHE_LINE) weir_stage *next_ready;
    weir_stage *exec; /* the head of the fused chain it runs in: itself, mostly */
    weir_stage *fused_next, *fused_tail;
    const weir_stage_type *type;
    void *state;
    weir_loop *loop;
    /* Port bits: something to do. */
    uint64_t in_ready, in_ending, must_release, out_demand, out_cancelled;
    uint64_t gated; /* outputs with a window of bytes, into which it emits what it gets at once */
    bool queued, opened, closed, draining, aborting;
    uint8_t after_visit; /* a wi_after_visit */
    bool must_drain, must_abort;
    bool takes_late; /* asynchronous: takes retries also after its input is over */
    bool swapping;   /* swap is set: no items are delivered */
    uint8_t clock_state;
    uint32_t sample, sample_every;
    uint32_t n_in, n_out, n_open_in, n_open_out;
    weir_in **in;
    weir_out **out;
    weir_out *dead_letter; /* an output beyond n_out, or NULL */
    uint64_t holds;
    uint64_t state_since;
    wi_part *part;
    const weir_node *node;
    const weir_stage_spec *spec; /* what it was made of: with a swap, not always its node's */
    const void *config;          /* the present one */
    wi_setting *setting;         /* where it lives: NULL, in the spec */
    void *shared;
    weir_in *current_in; /* whose items it was handed last */
    wi_retry *retry;     /* of the policy: NULL if it keeps no items */
    wi_live *swap;       /* a change that waits until nothing is under way here */
    weir_error_policy policy;
    uint32_t replica;
    weir_stage_stats stats;
};

struct weir_stage_spec {
    const weir_stage_type *type;
    void *config;
    char name[64];
    /* What lies behind an async stage, for its accessors. */
    const void *extra;
    void (*free_extra)(void *extra);
};

/* Where a stage's time goes when it is not in its callbacks. */
enum { WI_IDLE, WI_STARVED, WI_BLOCKED };

/* It failed to open: from now on it does nothing, as of a type of its own. */
void wi_stage_shut(weir_stage *stage);
void wi_stage_ready(weir_stage *stage);
/* One visit: control, one vector of each input, terminals. */
void wi_stage_run(weir_stage *stage);
void wi_stage_maybe_close(weir_stage *stage);
/* Whether the stage, or one that is fused behind it, has work under way. */
static inline bool wi_stage_is_held(const weir_stage *stage)
{
    for (; stage != NULL; stage = stage->fused_next)
        if (stage->holds != 0)
            return true;
    return false;
}
void wi_stage_count_failed(weir_stage *stage, weir_status status);
/* `n` items took `ns` together; they stand for `weight` times as many. */
void wi_stage_count_duration(weir_stage *stage, uint64_t ns, uint64_t n, uint64_t weight);
weir_status wi_stage_open(weir_stage *stage);
void wi_stage_clock(weir_stage *stage, uint64_t now);
/* Asks its input for what its output has credit for. */
void wi_stage_top_up(weir_stage *stage);
/* What its type has it do at the end of each visit. */
wi_after_visit wi_stage_what_after_visit(const weir_stage *stage);
/* Calls its type's `run`, if it has one and may. */
void wi_stage_look_at_all(weir_stage *stage);
/* Has it an output that is open, or none at all? */
bool wi_stage_is_wanted(const weir_stage *stage);
/* Calls let_go and close, if it is open. */
void wi_stage_close(weir_stage *stage);
/* Would a stage that emits what it gets have room for it? */
bool wi_stage_fits(const weir_stage *stage, weir_item *item);
/* Hands items to a stage that has them already paid for: again, after a retry's wait. */
void wi_stage_end_outputs(weir_stage *stage, weir_status status);
weir_status wi_edge_end_status(const wi_edge *edge);
void wi_stage_redeliver(weir_stage *stage, weir_in *in, weir_item *item);

/* ---- policy.c ---- */
weir_status wi_retry_new(const weir_env *env, const weir_error_policy *policy,
                         wi_retry **ret_retry);
/* Moves what waits to `to`, which has at least as much room and is empty. */
void wi_retry_move(wi_retry *from, wi_retry *to);
uint32_t wi_retry_room(const wi_retry *retry);
/* Fills in defaults; false: it makes no sense. */
bool wi_policy_complete(weir_error_policy *policy);
void wi_retry_free(wi_retry *retry, const weir_env *env);
/* Emits the dead letters that wait for credit. */
void wi_retry_dead_letters(weir_stage *stage);
uint32_t wi_retry_waiting(const wi_retry *retry);
/* The same without dead letters: items that will be handed to the stage again. NULL is fine. */
uint32_t wi_retry_tries_left(const wi_retry *retry);
/* How many of items[0..n) may be handed over at once: none while as many wait as may, and of
 * those with a key one each, so that none passes an earlier one that fails. */
size_t wi_retry_vector(const weir_stage *stage, weir_item *const *items, size_t n);
/* Gives up all that wait, as aborted; without or with the dead letters. */
void wi_retry_cancel(wi_retry *retry);
void wi_retry_abort(wi_retry *retry);
/* Takes out of items[0..n) those that must wait behind a retry of their key; gives how many stay.
 */
size_t wi_retry_hold_keys(weir_stage *stage, weir_in *in, weir_item **items, size_t n);

/* ---- budget.c ---- */

/* Items and retries of the last seconds, a tenth of the time in each slot. */
enum { WI_BUDGET_SLOTS = 10 };
typedef struct wi_budget_slot {
    uint64_t number, items, retries;
} wi_budget_slot;
typedef struct wi_budget {
    int lock;
    uint64_t slot_ns;       /* by the policy that looked last */
    uint64_t number, items; /* at the last look */
    wi_budget_slot slots[WI_BUDGET_SLOTS];
} wi_budget;
/* May an item of this stage's node be tried again? If so, that is one retry. */
bool wi_budget_take(weir_stage *stage);

/* ---- pipeline.c, run.c ---- */

typedef struct wi_graph_link {
    weir_node *from, *to;
    uint32_t output, input;
    weir_edge_config given;
    weir_edge_config config; /* complete, from the check on: for whom the start has told */
    bool dead_letter;
} wi_graph_link;

struct weir_node {
    weir_pipeline *pipeline;
    weir_stage_spec *spec;
    uint32_t index, n_in, n_out, place;
    bool acks, placed, best_effort, has_policy, has_edge_config, has_dead_letter;
    weir_edge_config edge_config;
    weir_error_policy policy;
    wi_budget budget;    /* of its retries, for all replicas */
    char name[80];       /* unique in the pipeline */
    wi_setting *setting; /* the last one accepted, under the pipeline's lock; NULL: the spec's */
};

/* What one loop runs of a pipeline. */
struct wi_part {
    weir_pipeline *pipeline;
    weir_loop *loop;
    uint32_t index, n_stages, n_live;
    weir_stage **stages; /* sinks first */
    weir_task start, control;
    atomic_int wanted;    /* 0, 1 + WEIR_DRAIN, 1 + WEIR_ABORT */
    bool done;            /* under the pipeline's lock, as the next */
    uint32_t n_live_here; /* changes that are at this part */
    wi_part *next_watched;
    bool asleep; /* its loop sleeps: written by it under the pipeline's lock */
};

struct weir_pipeline {
    weir_env env_default;
    const weir_env *env;
    weir_pipeline_config config;
    char name[64];
    weir_node **nodes;
    uint32_t n_nodes, nodes_room;
    wi_graph_link *links;
    uint32_t n_links, links_room;
    weir_node *last; /* of the chain */
    bool placed, checked, started;
    weir_status build_status;

    uint32_t n_replicas, n_parts;
    wi_part *parts;
    weir_stage *stages;                 /* replica-major: [replica * n_nodes + node] */
    wi_edge *edges;                     /* replica-major: [replica * n_links + link] */
    void *stages_memory, *edges_memory; /* as allocated; the arrays lie aligned in them */
    void **shared;
    uint32_t *order; /* nodes, sources first */
    atomic_uint parts_live;
    atomic_bool made; /* what is to be looked at while it runs is there */
    atomic_bool finished;
    weir_task finish;
    weir_timer drain_timer;
    weir_task drain_task;
    atomic_bool drain_late; /* the drain was cut short by its deadline */
    void (*on_finished)(weir_pipeline *pipeline, weir_status status, void *user);
    void *on_finished_user;
    uint64_t started_ns;
    pthread_mutex_t lock; /* of the first error, and of all that asks for the end */
    int asked;            /* 0, 1 + WEIR_DRAIN, 1 + WEIR_ABORT */
    bool running, closing, has_deadline;
    uint32_t drain_ms;
    weir_status status;
    char why[256];
    wi_live *retired; /* changes over, but for what belongs to them and is still in use */
    wi_waits *waits;  /* NULL: no deadlock is possible */
    wi_live *changes; /* under way, oldest first; under the lock, as their number */
    uint32_t n_changes;
    uint64_t *mark; /* the bottleneck finder's figures of its last call */
    uint64_t mark_ns;
    struct weir_testkit *kit; /* of the env, or NULL */
    weir_pipeline *next_on_kit;
};

/* What is given for a link, with the defaults: the link's own, the node's, the pipeline's, ours.
 * Writes nothing: other threads may ask for it while the pipeline is checked. */
weir_edge_config wi_graph_link_complete(const weir_pipeline *pipeline, const wi_graph_link *link);
/* Latches the first error, as "name: why (text)". Any thread. */
void wi_pipeline_latch(weir_pipeline *pipeline, const char *who, weir_status status,
                       const char *why);
/* Latches it and aborts. */
void wi_pipeline_fail(weir_pipeline *pipeline, const char *who, weir_status status,
                      const char *why);
void wi_part_stage_closed(wi_part *part);
/* Finds out which of its outputs are gated. */
void wi_stage_gate(weir_stage *stage);

/* ---- deadlock.c ---- */

/* Prepares the watch if the graph has what a deadlock takes. WEIR_ENOMEM: nothing is made. */
weir_status wi_waits_new(weir_pipeline *pipeline);
void wi_waits_free(weir_pipeline *pipeline);
/* The part starts, and is done. On its loop. */
void wi_part_watch(wi_part *part);
void wi_part_unwatch(wi_part *part);
/* The loop is about to sleep, and wakes; only with `watched`. */
void wi_loop_asleep(weir_loop *loop);
void wi_loop_awake(weir_loop *loop);

/* ---- live.c ---- */
void wi_setting_release(wi_setting *setting);
/* The pipeline has ended. */
void wi_live_free_retired(weir_pipeline *pipeline);

/* ---- swap.c ---- */
/* After what a stage that is being swapped out did in a visit. */
void wi_swap_step(weir_stage *stage);
/* It stays, as it is to abort. */
void wi_swap_abandon(weir_stage *stage);
/* True if the end is the stage's own only, and not to be passed on. */
bool wi_swap_keeps_end(weir_out *out);
uint32_t wi_ports_of(int declared);
/* WEIR_OK, or `*why` its type or config refuses so many linked ports. */
weir_status wi_spec_has_ports(const weir_stage_spec *spec, uint32_t n_in, uint32_t n_out,
                              const char **why);

bool wi_node_is_acked(const weir_node *node);

#endif
