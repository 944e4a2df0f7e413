/* broadcast, the kind that gives each leg some slack and cancels those that lag further. */
#include "broadcast.h"
#include "queue.h"

enum { LAG_ITEMS_DEFAULT = 256, LAG_ITEMS_MAX = 65536 };

typedef struct leg {
    wi_queue lag;      /* twice the limit: what was asked for must find room in the last leg */
    uint64_t since_ns; /* no progress since, while something waits */
} leg;

typedef struct lagging {
    weir_stage *stage;
    leg *legs;
    weir_timer timer;
    uint32_t lag_items;
    uint64_t lag_ns;
    bool is_over;
    weir_status status;
} lagging;

static weir_status lag_check(const void *config, const char **why)
{
    if (((const weir_broadcast_config *)config)->lag_items <= LAG_ITEMS_MAX)
        return WEIR_OK;
    *why = "lag_items is at most 65536";
    return WEIR_EINVAL;
}

static void lag_close(weir_stage *stage, void *state)
{
    lagging *l = state;
    const weir_env *env = weir_stage_env(stage);
    weir_timer_stop(weir_stage_loop(stage), &l->timer);
    for (uint32_t i = 0; l->legs != NULL && i < weir_stage_outputs(stage); i++)
        wi_queue_done(&l->legs[i].lag, env);
    weir_memory_free(env, l->legs);
}

static weir_status lag_open(weir_stage *stage, const void *config, void *state)
{
    const weir_broadcast_config *c = config;
    const weir_env *env = weir_stage_env(stage);
    lagging *l = state;
    l->stage = stage;
    l->lag_items = c->lag_items != 0 ? c->lag_items : LAG_ITEMS_DEFAULT;
    l->lag_ns = c->lag_ms != 0 ? c->lag_ms * WEIR_MS : UINT64_MAX;
    l->legs = weir_memory_new(env, weir_stage_outputs(stage) * sizeof *l->legs);
    weir_status status = l->legs != NULL ? WEIR_OK : WEIR_ENOMEM;
    for (uint32_t i = 0; status == WEIR_OK && i < weir_stage_outputs(stage); i++)
        status = wi_queue_init(&l->legs[i].lag, env, 2 * l->lag_items);
    if (status != WEIR_OK)
        lag_close(stage, l);
    return status;
}

static uint32_t open_legs(weir_stage *stage)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++)
        open += !weir_out_is_over(weir_stage_out_at(stage, i));
    return open;
}

static void cut(lagging *l, uint32_t index)
{
    weir_end_error(weir_stage_out_at(l->stage, index), WEIR_EOVERLOAD);
    wi_queue_abort(&l->legs[index].lag);
}

/* The fastest leg sets the pace. One for which something waits asks for nothing: it has no credit,
 * or waits for bytes. */
static void lag_ask(lagging *l)
{
    uint64_t level = 0;
    for (uint32_t i = 0; i < weir_stage_outputs(l->stage); i++) {
        uint64_t credit = weir_out_credit(weir_stage_out_at(l->stage, i));
        level = l->legs[i].lag.n == 0 && credit > level ? credit : level;
    }
    if (open_legs(l->stage) == 0)
        weir_cancel(weir_stage_in(l->stage));
    else
        weir_request_to(weir_stage_in(l->stage), level < l->lag_items ? level : l->lag_items);
}

static void lag_run(lagging *l);

static void lag_timer_fired(weir_timer *timer, void *user)
{
    (void)timer;
    lag_run(user);
}

/* Cuts what has waited too long, unless it is the last; gives the time until the next is due. */
static uint64_t cut_late(lagging *l, uint64_t now)
{
    uint64_t wait = UINT64_MAX;
    for (uint32_t i = 0; i < weir_stage_outputs(l->stage) && l->lag_ns != UINT64_MAX; i++) {
        if (l->legs[i].lag.n == 0 || open_legs(l->stage) == 1)
            continue;
        uint64_t waited = now - l->legs[i].since_ns;
        if (waited >= l->lag_ns)
            cut(l, i);
        else
            wait = l->lag_ns - waited < wait ? l->lag_ns - waited : wait;
    }
    return wait;
}

static void lag_run(lagging *l)
{
    weir_loop *loop = weir_stage_loop(l->stage);
    uint64_t now = weir_loop_now(loop);
    for (uint32_t i = 0; i < weir_stage_outputs(l->stage); i++) {
        leg *of = &l->legs[i];
        uint32_t before = of->lag.n;
        wi_queue_emit(&of->lag, weir_stage_out_at(l->stage, i));
        if (of->lag.n != before)
            of->since_ns = now;
        if (l->is_over && of->lag.n == 0)
            wi_end_with(weir_stage_out_at(l->stage, i), l->status);
    }
    uint64_t wait = cut_late(l, now);
    if (wait != UINT64_MAX)
        weir_timer_start(loop, &l->timer, wait, lag_timer_fired, l);
    else
        weir_timer_stop(loop, &l->timer);
    if (!l->is_over)
        lag_ask(l);
}

static void hand_to_leg(lagging *l, uint32_t index, weir_item *item)
{
    leg *of = &l->legs[index];
    weir_out *out = weir_stage_out_at(l->stage, index);
    if (of->lag.n == 0 && weir_out_fits(out, item->cost)) {
        weir_emit(out, item);
        return;
    }
    if (of->lag.n == 0)
        of->since_ns = weir_loop_now(weir_stage_loop(l->stage));
    wi_queue_push(&of->lag, item);
}

static void hand_out(lagging *l, weir_item *item)
{
    uint32_t open = open_legs(l->stage), n = weir_stage_outputs(l->stage);
    for (uint32_t i = 0; i < n; i++) {
        weir_out *out = weir_stage_out_at(l->stage, i);
        uint32_t most = open > 1 ? l->lag_items : 2 * l->lag_items;
        if (weir_out_is_over(out) || l->legs[i].lag.n < most)
            continue;
        cut(l, i);
        open--;
    }
    if (open == 0) {
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
        return;
    }
    if (!wi_hold_for_legs(item, open - 1))
        return;
    for (uint32_t i = 0; i < n; i++)
        if (!weir_out_is_over(weir_stage_out_at(l->stage, i)))
            hand_to_leg(l, i, item);
}

static weir_status lag_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                void *state)
{
    (void)stage;
    (void)in;
    for (size_t i = 0; i < n; i++)
        hand_out(state, items[i]);
    lag_run(state);
    return WEIR_OK;
}

static void lag_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    lag_run(state);
}

static void lag_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)stage;
    (void)in;
    lagging *l = state;
    l->is_over = true;
    l->status = status;
    lag_run(l);
}

static void lag_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)stage;
    lagging *l = state;
    wi_queue_abort(&l->legs[weir_out_index(out)].lag);
    lag_run(l);
}

static void lag_on_abort(weir_stage *stage, void *state)
{
    lagging *l = state;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++)
        wi_queue_abort(&l->legs[i].lag);
}

const weir_stage_type wi_broadcast_lag_type = {
    .name = "broadcast",
    .config_size = sizeof(weir_broadcast_config),
    .state_size = sizeof(lagging),
    .outputs = WEIR_PORTS_MANY,
    .check = lag_check,
    .open = lag_open,
    .close = lag_close,
    .on_demand = lag_on_demand,
    .on_items = lag_on_items,
    .on_end = lag_on_end,
    .on_cancel = lag_on_cancel,
    .on_abort = lag_on_abort,
};
