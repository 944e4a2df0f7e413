/* broadcast: every item to every output. */
#include "broadcast.h"

#include <string.h>

enum { VECTOR_MAX = 64 };

static weir_status broadcast_check(const void *config, const char **why)
{
    const weir_broadcast_config *c = config;
    bool has_rule = c->slow_leg <= WEIR_SLOW_LEG_MISSES;
    bool has_lag = c->lag_items != 0 || c->lag_ms != 0;
    *why = has_rule ? "lag_items and lag_ms are for legs that are cancelled"
                    : "no such rule for slow legs";
    return has_rule && !has_lag ? WEIR_OK : WEIR_EINVAL;
}

static bool misses(const weir_stage *stage)
{
    return ((const weir_broadcast_config *)weir_stage_config(stage))->slow_leg ==
           WEIR_SLOW_LEG_MISSES;
}

uint64_t wi_credit_of_legs(weir_stage *stage, bool greatest)
{
    uint64_t level = greatest ? 0 : WEIR_UNBOUNDED;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++) {
        const weir_out *leg = weir_stage_out_at(stage, i);
        uint64_t credit = weir_out_credit(leg);
        if (!weir_out_is_over(leg) && (greatest ? credit > level : credit < level))
            level = credit;
    }
    return level;
}

/* The lossy way: each leg takes what it has credit for. */
static void hand_to_those_ready(weir_stage *stage, weir_item *item)
{
    weir_out *ready[WEIR_PORTS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++)
        if (weir_out_credit(weir_stage_out_at(stage, i)) > 0)
            ready[n++] = weir_stage_out_at(stage, i);
    if (n == 0)
        weir_item_end(item, WEIR_FILTERED, WEIR_OK);
    else if (wi_hold_for_legs(item, n - 1))
        for (uint32_t i = 0; i < n; i++)
            weir_emit(ready[i], item);
}

static void hand_to_all(weir_stage *stage, weir_item **items, size_t n)
{
    weir_out *legs[WEIR_PORTS_MAX];
    weir_item *copies[VECTOR_MAX];
    uint32_t open = 0;
    size_t kept = 0;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++)
        if (!weir_out_is_over(weir_stage_out_at(stage, i)))
            legs[open++] = weir_stage_out_at(stage, i);
    for (size_t i = 0; i < n; i++) {
        if (open == 0)
            weir_item_end(items[i], WEIR_ABORTED, WEIR_ECANCELED);
        else if (wi_hold_for_legs(items[i], open - 1))
            items[kept++] = items[i];
    }
    for (uint32_t i = 0; i < open && kept > 0; i++) {
        memcpy(copies, items, kept * sizeof *items); /* the taker may overwrite what it takes */
        weir_emit_all(legs[i], copies, kept);
    }
}

static weir_status broadcast_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                      void *state)
{
    (void)in;
    (void)state;
    if (misses(stage))
        for (size_t i = 0; i < n; i++)
            hand_to_those_ready(stage, items[i]);
    else
        hand_to_all(stage, items, n);
    return WEIR_OK;
}

static void broadcast_run(weir_stage *stage, void *state)
{
    (void)state;
    if (!weir_finish(stage, 0))
        weir_request_to(weir_stage_in(stage), wi_credit_of_legs(stage, misses(stage)));
}

#define BROADCAST_TYPE(lossy_)                                                               \
    {                                                                                        \
        .name = "broadcast", .config_size = sizeof(weir_broadcast_config),                   \
        .outputs = WEIR_PORTS_MANY, .lossy = (lossy_), .at_once = (lossy_) ? 0 : UINT64_MAX, \
        .check = broadcast_check, .on_items = broadcast_on_items, .run = broadcast_run       \
    }

static const weir_stage_type broadcast_type = BROADCAST_TYPE(false);
static const weir_stage_type lossy_broadcast_type = BROADCAST_TYPE(true);

weir_stage_spec *weir_broadcast_with(const weir_broadcast_config *config)
{
    if (config != NULL && config->slow_leg == WEIR_SLOW_LEG_CANCELLED)
        return weir_stage_of(&wi_broadcast_lag_type, config);
    bool is_lossy = config != NULL && config->slow_leg == WEIR_SLOW_LEG_MISSES;
    return weir_stage_of(is_lossy ? &lossy_broadcast_type : &broadcast_type, config);
}

weir_stage_spec *weir_broadcast(weir_slow_leg slow_leg)
{
    return weir_broadcast_with(&(weir_broadcast_config){ .slow_leg = slow_leg });
}
