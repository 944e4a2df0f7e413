/* Running: replicas on loops, threads of our own, shutdown in its three ways. */
#include "wi_core.h"
#include "wi_plant.h"
#include "wi_sim.h"

#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define DRAIN_MS_MAX 60000

/* ---- Instances ---- */

static weir_loop *loop_of(const weir_pipeline *p, weir_loop **loops, const weir_node *node,
                          uint32_t replica)
{
    return p->placed ? loops[node->place] : loops[replica];
}

static bool fusible(const weir_pipeline *p, const weir_node *node)
{
    weir_on_error how = node->policy.on_error;
    return !p->config.no_fuse && node->spec->type->transform != NULL && !node->has_dead_letter &&
           how != WEIR_ON_ERROR_RETRY;
}

static weir_status make_stage(weir_pipeline *p, weir_stage *s, weir_node *node, weir_loop *loop)
{
    const weir_stage_type *type = node->spec->type;
    s->type = type;
    s->node = node;
    s->spec = node->spec;
    s->config = node->spec->config;
    s->loop = loop;
    s->exec = s->fused_tail = s;
    s->shared = p->shared[node->index];
    s->policy = node->policy;
    s->n_in = s->n_open_in = node->n_in;
    s->n_out = node->n_out;
    s->n_open_out = node->n_out + node->has_dead_letter;
    s->after_visit = (uint8_t)wi_stage_what_after_visit(s);
    s->stats.name = node->name;
    s->state = weir_memory_new(p->env, type->state_size);
    s->in = weir_memory_new(p->env, s->n_in * sizeof *s->in);
    s->out = weir_memory_new(p->env, (s->n_out + 1) * sizeof *s->out);
    if (s->state == NULL || s->in == NULL || s->out == NULL)
        return WEIR_ENOMEM;
    if (node->policy.on_error == WEIR_ON_ERROR_RETRY || node->has_dead_letter)
        return wi_retry_new(p->env, &node->policy, &s->retry);
    return WEIR_OK;
}

static weir_status make_edge(weir_pipeline *p, uint32_t replica, uint32_t index)
{
    const wi_graph_link *link = &p->links[index];
    wi_edge *edge = &p->edges[replica * p->n_links + index];
    weir_stage *from = &p->stages[replica * p->n_nodes + link->from->index];
    weir_stage *to = &p->stages[replica * p->n_nodes + link->to->index];
    edge->link = index;
    edge->out.stage = from;
    edge->in.stage = to;
    edge->in.index = link->input;
    to->in[link->input] = &edge->in;
    edge->is_dead_letter = link->dead_letter;
    if (link->dead_letter) {
        edge->out.index = from->n_out;
        from->dead_letter = &edge->out;
    } else {
        edge->out.index = link->output;
        from->out[link->output] = &edge->out;
    }
    return wi_edge_init(edge, p->env, &link->config, from->loop != to->loop);
}

/* Adjacent pure stages become one: the head keeps the input and gets the tail's output. */
static void fuse(weir_pipeline *p, uint32_t replica)
{
    weir_stage *stages = &p->stages[replica * p->n_nodes];
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        weir_stage *head = &stages[p->order[i]];
        if (head->exec != head || !fusible(p, head->node))
            continue;
        weir_stage *tail = head;
        while (tail->n_out == 1 && !tail->out[0]->edge->is_cross) {
            weir_stage *next = tail->out[0]->edge->in.stage;
            const weir_edge_config *config = &p->links[tail->out[0]->edge->link].config;
            if (!fusible(p, next->node) || next->n_in != 1 || config->window_bytes != 0)
                break;
            tail->out[0]->edge->is_fused = true;
            tail->fused_next = next;
            next->exec = head;
            tail = next;
        }
        if (tail == head)
            continue;
        head->fused_tail = tail;
        head->n_out = tail->n_out;
        head->n_open_out = tail->n_out;
        if (tail->n_out == 1) {
            head->out[0] = tail->out[0];
            head->out[0]->stage = head;
        }
    }
}

static void register_edges(weir_pipeline *p, wi_part *part)
{
    for (uint32_t i = 0; i < p->n_replicas * p->n_links; i++) {
        wi_edge *edge = &p->edges[i];
        if (!edge->is_cross)
            continue;
        if (edge->out.stage->loop == part->loop) {
            edge->next_cross_out = part->loop->cross_out;
            part->loop->cross_out = edge;
        }
        if (edge->in.stage->loop == part->loop) {
            edge->next_cross_in = part->loop->cross_in;
            part->loop->cross_in = edge;
        }
    }
}

