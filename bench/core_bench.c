/* What the engine costs per item: hops queued and fused, one at a time and by 64, across loops. */
#include <weir/pipeline.h>
#include <weir/stages.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- Source, map, sink ---- */

typedef struct count_config {
    uint64_t n;
    uint32_t burst; /* items a visit emits at most; 0: all the credit */
} count_config;

typedef struct count_state {
    uint64_t next;
} count_state;

static void count_emit(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    count_state *s = state;
    const count_config *c = weir_stage_config(stage);
    weir_item *items[64];
    while (credit > 0 && s->next < c->n) {
        size_t want = credit < 64 ? (size_t)credit : 64;
        if (want > c->n - s->next)
            want = (size_t)(c->n - s->next);
        size_t got = weir_items_new(weir_stage_loop(stage), NULL, 0, items, want);
        if (got == 0)
            return;
        for (size_t i = 0; i < got; i++)
            items[i]->key = s->next++;
        weir_emit_all(out, items, got);
        credit -= got;
    }
    if (s->next == c->n)
        weir_end(out);
}

/* One item per emit call, as a stage that makes them one by one does. */
static void count_emit_singly(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    count_state *s = state;
    const count_config *c = weir_stage_config(stage);
    for (; credit > 0 && s->next < c->n; credit--) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), NULL, 0);
        if (item == NULL)
            return;
        item->key = s->next++;
        weir_emit(out, item);
    }
    if (s->next == c->n)
        weir_end(out);
}

static const weir_stage_type count_type = {
    .name = "count",
    .config_size = sizeof(count_config),
    .state_size = sizeof(count_state),
    .inputs = WEIR_PORTS_NONE,
    .on_demand = count_emit,
};

static const weir_stage_type count_singly_type = {
    .name = "count",
    .config_size = sizeof(count_config),
    .state_size = sizeof(count_state),
    .inputs = WEIR_PORTS_NONE,
    .on_demand = count_emit_singly,
};

static size_t map_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)stage;
    (void)state;
    for (size_t i = 0; i < n; i++)
        items[i]->key = items[i]->key * 3 + 1;
    return n;
}

static const weir_stage_type map_type = { .name = "map", .transform = map_transform };

static weir_status sum_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                             void *state)
{
    uint64_t *sum = *(uint64_t *const *)weir_stage_config(stage);
    (void)in;
    (void)state;
    uint64_t part = 0;
    for (size_t i = 0; i < n; i++)
        part += items[i]->key;
    __atomic_fetch_add(sum, part, __ATOMIC_RELAXED); /* replicas share it */
    weir_items_ack(items, n);
    return WEIR_OK;
}

/* The same as a pure stage, which fuses: what it leaves is acknowledged. */
static size_t sum_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    uint64_t *sum = *(uint64_t *const *)weir_stage_config(stage), part = 0;
    (void)state;
    for (size_t i = 0; i < n; i++)
        part += items[i]->key;
    __atomic_fetch_add(sum, part, __ATOMIC_RELAXED);
    return n;
}

static const weir_stage_type sum_type = {
    .name = "sum",
    .config_size = sizeof(uint64_t *),
    .outputs = WEIR_PORTS_NONE,
    .transform = sum_transform,
};

/* ---- Work, spread and collect ---- */

static size_t work_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)stage;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        uint64_t until = now_ns() + 1000;
        while (now_ns() < until)
            ;
        items[i]->key |= 1;
    }
    return n;
}

static const weir_stage_type work_type = { .name = "work", .transform = work_transform };

/* A vector to each output with credit, in turn. */
typedef struct spread_state {
    uint32_t next;
} spread_state;

static weir_status spread_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                void *state)
{
    spread_state *s = state;
    (void)in;
    for (uint32_t outs = weir_stage_outputs(stage); n > 0; s->next = (s->next + 1) % outs) {
        weir_out *out = weir_stage_out_at(stage, s->next);
        uint64_t credit = weir_out_credit(out);
        size_t part = n < credit ? n : (size_t)credit;
        weir_emit_all(out, items, part);
        items += part;
        n -= part;
    }
    return WEIR_OK;
}

