/* Lists of held items that do not link through the items. */
#include "wi_list.h"

#include "wi_plant.h"

#include <string.h>

enum { ROOM_FIRST = 16 };

weir_status wi_list_reserve(wi_list *list, const weir_env *env, uint32_t n)
{
    if (n <= list->room)
        return WEIR_OK;
    weir_item **items = weir_memory_resize(env, list->items, n * sizeof *items);
    if (items == NULL)
        return WEIR_ENOMEM;
    list->items = items;
    list->room = n;
    return WEIR_OK;
}

void wi_list_done(wi_list *list, const weir_env *env)
{
    weir_memory_free(env, list->items);
    *list = (wi_list){ 0 };
}

bool wi_list_add(wi_list *list, const weir_env *env, weir_item *item)
{
    if (list->n == list->room) {
        uint32_t room = list->room != 0 ? list->room * 2 : ROOM_FIRST;
        if (room < list->room || wi_list_reserve(list, env, room) != WEIR_OK)
            return false;
    }
    if (list->head + list->n == list->room) {
        memmove(list->items, list->items + list->head, list->n * sizeof *list->items);
        list->head = 0;
    }
    list->items[list->head + list->n++] = item;
    return true;
}

weir_item *wi_list_take(wi_list *list)
{
    if (list->n == 0)
        return NULL;
    weir_item *item = list->items[list->head];
    list->n--;
    list->head = list->n != 0 ? list->head + 1 : 0;
    return item;
}

weir_item *wi_list_take_key(wi_list *list, uint64_t key)
{
    weir_item **items = list->items + list->head;
    for (uint32_t nth = 0; nth < list->n; nth++) {
        uint32_t i = WI_PLANT(19) ? list->n - 1 - nth : nth;
        weir_item *item = items[i];
        if (item->key != key)
            continue;
        memmove(items + i, items + i + 1, (list->n - i - 1) * sizeof *items);
        list->n--;
        return item;
    }
    return NULL;
}

void wi_list_abort(wi_list *list)
{
    for (weir_item *item; (item = wi_list_take(list)) != NULL;)
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
}
