/* merge: many inputs into one output, fairly. */
#include <weir/stages.h>

#include "lines.h"

typedef struct merge {
    wi_queue held; /* what came when the credit it was asked for had gone to another input */
    uint8_t *from; /* the inputs of what is held, a ring beside it */
    uint8_t held_of[WEIR_PORTS_MAX];
} merge;

static weir_status merge_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    merge *m = state;
    uint32_t capacity = weir_stage_inputs(stage) * WI_LINE_MAX;
    m->from = weir_memory_new(weir_stage_env(stage), capacity);
    if (m->from == NULL)
        return WEIR_ENOMEM;
    weir_status status = wi_queue_init(&m->held, weir_stage_env(stage), capacity);
    if (status != WEIR_OK)
        weir_memory_free(weir_stage_env(stage), m->from);
    return status;
}

static void merge_close(weir_stage *stage, void *state)
{
    merge *m = state;
    wi_queue_close(stage, state);
    weir_memory_free(weir_stage_env(stage), m->from);
}

static void merge_run(weir_stage *stage, void *state)
{
    merge *m = state;
    weir_out *out = weir_stage_out(stage);
    while (m->held.n > 0 && weir_out_fits(out, wi_queue_first(&m->held)->cost)) {
        m->held_of[m->from[m->held.head]]--;
        weir_emit(out, wi_queue_pop(&m->held));
    }
    if (weir_finish(stage, m->held.n))
        return;
    uint64_t share = wi_share_of_credit(stage);
    for (uint32_t i = 0; share != 0 && i < weir_stage_inputs(stage); i++)
        if (share > m->held_of[i])
            weir_request_to(weir_stage_in_at(stage, i), share - m->held_of[i]);
}

static weir_status merge_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    merge *m = state;
    uint32_t index = weir_in_index(in);
    size_t gone = 0;
    if (m->held.n == 0)
        gone = wi_emit_fitting(weir_stage_out(stage), items, (uint32_t)n);
    for (size_t i = gone; i < n; i++) {
        uint32_t tail = (m->held.head + m->held.n) % m->held.capacity;
        m->from[tail] = (uint8_t)index;
        m->held_of[index]++;
        wi_queue_push(&m->held, items[i]);
    }
    return WEIR_OK;
}

static const weir_stage_type merge_type = {
    .name = "merge",
    .state_size = sizeof(merge),
    .inputs = WEIR_PORTS_MANY,
    .open = merge_open,
    .close = merge_close,
    .on_items = merge_on_items,
    .run = merge_run,
    .let_go = wi_queue_let_go,
};

weir_stage_spec *weir_merge(void)
{
    return weir_stage_of(&merge_type, NULL);
}
