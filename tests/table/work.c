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

const stage_row stage_rows_work[] = {
    { "async_ordered", async_ordered, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "async_unordered", async_unordered, 1, 1, STAGE_DROPS },
    { 0 },
};
