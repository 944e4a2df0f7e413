/* A source of numbered items for tests, which records how each of them ended. */
#ifndef WEIR_TEST_FEED_H
#define WEIR_TEST_FEED_H

#include <weir/pipeline.h>

typedef struct feed feed;

typedef struct feed_item {
    feed *of;
    uint64_t number; /* from 0 */
    int64_t answer;  /* for the stage's callbacks */
} feed_item;

struct feed {
    uint64_t n;
    const weir_env *env; /* NULL: the defaults */
    uint32_t loops;      /* 0: one; more run by weir_run, each with its own copy of the stage */
    /* Called as each item ends, on its loop. Optional. */
    void (*ended)(feed *f, const feed_item *item, weir_status status);
    /* Called once on the loop before anything flows. Optional. */
    void (*started)(feed *f, weir_loop *loop);
    void *user;
    uint32_t item_bytes_max;  /* of the pipeline; 0: its default */
    weir_error_policy policy; /* of the stage */
    weir_stage_spec *behind;  /* stands behind it, for one run, which takes it; NULL: none */
    /* What came of it. */
    uint64_t emitted, acked, failed;
    weir_status *statuses; /* of each item; 1: has not ended */
    weir_loop *loop;
    weir_pipeline *pipeline;
    char why[256];
};

/* Runs n items through the stage, to the end; gives the pipeline's status. feed_done frees what it
 * kept. */
weir_status feed_run(feed *f, uint64_t n, weir_stage_spec *stage);
void feed_done(feed *f);

/* An environment whose allocator fails once: at the `fails_at`-th call that asks for memory,
 * counted from 1 (0: never), on whichever thread that is. */
typedef struct feed_memory {
    uint64_t asked, fails_at;
    weir_env env;
} feed_memory;

void feed_memory_init(feed_memory *memory, uint64_t fails_at);

#endif
