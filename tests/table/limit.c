/* Rows of <weir/stages_limit.h>. */
#include "table.h"

static weir_stage_spec *rate_limit_shapes(void)
{
    return weir_rate_limit(&(weir_rate_limit_config){ .rate = 100000, .burst = 8 });
}

static weir_stage_spec *rate_limit_enforces(void)
{
    return weir_rate_limit(
        &(weir_rate_limit_config){ .rate = 100000, .burst = 8, .enforce = true });
}

const stage_row stage_rows_limit[] = {
    { "rate_limit_shapes", rate_limit_shapes, 1, 1, STAGE_PASSES | STAGE_ORDERED | STAGE_TIMED },
    { "rate_limit_enforces", rate_limit_enforces, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { 0 },
};
