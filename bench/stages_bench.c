/* What the stages of the library cost per item: the time that one adds to the same pipeline without
 * it, from source to sink. Medians of rounds, in processor time where one loop does it all. */
#include "rig.h"

#include <weir/stages.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The stages ---- */

static weir_status make_singly(weir_loop *loop, const weir_item *item, uint32_t index,
                               uint64_t each, weir_item **ret_made)
{
    if (index == each)
        return WEIR_OK;
    *ret_made = weir_item_new(loop, NULL, 0);
    if (*ret_made == NULL)
        return WEIR_ENOMEM;
    (*ret_made)->key = item->key * each + index;
    return WEIR_OK;
}

static weir_status make_two(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                            weir_item **ret_made)
{
    (void)user;
    return make_singly(loop, item, index, 2, ret_made);
}

static weir_status make_64(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                           weir_item **ret_made)
{
    (void)user;
    return make_singly(loop, item, index, 64, ret_made);
}

static weir_status make_64_at_once(weir_loop *loop, const weir_item *item, uint32_t index,
                                   void *user, weir_item **ret_made, size_t n, size_t *ret_n)
{
    (void)user;
    n = n < 64 - index ? n : 64 - index;
    *ret_n = weir_items_new(loop, NULL, 0, ret_made, n);
    for (size_t i = 0; i < *ret_n; i++)
        ret_made[i]->key = item->key * 64 + index + i;
    return *ret_n == n ? WEIR_OK : WEIR_ENOMEM;
}

static weir_stage_spec *flat_map(void)
{
    return weir_flat_map(make_two, NULL);
}

static weir_stage_spec *flat_map_64(void)
{
    return weir_flat_map(make_64, NULL);
}

static weir_stage_spec *flat_map_all_64(void)
{
    return weir_flat_map_with(&(weir_flat_map_config){ .next_all = make_64_at_once });
}

static weir_stage_spec *batch(void)
{
    return weir_batch(&(weir_batch_config){ .count = 64 });
}

static weir_stage_spec *partition_4(void)
{
    return weir_partition(NULL, NULL, 4);
}

static weir_stage_spec *partition_8(void)
{
    return weir_partition(NULL, NULL, 8);
}

static weir_stage_spec *by_priority(void)
{
    return weir_merge_priority(NULL);
}

static weir_stage_spec *by_3_to_1(void)
{
    return weir_merge_priority(&(weir_merge_priority_config){ .weights = { 3, 1 } });
}

static weir_stage_spec *by_8_to_1(void)
{
    return weir_merge_priority(&(weir_merge_priority_config){ .weights = { 8, 1 } });
}

static weir_stage_spec *interleave(void)
{
    return weir_interleave(8);
}

static uint64_t sixteenth(const weir_item *item, void *user)
{
    (void)user;
    return item->key & 15;
}

static weir_stage_spec *fair_queue(void)
{
    return weir_fair_queue(&(weir_fair_queue_config){ .key = sixteenth });
}

static void key_done(weir_op *op, void *key_state, void *user)
{
    (void)key_state;
    (void)user;
    weir_op_done(op, WEIR_OK, NULL);
}

static weir_stage_spec *by_key(void)
{
    return weir_async_by_key(&(weir_async_by_key_config){ .start = key_done, .key = sixteenth });
}

static weir_stage_spec *map(void)
{
    return weir_stage_of(&map_type, NULL);
}

static weir_stage_spec *map_copy(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return map();
}

/* ---- The pipelines they stand in ---- */

typedef enum shape {
    SHAPE_CHAIN,     /* source, stage, sink */
    SHAPE_FAN_IN,    /* two sources, stage, sink; without a stage a sink of two inputs */
    SHAPE_SPLIT,     /* source, stage, a sink of many inputs */
    SHAPE_ROUND,     /* source, stage, merge, sink */
    SHAPE_UNORDERED, /* source, copies of a map, sink; without them a map */
    SHAPE_ORDERED
} shape;

typedef struct lane {
    const char *name;
    shape shape;
    weir_stage_spec *(*stage)(void);
    uint32_t legs;
    uint32_t made;   /* items of each item of the source; 0: one */
    uint32_t window; /* of the sink, so that items do wait; 0: the default */
} lane;

enum { FAN_SOURCES = 2, COPIES = 4 };

