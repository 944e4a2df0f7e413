/* What the engine costs per item: hops queued and fused, one at a time and by 64, across loops. */
#include "rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- A source, work, spread ---- */

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

static const weir_stage_type count_singly_type = {
    .name = "count",
    .config_size = sizeof(count_config),
    .state_size = sizeof(count_state),
    .inputs = WEIR_PORTS_NONE,
    .on_demand = count_emit_singly,
};

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

/* ---- Runs ---- */

typedef struct run {
    uint64_t n;
    uint32_t stages; /* source and sink included */
    uint32_t vector_max, loops, window, fan;
    bool no_fuse, singly, works, place_sink;
    const weir_env *env; /* NULL: the counting one */
} run;

static void wire(weir_pipeline *p, const run *r, uint64_t **sum_at)
{
    count_config count = { .n = r->n };
    weir_node *source =
        weir_from(p, weir_stage_of(r->singly ? &count_singly_type : &count_type, &count));
    if (r->fan == 0) {
        for (uint32_t i = 2; i < r->stages; i++)
            weir_via(p, weir_stage_of(r->works ? &work_type : &map_type, NULL));
        weir_node *sink = weir_into(p, weir_stage_of(&sum_type, sum_at));
        if (r->place_sink)
            weir_node_place(sink, 1);
        return;
    }
    weir_node *spread = weir_add(p, weir_stage_of(&spread_type, NULL));
    weir_node *sink = weir_add(p, weir_stage_of(&collect_type, sum_at));
    weir_link(source, 0, spread, 0, NULL);
    for (uint32_t i = 0; i < r->fan; i++) {
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
        .env = r->env != NULL ? r->env : &counting_env,
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

/* A profiler slows all but the clock down: with one of its own, a run does what it always does. */
static uint64_t tick(void *user)
{
    static uint64_t now;
    (void)user;
    return now += 50;
}

/* What a profiler makes of a hop: runs of 4 and of 14 stages differ by ten of them. */
static int run_once(const char *stages, bool singly)
{
    (void)run_ns(&(run){ .n = 500000,
                         .stages = (uint32_t)atoi(stages),
                         .no_fuse = true,
                         .vector_max = singly ? 1 : 0,
                         .env = &(weir_env){ .now_ns = tick } });
    return 0;
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
        } else if (strncmp(argv[i], "--once", 6) == 0 && i + 1 < argc && atoi(argv[i + 1]) > 1) {
            return run_once(argv[i + 1], strcmp(argv[i], "--once-singly") == 0);
        } else {
            fprintf(stderr, "usage: core_bench [--quick] [--only loop|across]\n"
                            "       core_bench --once STAGES | --once-singly STAGES\n"
                            "--once runs one pipeline of 500,000 items once, for a profiler.\n");
            return strcmp(argv[i], "--help") == 0 ? 0 : 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    uint64_t n = quick ? 2000000 : 8000000;
    int rounds = quick ? 3 : 7;
    bool all = only[0] == '\0';
    if (all || strcmp(only, "loop") == 0)
        report_one_loop(n, rounds);
    if (all || strcmp(only, "across") == 0)
        report_across(n, rounds);
    return 0;
}
