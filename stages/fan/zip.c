/* zip: one item of each input, joined. */
#include <weir/stages.h>

#include "lines.h"

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
static bool is_complete(const wi_lines *lines, uint32_t *ret_cost)
{
    uint64_t all = lines->n < 64 ? (UINT64_C(1) << lines->n) - 1 : UINT64_MAX, cost = 0;
    if (lines->waiting != all)
        return false;
    for (uint32_t i = 0; i < lines->n; i++)
        cost += wi_line_first(&lines->of[i])->cost;
    *ret_cost = cost < UINT32_MAX ? (uint32_t)cost : UINT32_MAX;
    return true;
}

/* An input that is over with its items used up: no more can be joined. */
static bool is_used_up(weir_stage *stage, const wi_lines *lines, weir_status *ret_status)
{
    for (uint32_t i = 0; i < lines->n; i++)
        if (lines->of[i].n == 0 && weir_in_is_over(weir_stage_in_at(stage, i))) {
            *ret_status = weir_in_status(weir_stage_in_at(stage, i));
            return true;
        }
    return false;
}

static void zip_run(weir_stage *stage, void *state)
{
    wi_lines *lines = state;
    weir_out *out = weir_stage_out(stage);
    weir_item *members[WEIR_PORTS_MAX];
    weir_status status;
    uint32_t cost;
    while (is_complete(lines, &cost) && weir_out_fits(out, cost)) {
        for (uint32_t i = 0; i < lines->n; i++)
            members[i] = wi_lines_pop(lines, i);
        emit_joined(stage, members, lines->n);
    }
    if (is_used_up(stage, lines, &status)) {
        wi_cancel_inputs(stage);
        wi_lines_let_go(stage, lines);
        weir_end_error(out, status);
        return;
    }
    uint64_t credit = weir_out_credit(out);
    wi_lines_ask(lines, stage, credit < WI_LINE_MAX ? credit : WI_LINE_MAX);
}

static const weir_stage_type zip_type = {
    .name = "zip",
    .state_size = sizeof(wi_lines),
    .open = wi_lines_open,
    .on_items = wi_lines_on_items,
    .run = zip_run,
    WI_LINES_CALLBACKS,
    .inputs = WEIR_PORTS_MANY,
};

weir_stage_spec *weir_zip(void)
{
    return weir_stage_of(&zip_type, NULL);
}
