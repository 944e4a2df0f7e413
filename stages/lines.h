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
    uint64_t waiting; /* lines with items, a bit each */
    uint32_t n;
} wi_lines;

/* Callbacks of stages whose state begins with the lines. Items are taken in: there is room, as no
 * more were asked for; a retry may bring more, and those fail. */
weir_status wi_lines_open(weir_stage *stage, const void *config, void *state);
weir_status wi_lines_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                              void *state);
void wi_lines_let_go(weir_stage *stage, void *state);
void wi_lines_close(weir_stage *stage, void *state);
#define WI_LINES_CALLBACKS .let_go = wi_lines_let_go, .close = wi_lines_close

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
/* Emits the oldest of a line as long as they fit. */
void wi_lines_emit(wi_lines *lines, uint32_t index, weir_out *out);
/* What each open input may have under way: an even share of the credit, at least one, or an idle
 * input that was asked for all the credit would starve the others; and where there is much, a
 * vector. */
uint64_t wi_share_of_credit(weir_stage *stage);
/* Tops every open input up to `level` items, those held counted. */
void wi_lines_ask(wi_lines *lines, weir_stage *stage, uint64_t level);

#endif
