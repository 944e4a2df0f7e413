/* dedup: drops items whose key was seen before, among so many keys and for so long; pure. */
#include <weir/stages.h>

#include "entries.h"

enum { KEYS_DEFAULT = 4096, KEYS_MAX = 1 << 24, BY_AGE = 0, RINGS = 1 };

typedef struct seen {
    wi_entry entry; /* on a ring by when it was seen last */
    uint64_t passed_ns, pass;
} seen;

typedef struct dedup {
    wi_table table;
    uint64_t ttl_ns, passes;
} dedup;

static weir_status dedup_check(const void *config, const char **why)
{
    *why = "keys_max is at most 16777216";
    return ((const weir_dedup_config *)config)->keys_max <= KEYS_MAX ? WEIR_OK : WEIR_EINVAL;
}

static weir_status dedup_open(weir_stage *stage, const void *config, void *state)
{
    const weir_dedup_config *c = config;
    dedup *d = state;
    d->ttl_ns = c->ttl_ms * WEIR_MS;
    return wi_table_init(&d->table, weir_stage_env(stage),
                         c->keys_max != 0 ? c->keys_max : KEYS_DEFAULT, RINGS, sizeof(seen),
                         weir_loop_entropy(weir_stage_loop(stage)));
}

static void dedup_close(weir_stage *stage, void *state)
{
    wi_table_done(&((dedup *)state)->table, weir_stage_env(stage));
}

/* Forgets the key's pass, if no later one has taken its place. */
static void forget(dedup *d, uint64_t key, uint64_t pass)
{
    uint32_t i = wi_table_find(&d->table, key);
    if (i != WI_TABLE_NONE && ((seen *)wi_table_at(&d->table, i))->pass == pass)
        wi_table_remove(&d->table, i);
}

/* Adds a key, in the place of the one not seen for longest if there is no other. */
static uint32_t add(dedup *d, uint64_t key)
{
    uint32_t i = wi_table_add(&d->table, key);
    if (i != WI_TABLE_NONE)
        return i;
    wi_table_remove(&d->table, wi_ring_first(&d->table, BY_AGE));
    return wi_table_add(&d->table, key);
}

/* Notes the key; gives whether it was seen before. */
static bool was_seen(dedup *d, uint64_t key, uint64_t now)
{
    uint32_t i = wi_table_find(&d->table, key);
    bool is_new = i == WI_TABLE_NONE;
    if (is_new)
        i = add(d, key);
    else
        wi_ring_remove(&d->table, i);
    wi_ring_add(&d->table, BY_AGE, i);
    seen *s = wi_table_at(&d->table, i);
    bool is_over = d->ttl_ns != 0 && now - s->passed_ns >= d->ttl_ns;
    if (!is_new && !is_over)
        return true;
    s->passed_ns = now;
    s->pass = ++d->passes;
    return false;
}

/* ---- What becomes of those that passed ---- */

typedef struct pass {
    weir_stage *stage;
    uint64_t key, number;
} pass;

static void pass_ended(void *memory, weir_outcome outcome, weir_status status)
{
    (void)status;
    const pass *p = memory;
    if (outcome > WEIR_DEAD_LETTERED)
        forget(weir_stage_state(p->stage), p->key, p->number);
    weir_stage_release(p->stage);
}

static const weir_ticket_type pass_type = { .name = "dedup",
                                            .bytes = sizeof(pass),
                                            .ended = pass_ended };

/* Sees to it that the item's end is heard of; takes the item if there is no memory for that. */
static bool watch(weir_stage *stage, dedup *d, weir_item **item, uint64_t key)
{
    if (weir_tickets(weir_stage_loop(stage), &pass_type, item, 1) == 0) {
        forget(d, key, d->passes);
        weir_fail(stage, *item, WEIR_ENOMEM, "cannot watch the item");
        return false;
    }
    *(pass *)weir_ticket_memory(*item) = (pass){ stage, key, d->passes };
    weir_stage_hold(stage);
    return true;
}

static size_t dedup_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    const weir_dedup_config *config = weir_stage_config(stage);
    dedup *d = state;
    uint64_t now = weir_loop_now(weir_stage_loop(stage));
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t key = config->key != NULL ? config->key(items[i], config->user) : items[i]->key;
        if (key != 0 && was_seen(d, key, now))
            weir_item_end(items[i], WEIR_FILTERED, WEIR_OK);
        else if (key == 0 || !config->forgets_failed || watch(stage, d, &items[i], key))
            items[kept++] = items[i];
    }
    return kept;
}

static weir_status dedup_merge_change(void *config, const void *change, const char **why)
{
    weir_dedup_config *c = config;
    const weir_dedup_config *other = change;
    *why = "only ttl_ms can change while it runs";
    if (other->key != c->key || other->user != c->user || other->keys_max != c->keys_max ||
        other->forgets_failed != c->forgets_failed)
        return WEIR_EINVAL;
    c->ttl_ms = other->ttl_ms;
    return WEIR_OK;
}

static weir_status dedup_on_change(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    ((dedup *)state)->ttl_ns = ((const weir_dedup_config *)config)->ttl_ms * WEIR_MS;
    return WEIR_OK;
}

static const weir_stage_type dedup_type = {
    .name = "dedup",
    .config_size = sizeof(weir_dedup_config),
    .state_size = sizeof(dedup),
    .check = dedup_check,
    .open = dedup_open,
    .close = dedup_close,
    .transform = dedup_transform,
    .merge_change = dedup_merge_change,
    .on_change = dedup_on_change,
};

weir_stage_spec *weir_dedup(const weir_dedup_config *config)
{
    return weir_stage_of(&dedup_type, config);
}
