/* A ring of held items with a fixed capacity: what stages that hold items share. */
#ifndef WI_QUEUE_H
#define WI_QUEUE_H

#include <weir/stage.h>

#include <assert.h>

/* Why what a retry policy hands over again fails. */
extern const char wi_no_room[];

typedef struct wi_queue {
    weir_item **items;
    uint32_t head, n, capacity;
    uint64_t bytes; /* sum of costs */
} wi_queue;

weir_status wi_queue_init(wi_queue *queue, const weir_env *env, uint32_t capacity);
void wi_queue_done(wi_queue *queue, const weir_env *env);
/* Doubles the capacity. On an error nothing changed. */
weir_status wi_queue_grow(wi_queue *queue, const weir_env *env);
/* Takes `item`; needs room. */
static inline void wi_queue_push(wi_queue *queue, weir_item *item)
{
    assert(queue->n < queue->capacity);
    uint32_t tail = queue->head + queue->n;
    queue->items[tail < queue->capacity ? tail : tail - queue->capacity] = item;
    queue->n++;
    queue->bytes += item->cost;
}

/* The oldest, or NULL; pop gives it. */
static inline weir_item *wi_queue_first(const wi_queue *queue)
{
    return queue->n > 0 ? queue->items[queue->head] : NULL;
}

static inline weir_item *wi_queue_pop(wi_queue *queue)
{
    if (queue->n == 0)
        return NULL;
    weir_item *item = queue->items[queue->head];
    if (++queue->head == queue->capacity)
        queue->head = 0;
    queue->n--;
    queue->bytes -= item->cost;
    return item;
}

/* Takes all of `items`, as far as there is room, or, if it `grows`, memory: what fails for want of
 * it comes on top of what was asked for, from a retry policy. */
void wi_queue_take(wi_queue *queue, weir_stage *stage, weir_item **items, size_t n, bool grows);
/* Emits the oldest as long as they fit. */
void wi_queue_emit(wi_queue *queue, weir_out *out);
/* Ends all as aborted. */
void wi_queue_abort(wi_queue *queue);

/* Callbacks of stages whose state begins with the queue. */
weir_status wi_queue_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                              void *state);
void wi_queue_let_go(weir_stage *stage, void *state);
void wi_queue_close(weir_stage *stage, void *state);
#define WI_QUEUE_CALLBACKS .let_go = wi_queue_let_go, .close = wi_queue_close

/* Emits items[0 …) as long as they fit, in vectors; gives how many went. */
uint32_t wi_emit_fitting(weir_out *out, weir_item **items, uint32_t n);

void wi_cancel_inputs(weir_stage *stage);
/* Ends items[0 … n) as aborted. */
void wi_abort_items(weir_item **items, size_t n);
/* Ends `out`: WEIR_OK as an end, another status as an error. */
void wi_end_with(weir_out *out, weir_status status);

#endif
