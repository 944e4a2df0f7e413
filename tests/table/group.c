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

static weir_stage_spec *buffer_drop_all(void)
{
    return weir_buffer(&(weir_buffer_config){ .items_max = 5, .overflow = WEIR_OVERFLOW_DROP_ALL });
}

/* With room for all that a test sends: once full, it stops the whole pipeline. */
static weir_stage_spec *buffer_fail(void)
{
    return weir_buffer(&(weir_buffer_config){ .items_max = 65536, .overflow = WEIR_OVERFLOW_FAIL });
}

static weir_stage_spec *window_fixed(void)
{
    return weir_window(&(weir_window_config){ .count = 4 });
}

static weir_stage_spec *window_slides(void)
{
    return weir_window(&(weir_window_config){ .count = 5, .slide = 2 });
}

static weir_stage_spec *window_hops(void)
{
    return weir_window(&(weir_window_config){ .count = 2, .slide = 5 });
}

static weir_stage_spec *window_timed(void)
{
    return weir_window(&(weir_window_config){ .every_us = 300, .count = 10 });
}

static weir_stage_spec *conflate_latest(void)
{
    return weir_conflate(NULL);
}

static weir_status add(weir_item *held, const weir_item *item, void *user)
{
    (void)user;
    if (weir_item_members(held) == NULL)
        *(uint64_t *)weir_item_body(held) += stage_value(item);
    return WEIR_OK;
}

static weir_stage_spec *conflate_combines(void)
{
    return weir_conflate(&(weir_conflate_config){ .combine = add });
}

const stage_row stage_rows_group[] = {
    { "batch", batch, 1, 1, STAGE_JOINS | STAGE_ORDERED | STAGE_TIMED },
    { "buffer_hold", buffer_hold, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "buffer_reject", buffer_reject, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "buffer_drop_oldest", buffer_drop_oldest, 1, 1, STAGE_DROPS | STAGE_ORDERED | STAGE_LOSSY },
    { "buffer_drop_newest", buffer_drop_newest, 1, 1, STAGE_DROPS | STAGE_ORDERED | STAGE_LOSSY },
    { "buffer_drop_all", buffer_drop_all, 1, 1, STAGE_DROPS | STAGE_ORDERED | STAGE_LOSSY },
    { "buffer_fail", buffer_fail, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "unbatch", weir_unbatch, 1, 1, STAGE_PASSES | STAGE_MAKES | STAGE_ORDERED },
    { "window_fixed", window_fixed, 1, 1, STAGE_JOINS | STAGE_ORDERED },
    { "window_slides", window_slides, 1, 1, STAGE_JOINS | STAGE_MAKES }, /* members come again */
    { "window_hops", window_hops, 1, 1, STAGE_JOINS | STAGE_DROPS | STAGE_ORDERED },
    { "window_timed", window_timed, 1, 1, STAGE_JOINS | STAGE_ORDERED | STAGE_TIMED },
    { "conflate_latest", conflate_latest, 1, 1, STAGE_DROPS | STAGE_ORDERED | STAGE_LOSSY },
    { "conflate_combines", conflate_combines, 1, 1, STAGE_DROPS | STAGE_ORDERED | STAGE_LOSSY },
    { 0 },
};
