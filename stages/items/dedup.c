/* dedup: drops items whose key was seen before, among so many keys and for so long; pure. */
#include <weir/stages.h>

enum { KEYS_DEFAULT = 4096, KEYS_MAX = 1 << 24, NONE = UINT32_MAX };

typedef struct entry {
    uint64_t key; /* 0: forgotten, and in no bucket */
    uint64_t passed_ns, pass;
    uint32_t chain;        /* the next with the same bucket */
    uint32_t newer, older; /* by when they were seen last */
} entry;

typedef struct dedup {
    entry *entries;
    uint32_t *buckets; /* a power of two of them, behind the entries */
    uint32_t n, n_max, mask, newest, oldest;
    uint64_t ttl_ns, seed, passes;
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
    d->n_max = c->keys_max != 0 ? c->keys_max : KEYS_DEFAULT;
    d->ttl_ns = c->ttl_ms * WEIR_MS;
    d->seed = weir_loop_entropy(weir_stage_loop(stage));
    for (d->mask = 1; d->mask < d->n_max; d->mask *= 2)
        ;
    size_t entries_bytes = d->n_max * sizeof *d->entries;
    d->entries = weir_memory_new(weir_stage_env(stage),
                                 entries_bytes + d->mask * sizeof *d->buckets);
    if (d->entries == NULL)
        return WEIR_ENOMEM;
    d->buckets = (uint32_t *)(void *)(d->entries + d->n_max);
    for (uint32_t i = 0; i < d->mask; i++)
        d->buckets[i] = NONE;
    d->mask--;
    d->newest = d->oldest = NONE;
    return WEIR_OK;
}

static void dedup_close(weir_stage *stage, void *state)
{
    weir_memory_free(weir_stage_env(stage), ((dedup *)state)->entries);
}

/* The finaliser of MurmurHash3, seeded, so that nobody outside can choose keys for one bucket. */
static uint32_t *bucket_of(const dedup *d, uint64_t key)
{
    key ^= d->seed;
    key = (key ^ (key >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    key = (key ^ (key >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return &d->buckets[(uint32_t)(key >> 32) & d->mask];
}

static void unlink_age(dedup *d, uint32_t i)
{
    const entry *e = &d->entries[i];
    *(e->newer != NONE ? &d->entries[e->newer].older : &d->newest) = e->older;
    *(e->older != NONE ? &d->entries[e->older].newer : &d->oldest) = e->newer;
}

static void link_newest(dedup *d, uint32_t i)
{
    d->entries[i].newer = NONE;
    d->entries[i].older = d->newest;
    *(d->newest != NONE ? &d->entries[d->newest].newer : &d->oldest) = i;
    d->newest = i;
}

static void unlink_bucket(dedup *d, uint32_t i)
{
    uint32_t *link = bucket_of(d, d->entries[i].key);
    while (*link != i)
        link = &d->entries[*link].chain;
    *link = d->entries[i].chain;
}

static uint32_t find(const dedup *d, uint64_t key)
{
    uint32_t i = *bucket_of(d, key);
    while (i != NONE && d->entries[i].key != key)
        i = d->entries[i].chain;
    return i;
}

/* An entry for a new key: one never used, or that of the key not seen for longest. */
static uint32_t take_entry(dedup *d)
{
    if (d->n < d->n_max)
        return d->n++;
    uint32_t i = d->oldest;
    if (d->entries[i].key != 0)
        unlink_bucket(d, i);
    unlink_age(d, i);
    return i;
}

/* Forgets the key's pass, if no later one has taken its place. */
static void forget(dedup *d, uint64_t key, uint64_t pass)
{
    uint32_t i = find(d, key);
    if (i == NONE || d->entries[i].pass != pass)
        return;
    unlink_bucket(d, i);
    unlink_age(d, i);
    d->entries[i] = (entry){ .newer = d->oldest, .older = NONE };
    *(d->oldest != NONE ? &d->entries[d->oldest].older : &d->newest) = i;
    d->oldest = i;
}

/* Notes the key; gives whether it was seen before. */
static bool was_seen(dedup *d, uint64_t key, uint64_t now)
{
    uint32_t i = find(d, key);
    bool is_new = i == NONE;
    if (is_new) {
        i = take_entry(d);
        uint32_t *bucket = bucket_of(d, key);
        d->entries[i] = (entry){ .key = key, .chain = *bucket };
        *bucket = i;
    } else {
        unlink_age(d, i);
    }
    link_newest(d, i);
    bool is_over = d->ttl_ns != 0 && now - d->entries[i].passed_ns >= d->ttl_ns;
    if (!is_new && !is_over)
        return true;
    d->entries[i].passed_ns = now;
    d->entries[i].pass = ++d->passes;
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
