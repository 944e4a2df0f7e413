/* pool: workers that grow and shrink with the queue before them, asynchronous or in threads. */
#include "pool.h"

enum {
    MIN_DEFAULT = 1,
    MAX_DEFAULT = 16,
    WORKERS_MAX = 1024,
    QUEUE_DEFAULT = 64,
    QUEUE_MAX = 65536,
    LOOK_MS_DEFAULT = 500
};

typedef struct pool {
    weir_stage *stage;
    const weir_pool_config *config;
    uint32_t size, shown, shown_waiting;
    weir_timer timer;
} pool;

static weir_status pool_check(const void *config, const char **why)
{
    const weir_pool_config *c = config;
    uint32_t max = c->max != 0 ? c->max : MAX_DEFAULT, most = c->most != 0 ? c->most : max;
    if ((c->start != NULL) == (c->run != NULL))
        *why = "needs a function: start or run, not both";
    else if (c->run == NULL && (c->open != NULL || c->close != NULL))
        *why = "open and close are for threads, so for run";
    else if (c->run != NULL && c->cancel != NULL)
        *why = "cancel is for start: a thread is never interrupted";
    else if (max > WORKERS_MAX || most > WORKERS_MAX)
        *why = "has at most 1024 workers, or threads";
    else if (c->min > max)
        *why = "min is at most max, which is 16 unless it is set";
    else if (max > most)
        *why = "max is at most most";
    else if (c->queue > QUEUE_MAX)
        *why = "queue is at most 65536";
    else
        return WEIR_OK;
    return WEIR_EINVAL;
}

static uint64_t pack(uint32_t min, uint32_t max)
{
    return (uint64_t)min << 32 | max;
}

void weir_pool_set_bounds(weir_pool_control *control, uint32_t min, uint32_t max)
{
    min = min >= 1 ? min : 1;
    __atomic_store_n(&control->bounds, pack(min, max > min ? max : min), __ATOMIC_RELAXED);
}

void weir_pool_look(const weir_pool_control *control, weir_pool_figures *ret_figures)
{
    ret_figures->size = __atomic_load_n(&control->size, __ATOMIC_RELAXED);
    ret_figures->waiting = __atomic_load_n(&control->waiting, __ATOMIC_RELAXED);
}

static uint32_t most_of(const weir_pool_config *c)
{
    return c->most != 0 ? c->most : c->max != 0 ? c->max : MAX_DEFAULT;
}

/* Those that pool_check refuses are cut, so that it is the one to say why. */
static uint32_t slots_of(const weir_pool_config *c)
{
    return most_of(c) < WORKERS_MAX ? most_of(c) : WORKERS_MAX;
}

/* The bounds as they are now: of the control once set, of the config otherwise. */
static void bounds_of(const pool *p, uint32_t *ret_min, uint32_t *ret_max)
{
    const weir_pool_config *c = p->config;
    uint32_t min = c->min != 0 ? c->min : MIN_DEFAULT, max = c->max != 0 ? c->max : MAX_DEFAULT;
    uint64_t set = c->control != NULL ? __atomic_load_n(&c->control->bounds, __ATOMIC_RELAXED) : 0;
    if (set != 0) {
        min = (uint32_t)(set >> 32);
        max = (uint32_t)set;
    }
    uint32_t most = most_of(c);
    *ret_max = max < most ? max : most;
    *ret_min = min < *ret_max ? min : *ret_max;
}

/* This replica's part of the figures that all of them show. */
static void show(pool *p, uint32_t size, uint32_t waiting)
{
    weir_pool_control *control = p->config->control;
    if (control != NULL) {
        __atomic_fetch_add(&control->size, size - p->shown, __ATOMIC_RELAXED);
        __atomic_fetch_add(&control->waiting, waiting - p->shown_waiting, __ATOMIC_RELAXED);
    }
    p->shown = size;
    p->shown_waiting = waiting;
}

