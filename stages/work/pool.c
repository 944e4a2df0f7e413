/* pool: workers that grow and shrink with the queue before them, asynchronous or in threads. */
#include "pool.h"

enum { WORKERS_MAX = 1024, QUEUE_MAX = 65536 };

typedef struct pool {
    weir_stage *stage;
    const weir_pool_config *config; /* complete */
    uint32_t size, shown, shown_waiting;
    weir_timer timer;
} pool;

static weir_status pool_check(const void *config, const char **why)
{
    const weir_pool_config *c = config;
    if ((c->start != NULL) == (c->run != NULL))
        *why = "needs a function: start or run, not both";
    else if (c->run == NULL && (c->open != NULL || c->close != NULL))
        *why = "open and close are for threads, so for run";
    else if (c->run != NULL && c->cancel != NULL)
        *why = "cancel is for start: a thread is never interrupted";
    else if (c->max > WORKERS_MAX || c->most > WORKERS_MAX)
        *why = "has at most 1024 workers, or threads";
    else if (c->min > c->max)
        *why = "min is at most max, which is 16 unless it is set";
    else if (c->max > c->most)
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

/* The bounds as they are now: of the control once set, of the config otherwise. */
static void bounds_of(const pool *p, uint32_t *ret_min, uint32_t *ret_max)
{
    const weir_pool_config *c = p->config;
    uint32_t min = c->min, max = c->max;
    uint64_t set = c->control != NULL ? __atomic_load_n(&c->control->bounds, __ATOMIC_RELAXED) : 0;
    if (set != 0) {
        min = (uint32_t)(set >> 32);
        max = (uint32_t)set;
    }
    *ret_max = max < c->most ? max : c->most;
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

static void look(weir_timer *timer, void *user);

static void look_later(pool *p)
{
    weir_timer_start(weir_stage_loop(p->stage), &p->timer, p->config->look_ms * WEIR_MS, look, p);
}

/* Goes on looking as long as there may be something to do. */
static void look(weir_timer *timer, void *user)
{
    (void)timer;
    pool *p = user;
    uint32_t waiting = weir_async_waiting(p->stage), min, max;
    resize(p, waiting > p->config->queue / 2 ? p->size + 1 : waiting == 0 ? p->size - 1 : p->size);
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
    return wi_threads_new(c, env, c->most, replicas, ret_shared, why);
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
    weir_pool_config c = config != NULL ? *config : (weir_pool_config){ 0 };
    c.min = c.min != 0 ? c.min : 1;
    c.max = c.max != 0 ? c.max : 16;
    c.most = c.most != 0 ? c.most : c.max;
    c.queue = c.queue != 0 ? c.queue : 64;
    c.look_ms = c.look_ms != 0 ? c.look_ms : 500;
    /* More than pool_check lets pass are cut, so that it is the one to say why. */
    weir_async_options options = { .in_flight = c.most < WORKERS_MAX ? c.most : WORKERS_MAX,
                                   .unordered = c.unordered,
                                   .timeout_ms = c.timeout_ms,
                                   .queue = c.queue };
    bool cancels = c.run != NULL || c.cancel != NULL;
    return weir_stage_named(weir_async_of(cancels ? &cancelled_type : &patient_type, &options, &c),
                            c.name);
}
