/* Deadlocks: stages that wait for each other in a circle, found when their loops go to sleep.
 *
 * At rest every edge has one who waits: the receiver for items, if it asked for some, or else the
 * sender for credit. So only a graph in which paths part and meet again can have a circle, and only
 * such a pipeline is looked at. A stage that waits for nobody can move at any time: a source with
 * credit, a sink that asks for nothing, a stage with something under way. So can who waits for one
 * that can. Those that remain wait for each other alone.
 *
 * Each loop notes its own side of the edges as it goes to sleep, under the pipeline's lock, so that
 * nobody reads what another loop is writing. */
#include "wi_hot.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct wait_of_edge {
    /* the sender's side */
    uint64_t emitted, credit_seen;
    bool blocked; /* has no credit */
    bool ended;
    /* the receiver's side */
    uint64_t arrived, taken, granted;
    bool starved; /* has asked, and got all there was */
    bool refused; /* wants no more */
} wait_of_edge;

typedef struct wait_of_stage {
    bool closed, busy; /* noted */
    bool can_move, waits;
} wait_of_stage;

struct wi_waits {
    wait_of_edge *edges;   /* as the pipeline's */
    wait_of_stage *stages; /* as the pipeline's */
    uint64_t *told;        /* per replica: how much had moved when it was last told; 0: never */
};

/* ---- Making ---- */

/* A graph without a way round is a forest: less edges than nodes in each of its trees. */
static bool has_way_round(const weir_pipeline *p, uint32_t *root)
{
    for (uint32_t i = 0; i < p->n_nodes; i++)
        root[i] = i;
    for (uint32_t i = 0; i < p->n_links; i++) {
        uint32_t a = p->links[i].from->index, b = p->links[i].to->index;
        while (root[a] != a)
            a = root[a];
        while (root[b] != b)
            b = root[b];
        if (a == b)
            return true;
        root[a] = b;
    }
    return false;
}

weir_status wi_waits_new(weir_pipeline *p)
{
    uint32_t *root = weir_memory_new(p->env, p->n_nodes * sizeof *root);
    if (root == NULL)
        return WEIR_ENOMEM;
    bool possible = has_way_round(p, root);
    weir_memory_free(p->env, root);
    if (!possible)
        return WEIR_OK;
    size_t n_edges = (size_t)p->n_replicas * p->n_links;
    size_t n_stages = (size_t)p->n_replicas * p->n_nodes;
    wi_waits *w = weir_memory_new(p->env, sizeof *w + n_edges * sizeof *w->edges +
                                              p->n_replicas * sizeof *w->told +
                                              n_stages * sizeof *w->stages);
    if (w == NULL)
        return WEIR_ENOMEM;
    w->edges = (wait_of_edge *)(void *)(w + 1);
    w->told = (uint64_t *)(void *)(w->edges + n_edges);
    w->stages = (wait_of_stage *)(void *)(w->told + p->n_replicas);
    p->waits = w;
    return WEIR_OK;
}

void wi_waits_free(weir_pipeline *p)
{
    weir_memory_free(p->env, p->waits);
    p->waits = NULL;
}

void wi_part_watch(wi_part *part)
{
    if (part->pipeline->waits == NULL)
        return;
    part->next_watched = part->loop->watched;
    part->loop->watched = part;
}

/* ---- Noting, on the loop whose side it is ---- */

static uint64_t arrived_at(const wi_edge *edge)
{
    return edge->is_cross ? edge->in.tail_seen : edge->out.tail;
}

/* What is queued at a stage that emits all it gets, waits for bytes below. */
static bool has_queued(const weir_stage *stage)
{
    return stage->gated && stage->in[0]->head != arrived_at(stage->in[0]->edge);
}

static bool is_blocked(const weir_out *out)
{
    const wi_edge *edge = out->edge;
    if (out->over)
        return false;
    if (out->granted == out->tail || has_queued(out->stage))
        return true;
    uint64_t released = edge->is_cross ? edge->bytes_seen : edge->in.bytes;
    return edge->window_bytes != 0 && out->bytes - released >= edge->window_bytes;
}

static bool is_starved(const weir_in *in)
{
    return !in->over && !in->end_seen && in->head == arrived_at(in->edge) && wi_has_asked(in);
}

static void note_stage(wait_of_stage *to, const weir_stage *s)
{
    to->closed = s->closed || s->exec != s;
    to->busy = wi_stage_is_held(s) || (s->retry != NULL && wi_retry_waiting(s->retry) != 0);
}

