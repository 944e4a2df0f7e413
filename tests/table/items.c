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

static weir_status two_at_once(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                               weir_item **ret_made, size_t n, size_t *ret_n)
{
    weir_status status = WEIR_OK;
    for (weir_item *made = NULL; status == WEIR_OK && *ret_n < n; made = NULL) {
        status = two_of_each(loop, item, index + (uint32_t)*ret_n, user, &made);
        if (made == NULL)
            break;
        ret_made[(*ret_n)++] = made;
    }
    return status;
}

static weir_status drop_third(weir_item *item, void *user, bool *ret_keep)
{
    *ret_keep = stage_value(item) % 3 != 0;
    return add_one(item, user);
}

static weir_status number(void *running, weir_item *item, void *user)
{
    (void)item;
    (void)user;
    ++*(uint64_t *)running;
    return WEIR_OK;
}

static bool is_small(const weir_item *item, void *user)
{
    (void)user;
    return stage_value(item) < 30;
}

static uint64_t modulo_fifty(const weir_item *item, void *user)
{
    (void)user;
    return 1 + stage_value(item) % 50;
}

static weir_status count_to_forty(weir_loop *loop, uint64_t index, void *user, weir_item **ret_made)
{
    (void)user;
    if (index == 40)
        return WEIR_OK;
    weir_item *made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(made) = index;
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

static void not_sevenths(const weir_item *const *items, size_t n, bool *ret_keep, void *user)
{
    for (size_t i = 0; i < n; i++)
        ret_keep[i] = not_seventh(items[i], user);
}

static weir_stage_spec *filter_all(void)
{
    return weir_filter_all(not_sevenths, NULL);
}

static void look_at_all(const weir_item *const *items, size_t n, void *user)
{
    for (size_t i = 0; i < n; i++)
        look(items[i], user);
}

static weir_stage_spec *observe_all(void)
{
    return weir_observe_all(look_at_all, NULL);
}

static weir_stage_spec *for_each_all(void)
{
    return weir_for_each_all(nothing, NULL);
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

static weir_stage_spec *filter_map(void)
{
    return weir_filter_map(drop_third, NULL);
}

static weir_stage_spec *skip(void)
{
    return weir_skip(5);
}

static weir_stage_spec *skip_while(void)
{
    return weir_skip_while(is_small, NULL);
}

static weir_stage_spec *scan(void)
{
    return weir_scan(&(weir_scan_config){ .fn = number, .state_bytes = sizeof(uint64_t) });
}

static weir_stage_spec *dedup(void)
{
    return weir_dedup(&(weir_dedup_config){ .key = modulo_fifty, .keys_max = 20, .ttl_ms = 5 });
}

static weir_stage_spec *dedup_forgets(void)
{
    return weir_dedup(
        &(weir_dedup_config){ .key = modulo_fifty, .keys_max = 20, .forgets_failed = true });
}

static weir_stage_spec *flat_map_all(void)
{
    return weir_flat_map_with(
        &(weir_flat_map_config){ .next_all = two_at_once, .ahead = 3, .prefetch = 4 });
}

static weir_stage_spec *take_while(void)
{
    return weir_take_while(is_small, NULL);
}

static weir_stage_spec *take_while_inclusive(void)
{
    return weir_take_while_inclusive(is_small, NULL);
}

static weir_stage_spec *expand(void)
{
    return weir_expand(&(weir_expand_config){ .made_max = 3 });
}

static weir_stage_spec *generate(void)
{
    return weir_generate(count_to_forty, NULL);
}

static weir_stage_spec *range(void)
{
    return weir_range(1, 40);
}

static weir_stage_spec *tick(void)
{
    return weir_tick(
        &(weir_tick_config){ .interval_us = 100, .delay_us = 50, .limit = 40, .coalesce = true });
}

const stage_row stage_rows_items[] = {
    { "map", map, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "map_all", map_all, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "filter", filter, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "filter_all", filter_all, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "filter_map", filter_map, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "skip", skip, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "skip_while", skip_while, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "scan", scan, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "dedup", dedup, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "dedup_forgets", dedup_forgets, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "observe", observe, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "observe_all", observe_all, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "flat_map", flat_map, 1, 1, STAGE_DROPS | STAGE_MAKES | STAGE_ORDERED },
    { "flat_map_all", flat_map_all, 1, 1, STAGE_DROPS | STAGE_MAKES | STAGE_ORDERED },
    { "take_while", take_while, 1, 1, STAGE_DROPS | STAGE_ORDERED | STAGE_ENDS },
    { "take_while_inclusive", take_while_inclusive, 1, 1,
      STAGE_PASSES | STAGE_ORDERED | STAGE_ENDS },
    { "expand", expand, 1, 1, STAGE_PASSES | STAGE_MAKES }, /* a joined item's members come again */
    { "generate", generate, 0, 1, STAGE_INVENTS | STAGE_ORDERED | STAGE_ENDS },
    { "range", range, 0, 1, STAGE_INVENTS | STAGE_ORDERED | STAGE_ENDS },
    { "tick", tick, 0, 1, STAGE_INVENTS | STAGE_ORDERED | STAGE_TIMED | STAGE_ENDS },
    { "take", take, 1, 1, STAGE_PASSES | STAGE_ORDERED | STAGE_ENDS },
    { "for_each", for_each, 1, 0, STAGE_PASSES | STAGE_ORDERED },
    { "for_each_all", for_each_all, 1, 0, STAGE_PASSES | STAGE_ORDERED },
    { 0 },
};
