/* zip: one item of each input, joined. */
#include <weir/stages.h>

#include "lines.h"

typedef struct zip {
    wi_lines lines;
    weir_status ended_with[WEIR_PORTS_MAX];
    bool is_done;
} zip;

static weir_status zip_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    return wi_lines_open(&((zip *)state)->lines, stage);
}

static void zip_close(weir_stage *stage, void *state)
{
    wi_lines_close(&((zip *)state)->lines, stage);
}

/* Takes the members. A failure is not one for the error policy: tried again, one by one, they would
 * not meet again. */
static void emit_joined(weir_stage *stage, weir_item **members, uint32_t n)
{
    weir_item *joined;
    weir_status status = weir_items_join(weir_stage_loop(stage), members, n, &joined);
    if (status == WEIR_OK) {
        weir_emit(weir_stage_out(stage), joined);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        weir_item_end(members[i], WEIR_FAILED, status);
    if (!weir_stage_is_acked(stage))
        weir_stage_fail(stage, status, "cannot join the items of the inputs");
}

/* The sum of the costs of the first items, or false if an input has none. */
static bool is_complete(const zip *z, uint32_t *ret_cost)
{
    uint64_t all = z->lines.n < 64 ? (UINT64_C(1) << z->lines.n) - 1 : UINT64_MAX, cost = 0;
    if (z->lines.waiting != all)
        return false;
    for (uint32_t i = 0; i < z->lines.n; i++)
        cost += wi_line_first(&z->lines.of[i])->cost;
    *ret_cost = cost < UINT32_MAX ? (uint32_t)cost : UINT32_MAX;
    return true;
}

/* An input that is over with its items used up: no more can be joined. */
static bool is_used_up(weir_stage *stage, const zip *z, weir_status *ret_status)
{
    for (uint32_t i = 0; i < z->lines.n; i++)
        if (z->lines.of[i].n == 0 && weir_in_is_over(weir_stage_in_at(stage, i))) {
            *ret_status = z->ended_with[i];
            return true;
        }
    return false;
}

static void zip_run(weir_stage *stage, zip *z)
{
    weir_out *out = weir_stage_out(stage);
    weir_item *members[WEIR_PORTS_MAX];
    weir_status status;
    uint32_t cost;
    if (z->is_done)
        return;
    while (is_complete(z, &cost) && weir_out_fits(out, cost)) {
        for (uint32_t i = 0; i < z->lines.n; i++)
            members[i] = wi_lines_pop(&z->lines, i);
        emit_joined(stage, members, z->lines.n);
    }
    if (is_used_up(stage, z, &status)) {
        z->is_done = true;
        wi_cancel_inputs(stage);
        wi_lines_abort(&z->lines);
        wi_end_with(out, status);
        return;
    }
    uint64_t credit = weir_out_credit(out);
    wi_lines_ask(&z->lines, stage, credit < WI_LINE_MAX ? credit : WI_LINE_MAX);
}

static weir_status zip_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                void *state)
{
    wi_lines_push(&((zip *)state)->lines, stage, in, items, n);
    zip_run(stage, state);
    return WEIR_OK;
}

static void zip_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    zip_run(stage, state);
}

static void zip_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    zip *z = state;
    z->ended_with[weir_in_index(in)] = status;
    zip_run(stage, z);
}

static void zip_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    zip *z = state;
    z->is_done = true;
    wi_cancel_inputs(stage);
    wi_lines_abort(&z->lines);
}

static void zip_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    wi_lines_abort(&((zip *)state)->lines);
}

static const weir_stage_type zip_type = {
    .name = "zip",
    .state_size = sizeof(zip),
    .inputs = WEIR_PORTS_MANY,
    .open = zip_open,
    .close = zip_close,
    .on_demand = zip_on_demand,
    .on_items = zip_on_items,
    .on_end = zip_on_end,
    .on_cancel = zip_on_cancel,
    .on_abort = zip_on_abort,
};

weir_stage_spec *weir_zip(void)
{
    return weir_stage_of(&zip_type, NULL);
}
