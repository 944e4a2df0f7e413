/* A table of keys, each with a queue of what waits for it. */
#include "keys.h"

#include <assert.h>
#include <string.h>

/* ---- Rings ---- */

static void ring_init(wi_keys *k, uint32_t end)
{
    k->keys[end].prev = k->keys[end].next = end;
}

static void ring_add(wi_keys *k, uint32_t end, uint32_t at)
{
    wi_key *key = &k->keys[at];
    key->next = end;
    key->prev = k->keys[end].prev;
    k->keys[key->prev].next = at;
    k->keys[end].prev = at;
}

static void ring_remove(wi_keys *k, uint32_t at)
{
    const wi_key *key = &k->keys[at];
    k->keys[key->prev].next = key->next;
    k->keys[key->next].prev = key->prev;
}

static uint32_t index_of(const wi_keys *k, const wi_key *key)
{
    return (uint32_t)(key - k->keys);
}

/* ---- The table ---- */

/* The finaliser of MurmurHash3: keys may be counters. */
static uint32_t *bucket_of(const wi_keys *k, uint64_t key)
{
    key = (key ^ (key >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    key = (key ^ (key >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return &k->buckets[(key >> 32) & k->mask];
}

static void free_lists_init(wi_keys *k, uint32_t waiting_max)
{
    k->free_key = k->free_link = WI_KEYS_NONE;
    for (uint32_t i = k->keys_max; i-- > 0;) {
        k->keys[i].chain = k->free_key;
        k->free_key = i;
    }
    for (uint32_t i = waiting_max; i-- > 0;) {
        k->links[i].next = k->free_link;
        k->free_link = i;
    }
    for (uint32_t i = 0; i <= k->mask; i++)
        k->buckets[i] = WI_KEYS_NONE;
    ring_init(k, k->ready);
    ring_init(k, k->idle);
}

weir_status wi_keys_init(wi_keys *k, const weir_env *env, uint32_t keys_max, uint32_t waiting_max,
                         size_t state_bytes, void (*expired)(uint64_t key, void *state, void *user),
                         void *user)
{
    *k = (wi_keys){ .env = env,
                    .keys_max = keys_max,
                    .ready = keys_max,
                    .idle = keys_max + 1,
                    .state_bytes = state_bytes,
                    .expired = expired,
                    .user = user,
                    .mask = 1 };
    while (k->mask < keys_max)
        k->mask = k->mask * 2 + 1;
    k->keys = weir_memory_new(env, (keys_max + 2) * sizeof *k->keys);
    k->buckets = weir_memory_new(env, (k->mask + UINT64_C(1)) * sizeof *k->buckets);
    k->links = weir_memory_new(env, waiting_max * sizeof *k->links);
    k->states = weir_memory_new(env, keys_max * state_bytes + 1);
    if (k->keys == NULL || k->buckets == NULL || k->links == NULL || k->states == NULL) {
        wi_keys_done(k);
        return WEIR_ENOMEM;
    }
    free_lists_init(k, waiting_max);
    return WEIR_OK;
}

static void forget(wi_keys *k, uint32_t at)
{
    wi_key *key = &k->keys[at];
    if (k->expired != NULL)
        k->expired(key->key, wi_keys_state(k, key), k->user);
    uint32_t *link = bucket_of(k, key->key);
    while (*link != at)
        link = &k->keys[*link].chain;
    *link = key->chain;
    ring_remove(k, at);
    key->chain = k->free_key;
    k->free_key = at;
    k->n_keys--;
}

uint64_t wi_keys_expire(wi_keys *k, uint64_t since_ns)
{
    for (uint32_t at; (at = k->keys[k->idle].next) != k->idle; forget(k, at))
        if (k->keys[at].idle_since_ns > since_ns)
            return k->keys[at].idle_since_ns;
    return UINT64_MAX;
}

void wi_keys_done(wi_keys *k)
{
    if (k->keys != NULL && k->buckets != NULL && k->links != NULL && k->states != NULL) {
        assert(k->waiting == 0);
        (void)wi_keys_expire(k, UINT64_MAX);
    }
    weir_memory_free(k->env, k->keys);
    weir_memory_free(k->env, k->buckets);
    weir_memory_free(k->env, k->links);
    weir_memory_free(k->env, k->states);
    *k = (wi_keys){ 0 };
}

void *wi_keys_state(const wi_keys *k, const wi_key *key)
{
    return k->states + index_of(k, key) * k->state_bytes;
}

wi_key *wi_keys_find(wi_keys *k, uint64_t value)
{
    uint32_t *bucket = bucket_of(k, value);
    for (uint32_t at = *bucket; at != WI_KEYS_NONE; at = k->keys[at].chain)
        if (k->keys[at].key == value)
            return &k->keys[at];
    if (k->free_key == WI_KEYS_NONE && k->keys[k->idle].next != k->idle)
        forget(k, k->keys[k->idle].next);
    uint32_t at = k->free_key;
    if (at == WI_KEYS_NONE)
        return NULL;
    wi_key *key = &k->keys[at];
    k->free_key = key->chain;
    *key = (wi_key){ .key = value, .chain = *bucket, .first = WI_KEYS_NONE };
    *bucket = at;
    memset(wi_keys_state(k, key), 0, k->state_bytes);
    ring_add(k, k->idle, at);
    k->n_keys++;
    return key;
}

/* ---- What waits ---- */

void wi_keys_push(wi_keys *k, wi_key *key, void *what)
{
    uint32_t at = k->free_link;
    assert(at != WI_KEYS_NONE);
    k->free_link = k->links[at].next;
    k->links[at] = (wi_key_link){ .what = what, .next = WI_KEYS_NONE };
    k->waiting++;
    if (key->n++ != 0)
        k->links[key->last].next = at;
    else
        key->first = at;
    key->last = at;
    if (key->n == 1 && !key->busy) {
        ring_remove(k, index_of(k, key));
        ring_add(k, k->ready, index_of(k, key));
    }
}

static void *unlink_after(wi_keys *k, wi_key *key, uint32_t before, uint32_t at)
{
    if (before == WI_KEYS_NONE)
        key->first = k->links[at].next;
    else
        k->links[before].next = k->links[at].next;
    if (key->last == at)
        key->last = before;
    key->n--;
    k->waiting--;
    k->links[at].next = k->free_link;
    k->free_link = at;
    return k->links[at].what;
}

void wi_keys_go_on(wi_keys *k, wi_key *key, uint64_t now_ns)
{
    key->busy = false;
    key->idle_since_ns = now_ns;
    ring_add(k, key->n != 0 ? k->ready : k->idle, index_of(k, key));
}

void *wi_keys_peek(const wi_keys *k)
{
    uint32_t at = k->keys[k->ready].next;
    return at != k->ready ? k->links[k->keys[at].first].what : NULL;
}

void *wi_keys_take(wi_keys *k, bool leave_busy, wi_key **ret_key)
{
    uint32_t at = k->keys[k->ready].next;
    if (at == k->ready)
        return NULL;
    wi_key *key = &k->keys[at];
    void *what = unlink_after(k, key, WI_KEYS_NONE, key->first);
    ring_remove(k, at);
    *ret_key = key;
    key->busy = true;
    if (!leave_busy)
        wi_keys_go_on(k, key, 0);
    return what;
}

bool wi_keys_remove(wi_keys *k, wi_key *key, const void *what, uint64_t now_ns)
{
    uint32_t before = WI_KEYS_NONE;
    for (uint32_t at = key->first; at != WI_KEYS_NONE; before = at, at = k->links[at].next) {
        if (k->links[at].what != what)
            continue;
        (void)unlink_after(k, key, before, at);
        if (key->n == 0 && !key->busy) {
            ring_remove(k, index_of(k, key));
            wi_keys_go_on(k, key, now_ns);
        }
        return true;
    }
    return false;
}
