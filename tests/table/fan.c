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
    return weir_partition(NULL, NULL, 2);
}

static weir_stage_spec *broadcast_cuts(void)
{
    return weir_broadcast_with(
        &(weir_broadcast_config){ .slow_leg = WEIR_SLOW_LEG_CANCELLED, .lag_items = 4 });
}

static weir_stage_spec *tap(void)
{
    return weir_tap(NULL);
}

static uint32_t odd_or_even(const weir_item *item, void *user)
{
    (void)user;
    return stage_value(item) % 7 == 0 ? WEIR_ROUTE_NONE : (uint32_t)(stage_value(item) % 2);
}

static weir_stage_spec *route_holds(void)
{
    return weir_route(&(weir_route_config){ .output = odd_or_even });
}

static weir_stage_spec *route_misses(void)
{
    return weir_route(
        &(weir_route_config){ .output = odd_or_even, .slow_leg = WEIR_SLOW_LEG_MISSES });
}

static weir_stage_spec *merge_strict(void)
{
    return weir_merge_priority(&(weir_merge_priority_config){ .ageing_ms = 1, .ahead = 8 });
}

static weir_stage_spec *merge_weighted(void)
{
    return weir_merge_priority(&(weir_merge_priority_config){ .weights = { 3, 1 } });
}

static weir_stage_spec *interleave(void)
{
    return weir_interleave(3);
}

const stage_row stage_rows_fan[] = {
    { "broadcast_holds", broadcast_holds, 1, 2, STAGE_COPIES | STAGE_ORDERED },
    { "broadcast_misses", broadcast_misses, 1, 2, STAGE_COPIES | STAGE_ORDERED | STAGE_LOSSY },
    { "partition", partition, 1, 2, STAGE_PASSES | STAGE_ORDERED | STAGE_BY_KEY },
    { "balance", weir_balance, 1, 2, STAGE_PASSES | STAGE_ORDERED },
    { "broadcast_cuts", broadcast_cuts, 1, 2, STAGE_COPIES | STAGE_ORDERED | STAGE_ENDS },
    { "tap", tap, 1, 2, STAGE_COPIES | STAGE_ORDERED },
    { "route_holds", route_holds, 1, 2, STAGE_DROPS | STAGE_ORDERED },
    { "route_misses", route_misses, 1, 2, STAGE_DROPS | STAGE_ORDERED },
    { "merge", weir_merge, 2, 1, STAGE_PASSES | STAGE_ORDERED },
    { "merge_strict", merge_strict, 2, 1, STAGE_PASSES | STAGE_ORDERED },
    { "merge_weighted", merge_weighted, 2, 1, STAGE_PASSES | STAGE_ORDERED },
    { "interleave", interleave, 2, 1, STAGE_PASSES | STAGE_ORDERED },
    { "zip", weir_zip, 2, 1, STAGE_JOINS | STAGE_ORDERED | STAGE_ENDS },
    { "concat", weir_concat, 2, 1, STAGE_PASSES | STAGE_ORDERED },
    { 0 },
};
