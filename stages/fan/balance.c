/* balance: each item to one output that has credit, taking turns. */
#include <weir/stages.h>

#include "queue.h"

typedef struct balance {
    wi_queue held; /* only when a leg went away after its share was asked for */
    uint32_t turn;
    bool is_over;
    weir_status status;
} balance;

static weir_status balance_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    return wi_queue_init(&((balance *)state)->held, weir_stage_env(stage), WEIR_BALANCE_AHEAD_MAX);
}

static void balance_close(weir_stage *stage, void *state)
{
    wi_queue_done(&((balance *)state)->held, weir_stage_env(stage));
}

/* The next leg in turn with credit, or NULL. */
static weir_out *next_leg(weir_stage *stage, balance *b)
{
    uint32_t n = weir_stage_outputs(stage);
    for (uint32_t i = 0; i < n; i++) {
        weir_out *leg = weir_stage_out_at(stage, b->turn);
        b->turn = b->turn + 1 < n ? b->turn + 1 : 0;
        if (weir_out_credit(leg) > 0)
            return leg;
    }
    return NULL;
}

static void balance_ask(weir_stage *stage, balance *b)
{
    uint64_t level = 0;
    uint32_t open = 0;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++) {
        weir_out *leg = weir_stage_out_at(stage, i);
        if (weir_out_is_over(leg))
            continue;
        open++;
        level = weir_credit_add(level, weir_out_credit(leg));
    }
    if (open == 0) {
        wi_queue_abort(&b->held);
        weir_cancel(weir_stage_in(stage));
        return;
    }
    level = level < WEIR_BALANCE_AHEAD_MAX ? level : WEIR_BALANCE_AHEAD_MAX;
    weir_request_to(weir_stage_in(stage), weir_credit_sub(level, b->held.n));
}

static void balance_run(weir_stage *stage, balance *b)
{
    for (weir_out *leg; b->held.n > 0 && (leg = next_leg(stage, b)) != NULL;)
        weir_emit(leg, wi_queue_pop(&b->held));
    if (!b->is_over)
        balance_ask(stage, b);
    else if (b->held.n == 0)
        for (uint32_t i = 0; i < weir_stage_outputs(stage); i++)
            wi_end_with(weir_stage_out_at(stage, i), b->status);
}

static weir_status balance_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                    void *state)
{
    (void)in;
    balance *b = state;
    for (size_t i = 0; i < n; i++)
        wi_queue_push(&b->held, items[i]);
    balance_run(stage, b);
    return WEIR_OK;
}

static void balance_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    balance_run(stage, state);
}

static void balance_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    balance *b = state;
    b->is_over = true;
    b->status = status;
    balance_run(stage, b);
}

static void balance_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    balance_ask(stage, state);
}

static void balance_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    wi_queue_abort(&((balance *)state)->held);
}

static const weir_stage_type balance_type = {
    .name = "balance",
    .state_size = sizeof(balance),
    .outputs = WEIR_PORTS_MANY,
    .open = balance_open,
    .close = balance_close,
    .on_demand = balance_on_demand,
    .on_items = balance_on_items,
    .on_end = balance_on_end,
    .on_cancel = balance_on_cancel,
    .on_abort = balance_on_abort,
};

weir_stage_spec *weir_balance(void)
{
    return weir_stage_of(&balance_type, NULL);
}
