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

/* Done some milliseconds later, unless it is given up before; every third fails. */
typedef struct later {
    weir_timer timer;
    void *what; /* the operation or the call */
} later;

static weir_status status_of(const weir_item *item)
{
    return stage_value(item) % 3 == 0 ? WEIR_EUNAVAILABLE : WEIR_OK;
}

static void wait_for(later *l, weir_stage *stage, void *what, const weir_item *item,
                     void (*fire)(weir_timer *timer, void *user))
{
    l->what = what;
    weir_timer_start(weir_stage_loop(stage), &l->timer, stage_value(item) % 4 * WEIR_MS, fire, l);
}

static void op_is_over(weir_timer *timer, void *user)
{
    weir_op *op = ((later *)user)->what;
    (void)timer;
    weir_op_done(op, status_of(op->item), "every third");
}

static void op_later(weir_op *op, void *user)
{
    (void)user;
    wait_for(op->work, op->stage, op, op->item, op_is_over);
}

static void op_of_key_later(weir_op *op, void *key_state, void *user)
{
    (void)key_state;
    op_later(op, user);
}

static void give_op_up(weir_op *op, weir_status status, void *user)
{
    (void)user;
    weir_timer_stop(weir_stage_loop(op->stage), &((later *)op->work)->timer);
    weir_op_done(op, status, "given up");
}

static void call_is_over(weir_timer *timer, void *user)
{
    weir_call *call = ((later *)user)->what;
    (void)timer;
    weir_call_done(call, status_of(call->item), "every third");
}

static void call_later(weir_call *call, void *user)
{
    (void)user;
    wait_for(call->work, call->stage, call, call->item, call_is_over);
}

static void give_call_up(weir_call *call, weir_status status, void *user)
{
    (void)user;
    weir_timer_stop(weir_stage_loop(call->stage), &((later *)call->work)->timer);
    weir_call_done(call, status, "given up");
}

static weir_stage_spec *async_by_key_later(void)
{
    return weir_async_by_key(&(weir_async_by_key_config){ .start = op_of_key_later,
                                                          .cancel = give_op_up,
                                                          .in_flight = 3,
                                                          .waiting_max = 3,
                                                          .timeout_ms = 50 });
}

static weir_stage_spec *gather_later(void)
{
    return weir_gather(&(weir_gather_config){
        .calls = { { .start = call_later, .cancel = give_call_up }, { .start = call_at_once } },
        .in_flight = 3,
        .unordered = true });
}

static weir_stage_spec *pool_later(void)
{
    return weir_pool(&(weir_pool_config){ .start = op_later,
                                          .cancel = give_op_up,
                                          .min = 1,
                                          .max = 3,
                                          .queue = 2,
                                          .look_ms = 1,
                                          .unordered = true });
}

/* In threads, or in what stands for them on virtual time; every third fails. */
static weir_status done_in_a_thread(weir_item *item, void *thread_state, void *user)
{
    (void)thread_state;
    (void)user;
    return status_of(item);
}

static weir_stage_spec *blocking(void)
{
    return weir_blocking(&(weir_blocking_config){ .run = done_in_a_thread, .threads = 3 });
}

static weir_stage_spec *pool_blocking(void)
{
    return weir_pool(&(weir_pool_config){ .run = done_in_a_thread,
                                          .min = 1,
                                          .max = 3,
                                          .queue = 2,
                                          .look_ms = 1,
                                          .unordered = true,
                                          .timeout_ms = 4 });
}

const stage_row stage_rows_work[] = {
    { "async_ordered", async_ordered, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "async_unordered", async_unordered, 1, 1, STAGE_DROPS },
    { "async_by_key", async_by_key, 1, 1, STAGE_DROPS | STAGE_BY_KEY },
    { "fair_queue", fair_queue, 1, 1, STAGE_PASSES | STAGE_BY_KEY },
    { "fair_queue_rejects", fair_queue_rejects, 1, 1, STAGE_DROPS | STAGE_BY_KEY },
    { "gather", gather, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "pool", pool, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "async_by_key_later", async_by_key_later, 1, 1, STAGE_DROPS | STAGE_BY_KEY | STAGE_TIMED },
    { "gather_later", gather_later, 1, 1, STAGE_DROPS | STAGE_TIMED },
    { "pool_later", pool_later, 1, 1, STAGE_DROPS | STAGE_TIMED },
    { "blocking", blocking, 1, 1, STAGE_DROPS | STAGE_ORDERED | STAGE_TIMED },
    { "pool_blocking", pool_blocking, 1, 1, STAGE_DROPS | STAGE_TIMED },
    { 0 },
};