static void unregister_edges(weir_pipeline *p, weir_loop *loop)
{
    wi_edge *first = p->edges, *end = p->edges + p->n_replicas * p->n_links;
    for (wi_edge **link = &loop->cross_out; *link != NULL;) {
        if (*link >= first && *link < end)
            *link = (*link)->next_cross_out;
        else
            link = &(*link)->next_cross_out;
    }
    for (wi_edge **link = &loop->cross_in; *link != NULL;) {
        if (*link >= first && *link < end)
            *link = (*link)->next_cross_in;
        else
            link = &(*link)->next_cross_in;
    }
}

/* ---- Parts: what runs on one loop ---- */

static void finish_task(weir_task *task, void *user);
static void arm_drain(weir_task *task, void *user);
static void tell_parts(weir_pipeline *p, weir_shutdown how);

/* Closed, and still to be visited: the loop's turns may be too short for all that is ready. */
static bool is_any_queued(const wi_part *part)
{
    for (uint32_t i = 0; i < part->n_stages; i++)
        if (part->stages[i]->queued)
            return true;
    return false;
}

static void part_done(wi_part *part)
{
    weir_pipeline *p = part->pipeline;
    pthread_mutex_lock(&p->lock);
    part->done = true; /* nothing is posted to it from here on */
    bool changing = part->n_live_here != 0;
    pthread_mutex_unlock(&p->lock);
    if (changing || __atomic_load_n(&part->control.queued, __ATOMIC_ACQUIRE) != 0 ||
        is_any_queued(part)) {
        weir_post(part->loop, &part->start); /* behind what was posted before */
        return;
    }
    wi_edges_flush_owed(part->loop);
    wi_edges_publish(part->loop);
    unregister_edges(p, part->loop);
    wi_part_unwatch(part);
    if (atomic_fetch_sub(&p->parts_live, 1) == 1) {
        p->finish = (weir_task)WEIR_TASK(finish_task, p);
        weir_post(p->parts[0].loop, &p->finish);
    }
}

static void part_done_task(weir_task *task, void *user)
{
    (void)task;
    part_done(user);
}

/* Not at once: the stage that closed last is still on the stack. */
void wi_part_stage_closed(wi_part *part)
{
    if (--part->n_live != 0)
        return;
    part->start = (weir_task)WEIR_TASK(part_done_task, part);
    weir_post(part->loop, &part->start);
}

static void part_shutdown(wi_part *part, bool abort)
{
    for (uint32_t i = 0; i < part->n_stages; i++) {
        weir_stage *s = part->stages[i];
        if (s->exec != s || s->closed)
            continue;
        if (abort && !s->aborting)
            s->must_abort = true;
        else if (!abort && !s->draining)
            s->must_drain = true;
        wi_stage_ready(s);
    }
}

static void part_control(weir_task *task, void *user)
{
    wi_part *part = user;
    (void)task;
    int wanted = atomic_load(&part->wanted);
    if (wanted != 0 && !part->done)
        part_shutdown(part, wanted == 1 + WEIR_ABORT);
}

static void part_start(weir_task *task, void *user)
{
    wi_part *part = user;
    weir_pipeline *p = part->pipeline;
    (void)task;
    register_edges(p, part);
    wi_part_watch(part);
    for (uint32_t i = 0; i < part->n_stages; i++) {
        weir_status status = wi_stage_open(part->stages[i]);
        if (status != WEIR_OK) {
            wi_pipeline_fail(p, part->stages[i]->node->name, status, "cannot open");
            /* not opened, it cannot be asked to give up: no callback of it may run */
            wi_stage_shut(part->stages[i]);
        }
    }
    if (atomic_load(&part->wanted) != 0)
        weir_post(part->loop, &part->control);
    if (part->n_stages == 0) {
        part->n_live = 1;
        wi_part_stage_closed(part);
    }
}

/* ---- Start ---- */

static weir_status make_shared(weir_pipeline *p)
{
    p->shared = weir_memory_new(p->env, p->n_nodes * sizeof *p->shared);
    if (p->shared == NULL)
        return WEIR_ENOMEM;
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const weir_stage_spec *spec = p->nodes[i]->spec;
        if (spec->type->share == NULL)
            continue;
        const char *why = "cannot prepare";
        weir_status status = spec->type->share(spec->config, p->env, p->n_replicas, &p->shared[i],
                                               &why);
        if (status != WEIR_OK) {
            wi_pipeline_latch(p, p->nodes[i]->name, status, why);
            return status;
        }
    }
    return WEIR_OK;
}

