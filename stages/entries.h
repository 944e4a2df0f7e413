/* A table of entries by key, each on a ring: what stages that keep something for every key share.
 * Entries are told by index, which lasts until they are removed; nothing allocates after the start.
 */
#ifndef WI_ENTRIES_H
#define WI_ENTRIES_H

#include <weir/stage.h>

#define WI_TABLE_NONE UINT32_MAX

/* The first member of an entry. */
typedef struct wi_entry {
    uint64_t key;
    uint32_t chain;      /* the next of its bucket, or free */
    uint32_t prev, next; /* on its ring */
} wi_entry;

typedef struct wi_table {
    char *entries; /* n_max, and behind them the ends of the rings */
    uint32_t *buckets;
    uint32_t mask, n_max, used, free;
    size_t entry_bytes;
    uint64_t seed;
} wi_table;

/* Keys may be counters, or, with a random seed, chosen by somebody outside. */
weir_status wi_table_init(wi_table *table, const weir_env *env, uint32_t n_max, uint32_t rings,
                          size_t entry_bytes, uint64_t seed);
void wi_table_done(wi_table *table, const weir_env *env);

static inline void *wi_table_at(const wi_table *table, uint32_t index)
{
    return table->entries + index * table->entry_bytes;
}
/* WI_TABLE_NONE: it is not there. */
uint32_t wi_table_find(const wi_table *table, uint64_t key);
/* Adds a key that is not there: gives its entry, zeroed, on no ring. WI_TABLE_NONE: all are taken.
 */
uint32_t wi_table_add(wi_table *table, uint64_t key);
/* Takes it off its ring, and out of the table. */
void wi_table_remove(wi_table *table, uint32_t index);

/* Puts an entry that is on none on a ring, as the last. */
static inline void wi_ring_add(wi_table *table, uint32_t ring, uint32_t index)
{
    wi_entry *entry = wi_table_at(table, index), *end = wi_table_at(table, table->n_max + ring);
    entry->next = table->n_max + ring;
    entry->prev = end->prev;
    ((wi_entry *)wi_table_at(table, entry->prev))->next = index;
    end->prev = index;
}

static inline void wi_ring_remove(wi_table *table, uint32_t index)
{
    const wi_entry *entry = wi_table_at(table, index);
    ((wi_entry *)wi_table_at(table, entry->prev))->next = entry->next;
    ((wi_entry *)wi_table_at(table, entry->next))->prev = entry->prev;
}

/* The first of a ring, or WI_TABLE_NONE. */
static inline uint32_t wi_ring_first(const wi_table *table, uint32_t ring)
{
    uint32_t first = ((const wi_entry *)wi_table_at(table, table->n_max + ring))->next;
    return first < table->n_max ? first : WI_TABLE_NONE;
}

/* The finaliser of MurmurHash3 spreads keys that are counters evenly, the upper bits best. */
static inline uint64_t wi_mix(uint64_t key)
{
    key = (key ^ (key >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    return (key ^ (key >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
}

#endif
