/* merge: many inputs into one output, fairly. */
#include <weir/stages.h>

#include "queue.h"

enum { SHARE_MAX = 64 };

typedef struct merge {
    wi_queue held; /* what came when the credit it was asked for had gone to another input */
    uint8_t *from; /* the inputs of what is held, a ring beside it */
    uint8_t held_of[WEIR_PORTS_MAX];
    uint32_t over;
    bool is_over;
    weir_status status;
} merge;

static weir_status merge_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    merge *m = state;
    uint32_t capacity = weir_stage_inputs(stage) * SHARE_MAX;
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
    wi_queue_done(&m->held, weir_stage_env(stage));
    weir_memory_free(weir_stage_env(stage), m->from);
}

/* What each open input may have under way: an even share of the credit, at least one, or an idle
 * input that was asked for all the credit would starve the others; and where there is much, a
 * vector. */
static uint64_t merge_share(weir_stage *stage, const merge *m)
{
    uint64_t credit = weir_out_credit(weir_stage_out(stage));
    uint32_t open = weir_stage_inputs(stage) - m->over;
    if (credit >= SHARE_MAX)
        return SHARE_MAX;
    if (credit == 0 || open == 0)
        return 0;
    return credit > open ? (uint32_t)credit / open : 1;
}

static void merge_ask(weir_stage *stage, merge *m)
{
    uint64_t share = merge_share(stage, m);
    for (uint32_t i = 0; share != 0 && i < weir_stage_inputs(stage); i++)
        if (share > m->held_of[i])
            weir_request_to(weir_stage_in_at(stage, i), share - m->held_of[i]);
}

static void merge_run(weir_stage *stage, merge *m)
{
    weir_out *out = weir_stage_out(stage);
    while (m->held.n > 0 && weir_out_fits(out, wi_queue_first(&m->held)->cost)) {
        m->held_of[m->from[m->held.head]]--;
        weir_emit(out, wi_queue_pop(&m->held));
    }
    if (!m->is_over)
        merge_ask(stage, m);
    else if (m->held.n == 0)
        wi_end_with(out, m->status);
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
    /* The others' shares have not grown: credit that comes is told. */
    uint64_t share = merge_share(stage, m);
    if (share > m->held_of[index])
        weir_request_to(in, share - m->held_of[index]);
    return WEIR_OK;
}

static void merge_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    merge_run(stage, state);
}

static void merge_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    merge *m = state;
    m->over++;
    if (status != WEIR_OK && m->status == WEIR_OK) {
        m->status = status;
        m->is_over = true;
        for (uint32_t i = 0; i < weir_stage_inputs(stage); i++)
            weir_cancel(weir_stage_in_at(stage, i));
    }
    m->is_over |= m->over == weir_stage_inputs(stage);
    merge_run(stage, m);
}

static void merge_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    wi_queue_abort(&((merge *)state)->held);
    for (uint32_t i = 0; i < weir_stage_inputs(stage); i++)
        weir_cancel(weir_stage_in_at(stage, i));
}

static void merge_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    wi_queue_abort(&((merge *)state)->held);
}

static const weir_stage_type merge_type = {
    .name = "merge",
    .state_size = sizeof(merge),
    .inputs = WEIR_PORTS_MANY,
    .open = merge_open,
    .close = merge_close,
    .on_demand = merge_on_demand,
    .on_items = merge_on_items,
    .on_end = merge_on_end,
    .on_cancel = merge_on_cancel,
    .on_abort = merge_on_abort,
};

weir_stage_spec *weir_merge(void)
{
    return weir_stage_of(&merge_type, NULL);
}
