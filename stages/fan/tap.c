/* tap: a side output that sees what it has credit for, and never holds up the main one. */
#include <weir/stages.h>

enum { MAIN, SIDE };

static weir_status tap_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                void *state)
{
    (void)in;
    (void)state;
    weir_out *side = weir_stage_out_at(stage, SIDE);
    uint64_t missed = 0;
    if (weir_out_is_over(weir_stage_out_at(stage, MAIN))) {
        for (size_t i = 0; i < n; i++)
            weir_item_end(items[i], WEIR_ABORTED, WEIR_ECANCELED);
        return WEIR_OK;
    }
    for (size_t i = 0; i < n; i++) {
        if (weir_out_fits(side, items[i]->cost) && weir_item_hold(items[i]) == WEIR_OK)
            weir_emit(side, items[i]);
        else
            missed += !weir_out_is_over(side);
    }
    uint64_t *counter = ((const weir_tap_config *)weir_stage_config(stage))->missed;
    if (counter != NULL && missed != 0)
        __atomic_fetch_add(counter, missed, __ATOMIC_RELAXED);
    weir_emit_all(weir_stage_out_at(stage, MAIN), items, n);
    return WEIR_OK;
}

static void tap_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)state;
    if (weir_out_index(out) == MAIN)
        weir_request_to(weir_stage_in(stage), credit);
}

static void tap_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)state;
    if (weir_out_index(out) == SIDE)
        return;
    weir_cancel(weir_stage_in(stage));
    weir_end(weir_stage_out_at(stage, SIDE));
}

static const weir_stage_type tap_type = {
    .name = "tap",
    .config_size = sizeof(weir_tap_config),
    .outputs = 2,
    .at_once = UINT64_C(1) << MAIN,
    .on_demand = tap_on_demand,
    .on_items = tap_on_items,
    .on_cancel = tap_on_cancel,
};

weir_stage_spec *weir_tap(const weir_tap_config *config)
{
    return weir_stage_of(&tap_type, config);
}
