/* What must hold on every edge and for every stage, between any two steps and when all is still. */
#include "testkit_private.h"
#include "wi_hot.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- Watching ---- */

static uint32_t stages_of(const weir_pipeline *p)
{
    return p->n_replicas * p->n_nodes;
}

static uint32_t edges_of(const weir_pipeline *p)
{
    return p->n_replicas * p->n_links;
}

const weir_stage *wi_kit_who_runs(const weir_pipeline *p)
{
    const weir_stage *open = NULL;
    for (uint32_t i = 0; i < stages_of(p); i++) {
        const weir_stage *s = &p->stages[i];
        if (s->exec == s && !s->closed && (open == NULL || (open->holds == 0 && s->holds != 0)))
            open = s;
    }
    return open;
}

weir_status wi_kit_watch(weir_testkit *kit, weir_pipeline *p)
{
    wi_watched *w = calloc(1, sizeof *w);
    if (w == NULL)
        return WEIR_ENOMEM;
    w->wraps = calloc(stages_of(p) + 1, sizeof *w->wraps);
    w->asked = calloc(edges_of(p) + 1, sizeof *w->asked);
    if (w->wraps == NULL || w->asked == NULL) {
        free(w->wraps);
        free(w->asked);
        free(w);
        return WEIR_ENOMEM;
    }
    w->pipeline = p;
    w->next = kit->watched;
    kit->watched = w;
    for (uint32_t i = 0; i < stages_of(p); i++)
        wi_wrap_stage(&w->wraps[i], kit, &p->stages[i]);
    return WEIR_OK;
}

void wi_sim_swapped(weir_stage *stage)
{
    weir_testkit *kit = stage->loop->kit;
    const weir_pipeline *p = stage->part->pipeline;
    for (wi_watched *w = kit->watched; w != NULL; w = w->next) {
        if (w->pipeline != p)
            continue;
        wi_wrap *wrap = &w->wraps[stage - p->stages];
        *wrap = (wi_wrap){ .is_late = true };
        wi_wrap_stage(wrap, kit, stage);
    }
}

void wi_kit_unwatch_all(weir_testkit *kit)
{
    while (kit->watched != NULL) {
        wi_watched *w = kit->watched;
        kit->watched = w->next;
        free(w->wraps);
        free(w->asked);
        free(w);
    }
}

static uint64_t *asked_of(weir_testkit *kit, const wi_edge *edge)
{
    for (wi_watched *w = kit->watched; w != NULL; w = w->next)
        if (w->pipeline != NULL && edge >= w->pipeline->edges &&
            edge < w->pipeline->edges + edges_of(w->pipeline))
            return &w->asked[edge - w->pipeline->edges];
    return NULL;
}

void wi_sim_asked(weir_in *in, uint64_t n)
{
    uint64_t *asked = asked_of(in->stage->loop->kit, in->edge);
    if (asked != NULL)
        *asked = weir_credit_add(*asked, n);
}

void wi_sim_forgot(weir_in *in)
{
    uint64_t *asked = asked_of(in->stage->loop->kit, in->edge);
    if (asked != NULL)
        *asked = in->granted;
}

/* ---- Edges ---- */

static bool wrong(weir_testkit *kit, const wi_edge *edge, const char *what)
{
    wi_kit_violated(kit,
                    "%s -> %s: %s (emitted %llu, taken %llu, granted %llu, seen by the sender "
                    "%llu, asked for %llu more, window %llu)",
                    edge->out.stage->node->name, edge->in.stage->node->name, what,
                    (unsigned long long)edge->out.tail, (unsigned long long)edge->in.head,
                    (unsigned long long)edge->in.granted, (unsigned long long)edge->out.granted,
                    (unsigned long long)edge->in.demand, (unsigned long long)edge->window);
    return false;
}

/* The published copies lag behind, in order, and never lead. */
static bool check_copies(weir_testkit *kit, wi_edge *edge)
{
    uint64_t tail = atomic_load(&edge->tail_shared), granted = atomic_load(&edge->granted_shared);
    uint64_t bytes = atomic_load(&edge->bytes_shared);
    if (tail > edge->out.tail || edge->in.tail_seen > tail || edge->in.head > edge->in.tail_seen)
        return wrong(kit, edge, "the receiver is ahead of what is published");
    if (granted > edge->in.granted || edge->out.granted > granted)
        return wrong(kit, edge, "the sender is ahead of what is granted");
    if (bytes > edge->in.bytes)
        return wrong(kit, edge, "more bytes are returned than were taken");
    if (atomic_load(&edge->end_shared) != 0 && tail != edge->out.tail)
        return wrong(kit, edge, "the end is published ahead of the data");
    return true;
}

