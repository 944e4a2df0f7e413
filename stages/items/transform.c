/* map, filter and observe: the pure one-to-one stages, which fuse. */
#include <weir/stages.h>

#include <string.h>

enum { VECTOR_MAX = 64 };

typedef const weir_item *const *seen_items;

typedef struct transform_config {
    union {
        weir_status (*map)(weir_item *item, void *user);
        weir_status (*map_all)(weir_item *const *items, size_t n, void *user);
        bool (*keep)(const weir_item *item, void *user);
        void (*keep_all)(seen_items items, size_t n, bool *ret_keep, void *user);
        void (*look)(const weir_item *item, void *user);
        void (*look_all)(seen_items items, size_t n, void *user);
    } fn;
    bool is_missing;
    void *user;
} transform_config;

static weir_status transform_check(const void *config, const char **why)
{
    if (!((const transform_config *)config)->is_missing)
        return WEIR_OK;
    *why = "needs a function";
    return WEIR_EINVAL;
}

/* ---- map ---- */

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
    const transform_config *config = weir_stage_config(stage);
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
    const transform_config *config = weir_stage_config(stage);
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

/* ---- filter ---- */

static size_t filter_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    const transform_config *config = weir_stage_config(stage);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (config->fn.keep(items[i], config->user))
            items[kept++] = items[i];
        else
            weir_item_end(items[i], WEIR_FILTERED, WEIR_OK);
    return kept;
}

static size_t filter_all_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    const transform_config *config = weir_stage_config(stage);
    size_t kept = 0;
    for (size_t from = 0; from < n; from += VECTOR_MAX) {
        bool keep[VECTOR_MAX] = { false };
        size_t part = n - from < VECTOR_MAX ? n - from : VECTOR_MAX;
        config->fn.keep_all((seen_items)(items + from), part, keep, config->user);
        for (size_t i = 0; i < part; i++)
            if (keep[i])
                items[kept++] = items[from + i];
            else
                weir_item_end(items[from + i], WEIR_FILTERED, WEIR_OK);
    }
    return kept;
}

/* ---- observe ---- */

static size_t observe_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    const transform_config *config = weir_stage_config(stage);
    for (size_t i = 0; i < n; i++)
        config->fn.look(items[i], config->user);
    return n;
}

static size_t observe_all_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    const transform_config *config = weir_stage_config(stage);
    config->fn.look_all((seen_items)items, n, config->user);
    return n;
}

/* ---- Factories ---- */

#define TRANSFORM_TYPE(name_, transform_)                                                   \
    {                                                                                       \
        .name = (name_), .config_size = sizeof(transform_config), .check = transform_check, \
        .transform = (transform_)                                                           \
    }

static const weir_stage_type map_type = TRANSFORM_TYPE("map", map_transform);
static const weir_stage_type map_all_type = TRANSFORM_TYPE("map", map_all_transform);
static const weir_stage_type filter_type = TRANSFORM_TYPE("filter", filter_transform);
static const weir_stage_type filter_all_type = TRANSFORM_TYPE("filter", filter_all_transform);
static const weir_stage_type observe_type = TRANSFORM_TYPE("observe", observe_transform);
static const weir_stage_type observe_all_type = TRANSFORM_TYPE("observe", observe_all_transform);

weir_stage_spec *weir_map(weir_status (*fn)(weir_item *item, void *user), void *user)
{
    return weir_stage_of(
        &map_type, &(transform_config){ .fn.map = fn, .is_missing = fn == NULL, .user = user });
}

weir_stage_spec *weir_map_all(weir_status (*fn)(weir_item *const *items, size_t n, void *user),
                              void *user)
{
    return weir_stage_of(
        &map_all_type,
        &(transform_config){ .fn.map_all = fn, .is_missing = fn == NULL, .user = user });
}

weir_stage_spec *weir_filter(bool (*keep)(const weir_item *item, void *user), void *user)
{
    return weir_stage_of(
        &filter_type,
        &(transform_config){ .fn.keep = keep, .is_missing = keep == NULL, .user = user });
}

weir_stage_spec *weir_filter_all(void (*keep)(const weir_item *const *items, size_t n,
                                              bool *ret_keep, void *user),
                                 void *user)
{
    return weir_stage_of(
        &filter_all_type,
        &(transform_config){ .fn.keep_all = keep, .is_missing = keep == NULL, .user = user });
}

weir_stage_spec *weir_observe(void (*look)(const weir_item *item, void *user), void *user)
{
    return weir_stage_of(
        &observe_type,
        &(transform_config){ .fn.look = look, .is_missing = look == NULL, .user = user });
}

weir_stage_spec *weir_observe_all(void (*look)(const weir_item *const *items, size_t n, void *user),
                                  void *user)
{
    return weir_stage_of(
        &observe_all_type,
        &(transform_config){ .fn.look_all = look, .is_missing = look == NULL, .user = user });
}
