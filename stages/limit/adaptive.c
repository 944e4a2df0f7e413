/* adaptive_limit: a semaphore whose permits follow the time that items take below it. */
#include <weir/stages.h>

#include "gradient.h"
#include "permits.h"

enum { SAMPLES_MIN = 10 };

/* What one replica has seen since the start; written by its loop alone. */
typedef struct tally {
    _Atomic uint64_t time_ns, n, lost, peak;
    char apart[32];
} tally;

typedef struct adaptive_shared {
    wi_permits permits;
    pthread_mutex_t lock; /* of the gradient, and of what was taken in */
    _Atomic uint64_t step_at, time_ns, baseline_ns;
    uint64_t window_ns, time_seen, n_seen, lost_seen;
    wi_gradient gradient;
    uint32_t replicas;
    tally tallies[];
} adaptive_shared;

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
    (void)why;
    adaptive_shared *s = weir_memory_new(env, sizeof *s + replicas * sizeof *s->tallies);
    if (s == NULL)
        return WEIR_ENOMEM;
    s->gradient = gradient_of(c);
    s->window_ns = wi_or(c->window_ms, 500) * WEIR_MS;
    s->replicas = replicas;
    weir_status status = wi_permits_init(&s->permits, env, (uint64_t)s->gradient.limit);
    if (status == WEIR_OK && pthread_mutex_init(&s->lock, NULL) != 0) {
        wi_permits_done(&s->permits);
        status = WEIR_ENOMEM;
    }
    if (status == WEIR_OK)
        *ret_shared = s;
    else
        weir_memory_free(env, s);
    return status;
}

static void adaptive_unshare(void *shared)
{
    adaptive_shared *s = shared;
    pthread_mutex_destroy(&s->lock);
    wi_permits_done(&s->permits);
    weir_memory_free(s->permits.env, s);
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

/* ---- Samples ---- */

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t was = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, was + n, memory_order_relaxed);
}

static void timed_ended(void *memory, size_t n, weir_outcome outcome, weir_status status)
{
    wi_permit *permit = memory;
    weir_stage *stage = permit->gate->gate.stage;
    adaptive_shared *s = weir_stage_shared(stage);
    tally *t = &s->tallies[weir_stage_replica(stage)];
    if (outcome == WEIR_ACKED) {
        add(&t->time_ns, n * (weir_loop_now(weir_stage_loop(stage)) - permit->passed_ns));
        add(&t->n, n);
    } else if (status == WEIR_EDEADLINE || status == WEIR_EOVERLOAD ||
               status == WEIR_EUNAVAILABLE) {
        add(&t->lost, n);
    }
    wi_permit_ended(permit, n);
}

/* The window's figures, if there are enough of them. */
static bool take_in(adaptive_shared *s, wi_gradient_window *ret_window)
{
    uint64_t time = 0, n = 0, lost = 0, peak = 0;
    for (uint32_t i = 0; i < s->replicas; i++) {
        uint64_t most = atomic_load(&s->tallies[i].peak);
        peak = most > peak ? most : peak;
        time += atomic_load(&s->tallies[i].time_ns);
        n += atomic_load(&s->tallies[i].n);
        lost += atomic_load(&s->tallies[i].lost);
    }
    uint64_t fresh = n - s->n_seen;
    *ret_window = (wi_gradient_window){ .time = (double)(time - s->time_seen + 1) / (double)fresh,
                                        .n = fresh,
                                        .lost = lost - s->lost_seen,
                                        .peak = peak };
    if (fresh + ret_window->lost < SAMPLES_MIN)
        return false;
    s->time_seen = time;
    s->n_seen = n;
    s->lost_seen = lost;
    for (uint32_t i = 0; i < s->replicas; i++)
        atomic_store(&s->tallies[i].peak, 0);
    return true;
}

static void step(adaptive_shared *s, weir_loop *loop)
{
    wi_gradient_window window;
    if (pthread_mutex_trylock(&s->lock) != 0)
        return; /* another replica does it */
    uint64_t now = weir_loop_now(loop), limit = atomic_load(&s->permits.limit);
    if (now >= atomic_load(&s->step_at) && take_in(s, &window)) {
        window.jitter = (uint32_t)weir_loop_entropy(loop);
        limit = (uint64_t)wi_gradient_step(&s->gradient, &window);
        atomic_store(&s->step_at, now + s->window_ns);
        if (window.n != 0)
            atomic_store(&s->time_ns, (uint64_t)window.time);
        atomic_store(&s->baseline_ns, (uint64_t)s->gradient.baseline);
        wi_permits_set(&s->permits, limit);
    }
    pthread_mutex_unlock(&s->lock);
}

static void adaptive_settle(wi_gate *gate)
{
    adaptive_shared *s = weir_stage_shared(gate->stage);
    weir_loop *loop = weir_stage_loop(gate->stage);
    tally *t = &s->tallies[weir_stage_replica(gate->stage)];
    uint64_t used = atomic_load(&s->permits.used);
    if (used > atomic_load_explicit(&t->peak, memory_order_relaxed))
        atomic_store_explicit(&t->peak, used, memory_order_relaxed);
    if (weir_loop_now(loop) >= atomic_load_explicit(&s->step_at, memory_order_relaxed))
        step(s, loop);
    wi_permits_settle(gate);
}

/* ---- The stage ---- */

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
    g->permits = &((adaptive_shared *)weir_stage_shared(stage))->permits;
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
    const adaptive_shared *s = weir_node_shared(node, &adaptive_type);
    if (s == NULL)
        return false;
    *ret_stats = (weir_adaptive_stats){ .limit = atomic_load(&s->permits.limit),
                                        .used = atomic_load(&s->permits.used),
                                        .time_ns = atomic_load(&s->time_ns),
                                        .baseline_ns = atomic_load(&s->baseline_ns) };
    return true;
}
