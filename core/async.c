/* Asynchronous stages: slots for operations under way, their order, timeouts and cancels. */
#include "wi_core.h"
#include "wi_list.h"
#include "wi_plant.h"

#include <weir/async.h>

#include <assert.h>
#include <string.h>

#define IN_FLIGHT_DEFAULT 64
#define IN_FLIGHT_MAX     65536
#define SWEEP_NS          (50 * WEIR_MS) /* looks for expired items among those not started */

typedef enum slot_state { SLOT_FREE, SLOT_RUNNING, SLOT_DONE } slot_state;

typedef struct async async;

typedef struct slot {
    weir_op op; /* first: the author's handle */
    async *owner;
    struct slot *next;
    slot_state state;
    weir_status cancel_status;
    weir_status done_status; /* of a done_from, by another thread */
    const char *why;
    bool cancelled, consumed;
    weir_timer timer;
    weir_context_watch watch;
    weir_task done_task, recycle_task;
} slot;

/* Slots that were made together; they stay where they are, as they are the authors' handles. */
typedef struct chunk {
    struct chunk *next;
    slot *slots;
    char *works;
    uint32_t n;
} chunk;

/* What weir_async_of copies. */
typedef struct async_spec {
    const weir_async_type *type;
    weir_async_options options;
    void *config;
} async_spec;

struct async {
    weir_stage *stage;
    const weir_async_type *type;
    weir_async_options options;
    const void *config;
    void *state; /* the author's */
    chunk *chunks;
    slot *free;
    uint32_t room;                     /* slots there are; in_flight may be lower, since a change */
    uint32_t limit, running, occupied; /* occupied: running, or done and not emitted yet */
    slot **order;                      /* ring of slots by arrival, when ordered */
    uint32_t order_head, order_n;
    slot *done_head, *done_tail; /* waiting for credit, when unordered */
    wi_list pending;             /* waiting for a slot, or for the limit to rise */
    bool ending, given_up, holds_pending;
    weir_status end_status;
    weir_task flush_task, start_task;
    weir_timer sweep;
};

static void start_soon(async *a);
static void emit_done(async *a);

/* ---- Demand ---- */

static void top_up(async *a)
{
    weir_in *in = weir_stage_in(a->stage);
    uint32_t most = a->limit < a->options.in_flight ? a->limit : a->options.in_flight;
    most += most != 0 ? a->options.queue : 0;
    uint32_t taken = a->occupied + a->pending.n;
    if (most > taken && !weir_in_is_over(in))
        weir_request_to(in, most - taken);
}

static void maybe_end(async *a)
{
    if (!a->ending || (a->occupied != 0 && !WI_PLANT(15)) || a->pending.n != 0 ||
        wi_retry_tries_left(a->stage->retry) != 0)
        return;
    if (weir_stage_outputs(a->stage) != 0)
        weir_end_error(weir_stage_out(a->stage), a->end_status);
}

/* ---- Slots ---- */

static void slot_recycle(weir_task *task, void *user)
{
    slot *s = user;
    async *a = s->owner;
    (void)task;
    s->state = SLOT_FREE;
    s->next = a->free;
    a->free = s;
    a->occupied--;
    weir_stage_release(a->stage);
    start_soon(a);
    top_up(a);
    maybe_end(a);
}

/* A cancel may be under way to this slot's watch from another loop: then it is free only after
 * that has arrived, which a task posted now comes behind. */
static void slot_free(slot *s)
{
    s->op.item = NULL;
    s->op.context = NULL;
    if (weir_context_watch_stop(&s->watch)) {
        slot_recycle(&s->recycle_task, s);
        return;
    }
    s->recycle_task = (weir_task)WEIR_TASK(slot_recycle, s);
    weir_post(weir_stage_loop(s->owner->stage), &s->recycle_task);
}

