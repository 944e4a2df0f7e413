/* Inside items: their bits, what lies behind a ticket's header, and how they end. */
#ifndef WI_ITEM_H
#define WI_ITEM_H

#include "wi_core.h"

#define BIT_BIG    0x08u /* the body is memory of its own */
#define BIT_TICKET ((uint32_t)WEIR_ITEM_TICKET)
/* A group: the ticket of several items, which it is the parent of. It is never emitted. Its `holds`
 * are its items that it has not been told of, its `cost` those of them that it is about to be told
 * of; all are of its loop, and so are changes of both. */
#define BITS_GROUP (BIT_TICKET | BIT_BIG)

typedef struct wi_ticket_head {
    const weir_ticket_type *type;
    uint64_t memory[]; /* of its owner */
} wi_ticket_head;

static inline wi_ticket_head *wi_ticket_head_of(weir_item *item)
{
    return (wi_ticket_head *)(void *)(item + 1);
}

static inline void wi_ticket_tell(weir_item *item, size_t n, weir_outcome outcome,
                                  weir_status status)
{
    wi_ticket_head *head = wi_ticket_head_of(item);
    if (head->type->ended_alike != NULL)
        head->type->ended_alike(head->memory, n, outcome, status);
    else
        head->type->ended(head->memory, outcome, status);
}

static inline bool wi_is_group(const weir_item *item)
{
    return (item->bits & BITS_GROUP) == BITS_GROUP;
}

/* On the item's home loop only, as the parent's outcome changes there. */
static inline bool wi_is_of_group(const weir_item *item)
{
    return item->parent != NULL && wi_is_group(item->parent);
}

/* What has no holds left ends now, where it is at home. */
void wi_item_finish(weir_item *item);
/* Takes the item out of its groups, which are told that it ended so. False: for want of memory, not
 * of all. */
bool wi_item_leave_groups(weir_item *item, weir_outcome outcome, weir_status status);

#endif