static void note_part(const wi_part *part)
{
    const weir_pipeline *p = part->pipeline;
    wi_waits *w = p->waits;
    for (uint32_t i = 0; i < part->n_stages; i++)
        note_stage(&w->stages[part->stages[i] - p->stages], part->stages[i]);
    for (uint32_t i = 0; i < p->n_replicas * p->n_links; i++) {
        const wi_edge *edge = &p->edges[i];
        const weir_out *out = &edge->out;
        const weir_in *in = &edge->in;
        wait_of_edge *to = &w->edges[i];
        if (edge->is_fused)
            continue;
        if (out->stage->loop == part->loop) {
            to->emitted = out->tail;
            to->credit_seen = out->granted;
            to->blocked = is_blocked(out);
            to->ended = out->over;
        }
        if (in->stage->loop == part->loop) {
            to->arrived = arrived_at(edge);
            to->taken = in->head;
            to->granted = in->granted;
            to->starved = is_starved(in);
            to->refused = in->over;
        }
    }
}

void wi_part_unwatch(wi_part *part)
{
    weir_pipeline *p = part->pipeline;
    for (wi_part **link = &part->loop->watched; *link != NULL; link = &(*link)->next_watched) {
        if (*link != part)
            continue;
        *link = part->next_watched;
        pthread_mutex_lock(&p->lock);
        note_part(part); /* that all of it is over */
        pthread_mutex_unlock(&p->lock);
        return;
    }
}

/* ---- Finding, under the lock ---- */

static bool is_at_rest(const weir_pipeline *p, uint32_t replica)
{
    if (!p->placed)
        return p->parts[replica].asleep;
    for (uint32_t i = 0; i < p->n_parts; i++)
        if (!p->parts[i].asleep && !p->parts[i].done)
            return false;
    return true;
}

typedef struct view {
    const weir_pipeline *pipeline;
    const wi_edge *edges;
    const weir_stage *first_stage;
    wait_of_edge *waits;
    wait_of_stage *stages;
} view;

static view view_of(const weir_pipeline *p, uint32_t replica)
{
    return (view){ p, p->edges + (size_t)replica * p->n_links,
                   p->stages + (size_t)replica * p->n_nodes,
                   p->waits->edges + (size_t)replica * p->n_links,
                   p->waits->stages + (size_t)replica * p->n_nodes };
}

/* Who waits on edge `i`, and for whom; false if nobody does. */
static bool wait_on(const view *v, uint32_t i, uint32_t *ret_who, uint32_t *ret_for)
{
    const wi_edge *edge = &v->edges[i];
    uint32_t from = (uint32_t)(edge->out.stage - v->first_stage);
    uint32_t to = (uint32_t)(edge->in.stage - v->first_stage);
    if (edge->is_fused || (!v->waits[i].starved && !v->waits[i].blocked))
        return false;
    *ret_who = v->waits[i].starved ? to : from;
    *ret_for = v->waits[i].starved ? from : to;
    return true;
}

/* Something is between the two loops, and will wake one of them. */
static bool is_under_way(const wait_of_edge *w)
{
    return w->emitted != w->arrived || w->credit_seen != w->granted || (w->starved && w->ended) ||
           (w->blocked && w->refused);
}

static void find_waiting(const view *v)
{
    uint32_t who, whom;
    for (uint32_t i = 0; i < v->pipeline->n_nodes; i++)
        v->stages[i].waits = false;
    for (uint32_t i = 0; i < v->pipeline->n_links; i++)
        if (wait_on(v, i, &who, &whom))
            v->stages[who].waits = true;
    for (uint32_t i = 0; i < v->pipeline->n_nodes; i++)
        v->stages[i].can_move = v->stages[i].busy || !v->stages[i].waits;
    for (uint32_t i = 0; i < v->pipeline->n_links; i++)
        if (wait_on(v, i, &who, &whom) && is_under_way(&v->waits[i]))
            v->stages[who].can_move = v->stages[whom].can_move = true;
}

/* Gives one of those that will never move, or n_nodes. */
static uint32_t find_stuck(const view *v)
{
    uint32_t who, whom, n = v->pipeline->n_nodes;
    find_waiting(v);
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < v->pipeline->n_links; i++)
            if (wait_on(v, i, &who, &whom) && v->stages[whom].can_move && !v->stages[who].can_move)
                more = v->stages[who].can_move = true;
    }
    for (uint32_t i = 0; i < n; i++)
        if (!v->stages[i].can_move && !v->stages[i].closed)
            return i;
    return n;
}

/* ---- Telling ---- */

typedef struct line {
    char *buffer;
    size_t cap, length;
} line;

