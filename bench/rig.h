/* Sources, sinks and clocks: what the benchmarks of the engine and of its stages share. */
#ifndef BENCH_RIG_H
#define BENCH_RIG_H

#include <weir/pipeline.h>

#include <stdatomic.h>

enum { ROUNDS_MAX = 15 };

uint64_t now_ns(void);
uint64_t cpu_ns(void); /* of this thread */
double median(double *values, int n);

/* Emits `n` items, numbered by key, as they are asked for. */
typedef struct count_config {
    uint64_t n;
    uint32_t burst; /* items a visit emits at most; 0: all the credit */
} count_config;

typedef struct count_state {
    uint64_t next;
} count_state;

extern const weir_stage_type count_type;
/* Changes the key of an item. */
extern const weir_stage_type map_type;
/* Sinks: their config is a pointer to where the keys are summed. Of one input, and of any number.
 */
extern const weir_stage_type sum_type, collect_type;

/* Counts what is taken from the allocator. */
extern const weir_env counting_env;
extern _Atomic uint64_t allocations;

#endif