static void spread_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    uint64_t sum = 0;
    (void)out;
    (void)credit;
    (void)state;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++)
        sum += weir_out_credit(weir_stage_out_at(stage, i));
    weir_request_to(weir_stage_in(stage), sum);
}

static const weir_stage_type spread_type = {
    .name = "spread",
    .state_size = sizeof(spread_state),
    .outputs = WEIR_PORTS_MANY,
    .on_items = spread_items,
    .on_demand = spread_demand,
};

/* Sums from several inputs. */
static weir_status collect_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    for (uint32_t i = 0; i < weir_stage_inputs(stage); i++)
        weir_request_to(weir_stage_in_at(stage, i), WEIR_UNBOUNDED);
    return WEIR_OK;
}

static const weir_stage_type collect_type = {
    .name = "collect",
    .config_size = sizeof(uint64_t *),
    .inputs = WEIR_PORTS_MANY,
    .outputs = WEIR_PORTS_NONE,
    .open = collect_open,
    .on_items = sum_items,
};

/* ---- Stages of the library ---- */

enum { MADE_OF_EACH = 16, BATCH_OF = 64, LEGS = 4 };

static weir_status make_singly(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                               weir_item **ret_made)
{
    (void)item;
    (void)user;
    if (index == MADE_OF_EACH)
        return WEIR_OK;
    *ret_made = weir_item_new(loop, NULL, 0);
    return *ret_made != NULL ? WEIR_OK : WEIR_ENOMEM;
}

static weir_stage_spec *flat_map(void)
{
    return weir_flat_map(make_singly, NULL);
}

static weir_stage_spec *batch(void)
{
    return weir_batch(&(weir_batch_config){ .count = BATCH_OF });
}

static weir_stage_spec *partition(void)
{
    return weir_partition(NULL, LEGS);
}

/* ---- Runs ---- */

#define ROUNDS_MAX 15

typedef struct run {
    uint64_t n;
    uint32_t stages; /* source and sink included */
    uint32_t vector_max, loops, window, fan;
    bool no_fuse, singly, works, place_sink;
    weir_stage_spec *(*via)(void); /* a stage of the library, in the place of the maps */
} run;

static _Atomic uint64_t allocations;

static void *counting_resize(void *memory, size_t bytes, void *user)
{
    (void)user;
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
    return realloc(memory, bytes);
}

static const weir_env counting_env = { .allocator = { .resize = counting_resize } };

static void wire(weir_pipeline *p, const run *r, uint64_t **sum_at)
{
    count_config count = { .n = r->n };
    weir_node *source =
        weir_from(p, weir_stage_of(r->singly ? &count_singly_type : &count_type, &count));
    if (r->fan == 0) {
        if (r->via != NULL)
            weir_via(p, r->via());
        for (uint32_t i = 2; i < r->stages; i++)
            weir_via(p, weir_stage_of(r->works ? &work_type : &map_type, NULL));
        weir_node *sink = weir_into(p, weir_stage_of(&sum_type, sum_at));
        if (r->place_sink)
            weir_node_place(sink, 1);
        return;
    }
    weir_node *spread = weir_add(p, r->via != NULL ? r->via() : weir_stage_of(&spread_type, NULL));
    weir_node *sink = weir_add(p, weir_stage_of(&collect_type, sum_at));
    weir_link(source, 0, spread, 0, NULL);
    for (uint32_t i = 0; i < r->fan; i++) {
        if (r->via != NULL) {
            weir_link(spread, i, sink, i, NULL);
            continue;
        }
        weir_node *worker = weir_add(p, weir_stage_of(&map_type, NULL));
        weir_link(spread, i, worker, 0, NULL);
        weir_link(worker, 0, sink, i, NULL);
    }
}

/* Nanoseconds from start to end of a whole run, per item of each source. */
static double run_ns(const run *r)
{
    _Atomic uint64_t sum = 0;
    uint64_t *sum_at = (uint64_t *)&sum;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){
        .env = &counting_env,
        .loops = r->loops != 0 ? r->loops : 1,
        .no_fuse = r->no_fuse,
        .window = r->window,
        .loop = { .vector_max = r->vector_max },
        .pin = true,
    });
    wire(p, r, &sum_at);
    uint64_t from = now_ns();
    weir_status status = weir_run(p);
    uint64_t took = now_ns() - from;
    if (status != WEIR_OK || sum == 0) {
        fprintf(stderr, "core_bench: %s\n", weir_pipeline_why(p));
        exit(1);
    }
    weir_pipeline_free(p);
    return (double)took / (double)r->n;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[n / 2];
}