static void resize(pool *p, uint32_t size)
{
    uint32_t min, max;
    bounds_of(p, &min, &max);
    size = size < min ? min : size > max ? max : size;
    if (size != p->size) {
        p->size = size;
        weir_async_limit(p->stage, size);
    }
    show(p, p->size, weir_async_waiting(p->stage));
}

static uint32_t queue_of(const weir_pool_config *c)
{
    return c->queue != 0 ? c->queue : QUEUE_DEFAULT;
}

static void look(weir_timer *timer, void *user);

static void look_later(pool *p)
{
    uint32_t ms = p->config->look_ms != 0 ? p->config->look_ms : LOOK_MS_DEFAULT;
    weir_timer_start(weir_stage_loop(p->stage), &p->timer, ms * WEIR_MS, look, p);
}

/* Goes on looking as long as there may be something to do. */
static void look(weir_timer *timer, void *user)
{
    (void)timer;
    pool *p = user;
    uint32_t waiting = weir_async_waiting(p->stage), min, max;
    uint32_t half = queue_of(p->config) / 2;
    resize(p, waiting > half ? p->size + 1 : waiting == 0 ? p->size - 1 : p->size);
    bounds_of(p, &min, &max);
    if (weir_async_in_flight(p->stage) != 0 || p->size > min)
        look_later(p);
}

static weir_status pool_open(weir_stage *stage, const void *config, void *state)
{
    pool *p = state;
    p->stage = stage;
    p->config = config;
    resize(p, 1);
    return WEIR_OK;
}

static void pool_close(weir_stage *stage, void *state)
{
    pool *p = state;
    weir_timer_stop(weir_stage_loop(stage), &p->timer);
    show(p, 0, 0);
}

static void pool_start(weir_op *op, void *state)
{
    pool *p = state;
    if (p->config->control != NULL)
        resize(p, p->size); /* bounds that were changed meanwhile */
    if (!weir_timer_is_armed(&p->timer))
        look_later(p);
    if (p->config->run != NULL)
        wi_threads_start(weir_async_shared(op->stage), op);
    else
        p->config->start(op, p->config->user);
}

static void pool_cancel(weir_op *op, weir_status status, void *state)
{
    pool *p = state;
    if (p->config->run != NULL)
        wi_threads_cancel(op);
    else
        p->config->cancel(op, status, p->config->user);
}

static weir_status pool_share(const void *config, const weir_env *env, uint32_t replicas,
                              void **ret_shared, const char **why)
{
    const weir_pool_config *c = config;
    *ret_shared = NULL;
    if (c->run == NULL)
        return WEIR_OK;
    return wi_threads_new(c, env, most_of(c), replicas, ret_shared, why);
}

/* Two types, because a cancel that is there means something: see weir_async_type.cancel. */
#define POOL_TYPE(cancel_)                                                                   \
    {                                                                                        \
        .name = "pool", .config_size = sizeof(weir_pool_config), .state_size = sizeof(pool), \
        .work_size = WI_THREADS_WORK_BYTES, .share = pool_share, .unshare = wi_threads_free, \
        .check = pool_check, .open = pool_open, .close = pool_close, .start = pool_start,    \
        .cancel = (cancel_)                                                                  \
    }

static const weir_async_type patient_type = POOL_TYPE(NULL);
static const weir_async_type cancelled_type = POOL_TYPE(pool_cancel);

weir_stage_spec *weir_pool(const weir_pool_config *config)
{
    static const weir_pool_config none;
    if (config == NULL)
        config = &none;
    bool cancels = config->run != NULL || config->cancel != NULL;
    weir_stage_spec *spec = weir_async_of(cancels ? &cancelled_type : &patient_type,
                                          &(weir_async_options){ .in_flight = slots_of(config),
                                                                 .unordered = config->unordered,
                                                                 .timeout_ms = config->timeout_ms,
                                                                 .queue = queue_of(config) },
                                          config);
    return spec != NULL && config->name != NULL ? weir_stage_named(spec, config->name) : spec;
}
