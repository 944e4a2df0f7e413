/* A table of keys, each with a queue of what waits for it: fair turns among the keys that have
 * something waiting, and a list of the idle ones by age. */
#ifndef WI_KEYS_H
#define WI_KEYS_H

#include "entries.h"

#define WI_KEYS_NONE UINT32_MAX

typedef struct wi_key {
    wi_entry entry; /* on the ring of keys that are ready, or on that of idle ones; busy: on none */
    uint64_t idle_since_ns;
    uint32_t index, first, last, n;
    bool busy; /* its turn is under way: nothing of it is taken */
    _Alignas(max_align_t) char state[];
} wi_key;

typedef struct wi_key_link {
    void *what;
    uint32_t next;
} wi_key_link;

typedef struct wi_keys {
    const weir_env *env;
    wi_table table;
    wi_key_link *links;
    uint32_t free_link, waiting;
    void (*expired)(uint64_t key, void *state, void *user);
    void *user;
} wi_keys;

/* `expired` is called before a key is forgotten; optional. */
weir_status wi_keys_init(wi_keys *keys, const weir_env *env, uint32_t keys_max,
                         uint32_t waiting_max, size_t state_bytes,
                         void (*expired)(uint64_t key, void *state, void *user), void *user);
/* Forgets all; nothing may wait. */
void wi_keys_done(wi_keys *keys);
/* The entry of the key `value`, made if it is new: in place of the one idle for longest if all are
 * taken. NULL if there is none. */
wi_key *wi_keys_find(wi_keys *k, uint64_t value);
static inline bool wi_keys_is_full(const wi_keys *keys)
{
    return keys->free_link == WI_KEYS_NONE;
}
/* Needs room for one more that waits. */
void wi_keys_push(wi_keys *keys, wi_key *key, void *what);
/* The first of the key whose turn it is, or NULL; take gives it, and the turn goes on. A key that
 * is left busy is passed over until wi_keys_go_on. */
void *wi_keys_peek(const wi_keys *keys);
void *wi_keys_take(wi_keys *keys, bool leave_busy, wi_key **ret_key);
/* Its turn is over: it waits for the next, or idles from `now_ns` on. */
void wi_keys_go_on(wi_keys *keys, wi_key *key, uint64_t now_ns);
/* Takes `what` from the middle; false if it does not wait. */
bool wi_keys_remove(wi_keys *keys, wi_key *key, const void *what, uint64_t now_ns);
/* Forgets keys that are idle since before `since_ns`; gives when the next one began to idle, or
 * UINT64_MAX. */
uint64_t wi_keys_expire(wi_keys *keys, uint64_t since_ns);

#endif