static double median_ns(run r, int rounds)
{
    double values[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++)
        values[i] = run_ns(&r);
    return median(values, rounds);
}

/* A hop's cost is a slope: fourteen stages against four, so that source and sink cancel out. */
static double hop_ns(run r, int rounds)
{
    double values[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) {
        run few = r, many = r;
        few.stages = 4;
        many.stages = 14;
        values[i] = (run_ns(&many) - run_ns(&few)) / 10;
    }
    return median(values, rounds);
}

/* ---- Limits: what one in the way adds, when it lets all pass ---- */

/* Retries are in order by key: most items that are retried have none. */
static size_t unkey_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)stage;
    (void)state;
    for (size_t i = 0; i < n; i++)
        items[i]->key = 0;
    return n;
}

static const weir_stage_type unkey_type = { .name = "unkey", .transform = unkey_transform };

typedef enum limit_kind {
    LIMIT_NONE,
    LIMIT_RATE,
    LIMIT_SEMAPHORE,
    LIMIT_ADAPTIVE,
    LIMIT_BREAKER,
    LIMIT_TIMEOUT,
    LIMIT_RETRY,
    LIMIT_RETRY_KEYED
} limit_kind;

static weir_stage_spec *limit_of(limit_kind kind)
{
    switch (kind) {
    case LIMIT_RATE:
        return weir_rate_limit(
            &(weir_rate_limit_config){ .rate = 1000000000, .burst = 1000000000 });
    case LIMIT_SEMAPHORE:
        return weir_semaphore(&(weir_semaphore_config){ .permits = 1000000 });
    case LIMIT_ADAPTIVE:
        return weir_adaptive_limit(&(weir_adaptive_limit_config){ .limit_min = 1000 });
    case LIMIT_BREAKER:
        return weir_breaker(&(weir_breaker_config){ .window_ms = 10000 });
    case LIMIT_TIMEOUT:
        return weir_timeout(&(weir_timeout_config){ .timeout_ms = 10000, .in_flight = 4096 });
    default:
        return weir_stage_of(kind == LIMIT_RETRY_KEYED ? &map_type : &unkey_type, NULL);
    }
}

/* Source, four of them, sink; none of them: maps. */
static double limits_ns(limit_kind kind, uint64_t n)
{
    _Atomic uint64_t sum = 0;
    uint64_t *sum_at = (uint64_t *)&sum;
    weir_pipeline *p =
        weir_pipeline_new(&(weir_pipeline_config){ .loops = 1, .no_fuse = true, .pin = true });
    weir_from(p, weir_stage_of(&count_type, &(count_config){ .n = n }));
    for (int i = 0; i < 4; i++) {
        weir_node *node = weir_via(p, limit_of(kind));
        if (kind >= LIMIT_RETRY)
            weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY });
    }
    weir_into(p, weir_stage_of(&sum_type, &sum_at));
    uint64_t from = now_ns();
    weir_status status = weir_run(p);
    uint64_t took = now_ns() - from;
    if (status != WEIR_OK) {
        fprintf(stderr, "core_bench: %s\n", weir_pipeline_why(p));
        exit(1);
    }
    weir_pipeline_free(p);
    return (double)took / (double)n / 4;
}

static void report_limits(uint64_t n, int rounds)
{
    static const char *const names[] = { "map",     "rate_limit", "semaphore", "adaptive_limit",
                                         "breaker", "timeout",    "retry",     "retry_keyed" };
    double values[LIMIT_RETRY_KEYED + 1][ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) /* in turn, so that all see the same machine */
        for (int kind = 0; kind <= LIMIT_RETRY_KEYED; kind++)
            values[kind][i] = limits_ns((limit_kind)kind, n);
    double map = median(values[LIMIT_NONE], rounds);
    printf("limit_none=%.3f ns\n", map);
    for (int kind = 1; kind <= LIMIT_RETRY_KEYED; kind++)
        printf("limit_%s=%.3f ns\n", names[kind], median(values[kind], rounds) - map);
}

