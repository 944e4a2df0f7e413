/* Rows of <weir/stages_fan.h>. */
#include "table.h"

static weir_stage_spec *broadcast_holds(void)
{
    return weir_broadcast(WEIR_SLOW_LEG_HOLDS);
}

static weir_stage_spec *broadcast_misses(void)
{
    return weir_broadcast(WEIR_SLOW_LEG_MISSES);
}

static weir_stage_spec *partition(void)
{
    return weir_partition(NULL, 2);
}

const stage_row stage_rows_fan[] = {
    { "broadcast_holds", broadcast_holds, 1, 2, STAGE_COPIES | STAGE_ORDERED },
    { "broadcast_misses", broadcast_misses, 1, 2, STAGE_COPIES | STAGE_ORDERED | STAGE_LOSSY },
    { "partition", partition, 1, 2, STAGE_PASSES | STAGE_ORDERED | STAGE_BY_KEY },
    { "balance", weir_balance, 1, 2, STAGE_PASSES | STAGE_ORDERED },
    { "merge", weir_merge, 2, 1, STAGE_PASSES | STAGE_ORDERED },
    { 0 },
};
