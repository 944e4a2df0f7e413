/* Rows of <weir/stages_group.h>. */
#include "table.h"

static weir_stage_spec *batch(void)
{
    return weir_batch(&(weir_batch_config){ .count = 3, .wait_us = 200 });
}

static weir_stage_spec *buffer_hold(void)
{
    return weir_buffer(&(weir_buffer_config){ .items_max = 5 });
}

static weir_stage_spec *buffer_reject(void)
{
    return weir_buffer(&(weir_buffer_config){ .items_max = 5, .overflow = WEIR_OVERFLOW_REJECT });
}

static weir_stage_spec *buffer_drop_oldest(void)
{
    return weir_buffer(
        &(weir_buffer_config){ .items_max = 5, .overflow = WEIR_OVERFLOW_DROP_OLDEST });
}

static weir_stage_spec *buffer_drop_newest(void)
{
    return weir_buffer(
        &(weir_buffer_config){ .items_max = 5, .overflow = WEIR_OVERFLOW_DROP_NEWEST });
}

const stage_row stage_rows_group[] = {
    { "batch", batch, 1, 1, STAGE_JOINS | STAGE_ORDERED | STAGE_TIMED },
    { "buffer_hold", buffer_hold, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "buffer_reject", buffer_reject, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "buffer_drop_oldest", buffer_drop_oldest, 1, 1, STAGE_DROPS | STAGE_ORDERED | STAGE_LOSSY },
    { "buffer_drop_newest", buffer_drop_newest, 1, 1, STAGE_DROPS | STAGE_ORDERED | STAGE_LOSSY },
    { 0 },
};
