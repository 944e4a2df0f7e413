/* The path every item takes, inlined where it is walked: ready, grant, settle, emit. */
#ifndef WI_HOT_H
#define WI_HOT_H

#include "wi_core.h"
#include "wi_plant.h"

static inline void wi_ready(weir_stage *stage)
{
    weir_loop *loop = stage->loop;
    if (stage->queued || stage->closed)
        return;
    stage->queued = true;
    stage->next_ready = NULL;
    if (loop->ready_tail != NULL)
        loop->ready_tail->next_ready = stage;
    else
        loop->ready_head = stage;
    loop->ready_tail = stage;
    if (WI_UNLIKELY(!loop->in_turn))
        wi_loop_kick(loop);
}

static inline uint64_t wi_bytes_in_flight(const weir_out *out)
{
    const wi_edge *edge = out->edge;
    uint64_t released = edge->is_cross
                            ? atomic_load_explicit(&edge->bytes_shared, memory_order_acquire)
                            : edge->in.bytes;
    return out->bytes - released;
}

static inline bool wi_bytes_full(const weir_out *out)
{
    return out->edge->window_bytes != 0 && wi_bytes_in_flight(out) >= out->edge->window_bytes;
}

/* How many of the first have room in the window of bytes, which there is; credit aside. */
size_t wi_bytes_room(const weir_out *out, weir_item *const *items, size_t n);

/* What the sender may still emit, bytes aside. */
static inline uint64_t wi_credit(const weir_out *out)
{
    return out->over ? 0 : out->granted - out->tail;
}

static inline uint64_t wi_tail(const weir_in *in)
{
    return in->edge->is_cross ? in->tail_seen : in->edge->out.tail;
}

/* Has the stage that is here asked for more than it was handed? */
static inline bool wi_has_asked(const weir_in *in)
{
    return in->demand != 0 || in->granted - in->surplus != in->head;
}

/* How far the stage may be handed items. */
static inline uint64_t wi_tail_asked_for(const weir_in *in)
{
    uint64_t tail = wi_tail(in), asked = in->granted - in->surplus;
    return WI_LIKELY(in->surplus == 0) || tail - in->head < asked - in->head ? tail : asked;
}

/* Takes from the surplus what is asked for now; gives how many are still to be requested. */
uint64_t wi_in_use_surplus(weir_in *in, uint64_t n);

static inline void wi_tell_sender(weir_out *out)
{
    weir_stage *stage = out->stage;
    if (out->over)
        return;
    if (out->zero_since != 0) {
        wi_count(&out->no_credit_ns, stage->loop->now - out->zero_since);
        wi_set(&out->zero_since, 0);
    }
    stage->out_demand |= UINT64_C(1) << out->index;
    wi_ready(stage);
}

void wi_edge_note_dirty_out(wi_edge *edge);
void wi_edge_note_dirty_in(wi_edge *edge);
void wi_edge_note_owed(wi_edge *edge);

/* Hands up what else is owed to the sender, who is told anyhow: a stage that waits for the least of
 * its outputs would otherwise wait for each of them in turn. */
void wi_grant_beside(wi_edge *edge);

static inline void wi_grant_one(wi_edge *edge, uint64_t n)
{
    weir_in *in = &edge->in;
    if (in->demand != WEIR_UNBOUNDED && !WI_PLANT(4))
        wi_set(&in->demand, in->demand - n);
    wi_set(&in->granted, in->granted + n);
    if (edge->is_cross) {
        wi_edge_note_dirty_in(edge);
    } else {
        wi_set(&edge->out.granted, in->granted);
        wi_tell_sender(&edge->out);
    }
}

static inline void wi_grant(wi_edge *edge, uint64_t n)
{
    wi_grant_one(edge, n);
    if (WI_UNLIKELY(edge->out.stage->n_out > 1) && !edge->is_cross)
        wi_grant_beside(edge);
}

/* What is asked for and has room in the window. */
static inline uint64_t wi_owed(const wi_edge *edge)
{
    const weir_in *in = &edge->in;
    uint64_t window = edge->window + WI_PLANT(8), room = in->head + window - in->granted;
    if (room > window) /* it has shrunk: more than that is in flight */
        room = 0;
    return in->demand < room ? in->demand : room;
}

/* Hands up credit: due at half the window, whenever it doubles what the sender has left (which may
 * be nothing, or little because little is asked for at a time), and when forced (at the end of the
 * drain). */
