/* scatter: gives each item a turn and hands it to whichever worker has credit. */
#include "ordered.h"
#include "queue.h"

#include <assert.h>

enum { AHEAD_MAX = 256, VECTOR_MAX = 64 };

typedef struct scatter {
    wi_queue held; /* only when a worker went away after its share was asked for */
    uint32_t turn;
} scatter;

/* ---- Tickets ---- */

static void ticket_ended(void *memory, weir_outcome outcome, weir_status status)
{
    (void)outcome;
    (void)status;
    weir_item *turn_item = ((wi_ticket *)memory)->turn;
    wi_turn *turn = weir_item_body(turn_item);
    turn->is_over = true;
    if (turn->collect != NULL)
        wi_collect_over(turn->collect, turn->slot);
    weir_item_ack(turn_item);
}

const weir_ticket_type wi_ticket_type = { .name = "turn",
                                          .bytes = sizeof(wi_ticket),
                                          .ended = ticket_ended };

/* Puts tickets in the place of items[0..n), each with a turn that it holds; gives how many got one.
 */
static size_t tickets_for(weir_loop *loop, weir_item **items, size_t n)
{
    weir_item *turns[VECTOR_MAX];
    size_t made = weir_items_new(loop, NULL, sizeof(wi_turn), turns, n);
    size_t got = weir_tickets(loop, &wi_ticket_type, items, made);
    for (size_t i = 0; i < got; i++) {
        *(wi_turn *)weir_item_body(turns[i]) = (wi_turn){ .collect = NULL };
        turns[i]->cost = 0;
        ((wi_ticket *)weir_ticket_memory(items[i]))->turn = turns[i];
    }
    weir_items_ack(turns + got, made - got);
    return got;
}

/* ---- The stage ---- */

static weir_status scatter_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    return wi_queue_init(&((scatter *)state)->held, weir_stage_env(stage), AHEAD_MAX);
}

/* The next worker in turn with room, or NULL. */
static weir_out *next_worker(weir_stage *stage, scatter *s, uint32_t cost)
{
    uint32_t n = weir_stage_outputs(stage) - 1;
    for (uint32_t i = 0; i < n; i++) {
        weir_out *worker = weir_stage_out_at(stage, 1 + s->turn);
        s->turn = s->turn + 1 < n ? s->turn + 1 : 0;
        if (weir_out_fits(worker, cost))
            return worker;
    }
    return NULL;
}

/* Takes `item`, a ticket, whose turn goes first. */
static void send(weir_stage *stage, weir_out *worker, weir_item *item)
{
    weir_item *turn = ((wi_ticket *)weir_ticket_memory(item))->turn;
    weir_status status = weir_item_hold(turn); /* the second of two: it cannot fail */
    assert(status == WEIR_OK);
    (void)status;
    weir_emit(weir_stage_out(stage), turn);
    weir_emit(worker, item);
}

/* What the workers ask for; *ret_open: how many are there. */
static uint64_t demand_of_workers(weir_stage *stage, uint32_t *ret_open)
{
    uint64_t level = 0;
    *ret_open = 0;
    for (uint32_t i = 1; i < weir_stage_outputs(stage); i++) {
        const weir_out *worker = weir_stage_out_at(stage, i);
        *ret_open += !weir_out_is_over(worker);
        level = weir_credit_add(level, weir_out_credit(worker));
    }
    return level;
}

static void scatter_run(weir_stage *stage, void *state)
{
    scatter *s = state;
    weir_out *turns = weir_stage_out(stage);
    uint32_t open;
    while (s->held.n > 0 && weir_out_credit(turns) > 0) {
        weir_out *worker = next_worker(stage, s, wi_queue_first(&s->held)->cost);
        if (worker == NULL)
            break;
        send(stage, worker, wi_queue_pop(&s->held));
    }
    uint64_t level = demand_of_workers(stage, &open), out = weir_out_credit(turns);
    if (open == 0 || weir_out_is_over(turns)) {
        wi_queue_abort(&s->held);
        weir_cancel(weir_stage_in(stage));
    }
    if (weir_finish(stage, s->held.n))
        return;
    level = level < out ? level : out;
    level = level < AHEAD_MAX ? level : AHEAD_MAX;
    weir_request_to(weir_stage_in(stage), weir_credit_sub(level, s->held.n));
}

static weir_status scatter_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                    void *state)
{
    (void)in;
    scatter *s = state;
    uint32_t room = s->held.capacity - s->held.n;
    size_t got = tickets_for(weir_stage_loop(stage), items, n < room ? n : room);
    for (size_t i = 0; i < got; i++)
        wi_queue_push(&s->held, items[i]);
    for (size_t i = got; i < n; i++)
        weir_fail(stage, items[i], WEIR_ENOMEM, "no room for a turn");
    return WEIR_OK;
}

static const weir_stage_type scatter_type = {
    .name = "scatter",
    .config_size = sizeof(wi_ordered_config),
    .state_size = sizeof(scatter),
    .outputs = WEIR_PORTS_MANY,
    .open = scatter_open,
    .on_items = scatter_on_items,
    .run = scatter_run,
    WI_QUEUE_CALLBACKS,
};

weir_stage_spec *wi_scatter(const wi_ordered_config *config)
{
    return weir_stage_of(&scatter_type, config);
}
