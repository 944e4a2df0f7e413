/* merge_priority: many inputs into one output, the more important first, and none starved. */
#include <weir/stages.h>

#include <string.h>

#include "lines.h"

enum { AGEING_MS_DEFAULT = 1000 };

typedef struct priority {
    wi_lines lines;
    uint64_t aged; /* lines whose first item has waited long enough, a bit each */
    uint64_t ageing_ns;
    uint32_t shares[WEIR_PORTS_MAX], left[WEIR_PORTS_MAX]; /* of a round; of this one */
    uint64_t has_left; /* those with something left, a bit each */
    bool is_weighted;
} priority;

static weir_status priority_check(const void *config, const char **why)
{
    const weir_merge_priority_config *c = config;
    if (c->ahead <= WI_LINE_MAX)
        return WEIR_OK;
    *why = "ahead is at most 64";
    return WEIR_EINVAL;
}

static weir_status priority_open(weir_stage *stage, const void *config, void *state)
{
    const weir_merge_priority_config *c = config;
    priority *p = state;
    uint32_t ms = c->ageing_ms != 0 ? c->ageing_ms : AGEING_MS_DEFAULT;
    p->ageing_ns = ms != UINT32_MAX ? ms * WEIR_MS : UINT64_MAX;
    for (uint32_t i = 0; i < WEIR_PORTS_MAX; i++) {
        p->is_weighted |= c->weights[i] != 0;
        p->shares[i] = c->weights[i] != 0 ? c->weights[i] : 1;
    }
    return wi_lines_open(stage, config, &p->lines);
}

static bool has_aged(const priority *p, uint32_t index, uint64_t now)
{
    const wi_line *line = &p->lines.of[index];
    return now - line->came_ns[line->head] >= p->ageing_ns;
}

/* Once a visit: within one, time stands still. */
static void find_aged(priority *p, uint64_t now)
{
    p->aged = 0;
    for (uint64_t bits = p->lines.waiting; bits != 0; bits &= bits - 1)
        if (has_aged(p, (uint32_t)__builtin_ctzll(bits), now))
            p->aged |= bits & -bits;
}

/* Of the lines whose first has aged, the one whose first came first. */
static uint32_t oldest(const priority *p)
{
    uint32_t best = (uint32_t)__builtin_ctzll(p->aged);
    for (uint64_t bits = p->aged & (p->aged - 1); bits != 0; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(bits);
        const wi_line *a = &p->lines.of[i], *b = &p->lines.of[best];
        if (a->came_ns[a->head] < b->came_ns[b->head])
            best = i;
    }
    return best;
}

static void next_round(priority *p)
{
    memcpy(p->left, p->shares, p->lines.n * sizeof *p->left);
    p->has_left = UINT64_MAX;
}

/* The first line with something left of its share; a new round when none has. */
static uint32_t by_weight(priority *p)
{
    if ((p->lines.waiting & p->has_left) == 0)
        next_round(p);
    return (uint32_t)__builtin_ctzll(p->lines.waiting & p->has_left);
}

/* `n` of line `i` go in their turn: one that waits alone may go on for rounds. */
static void use_share(priority *p, uint32_t i, uint32_t n)
{
    if (n > p->left[i]) {
        n = (n - p->left[i] - 1) % p->shares[i] + 1; /* of the last round */
        next_round(p);
    }
    p->left[i] -= n;
    if (p->left[i] == 0)
        p->has_left &= ~(UINT64_C(1) << i);
}

/* What goes out at once, in the order in which it goes. */
typedef struct choice {
    weir_item *items[WI_LINE_MAX];
    uint32_t n, n_max;
} choice;

/* How many of line `i` may go at once: one that has aged, or its share. */
static uint32_t run_of(const priority *p, uint32_t i)
{
    if (p->aged != 0)
        return 1;
    uint32_t n = p->lines.of[i].n;
    bool is_alone = (p->lines.waiting & (p->lines.waiting - 1)) == 0;
    return p->is_weighted && !is_alone && p->left[i] < n ? p->left[i] : n;
}

static void choose(priority *p, choice *c, const weir_out *out, uint64_t now)
{
    while (p->lines.waiting != 0 && c->n < c->n_max) {
        bool by_age = p->aged != 0;
        uint32_t i = by_age           ? oldest(p)
                     : p->is_weighted ? by_weight(p)
                                      : (uint32_t)__builtin_ctzll(p->lines.waiting);
        wi_line *line = &p->lines.of[i];
        uint32_t run = run_of(p, i), room = c->n_max - c->n;
        run = run < room ? run : room;
        for (uint32_t k = 0; k < run; k++)
            c->items[c->n + k] = line->items[(line->head + k) % WI_LINE_MAX];
        run = (uint32_t)weir_out_room(out, c->items, c->n + run) - c->n;
        if (run == 0)
            return;
        c->n += run;
        wi_lines_skip(&p->lines, i, run);
        if (by_age && (line->n == 0 || !has_aged(p, i, now)))
            p->aged &= ~(UINT64_C(1) << i);
        else if (!by_age && p->is_weighted)
            use_share(p, i, run);
    }
}

static void priority_emit(weir_stage *stage, priority *p)
{
    weir_out *out = weir_stage_out(stage);
    uint64_t now = weir_loop_now(weir_stage_loop(stage));
    choice c;
    if (p->lines.waiting != 0 && p->ageing_ns != UINT64_MAX)
        find_aged(p, now);
    for (c.n = 1; p->lines.waiting != 0 && c.n != 0;) {
        uint64_t credit = weir_out_credit(out);
        c.n_max = credit < WI_LINE_MAX ? (uint32_t)credit : WI_LINE_MAX;
        c.n = 0;
        choose(p, &c, out, now);
        weir_emit_all(out, c.items, c.n);
    }
}

/* At once: what the others send meanwhile is not to be waited for. */
static weir_status priority_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                     void *state)
{
    weir_status status = wi_lines_on_items(stage, in, items, n, state);
    priority_emit(stage, state);
    return status;
}

static void priority_run(weir_stage *stage, void *state)
{
    const weir_merge_priority_config *config = weir_stage_config(stage);
    priority *p = state;
    priority_emit(stage, p);
    if (!weir_finish(stage, p->lines.waiting))
        wi_lines_ask(&p->lines, stage, config->ahead != 0 ? config->ahead : WI_LINE_MAX);
}

static const weir_stage_type priority_type = {
    .name = "merge_priority",
    .config_size = sizeof(weir_merge_priority_config),
    .state_size = sizeof(priority),
    .check = priority_check,
    .open = priority_open,
    .on_items = priority_on_items,
    .run = priority_run,
    WI_LINES_CALLBACKS,
    .inputs = WEIR_PORTS_MANY,
};

weir_stage_spec *weir_merge_priority(const weir_merge_priority_config *config)
{
    return weir_stage_of(&priority_type, config);
}
