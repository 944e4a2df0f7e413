/* scan: a running state that every item is shown to; pure, and fuses. */
#include <weir/stages.h>

#include <string.h>

enum { STATE_BYTES_MAX = 1 << 20 };

typedef struct scan {
    void *running;
} scan;

static weir_status scan_check(const void *config, const char **why)
{
    const weir_scan_config *c = config;
    *why = c->fn == NULL ? "needs a function" : "state_bytes is 1 to 1048576";
    bool is_sane = c->fn != NULL && c->state_bytes > 0 && c->state_bytes <= STATE_BYTES_MAX;
    return is_sane ? WEIR_OK : WEIR_EINVAL;
}

static weir_status scan_open(weir_stage *stage, const void *config, void *state)
{
    const weir_scan_config *c = config;
    scan *s = state;
    s->running = weir_memory_new(weir_stage_env(stage), c->state_bytes);
    if (s->running == NULL)
        return WEIR_ENOMEM;
    if (c->initial != NULL)
        memcpy(s->running, c->initial, c->state_bytes);
    return WEIR_OK;
}

static void scan_close(weir_stage *stage, void *state)
{
    weir_memory_free(weir_stage_env(stage), ((scan *)state)->running);
}

/* Gives the item with a body that may be written, or NULL if it has none: then it failed. */
static weir_item *writable(weir_stage *stage, weir_item *item)
{
    weir_status status = weir_item_writable(weir_stage_loop(stage), &item);
    if (status == WEIR_OK)
        return item;
    weir_fail(stage, item, status, "the item is shared, and cannot be cloned");
    return NULL;
}

static size_t scan_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    const weir_scan_config *config = weir_stage_config(stage);
    void *running = ((scan *)state)->running;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        weir_item *item = writable(stage, items[i]);
        if (item == NULL)
            continue;
        weir_status status = config->fn(running, item, config->user);
        if (status == WEIR_OK)
            items[kept++] = item;
        else
            weir_fail(stage, item, status, "the scan function failed");
    }
    return kept;
}

static const weir_stage_type scan_type = {
    .name = "scan",
    .config_size = sizeof(weir_scan_config),
    .state_size = sizeof(scan),
    .check = scan_check,
    .open = scan_open,
    .close = scan_close,
    .transform = scan_transform,
};

weir_stage_spec *weir_scan(const weir_scan_config *config)
{
    return weir_stage_of(&scan_type, config);
}
