/* The inlet: a bounded queue that any thread may offer to, and a source that empties it. */
#include "wi_core.h"

#include <weir/inlet.h>

#include <string.h>

#define ITEMS_DEFAULT 1024
#define ITEMS_MAX     (1u << 20)
#define ITEM_BYTES    (2u << 20)

typedef struct outlet {
    weir_inlet *inlet;
    weir_stage *stage;
    weir_task task;
    struct outlet *next;
    bool waits; /* has credit and found nothing: under the lock */
    bool is_closed;
} outlet;

struct weir_inlet {
    const weir_env *env;
    pthread_mutex_t lock;
    weir_item **ring;
    uint32_t items_max, head, holds, n_open;
    uint64_t bytes_max;
    bool ended, was_open;
    outlet *outlets;
    weir_inlet_stats stats; /* queued, bytes: what the ring holds */
};

weir_inlet *weir_inlet_new(const weir_env *env, const weir_inlet_config *config)
{
    uint32_t items_max = config != NULL ? config->items_max : 0;
    weir_inlet *inlet = weir_memory_new(env, sizeof *inlet);
    if (inlet == NULL)
        return NULL;
    inlet->env = env;
    inlet->items_max = items_max == 0          ? ITEMS_DEFAULT
                       : items_max > ITEMS_MAX ? ITEMS_MAX
                                               : items_max;
    inlet->bytes_max = config != NULL && config->bytes_max != 0
                           ? config->bytes_max
                           : (uint64_t)inlet->items_max * ITEM_BYTES;
    inlet->ring = weir_memory_new(env, inlet->items_max * sizeof *inlet->ring);
    if (inlet->ring == NULL) {
        weir_memory_free(env, inlet);
        return NULL;
    }
    inlet->holds = 1;
    pthread_mutex_init(&inlet->lock, NULL);
    return inlet;
}

static void inlet_release(void *user)
{
    weir_inlet *inlet = user;
    pthread_mutex_lock(&inlet->lock);
    bool last = --inlet->holds == 0;
    pthread_mutex_unlock(&inlet->lock);
    if (!last)
        return;
    for (; inlet->stats.queued > 0; inlet->stats.queued--) {
        weir_item_end(inlet->ring[inlet->head], WEIR_ABORTED, WEIR_ECLOSED);
        inlet->head = (inlet->head + 1) % inlet->items_max;
    }
    pthread_mutex_destroy(&inlet->lock);
    weir_memory_free(inlet->env, inlet->ring);
    weir_memory_free(inlet->env, inlet);
}

void weir_inlet_free(weir_inlet *inlet)
{
    if (inlet != NULL)
        inlet_release(inlet);
}

/* Under the lock. */
static void wake_one(weir_inlet *inlet)
{
    for (outlet *o = inlet->outlets; o != NULL; o = o->next) {
        if (!o->waits)
            continue;
        o->waits = false;
        weir_post(weir_stage_loop(o->stage), &o->task);
        return;
    }
}

/* Under the lock: all are to look, as there will be no more. */
static void wake_all(weir_inlet *inlet)
{
    for (outlet *o = inlet->outlets; o != NULL; o = o->next)
        weir_post(weir_stage_loop(o->stage), &o->task);
}

/* Under the lock: says why not, and counts it. */
static weir_status admit(weir_inlet *inlet, const weir_item *item)
{
    weir_inlet_stats *stats = &inlet->stats;
    if (inlet->ended || (inlet->was_open && inlet->n_open == 0)) {
        stats->rejected_closed++;
        return WEIR_ECLOSED;
    }
    if (stats->queued == inlet->items_max) {
        stats->rejected_items++;
        return WEIR_EOVERLOAD;
    }
    if (stats->queued != 0 && stats->bytes + item->cost > inlet->bytes_max) {
        stats->rejected_bytes++;
        return WEIR_EOVERLOAD;
    }
    stats->accepted++;
    return WEIR_OK;
}

weir_status weir_inlet_offer(weir_inlet *inlet, weir_item *item)
{
    pthread_mutex_lock(&inlet->lock);
    weir_status status = admit(inlet, item);
    if (status == WEIR_OK) {
        inlet->ring[(inlet->head + inlet->stats.queued) % inlet->items_max] = item;
        inlet->stats.queued++;
        inlet->stats.bytes += item->cost;
        wake_one(inlet);
    }
    pthread_mutex_unlock(&inlet->lock);
    return status;
}

void weir_inlet_end(weir_inlet *inlet)
{
    pthread_mutex_lock(&inlet->lock);
    inlet->ended = true;
    wake_all(inlet);
    pthread_mutex_unlock(&inlet->lock);
}

void weir_inlet_stats_get(const weir_inlet *inlet, weir_inlet_stats *ret_stats)
{
    weir_inlet *locked = (weir_inlet *)(uintptr_t)inlet;
    pthread_mutex_lock(&locked->lock);
    *ret_stats = inlet->stats;
    pthread_mutex_unlock(&locked->lock);
}

