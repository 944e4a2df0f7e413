/* Isolate: the stage, which spreads items over its workers. */
#include "isolate_internal.h"

#include <string.h>

enum {
    WORKERS_DEFAULT = 2,
    BYTES_DEFAULT = 1024 * 1024,
    BYTES_MAX = 1024 * 1024 * 1024,
    FILES_MIN = 4,
};

/* What the stage copies: the config with its defaults, and the index of its work. */
typedef struct isolate_spec {
    weir_isolate_config config;
} isolate_spec;

/* ---- Items ---- */

static weir_status bytes_clone(weir_item *to, const weir_item *from)
{
    const weir_isolate_bytes *of = from->body;
    weir_isolate_bytes *copy = to->body;
    copy->bytes = copy + 1;
    copy->n = of->n;
    return WEIR_OK;
}

const weir_item_type wi_isolate_item_type = { .name = "isolated", .clone = bytes_clone };

const weir_isolate_bytes *weir_isolate_bytes_of(const weir_item *item)
{
    for (; item != NULL; item = item->parent)
        if (item->type == &wi_isolate_item_type)
            return item->body;
    return NULL;
}

void weir_isolate_stats_get(const weir_isolate_stats *stats, weir_isolate_stats *ret_stats)
{
    static const size_t n = sizeof *stats / sizeof(uint64_t);
    const uint64_t *from = (const uint64_t *)stats;
    uint64_t *to = (uint64_t *)ret_stats;
    for (size_t i = 0; i < n; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

/* ---- What waits for a worker ---- */

static void waiting_push(wi_isolate *isolate, weir_op *op)
{
    wi_isolate_call *call = op->work;
    call->next = NULL;
    call->prev = isolate->last_waiting;
    if (call->prev != NULL)
        ((wi_isolate_call *)call->prev->work)->next = op;
    else
        isolate->first_waiting = op;
    isolate->last_waiting = op;
}

static void waiting_remove(wi_isolate *isolate, weir_op *op)
{
    wi_isolate_call *call = op->work;
    if (call->prev != NULL)
        ((wi_isolate_call *)call->prev->work)->next = call->next;
    else
        isolate->first_waiting = call->next;
    if (call->next != NULL)
        ((wi_isolate_call *)call->next->work)->prev = call->prev;
    else
        isolate->last_waiting = call->prev;
}

/* The one with the fewest items. */
static wi_isolate_worker *pick(wi_isolate *isolate)
{
    wi_isolate_worker *best = NULL;
    for (uint32_t i = 0; i < isolate->n_workers; i++) {
        wi_isolate_worker *worker = &isolate->workers[i];
        if (worker->state == WI_ISOLATE_UP && worker->n < isolate->config->in_flight &&
            (best == NULL || worker->n < best->n))
            best = worker;
    }
    return best;
}

static uint32_t room_of_living(const wi_isolate *isolate)
{
    uint32_t living = 0;
    for (uint32_t i = 0; i < isolate->n_workers; i++)
        living += isolate->workers[i].state != WI_ISOLATE_DOWN;
    return living * isolate->config->in_flight;
}

void wi_isolate_dispatch(wi_isolate *isolate)
{
    wi_isolate_worker *worker;
    while (isolate->first_waiting != NULL && (worker = pick(isolate)) != NULL) {
        weir_op *op = isolate->first_waiting;
        waiting_remove(isolate, op);
        wi_isolate_worker_take(worker, op);
    }
    if (!isolate->closing)
        weir_async_limit(isolate->stage, room_of_living(isolate));
}

void wi_isolate_answered(wi_isolate_worker *worker)
{
    wi_isolate *isolate = worker->of;
    weir_op *op = worker->places[0].op;
    weir_item *made = worker->made;
    weir_status status = (weir_status)worker->answer.status;
    const char *why = worker->why != NULL ? worker->why : "the work failed";
    if (worker->why != NULL)
        status = WEIR_ENOMEM;
    worker->made = NULL;
    worker->why = NULL;
    worker->got = 0;
    worker->strikes = 0;
    worker->n--;
    worker->n_sent--;
    memmove(&worker->places[0], &worker->places[1], worker->n * sizeof *worker->places);
    weir_timer_stop(isolate->loop, &worker->patience);
    wi_isolate_count(&isolate->stats->items, 1);
    wi_isolate_count(&isolate->stats->in_flight, -1);
    if (op == NULL)
        return;
    if (status == WEIR_OK) {
        weir_item_derive(made, op->item);
        op->item = made;
    }
    weir_op_done(op, status, status == WEIR_OK ? NULL : why);
}

/* ---- Operations ---- */

static void start(weir_op *op, void *state)
{
    wi_isolate *isolate = state;
    const weir_isolate_config *config = isolate->config;
    wi_isolate_call *call = op->work;
    weir_status status = WEIR_OK;
    memset(call, 0, sizeof *call);
    if (config->input != NULL)
        status = config->input(op->item, &call->in, config->user);
    else
        call->in = *(const weir_isolate_bytes *)weir_item_body(op->item);
    if (status != WEIR_OK) {
        weir_op_done(op, status, "it has no input for a worker");
    } else if (call->in.n > config->in_bytes_max) {
        weir_op_done(op, WEIR_ELIMIT, "its input is above in_bytes_max");
    } else {
        waiting_push(isolate, op);
        wi_isolate_dispatch(isolate);
    }
}

static void cancel(weir_op *op, weir_status status, void *state)
{
    wi_isolate *isolate = state;
    wi_isolate_call *call = op->work;
    (void)status;
    if (call->worker != NULL) {
        wi_isolate_worker_cancel(call->worker, op);
        return;
    }
    waiting_remove(isolate, op);
    weir_op_done(op, WEIR_ECANCELED, "given up before a worker had it");
}

/* ---- The stage ---- */

static uint32_t workers_of(const weir_stage *stage, const weir_isolate_config *config)
{
    uint32_t replicas = weir_stage_replicas(stage), replica = weir_stage_replica(stage);
    uint32_t mine = config->workers / replicas + (replica < config->workers % replicas);
    return mine != 0 ? mine : 1;
}

static weir_status open_replica(weir_stage *stage, const void *config, void *state)
{
    const isolate_spec *spec = config;
    wi_isolate *isolate = state;
    const weir_isolate_config *c = &spec->config;
    isolate->stage = stage;
    isolate->loop = weir_stage_loop(stage);
    isolate->config = c;
    isolate->stats = c->stats;
    isolate->n_workers = workers_of(stage, c);
    isolate->window_from_ns = weir_loop_now(isolate->loop);
    isolate->order = (wi_isolate_order){
        .kind = WI_ISOLATE_SPAWN,
        .work = (uint32_t)wi_isolate_work_find(c->helper, c->work),
        .limits = { c->memory_bytes_max, c->in_bytes_max, c->out_bytes_max, c->cpu_s_max,
                    c->files_max, c->sandbox },
    };
    if (weir_loop_base(isolate->loop) == NULL) {
        weir_stage_fail(stage, WEIR_EUNSUPPORTED, "workers need a loop that polls");
        return WEIR_EUNSUPPORTED;
    }
    isolate->workers = weir_memory_new(weir_stage_env(stage),
                                       isolate->n_workers * sizeof *isolate->workers);
    if (isolate->stats == NULL) /* somewhere to count */
        isolate->stats = weir_memory_new(weir_stage_env(stage), sizeof *isolate->stats);
    if (isolate->workers == NULL || isolate->stats == NULL) {
        weir_memory_free(weir_stage_env(stage), isolate->workers);
        if (isolate->stats != c->stats)
            weir_memory_free(weir_stage_env(stage), isolate->stats);
        return WEIR_ENOMEM;
    }
    for (uint32_t i = 0; i < isolate->n_workers; i++) {
        isolate->workers[i].of = isolate;
        isolate->workers[i].socket = isolate->workers[i].leash = -1;
        wi_isolate_worker_start(&isolate->workers[i]);
    }
    wi_isolate_dispatch(isolate);
    return WEIR_OK;
}

static void close_replica(weir_stage *stage, void *state)
{
    wi_isolate *isolate = state;
    isolate->closing = true;
    for (uint32_t i = 0; i < isolate->n_workers; i++)
        wi_isolate_worker_stop(&isolate->workers[i]);
    weir_memory_free(weir_stage_env(stage), isolate->workers);
    if (isolate->stats != isolate->config->stats)
        weir_memory_free(weir_stage_env(stage), isolate->stats);
}

static weir_status check(const void *config, const char **why)
{
    const weir_isolate_config *c = &((const isolate_spec *)config)->config;
    *why = c->helper == NULL || c->work == NULL           ? "it needs a helper and a work"
           : wi_isolate_work_find(c->helper, c->work) < 0 ? "the helper has no such work"
           : c->workers > WI_ISOLATE_WORKERS_MAX          ? "workers is over 64"
           : c->in_flight > WI_ISOLATE_DEPTH_MAX          ? "in_flight is over 16"
           : c->in_bytes_max > BYTES_MAX                  ? "in_bytes_max is over 1 GiB"
           : c->out_bytes_max > BYTES_MAX                 ? "out_bytes_max is over 1 GiB"
           : c->files_max < FILES_MIN                     ? "files_max is below 4"
                                                          : NULL;
    if (*why != NULL)
        return WEIR_EINVAL;
    if (!c->sandbox || wi_isolate_sandbox_is_there())
        return WEIR_OK;
    *why = "there is no sandbox on this processor";
    return WEIR_EUNSUPPORTED;
}

static void or_default(uint32_t *value, uint32_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

weir_stage_spec *weir_isolate(const weir_isolate_config *config)
{
    static const weir_async_type type = {
        .name = "isolate",
        .config_size = sizeof(isolate_spec),
        .state_size = sizeof(wi_isolate),
        .work_size = sizeof(wi_isolate_call),
        .check = check,
        .open = open_replica,
        .close = close_replica,
        .start = start,
        .cancel = cancel,
    };
    static const weir_isolate_config none;
    isolate_spec spec = { .config = config != NULL ? *config : none };
    weir_isolate_config *c = &spec.config;
    or_default(&c->workers, WORKERS_DEFAULT);
    or_default(&c->in_flight, 1);
    or_default(&c->in_bytes_max, BYTES_DEFAULT);
    or_default(&c->out_bytes_max, BYTES_DEFAULT);
    or_default(&c->timeout_ms, 10000);
    or_default(&c->files_max, 16);
    or_default(&c->restart_ms, 10);
    or_default(&c->restart_ms_max, 5000);
    or_default(&c->restarts_max, 100);
    or_default(&c->restarts_window_ms, 10000);
    if (c->memory_bytes_max == 0)
        c->memory_bytes_max = UINT64_C(256) * 1024 * 1024;
    uint32_t workers = c->workers < WI_ISOLATE_WORKERS_MAX ? c->workers : WI_ISOLATE_WORKERS_MAX;
    uint32_t depth = c->in_flight < WI_ISOLATE_DEPTH_MAX ? c->in_flight : WI_ISOLATE_DEPTH_MAX;
    weir_async_options options = { .in_flight = workers * depth, .unordered = c->unordered };
    return weir_async_of(&type, &options, &spec);
}