static void put(line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(line *l, const char *format, ...)
{
    va_list arguments;
    size_t room = l->length < l->cap ? l->cap - l->length : 0;
    va_start(arguments, format);
    int n = vsnprintf(room != 0 ? l->buffer + l->length : NULL, room, format, arguments);
    va_end(arguments);
    if (n > 0)
        l->length += (size_t)n;
}

/* Fused stages are one: the edge above is the first one's, the edge below the last one's. */
static const char *name_at(const view *v, uint32_t stage, bool last)
{
    const weir_stage *s = &v->first_stage[stage];
    return (last ? s->fused_tail : s)->node->name;
}

/* The edge on which `who` waits for one that will not move either. */
static uint32_t edge_waited_on(const view *v, uint32_t who)
{
    uint32_t waiting, whom;
    for (uint32_t i = 0; i < v->pipeline->n_links; i++)
        if (wait_on(v, i, &waiting, &whom) && waiting == who)
            return i;
    return 0; /* not reached: who will not move waits */
}

static uint32_t next_in_circle(const view *v, uint32_t who)
{
    uint32_t whom = who;
    (void)wait_on(v, edge_waited_on(v, who), &who, &whom);
    return whom;
}

static void put_circle(line *l, const view *v, uint32_t who)
{
    for (uint32_t i = 0; i < v->pipeline->n_nodes; i++)
        who = next_in_circle(v, who); /* by now it lies on the circle */
    uint32_t first = who;
    for (uint32_t at = next_in_circle(v, who); at != who; at = next_in_circle(v, at))
        first = at < first ? at : first; /* the same circle reads the same */
    who = first;
    put(l, "deadlock: ");
    do {
        bool starved = v->waits[edge_waited_on(v, who)].starved;
        uint32_t whom = next_in_circle(v, who);
        put(l, "%s%s waits for %s of %s", who == first ? "" : ", ", name_at(v, who, !starved),
            starved ? "items" : "credit", name_at(v, whom, starved));
        who = whom;
    } while (who != first);
    for (uint32_t i = 0; i < v->pipeline->n_links; i++) {
        uint64_t queued = v->waits[i].arrived - v->waits[i].taken;
        if (!v->edges[i].is_fused && queued != 0)
            put(l, ", %" PRIu64 " items queued on %s -> %s", queued,
                v->edges[i].out.stage->fused_tail->node->name, v->edges[i].in.stage->node->name);
    }
}

/* Writes what there is to say of a replica at rest. */
static bool tell(line *l, const weir_pipeline *p, uint32_t replica)
{
    if (!is_at_rest(p, replica))
        return false;
    view v = view_of(p, replica);
    uint32_t stuck = find_stuck(&v);
    if (stuck == p->n_nodes)
        return false;
    put_circle(l, &v, stuck);
    return true;
}

size_t weir_pipeline_deadlock(const weir_pipeline *p, char *buffer, size_t cap)
{
    weir_pipeline *locked = (weir_pipeline *)(uintptr_t)p;
    line l = { buffer, cap, 0 };
    if (cap != 0)
        buffer[0] = '\0';
    if (!atomic_load(&p->made) || p->waits == NULL || atomic_load(&p->finished))
        return 0;
    pthread_mutex_lock(&locked->lock);
    for (uint32_t r = 0; r < p->n_replicas; r++)
        if (tell(&l, p, r))
            break;
    pthread_mutex_unlock(&locked->lock);
    return l.length;
}

/* ---- Going to sleep, and waking ---- */

/* How much has moved in a replica; never 0. */
static uint64_t moved(const view *v)
{
    uint64_t sum = 1;
    for (uint32_t i = 0; i < v->pipeline->n_links; i++)
        sum += v->waits[i].emitted + v->waits[i].taken + v->waits[i].granted;
    return sum;
}

static bool tell_once(line *l, const weir_pipeline *p, uint32_t replica)
{
    view v = view_of(p, replica);
    if (p->waits->told[replica] == moved(&v) || !tell(l, p, replica))
        return false;
    p->waits->told[replica] = moved(&v);
    return true;
}

/* The limit of a drain is no reason to hope. */
static bool has_timer(const wi_part *part)
{
    const weir_timer *first = part->loop->timers;
    return first != NULL && (first != &part->pipeline->drain_timer || first->child != NULL);
}

static void part_asleep(wi_part *part)
{
    weir_pipeline *p = part->pipeline;
    char text[400];
    line l = { text, sizeof text, 0 };
    if (part->asleep || has_timer(part))
        return;
    pthread_mutex_lock(&p->lock);
    part->asleep = true;
    note_part(part);
    bool told = tell_once(&l, p, p->placed ? 0 : part->index);
    pthread_mutex_unlock(&p->lock);
    if (told)
        weir_log(p->env, WEIR_LOG_WARN, "%s: %s", p->name, text);
}

void wi_loop_asleep(weir_loop *loop)
{
    for (wi_part *part = loop->watched; part != NULL; part = part->next_watched)
        part_asleep(part);
}

void wi_loop_awake(weir_loop *loop)
{
    for (wi_part *part = loop->watched; part != NULL; part = part->next_watched) {
        if (!part->asleep)
            continue;
        pthread_mutex_lock(&part->pipeline->lock);
        part->asleep = false;
        pthread_mutex_unlock(&part->pipeline->lock);
    }
}
