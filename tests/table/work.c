/* Rows of <weir/stages_work.h>. */
#include "table.h"

/* Done at once, every third fails. */
static void done_at_once(weir_op *op, void *user)
{
    (void)user;
    if (stage_value(op->item) % 3 == 0)
        weir_op_done(op, WEIR_EUNAVAILABLE, "every third");
    else
        weir_op_done(op, WEIR_OK, NULL);
}

static weir_stage_spec *async_ordered(void)
{
    return weir_async(&(weir_async_fn_config){ .start = done_at_once, .in_flight = 4 });
}

static weir_stage_spec *async_unordered(void)
{
    return weir_async(
        &(weir_async_fn_config){ .start = done_at_once, .in_flight = 4, .unordered = true });
}

static void done_of_key(weir_op *op, void *key_state, void *user)
{
    (void)key_state;
    done_at_once(op, user);
}

static weir_stage_spec *async_by_key(void)
{
    return weir_async_by_key(&(weir_async_by_key_config){
        .start = done_of_key, .in_flight = 4, .waiting_max = 8, .key_bytes = 8 });
}

static weir_stage_spec *fair_queue(void)
{
    return weir_fair_queue(&(weir_fair_queue_config){ .items_max = 5 });
}

static weir_stage_spec *fair_queue_rejects(void)
{
    return weir_fair_queue(&(weir_fair_queue_config){ .items_max = 9, .of_key_max = 2 });
}

/* Done at once, every third fails. */
static void call_at_once(weir_call *call, void *user)
{
    (void)user;
    if (stage_value(call->item) % 3 == call->index)
        weir_call_done(call, WEIR_EUNAVAILABLE, "every third");
    else
        weir_call_done(call, WEIR_OK, NULL);
}

static weir_stage_spec *gather(void)
{
    return weir_gather(&(weir_gather_config){
        .calls = { { .start = call_at_once }, { .start = call_at_once } }, .in_flight = 4 });
}

static weir_stage_spec *pool(void)
{
    return weir_pool(&(weir_pool_config){ .start = done_at_once, .max = 4, .queue = 4 });
}

const stage_row stage_rows_work[] = {
    { "async_ordered", async_ordered, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "async_unordered", async_unordered, 1, 1, STAGE_DROPS },
    { "async_by_key", async_by_key, 1, 1, STAGE_DROPS | STAGE_BY_KEY },
    { "fair_queue", fair_queue, 1, 1, STAGE_PASSES | STAGE_BY_KEY },
    { "fair_queue_rejects", fair_queue_rejects, 1, 1, STAGE_DROPS | STAGE_BY_KEY },
    { "gather", gather, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "pool", pool, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { 0 },
};
