/* conflate: puts what comes too fast together, so that it never pushes back. */
#include <weir/stages.h>

#include "queue.h"

typedef struct conflate {
    weir_item *held;
    bool is_over;
    weir_status status;
} conflate;

static weir_status conflate_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    weir_request_to(weir_stage_in(stage), WEIR_UNBOUNDED);
    return WEIR_OK;
}

static void conflate_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    conflate *c = state;
    if (c->held != NULL)
        weir_item_end(c->held, WEIR_ABORTED, WEIR_ECANCELED);
    c->held = NULL;
}

static void conflate_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    conflate_on_abort(stage, state);
    weir_cancel(weir_stage_in(stage));
}

static void conflate_run(weir_stage *stage, conflate *c)
{
    weir_out *out = weir_stage_out(stage);
    if (c->held != NULL && weir_out_fits(out, c->held->cost)) {
        weir_emit(out, c->held);
        c->held = NULL;
    }
    if (c->is_over && c->held == NULL)
        wi_end_with(out, c->status);
}

/* Puts `item` and the one that is held together; takes it. */
static void conflate_combine(weir_stage *stage, conflate *c, weir_item *item)
{
    const weir_conflate_config *config = weir_stage_config(stage);
    weir_in *in = weir_stage_in(stage);
    if (config->combine == NULL) {
        weir_drop(in, c->held);
        c->held = item;
        return;
    }
    weir_status status = weir_item_writable(weir_stage_loop(stage), &c->held);
    if (status == WEIR_OK)
        status = config->combine(c->held, item, config->user);
    if (status == WEIR_OK)
        weir_drop(in, item);
    else
        weir_fail(stage, item, status, "cannot combine the items");
}

static weir_status conflate_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                     void *state)
{
    (void)in;
    conflate *c = state;
    conflate_run(stage, c);
    uint32_t gone = c->held == NULL ? wi_emit_fitting(weir_stage_out(stage), items, (uint32_t)n)
                                    : 0;
    for (size_t i = gone; i < n; i++)
        if (c->held == NULL)
            c->held = items[i];
        else
            conflate_combine(stage, c, items[i]);
    return WEIR_OK;
}

static void conflate_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    conflate_run(stage, state);
}

static void conflate_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    conflate *c = state;
    c->is_over = true;
    c->status = status;
    conflate_run(stage, c);
}

static const weir_stage_type conflate_type = {
    .name = "conflate",
    .config_size = sizeof(weir_conflate_config),
    .state_size = sizeof(conflate),
    .lossy = true,
    .open = conflate_open,
    .on_demand = conflate_on_demand,
    .on_items = conflate_on_items,
    .on_end = conflate_on_end,
    .on_cancel = conflate_on_cancel,
    .on_abort = conflate_on_abort,
};

weir_stage_spec *weir_conflate(const weir_conflate_config *config)
{
    return weir_stage_of(&conflate_type, config);
}