void wi_stage_gate(weir_stage *s)
{
    uint64_t at_once = s->after_visit == WI_TOPS_UP ? UINT64_MAX : s->type->at_once;
    s->gated = 0;
    for (uint32_t k = 0; k < s->n_out; k++)
        if (s->out[k]->edge->window_bytes != 0)
            s->gated |= at_once & (UINT64_C(1) << k);
}

static weir_status make_replica(weir_pipeline *p, weir_loop **loops, uint32_t replica)
{
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        weir_stage *s = &p->stages[replica * p->n_nodes + i];
        s->replica = replica;
        weir_status status = make_stage(p, s, p->nodes[i], loop_of(p, loops, p->nodes[i], replica));
        if (status != WEIR_OK)
            return status;
    }
    for (uint32_t i = 0; i < p->n_links; i++) {
        weir_status status = make_edge(p, replica, i);
        if (status != WEIR_OK)
            return status;
    }
    fuse(p, replica);
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        weir_stage *s = &p->stages[replica * p->n_nodes + i];
        wi_stage_gate(s);
    }
    return WEIR_OK;
}

static weir_status make_part(weir_pipeline *p, wi_part *part, weir_loop *loop, uint32_t index)
{
    part->pipeline = p;
    part->loop = loop;
    part->index = index;
    part->start = (weir_task)WEIR_TASK(part_start, part);
    part->control = (weir_task)WEIR_TASK(part_control, part);
    part->stages = weir_memory_new(p->env, p->n_replicas * p->n_nodes * sizeof *part->stages);
    if (part->stages == NULL)
        return WEIR_ENOMEM;
    for (uint32_t i = p->n_nodes; i-- > 0;) /* sinks first */
        for (uint32_t r = 0; r < p->n_replicas; r++) {
            weir_stage *s = &p->stages[r * p->n_nodes + p->order[i]];
            if (s->loop != loop)
                continue;
            s->part = part;
            part->stages[part->n_stages++] = s;
        }
    part->n_live = part->n_stages;
    return WEIR_OK;
}

static weir_status make_all(weir_pipeline *p, weir_loop **loops, uint32_t n)
{
    p->n_replicas = p->placed ? 1 : n;
    size_t n_stages = (size_t)p->n_replicas * p->n_nodes;
    size_t n_edges = (size_t)p->n_replicas * p->n_links;
    p->stages_memory = weir_memory_new(p->env, n_stages * sizeof(weir_stage) + WI_CACHE_LINE);
    p->edges_memory = weir_memory_new(p->env, n_edges * sizeof(wi_edge) + WI_CACHE_LINE);
    p->parts = weir_memory_new(p->env, n * sizeof *p->parts);
    p->mark = weir_memory_new(p->env, 3 * p->n_nodes * sizeof *p->mark);
    if (p->stages_memory == NULL || p->edges_memory == NULL || p->parts == NULL || p->mark == NULL)
        return WEIR_ENOMEM;
    p->stages = wi_aligned(p->stages_memory);
    p->edges = wi_aligned(p->edges_memory);
    weir_status status = make_shared(p);
    for (uint32_t r = 0; r < p->n_replicas && status == WEIR_OK; r++)
        status = make_replica(p, loops, r);
    p->n_parts = n;
    for (uint32_t i = 0; i < n && status == WEIR_OK; i++)
        status = make_part(p, &p->parts[i], loops[i], i);
    return status == WEIR_OK ? wi_waits_new(p) : status;
}

static void unshare_all(weir_pipeline *p)
{
    wi_live_free_retired(p);
    for (uint32_t i = 0; p->shared != NULL && i < p->n_nodes; i++) {
        pthread_mutex_lock(&p->lock); /* somebody may look at its figures */
        void *shared = p->shared[i];
        p->shared[i] = NULL;
        pthread_mutex_unlock(&p->lock);
        if (shared != NULL && p->nodes[i]->spec->type->unshare != NULL)
            p->nodes[i]->spec->type->unshare(shared);
    }
}

