/* Between the testkit's files: the kit itself, what it watches, and who owns whose memory. */
#ifndef WI_TESTKIT_PRIVATE_H
#define WI_TESTKIT_PRIVATE_H

#include <weir/testkit.h>

#include "wi_sim.h"

/* In the place of a stage's type: the same callbacks, with a look before and after each. */
typedef struct wi_wrap {
    weir_stage_type type; /* first: what the stage has */
    const weir_stage_type *real;
    weir_testkit *kit;
    weir_stage *stage;
    uint64_t ends_told, cancels_told; /* port bits */
    bool opened, closed, drained, aborted;
    bool is_late; /* swapped in: its inputs may have been cancelled by another */
} wi_wrap;

/* A pipeline that runs on the kit. */
typedef struct wi_watched {
    struct wi_watched *next;
    weir_pipeline *pipeline; /* NULL once it has finished: its owner may free it */
    wi_wrap *wraps;          /* one for each stage, replica-major */
    uint64_t *asked;         /* of each edge: requested, ever */
} wi_watched;

typedef struct wi_stall {
    uint32_t turns; /* that it will not get */
    bool is_late;   /* its due timers wait for another settling */
} wi_stall;

struct weir_testkit {
    weir_env env;
    weir_testkit_config config;
    uint64_t now_ns, random, choices, trace;
    uint32_t loop_count;
    weir_loop *loops[WEIR_TESTKIT_LOOPS_MAX];
    wi_stall stalls[WEIR_TESTKIT_LOOPS_MAX];
    weir_pipeline *pipelines; /* made with the env and not freed */
    weir_testkit_walk *walk;  /* that the kit is counted by, or NULL */
    weir_testkit *next_on_walk;
    weir_probe *probes; /* a list of arrays, one probe per loop */
    wi_watched *watched;
    bool reports;  /* breaches of the contract are violations, and do not end the process */
    bool is_armed; /* a pipeline has been started: faults may come */
    bool steers;   /* a turn by the seed's choices is under way */
    uint32_t depth;
    uint64_t steps, violations;
    uint64_t breaches; /* violations that are not just a disappointed expectation */
    char why[256];
    uint64_t fault_at[WEIR_FAULTS], fault_hits[WEIR_FAULTS];
    /* Offload threads allocate too. */
    _Atomic size_t bytes;
    _Atomic uint64_t allocations, fail_at;
    atomic_bool fail_all;
};

/* splitmix64: https://prng.di.unimi.it/splitmix64.c */
uint64_t wi_kit_random(uint64_t *state);
/* 0 … n - 1, by the seed. */
uint64_t wi_kit_choose(weir_testkit *kit, uint64_t n);
/* Is this an occasion for `fault`? */
bool wi_kit_fault(weir_testkit *kit, weir_fault fault);
void wi_kit_fold(weir_testkit *kit, uint64_t value);
/* Hands a line about what happened to the kit's log, if there is one. */
void wi_kit_tell(weir_testkit *kit, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The first one's text is kept. */
void wi_kit_violated(weir_testkit *kit, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Likewise, of what a test expected: no rule is broken. */
void wi_kit_disappointed(weir_testkit *kit, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A kit is made, and freed with so many bytes left; an allocation of it: must it fail? */
void wi_walk_joined(weir_testkit *kit);
void wi_walk_left(weir_testkit *kit, size_t leaked);

/* Watches a pipeline that is about to open its stages. */
weir_status wi_kit_watch(weir_testkit *kit, weir_pipeline *pipeline);
/* A stage that keeps the pipeline running: one with holds if there is any. NULL: none is open. */
const weir_stage *wi_kit_who_runs(const weir_pipeline *pipeline);
void wi_kit_unwatch_all(weir_testkit *kit);
void wi_wrap_stage(wi_wrap *wrap, weir_testkit *kit, weir_stage *stage);
/* What must hold between any two steps; and once nothing is left to do. */
void wi_kit_check(weir_testkit *kit);
void wi_kit_check_settled(weir_testkit *kit);

/* An array of `n` probes, one per replica, in front of the list `next`. NULL for want of memory. */
weir_probe *wi_probes_new(weir_testkit *kit, uint32_t n, weir_probe *next);
weir_probe *wi_probes_next(const weir_probe *probes);
void wi_probes_free(weir_probe *probes, uint32_t n);
/* A probe's fault: its input is cancelled. */
void wi_probes_cancel_one(weir_testkit *kit, const weir_loop *loop);
/* Emitted items of all probes that have not ended. */
uint64_t wi_probes_live(const weir_testkit *kit);
/* Items that are taken from the slabs of the kit's loops. */
uint64_t wi_kit_items_live(const weir_testkit *kit);
/* Whether all that probes hold or sent is as it should be. */
void wi_probes_check(weir_testkit *kit);
/* Says why if an item that is on its way has a source that was told of its end. */
const char *wi_item_fault(const weir_item *item);

#endif
