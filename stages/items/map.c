/* map and filter_map: pure one-to-one stages that change items, and fuse. */
#include <weir/stages.h>

typedef struct map_config {
    union {
        weir_status (*map)(weir_item *item, void *user);
        weir_status (*map_all)(weir_item *const *items, size_t n, void *user);
        weir_status (*filter_map)(weir_item *item, void *user, bool *ret_keep);
    } fn;
    bool is_missing;
    void *user;
} map_config;

static weir_status map_check(const void *config, const char **why)
{
    *why = "needs a function";
    return ((const map_config *)config)->is_missing ? WEIR_EINVAL : WEIR_OK;
}

/* Sees to it that the body may be written; takes the item if that fails. */
static bool is_ours_to_write(weir_stage *stage, weir_item **item)
{
    if (!weir_item_is_shared(*item))
        return true;
    weir_status status = weir_item_writable(weir_stage_loop(stage), item);
    if (status == WEIR_OK)
        return true;
    weir_fail(stage, *item, status, "the item is shared, and cannot be cloned");
    return false;
}

static size_t map_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    const map_config *config = weir_stage_config(stage);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_ours_to_write(stage, &items[i]))
            continue;
        weir_status status = config->fn.map(items[i], config->user);
        if (status == WEIR_OK)
            items[kept++] = items[i];
        else
            weir_fail(stage, items[i], status, "the map function failed");
    }
    return kept;
}

static size_t map_all_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    const map_config *config = weir_stage_config(stage);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (is_ours_to_write(stage, &items[i]))
            items[kept++] = items[i];
    weir_status status = kept > 0 ? config->fn.map_all(items, kept, config->user) : WEIR_OK;
    if (status == WEIR_OK)
        return kept;
    for (size_t i = 0; i < kept; i++)
        weir_fail(stage, items[i], status, "the map function failed");
    return 0;
}

static size_t filter_map_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    const map_config *config = weir_stage_config(stage);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_ours_to_write(stage, &items[i]))
            continue;
        bool keep = true;
        weir_status status = config->fn.filter_map(items[i], config->user, &keep);
        if (status != WEIR_OK)
            weir_fail(stage, items[i], status, "the filter_map function failed");
        else if (keep)
            items[kept++] = items[i];
        else
            weir_item_end(items[i], WEIR_FILTERED, WEIR_OK);
    }
    return kept;
}

#define MAP_TYPE(name_, transform_)                                             \
    {                                                                           \
        .name = (name_), .config_size = sizeof(map_config), .check = map_check, \
        .transform = (transform_)                                               \
    }

static const weir_stage_type map_type = MAP_TYPE("map", map_transform);
static const weir_stage_type map_all_type = MAP_TYPE("map", map_all_transform);
static const weir_stage_type filter_map_type = MAP_TYPE("filter_map", filter_map_transform);

weir_stage_spec *weir_map(weir_status (*fn)(weir_item *item, void *user), void *user)
{
    return weir_stage_of(&map_type,
                         &(map_config){ .fn.map = fn, .is_missing = fn == NULL, .user = user });
}

weir_stage_spec *weir_map_all(weir_status (*fn)(weir_item *const *items, size_t n, void *user),
                              void *user)
{
    return weir_stage_of(&map_all_type,
                         &(map_config){ .fn.map_all = fn, .is_missing = fn == NULL, .user = user });
}

weir_stage_spec *weir_filter_map(weir_status (*fn)(weir_item *item, void *user, bool *ret_keep),
                                 void *user)
{
    return weir_stage_of(
        &filter_map_type,
        &(map_config){ .fn.filter_map = fn, .is_missing = fn == NULL, .user = user });
}
