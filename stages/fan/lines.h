/* Lines of items, one for each input: what fan-in stages that choose between inputs share. */
#ifndef WI_LINES_H
#define WI_LINES_H

#include <weir/stage.h>

#include "queue.h"

enum { WI_LINE_MAX = 64 }; /* a power of two, at most 256 */

typedef struct wi_line {
    weir_item *items[WI_LINE_MAX]; /* a ring */
    uint64_t came_ns[WI_LINE_MAX];
    uint32_t head, n;
} wi_line;

typedef struct wi_lines {
    wi_line *of;
    uint64_t waiting;   /* lines with items, a bit each */
    uint32_t n, over;   /* inputs; those that are over */
    bool is_over;       /* all are, or one failed */
    weir_status status; /* the first error */
} wi_lines;

weir_status wi_lines_open(wi_lines *lines, weir_stage *stage);
void wi_lines_close(wi_lines *lines, weir_stage *stage);
/* Takes the items; there is room, as no more were asked for. A retry may bring more: those fail. */
void wi_lines_push(wi_lines *lines, weir_stage *stage, weir_in *in, weir_item **items, size_t n);
static inline weir_item *wi_line_first(const wi_line *line)
{
    return line->items[line->head];
}
/* The oldest `n` of a line have gone. */
static inline void wi_lines_skip(wi_lines *lines, uint32_t index, uint32_t n)
{
    wi_line *line = &lines->of[index];
    line->head = (line->head + n) % WI_LINE_MAX;
    line->n -= n;
    if (line->n == 0)
        lines->waiting &= ~(UINT64_C(1) << index);
}
/* Gives the oldest of a line that has one. */
static inline weir_item *wi_lines_pop(wi_lines *lines, uint32_t index)
{
    weir_item *item = wi_line_first(&lines->of[index]);
    wi_lines_skip(lines, index, 1);
    return item;
}
/* Tops every open input up to `level` items, those held counted. */
void wi_lines_ask(wi_lines *lines, weir_stage *stage, uint64_t level);
/* Notes the end of an input; an error cancels the others. */
void wi_lines_note_end(wi_lines *lines, weir_stage *stage, weir_status status);
/* Ends all that is held as aborted. */
void wi_lines_abort(wi_lines *lines);
void wi_cancel_inputs(weir_stage *stage);

#endif