/* ---- What is not time per item ---- */

static double allocations_per_item(uint64_t n)
{
    run r = { .n = n, .stages = 5 };
    run_ns(&r);
    uint64_t before = allocations;
    run_ns(&r);
    uint64_t once = allocations - before;
    r.n = 2 * n;
    before = allocations;
    run_ns(&r);
    uint64_t twice = allocations - before;
    return ((double)twice - (double)once) / (double)n;
}

typedef struct wake {
    weir_loop *loop;
    weir_task task;
    _Atomic uint64_t sent, arrived;
} wake;

static void wake_run(weir_task *task, void *user)
{
    wake *w = user;
    (void)task;
    atomic_store(&w->arrived, now_ns());
}

static void *wake_loop(void *user)
{
    if (weir_loop_run(user) != WEIR_OK)
        exit(1);
    return NULL;
}

/* From a post on one thread to the task on a loop that sleeps, in microseconds. */
static double idle_wake_us(int rounds)
{
    static double values[2001];
    pthread_t thread;
    cpu_set_t before, first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    (void)sched_getaffinity(0, sizeof before, &before);
    wake w = { .loop = weir_loop_new(&(weir_loop_config){ .pin_cpu_plus_1 = 2 }) };
    w.task = (weir_task)WEIR_TASK(wake_run, &w);
    if (pthread_create(&thread, NULL, wake_loop, w.loop) != 0)
        exit(1);
    (void)sched_setaffinity(0, sizeof first, &first); /* as the raw eventfd is measured */
    for (int i = 0; i < rounds; i++) {
        struct timespec pause = { 0, 200000 };
        nanosleep(&pause, NULL);
        atomic_store(&w.arrived, 0);
        uint64_t sent = now_ns();
        weir_post(w.loop, &w.task);
        while (atomic_load(&w.arrived) == 0)
            ;
        values[i] = (double)(w.arrived - sent) / 1000;
    }
    weir_loop_stop(w.loop);
    pthread_join(thread, NULL);
    weir_loop_free(w.loop);
    (void)sched_setaffinity(0, sizeof before, &before);
    return median(values, rounds);
}

static void stop_both(weir_pipeline *p, weir_status status, void *user)
{
    weir_loop **loops = user;
    (void)p;
    (void)status;
    weir_loop_stop(loops[0]);
    weir_loop_stop(loops[1]);
}

/* Bells rung per thousand items while both loops are busy. */
static double wakeups_per_1000(uint64_t n)
{
    uint64_t sum = 0, *sum_at = &sum;
    run r = { .n = n, .stages = 2, .place_sink = true };
    weir_loop *loops[2] = { weir_loop_new(NULL), weir_loop_new(NULL) };
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .window = 4096 });
    pthread_t thread;
    wire(p, &r, &sum_at);
    if (weir_pipeline_start(p, loops, 2, stop_both, loops) != WEIR_OK ||
        pthread_create(&thread, NULL, wake_loop, loops[1]) != 0)
        exit(1);
    wake_loop(loops[0]);
    pthread_join(thread, NULL);
    uint64_t wakeups = 0;
    for (int i = 0; i < 2; i++) {
        weir_loop_stats stats;
        weir_loop_stats_get(loops[i], &stats);
        wakeups += stats.wakeups_received;
    }
    weir_pipeline_free(p);
    weir_loop_free(loops[0]);
    weir_loop_free(loops[1]);
    return (double)wakeups * 1000 / (double)n;
}

/* ---- Stages of fan-in, fan-out and work ---- */

static uint64_t sixteenth(const weir_item *item, void *user)
{
    (void)user;
    return item->key & 15;
}

static void key_done(weir_op *op, void *key_state, void *user)
{
    (void)key_state;
    (void)user;
    weir_op_done(op, WEIR_OK, NULL);
}

static weir_stage_spec *map_copy(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_stage_of(&map_type, NULL);
}

enum { FAN_SOURCES = 2, FAN_LEGS = 4 };

