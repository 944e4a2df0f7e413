/* Another stage in the place of one, while items flow; and fused chains taken apart for it. */
#include "wi_hot.h"
#include "wi_live.h"
#include "wi_plant.h"
#include "wi_sim.h"

#include <string.h>

/* ---- Ports, parked and given back ---- */

bool wi_swap_keeps_end(weir_out *out)
{
    if (!out->stage->swap->told_end || out == out->stage->dead_letter)
        return false;
    out->over = out->parked = true;
    wi_ready(out->stage);
    return true;
}

static void unpark(weir_stage *stage)
{
    for (uint32_t i = 0; i < stage->n_in; i++)
        if (stage->in[i]->parked)
            stage->in[i]->over = stage->in[i]->parked = false;
    for (uint32_t i = 0; i < stage->n_out; i++)
        if (stage->out[i]->parked)
            stage->out[i]->over = stage->out[i]->parked = false;
}

static void take_back_demand(weir_in *in)
{
    wi_set(&in->demand, 0);
    if (WI_UNLIKELY(in->stage->loop->kit != NULL))
        wi_sim_forgot(in);
}

/* What was asked for by others counts for nothing, and what came of it waits. */
static void forget_demand(weir_in *in)
{
    take_back_demand(in);
    in->surplus = WI_PLANT(23) ? 0 : in->granted - in->head;
}

/* Whoever stands at these ports now looks at them all. */
static void wake_ports(weir_stage *stage)
{
    for (uint32_t i = 0; i < stage->n_in; i++)
        if (!stage->in[i]->over && wi_tail(stage->in[i]) != stage->in[i]->head)
            stage->in_ready |= UINT64_C(1) << i;
    for (uint32_t i = 0; i < stage->n_out; i++) {
        weir_out *out = stage->out[i];
        if (out->over)
            stage->out_cancelled |= UINT64_C(1) << i;
        else if (wi_credit(out) != 0)
            stage->out_demand |= UINT64_C(1) << i;
        else if (out->zero_since == 0)
            wi_set(&out->zero_since, stage->loop->now);
    }
    wi_ready(stage);
}

/* It closes by itself before long. */
static bool is_ending(const weir_stage *stage)
{
    bool drains = stage->n_in == 0 && (stage->draining || stage->must_drain);
    return stage->closed || stage->aborting || stage->must_abort || drains ||
           (stage->n_in != 0 && stage->n_open_in == 0) || !wi_stage_is_wanted(stage);
}

static void leave(weir_stage *stage)
{
    wi_live_waits_no_more(stage->swap, stage);
    stage->swap = NULL;
    stage->swapping = false;
    wi_ready(stage);
}

void wi_swap_abandon(weir_stage *stage)
{
    wi_live *live = stage->swap;
    unpark(stage);
    leave(stage);
    live->keep = true; /* the old one is there until it has closed */
    wi_live_step_done(live, WI_LIVE_GONE, WEIR_OK, NULL);
}

static wi_live_result wait_at(wi_live *live, weir_stage *exec, weir_stage *target)
{
    if (is_ending(exec)) {
        live->keep = true;
        return WI_LIVE_GONE;
    }
    live->target = target;
    live->told_end = false;
    exec->swap = live;
    exec->swapping = true;
    wi_live_waits(live, exec);
    wi_ready(exec);
    return WI_LIVE_WAITS;
}

/* ---- Fused chains ---- */

/* Between visits nothing is within the chain: what was asked of it is asked again, link by link. */
static void unfuse(weir_stage *head)
{
    weir_stage *tail = head->fused_tail;
    if (tail->n_out != 0)
        head->out[0]->stage = tail;
    for (weir_stage *s = head, *next; s != NULL; s = next) {
        next = s->fused_next;
        if (next != NULL) {
            wi_edge *edge = next->in[0]->edge;
            __atomic_store_n(&edge->is_fused, false, __ATOMIC_RELAXED);
            s->out[0] = &edge->out;
        }
        s->n_out = s->n_open_out = s->node->n_out;
        s->exec = s->fused_tail = s;
        s->fused_next = NULL;
        s->draining = head->draining;
        s->out_demand = 0;
        wi_stage_gate(s);
        if (s->n_in != 0)
            forget_demand(s->in[0]);
        wake_ports(s);
    }
}

wi_live_result wi_live_unfuse(wi_live *live, weir_stage *stage)
{
    return wait_at(live, stage->exec, stage);
}

/* ---- One for the other ---- */

static void close_old(weir_stage *stage)
{
    wi_stage_close(stage);
    wi_setting_release(stage->setting);
    stage->setting = NULL;
}