static inline void wi_settle(wi_edge *edge, bool force)
{
    weir_in *in = &edge->in;
    uint64_t window = edge->window + WI_PLANT(8), owed = wi_owed(edge);
    if (in->over)
        return;
    if (WI_UNLIKELY(edge->window_bytes != 0)) {
        if (edge->is_cross)
            wi_edge_note_dirty_in(edge);
        else if (owed == 0 && in->bytes != 0)
            wi_tell_sender(&edge->out);
    }
    if (owed == 0)
        return;
    if (force || owed * 2 >= window || owed >= in->granted - wi_tail(in))
        wi_grant(edge, owed);
    else if (!edge->on_owed)
        wi_edge_note_owed(edge);
}

static inline void wi_after_emit(weir_out *out, size_t n)
{
    wi_edge *edge = out->edge;
    wi_count(&out->stage->stats.items_out, n);
    if (out->tail == out->granted)
        wi_set(&out->zero_since, out->stage->loop->now);
    if (WI_UNLIKELY(edge->is_cross)) {
        if (!edge->on_dirty_out)
            wi_edge_note_dirty_out(edge);
        if (out->tail - edge->out_published >= WI_VECTOR_MAX) {
            edge->out_published = out->tail;
            atomic_store_explicit(&edge->tail_shared, out->tail, memory_order_release);
        }
        return;
    }
    weir_stage *to = edge->in.stage;
    to->in_ready |= UINT64_C(1) << edge->in.index;
    if (!to->queued)
        wi_ready(to);
}

/* Puts a clone in the place of each item that others hold: counters of holds never cross loops.
 * Gives how many are left, as one that cannot be cloned fails. */
size_t wi_edge_unshare(weir_out *out, weir_item **items, size_t n);

/* Fails what costs more than the edge's bound allows for; gives how many are left. */
size_t wi_edge_refuse_large(weir_out *out, weir_item **items, size_t n);

/* What is emitted without credit, or after the end. */
void wi_over_emitted(weir_out *out, weir_item **items, size_t n);

/* From now on the receiver looks for contexts that are over. */
static inline void wi_edge_note_contexts(wi_edge *edge)
{
    if (!edge->has_contexts)
        __atomic_store_n(&edge->has_contexts, true, __ATOMIC_RELAXED);
}

/* Lays them in a row; gives the higher of `most` and their costs, and adds to `contexts`. */
static inline uint32_t wi_put_row(weir_item **to, weir_item **items, size_t n, uint32_t most,
                                  uintptr_t *contexts)
{
    uintptr_t any = *contexts;
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) {
        weir_item *item = items[i];
        to[i] = item;
        most = item->cost > most ? item->cost : most;
        any |= (uintptr_t)item->context;
    }
    *contexts = any;
    return most;
}

/* Lays them in the ring, behind what is emitted; gives the highest cost among them. */
static inline uint32_t wi_edge_put(weir_out *out, weir_item **items, size_t n)
{
    uint64_t at = out->tail & out->mask, to_end = out->mask + 1 - at;
    uintptr_t contexts = 0;
    size_t row = n < to_end ? n : (size_t)to_end;
    uint32_t most = wi_put_row(out->ring + at, items, row, 0, &contexts);
    if (WI_UNLIKELY(row < n))
        most = wi_put_row(out->ring, items + row, n - row, most, &contexts);
    if (contexts != 0)
        wi_edge_note_contexts(out->edge);
    return most;
}

static inline void wi_emit_all(weir_out *out, weir_item **items, size_t n)
{
    uint64_t credit = wi_credit(out);
    if (WI_UNLIKELY(n > credit)) {
        wi_over_emitted(out, items + credit, n - (size_t)credit);
        n = (size_t)credit;
        if (n == 0)
            return;
    }
    if (WI_UNLIKELY(out->edge->is_cross) && (n = wi_edge_unshare(out, items, n)) == 0)
        return;
    if (WI_UNLIKELY(wi_edge_put(out, items, n) > out->edge->item_bytes_max)) {
        n = wi_edge_refuse_large(out, items, n);
        if (n == 0)
            return;
        (void)wi_edge_put(out, items, n);
    }
    if (WI_UNLIKELY(out->edge->window_bytes != 0))
        for (size_t i = 0; i < n; i++)
            out->bytes += items[i]->cost;
    wi_set(&out->tail, out->tail + n);
    wi_after_emit(out, n);
}

#endif