static const lane lanes[] = {
    { .name = "flat_map", .stage = flat_map, .made = 2 },
    { .name = "flat_map64", .stage = flat_map_64, .made = 64 },
    { .name = "flat_map64_at_once", .stage = flat_map_all_64, .made = 64 },
    { .name = "partition", .shape = SHAPE_SPLIT, .stage = partition_8, .legs = 8 },
    { .name = "partition_merge", .shape = SHAPE_ROUND, .stage = partition_8, .legs = 8 },
    { .name = "partition4_merge", .shape = SHAPE_ROUND, .stage = partition_4, .legs = 4 },
    { .name = "batch", .stage = batch },
    { .name = "merge_priority", .shape = SHAPE_FAN_IN, .stage = by_priority },
    { .name = "merge_priority_3to1", .shape = SHAPE_FAN_IN, .stage = by_3_to_1 },
    { .name = "merge_priority_8to1", .shape = SHAPE_FAN_IN, .stage = by_8_to_1 },
    { .name = "merge_priority_3to1_full", .shape = SHAPE_FAN_IN, .stage = by_3_to_1, .window = 32 },
    { .name = "merge", .shape = SHAPE_FAN_IN, .stage = weir_merge },
    { .name = "interleave8", .shape = SHAPE_FAN_IN, .stage = interleave },
    { .name = "fair_queue16", .stage = fair_queue, .window = 64 },
    { .name = "async_by_key16", .stage = by_key },
    { .name = "parallel4_unordered", .shape = SHAPE_UNORDERED, .stage = map, .legs = COPIES },
    { .name = "parallel4_ordered", .shape = SHAPE_ORDERED, .stage = map, .legs = COPIES },
};
enum { LANES = sizeof lanes / sizeof *lanes };

static void wire_fan_in(weir_pipeline *p, const lane *l, const count_config *count,
                        uint64_t **sum_at)
{
    weir_node *to = weir_add(p,
                             l->stage != NULL ? l->stage() : weir_stage_of(&collect_type, sum_at));
    for (uint32_t i = 0; i < FAN_SOURCES; i++)
        weir_link(weir_add(p, weir_stage_of(&count_type, count)), 0, to, i, NULL);
    if (l->stage != NULL)
        weir_link(to, 0, weir_add(p, weir_stage_of(&sum_type, sum_at)), 0,
                  &(weir_edge_config){ .window = l->window });
}

static void wire_split(weir_pipeline *p, const lane *l, weir_stage_spec *behind)
{
    weir_node *split = weir_via(p, l->stage());
    weir_node *to = weir_add(p, behind);
    for (uint32_t i = 0; i < l->legs; i++)
        weir_link(split, i, to, i, NULL);
    weir_at(p, to);
}

/* So that it is `n` items that arrive. */
static void wire(weir_pipeline *p, const lane *l, uint64_t n, uint64_t **sum_at)
{
    if (l->shape == SHAPE_FAN_IN) {
        wire_fan_in(p, l, &(count_config){ .n = n / FAN_SOURCES }, sum_at);
        return;
    }
    weir_from(p,
              weir_stage_of(&count_type, &(count_config){ .n = l->made != 0 ? n / l->made : n }));
    if (l->shape == SHAPE_SPLIT) {
        wire_split(p, l, weir_stage_of(&collect_type, sum_at));
        return;
    }
    if (l->shape == SHAPE_ROUND)
        wire_split(p, l, weir_merge());
    else if (l->legs != 0)
        weir_parallel(p, &(weir_parallel_config){ .stage = map_copy,
                                                  .copies = l->legs,
                                                  .unordered = l->shape == SHAPE_UNORDERED });
    else if (l->stage != NULL)
        weir_via(p, l->stage());
    weir_node *sink = weir_into(p, weir_stage_of(&sum_type, sum_at));
    if (l->window != 0)
        weir_node_window(sink, &(weir_edge_config){ .window = l->window });
}

/* The same without the stage; of copies, with one. */
static lane without(const lane *l)
{
    shape bare = l->shape == SHAPE_FAN_IN ? SHAPE_FAN_IN : SHAPE_CHAIN;
    return (lane){ .shape = bare, .stage = l->shape >= SHAPE_UNORDERED ? l->stage : NULL };
}

static double lane_run(const lane *l, uint64_t n, const weir_env *env)
{
    uint64_t sum = 0, *sum_at = &sum;
    weir_pipeline *p = weir_pipeline_new(
        &(weir_pipeline_config){ .env = env, .loops = 1, .pin = true, .no_fuse = true });
    wire(p, l, n, &sum_at);
    uint64_t from = cpu_ns();
    if (weir_run(p) != WEIR_OK || sum == 0) {
        fprintf(stderr, "stages_bench: %s\n", weir_pipeline_why(p));
        exit(1);
    }
    uint64_t took = cpu_ns() - from;
    weir_pipeline_free(p);
    return (double)took / (double)n;
}

static double lane_ns(const lane *l, uint64_t n)
{
    return lane_run(l, n, &counting_env);
}

/* Of twice the items, those beyond what once the items take. */
static double lane_allocations(const lane *l, uint64_t n)
{
    uint64_t before = allocations;
    (void)lane_ns(l, n);
    uint64_t once = allocations - before;
    (void)lane_ns(l, 2 * n);
    return ((double)(allocations - before) - 2 * (double)once) / (double)n;
}

