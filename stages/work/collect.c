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
    wi_queue early;     /* items that came before their turns were taken in */
    weir_status status; /* the error of a worker, while there are turns to come: it ends all */
} collect;

static weir_status collect_open(weir_stage *stage, const void *config, void *state)
{
    collect *c = state;
    const weir_env *env = weir_stage_env(stage);
    c->stage = stage;
    c->capacity = ((const wi_ordered_config *)config)->in_flight;
    c->slots = weir_memory_new(env, c->capacity * sizeof *c->slots);
    if (c->slots == NULL)
        return WEIR_ENOMEM;
    weir_status status = wi_queue_init(&c->early, env, c->capacity);
    if (status != WEIR_OK)
        weir_memory_free(env, c->slots);
    return status;
}

static void pop(collect *c)
{
    slot *s = &c->slots[c->head];
    ((wi_turn *)weir_item_body(s->turn))->collect = NULL;
    weir_item_ack(s->turn);
    c->head = c->head + 1 < c->capacity ? c->head + 1 : 0;
    c->n--;
}

/* The end of the turns is the end, once all are through. */
static void collect_run(weir_stage *stage, void *state)
{
    collect *c = state;
    weir_out *out = weir_stage_out(stage);
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
    weir_in *turns = weir_stage_in(stage);
    weir_request_to(turns, c->capacity - c->n);
    for (uint32_t i = 1; i < weir_stage_inputs(stage); i++) {
        weir_in *worker = weir_stage_in_at(stage, i);
        weir_request_to(worker, c->capacity);
        if (c->status == WEIR_OK && !weir_in_is_over(turns))
            c->status = weir_in_status(worker);
    }
    if (c->status != WEIR_OK || (weir_in_is_over(turns) && c->n == 0))
        wi_cancel_inputs(stage);
    if (!weir_in_is_over(turns) || c->n != 0)
        return;
    wi_queue_abort(&c->early);
    weir_end_error(out, c->status != WEIR_OK ? c->status : weir_in_status(turns));
}

void wi_collect_over(void *user, uint32_t at)
{
    collect *c = user;
    c->slots[at].is_over = true;
    if (at == c->head) /* else it is looked at when those before it are through */
        weir_stage_wake(c->stage);
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
    return WEIR_OK;
}

static void collect_let_go(weir_stage *stage, void *state)
{
    (void)stage;
    collect *c = state;
    wi_queue_abort(&c->early);
    for (; c->n > 0; pop(c))
        wi_abort_items(&c->slots[c->head].item, c->slots[c->head].item != NULL);
}

static void collect_close(weir_stage *stage, void *state)
{
    collect *c = state;
    weir_memory_free(weir_stage_env(stage), c->slots);
    wi_queue_done(&c->early, weir_stage_env(stage));
}

static const weir_stage_type collect_type = {
    .name = "collect",
    .config_size = sizeof(wi_ordered_config),
    .state_size = sizeof(collect),
    .inputs = WEIR_PORTS_MANY,
    .open = collect_open,
    .close = collect_close,
    .on_items = collect_on_items,
    .run = collect_run,
    .let_go = collect_let_go,
};

weir_stage_spec *wi_collect(const wi_ordered_config *config)
{
    return weir_stage_of(&collect_type, config);
}
