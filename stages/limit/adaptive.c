/* adaptive_limit: a semaphore whose permits follow the time that items take below it. */
#include <weir/stages.h>

#include "feedback.h"

static wi_gradient gradient_of(const weir_adaptive_limit_config *c)
{
    wi_gradient g = { .limit_min = wi_or(c->limit_min, 4),
                      .limit_max = wi_or(c->limit_max, 1000),
                      .slack = wi_or(c->slack, 4),
                      .tolerance = c->tolerance != 0 ? c->tolerance : 1.5,
                      .smoothing = c->smoothing != 0 ? c->smoothing : 0.2,
                      .baseline_n = wi_or(c->baseline_n, 600),
                      .limit = wi_or(c->limit, 20) };
    if (c->probe_ms != UINT32_MAX)
        g.probe_windows = wi_or(c->probe_ms, 60000) / wi_or(c->window_ms, 500) + 1;
    g.limit = g.limit < g.limit_min ? g.limit_min : g.limit > g.limit_max ? g.limit_max : g.limit;
    return g;
}

static weir_status adaptive_share(const void *config, const weir_env *env, uint32_t replicas,
                                  void **ret_shared, const char **why)
{
    const weir_adaptive_limit_config *c = config;
    wi_gradient gradient = gradient_of(c);
    (void)why;
    *ret_shared = wi_feedback_new(env, &gradient, wi_or(c->window_ms, 500) * WEIR_MS, replicas);
    return *ret_shared != NULL ? WEIR_OK : WEIR_ENOMEM;
}

static void adaptive_unshare(void *shared)
{
    wi_feedback_free(shared);
}

static weir_status adaptive_check(const void *config, const char **why)
{
    const weir_adaptive_limit_config *c = config;
    *why = NULL;
    if (c->limit_max > 1000000 || wi_or(c->limit_min, 4) > wi_or(c->limit_max, 1000))
        *why = "limit_min is at most limit_max, and that 1000000";
    else if (c->window_ms > 60000)
        *why = "window_ms is at most a minute";
    else if (c->tolerance != 0 && !(c->tolerance >= 1 && c->tolerance <= 10))
        *why = "tolerance is 1 to 10";
    else if (!(c->smoothing >= 0 && c->smoothing <= 1))
        *why = "smoothing is at most 1";
    else if (c->probe_ms > 86400000 && c->probe_ms != UINT32_MAX)
        *why = "probe_ms is at most a day";
    else if (!wi_gate_is_status(c->status))
        *why = "there is no such status";
    return *why == NULL ? WEIR_OK : WEIR_EINVAL;
}

/* ---- The gate ---- */

static void timed_ended(void *memory, size_t n, weir_outcome outcome, weir_status status)
{
    wi_permit *permit = memory;
    weir_stage *stage = permit->gate->gate.stage;
    uint64_t now = weir_loop_now(weir_stage_loop(stage));
    uint32_t replica = weir_stage_replica(stage);
    if (outcome == WEIR_ACKED)
        wi_feedback_took(weir_stage_shared(stage), replica, n, now - permit->passed_ns);
    else if (status == WEIR_EDEADLINE || status == WEIR_EOVERLOAD || status == WEIR_EUNAVAILABLE)
        wi_feedback_lost(weir_stage_shared(stage), replica, n);
    wi_permit_ended(permit, n);
}

static void adaptive_settle(wi_gate *gate)
{
    weir_stage *stage = gate->stage;
    wi_feedback_settle(weir_stage_shared(stage), weir_stage_replica(stage), weir_stage_loop(stage));
    wi_permits_settle(gate);
}

static const weir_ticket_type timed_type = { .name = "permit",
                                             .bytes = sizeof(wi_permit),
                                             .ended_alike = timed_ended };

static const wi_gate_kind adaptive_kind = { .take = wi_permits_take,
                                            .look = wi_permits_look,
                                            .ticket = &timed_type,
                                            .follow = wi_permits_follow,
                                            .settle = adaptive_settle,
                                            .why = "more than can be taken at once" };

static weir_status adaptive_open(weir_stage *stage, const void *config, void *state)
{
    const weir_adaptive_limit_config *c = config;
    wi_permit_gate *g = state;
    g->permits = &((wi_feedback *)weir_stage_shared(stage))->permits;
    return wi_gate_open(&g->gate, stage, &adaptive_kind, &g->permits->waiters,
                        wi_gate_reject(c->reject, c->status, WEIR_EOVERLOAD));
}

static const weir_stage_type adaptive_type = {
    .name = "adaptive_limit",
    .config_size = sizeof(weir_adaptive_limit_config),
    .state_size = sizeof(wi_permit_gate),
    .share = adaptive_share,
    .unshare = adaptive_unshare,
    .check = adaptive_check,
    .open = adaptive_open,
    WI_GATE_CALLBACKS,
};

weir_stage_spec *weir_adaptive_limit(const weir_adaptive_limit_config *config)
{
    return weir_stage_of(&adaptive_type, config);
}

bool weir_adaptive_limit_look(const weir_node *node, weir_adaptive_stats *ret_stats)
{
    const wi_feedback *s = weir_node_shared(node, &adaptive_type);
    if (s == NULL)
        return false;
    *ret_stats = (weir_adaptive_stats){ .limit = atomic_load(&s->permits.limit),
                                        .used = atomic_load(&s->permits.used),
                                        .time_ns = atomic_load(&s->time_ns),
                                        .baseline_ns = atomic_load(&s->baseline_ns) };
    return true;
}