static void report_lane(const lane *l, uint64_t n, int rounds)
{
    double values[ROUNDS_MAX];
    const lane bare = without(l);
    for (int i = 0; i < rounds; i++) { /* in turn, so that both see the same machine */
        values[i] = lane_ns(l, n);
        values[i] -= lane_ns(&bare, n);
    }
    printf("%s=%.3f ns\n", l->name, median(values, rounds));
    printf("%s_allocations=%.6f\n", l->name, lane_allocations(l, n));
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
    weir_pipeline *p = weir_pipeline_new(
        &(weir_pipeline_config){ .env = &counting_env, .loops = 1, .no_fuse = true, .pin = true });
    weir_from(p, weir_stage_of(&count_type, &(count_config){ .n = n }));
    for (int i = 0; i < 4; i++) {
        weir_node *node = weir_via(p, limit_of(kind));
        if (kind >= LIMIT_RETRY)
            weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY });
    }
    weir_into(p, weir_stage_of(&sum_type, &sum_at));
    uint64_t from = cpu_ns();
    weir_status status = weir_run(p);
    uint64_t took = cpu_ns() - from;
    if (status != WEIR_OK) {
        fprintf(stderr, "stages_bench: %s\n", weir_pipeline_why(p));
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
        printf("%s=%.3f ns\n", names[kind], median(values[kind], rounds) - map);
}

static void report_limits_allocations(uint64_t n)
{
    static const struct {
        const char *name;
        limit_kind kind;
    } of[] = { { "retry", LIMIT_RETRY }, { "breaker", LIMIT_BREAKER } };
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        uint64_t before = allocations;
        (void)limits_ns(of[i].kind, n);
        uint64_t once = allocations - before;
        (void)limits_ns(of[i].kind, 2 * n);
        printf("%s_allocations=%.6f\n", of[i].name,
               ((double)(allocations - before) - 2 * (double)once) / (double)n);
    }
}

/* ---- All of it ---- */

typedef struct options {
    const char *only; /* NULL: all */
    const char *once;
    uint64_t n;
    int rounds;
} options;

static int usage(FILE *to, int code)
{
    fprintf(to, "usage: stages_bench [--quick] [--only NAME] [--items N] [--rounds N]\n"
                "       stages_bench --once NAME|bare:NAME [--items N]\n"
                "Prints what a stage adds to source and sink, per item. --once runs one pipeline\n"
                "once, for a profiler; with bare: the one without the stage.\n"
                "NAME: limits");
    for (size_t i = 0; i < LANES; i++)
        fprintf(to, " %s", lanes[i].name);
    fprintf(to, "\n");
    return code;
}

/* False: it makes no sense. */
static bool options_read(options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--quick") == 0) {
            o->n = 500000;
            o->rounds = 3;
            continue;
        }
        if (value == NULL)
            return false;
        if (strcmp(argv[i], "--only") == 0)
            o->only = value;
        else if (strcmp(argv[i], "--once") == 0)
            o->once = value;
        else if (strcmp(argv[i], "--items") == 0)
            o->n = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--rounds") == 0)
            o->rounds = atoi(value);
        else
            return false;
        i++;
    }
    return o->n >= 1000 && o->rounds >= 1 && o->rounds <= ROUNDS_MAX;
}

static const lane *lane_of(const char *name)
{
    for (size_t i = 0; i < LANES; i++)
        if (strcmp(lanes[i].name, name) == 0)
            return &lanes[i];
    return NULL;
}

/* A profiler slows all but the clock down: with one of its own, a run does what it always does. */
static uint64_t tick(void *user)
{
    static uint64_t now;
    (void)user;
    return now += 50;
}

static int run_once(const options *o)
{
    bool bare = strncmp(o->once, "bare:", 5) == 0;
    const lane *l = lane_of(o->once + (bare ? 5 : 0));
    if (l == NULL)
        return usage(stderr, 2);
    const lane chosen = bare ? without(l) : *l;
    (void)lane_run(&chosen, o->n, &(weir_env){ .now_ns = tick });
    return 0;
}

int main(int argc, char **argv)
{
    options o = { .n = 4000000, .rounds = 7 };
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout, 0);
    if (!options_read(&o, argc, argv))
        return usage(stderr, 2);
    if (o.once != NULL)
        return run_once(&o);
    bool limits = o.only == NULL || strcmp(o.only, "limits") == 0;
    if (!limits && lane_of(o.only) == NULL)
        return usage(stderr, 2);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < LANES; i++)
        if (o.only == NULL || strcmp(o.only, lanes[i].name) == 0)
            report_lane(&lanes[i], o.n, o.rounds);
    if (limits) {
        report_limits(o.n / 2, o.rounds);
        report_limits_allocations(o.n / 4);
    }
    return 0;
}