/* Before the item goes, and with it perhaps its context. */
static void unwatch(slot *s)
{
    weir_timer_stop(weir_stage_loop(s->owner->stage), &s->timer);
    if (s->watch.context != NULL)
        (void)weir_context_watch_stop(&s->watch);
}

static void slot_cancel(slot *s, weir_status status)
{
    async *a = s->owner;
    if (s->state != SLOT_RUNNING || s->cancelled || a->type->cancel == NULL)
        return;
    s->cancelled = true;
    s->cancel_status = status;
    a->type->cancel(&s->op, status, a->state);
}

static void on_timeout(weir_timer *timer, void *user)
{
    (void)timer;
    slot_cancel(user, WEIR_EDEADLINE);
}

static void on_context(weir_context_watch *watch, weir_status status, void *user)
{
    (void)watch;
    slot_cancel(user, status);
}

static void flush(weir_task *task, void *user)
{
    async *a = user;
    (void)task;
    a->type->flush(a->stage, a->state);
    weir_stage_release(a->stage);
}

static void watch_time(async *a, slot *s, weir_loop *loop)
{
    uint64_t left = a->options.timeout_ms != 0 ? a->options.timeout_ms * WEIR_MS : UINT64_MAX;
    if (s->op.context != NULL) {
        uint64_t of_context = weir_context_left(s->op.context, weir_loop_now(loop));
        left = of_context < left ? of_context : left;
        weir_context_watch_start(&s->watch, s->op.context, loop, on_context, s);
    }
    if (left != UINT64_MAX)
        weir_timer_start(loop, &s->timer, left, on_timeout, s);
}

static void start_one(async *a, weir_item *item)
{
    weir_loop *loop = weir_stage_loop(a->stage);
    slot *s = a->free;
    a->free = s->next;
    s->state = SLOT_RUNNING;
    s->cancelled = s->consumed = false;
    s->op.item = item;
    s->op.context = item->context;
    s->op.started_ns = weir_loop_now(loop);
    a->occupied++;
    a->running++;
    weir_stage_hold(a->stage);
    if (!a->options.unordered) {
        a->order[(a->order_head + a->order_n) % a->room] = s;
        a->order_n++;
    }
    if (a->type->cancel != NULL)
        watch_time(a, s, loop);
    if (a->type->flush != NULL && !a->flush_task.queued) {
        weir_stage_hold(a->stage); /* what is deferred must find the stage open */
        weir_loop_defer(loop, &a->flush_task);
    }
    a->type->start(&s->op, a->state);
}

/* ---- Items that wait for a slot ---- */

/* What waits keeps the stage open: a sink has no output that would. */
static void hold_for_pending(async *a)
{
    if ((a->pending.n != 0) == a->holds_pending)
        return;
    a->holds_pending = !a->holds_pending;
    if (a->holds_pending)
        weir_stage_hold(a->stage);
    else
        weir_stage_release(a->stage);
}

/* As an item that is over at a stage's door: no policy is for it. */
static void expire(async *a, weir_item *item, weir_status status)
{
    wi_stage_count_failed(a->stage, status);
    weir_item_end(item, WEIR_FAILED, status);
}

static void sweep(weir_timer *timer, void *user)
{
    async *a = user;
    weir_item **items = a->pending.items + a->pending.head;
    uint64_t now = weir_loop_now(weir_stage_loop(a->stage));
    uint32_t kept = 0;
    (void)timer;
    for (uint32_t i = 0; i < a->pending.n; i++) {
        weir_status status = weir_context_status(items[i]->context, now);
        if (status != WEIR_OK)
            expire(a, items[i], status);
        else
            items[kept++] = items[i];
    }
    a->pending.n = kept;
    if (a->pending.n != 0)
        weir_timer_start(weir_stage_loop(a->stage), &a->sweep, SWEEP_NS, sweep, a);
    hold_for_pending(a);
    top_up(a);
    maybe_end(a);
}

