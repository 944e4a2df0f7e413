/* window: joins so many items, and slides on by as many or fewer or more. */
#include "members.h"
#include "queue.h"

enum { COUNT_DEFAULT = 64, COUNT_MAX = 65535, OVERLAP_MAX = 200, ROOM = 64 };

typedef struct window {
    wi_members held;
    uint32_t count, slide;
    uint32_t fresh; /* the last so many of those held have been in no window yet */
    uint32_t skips; /* items to be left out, between windows that do not touch */
} window;

static weir_status window_check(const void *config, const char **why)
{
    const weir_window_config *c = config;
    uint32_t count = c->count != 0 ? c->count : COUNT_DEFAULT;
    *why = c->every_us != 0    ? "a window by time does not slide"
           : c->bytes != 0     ? "bytes are for windows by time"
           : count > COUNT_MAX ? "count is at most 65535"
                               : "slide is at least a 200th of count, and at most 65535";
    bool overlaps = c->slide != 0 && count / c->slide > OVERLAP_MAX;
    bool is_sane = c->every_us == 0 && c->bytes == 0 && count <= COUNT_MAX;
    return is_sane && !overlaps && c->slide <= COUNT_MAX ? WEIR_OK : WEIR_EINVAL;
}

static weir_status window_open(weir_stage *stage, const void *config, void *state)
{
    const weir_window_config *c = config;
    window *w = state;
    w->count = c->count != 0 ? c->count : COUNT_DEFAULT;
    w->slide = c->slide != 0 ? c->slide : w->count;
    return wi_members_init(&w->held, weir_stage_env(stage), w->count + ROOM, false);
}

static void window_let_go(weir_stage *stage, void *state)
{
    (void)stage;
    window *w = state;
    wi_members_abort(&w->held);
    w->fresh = 0;
}

/* Leaves out the first of `n` items, which lie between two windows; gives how many. */
static uint32_t window_skip(window *w, weir_item **items, size_t n)
{
    uint32_t skipped = n < w->skips ? (uint32_t)n : w->skips;
    for (uint32_t i = 0; i < skipped; i++)
        weir_item_end(items[i], WEIR_FILTERED, WEIR_OK);
    w->skips -= skipped;
    return skipped;
}

static bool window_fits(const window *w, const weir_out *out, uint32_t n)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < n; i++)
        bytes += w->held.items[w->held.head + i]->cost;
    return weir_out_fits(out, bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX);
}

/* Emits the first `n` of those held as a window. */
static void window_emit(weir_stage *stage, window *w, uint32_t n)
{
    uint32_t beyond = w->held.n - n;
    wi_members_emit(stage, &w->held, n, n > w->slide ? n - w->slide : 0);
    w->fresh = w->fresh < beyond ? w->fresh : beyond;
    w->skips = w->slide > n ? w->slide - n : 0;
    uint32_t skipped = window_skip(w, w->held.items + w->held.head, w->held.n);
    w->held.head += skipped;
    w->held.n -= skipped;
    w->fresh = w->fresh < w->held.n ? w->fresh : w->held.n;
}

/* The input is over: what was in no window yet goes as a last one, a shorter one. */
static void window_finish(weir_stage *stage, window *w)
{
    if (w->fresh > 0 && !window_fits(w, weir_stage_out(stage), w->held.n))
        return;
    if (w->fresh > 0)
        wi_members_emit(stage, &w->held, w->held.n, 0);
    w->fresh = 0;
    for (; w->held.n > 0; w->held.n--)
        weir_item_ack(w->held.items[w->held.head++]);
    weir_finish(stage, 0);
}

static void window_run(weir_stage *stage, void *state)
{
    window *w = state;
    weir_out *out = weir_stage_out(stage);
    while (w->held.n >= w->count) {
        if (!window_fits(w, out, w->count))
            break;
        window_emit(stage, w, w->count);
    }
    if (weir_finish(stage, 1)) { /* what is held may have been in a window already */
        if (w->held.n < w->count)
            window_finish(stage, w);
        return;
    }
    uint64_t credit = weir_out_credit(out);
    if (credit == 0)
        return;
    uint64_t level = weir_credit_add(weir_credit_mul(credit - 1, w->slide), w->count);
    level = level < w->held.room ? level : w->held.room;
    level = weir_credit_sub(level, w->held.n);
    weir_request_to(weir_stage_in(stage), weir_credit_add(level, w->skips));
}

static weir_status window_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                   void *state)
{
    (void)in;
    window *w = state;
    uint32_t skipped = window_skip(w, items, n), before = w->held.n;
    wi_members_add(stage, &w->held, items + skipped, n - skipped, 0);
    w->fresh += w->held.n - before;
    return WEIR_OK;
}

static const weir_stage_type window_type = {
    .name = "window",
    .config_size = sizeof(weir_window_config),
    .state_size = sizeof(window),
    .check = window_check,
    .open = window_open,
    .close = wi_members_close,
    .on_items = window_on_items,
    .run = window_run,
    .let_go = window_let_go,
};

weir_stage_spec *weir_window(const weir_window_config *config)
{
    bool is_by_time = config != NULL && config->every_us != 0 && config->slide == 0;
    return is_by_time ? wi_window_by_time(config) : weir_stage_of(&window_type, config);
}
