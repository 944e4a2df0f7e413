/* A ring of held items with a fixed capacity: what stages that hold items share. */
#include "queue.h"

enum { VECTOR_MAX = 64 };

weir_status wi_queue_init(wi_queue *queue, const weir_env *env, uint32_t capacity)
{
    weir_item **items = weir_memory_new(env, capacity * sizeof *items);
    if (items == NULL)
        return WEIR_ENOMEM;
    *queue = (wi_queue){ .items = items, .capacity = capacity };
    return WEIR_OK;
}

void wi_queue_done(wi_queue *queue, const weir_env *env)
{
    wi_queue_abort(queue);
    weir_memory_free(env, queue->items);
}

weir_status wi_queue_grow(wi_queue *queue, const weir_env *env)
{
    wi_queue larger;
    weir_status status = wi_queue_init(&larger, env, queue->capacity * 2);
    if (status != WEIR_OK)
        return status;
    for (weir_item *item; (item = wi_queue_pop(queue)) != NULL;)
        wi_queue_push(&larger, item);
    wi_queue_done(queue, env);
    *queue = larger;
    return WEIR_OK;
}

void wi_queue_emit(wi_queue *queue, weir_out *out)
{
    for (uint32_t gone = 1; queue->n > 0 && gone > 0; queue->n -= gone) {
        weir_item **first = queue->items + queue->head;
        uint32_t run = queue->capacity - queue->head;
        uint64_t bytes = 0;
        run = run < queue->n ? run : queue->n;
        run = run < VECTOR_MAX ? run : VECTOR_MAX;
        for (uint32_t i = 0; i < run; i++)
            bytes += first[i]->cost;
        gone = wi_emit_fitting(out, first, run);
        for (uint32_t i = gone; i < run; i++)
            bytes -= first[i]->cost; /* of those that stay */
        queue->bytes -= bytes;
        queue->head += gone;
        if (queue->head == queue->capacity)
            queue->head = 0;
    }
}

uint32_t wi_emit_fitting(weir_out *out, weir_item **items, uint32_t n)
{
    n = (uint32_t)weir_out_room(out, items, n);
    weir_emit_all(out, items, n);
    return n;
}

void wi_queue_abort(wi_queue *queue)
{
    for (weir_item *item; (item = wi_queue_pop(queue)) != NULL;)
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
}

void wi_end_with(weir_out *out, weir_status status)
{
    if (status == WEIR_OK)
        weir_end(out);
    else
        weir_end_error(out, status);
}
