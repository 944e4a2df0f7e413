/* A ring of held items with a fixed capacity: what stages that hold items share. */
#include "queue.h"

enum { VECTOR_MAX = 64 };

const char wi_no_room[] = "no room for an item that is tried again";

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

void wi_queue_take(wi_queue *queue, weir_stage *stage, weir_item **items, size_t n, bool grows)
{
    for (size_t i = 0; i < n; i++)
        if (queue->n < queue->capacity ||
            (grows && wi_queue_grow(queue, weir_stage_env(stage)) == WEIR_OK))
            wi_queue_push(queue, items[i]);
        else
            weir_fail(stage, items[i], grows ? WEIR_ENOMEM : WEIR_ELIMIT, wi_no_room);
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

weir_status wi_queue_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                              void *state)
{
    (void)in;
    wi_queue_take(state, stage, items, n, false);
    return WEIR_OK;
}

void wi_queue_let_go(weir_stage *stage, void *state)
{
    (void)stage;
    wi_queue_abort(state);
}

void wi_queue_close(weir_stage *stage, void *state)
{
    wi_queue_done(state, weir_stage_env(stage));
}

void wi_cancel_inputs(weir_stage *stage)
{
    for (uint32_t i = 0; i < weir_stage_inputs(stage); i++)
        weir_cancel(weir_stage_in_at(stage, i));
}

void wi_abort_items(weir_item **items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        weir_item_end(items[i], WEIR_ABORTED, WEIR_ECANCELED);
}

void wi_end_with(weir_out *out, weir_status status)
{
    if (status == WEIR_OK)
        weir_end(out);
    else
        weir_end_error(out, status);
}