static void add_pending(async *a, weir_item *item)
{
    if (!wi_list_add(&a->pending, weir_stage_env(a->stage), item)) {
        weir_fail(a->stage, item, WEIR_ENOMEM, "no room to wait for a slot");
        return;
    }
    hold_for_pending(a);
    if (!weir_timer_is_armed(&a->sweep))
        weir_timer_start(weir_stage_loop(a->stage), &a->sweep, SWEEP_NS, sweep, a);
}

static bool may_start(const async *a)
{
    return a->free != NULL && a->running < a->limit && a->occupied < a->options.in_flight;
}

static void start_pending(weir_task *task, void *user)
{
    async *a = user;
    (void)task;
    while (a->pending.n != 0 && may_start(a)) {
        weir_item *item = wi_list_take(&a->pending);
        weir_status status = weir_context_status(item->context,
                                                 weir_loop_now(weir_stage_loop(a->stage)));
        if (status != WEIR_OK)
            expire(a, item, status);
        else
            start_one(a, item);
    }
    hold_for_pending(a);
    top_up(a);
    maybe_end(a);
    weir_stage_release(a->stage);
}

/* Not at once: whoever frees a slot or raises the limit is in a callback of the author's. */
static void start_soon(async *a)
{
    if (a->pending.n == 0 || a->start_task.queued || !may_start(a))
        return;
    weir_stage_hold(a->stage);
    weir_loop_defer(weir_stage_loop(a->stage), &a->start_task);
}

/* ---- Done ---- */

static void emit_slot(async *a, slot *s)
{
    weir_item *item = s->op.item;
    if (item != NULL) {
        if (weir_stage_outputs(a->stage) == 0)
            weir_item_ack(item);
        else
            weir_emit(weir_stage_out(a->stage), item);
    }
    slot_free(s);
}

static bool may_emit(const async *a, const slot *s)
{
    weir_stage *stage = a->stage;
    if (s->op.item == NULL || weir_stage_outputs(stage) == 0)
        return true;
    weir_out *out = weir_stage_out(stage);
    return weir_out_is_over(out) || weir_out_fits(out, s->op.item->cost);
}

static void emit_done(async *a)
{
    while (a->order_n != 0) {
        slot *s = a->order[a->order_head];
        if (s->state != SLOT_DONE || !may_emit(a, s))
            break;
        a->order_head = (a->order_head + 1) % a->room;
        a->order_n--;
        emit_slot(a, s);
    }
    while (a->done_head != NULL && may_emit(a, a->done_head)) {
        slot *s = a->done_head;
        a->done_head = s->next;
        if (a->done_head == NULL)
            a->done_tail = NULL;
        emit_slot(a, s);
    }
}

static void finish(slot *s)
{
    async *a = s->owner;
    assert(s->state == SLOT_RUNNING);
    a->running--;
    s->state = SLOT_DONE;
    wi_stage_count_duration(s->op.stage, weir_loop_now(s->op.stage->loop) - s->op.started_ns, 1, 1);
    if (a->type->ended != NULL)
        a->type->ended(&s->op, a->state);
    if (a->options.unordered) {
        s->next = NULL;
        if (a->done_tail != NULL)
            a->done_tail->next = s;
        else
            a->done_head = s;
        a->done_tail = s;
    }
    emit_done(a);
}

void weir_op_done(weir_op *op, weir_status status, const char *why)
{
    slot *s = (slot *)op;
    weir_item *item = op->item;
    assert(s->state == SLOT_RUNNING && "weir_op_done, once for an operation");
    unwatch(s);
    if (s->owner->given_up) {
        op->item = NULL;
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
    } else if (status != WEIR_OK) {
        op->item = NULL;
        weir_fail(op->stage, item, s->cancelled ? s->cancel_status : status, why);
    }
    finish(s);
}

void weir_op_done_consumed(weir_op *op)
{
    assert(((slot *)op)->state == SLOT_RUNNING && "weir_op_done, once for an operation");
    unwatch((slot *)op);
    weir_item_ack(op->item);
    op->item = NULL;
    finish((slot *)op);
}