static void unmake(weir_pipeline *p)
{
    for (uint32_t i = 0; p->edges != NULL && i < p->n_replicas * p->n_links; i++)
        wi_edge_done(&p->edges[i], p->env);
    for (uint32_t i = 0; p->stages != NULL && i < p->n_replicas * p->n_nodes; i++) {
        weir_stage *s = &p->stages[i];
        weir_memory_free(p->env, s->state);
        weir_memory_free(p->env, s->in);
        weir_memory_free(p->env, s->out);
        wi_retry_free(s->retry, p->env);
        wi_setting_release(s->setting);
    }
    unshare_all(p);
    wi_waits_free(p);
    for (uint32_t i = 0; p->parts != NULL && i < p->n_parts; i++)
        weir_memory_free(p->env, p->parts[i].stages);
    weir_memory_free(p->env, p->stages_memory);
    weir_memory_free(p->env, p->edges_memory);
    weir_memory_free(p->env, p->parts);
    weir_memory_free(p->env, p->shared);
    weir_memory_free(p->env, p->mark);
}

void weir_pipeline_free(weir_pipeline *p)
{
    if (p == NULL)
        return;
    if (p->kit != NULL)
        wi_sim_freed(p->kit, p);
    unmake(p);
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        wi_setting_release(p->nodes[i]->setting);
        weir_stage_spec_free(p->nodes[i]->spec);
        weir_memory_free(p->env, p->nodes[i]);
    }
    weir_memory_free(p->env, p->nodes);
    weir_memory_free(p->env, p->links);
    weir_memory_free(p->env, p->order);
    pthread_mutex_destroy(&p->lock);
    weir_memory_free(p->config.env, p);
}

weir_status weir_pipeline_start(weir_pipeline *p, weir_loop **loops, uint32_t n,
                                void (*finished)(weir_pipeline *, weir_status, void *), void *user)
{
    if (p == NULL)
        return WEIR_ENOMEM;
    if (p->started || n == 0 || n > WI_LOOPS_MAX)
        return WEIR_EINVAL;
    weir_status status = weir_pipeline_check(p);
    for (uint32_t i = 0; i < p->n_nodes && status == WEIR_OK; i++)
        if (p->nodes[i]->place >= n) {
            status = WEIR_EINVAL;
            wi_pipeline_latch(p, p->nodes[i]->name, status,
                              "is placed on a loop that is not there");
        }
    if (status != WEIR_OK)
        return status;
    p->started = true;
    p->on_finished = finished;
    p->on_finished_user = user;
    p->started_ns = p->mark_ns = wi_clock(p->env);
    status = make_all(p, loops, n);
    if (status != WEIR_OK) {
        wi_pipeline_latch(p, p->name, status, "cannot start");
        atomic_store(&p->finished, true);
        return status;
    }
    atomic_store(&p->parts_live, n);
    atomic_store(&p->made, true);
    p->drain_task = (weir_task)WEIR_TASK(arm_drain, p);
    pthread_mutex_lock(&p->lock);
    p->running = true;
    int asked = p->asked;
    for (uint32_t i = 0; i < n; i++)
        weir_post(p->parts[i].loop, &p->parts[i].start);
    pthread_mutex_unlock(&p->lock);
    if (asked != 0)
        tell_parts(p, (weir_shutdown)(asked - 1));
    return WEIR_OK;
}

/* ---- The end ---- */

static void finish_task(weir_task *task, void *user)
{
    weir_pipeline *p = user;
    (void)task;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_mutex_unlock(&p->lock);
    if (__atomic_load_n(&p->drain_task.queued, __ATOMIC_ACQUIRE) != 0) {
        weir_post(p->parts[0].loop, &p->finish);
        return;
    }
    weir_timer_stop(p->parts[0].loop, &p->drain_timer);
    for (uint32_t i = 0; i < p->n_replicas * p->n_links; i++)
        if (!p->edges[i].is_fused)
            wi_edge_release_queue(&p->edges[i]);
    void (*told)(weir_pipeline *, weir_status, void *) = p->on_finished;
    void *told_user = p->on_finished_user;
    weir_status status = weir_pipeline_status(p);
    /* Whoever sees this may free the pipeline. */
    atomic_store(&p->finished, true);
    if (told != NULL)
        told(p, status, told_user);
}

/* Before the start it is only noted. */
static void tell_parts(weir_pipeline *p, weir_shutdown how)
{
    int wanted = 1 + (int)how;
    pthread_mutex_lock(&p->lock);
    p->asked = p->asked > wanted ? p->asked : wanted;
    for (uint32_t i = 0; p->running && i < p->n_parts; i++) {
        if (p->parts[i].done)
            continue;
        atomic_store(&p->parts[i].wanted, p->asked);
        weir_post(p->parts[i].loop, &p->parts[i].control);
    }
    if (p->running && p->has_deadline && !p->closing)
        weir_post(p->parts[0].loop, &p->drain_task);
    pthread_mutex_unlock(&p->lock);
}