static bool check_counts(weir_testkit *kit, wi_edge *edge, uint64_t asked)
{
    const weir_in *in = &edge->in;
    const weir_out *out = &edge->out;
    if (in->head > out->tail)
        return wrong(kit, edge, "more was taken than emitted");
    if (out->tail > out->granted || out->granted > in->granted)
        return wrong(kit, edge, "more was emitted than granted");
    if (!edge->is_cross && !out->over && out->granted != in->granted)
        return wrong(kit, edge, "a grant did not arrive");
    /* one that has shrunk may have granted as much as it might before */
    if (in->granted > in->head + (edge->resizes != 0 ? edge->window_max : edge->window))
        return wrong(kit, edge, "more is granted than the window holds");
    if (in->granted > asked)
        return wrong(kit, edge, "more is granted than was asked for");
    if (!in->over &&
        (asked == WEIR_UNBOUNDED ? in->demand != asked : in->demand + in->granted != asked))
        return wrong(kit, edge, "demand and grants are not what was asked for");
    /* what is queued while one stage makes room for another is for the other */
    if (in->over && !in->parked && !in->cancelled && in->head != out->tail)
        return wrong(kit, edge, "the end overtook the data");
    return true;
}

static bool check_queued(weir_testkit *kit, wi_edge *edge)
{
    uint64_t bytes = 0, last = 0;
    for (uint64_t i = edge->in.head; i != edge->out.tail; i++) {
        const weir_item *item = edge->slots[i & edge->out.mask];
        const char *fault = wi_item_fault(item);
        if (fault != NULL)
            return wrong(kit, edge, fault);
        bytes += item->cost;
        last = item->cost;
    }
    if (edge->window_bytes == 0 || edge->in.over || edge->out.over)
        return true;
    if (edge->out.bytes - edge->in.bytes != bytes)
        return wrong(kit, edge, "the bytes in flight are not those of the items queued");
    /* there was room left when the last was emitted, and none has come since */
    if (bytes != 0 && bytes - last >= edge->window_bytes)
        return wrong(kit, edge, "more bytes are queued than the window and one item");
    return true;
}

static bool check_edge(weir_testkit *kit, wi_edge *edge, uint64_t asked)
{
    return check_counts(kit, edge, asked) && (!edge->is_cross || check_copies(kit, edge)) &&
           check_queued(kit, edge);
}

/* ---- Pipelines ---- */

static bool stage_wrong(weir_testkit *kit, const weir_stage *stage, const char *what)
{
    wi_kit_violated(kit, "%s: %s (holds %llu, inputs open %u, outputs open %u)", stage->node->name,
                    what, (unsigned long long)stage->holds, stage->n_open_in, stage->n_open_out);
    return false;
}

/* It has finished: nothing of it may be left, and its owner may free it now. */
static void check_finished(weir_testkit *kit, wi_watched *w)
{
    const weir_pipeline *p = w->pipeline;
    w->pipeline = NULL;
    wi_kit_fold(kit, (uint64_t)-weir_pipeline_status(p));
    for (uint32_t i = 0; i < stages_of(p); i++) {
        const weir_stage *s = &p->stages[i];
        if (s->exec == s && (s->holds != 0 || s->n_open_in != 0 || s->n_open_out != 0)) {
            (void)stage_wrong(kit, s, "it is not over, and the pipeline is");
            return;
        }
        if (w->wraps[i].opened && !w->wraps[i].closed) {
            (void)stage_wrong(kit, s, "it was opened and not closed");
            return;
        }
    }
    for (uint32_t i = 0; i < edges_of(p); i++)
        if (!p->edges[i].is_fused && p->edges[i].in.head != p->edges[i].out.tail) {
            (void)wrong(kit, &p->edges[i], "items are left behind");
            return;
        }
}

static void check_running(weir_testkit *kit, wi_watched *w)
{
    weir_pipeline *p = w->pipeline;
    for (uint32_t i = 0; i < edges_of(p); i++)
        if (!p->edges[i].is_fused && !check_edge(kit, &p->edges[i], w->asked[i]))
            return;
}

void wi_kit_check(weir_testkit *kit)
{
    for (wi_watched *w = kit->watched; w != NULL; w = w->next) {
        if (w->pipeline == NULL)
            continue;
        if (atomic_load(&w->pipeline->finished))
            check_finished(kit, w);
        else
            check_running(kit, w);
    }
    wi_probes_check(kit);
}

/* ---- Stillness ---- */