static void done_here(weir_task *task, void *user)
{
    slot *s = user;
    (void)task;
    weir_op_done(&s->op, s->done_status, s->why);
}

void weir_op_done_from(weir_op *op, weir_status status, const char *why)
{
    slot *s = (slot *)op;
    s->done_status = status;
    s->why = why;
    s->done_task = (weir_task)WEIR_TASK(done_here, s);
    weir_post(weir_stage_loop(op->stage), &s->done_task);
}

/* ---- The stage ---- */

static async *of(void *state)
{
    return *(async **)state;
}

static weir_status async_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    async *a = of(state);
    (void)stage;
    (void)in;
    for (size_t i = 0; i < n; i++) {
        if (a->given_up) /* a retry that comes late */
            weir_item_end(items[i], WEIR_ABORTED, WEIR_ECANCELED);
        else if (a->pending.n == 0 && may_start(a))
            start_one(a, items[i]);
        else
            add_pending(a, items[i]);
    }
    top_up(a);
    return WEIR_OK;
}

static void async_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    async *a = of(state);
    (void)stage;
    (void)out;
    (void)credit;
    emit_done(a);
    top_up(a);
}

static void async_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    async *a = of(state);
    (void)stage;
    (void)in;
    a->ending = true;
    a->end_status = status;
    maybe_end(a);
}

static void abort_done(slot *s)
{
    if (s->state != SLOT_DONE || s->op.item == NULL)
        return;
    weir_item_end(s->op.item, WEIR_ABORTED, WEIR_ECANCELED);
    s->op.item = NULL;
}

static void give_up(async *a)
{
    a->given_up = true;
    wi_list_abort(&a->pending);
    hold_for_pending(a);
    weir_timer_stop(weir_stage_loop(a->stage), &a->sweep);
    for (chunk *c = a->chunks; c != NULL; c = c->next)
        for (uint32_t i = 0; i < c->n; i++)
            slot_cancel(&c->slots[i], WEIR_ECANCELED);
    for (chunk *c = a->chunks; c != NULL; c = c->next)
        for (uint32_t i = 0; i < c->n; i++)
            abort_done(&c->slots[i]);
    emit_done(a);
}

static void async_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    weir_cancel(weir_stage_in(stage));
    give_up(of(state));
}

static void async_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    give_up(of(state));
}

static void chunk_free(chunk *c, const weir_env *env)
{
    if (c == NULL)
        return;
    weir_memory_free(env, c->slots);
    weir_memory_free(env, c->works);
    weir_memory_free(env, c);
}

static void async_free(async *a, const weir_env *env)
{
    wi_list_done(&a->pending, env);
    while (a->chunks != NULL) {
        chunk *next = a->chunks->next;
        chunk_free(a->chunks, env);
        a->chunks = next;
    }
    weir_memory_free(env, a->order);
    weir_memory_free(env, a->state);
    weir_memory_free(env, a);
}

static chunk *chunk_new(async *a, uint32_t n)
{
    const weir_env *env = weir_stage_env(a->stage);
    chunk *c = weir_memory_new(env, sizeof *c);
    if (c == NULL)
        return NULL;
    c->n = n;
    c->slots = weir_memory_new(env, n * sizeof *c->slots);
    c->works = weir_memory_new(env, n * a->type->work_size);
    if (c->slots != NULL && c->works != NULL)
        return c;
    chunk_free(c, env);
    return NULL;
}

static void chunk_add(async *a, chunk *c)
{
    for (uint32_t i = c->n; i-- > 0;) {
        slot *s = &c->slots[i];
        s->owner = a;
        s->op.stage = a->stage;
        s->op.work = c->works + (size_t)i * a->type->work_size;
        s->next = a->free;
        a->free = s;
    }
    c->next = a->chunks;
    a->chunks = c;
}

