/* conflate: puts what comes too fast together, so that it never pushes back. */
#include <weir/stages.h>

#include "queue.h"

typedef struct conflate {
    weir_item *held;
} conflate;

static void conflate_let_go(weir_stage *stage, void *state)
{
    (void)stage;
    conflate *c = state;
    if (c->held != NULL)
        weir_item_end(c->held, WEIR_ABORTED, WEIR_ECANCELED);
    c->held = NULL;
}

static void conflate_run(weir_stage *stage, void *state)
{
    conflate *c = state;
    weir_out *out = weir_stage_out(stage);
    if (c->held != NULL && weir_out_fits(out, c->held->cost)) {
        weir_emit(out, c->held);
        c->held = NULL;
    }
    if (!weir_finish(stage, c->held != NULL))
        weir_request_to(weir_stage_in(stage), WEIR_UNBOUNDED);
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

static const weir_stage_type conflate_type = {
    .name = "conflate",
    .config_size = sizeof(weir_conflate_config),
    .state_size = sizeof(conflate),
    .lossy = true,
    .on_items = conflate_on_items,
    .run = conflate_run,
    .let_go = conflate_let_go,
};

weir_stage_spec *weir_conflate(const weir_conflate_config *config)
{
    return weir_stage_of(&conflate_type, config);
}
