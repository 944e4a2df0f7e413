/* skip and skip_while: drop items from the front; pure, and fuse. */
#include <weir/stages.h>

#include <string.h>

typedef struct skip_config {
    uint64_t n;
    bool (*drop)(const weir_item *item, void *user);
    void *user;
} skip_config;

typedef struct skip {
    uint64_t left;
    bool is_through;
} skip;

static weir_status skip_while_check(const void *config, const char **why)
{
    *why = "needs a function";
    return ((const skip_config *)config)->drop != NULL ? WEIR_OK : WEIR_EINVAL;
}

static weir_status skip_open(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    ((skip *)state)->left = ((const skip_config *)config)->n;
    return WEIR_OK;
}

/* Ends the first `dropped` as filtered and moves the others to the front. */
static size_t drop_first(weir_item **items, size_t n, size_t dropped)
{
    for (size_t i = 0; i < dropped; i++)
        weir_item_end(items[i], WEIR_FILTERED, WEIR_OK);
    memmove(items, items + dropped, (n - dropped) * sizeof *items);
    return n - dropped;
}

static size_t skip_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)stage;
    skip *s = state;
    if (s->left == 0)
        return n;
    size_t dropped = n < s->left ? n : (size_t)s->left;
    s->left -= dropped;
    return drop_first(items, n, dropped);
}

static size_t skip_while_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    skip *s = state;
    const skip_config *config = weir_stage_config(stage);
    size_t dropped = 0;
    while (!s->is_through && dropped < n)
        if (config->drop(items[dropped], config->user))
            dropped++;
        else
            s->is_through = true;
    return dropped > 0 ? drop_first(items, n, dropped) : n;
}

static const weir_stage_type skip_type = {
    .name = "skip",
    .config_size = sizeof(skip_config),
    .state_size = sizeof(skip),
    .open = skip_open,
    .transform = skip_transform,
};

static const weir_stage_type skip_while_type = {
    .name = "skip_while",
    .config_size = sizeof(skip_config),
    .state_size = sizeof(skip),
    .check = skip_while_check,
    .transform = skip_while_transform,
};

weir_stage_spec *weir_skip(uint64_t n)
{
    return weir_stage_of(&skip_type, &(skip_config){ .n = n });
}

weir_stage_spec *weir_skip_while(bool (*drop)(const weir_item *item, void *user), void *user)
{
    return weir_stage_of(&skip_while_type, &(skip_config){ .drop = drop, .user = user });
}