/* Makes slots for `in_flight` operations; those there are stay. On an error nothing changed. */
static weir_status make_room(async *a, uint32_t in_flight)
{
    const weir_env *env = weir_stage_env(a->stage);
    if (in_flight <= a->room)
        return WEIR_OK;
    /* Twice what may wait: a full list without room behind it would be moved for each that comes.
     */
    if (wi_list_reserve(&a->pending, env, 2 * (in_flight + a->options.queue)) != WEIR_OK)
        return WEIR_ENOMEM;
    slot **order = weir_memory_new(env, in_flight * sizeof(slot *));
    chunk *c = order != NULL ? chunk_new(a, in_flight - a->room) : NULL;
    if (c == NULL) {
        weir_memory_free(env, order);
        return WEIR_ENOMEM;
    }
    for (uint32_t i = 0; i < a->order_n; i++)
        order[i] = a->order[(a->order_head + i) % a->room];
    weir_memory_free(env, a->order);
    a->order = order;
    a->order_head = 0;
    chunk_add(a, c);
    a->room = in_flight;
    return WEIR_OK;
}

static weir_status async_open(weir_stage *stage, const void *config, void *state)
{
    const async_spec *spec = config;
    const weir_env *env = weir_stage_env(stage);
    async *a = weir_memory_new(env, sizeof *a);
    if (a == NULL)
        return WEIR_ENOMEM;
    a->stage = stage;
    a->type = spec->type;
    a->options = spec->options;
    a->config = spec->config;
    a->limit = UINT32_MAX;
    stage->takes_late = true;
    a->flush_task = (weir_task)WEIR_TASK(flush, a);
    a->start_task = (weir_task)WEIR_TASK(start_pending, a);
    a->state = weir_memory_new(env, a->type->state_size);
    weir_status status = make_room(a, a->options.in_flight);
    if (a->state == NULL)
        status = WEIR_ENOMEM;
    if (status != WEIR_OK)
        goto fail_memory;
    *(async **)state = a;
    status = a->type->open != NULL ? a->type->open(stage, spec->config, a->state) : WEIR_OK;
    if (status != WEIR_OK)
        goto fail_memory;
    top_up(a);
    return WEIR_OK;
fail_memory:
    async_free(a, env);
    *(async **)state = NULL;
    return status;
}

static void async_close(weir_stage *stage, void *state)
{
    async *a = of(state);
    weir_timer_stop(weir_stage_loop(stage), &a->sweep);
    if (a->type->close != NULL)
        a->type->close(stage, a->state);
    async_free(a, weir_stage_env(stage));
}

static weir_status async_share(const void *config, const weir_env *env, uint32_t replicas,
                               void **ret_shared, const char **why)
{
    const async_spec *spec = config;
    if (spec->type->share == NULL)
        return WEIR_OK;
    /* what unshare needs to find the author's own */
    void **shared = weir_memory_new(env, 3 * sizeof *shared);
    if (shared == NULL)
        return WEIR_ENOMEM;
    weir_status status = spec->type->share(spec->config, env, replicas, &shared[0], why);
    if (status != WEIR_OK) {
        weir_memory_free(env, shared);
        return status;
    }
    shared[1] = (void *)(uintptr_t)spec->type;
    shared[2] = (void *)(uintptr_t)env;
    *ret_shared = shared;
    return WEIR_OK;
}

static void async_unshare(void *shared)
{
    void **parts = shared;
    const weir_async_type *type = parts[1];
    if (type->unshare != NULL)
        type->unshare(parts[0]);
    weir_memory_free(parts[2], parts);
}

static weir_status async_check(const void *config, const char **why)
{
    const async_spec *spec = config;
    if (spec->options.in_flight > IN_FLIGHT_MAX) {
        *why = "in_flight is at most 65536";
        return WEIR_EINVAL;
    }
    if (spec->options.queue > IN_FLIGHT_MAX) {
        *why = "queue is at most 65536";
        return WEIR_EINVAL;
    }
    return spec->type->check != NULL ? spec->type->check(spec->config, why) : WEIR_OK;
}

