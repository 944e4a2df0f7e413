/* route: each item to the output that a function says, or to none. */
#include <weir/stages.h>

#include "queue.h"

enum { AHEAD_MAX = 64 };

typedef struct route {
    wi_queue held; /* what its output had no room for after all: bytes */
    uint8_t to[AHEAD_MAX];
    bool misses, is_over;
    weir_status status;
} route;

static weir_status route_check(const void *config, const char **why)
{
    const weir_route_config *c = config;
    if (c->output == NULL)
        *why = "needs a function";
    else if (c->slow_leg != WEIR_SLOW_LEG_HOLDS && c->slow_leg != WEIR_SLOW_LEG_MISSES)
        *why = "no such rule for slow outputs";
    else
        return WEIR_OK;
    return WEIR_EINVAL;
}

static weir_status route_open(weir_stage *stage, const void *config, void *state)
{
    route *r = state;
    r->misses = ((const weir_route_config *)config)->slow_leg == WEIR_SLOW_LEG_MISSES;
    return wi_queue_init(&r->held, weir_stage_env(stage), AHEAD_MAX);
}

static void route_close(weir_stage *stage, void *state)
{
    wi_queue_done(&((route *)state)->held, weir_stage_env(stage));
}

/* The least credit of the open outputs; where slow ones miss, the greatest. */
static void route_ask(weir_stage *stage, route *r)
{
    uint64_t level = r->misses ? 0 : AHEAD_MAX;
    uint32_t open = 0;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++) {
        weir_out *out = weir_stage_out_at(stage, i);
        uint64_t credit = weir_out_credit(out);
        if (weir_out_is_over(out))
            continue;
        open++;
        if (r->misses ? credit > level : credit < level)
            level = credit;
    }
    if (open > 0) {
        weir_request_to(weir_stage_in(stage), weir_credit_sub(level, r->held.n));
        return;
    }
    wi_queue_abort(&r->held);
    weir_cancel(weir_stage_in(stage));
}

/* True if the item has gone: emitted, or ended because its output is over. */
static bool hand_over(weir_out *out, weir_item *item)
{
    if (weir_out_is_over(out))
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
    else if (weir_out_fits(out, item->cost))
        weir_emit(out, item);
    else
        return false;
    return true;
}

static void route_run(weir_stage *stage, route *r)
{
    while (r->held.n > 0) {
        weir_out *out = weir_stage_out_at(stage, r->to[r->held.head]);
        if (!weir_out_is_over(out) && !weir_out_fits(out, wi_queue_first(&r->held)->cost))
            break;
        (void)hand_over(out, wi_queue_pop(&r->held));
    }
    if (!r->is_over)
        route_ask(stage, r);
    else if (r->held.n == 0)
        for (uint32_t i = 0; i < weir_stage_outputs(stage); i++)
            wi_end_with(weir_stage_out_at(stage, i), r->status);
}

static void route_item(weir_stage *stage, weir_in *in, route *r, weir_item *item)
{
    const weir_route_config *config = weir_stage_config(stage);
    uint32_t index = config->output(item, config->user);
    weir_out *out = index < WEIR_PORTS_MAX ? weir_stage_out_at(stage, index) : NULL;
    if (index == WEIR_ROUTE_NONE) {
        weir_drop(in, item);
    } else if (out == NULL) {
        weir_fail(stage, item, WEIR_EINVAL, "there is no such output");
    } else if (r->held.n == 0 && hand_over(out, item)) {
        return;
    } else if (r->misses) {
        weir_reject(stage, item, WEIR_EOVERLOAD, "its output is not ready for it");
    } else if (r->held.n == r->held.capacity) {
        weir_fail(stage, item, WEIR_ELIMIT, "no room for an item that is tried again");
    } else {
        r->to[(r->held.head + r->held.n) % r->held.capacity] = (uint8_t)index;
        wi_queue_push(&r->held, item);
    }
}

static weir_status route_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    for (size_t i = 0; i < n; i++)
        route_item(stage, in, state, items[i]);
    route_run(stage, state);
    return WEIR_OK;
}

static void route_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    route_run(stage, state);
}

static void route_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    route *r = state;
    r->is_over = true;
    r->status = status;
    route_run(stage, r);
}

static void route_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    route_run(stage, state);
}

static void route_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    wi_queue_abort(&((route *)state)->held);
}

static const weir_stage_type route_type = {
    .name = "route",
    .config_size = sizeof(weir_route_config),
    .state_size = sizeof(route),
    .outputs = WEIR_PORTS_MANY,
    .check = route_check,
    .open = route_open,
    .close = route_close,
    .on_demand = route_on_demand,
    .on_items = route_on_items,
    .on_end = route_on_end,
    .on_cancel = route_on_cancel,
    .on_abort = route_on_abort,
};

weir_stage_spec *weir_route(const weir_route_config *config)
{
    return weir_stage_of(&route_type, config);
}