/* Two sources into `fan_in`, or a sink of two inputs if it is NULL. */
static void wire_fan_in(weir_pipeline *p, weir_stage_spec *fan_in, const count_config *count,
                        uint64_t **sum_at)
{
    weir_node *to = weir_add(p, fan_in != NULL ? fan_in : weir_stage_of(&collect_type, sum_at));
    for (uint32_t i = 0; i < FAN_SOURCES; i++)
        weir_link(weir_add(p, weir_stage_of(&count_type, count)), 0, to, i, NULL);
    if (fan_in != NULL)
        weir_link(to, 0, weir_add(p, weir_stage_of(&sum_type, sum_at)), 0, NULL);
}

static void wire_partition(weir_pipeline *p)
{
    weir_node *split = weir_via(p, weir_partition(NULL, FAN_LEGS));
    weir_node *merge = weir_add(p, weir_merge());
    for (uint32_t i = 0; i < FAN_LEGS; i++)
        weir_link(split, i, merge, i, NULL);
    weir_at(p, merge);
}

typedef enum lane {
    LANE_TWO_SOURCES, /* what is taken off the fan-ins */
    LANE_MERGE,
    LANE_STRICT,
    LANE_WEIGHTED,
    LANE_SOURCE, /* what is taken off the others */
    LANE_PARTITION,
    LANE_FAIR_QUEUE,
    LANE_BY_KEY,
    LANE_MAP, /* and off the copies of it */
    LANE_UNORDERED,
    LANE_ORDERED,
    LANES
} lane;

static void wire_lane(weir_pipeline *p, lane which, uint64_t n, uint64_t **sum_at)
{
    const count_config count = { .n = n };
    weir_node *sink;
    switch (which) {
    case LANE_TWO_SOURCES:
        wire_fan_in(p, NULL, &count, sum_at);
        return;
    case LANE_MERGE:
        wire_fan_in(p, weir_merge(), &count, sum_at);
        return;
    case LANE_STRICT:
        wire_fan_in(p, weir_merge_priority(NULL), &count, sum_at);
        return;
    case LANE_WEIGHTED:
        wire_fan_in(p, weir_merge_priority(&(weir_merge_priority_config){ .weights = { 3, 1 } }),
                    &count, sum_at);
        return;
    default:
        break;
    }
    weir_from(p, weir_stage_of(&count_type, &count));
    if (which == LANE_PARTITION)
        wire_partition(p);
    else if (which == LANE_FAIR_QUEUE)
        weir_via(p, weir_fair_queue(&(weir_fair_queue_config){ .key = sixteenth }));
    else if (which == LANE_BY_KEY)
        weir_via(p, weir_async_by_key(
                        &(weir_async_by_key_config){ .start = key_done, .key = sixteenth }));
    else if (which == LANE_MAP)
        weir_via(p, weir_stage_of(&map_type, NULL));
    else if (which != LANE_SOURCE)
        weir_parallel(p, &(weir_parallel_config){ .stage = map_copy,
                                                  .copies = FAN_LEGS,
                                                  .unordered = which == LANE_UNORDERED });
    sink = weir_into(p, weir_stage_of(&sum_type, sum_at));
    if (which == LANE_FAIR_QUEUE) /* so that items do wait */
        weir_node_window(sink, &(weir_edge_config){ .window = 64 });
}

/* Processor time: these figures are small, and other work on the machine is not. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double lane_ns(lane which, uint64_t n)
{
    uint64_t sum = 0, *sum_at = &sum;
    weir_pipeline *p =
        weir_pipeline_new(&(weir_pipeline_config){ .loops = 1, .pin = true, .no_fuse = true });
    wire_lane(p, which, n, &sum_at);
    uint64_t from = cpu_ns();
    if (weir_run(p) != WEIR_OK || sum == 0) {
        fprintf(stderr, "core_bench: %s\n", weir_pipeline_why(p));
        exit(1);
    }
    uint64_t took = cpu_ns() - from;
    weir_pipeline_free(p);
    return (double)took / (double)(which < LANE_SOURCE ? n * FAN_SOURCES : n);
}

/* What the stages cost per item, without the source and the sink. */
static void report_fan(uint64_t n, int rounds)
{
    static const char *const names[LANES] = { NULL,
                                              "merge2",
                                              "merge_priority2_strict",
                                              "merge_priority2_weighted",
                                              NULL,
                                              "partition4_merge",
                                              "fair_queue16",
                                              "async_by_key16",
                                              NULL,
                                              "parallel4_unordered",
                                              "parallel4_ordered" };
    double base = 0, values[ROUNDS_MAX];
    for (lane which = 0; which < LANES; which++) {
        for (int i = 0; i < rounds; i++)
            values[i] = lane_ns(which, n);
        double ns = median(values, rounds);
        if (names[which] == NULL)
            base = ns;
        else
            printf("%s=%.3f ns\n", names[which], ns - base);
    }
}

