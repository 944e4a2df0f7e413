/* Rows of <weir/stages_items.h>. */
#include "table.h"

static weir_status add_one(weir_item *item, void *user)
{
    (void)user;
    if (weir_item_members(item) == NULL)
        *(uint64_t *)weir_item_body(item) += 1;
    return WEIR_OK;
}

static weir_status nothing(weir_item *const *items, size_t n, void *user)
{
    (void)items;
    (void)n;
    (void)user;
    return WEIR_OK;
}

static bool not_seventh(const weir_item *item, void *user)
{
    (void)user;
    return stage_value(item) % 7 != 0;
}

static void look(const weir_item *item, void *user)
{
    (void)item;
    (void)user;
}

/* Two of each, but none of every fifth. */
static weir_status two_of_each(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                               weir_item **ret_made)
{
    (void)user;
    if (index == 2 || stage_value(item) % 5 == 0)
        return WEIR_OK;
    weir_item *made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(made) = stage_value(item) * 2 + index;
    *ret_made = made;
    return WEIR_OK;
}

static weir_stage_spec *map(void)
{
    return weir_map(add_one, NULL);
}

static weir_stage_spec *map_all(void)
{
    return weir_map_all(nothing, NULL);
}

static weir_stage_spec *filter(void)
{
    return weir_filter(not_seventh, NULL);
}

static weir_stage_spec *observe(void)
{
    return weir_observe(look, NULL);
}

static weir_stage_spec *flat_map(void)
{
    return weir_flat_map(two_of_each, NULL);
}

static weir_stage_spec *take(void)
{
    return weir_take(40);
}

static weir_stage_spec *for_each(void)
{
    return weir_for_each(add_one, NULL);
}

const stage_row stage_rows_items[] = {
    { "map", map, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "map_all", map_all, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "filter", filter, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "observe", observe, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "flat_map", flat_map, 1, 1, STAGE_DROPS | STAGE_MAKES | STAGE_ORDERED },
    { "take", take, 1, 1, STAGE_PASSES | STAGE_ORDERED | STAGE_ENDS },
    { "for_each", for_each, 1, 0, STAGE_PASSES | STAGE_ORDERED },
    { 0 },
};