static void set_new(weir_stage *stage, wi_live *live)
{
    stage->type = live->type;
    if (WI_UNLIKELY(stage->loop->kit != NULL))
        wi_sim_swapped(stage);
    stage->spec = live->spec_new;
    stage->config = live->spec_new->config;
    stage->shared = live->shared_new;
    stage->state = live->states[stage->replica];
    live->states[stage->replica] = NULL;
    stage->current_in = NULL;
    stage->takes_late = false;
    if (stage->n_in ==
        0) { /* the old one's was for the swap; the pipeline's may have come by now */
        stage->draining = false;
        stage->must_drain |= atomic_load(&stage->part->wanted) != 0;
    }
    stage->after_visit = (uint8_t)wi_stage_what_after_visit(stage);
    wi_stage_gate(stage);
}

static weir_status open_new(weir_stage *stage)
{
    weir_status status = WEIR_OK;
    if (stage->type->open != NULL)
        status = stage->type->open(stage, stage->config, stage->state);
    stage->opened = status == WEIR_OK;
    if (status == WEIR_OK)
        return status;
    wi_stage_shut(stage);
    wi_pipeline_fail(stage->part->pipeline, stage->node->name, status,
                     "cannot open in the place of another");
    return status;
}

/* Inputs that were over before: this one has not heard of it. */
static void tell_ends_again(weir_stage *stage)
{
    if (stage->type->on_end == NULL)
        return;
    for (uint32_t i = 0; i < stage->n_in; i++) {
        weir_in *in = stage->in[i];
        if (in->over)
            stage->type->on_end(stage, in, in->cancelled ? WEIR_OK : wi_edge_end_status(in->edge),
                                stage->state);
    }
}

static void exchange(weir_stage *exec, weir_stage *stage, wi_live *live)
{
    bool alone = !wi_stage_is_fused(stage);
    void *left = stage->state;
    close_old(stage);
    unpark(exec);
    leave(exec);
    for (uint32_t i = 0; alone && i < stage->n_in; i++)
        if (!stage->in[i]->over)
            forget_demand(stage->in[i]);
    set_new(stage, live);
    weir_status status = open_new(stage);
    if (alone && status == WEIR_OK)
        tell_ends_again(stage);
    if (alone)
        wake_ports(stage);
    live->keep |= status != WEIR_OK;
    wi_live_leave(live, stage, left, status);
}

static void tell_end(weir_stage *stage)
{
    const weir_stage_type *type = stage->type;
    stage->swap->told_end = true;
    /* First all of them: told of one, it may cancel the others. */
    for (uint32_t i = 0; i < stage->n_in; i++) {
        weir_in *in = stage->in[i];
        if (in->over)
            continue;
        in->over = in->parked = true;
        take_back_demand(in);
    }
    for (uint32_t i = 0; i < stage->n_in && type->on_end != NULL; i++)
        if (stage->in[i]->parked)
            type->on_end(stage, stage->in[i], WEIR_OK, stage->state);
    if (stage->n_in == 0) {
        stage->draining = true;
        if (type->on_drain != NULL)
            type->on_drain(stage, stage->state);
    }
    if (type->run != NULL)
        wi_stage_look_at_all(stage);
    else if (stage->n_in == 0 ? type->on_drain == NULL : type->on_end == NULL)
        wi_stage_end_outputs(stage, WEIR_OK);
}

/* A fused chain keeps no items: it is taken apart at once. One stage of it is exchanged within it,
 * by another of its kind, as soon as that one has nothing under way. */
static void step_fused(weir_stage *exec, wi_live *live)
{
    weir_stage *target = live->target;
    weir_status status = WEIR_OK;
    if (live->type != NULL && live->type->transform != NULL) {
        if (target->holds == 0)
            exchange(exec, target, live);
        return;
    }
    leave(exec);
    unfuse(exec);
    wi_live_result result = live->apply(live, target, &status);
    if (result != WI_LIVE_WAITS)
        wi_live_step_done(live, result, status, NULL);
}

void wi_swap_step(weir_stage *stage)
{
    wi_live *live = stage->swap;
    if (!live->told_end && is_ending(stage)) {
        wi_swap_abandon(stage);
        return;
    }
    if (wi_stage_is_fused(stage)) {
        step_fused(stage, live);
        return;
    }
    if (stage->retry != NULL && wi_retry_waiting(stage->retry) != 0)
        return; /* the last of them brings us here again */
    if (!live->told_end)
        tell_end(stage);
    if (stage->holds == 0 && (stage->n_out == 0 || !wi_stage_is_wanted(stage)) &&
        (stage->retry == NULL || wi_retry_waiting(stage->retry) == 0))
        exchange(stage, stage, live);
}

static wi_live_result apply_swap(wi_live *live, weir_stage *stage, weir_status *status)
{
    (void)status;
    return wait_at(live, stage->exec, stage);
}

/* ---- The call ---- */

static void swap_done(wi_live *live)
{
    const weir_pipeline *p = live->pipeline;
    if (live->shared != NULL && live->spec->type->unshare != NULL)
        live->spec->type->unshare(live->shared);
    weir_stage_spec_free(live->spec);
    for (uint32_t r = 0; live->states != NULL && r < p->n_replicas; r++)
        weir_memory_free(p->env, live->states[r]);
    weir_memory_free(p->env, live->states);
}

