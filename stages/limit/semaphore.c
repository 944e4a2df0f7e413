/* semaphore: so many items under way below it, counted over all replicas. */
#include <weir/stages.h>

#include "permits.h"

static const uint32_t permits_max = 1000000000;

static weir_status semaphore_share(const void *config, const weir_env *env, uint32_t replicas,
                                   void **ret_shared, const char **why)
{
    (void)replicas;
    (void)why;
    wi_permits *permits = weir_memory_new(env, sizeof *permits);
    if (permits == NULL)
        return WEIR_ENOMEM;
    weir_status status = wi_permits_init(permits, env,
                                         ((const weir_semaphore_config *)config)->permits);
    if (status != WEIR_OK) {
        weir_memory_free(env, permits);
        return status;
    }
    *ret_shared = permits;
    return WEIR_OK;
}

static void semaphore_unshare(void *shared)
{
    wi_permits *permits = shared;
    wi_permits_done(permits);
    weir_memory_free(permits->env, permits);
}

static weir_status semaphore_check(const void *config, const char **why)
{
    const weir_semaphore_config *c = config;
    bool has_permits = c->permits > 0 && c->permits <= permits_max;
    *why = has_permits ? "there is no such status" : "permits are 1 to 1000000000";
    return has_permits && wi_gate_is_status(c->status) ? WEIR_OK : WEIR_EINVAL;
}

static void permit_ended(void *memory, size_t n, weir_outcome outcome, weir_status status)
{
    (void)outcome;
    (void)status;
    wi_permit_ended(memory, n);
}

static const weir_ticket_type permit_type = { .name = "permit",
                                              .bytes = sizeof(wi_permit),
                                              .ended_alike = permit_ended };

static const wi_gate_kind semaphore_kind = { .take = wi_permits_take,
                                             .look = wi_permits_look,
                                             .ticket = &permit_type,
                                             .follow = wi_permits_follow,
                                             .settle = wi_permits_settle,
                                             .cut = wi_permits_cut,
                                             .why = "too many are under way" };

static weir_status reject_of(const weir_semaphore_config *c)
{
    return wi_gate_reject(c->reject, c->status, WEIR_EOVERLOAD);
}

static weir_status semaphore_open(weir_stage *stage, const void *config, void *state)
{
    const weir_semaphore_config *c = config;
    wi_permit_gate *g = state;
    g->permits = weir_stage_shared(stage);
    g->cost = c->cost;
    g->user = c->user;
    return wi_gate_open(&g->gate, stage, &semaphore_kind, &g->permits->waiters, reject_of(c));
}

static weir_status semaphore_merge_change(void *config, const void *change, const char **why)
{
    const weir_semaphore_config *new_ = change;
    weir_semaphore_config *c = config;
    if (new_->reject != c->reject) {
        *why = "reject cannot change while it runs";
        return WEIR_EINVAL;
    }
    *c = *new_;
    return WEIR_OK;
}

static void semaphore_change_shared(weir_stage *stage, const void *config, void *shared)
{
    (void)stage;
    wi_permits_set(shared, ((const weir_semaphore_config *)config)->permits);
}

static weir_status semaphore_on_change(weir_stage *stage, const void *config, void *state)
{
    const weir_semaphore_config *c = config;
    wi_permit_gate *g = state;
    (void)stage;
    g->cost = c->cost;
    g->user = c->user;
    wi_gate_change(&g->gate, reject_of(c));
    return WEIR_OK;
}

static const weir_stage_type semaphore_type = {
    .name = "semaphore",
    .config_size = sizeof(weir_semaphore_config),
    .state_size = sizeof(wi_permit_gate),
    .share = semaphore_share,
    .unshare = semaphore_unshare,
    .check = semaphore_check,
    .open = semaphore_open,
    WI_GATE_CALLBACKS,
    .merge_change = semaphore_merge_change,
    .change_shared = semaphore_change_shared,
    .on_change = semaphore_on_change,
};

weir_stage_spec *weir_semaphore(const weir_semaphore_config *config)
{
    return weir_stage_of(&semaphore_type, config);
}

bool weir_semaphore_look(const weir_node *node, uint64_t *ret_used, uint64_t *ret_permits)
{
    const wi_permits *permits = weir_node_shared(node, &semaphore_type);
    if (permits == NULL)
        return false;
    *ret_used = atomic_load(&permits->used);
    *ret_permits = atomic_load(&permits->limit);
    return true;
}
