/* tick: a source that emits at set times, as far as it is asked to. */
#include <weir/stages.h>

typedef struct tick {
    weir_stage *stage;
    weir_timer timer;
    uint64_t interval_ns, due_ns;
    uint64_t number, missed, left; /* ticks emitted; missed since the last; still to emit */
    bool has_ticked;
    bool is_pending; /* one was missed, and is made up for as soon as is asked */
} tick;

static const uint64_t year_us = UINT64_C(366) * 86400 * 1000000;

static weir_status tick_check(const void *config, const char **why)
{
    const weir_tick_config *c = config;
    *why = c->interval_us == 0 ? "interval_us is at least 1" : "no time is longer than a year";
    bool is_sane = c->interval_us > 0 && c->interval_us <= year_us && c->delay_us <= year_us;
    return is_sane ? WEIR_OK : WEIR_EINVAL;
}

/* Emits a tick, or counts it as missed. */
static void tick_emit(tick *t)
{
    weir_out *out = weir_stage_out(t->stage);
    const weir_tick_config *config = weir_stage_config(t->stage);
    weir_item *item = weir_out_fits(out, sizeof(weir_tick_body))
                          ? weir_item_new(weir_stage_loop(t->stage), NULL, sizeof(weir_tick_body))
                          : NULL;
    if (item == NULL) {
        t->missed++;
        t->is_pending = config->coalesce;
        return;
    }
    *(weir_tick_body *)weir_item_body(item) = (weir_tick_body){ .number = t->number++,
                                                                .missed = t->missed };
    t->missed = 0;
    t->is_pending = false;
    weir_emit(out, item);
    if (--t->left == 0)
        weir_end(out);
}

static void tick_fired(weir_timer *timer, void *user);

/* Ticks keep to the grid of the first: a late one does not put off those after it, and those that
 * a stalled loop slept through are missed, not made up for in a burst. */
static void tick_wait(tick *t)
{
    weir_loop *loop = weir_stage_loop(t->stage);
    uint64_t now = weir_loop_now(loop);
    if (now > t->due_ns) {
        uint64_t slept = (now - t->due_ns) / t->interval_ns;
        t->missed += slept;
        t->due_ns += slept * t->interval_ns;
    }
    if (now >= t->due_ns)
        t->due_ns += t->interval_ns;
    weir_timer_start(loop, &t->timer, t->due_ns - now, tick_fired, t);
}

static void tick_fired(weir_timer *timer, void *user)
{
    (void)timer;
    tick *t = user;
    t->has_ticked = true;
    tick_emit(t);
    if (!weir_out_is_over(weir_stage_out(t->stage)))
        tick_wait(t);
}

static weir_status tick_open(weir_stage *stage, const void *config, void *state)
{
    const weir_tick_config *c = config;
    weir_loop *loop = weir_stage_loop(stage);
    tick *t = state;
    t->stage = stage;
    t->interval_ns = c->interval_us * WEIR_US;
    t->left = c->limit != 0 ? c->limit : UINT64_MAX;
    t->due_ns = weir_loop_now(loop) + c->delay_us * WEIR_US;
    weir_timer_start(loop, &t->timer, c->delay_us * WEIR_US, tick_fired, t);
    return WEIR_OK;
}

static void tick_let_go(weir_stage *stage, void *state)
{
    weir_timer_stop(weir_stage_loop(stage), &((tick *)state)->timer);
}

static void tick_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    tick *t = state;
    if (!t->is_pending)
        return;
    t->missed--; /* it was not, after all */
    tick_emit(t);
    if (t->is_pending)
        return;
    if (weir_out_is_over(out))
        weir_timer_stop(weir_stage_loop(stage), &t->timer);
}

static weir_status tick_merge_change(void *config, const void *change, const char **why)
{
    weir_tick_config *c = config;
    const weir_tick_config *other = change;
    *why = "only interval_us can change while it runs";
    if (other->delay_us != c->delay_us || other->limit != c->limit ||
        other->coalesce != c->coalesce)
        return WEIR_EINVAL;
    c->interval_us = other->interval_us;
    return WEIR_OK;
}

/* The next tick comes so long after the last; before the first there is none to count from. */
static weir_status tick_on_change(weir_stage *stage, const void *config, void *state)
{
    tick *t = state;
    uint64_t was_ns = t->interval_ns;
    t->interval_ns = ((const weir_tick_config *)config)->interval_us * WEIR_US;
    if (weir_out_is_over(weir_stage_out(stage)) || !t->has_ticked)
        return WEIR_OK;
    t->due_ns += t->interval_ns - was_ns;
    uint64_t now = weir_loop_now(weir_stage_loop(stage));
    weir_timer_start(weir_stage_loop(stage), &t->timer, weir_credit_sub(t->due_ns, now), tick_fired,
                     t);
    return WEIR_OK;
}

static void tick_on_drain(weir_stage *stage, void *state)
{
    tick_let_go(stage, state);
    weir_end(weir_stage_out(stage));
}

static const weir_stage_type tick_type = {
    .name = "tick",
    .config_size = sizeof(weir_tick_config),
    .state_size = sizeof(tick),
    .inputs = WEIR_PORTS_NONE,
    .check = tick_check,
    .open = tick_open,
    .on_demand = tick_on_demand,
    .on_drain = tick_on_drain,
    .let_go = tick_let_go,
    .merge_change = tick_merge_change,
    .on_change = tick_on_change,
};

weir_stage_spec *weir_tick(const weir_tick_config *config)
{
    return weir_stage_of(&tick_type, config);
}