static weir_status check_spec(const weir_node *node, const weir_stage_spec *spec, const char **why)
{
    const weir_stage_type *type = spec->type;
    weir_status status = wi_spec_has_ports(spec, node->n_in, node->n_out, why);
    if (status != WEIR_OK)
        return status;
    *why = "one of the two tells its items' ends, the other does not";
    if (type->acks != node->acks)
        return WEIR_EINVAL;
    *why = "may lose items of an acknowledged source; its node is not best-effort";
    if (type->lossy && !node->best_effort && wi_node_is_acked(node))
        return WEIR_EINVAL;
    *why = "its configuration is refused";
    return type->check != NULL ? type->check(spec->config, why) : WEIR_OK;
}

/* All that may fail is made before anything is touched. */
static weir_status prepare(wi_live *live, const char **why)
{
    const weir_pipeline *p = live->pipeline;
    const weir_stage_type *type = live->spec->type;
    weir_status status = check_spec(live->node, live->spec, why);
    if (status != WEIR_OK)
        return status;
    *why = "no memory for the change";
    live->states = weir_memory_new(p->env, p->n_replicas * sizeof *live->states);
    if (live->states == NULL)
        return WEIR_ENOMEM;
    for (uint32_t r = 0; r < p->n_replicas; r++)
        if ((live->states[r] = weir_memory_new(p->env, type->state_size)) == NULL)
            return WEIR_ENOMEM;
    *why = "cannot prepare";
    return type->share != NULL
               ? type->share(live->spec->config, p->env, p->n_replicas, &live->shared, why)
               : WEIR_OK;
}

/* Under the lock. What comes after it in the queue is for the new stage. */
static void accept(wi_live *live)
{
    weir_node *node = live->node;
    weir_stage_spec *old = node->spec;
    void **shared = &live->pipeline->shared[node->index], *old_shared = *shared;
    live->type = live->spec->type;
    live->spec_new = live->spec;
    live->shared_new = *shared = live->shared;
    node->spec = live->spec;
    live->spec = old;
    live->shared = old_shared;
    wi_setting_release(node->setting);
    node->setting = NULL;
    wi_live_enqueue(live);
}

/* Nobody took the new stage: the old ones have closed, or will, and the node is theirs again. What
 * the new one's `share` made goes now; a hub waits for the producers that it was promised. */
void wi_swap_take_back(wi_live *live)
{
    weir_pipeline *p = live->pipeline;
    weir_node *node = live->node;
    weir_stage_spec **spec = &node->spec;
    void **shared = &p->shared[node->index];
    pthread_mutex_lock(&p->lock);
    if (*spec == live->spec_new) {
        wi_setting_release(node->setting); /* of the new one */
        node->setting = NULL;
    }
    /* or another swap has come behind it, and is to take the place of what this one brought */
    for (wi_live *c = p->changes; c != NULL && *spec != live->spec_new; c = c->next)
        if (c->spec_new != NULL && c->node == node) {
            spec = &c->spec;
            shared = &c->shared;
        }
    if (*spec == live->spec_new) {
        weir_stage_spec *fresh = *spec;
        void *fresh_shared = *shared;
        *spec = live->spec;
        *shared = live->shared;
        live->spec = fresh;
        live->shared = fresh_shared;
        live->keep = false;
    }
    pthread_mutex_unlock(&p->lock);
}

static weir_status submit_swap(wi_live *live, const char **why)
{
    weir_pipeline *p = live->pipeline;
    *why = "the pipeline does not run";
    weir_status status = atomic_load(&p->made) ? prepare(live, why) : WEIR_ECLOSED;
    if (status != WEIR_OK)
        return status;
    pthread_mutex_lock(&p->lock);
    status = wi_live_admit(live, why);
    if (status == WEIR_OK)
        accept(live);
    pthread_mutex_unlock(&p->lock);
    return status;
}

weir_status weir_pipeline_swap(weir_pipeline *p, const char *stage, weir_stage_spec *spec,
                               const weir_on_changed *on_changed, const char **ret_why)
{
    const char *ignored = NULL, **why = ret_why != NULL ? ret_why : &ignored;
    wi_live *live;
    *why = "the new stage could not be described";
    if (spec == NULL)
        return WEIR_ENOMEM;
    weir_status status = wi_live_new(p, stage, on_changed, &live, why);
    if (status != WEIR_OK) {
        weir_stage_spec_free(spec);
        return status;
    }
    live->spec = spec;
    live->apply = apply_swap;
    live->done = swap_done;
    live->is_structural = true;
    status = submit_swap(live, why);
    if (status != WEIR_OK)
        wi_live_free(live);
    return status;
}
