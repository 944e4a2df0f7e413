/* for_each: a sink that runs a function on what comes, and acks it. */
#include <weir/stages.h>

typedef struct for_each_config {
    weir_status (*fn)(weir_item *item, void *user);
    weir_status (*fn_all)(weir_item *const *items, size_t n, void *user);
    void *user;
} for_each_config;

static const char failed_why[] = "the for_each function failed";

static weir_status for_each_check(const void *config, const char **why)
{
    const for_each_config *c = config;
    if (c->fn != NULL || c->fn_all != NULL)
        return WEIR_OK;
    *why = "needs a function";
    return WEIR_EINVAL;
}

static weir_status for_each_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    return weir_request(weir_stage_in(stage), WEIR_UNBOUNDED);
}

static weir_status for_each_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                     void *state)
{
    (void)in;
    (void)state;
    const for_each_config *config = weir_stage_config(stage);
    size_t done = 0;
    for (size_t i = 0; i < n; i++) {
        weir_status status = config->fn(items[i], config->user);
        if (status == WEIR_OK)
            items[done++] = items[i];
        else
            weir_fail(stage, items[i], status, failed_why);
    }
    weir_items_ack(items, done);
    return WEIR_OK;
}

static weir_status for_each_on_all(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                   void *state)
{
    (void)in;
    (void)state;
    const for_each_config *config = weir_stage_config(stage);
    weir_status status = config->fn_all(items, n, config->user);
    if (status == WEIR_OK) {
        weir_items_ack(items, n);
        return WEIR_OK;
    }
    for (size_t i = 0; i < n; i++)
        weir_fail(stage, items[i], status, failed_why);
    return WEIR_OK;
}

static const weir_stage_type for_each_type = {
    .name = "for_each",
    .config_size = sizeof(for_each_config),
    .outputs = WEIR_PORTS_NONE,
    .check = for_each_check,
    .open = for_each_open,
    .on_items = for_each_on_items,
};

static const weir_stage_type for_each_all_type = {
    .name = "for_each",
    .config_size = sizeof(for_each_config),
    .outputs = WEIR_PORTS_NONE,
    .check = for_each_check,
    .open = for_each_open,
    .on_items = for_each_on_all,
};

weir_stage_spec *weir_for_each(weir_status (*fn)(weir_item *item, void *user), void *user)
{
    return weir_stage_of(&for_each_type, &(for_each_config){ .fn = fn, .user = user });
}

weir_stage_spec *weir_for_each_all(weir_status (*fn)(weir_item *const *items, size_t n, void *user),
                                   void *user)
{
    return weir_stage_of(&for_each_all_type, &(for_each_config){ .fn_all = fn, .user = user });
}
