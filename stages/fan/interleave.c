/* interleave: n items of each input in turn, into one output. */
#include <weir/stages.h>

#include "lines.h"

typedef struct interleave {
    wi_lines lines;
    uint32_t turn, left; /* whose turn it is, and for how many more */
    uint32_t n;
} interleave;

static weir_status interleave_check(const void *config, const char **why)
{
    uint32_t n = *(const uint32_t *)config;
    if (n >= 1 && n <= WI_LINE_MAX)
        return WEIR_OK;
    *why = "takes 1 to 64 items of an input in turn";
    return WEIR_EINVAL;
}

static weir_status interleave_open(weir_stage *stage, const void *config, void *state)
{
    interleave *s = state;
    s->n = s->left = *(const uint32_t *)config;
    return wi_lines_open(&s->lines, stage);
}

static void interleave_close(weir_stage *stage, void *state)
{
    wi_lines_close(&((interleave *)state)->lines, stage);
}

static void next_turn(interleave *s)
{
    s->turn = s->turn + 1 < s->lines.n ? s->turn + 1 : 0;
    s->left = s->n;
}

static void interleave_run(weir_stage *stage, interleave *s)
{
    weir_out *out = weir_stage_out(stage);
    while (s->lines.waiting != 0) {
        wi_line *line = &s->lines.of[s->turn];
        if (line->n == 0) {
            if (!weir_in_is_over(weir_stage_in_at(stage, s->turn)))
                break; /* the others wait for it */
            next_turn(s);
            continue;
        }
        if (!weir_out_fits(out, wi_line_first(line)->cost))
            break;
        weir_emit(out, wi_lines_pop(&s->lines, s->turn));
        if (--s->left == 0)
            next_turn(s);
    }
    uint64_t credit = weir_out_credit(out);
    if (!s->lines.is_over)
        wi_lines_ask(&s->lines, stage, credit < s->n ? credit : s->n);
    else if (s->lines.waiting == 0)
        wi_end_with(out, s->lines.status);
}

static weir_status interleave_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                       void *state)
{
    wi_lines_push(&((interleave *)state)->lines, stage, in, items, n);
    interleave_run(stage, state);
    return WEIR_OK;
}

static void interleave_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    interleave_run(stage, state);
}

static void interleave_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    wi_lines_note_end(&((interleave *)state)->lines, stage, status);
    interleave_run(stage, state);
}

static void interleave_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    wi_lines_abort(&((interleave *)state)->lines);
    wi_cancel_inputs(stage);
}

static void interleave_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    wi_lines_abort(&((interleave *)state)->lines);
}

static const weir_stage_type interleave_type = {
    .name = "interleave",
    .config_size = sizeof(uint32_t),
    .state_size = sizeof(interleave),
    .inputs = WEIR_PORTS_MANY,
    .check = interleave_check,
    .open = interleave_open,
    .close = interleave_close,
    .on_demand = interleave_on_demand,
    .on_items = interleave_on_items,
    .on_end = interleave_on_end,
    .on_cancel = interleave_on_cancel,
    .on_abort = interleave_on_abort,
};

weir_stage_spec *weir_interleave(uint32_t n)
{
    return weir_stage_of(&interleave_type, &n);
}