uint32_t weir_inlet_queued(const weir_inlet *inlet)
{
    weir_inlet_stats stats;
    weir_inlet_stats_get(inlet, &stats);
    return stats.queued;
}

/* ---- The source ---- */

/* Under the lock. */
static weir_item *take_first(weir_inlet *inlet)
{
    weir_item *item = inlet->ring[inlet->head];
    inlet->head = (inlet->head + 1) % inlet->items_max;
    inlet->stats.queued--;
    inlet->stats.bytes -= item->cost;
    return item;
}

static void pull(outlet *o)
{
    weir_inlet *inlet = o->inlet;
    weir_out *out = weir_stage_out(o->stage);
    bool over = false;
    /* into a window of bytes one by one, as each may be the last that fits */
    size_t most = out->edge->window_bytes != 0 ? 1 : WI_VECTOR_MAX;
    for (bool more = true; more && !weir_out_is_over(out);) {
        weir_item *items[WI_VECTOR_MAX];
        uint64_t credit = weir_out_credit(out);
        size_t n = 0;
        pthread_mutex_lock(&inlet->lock);
        while (n < most && n < credit && inlet->stats.queued > 0 &&
               weir_out_fits(out, inlet->ring[inlet->head]->cost))
            items[n++] = take_first(inlet);
        over = inlet->ended && inlet->stats.queued == 0;
        more = n == most && !over;
        if (over && n != 0)
            wake_all(inlet);
        o->waits = !over && credit > n && inlet->stats.queued == 0;
        pthread_mutex_unlock(&inlet->lock);
        if (n != 0)
            weir_emit_all(out, items, n);
    }
    if (over)
        weir_end(out);
}

static void outlet_run(weir_task *task, void *user)
{
    outlet *o = user;
    (void)task;
    if (!o->is_closed)
        pull(o);
}

static weir_status inlet_open(weir_stage *stage, const void *config, void *state)
{
    outlet *o = state;
    weir_inlet *inlet = *(weir_inlet *const *)config;
    o->inlet = inlet;
    o->stage = stage;
    o->task = (weir_task)WEIR_TASK(outlet_run, o);
    pthread_mutex_lock(&inlet->lock);
    o->next = inlet->outlets;
    inlet->outlets = o;
    inlet->holds++;
    inlet->n_open++;
    inlet->was_open = true;
    pthread_mutex_unlock(&inlet->lock);
    return WEIR_OK;
}

static void inlet_close(weir_stage *stage, void *state)
{
    outlet *o = state;
    weir_inlet *inlet = o->inlet;
    (void)stage;
    pthread_mutex_lock(&inlet->lock);
    for (outlet **link = &inlet->outlets; *link != NULL; link = &(*link)->next) {
        if (*link == o) {
            *link = o->next;
            break;
        }
    }
    o->is_closed = true;
    inlet->n_open--;
    if (inlet->stats.queued > 0)
        wake_one(inlet); /* it may have been this one that was woken for them */
    pthread_mutex_unlock(&inlet->lock);
    inlet_release(inlet);
}

static void inlet_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    pull(state);
}

/* Draining ends what comes in; what was accepted still flows. One that is swapped out leaves it to
 * the others. */
static void inlet_on_drain(weir_stage *stage, void *state)
{
    outlet *o = state;
    weir_inlet *inlet = o->inlet;
    pthread_mutex_lock(&inlet->lock);
    bool is_last = inlet->n_open == 1;
    pthread_mutex_unlock(&inlet->lock);
    if (is_last || weir_pipeline_is_ending(weir_stage_pipeline(stage)))
        weir_inlet_end(inlet);
    else
        weir_end(weir_stage_out(stage));
}

static weir_status inlet_check(const void *config, const char **why)
{
    *why = "needs an inlet";
    return *(weir_inlet *const *)config != NULL ? WEIR_OK : WEIR_EINVAL;
}

static const weir_stage_type inlet_type = {
    .name = "inlet",
    .config_size = sizeof(weir_inlet *),
    .state_size = sizeof(outlet),
    .inputs = WEIR_PORTS_NONE,
    .check = inlet_check,
    .open = inlet_open,
    .close = inlet_close,
    .on_demand = inlet_on_demand,
    .on_drain = inlet_on_drain,
};

weir_stage_spec *weir_from_inlet(weir_inlet *inlet)
{
    weir_stage_spec *spec = weir_stage_of(&inlet_type, &inlet);
    if (spec == NULL || inlet == NULL)
        return spec;
    pthread_mutex_lock(&inlet->lock);
    inlet->holds++;
    pthread_mutex_unlock(&inlet->lock);
    spec->extra = inlet;
    spec->free_extra = inlet_release;
    return spec;
}
