/* A source of numbered items for tests, which records how each of them ended. */
#include "feed.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct source_config {
    feed *of;
} source_config;

static void item_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    const feed_item *it = weir_item_body(item);
    feed *f = it->of;
    f->statuses[it->number] = outcome == WEIR_ACKED ? WEIR_OK
                              : status == WEIR_OK   ? WEIR_ECANCELED
                                                    : status;
    __atomic_fetch_add(outcome == WEIR_ACKED ? &f->acked : &f->failed, 1, __ATOMIC_RELAXED);
    if (f->ended != NULL)
        f->ended(f, it, f->statuses[it->number]);
}

static const weir_item_type item_type = { .name = "numbered", .ended = item_ended };

static void source_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)state;
    feed *f = ((const source_config *)weir_stage_config(stage))->of;
    for (; credit > 0; credit--) {
        uint64_t number = __atomic_fetch_add(&f->emitted, 1, __ATOMIC_RELAXED);
        if (number >= f->n) {
            __atomic_store_n(&f->emitted, f->n, __ATOMIC_RELAXED);
            weir_end(out);
            return;
        }
        weir_item *item = weir_item_new(weir_stage_loop(stage), &item_type, sizeof(feed_item));
        if (item == NULL) {
            __atomic_fetch_sub(&f->emitted, 1, __ATOMIC_RELAXED);
            weir_stage_fail(stage, WEIR_ENOMEM, "no memory for an item");
            return;
        }
        *(feed_item *)weir_item_body(item) = (feed_item){ .of = f, .number = number };
        weir_emit(out, item);
    }
}

static weir_status source_open(weir_stage *stage, const void *config, void *state)
{
    (void)state;
    feed *f = ((const source_config *)config)->of;
    if (f->started != NULL)
        f->started(f, weir_stage_loop(stage));
    return WEIR_OK;
}

static const weir_stage_type source_type = {
    .name = "feed",
    .config_size = sizeof(source_config),
    .inputs = WEIR_PORTS_NONE,
    .acks = true,
    .open = source_open,
    .on_demand = source_on_demand,
};

static weir_status sink_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    return weir_request(weir_stage_in(stage), WEIR_UNBOUNDED);
}

static weir_status sink_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                 void *state)
{
    (void)stage;
    (void)in;
    (void)state;
    weir_items_ack(items, n);
    return WEIR_OK;
}

static const weir_stage_type sink_type = {
    .name = "sink",
    .outputs = WEIR_PORTS_NONE,
    .open = sink_open,
    .on_items = sink_on_items,
};

static void finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    (void)pipeline;
    (void)status;
    weir_loop_stop(user);
}

static weir_status run(feed *f)
{
    if (f->loops > 1)
        return weir_run(f->pipeline);
    weir_status status = weir_pipeline_start(f->pipeline, &f->loop, 1, finished, f->loop);
    return status == WEIR_OK ? weir_loop_run(f->loop) : status;
}

weir_status feed_run(feed *f, uint64_t n, weir_stage_spec *stage)
{
    f->n = n;
    f->emitted = f->acked = f->failed = 0;
    free(f->statuses);
    f->statuses = calloc(n, sizeof *f->statuses);
    if (f->statuses == NULL)
        abort();
    for (uint64_t i = 0; i < n; i++)
        f->statuses[i] = (weir_status)1;
    f->loop = weir_loop_new(&(weir_loop_config){ .env = f->env });
    f->pipeline = weir_pipeline_new(&(weir_pipeline_config){
        .env = f->env, .loops = f->loops, .item_bytes_max = f->item_bytes_max });
    weir_stage_spec *behind = f->behind;
    f->behind = NULL;
    if (f->loop == NULL || f->pipeline == NULL) {
        weir_stage_spec_free(stage);
        weir_stage_spec_free(behind);
        weir_pipeline_free(f->pipeline);
        weir_loop_free(f->loop);
        return WEIR_ENOMEM;
    }
    weir_from(f->pipeline, weir_stage_of(&source_type, &(source_config){ f }));
    weir_node *node = weir_via(f->pipeline, stage);
    if (f->policy.on_error != WEIR_ON_ERROR_DEFAULT)
        weir_node_policy(node, &f->policy);
    if (behind != NULL)
        weir_via(f->pipeline, behind);
    weir_into(f->pipeline, weir_stage_of(&sink_type, NULL));
    weir_status status = run(f);
    if (status == WEIR_OK)
        status = weir_pipeline_status(f->pipeline);
    (void)snprintf(f->why, sizeof f->why, "%s", weir_pipeline_why(f->pipeline));
    weir_pipeline_free(f->pipeline);
    weir_loop_free(f->loop);
    f->pipeline = NULL;
    f->loop = NULL;
    return status;
}

void feed_done(feed *f)
{
    free(f->statuses);
    f->statuses = NULL;
}

static void *resize(void *memory, size_t bytes, void *user)
{
    feed_memory *m = user;
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    if (__atomic_add_fetch(&m->asked, 1, __ATOMIC_RELAXED) == m->fails_at)
        return NULL;
    return realloc(memory, bytes);
}

void feed_memory_init(feed_memory *memory, uint64_t fails_at)
{
    *memory = (feed_memory){ .fails_at = fails_at };
    memory->env.allocator.resize = resize;
    memory->env.allocator.user = memory;
}
