/* rate_limit: a token bucket, one for all replicas, that withholds demand or rejects. */
#include <weir/stages.h>

#include "bucket.h"
#include "queue.h"

enum { AHEAD_MAX = 64 };

static const uint64_t tokens_max = 1000000000, period_ms_max = 86400000;
static const uint64_t fill_ms_max = UINT64_C(365) * 86400000;

/* What the replicas share. */
typedef struct shared_limit {
    const weir_env *env;
    wi_bucket bucket;
} shared_limit;

typedef struct rate_limit {
    weir_stage *stage;
    const weir_rate_limit_config *config;
    wi_bucket *bucket;
    wi_queue held;
    weir_timer timer;
    bool is_over;
    weir_status status;
} rate_limit;

/* ---- What is shared ---- */

static uint64_t burst_of(const weir_rate_limit_config *config)
{
    if (config->burst != 0)
        return config->burst;
    return config->rate > 10 ? config->rate / 10 : 1;
}

static uint64_t period_ms_of(const weir_rate_limit_config *config)
{
    return config->period_ms != 0 ? config->period_ms : 1000;
}

static weir_status rate_limit_share(const void *config, const weir_env *env, uint32_t replicas,
                                    void **ret_shared, const char **why)
{
    (void)replicas;
    (void)why;
    const weir_rate_limit_config *c = config;
    shared_limit *shared = weir_memory_new(env, sizeof *shared);
    if (shared == NULL)
        return WEIR_ENOMEM;
    shared->env = env;
    wi_bucket_init(&shared->bucket, c->rate, period_ms_of(c) * WEIR_MS, burst_of(c));
    *ret_shared = shared;
    return WEIR_OK;
}

static void rate_limit_unshare(void *shared)
{
    weir_memory_free(((shared_limit *)shared)->env, shared);
}

/* ---- The stage ---- */

static weir_status rate_limit_check(const void *config, const char **why)
{
    const weir_rate_limit_config *c = config;
    *why = NULL;
    if (c->rate == 0 || c->rate > tokens_max)
        *why = "rate is 1 to 1000000000";
    else if (c->burst > tokens_max)
        *why = "burst is at most 1000000000";
    else if (c->period_ms > period_ms_max)
        *why = "period_ms is at most a day";
    else if (burst_of(c) / c->rate * period_ms_of(c) > fill_ms_max)
        *why = "an empty bucket fills within a year";
    return *why == NULL ? WEIR_OK : WEIR_EINVAL;
}

static uint32_t cost_of(const rate_limit *r, const weir_item *item)
{
    return r->config->cost != NULL ? r->config->cost(item, r->config->user) : 1;
}

static void rate_limit_run(rate_limit *r);

static void rate_limit_timer_fired(weir_timer *timer, void *user)
{
    (void)timer;
    rate_limit_run(user);
}

/* Emits what is held as tokens come; gives how long to wait for the next item's, or 0. */
static uint64_t emit_held(rate_limit *r, weir_out *out, uint64_t now)
{
    for (weir_item *item; (item = wi_queue_first(&r->held)) != NULL;) {
        if (!weir_out_fits(out, item->cost))
            return 0;
        uint64_t wait = wi_bucket_take(r->bucket, cost_of(r, item), now);
        if (wait > 0)
            return wait;
        weir_emit(out, wi_queue_pop(&r->held));
    }
    return 0;
}

/* Asks for as many as there are tokens for; gives how long to wait for the next token, or 0. */
static uint64_t ask(rate_limit *r, weir_out *out, uint64_t now)
{
    uint64_t wait = 0, credit = weir_out_credit(out);
    uint64_t level = credit < AHEAD_MAX ? credit : AHEAD_MAX;
    if (level > 0)
        level = wi_bucket_look(r->bucket, level, now, &wait);
    weir_request_to(weir_stage_in(r->stage), level);
    return weir_in_outstanding(weir_stage_in(r->stage)) == 0 ? wait : 0;
}

static void rate_limit_run(rate_limit *r)
{
    weir_out *out = weir_stage_out(r->stage);
    weir_loop *loop = weir_stage_loop(r->stage);
    if (r->config->enforce) {
        weir_request_to(weir_stage_in(r->stage), weir_out_credit(out));
        return;
    }
    uint64_t now = weir_loop_now(loop);
    uint64_t wait = emit_held(r, out, now);
    if (r->held.n == 0) {
        if (r->is_over)
            wi_end_with(out, r->status);
        else
            wait = ask(r, out, now);
    }
    if (wait > 0)
        weir_timer_start(loop, &r->timer, wait, rate_limit_timer_fired, r);
}

/* Emits what there are tokens for, of items that cost one each: the usual case, quickly. Gives how
 * many those were; they are the first. */
