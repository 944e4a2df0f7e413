/* balance: each item to one output that has credit, taking turns. */
#include <weir/stages.h>

#include "queue.h"

typedef struct balance {
    wi_queue held; /* only when a leg went away after its share was asked for */
    uint32_t turn;
} balance;

static weir_status balance_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    return wi_queue_init(&((balance *)state)->held, weir_stage_env(stage), WEIR_BALANCE_AHEAD_MAX);
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

static void balance_run(weir_stage *stage, void *state)
{
    balance *b = state;
    uint64_t level = 0;
    for (weir_out *leg; b->held.n > 0 && (leg = next_leg(stage, b)) != NULL;)
        weir_emit(leg, wi_queue_pop(&b->held));
    if (weir_finish(stage, b->held.n))
        return;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++)
        level = weir_credit_add(level, weir_out_credit(weir_stage_out_at(stage, i)));
    level = level < WEIR_BALANCE_AHEAD_MAX ? level : WEIR_BALANCE_AHEAD_MAX;
    weir_request_to(weir_stage_in(stage), weir_credit_sub(level, b->held.n));
}

static const weir_stage_type balance_type = {
    .name = "balance",
    .state_size = sizeof(balance),
    .outputs = WEIR_PORTS_MANY,
    .open = balance_open,
    .on_items = wi_queue_on_items,
    .run = balance_run,
    WI_QUEUE_CALLBACKS,
};

weir_stage_spec *weir_balance(void)
{
    return weir_stage_of(&balance_type, NULL);
}
