/* Lines of items, one for each input: what fan-in stages that choose between inputs share. */
#include "lines.h"

weir_status wi_lines_open(wi_lines *lines, weir_stage *stage)
{
    lines->n = weir_stage_inputs(stage);
    lines->of = weir_memory_new(weir_stage_env(stage), lines->n * sizeof *lines->of);
    return lines->of != NULL ? WEIR_OK : WEIR_ENOMEM;
}

void wi_lines_close(wi_lines *lines, weir_stage *stage)
{
    wi_lines_abort(lines);
    weir_memory_free(weir_stage_env(stage), lines->of);
}

void wi_lines_push(wi_lines *lines, weir_stage *stage, weir_in *in, weir_item **items, size_t n)
{
    uint32_t index = weir_in_index(in);
    wi_line *line = &lines->of[index];
    uint64_t now = weir_loop_now(weir_stage_loop(stage));
    for (size_t i = 0; i < n; i++) {
        if (line->n == WI_LINE_MAX) {
            weir_fail(stage, items[i], WEIR_ELIMIT, "no room for an item that is tried again");
            continue;
        }
        uint32_t at = (line->head + line->n++) % WI_LINE_MAX;
        line->items[at] = items[i];
        line->came_ns[at] = now;
    }
    lines->waiting |= UINT64_C(1) << index;
}

void wi_lines_ask(wi_lines *lines, weir_stage *stage, uint64_t level)
{
    for (uint32_t i = 0; i < lines->n; i++)
        if (level > lines->of[i].n)
            weir_request_to(weir_stage_in_at(stage, i), level - lines->of[i].n);
}

void wi_lines_note_end(wi_lines *lines, weir_stage *stage, weir_status status)
{
    lines->over++;
    if (status != WEIR_OK && lines->status == WEIR_OK) {
        lines->status = status;
        lines->is_over = true;
        wi_cancel_inputs(stage);
    }
    lines->is_over |= lines->over == lines->n;
}

void wi_lines_abort(wi_lines *lines)
{
    while (lines->waiting != 0)
        weir_item_end(wi_lines_pop(lines, (uint32_t)__builtin_ctzll(lines->waiting)), WEIR_ABORTED,
                      WEIR_ECANCELED);
}

void wi_cancel_inputs(weir_stage *stage)
{
    for (uint32_t i = 0; i < weir_stage_inputs(stage); i++)
        weir_cancel(weir_stage_in_at(stage, i));
}
