/* The table of all stages, put together. */
#include "table.h"

static const stage_row *const lists[] = { stage_rows_items, stage_rows_group, stage_rows_fan,
                                          stage_rows_work, stage_rows_limit };

const stage_row *stage_row_at(size_t index)
{
    for (size_t list = 0; list < sizeof lists / sizeof *lists; list++)
        for (const stage_row *row = lists[list]; row->name != NULL; row++)
            if (index-- == 0)
                return row;
    return NULL;
}

uint64_t stage_value(const weir_item *item)
{
    for (const weir_items *members; (members = weir_item_members(item)) != NULL;)
        item = members->items[0];
    return *(const uint64_t *)weir_item_body(item);
}
