/* Planted in merge: of what it holds, the first two change places. */
#include "queue.h"

extern unsigned weir_planted;

static inline weir_item *planted_pop(wi_queue *queue)
{
    weir_item *item = wi_queue_pop(queue);
    if (weir_planted != 14 || queue->n == 0)
        return item;
    weir_item *second = queue->items[queue->head];
    queue->items[queue->head] = item;
    return second;
}

#define wi_queue_pop planted_pop
