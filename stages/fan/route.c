/* route: each item to the output that a function says, or to none. */
#include "broadcast.h"
#include "queue.h"

enum { AHEAD_MAX = 64 };

typedef struct route {
    wi_queue held; /* what its output had no room for after all: bytes */
    uint8_t to[AHEAD_MAX];
    bool misses;
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

static void route_run(weir_stage *stage, void *state)
{
    route *r = state;
    while (r->held.n > 0) {
        weir_out *out = weir_stage_out_at(stage, r->to[r->held.head]);
        if (!weir_out_is_over(out) && !weir_out_fits(out, wi_queue_first(&r->held)->cost))
            break;
        (void)hand_over(out, wi_queue_pop(&r->held));
    }
    if (weir_finish(stage, r->held.n))
        return;
    uint64_t level = wi_credit_of_legs(stage, r->misses);
    level = r->misses || level < AHEAD_MAX ? level : AHEAD_MAX;
    weir_request_to(weir_stage_in(stage), weir_credit_sub(level, r->held.n));
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
        weir_fail(stage, item, WEIR_ELIMIT, wi_no_room);
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
    return WEIR_OK;
}

static const weir_stage_type route_type = {
    .name = "route",
    .config_size = sizeof(weir_route_config),
    .state_size = sizeof(route),
    .outputs = WEIR_PORTS_MANY,
    .check = route_check,
    .open = route_open,
    .on_items = route_on_items,
    .run = route_run,
    WI_QUEUE_CALLBACKS,
};

weir_stage_spec *weir_route(const weir_route_config *config)
{
    return weir_stage_of(&route_type, config);
}