/* ---- All of it ---- */

static void report_one_loop(uint64_t n, int rounds)
{
    printf("hop_batched=%.3f ns\n", hop_ns((run){ .n = n, .no_fuse = true }, rounds));
    printf("hop_single=%.3f ns\n",
           hop_ns((run){ .n = n / 2, .no_fuse = true, .vector_max = 1 }, rounds));
    printf("hop_fused=%.3f ns\n", hop_ns((run){ .n = n }, rounds));
    for (uint32_t stages = 3; stages <= 5; stages += 2) {
        printf("pipeline%u_queued=%.3f ns\n", stages,
               median_ns((run){ .n = n, .stages = stages, .no_fuse = true }, rounds));
        printf("pipeline%u_fused=%.3f ns\n", stages,
               median_ns((run){ .n = n, .stages = stages }, rounds));
    }
    printf("fanout4=%.3f ns\n", median_ns((run){ .n = n, .fan = 4 }, rounds));
    printf("allocations_per_item=%.9f\n", allocations_per_item(n));
}

/* What a stage of the library adds to source and sink, per item; flat_map per item made. */
static void report_stages(uint64_t n, int rounds)
{
    double bare = median_ns((run){ .n = n, .stages = 2, .no_fuse = true }, rounds);
    printf("batch=%.3f ns\n", median_ns((run){ .n = n, .via = batch }, rounds) - bare);
    printf("partition=%.3f ns\n",
           median_ns((run){ .n = n, .fan = LEGS, .via = partition }, rounds) - bare);
    run made = { .n = n / MADE_OF_EACH, .via = flat_map };
    printf("flat_map=%.3f ns\n", median_ns(made, rounds) / MADE_OF_EACH);
}

static void report_across(uint64_t n, int rounds)
{
    run across = { .n = n * 3, .stages = 2, .loops = 2, .place_sink = true, .window = 4096 };
    printf("ring_batched=%.3f M/s\n", 1000 / median_ns(across, rounds));
    across.singly = true;
    printf("ring_single=%.3f M/s\n", 1000 / median_ns(across, rounds));
    double wakeups[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++)
        wakeups[i] = wakeups_per_1000(n * 3);
    printf("ring_wakeups_per_1000=%.4f\n", median(wakeups, rounds));
    run work = { .n = n / 40, .stages = 3, .works = true };
    printf("work1us_one_loop=%.4f M/s\n", 1000 / median_ns(work, rounds));
    work.loops = 2; /* a copy on each: twice the items in the time of one */
    printf("work1us_two_loops=%.4f M/s\n", 2 * 1000 / median_ns(work, rounds));
    printf("idle_wake_p50=%.3f us\n", idle_wake_us(rounds > 3 ? 2000 : 500));
}

int main(int argc, char **argv)
{
    bool quick = false;
    const char *only = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            quick = true;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else {
            fprintf(stderr, "usage: core_bench [--quick] [--only loop|stages|limits|fan|across]\n");
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    uint64_t n = quick ? 2000000 : 8000000;
    int rounds = quick ? 3 : 7;
    bool all = only[0] == '\0';
    if (all || strcmp(only, "loop") == 0)
        report_one_loop(n, rounds);
    if (all || strcmp(only, "stages") == 0)
        report_stages(n, rounds);
    if (all || strcmp(only, "limits") == 0)
        report_limits(n / 4, rounds);
    if (all || strcmp(only, "across") == 0)
        report_across(n, rounds);
    if (all || strcmp(only, "fan") == 0)
        report_fan(n / 2, rounds);
    return 0;
}
