/* A table of keys, each with a queue of what waits for it. */
#include "keys.h"

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>

enum { READY, IDLE, RINGS };

/* ---- The table ---- */

weir_status wi_keys_init(wi_keys *k, const weir_env *env, uint32_t keys_max, uint32_t waiting_max,
                         size_t state_bytes, void (*expired)(uint64_t key, void *state, void *user),
                         void *user)
{
    size_t align = alignof(max_align_t);
    state_bytes = (state_bytes + align - 1) / align * align;
    *k = (wi_keys){ .env = env, .expired = expired, .user = user };
    weir_status status = wi_table_init(&k->table, env, keys_max, RINGS,
                                       sizeof(wi_key) + state_bytes, 0);
    if (status != WEIR_OK)
        return status;
    k->links = weir_memory_new(env, waiting_max * sizeof *k->links);
    if (k->links == NULL) {
        wi_table_done(&k->table, env);
        return WEIR_ENOMEM;
    }
    k->free_link = WI_KEYS_NONE;
    for (uint32_t i = waiting_max; i-- > 0;) {
        k->links[i].next = k->free_link;
        k->free_link = i;
    }
    return WEIR_OK;
}

static wi_key *key_at(const wi_keys *k, uint32_t at)
{
    return at != WI_TABLE_NONE ? wi_table_at(&k->table, at) : NULL;
}

static void forget(wi_keys *k, uint32_t at)
{
    wi_key *key = key_at(k, at);
    if (k->expired != NULL)
        k->expired(key->entry.key, key->state, k->user);
    wi_table_remove(&k->table, at);
}

uint64_t wi_keys_expire(wi_keys *k, uint64_t since_ns)
{
    for (uint32_t at; (at = wi_ring_first(&k->table, IDLE)) != WI_TABLE_NONE; forget(k, at))
        if (key_at(k, at)->idle_since_ns > since_ns)
            return key_at(k, at)->idle_since_ns;
    return UINT64_MAX;
}

void wi_keys_done(wi_keys *k)
{
    assert(k->waiting == 0);
    (void)wi_keys_expire(k, UINT64_MAX);
    wi_table_done(&k->table, k->env);
    weir_memory_free(k->env, k->links);
}

wi_key *wi_keys_find(wi_keys *k, uint64_t value)
{
    uint32_t at = wi_table_find(&k->table, value), idle = wi_ring_first(&k->table, IDLE);
    if (at != WI_TABLE_NONE)
        return key_at(k, at);
    at = wi_table_add(&k->table, value);
    if (at == WI_TABLE_NONE && idle != WI_TABLE_NONE) {
        forget(k, idle);
        at = wi_table_add(&k->table, value);
    }
    if (at == WI_TABLE_NONE)
        return NULL;
    wi_key *key = key_at(k, at);
    key->index = at;
    key->first = WI_KEYS_NONE;
    wi_ring_add(&k->table, IDLE, at);
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
        wi_ring_remove(&k->table, key->index);
        wi_ring_add(&k->table, READY, key->index);
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
    wi_ring_add(&k->table, key->n != 0 ? READY : IDLE, key->index);
}

void *wi_keys_peek(const wi_keys *k)
{
    const wi_key *key = key_at(k, wi_ring_first(&k->table, READY));
    return key != NULL ? k->links[key->first].what : NULL;
}

void *wi_keys_take(wi_keys *k, bool leave_busy, wi_key **ret_key)
{
    uint32_t at = wi_ring_first(&k->table, READY);
    wi_key *key = key_at(k, at);
    if (key == NULL)
        return NULL;
    void *what = unlink_after(k, key, WI_KEYS_NONE, key->first);
    wi_ring_remove(&k->table, at);
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
            wi_ring_remove(&k->table, key->index);
            wi_keys_go_on(k, key, now_ns);
        }
        return true;
    }
    return false;
}
