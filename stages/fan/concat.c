/* concat: the inputs one after the other, into one output. */
#include <weir/stages.h>

#include "lines.h"

enum { AHEAD_MAX = 64 };

typedef struct concat {
    wi_queue held; /* what the byte window of the output had no room for */
    uint32_t current;
    weir_status ended_with[WEIR_PORTS_MAX];
} concat;

static weir_status concat_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    return wi_queue_init(&((concat *)state)->held, weir_stage_env(stage), AHEAD_MAX);
}

static void concat_close(weir_stage *stage, void *state)
{
    wi_queue_done(&((concat *)state)->held, weir_stage_env(stage));
}

/* Goes on to the next input that is not over, and asks it for what the output lacks. */
static void concat_run(weir_stage *stage, concat *c)
{
    uint32_t n = weir_stage_inputs(stage);
    weir_out *out = weir_stage_out(stage);
    wi_queue_emit(&c->held, out);
    while (c->held.n == 0 && c->current < n &&
           weir_in_is_over(weir_stage_in_at(stage, c->current))) {
        weir_status status = c->ended_with[c->current++];
        if (status == WEIR_OK)
            continue;
        c->current = n;
        wi_end_with(out, status);
        wi_cancel_inputs(stage);
    }
    uint64_t credit = weir_out_credit(out);
    if (c->current < n)
        weir_request_to(weir_stage_in_at(stage, c->current),
                        weir_credit_sub(credit < AHEAD_MAX ? credit : AHEAD_MAX, c->held.n));
    else if (c->held.n == 0)
        weir_end(out);
}

static weir_status concat_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                   void *state)
{
    (void)in;
    concat *c = state;
    for (size_t i = 0; i < n; i++)
        wi_queue_push(&c->held, items[i]);
    concat_run(stage, c);
    return WEIR_OK;
}

static void concat_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    concat_run(stage, state);
}

static void concat_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    concat *c = state;
    c->ended_with[weir_in_index(in)] = status;
    concat_run(stage, c);
}

static void concat_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    wi_queue_abort(&((concat *)state)->held);
    wi_cancel_inputs(stage);
}

static void concat_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    wi_queue_abort(&((concat *)state)->held);
}

static const weir_stage_type concat_type = {
    .name = "concat",
    .state_size = sizeof(concat),
    .inputs = WEIR_PORTS_MANY,
    .open = concat_open,
    .close = concat_close,
    .on_demand = concat_on_demand,
    .on_items = concat_on_items,
    .on_end = concat_on_end,
    .on_cancel = concat_on_cancel,
    .on_abort = concat_on_abort,
};

weir_stage_spec *weir_concat(void)
{
    return weir_stage_of(&concat_type, NULL);
}
