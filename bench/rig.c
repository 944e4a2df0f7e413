/* Sources, sinks and clocks: what the benchmarks of the engine and of its stages share. */
#include "rig.h"

#include <stdlib.h>
#include <time.h>

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Processor time: these figures are small, and other work on the machine is not. */
uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[n / 2];
}

/* ---- Source, map, sink ---- */

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

const weir_stage_type count_type = {
    .name = "count",
    .config_size = sizeof(count_config),
    .state_size = sizeof(count_state),
    .inputs = WEIR_PORTS_NONE,
    .on_demand = count_emit,
};

static size_t map_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)stage;
    (void)state;
    for (size_t i = 0; i < n; i++)
        items[i]->key = items[i]->key * 3 + 1;
    return n;
}

const weir_stage_type map_type = { .name = "map", .transform = map_transform };

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

const weir_stage_type sum_type = {
    .name = "sum",
    .config_size = sizeof(uint64_t *),
    .outputs = WEIR_PORTS_NONE,
    .transform = sum_transform,
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

const weir_stage_type collect_type = {
    .name = "collect",
    .config_size = sizeof(uint64_t *),
    .inputs = WEIR_PORTS_MANY,
    .outputs = WEIR_PORTS_NONE,
    .open = collect_open,
    .on_items = sum_items,
};

/* ---- Memory ---- */

_Atomic uint64_t allocations;

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

const weir_env counting_env = { .allocator = { .resize = counting_resize } };
