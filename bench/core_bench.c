/* What the engine costs per item: hops queued and fused, one at a time and by 64, across loops. */
#include <weir/pipeline.h>

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
    for (size_t i = 0; i < n; i++)
        *sum += items[i]->key;
    weir_items_ack(items, n);
    return WEIR_OK;
}

static const weir_stage_type sum_type = {
    .name = "sum",
    .config_size = sizeof(uint64_t *),
    .outputs = WEIR_PORTS_NONE,
    .on_items = sum_items,
};

/* ---- Runs ---- */

typedef struct run {
    uint64_t n;
    uint32_t hops, vector_max, loops, window;
    bool no_fuse, singly;
} run;

static double run_ns(const run *r)
{
    uint64_t sum = 0, *sum_at = &sum;
    weir_pipeline_config config = {
        .loops = r->loops,
        .no_fuse = r->no_fuse,
        .window = r->window,
        .loop = { .vector_max = r->vector_max },
        .pin = true,
    };
    weir_pipeline *p = weir_pipeline_new(&config);
    count_config count = { .n = r->n };
    weir_from(p, weir_stage_of(r->singly ? &count_singly_type : &count_type, &count));
    for (uint32_t i = 0; i < r->hops; i++)
        weir_via(p, weir_stage_of(&map_type, NULL));
    weir_node *sink = weir_into(p, weir_stage_of(&sum_type, &sum_at));
    if (r->loops > 1)
        weir_node_place(sink, 1);
    uint64_t started = now_ns();
    weir_status status = weir_run(p);
    uint64_t took = now_ns() - started;
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

static double median_ns(run r, int rounds)
{
    double values[15];
    for (int i = 0; i < rounds; i++)
        values[i] = run_ns(&r);
    qsort(values, (size_t)rounds, sizeof *values, by_value);
    return values[rounds / 2];
}

/* A hop's cost is the slope: twelve stages against two, source and sink aside. */
static double hop_ns(run r, int rounds)
{
    run few = r, many = r;
    few.hops = 2;
    many.hops = 12;
    return (median_ns(many, rounds) - median_ns(few, rounds)) / 10;
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000000;
    int rounds = 5;
    run queued = { .n = n, .loops = 1, .no_fuse = true };
    run single = { .n = n / 4, .loops = 1, .no_fuse = true, .vector_max = 1 };
    run fused = { .n = n, .loops = 1 };
    printf("hop_by_64=%.3f ns\n", hop_ns(queued, rounds));
    printf("hop_one_at_a_time=%.3f ns\n", hop_ns(single, rounds));
    printf("hop_fused=%.3f ns\n", hop_ns(fused, rounds));
    for (uint32_t stages = 3; stages <= 5; stages += 2) {
        queued.hops = fused.hops = stages - 2;
        printf("int_pipeline_%u_queued=%.3f ns\n", stages, median_ns(queued, rounds));
        printf("int_pipeline_%u_fused=%.3f ns\n", stages, median_ns(fused, rounds));
    }
    run across = { .n = n * 4, .loops = 2, .window = 4096 };
    double batched = median_ns(across, rounds);
    across.singly = true;
    double singly = median_ns(across, rounds);
    printf("across_batched=%.3f ns\n", batched);
    printf("across_singly=%.3f ns\n", singly);
    return 0;
}
