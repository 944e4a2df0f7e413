/* broadcast, the kind that gives each leg some slack and cancels those that lag further. */
#include "broadcast.h"
#include "queue.h"

enum { LAG_ITEMS_DEFAULT = 256, LAG_ITEMS_MAX = 65536 };

typedef struct leg {
    wi_queue lag;      /* twice the limit: what was asked for must find room in the last leg */
    uint64_t since_ns; /* no progress since, while something waits */
} leg;

typedef struct lagging {
    leg *legs;
    weir_timer timer;
    uint32_t lag_items;
    uint64_t lag_ns;
} lagging;

static weir_status lag_check(const void *config, const char **why)
{
    if (((const weir_broadcast_config *)config)->lag_items <= LAG_ITEMS_MAX)
        return WEIR_OK;
    *why = "lag_items is at most 65536";
    return WEIR_EINVAL;
}

static void lag_let_go(weir_stage *stage, void *state)
{
    lagging *l = state;
    weir_timer_stop(weir_stage_loop(stage), &l->timer);
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++)
        wi_queue_abort(&l->legs[i].lag);
}

static void lag_close(weir_stage *stage, void *state)
{
    lagging *l = state;
    const weir_env *env = weir_stage_env(stage);
    for (uint32_t i = 0; l->legs != NULL && i < weir_stage_outputs(stage); i++)
        wi_queue_done(&l->legs[i].lag, env);
    weir_memory_free(env, l->legs);
}

static weir_status lag_open(weir_stage *stage, const void *config, void *state)
{
    const weir_broadcast_config *c = config;
    const weir_env *env = weir_stage_env(stage);
    lagging *l = state;
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

static void cut(weir_stage *stage, lagging *l, uint32_t index)
{
    weir_end_error(weir_stage_out_at(stage, index), WEIR_EOVERLOAD);
    wi_queue_abort(&l->legs[index].lag);
}

/* Emits what leg `index` has credit for; behind it comes its end. Gives what it asks for:
 * nothing while something waits for it, which lacks credit, or bytes. */
static uint64_t serve(weir_stage *stage, lagging *l, uint32_t index, uint64_t now)
{
    leg *of = &l->legs[index];
    weir_out *out = weir_stage_out_at(stage, index);
    const weir_in *in = weir_stage_in(stage);
    uint32_t before = of->lag.n;
    if (weir_out_is_over(out))
        wi_queue_abort(&of->lag);
    wi_queue_emit(&of->lag, out);
    if (of->lag.n != before)
        of->since_ns = now;
    if (of->lag.n == 0 && weir_in_is_over(in))
        weir_end_error(out, weir_in_status(in));
    return of->lag.n == 0 ? weir_out_credit(out) : 0;
}

/* Cuts what has waited too long, unless it is the last; gives the time until the next is due. */
static uint64_t cut_late(weir_stage *stage, lagging *l, uint64_t now)
{
    uint64_t wait = UINT64_MAX;
    for (uint32_t i = 0; i < weir_stage_outputs(stage) && l->lag_ns != UINT64_MAX; i++) {
        if (l->legs[i].lag.n == 0 || open_legs(stage) == 1)
            continue;
        uint64_t waited = now - l->legs[i].since_ns;
        if (waited >= l->lag_ns)
            cut(stage, l, i);
        else
            wait = l->lag_ns - waited < wait ? l->lag_ns - waited : wait;
    }
    return wait;
}

/* The fastest leg sets the pace. */
static void lag_run(weir_stage *stage, void *state)
{
    lagging *l = state;
    uint64_t now = weir_loop_now(weir_stage_loop(stage)), level = 0;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++) {
        uint64_t more = serve(stage, l, i, now);
        level = more > level ? more : level;
    }
    uint64_t wait = cut_late(stage, l, now);
    if (wait != UINT64_MAX)
        weir_stage_wake_after(stage, &l->timer, wait);
    else
        weir_timer_stop(weir_stage_loop(stage), &l->timer);
    weir_request_to(weir_stage_in(stage), level < l->lag_items ? level : l->lag_items);
}

static void hand_to_leg(weir_stage *stage, leg *of, weir_out *out, weir_item *item)
{
    if (of->lag.n == 0 && weir_out_fits(out, item->cost)) {
        weir_emit(out, item);
        return;
    }
    if (of->lag.n == 0)
        of->since_ns = weir_loop_now(weir_stage_loop(stage));
    wi_queue_push(&of->lag, item);
}

static weir_status lag_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    lagging *l = state;
    uint32_t open = open_legs(stage), n = weir_stage_outputs(stage);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t most = open > 1 ? l->lag_items : 2 * l->lag_items;
        if (weir_out_is_over(weir_stage_out_at(stage, i)) || l->legs[i].lag.n < most)
            continue;
        cut(stage, l, i);
        open--;
    }
    if (open == 0) {
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
        return WEIR_OK;
    }
    if (!wi_hold_for_legs(item, open - 1))
        return WEIR_OK;
    for (uint32_t i = 0; i < n; i++)
        if (!weir_out_is_over(weir_stage_out_at(stage, i)))
            hand_to_leg(stage, &l->legs[i], weir_stage_out_at(stage, i), item);
    return WEIR_OK;
}

const weir_stage_type wi_broadcast_lag_type = {
    .name = "broadcast",
    .config_size = sizeof(weir_broadcast_config),
    .state_size = sizeof(lagging),
    .outputs = WEIR_PORTS_MANY,
    .check = lag_check,
    .open = lag_open,
    .close = lag_close,
    .on_item = lag_on_item,
    .run = lag_run,
    .let_go = lag_let_go,
};
