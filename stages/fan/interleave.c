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
    return wi_lines_open(stage, config, &s->lines);
}

static void next_turn(interleave *s)
{
    s->turn = s->turn + 1 < s->lines.n ? s->turn + 1 : 0;
    s->left = s->n;
}

static void interleave_run(weir_stage *stage, void *state)
{
    interleave *s = state;
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
    if (!weir_finish(stage, s->lines.waiting))
        wi_lines_ask(&s->lines, stage, credit < s->n ? credit : s->n);
}

static const weir_stage_type interleave_type = {
    .name = "interleave",
    .config_size = sizeof(uint32_t),
    .state_size = sizeof(interleave),
    .check = interleave_check,
    .open = interleave_open,
    .on_items = wi_lines_on_items,
    .run = interleave_run,
    WI_LINES_CALLBACKS,
    .inputs = WEIR_PORTS_MANY,
};

weir_stage_spec *weir_interleave(uint32_t n)
{
    return weir_stage_of(&interleave_type, &n);
}