static size_t emit_first(rate_limit *r, weir_item **items, size_t n, uint64_t now)
{
    size_t taken = (size_t)wi_bucket_take_some(r->bucket, n, now);
    if (taken > 0)
        weir_emit_all(weir_stage_out(r->stage), items, taken);
    return taken;
}

static void shape(rate_limit *r, weir_item **items, size_t n, uint64_t now)
{
    uint64_t credit = weir_out_credit(weir_stage_out(r->stage)); /* less, with a byte window */
    size_t emitted = 0;
    if (r->config->cost == NULL && r->held.n == 0)
        emitted = emit_first(r, items, credit < n ? (size_t)credit : n, now);
    for (size_t i = emitted; i < n; i++)
        wi_queue_push(&r->held, items[i]);
}

static void enforce(rate_limit *r, weir_item **items, size_t n, uint64_t now)
{
    weir_status status = r->config->status != WEIR_OK ? r->config->status : WEIR_EOVERLOAD;
    weir_out *out = weir_stage_out(r->stage);
    size_t emitted = r->config->cost == NULL ? emit_first(r, items, n, now) : 0;
    for (size_t i = emitted; i < n; i++)
        if (r->config->cost != NULL && wi_bucket_take(r->bucket, cost_of(r, items[i]), now) == 0)
            weir_emit(out, items[i]);
        else
            weir_item_end(items[i], WEIR_REJECTED, status);
}

static weir_status rate_limit_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                       void *state)
{
    (void)in;
    rate_limit *r = state;
    uint64_t now = weir_loop_now(weir_stage_loop(stage));
    if (r->config->enforce)
        enforce(r, items, n, now);
    else
        shape(r, items, n, now);
    rate_limit_run(r);
    return WEIR_OK;
}

static weir_status rate_limit_open(weir_stage *stage, const void *config, void *state)
{
    rate_limit *r = state;
    r->stage = stage;
    r->config = config;
    r->bucket = &((shared_limit *)weir_stage_shared(stage))->bucket;
    return wi_queue_init(&r->held, weir_stage_env(stage), AHEAD_MAX);
}

/* ---- New settings ---- */

static weir_status rate_limit_merge_change(void *config, const void *change, const char **why)
{
    const weir_rate_limit_config *new_ = change;
    weir_rate_limit_config *c = config;
    if (new_->enforce != c->enforce) {
        *why = "enforce cannot change while it runs";
        return WEIR_EINVAL;
    }
    *c = *new_;
    return WEIR_OK;
}

static void rate_limit_change_shared(weir_stage *stage, const void *config, void *shared)
{
    const weir_rate_limit_config *c = config;
    wi_bucket_change(&((shared_limit *)shared)->bucket, c->rate, period_ms_of(c) * WEIR_MS,
                     burst_of(c), weir_loop_now(weir_stage_loop(stage)));
}

static weir_status rate_limit_on_change(weir_stage *stage, const void *config, void *state)
{
    rate_limit *r = state;
    r->config = config;
    weir_timer_stop(weir_stage_loop(stage), &r->timer); /* it waits for the old pace */
    if (!weir_out_is_over(weir_stage_out(stage)))
        rate_limit_run(r);
    return WEIR_OK;
}

static void rate_limit_give_up(rate_limit *r)
{
    weir_timer_stop(weir_stage_loop(r->stage), &r->timer);
    wi_queue_abort(&r->held);
}

static void rate_limit_close(weir_stage *stage, void *state)
{
    rate_limit *r = state;
    rate_limit_give_up(r);
    wi_queue_done(&r->held, weir_stage_env(stage));
}

static void rate_limit_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    rate_limit_run(state);
}

static void rate_limit_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    rate_limit *r = state;
    r->is_over = true;
    r->status = status;
    if (r->held.n > 0)
        rate_limit_run(r);
    else
        wi_end_with(weir_stage_out(stage), status);
}

static void rate_limit_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    rate_limit_give_up(state);
    weir_cancel(weir_stage_in(stage));
}

static void rate_limit_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    rate_limit_give_up(state);
}

static const weir_stage_type rate_limit_type = {
    .name = "rate_limit",
    .at_once = 1,
    .config_size = sizeof(weir_rate_limit_config),
    .state_size = sizeof(rate_limit),
    .share = rate_limit_share,
    .unshare = rate_limit_unshare,
    .check = rate_limit_check,
    .open = rate_limit_open,
    .close = rate_limit_close,
    .on_demand = rate_limit_on_demand,
    .on_items = rate_limit_on_items,
    .on_end = rate_limit_on_end,
    .on_cancel = rate_limit_on_cancel,
    .on_abort = rate_limit_on_abort,
    .merge_change = rate_limit_merge_change,
    .change_shared = rate_limit_change_shared,
    .on_change = rate_limit_on_change,
};

weir_stage_spec *weir_rate_limit(const weir_rate_limit_config *config)
{
    return weir_stage_of(&rate_limit_type, config);
}
