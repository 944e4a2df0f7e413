/* filter and observe: pure one-to-one stages that look at items, and fuse. */
#include <weir/stages.h>

enum { VECTOR_MAX = 64 };

typedef const weir_item *const *seen_items;

typedef struct filter_config {
    union {
        bool (*keep)(const weir_item *item, void *user);
        void (*keep_all)(seen_items items, size_t n, bool *ret_keep, void *user);
        void (*look)(const weir_item *item, void *user);
        void (*look_all)(seen_items items, size_t n, void *user);
    } fn;
    bool is_missing;
    void *user;
} filter_config;

static weir_status filter_check(const void *config, const char **why)
{
    *why = "needs a function";
    return ((const filter_config *)config)->is_missing ? WEIR_EINVAL : WEIR_OK;
}

static size_t filter_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    const filter_config *config = weir_stage_config(stage);
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
    const filter_config *config = weir_stage_config(stage);
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

static size_t observe_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    const filter_config *config = weir_stage_config(stage);
    for (size_t i = 0; i < n; i++)
        config->fn.look(items[i], config->user);
    return n;
}

static size_t observe_all_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    const filter_config *config = weir_stage_config(stage);
    config->fn.look_all((seen_items)items, n, config->user);
    return n;
}

#define FILTER_TYPE(name_, transform_)                                                \
    {                                                                                 \
        .name = (name_), .config_size = sizeof(filter_config), .check = filter_check, \
        .transform = (transform_)                                                     \
    }

static const weir_stage_type filter_type = FILTER_TYPE("filter", filter_transform);
static const weir_stage_type filter_all_type = FILTER_TYPE("filter", filter_all_transform);
static const weir_stage_type observe_type = FILTER_TYPE("observe", observe_transform);
static const weir_stage_type observe_all_type = FILTER_TYPE("observe", observe_all_transform);

weir_stage_spec *weir_filter(bool (*keep)(const weir_item *item, void *user), void *user)
{
    return weir_stage_of(
        &filter_type,
        &(filter_config){ .fn.keep = keep, .is_missing = keep == NULL, .user = user });
}

weir_stage_spec *weir_filter_all(void (*keep)(const weir_item *const *items, size_t n,
                                              bool *ret_keep, void *user),
                                 void *user)
{
    return weir_stage_of(
        &filter_all_type,
        &(filter_config){ .fn.keep_all = keep, .is_missing = keep == NULL, .user = user });
}

weir_stage_spec *weir_observe(void (*look)(const weir_item *item, void *user), void *user)
{
    return weir_stage_of(
        &observe_type,
        &(filter_config){ .fn.look = look, .is_missing = look == NULL, .user = user });
}

weir_stage_spec *weir_observe_all(void (*look)(const weir_item *const *items, size_t n, void *user),
                                  void *user)
{
    return weir_stage_of(
        &observe_all_type,
        &(filter_config){ .fn.look_all = look, .is_missing = look == NULL, .user = user });
}
