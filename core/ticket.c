/* Tickets: items in the place of others, or one parent of many, that hear of their ends. */
#include "wi_item.h"

#include <assert.h>
#include <string.h>

static inline void ticket_init(weir_item *item, weir_item *of, const weir_ticket_type *type)
{
    uint8_t which = item->bits;
    memcpy(&item->type, &of->type, offsetof(weir_item, cost) - offsetof(weir_item, type));
    item->body = of->body;
    item->parent = of;
    item->cost = of->cost;
    item->attempts = of->attempts;
    item->bits = (uint8_t)(which | BIT_TICKET);
    wi_ticket_head_of(item)->type = type;
}

size_t weir_tickets(weir_loop *loop, const weir_ticket_type *type, weir_item **items, size_t n)
{
    weir_item *made[WI_VECTOR_MAX];
    size_t done = 0;
    assert(type->bytes <= WEIR_ITEM_SLAB_BYTES_MAX - sizeof(wi_ticket_head));
    while (done < n) {
        size_t want = n - done < WI_VECTOR_MAX ? n - done : WI_VECTOR_MAX;
        size_t got = weir_items_new(loop, NULL, sizeof(wi_ticket_head) + type->bytes, made, want);
        for (size_t i = 0; i < got; i++) {
            ticket_init(made[i], items[done + i], type);
            items[done + i] = made[i];
        }
        done += got;
        if (got < want)
            break;
    }
    return done;
}

/* Nobody else has to do with it, nothing has happened to it yet, and its end comes on this loop. */
static inline bool can_share(const weir_item *item, const weir_loop *loop)
{
    return item->home == loop && item->holds == 1 && item->bits < 2 * BIT_BIG;
}

/* Takes the first of them that have the same parent, if any; 64 at most. */
static size_t group_take(weir_item *group, weir_item *const *items, size_t n)
{
    weir_item *parent = items[0]->parent;
    const weir_loop *loop = group->home;
    size_t most = n < WI_VECTOR_MAX ? n : WI_VECTOR_MAX, i = 0;
    for (; i < most && items[i]->parent == parent && can_share(items[i], loop); i++)
        items[i]->parent = group;
    group->parent = parent;
    group->cost = 0;
    group->holds = (uint8_t)i;
    group->bits |= BITS_GROUP;
    return i;
}

static size_t tickets_shared(weir_loop *loop, const weir_ticket_type *type, const void *memory,
                             weir_item *const *items, size_t n)
{
    weir_item *group = weir_item_new(loop, NULL, sizeof(wi_ticket_head) + type->bytes);
    if (group == NULL)
        return 0;
    wi_ticket_head_of(group)->type = type;
    memcpy(wi_ticket_head_of(group)->memory, memory, type->bytes);
    return group_take(group, items, n);
}

static size_t tickets_apart(weir_loop *loop, const weir_ticket_type *type, const void *memory,
                            weir_item **items, size_t n)
{
    size_t apart = 1;
    while (apart < n && !can_share(items[apart], loop))
        apart++;
    size_t made = weir_tickets(loop, type, items, apart);
    for (size_t i = 0; i < made; i++)
        memcpy(weir_ticket_memory(items[i]), memory, type->bytes);
    return made;
}

size_t weir_tickets_alike(weir_loop *loop, const weir_ticket_type *type, const void *memory,
                          weir_item **items, size_t n)
{
    size_t done = 0, made = 1;
    assert(type->ended_alike != NULL);
    for (; done < n && made != 0; done += made)
        made = can_share(items[done], loop)
                   ? tickets_shared(loop, type, memory, items + done, n - done)
                   : tickets_apart(loop, type, memory, items + done, n - done);
    return done;
}

void *weir_ticket_memory(weir_item *item)
{
    assert(item->bits & BIT_TICKET);
    return wi_ticket_head_of(item)->memory;
}

void *weir_ticket_find(weir_item *item, const weir_ticket_type *type)
{
    for (; item != NULL; item = item->parent)
        if ((item->bits & BIT_TICKET) != 0 && wi_ticket_head_of(item)->type == type)
            return wi_ticket_head_of(item)->memory;
    return NULL;
}

/* Takes `at` out from between `below`, made of it, and its parent. What has its context gets the
 * parent's; `first` is the lowest of all that stays. */
static void ticket_end_early(weir_item *first, weir_item *below, weir_item *at)
{
    weir_item *parent = at->parent;
    for (weir_item *item = first; item != NULL && item != at; item = item->parent)
        if (item->context == at->context)
            item->context = parent->context;
    if (below != NULL)
        below->parent = parent;
    at->parent = NULL;
    at->holds = 0;
    wi_item_finish(at);
}

/* Holds of a parent change on its children's home loop, so from elsewhere there is no looking up.
 */
static weir_item *parent_of_only_child(const weir_item *item)
{
    weir_item *parent = item->home == wi_here ? item->parent : NULL;
    return parent != NULL && parent->holds == 1 ? parent : NULL;
}

weir_item *weir_item_forgive(weir_item *item)
{
    weir_outcome outcome = (weir_outcome)wi_item_outcome(item);
    weir_status status = (weir_status)item->status;
    weir_item *first = NULL, *below = NULL, *next = item;
    if (item->holds > 1 || outcome > WEIR_DEAD_LETTERED)
        return item;
    for (weir_item *at = item, *up; at != NULL; at = up) {
        bool has_left = wi_item_leave_groups(at, outcome, status);
        up = has_left ? parent_of_only_child(at) : NULL;
        next = at->parent;
        if (at->bits & BIT_TICKET) {
            wi_item_note(at, outcome, status);
            ticket_end_early(first, below, at);
        } else {
            first = first != NULL ? first : at;
            below = at;
        }
    }
    if (first != item)
        return first != NULL ? first : next;
    item->bits &= (uint8_t)0x0f;
    item->status = WEIR_OK;
    return item;
}