void wi_pipeline_fail(weir_pipeline *p, const char *who, weir_status status, const char *why)
{
    wi_pipeline_latch(p, who, status, why);
    tell_parts(p, WEIR_ABORT);
}

static void drain_is_late(weir_timer *timer, void *user)
{
    weir_pipeline *p = user;
    (void)timer;
    weir_log(p->env, WEIR_LOG_WARN, "%s: not drained in time, aborting", p->name);
    atomic_store(&p->drain_late, true);
    tell_parts(p, WEIR_ABORT);
}

static void arm_drain(weir_task *task, void *user)
{
    weir_pipeline *p = user;
    (void)task;
    pthread_mutex_lock(&p->lock);
    uint64_t wait = p->has_deadline && !p->closing ? p->drain_ms * WEIR_MS : UINT64_MAX;
    p->has_deadline = false;
    pthread_mutex_unlock(&p->lock);
    if (wait != UINT64_MAX && !WI_PLANT(13))
        weir_timer_start(p->parts[0].loop, &p->drain_timer, wait, drain_is_late, p);
}

static uint32_t drain_limit(const weir_pipeline *p)
{
    return p->config.drain_ms_max != 0 ? p->config.drain_ms_max : DRAIN_MS_MAX;
}

void weir_pipeline_shutdown(weir_pipeline *p, weir_shutdown how, uint32_t deadline_ms)
{
    if (atomic_load(&p->finished))
        return;
    uint32_t limit = how == WEIR_HYBRID ? deadline_ms : drain_limit(p);
    pthread_mutex_lock(&p->lock);
    /* A drain without a deadline ends too, but it does not put off one that has been set. */
    if (how == WEIR_HYBRID || (how == WEIR_DRAIN && p->asked == 0 && limit != UINT32_MAX)) {
        p->drain_ms = limit;
        p->has_deadline = true;
    }
    pthread_mutex_unlock(&p->lock);
    tell_parts(p, how == WEIR_HYBRID ? WEIR_DRAIN : how);
}

bool weir_pipeline_is_finished(const weir_pipeline *p)
{
    return atomic_load(&p->finished);
}

bool weir_pipeline_is_ending(const weir_pipeline *p)
{
    weir_pipeline *locked = (weir_pipeline *)(uintptr_t)p;
    pthread_mutex_lock(&locked->lock);
    bool ending = p->asked != 0;
    pthread_mutex_unlock(&locked->lock);
    return ending;
}

weir_loop *weir_pipeline_loop(const weir_pipeline *p, uint32_t index)
{
    return atomic_load(&p->made) && index < p->n_parts ? p->parts[index].loop : NULL;
}

void *weir_node_shared(const weir_node *node, const weir_stage_type *type)
{
    weir_pipeline *p = node != NULL ? node->pipeline : NULL;
    if (p == NULL || !atomic_load(&p->made))
        return NULL;
    pthread_mutex_lock(&p->lock); /* a swap changes both */
    void *shared = node->spec->type == type ? p->shared[node->index] : NULL;
    pthread_mutex_unlock(&p->lock);
    return shared;
}

/* ---- weir_run: threads of our own ---- */

typedef struct runner {
    weir_pipeline *pipeline;
    weir_loop **loops;
    pthread_t *threads;
    uint32_t n, n_threads;
    struct event *signals[2];
    bool has_signals, signalled;
} runner;

/* A process has its signals once, and so has libevent: only one base can have them. */
static atomic_flag signals_taken = ATOMIC_FLAG_INIT;

static void *run_loop(void *user)
{
    weir_status status = weir_loop_run(user);
    (void)status;
    return NULL;
}

static void on_finished(weir_pipeline *p, weir_status status, void *user)
{
    runner *r = user;
    (void)p;
    (void)status;
    for (uint32_t i = 0; i < r->n; i++)
        weir_loop_stop(r->loops[i]);
}

static void on_signal(evutil_socket_t number, short what, void *user)
{
    runner *r = user;
    weir_pipeline *p = r->pipeline;
    (void)number;
    (void)what;
    if (r->signalled)
        wi_pipeline_fail(p, p->name, WEIR_ECANCELED, "aborted by a second signal");
    else
        weir_pipeline_shutdown(p, WEIR_HYBRID, p->config.drain_ms != 0 ? p->config.drain_ms : 5000);
    r->signalled = true;
}

