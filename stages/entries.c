/* A table of entries by key, each on a ring: what stages that keep something for every key share.
 */
#include "entries.h"

#include <string.h>

static wi_entry *entry_at(const wi_table *t, uint32_t index)
{
    return wi_table_at(t, index);
}

static uint32_t *bucket_of(const wi_table *t, uint64_t key)
{
    return &t->buckets[(wi_mix(key ^ t->seed) >> 32) & t->mask];
}

weir_status wi_table_init(wi_table *t, const weir_env *env, uint32_t n_max, uint32_t rings,
                          size_t entry_bytes, uint64_t seed)
{
    *t = (wi_table){ .mask = 1, .n_max = n_max, .entry_bytes = entry_bytes, .seed = seed };
    while (t->mask < n_max)
        t->mask = t->mask * 2 + 1;
    size_t buckets_bytes = (t->mask + UINT64_C(1)) * sizeof *t->buckets;
    t->free = WI_TABLE_NONE;
    t->entries = weir_memory_new(env, (n_max + rings) * entry_bytes);
    t->buckets = weir_memory_new(env, buckets_bytes);
    if (t->entries == NULL || t->buckets == NULL) {
        wi_table_done(t, env);
        return WEIR_ENOMEM;
    }
    memset(t->buckets, 0xff, buckets_bytes);
    for (uint32_t end = n_max; end < n_max + rings; end++)
        entry_at(t, end)->prev = entry_at(t, end)->next = end;
    return WEIR_OK;
}

void wi_table_done(wi_table *t, const weir_env *env)
{
    weir_memory_free(env, t->entries);
    weir_memory_free(env, t->buckets);
    *t = (wi_table){ 0 };
}

uint32_t wi_table_find(const wi_table *t, uint64_t key)
{
    uint32_t at = *bucket_of(t, key);
    while (at != WI_TABLE_NONE && entry_at(t, at)->key != key)
        at = entry_at(t, at)->chain;
    return at;
}

uint32_t wi_table_add(wi_table *t, uint64_t key)
{
    uint32_t at = t->free, *bucket = bucket_of(t, key);
    if (at != WI_TABLE_NONE)
        t->free = entry_at(t, at)->chain;
    else if (t->used < t->n_max)
        at = t->used++;
    else
        return WI_TABLE_NONE;
    memset(wi_table_at(t, at), 0, t->entry_bytes);
    entry_at(t, at)->key = key;
    entry_at(t, at)->chain = *bucket;
    *bucket = at;
    return at;
}

void wi_table_remove(wi_table *t, uint32_t index)
{
    wi_entry *entry = entry_at(t, index);
    uint32_t *link = bucket_of(t, entry->key);
    while (*link != index)
        link = &entry_at(t, *link)->chain;
    *link = entry->chain;
    wi_ring_remove(t, index);
    entry->chain = t->free;
    t->free = index;
}
