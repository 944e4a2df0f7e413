/* fair_queue: holds items by key and hands them on by turns, so that no key starves another. */
#include <weir/stages.h>

#include "keys.h"

enum { ITEMS_DEFAULT = 256, ITEMS_MAX = 1048576 };

typedef struct fair {
    wi_keys keys;
    uint32_t items_max, of_key_max;
} fair;

static weir_status fair_check(const void *config, const char **why)
{
    if (((const weir_fair_queue_config *)config)->items_max <= ITEMS_MAX)
        return WEIR_OK;
    *why = "items_max is at most 1048576";
    return WEIR_EINVAL;
}

static void fair_run(weir_stage *stage, void *state)
{
    fair *f = state;
    weir_out *out = weir_stage_out(stage);
    wi_key *key;
    for (weir_item *item; (item = wi_keys_peek(&f->keys)) != NULL;) {
        if (!weir_out_fits(out, item->cost))
            break;
        weir_emit(out, wi_keys_take(&f->keys, false, &key));
    }
    if (!weir_finish(stage, f->keys.waiting))
        weir_request_to(weir_stage_in(stage), f->items_max - f->keys.waiting);
}

static weir_status fair_open(weir_stage *stage, const void *config, void *state)
{
    const weir_fair_queue_config *c = config;
    fair *f = state;
    f->items_max = c->items_max != 0 ? c->items_max : ITEMS_DEFAULT;
    f->of_key_max = c->of_key_max != 0 ? c->of_key_max : f->items_max;
    /* A key has an entry while something of it waits; one more for the item that comes. */
    return wi_keys_init(&f->keys, weir_stage_env(stage), f->items_max + 1, f->items_max, 0, NULL,
                        NULL);
}

static void fair_let_go(weir_stage *stage, void *state)
{
    (void)stage;
    wi_key *key;
    for (weir_item *item; (item = wi_keys_take(&((fair *)state)->keys, false, &key)) != NULL;)
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
}

static void fair_close(weir_stage *stage, void *state)
{
    (void)stage;
    wi_keys_done(&((fair *)state)->keys);
}

static void fair_hold(weir_stage *stage, fair *f, weir_item *item)
{
    const weir_fair_queue_config *config = weir_stage_config(stage);
    wi_key *key = wi_keys_find(&f->keys,
                               config->key != NULL ? config->key(item, config->user) : item->key);
    if (key->n < f->of_key_max)
        wi_keys_push(&f->keys, key, item);
    else
        weir_reject(stage, item, WEIR_EOVERLOAD, "too many of its key are held");
}

static weir_status fair_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                 void *state)
{
    (void)in;
    fair *f = state;
    weir_out *out = weir_stage_out(stage);
    for (size_t i = 0; i < n; i++)
        if (f->keys.waiting == 0 && weir_out_fits(out, items[i]->cost))
            weir_emit(out, items[i]);
        else
            fair_hold(stage, f, items[i]);
    return WEIR_OK;
}

static const weir_stage_type fair_type = {
    .name = "fair_queue",
    .config_size = sizeof(weir_fair_queue_config),
    .state_size = sizeof(fair),
    .check = fair_check,
    .open = fair_open,
    .close = fair_close,
    .on_items = fair_on_items,
    .run = fair_run,
    .let_go = fair_let_go,
};

weir_stage_spec *weir_fair_queue(const weir_fair_queue_config *config)
{
    return weir_stage_of(&fair_type, config);
}