static weir_status runner_loops(runner *r)
{
    weir_pipeline *p = r->pipeline;
    uint32_t cpus = weir_loops_default();
    r->loops = weir_memory_new(p->env, r->n * sizeof *r->loops);
    r->threads = weir_memory_new(p->env, r->n * sizeof *r->threads);
    if (r->loops == NULL || r->threads == NULL)
        return WEIR_ENOMEM;
    for (uint32_t i = 0; i < r->n; i++) {
        weir_loop_config config = p->config.loop;
        config.env = p->env;
        config.base = NULL;
        if (p->config.pin && r->n <= cpus)
            config.pin_cpu_plus_1 = wi_allowed_cpu(i) + 1;
        if (r->n > cpus)
            config.spin_us_max = UINT32_MAX; /* spinning would take the other loop's processor */
        r->loops[i] = weir_loop_new(&config);
        if (r->loops[i] == NULL)
            return WEIR_ENOMEM;
    }
    return WEIR_OK;
}

static weir_status runner_signals(runner *r)
{
    static const int numbers[2] = { SIGTERM, SIGINT };
    if (atomic_flag_test_and_set(&signals_taken))
        return WEIR_OK;
    r->has_signals = true;
    for (int i = 0; i < 2; i++) {
        r->signals[i] = evsignal_new(r->loops[0]->base, numbers[i], on_signal, r);
        if (r->signals[i] == NULL || event_add(r->signals[i], NULL) != 0)
            return WEIR_ENOMEM;
    }
    return WEIR_OK;
}

/* Threads inherit a mask without our signals, so that they come to the first loop. */
static weir_status runner_threads(runner *r)
{
    sigset_t ours, before;
    weir_status status = WEIR_OK;
    sigemptyset(&ours);
    sigaddset(&ours, SIGTERM);
    sigaddset(&ours, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    for (uint32_t i = 1; i < r->n && status == WEIR_OK; i++) {
        if (pthread_create(&r->threads[i], NULL, run_loop, r->loops[i]) != 0)
            status = WEIR_ELIMIT;
        else
            r->n_threads = i;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return status;
}

/* Ends that travel between loops may take several rounds. */
static void quiesce_all(const runner *r)
{
    for (bool any = true; any && r->loops != NULL;) {
        any = false;
        for (uint32_t i = 0; i < r->n; i++)
            any |= r->loops[i] != NULL && wi_loop_quiesce(r->loops[i]);
    }
}

static void runner_done(runner *r)
{
    const weir_env *env = r->pipeline->env;
    for (int i = 0; i < 2; i++)
        if (r->signals[i] != NULL)
            event_free(r->signals[i]);
    if (r->has_signals)
        atomic_flag_clear(&signals_taken);
    /* What stages share goes when the last item has ended, as who is told may look at it, and
     * before the loops: threads of a pool may be on their way out of a post to one. */
    quiesce_all(r);
    unshare_all(r->pipeline);
    quiesce_all(r);
    for (uint32_t i = 0; r->loops != NULL && i < r->n; i++)
        weir_loop_free(r->loops[i]);
    weir_memory_free(env, r->loops);
    weir_memory_free(env, r->threads);
}

weir_status weir_run(weir_pipeline *p)
{
    runner r = { .pipeline = p };
    if (p == NULL)
        return WEIR_ENOMEM;
    r.n = p->config.loops != 0 ? p->config.loops : weir_loops_default();
    if (r.n > WI_LOOPS_MAX)
        r.n = WI_LOOPS_MAX;
    weir_status status = weir_pipeline_check(p);
    if (status != WEIR_OK)
        return status;
    status = runner_loops(&r);
    if (status == WEIR_OK)
        status = runner_signals(&r);
    /* The threads first: without them nothing is begun that they would have to end. */
    if (status == WEIR_OK)
        status = runner_threads(&r);
    if (status == WEIR_OK)
        status = weir_pipeline_start(p, r.loops, r.n, on_finished, &r);
    if (status == WEIR_OK)
        status = weir_loop_run(r.loops[0]);
    else
        wi_pipeline_latch(p, p->name, status, "cannot run");
    for (uint32_t i = 1; i <= r.n_threads; i++) {
        weir_loop_stop(r.loops[i]);
        pthread_join(r.threads[i], NULL);
    }
    if (status == WEIR_OK && atomic_load(&p->drain_late))
        wi_pipeline_latch(p, p->name, WEIR_EDEADLINE, "not drained in time, aborted");
    if (status == WEIR_OK)
        status = weir_pipeline_status(p);
    runner_done(&r);
    return status;
}