/* Nothing is ready: so nothing may be waiting for a visit. */
static bool check_still_edge(weir_testkit *kit, wi_edge *edge)
{
    const weir_in *in = &edge->in;
    const weir_stage *to = in->stage;
    uint64_t room = in->head + edge->window - in->granted;
    bool waits = to->swapping || (in->surplus != 0 && wi_tail_asked_for(in) == in->head);
    if (edge->is_cross && !edge->out.over && edge->out.granted != in->granted)
        return wrong(kit, edge, "credit never reached the sender");
    if (edge->is_cross && !in->over && in->tail_seen != edge->out.tail)
        return wrong(kit, edge, "items never reached the receiver");
    if (in->cancelled && in->head != edge->out.tail)
        return wrong(kit, edge, "items are left on a cancelled edge");
    if (in->over)
        return true;
    if (room <= edge->window && room != 0 && in->demand != 0 && !edge->out.over)
        return wrong(kit, edge, "credit is owed, and not handed up");
    if (waits)
        return true; /* until one has changed places with another, or has asked */
    if (in->head != edge->out.tail && !to->gated && to->retry == NULL)
        return wrong(kit, edge, "items are queued, and nobody takes them");
    if (edge->out.over && !edge->out.parked && in->head == edge->out.tail &&
        (to->retry == NULL || wi_retry_waiting(to->retry) == 0))
        return wrong(kit, edge, "the end was not taken");
    return true;
}

static bool check_still_stage(weir_testkit *kit, const weir_stage *s)
{
    if (s->closed || s->exec != s)
        return true;
    if (s->queued)
        return stage_wrong(kit, s, "it is marked as queued, and no loop has it");
    if (s->swapping)
        return true;
    if (s->out_demand != 0 || s->out_cancelled != 0 || s->must_release != 0 || s->must_drain ||
        s->must_abort)
        return stage_wrong(kit, s, "it has not heard of its demand, a cancel or a shutdown");
    if (s->after_visit != WI_TOPS_UP || s->in[0]->over || s->n_out == 0 || s->out[0]->over ||
        s->dead_letter)
        return true;
    uint64_t credit = s->out[0]->granted - s->out[0]->tail;
    if (s->retry != NULL)
        credit = weir_credit_sub(credit, wi_retry_waiting(s->retry));
    if (weir_in_outstanding(s->in[0]) < credit)
        return stage_wrong(kit, s, "it asks for less than it is asked for");
    return true;
}

static bool check_still_pipeline(weir_testkit *kit, const wi_watched *w)
{
    const weir_pipeline *p = w->pipeline;
    uint64_t holds = 0;
    for (uint32_t i = 0; i < stages_of(p); i++) {
        if (!check_still_stage(kit, &p->stages[i]))
            return false;
        holds += p->stages[i].holds;
    }
    for (uint32_t i = 0; i < edges_of(p); i++)
        if (!p->edges[i].is_fused && !check_still_edge(kit, &p->edges[i]))
            return false;
    /* What a stage has under way, it may have to wait for. */
    if (p->asked == 1 + WEIR_ABORT && holds == 0) {
        wi_kit_violated(kit, "%s: aborted, and not over", p->name);
        return false;
    }
    bool has_limit = p->asked == 1 + WEIR_DRAIN && p->config.drain_ms_max != UINT32_MAX;
    if (has_limit && (!p->drain_timer.armed || p->drain_timer.due_ns <= kit->now_ns)) {
        wi_kit_violated(kit, "%s: it drains, and no deadline will end that", p->name);
        return false;
    }
    return true;
}

/* Nobody runs, and nobody will ring. */
static bool check_bells(weir_testkit *kit)
{
    for (uint32_t i = 0; i < kit->loop_count; i++) {
        weir_loop *loop = kit->loops[i];
        if (atomic_load(&loop->posts) == NULL && !wi_edges_pending(loop))
            continue;
        wi_kit_violated(kit, "loop %u has work from another loop, and was not woken", i);
        return false;
    }
    return true;
}

void wi_kit_check_settled(weir_testkit *kit)
{
    if (kit->violations != 0)
        return;
    for (uint32_t i = 0; i < kit->loop_count; i++)
        if (kit->stalls[i].is_late)
            return;
    if (kit->config.shuffle && !check_bells(kit))
        return;
    for (wi_watched *w = kit->watched; w != NULL; w = w->next)
        if (w->pipeline != NULL && !check_still_pipeline(kit, w))
            return;
}

/* ---- What users ask ---- */

bool weir_testkit_check(weir_testkit *kit)
{
    if (kit->violations == 0)
        wi_kit_check(kit);
    return kit->violations == 0;
}

uint64_t weir_testkit_violations(const weir_testkit *kit)
{
    return kit->violations;
}

const char *weir_testkit_why(const weir_testkit *kit)
{
    return kit->why;
}
