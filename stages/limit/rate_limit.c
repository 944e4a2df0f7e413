/* rate_limit: a gate by a token bucket, one for all replicas. */
#include <weir/stages.h>

#include "bucket.h"
#include "gate.h"

static const uint64_t tokens_max = 1000000000, period_ms_max = 86400000;
static const uint64_t fill_ms_max = UINT64_C(365) * 86400000;

/* What the replicas share. */
typedef struct shared_limit {
    const weir_env *env;
    wi_bucket bucket;
} shared_limit;

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
    else if (!wi_gate_is_status(c->status))
        *why = "there is no such status";
    return *why == NULL ? WEIR_OK : WEIR_EINVAL;
}

/* ---- The gate ---- */

static wi_bucket *bucket_of(const wi_gate *g)
{
    return &((shared_limit *)weir_stage_shared(g->stage))->bucket;
}

static uint64_t rate_limit_look(wi_gate *g, uint64_t most)
{
    return wi_bucket_look(bucket_of(g), most, weir_loop_now(weir_stage_loop(g->stage)),
                          &g->wait_ns);
}

static size_t rate_limit_take(wi_gate *g, weir_item *const *items, size_t n)
{
    const weir_rate_limit_config *c = weir_stage_config(g->stage);
    uint64_t now = weir_loop_now(weir_stage_loop(g->stage));
    if (c->cost == NULL) {
        size_t taken = (size_t)wi_bucket_take_some(bucket_of(g), n, now);
        if (taken < n)
            (void)rate_limit_look(g, 1);
        return taken;
    }
    for (size_t i = 0; i < n; i++) {
        g->wait_ns = wi_bucket_take(bucket_of(g), c->cost(items[i], c->user), now);
        if (g->wait_ns != 0)
            return i;
    }
    return n;
}

static const wi_gate_kind rate_limit_kind = { .take = rate_limit_take,
                                              .look = rate_limit_look,
                                              .why = "too many at a time" };

static weir_status reject_of(const weir_rate_limit_config *c)
{
    return wi_gate_reject(c->reject, c->status, WEIR_EOVERLOAD);
}

static weir_status rate_limit_open(weir_stage *stage, const void *config, void *state)
{
    return wi_gate_open(state, stage, &rate_limit_kind, NULL, reject_of(config));
}

static weir_status rate_limit_merge_change(void *config, const void *change, const char **why)
{
    const weir_rate_limit_config *new_ = change;
    weir_rate_limit_config *c = config;
    if (new_->reject != c->reject) {
        *why = "reject cannot change while it runs";
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
    (void)stage;
    wi_gate_change(state, reject_of(config));
    return WEIR_OK;
}

static const weir_stage_type rate_limit_type = {
    .name = "rate_limit",
    .config_size = sizeof(weir_rate_limit_config),
    .state_size = sizeof(wi_gate),
    .share = rate_limit_share,
    .unshare = rate_limit_unshare,
    .check = rate_limit_check,
    .open = rate_limit_open,
    WI_GATE_CALLBACKS,
    .merge_change = rate_limit_merge_change,
    .change_shared = rate_limit_change_shared,
    .on_change = rate_limit_on_change,
};

weir_stage_spec *weir_rate_limit(const weir_rate_limit_config *config)
{
    return weir_stage_of(&rate_limit_type, config);
}
