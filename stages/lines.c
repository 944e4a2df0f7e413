/* Lines of items, one for each input: what fan-in stages that choose between inputs share. */
#include "lines.h"

weir_status wi_lines_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    wi_lines *lines = state;
    lines->n = weir_stage_inputs(stage);
    lines->of = weir_memory_new(weir_stage_env(stage), lines->n * sizeof *lines->of);
    return lines->of != NULL ? WEIR_OK : WEIR_ENOMEM;
}

weir_status wi_lines_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                              void *state)
{
    wi_lines *lines = state;
    uint32_t index = weir_in_index(in);
    wi_line *line = &lines->of[index];
    uint64_t now = weir_loop_now(weir_stage_loop(stage));
    for (size_t i = 0; i < n; i++) {
        if (line->n == WI_LINE_MAX) {
            weir_fail(stage, items[i], WEIR_ELIMIT, wi_no_room);
            continue;
        }
        uint32_t at = (line->head + line->n++) % WI_LINE_MAX;
        line->items[at] = items[i];
        line->came_ns[at] = now;
    }
    lines->waiting |= (uint64_t)(n != 0) << index;
    return WEIR_OK;
}

void wi_lines_ask(wi_lines *lines, weir_stage *stage, uint64_t level)
{
    for (uint32_t i = 0; i < lines->n; i++)
        if (level > lines->of[i].n)
            weir_request_to(weir_stage_in_at(stage, i), level - lines->of[i].n);
}

void wi_lines_emit(wi_lines *lines, uint32_t index, weir_out *out)
{
    const wi_line *line = &lines->of[index];
    while (line->n != 0 && weir_out_fits(out, wi_line_first(line)->cost))
        weir_emit(out, wi_lines_pop(lines, index));
}

uint64_t wi_share_of_credit(weir_stage *stage)
{
    uint64_t credit = weir_out_credit(weir_stage_out(stage));
    uint32_t open = 0;
    if (credit >= WI_LINE_MAX || credit == 0)
        return credit < WI_LINE_MAX ? credit : WI_LINE_MAX;
    for (uint32_t i = 0; i < weir_stage_inputs(stage); i++)
        open += !weir_in_is_over(weir_stage_in_at(stage, i));
    return credit > open ? (uint32_t)credit / (open != 0 ? open : 1) : 1;
}

void wi_lines_let_go(weir_stage *stage, void *state)
{
    (void)stage;
    wi_lines *lines = state;
    while (lines->waiting != 0)
        weir_item_end(wi_lines_pop(lines, (uint32_t)__builtin_ctzll(lines->waiting)), WEIR_ABORTED,
                      WEIR_ECANCELED);
}

void wi_lines_close(weir_stage *stage, void *state)
{
    weir_memory_free(weir_stage_env(stage), ((wi_lines *)state)->of);
}
