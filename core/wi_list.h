/* Lists of held items that do not link through the items: one that several branches hold may wait
 * in a list of each. */
#ifndef WI_LIST_H
#define WI_LIST_H

#include <weir/item.h>

typedef struct wi_list {
    weir_item **items; /* room for `room`; those in the list begin at `head` */
    uint32_t head, n, room;
} wi_list;

/* Makes room for `n` items in all. On an error nothing changed. */
weir_status wi_list_reserve(wi_list *list, const weir_env *env, uint32_t n);
void wi_list_done(wi_list *list, const weir_env *env);
/* Adds at the end, growing if need be. False for want of memory: the item is still the caller's. */
bool wi_list_add(wi_list *list, const weir_env *env, weir_item *item);
/* Takes the first, or the first of that key; NULL if there is none. */
weir_item *wi_list_take(wi_list *list);
weir_item *wi_list_take_key(wi_list *list, uint64_t key);
/* Takes all, and ends them as aborted. */
void wi_list_abort(wi_list *list);

#endif