static weir_status async_check_ports(const void *config, uint32_t inputs, uint32_t outputs,
                                     const char **why)
{
    (void)config;
    (void)inputs;
    *why = "has one output, or none as a sink";
    return outputs <= 1 ? WEIR_OK : WEIR_EINVAL;
}

static weir_status async_merge_change(void *config, const void *change, const char **why)
{
    async_spec *spec = config;
    const weir_async_options *options = change;
    if (options->unordered != spec->options.unordered) {
        *why = "the order of what an async stage emits cannot change while it runs";
        return WEIR_EINVAL;
    }
    spec->options = *options;
    if (options->in_flight == 0)
        spec->options.in_flight = IN_FLIGHT_DEFAULT;
    return spec->type->check_options != NULL
               ? spec->type->check_options(spec->config, &spec->options, why)
               : WEIR_OK;
}

static weir_status async_on_change(weir_stage *stage, const void *config, void *state)
{
    const async_spec *spec = config;
    async *a = of(state);
    (void)stage;
    weir_status status = make_room(a, spec->options.in_flight);
    if (status != WEIR_OK)
        return status;
    a->options = spec->options;
    start_soon(a);
    top_up(a);
    return WEIR_OK;
}

static const weir_stage_type async_stage_type = {
    .name = "async",
    .config_size = sizeof(async_spec),
    .state_size = sizeof(async *),
    .outputs = WEIR_PORTS_MANY, /* none, as a sink, or one */
    .share = async_share,
    .unshare = async_unshare,
    .check = async_check,
    .check_ports = async_check_ports,
    .open = async_open,
    .close = async_close,
    .on_demand = async_on_demand,
    .on_items = async_on_items,
    .on_end = async_on_end,
    .on_cancel = async_on_cancel,
    .on_abort = async_on_abort,
    .change_size = sizeof(weir_async_options),
    .merge_change = async_merge_change,
    .on_change = async_on_change,
};

static void free_config(void *config)
{
    weir_memory_free(NULL, config);
}

weir_stage_spec *weir_async_of(const weir_async_type *type, const weir_async_options *options,
                               const void *config)
{
    async_spec s = { .type = type };
    if (options != NULL)
        s.options = *options;
    if (s.options.in_flight == 0)
        s.options.in_flight = IN_FLIGHT_DEFAULT;
    s.config = weir_memory_new(NULL, type->config_size);
    if (s.config == NULL)
        return NULL;
    if (config != NULL && type->config_size != 0)
        memcpy(s.config, config, type->config_size);
    weir_stage_spec *spec = weir_stage_of(&async_stage_type, &s);
    if (spec == NULL) {
        weir_memory_free(NULL, s.config);
        return NULL;
    }
    spec->extra = s.config;
    spec->free_extra = free_config;
    return weir_stage_named(spec, type->name);
}

/* ---- Accessors ---- */

void *weir_async_state(weir_stage *stage)
{
    return of(weir_stage_state(stage))->state;
}

const void *weir_async_config(const weir_stage *stage)
{
    return ((const async_spec *)weir_stage_config(stage))->config;
}

void *weir_async_shared(const weir_stage *stage)
{
    void **parts = weir_stage_shared(stage);
    return parts != NULL ? parts[0] : NULL;
}

uint32_t weir_async_in_flight(const weir_stage *stage)
{
    return of(weir_stage_state((weir_stage *)(uintptr_t)stage))->running;
}

uint32_t weir_async_waiting(const weir_stage *stage)
{
    return of(weir_stage_state((weir_stage *)(uintptr_t)stage))->pending.n;
}

void weir_async_limit(weir_stage *stage, uint32_t in_flight)
{
    async *a = of(weir_stage_state(stage));
    a->limit = in_flight;
    start_soon(a);
    top_up(a);
}
