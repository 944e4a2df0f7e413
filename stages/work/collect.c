/* collect: calls the turns of scatter up in order, and emits their items. */
#include "ordered.h"
#include "queue.h"

typedef struct slot {
    weir_item *turn, *item;
    bool is_over;
} slot;

typedef struct collect {
    weir_stage *stage;
    slot *slots; /* a ring, in the order of the turns */
    uint32_t head, n, capacity;
    wi_queue early; /* items that came before their turns were taken in */
    bool is_over;
    weir_status status;
    weir_task task;
} collect;

static void collect_close(weir_stage *stage, void *state)
{
    collect *c = state;
    weir_memory_free(weir_stage_env(stage), c->slots);
    wi_queue_done(&c->early, weir_stage_env(stage));
}

static void run_soon(weir_task *task, void *user);

static weir_status collect_open(weir_stage *stage, const void *config, void *state)
{
    collect *c = state;
    const weir_env *env = weir_stage_env(stage);
    c->stage = stage;
    c->capacity = ((const wi_ordered_config *)config)->in_flight;
    c->task = (weir_task)WEIR_TASK(run_soon, c);
    c->slots = weir_memory_new(env, c->capacity * sizeof *c->slots);
    if (c->slots == NULL)
        return WEIR_ENOMEM;
    weir_status status = wi_queue_init(&c->early, env, c->capacity);
    if (status != WEIR_OK) {
        weir_memory_free(env, c->slots);
        return status;
    }
    for (uint32_t i = 0; i < weir_stage_inputs(stage); i++)
        weir_request_to(weir_stage_in_at(stage, i), c->capacity);
    return WEIR_OK;
}

static void pop(collect *c)
{
    slot *s = &c->slots[c->head];
    ((wi_turn *)weir_item_body(s->turn))->collect = NULL;
    weir_item_ack(s->turn);
    c->head = c->head + 1 < c->capacity ? c->head + 1 : 0;
    c->n--;
}

static void collect_run(collect *c)
{
    weir_out *out = weir_stage_out(c->stage);
    for (; c->n > 0; pop(c)) {
        slot *s = &c->slots[c->head];
        if (s->item == NULL && !s->is_over)
            break;
        if (s->item == NULL)
            continue;
        if (!weir_out_fits(out, s->item->cost))
            break;
        weir_emit(out, s->item);
    }
    if (c->is_over && c->n == 0) {
        wi_queue_abort(&c->early);
        for (uint32_t i = 0; i < weir_stage_inputs(c->stage); i++)
            weir_cancel(weir_stage_in_at(c->stage, i));
        wi_end_with(out, c->status);
    }
    for (uint32_t i = 0; i < weir_stage_inputs(c->stage); i++)
        weir_request_to(weir_stage_in_at(c->stage, i), i == 0 ? c->capacity - c->n : c->capacity);
}

static void run_soon(weir_task *task, void *user)
{
    (void)task;
    collect *c = user;
    collect_run(c);
    weir_stage_release(c->stage);
}

void wi_collect_over(void *user, uint32_t at)
{
    collect *c = user;
    c->slots[at].is_over = true;
    if (at != c->head || c->task.queued)
        return; /* it is looked at when those before it are through */
    weir_stage_hold(c->stage);
    weir_loop_defer(weir_stage_loop(c->stage), &c->task);
}

static void take_turn(collect *c, weir_item *item)
{
    wi_turn *turn = weir_item_body(item);
    turn->slot = (c->head + c->n++) % c->capacity;
    turn->collect = c;
    c->slots[turn->slot] = (slot){ .turn = item, .is_over = turn->is_over };
}

static void take_item(collect *c, weir_item *item)
{
    const wi_ticket *ticket = weir_ticket_find(item, &wi_ticket_type);
    const wi_turn *turn = ticket != NULL ? weir_item_body(ticket->turn) : NULL;
    if (turn != NULL && turn->collect == NULL && c->early.n < c->early.capacity)
        wi_queue_push(&c->early, item);
    else if (turn == NULL || turn->collect == NULL || c->slots[turn->slot].item != NULL)
        weir_fail(c->stage, item, WEIR_EINVAL, "a worker makes one item of each at most");
    else
        c->slots[turn->slot].item = item;
}

static weir_status collect_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                    void *state)
{
    (void)stage;
    collect *c = state;
    if (weir_in_index(in) == 0) {
        for (size_t i = 0; i < n; i++)
            take_turn(c, items[i]);
        for (uint32_t left = c->early.n; left > 0; left--)
            take_item(c, wi_queue_pop(&c->early));
    } else {
        for (size_t i = 0; i < n; i++)
            take_item(c, items[i]);
    }
    collect_run(c);
    return WEIR_OK;
}

static void collect_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    collect_run(state);
}

/* The end of the turns is the end; an error of a worker ends all. */
static void collect_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    collect *c = state;
    if (c->is_over || (weir_in_index(in) != 0 && status == WEIR_OK))
        return;
    c->is_over = true;
    c->status = status;
    for (uint32_t i = 0; i < weir_stage_inputs(stage) && weir_in_index(in) != 0; i++)
        weir_cancel(weir_stage_in_at(stage, i));
    collect_run(c);
}

static void collect_abort(collect *c)
{
    wi_queue_abort(&c->early);
    for (; c->n > 0; pop(c))
        if (c->slots[c->head].item != NULL)
            weir_item_end(c->slots[c->head].item, WEIR_ABORTED, WEIR_ECANCELED);
}

static void collect_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    collect_abort(state);
    for (uint32_t i = 0; i < weir_stage_inputs(stage); i++)
        weir_cancel(weir_stage_in_at(stage, i));
}

static void collect_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    collect_abort(state);
}

static const weir_stage_type collect_type = {
    .name = "collect",
    .config_size = sizeof(wi_ordered_config),
    .state_size = sizeof(collect),
    .inputs = WEIR_PORTS_MANY,
    .open = collect_open,
    .close = collect_close,
    .on_demand = collect_on_demand,
    .on_items = collect_on_items,
    .on_end = collect_on_end,
    .on_cancel = collect_on_cancel,
    .on_abort = collect_on_abort,
};

weir_stage_spec *wi_collect(const wi_ordered_config *config)
{
    return weir_stage_of(&collect_type, config);
}
