/* Edges: credit upstream, items downstream, on one loop or across two.
 *
 * One set of counters serves both kinds. The receiver grants (cumulative), the sender emits
 * (cumulative); credit is the difference, and what is granted never exceeds what was handed to the
 * stage plus the window, so the ring of `window` slots cannot overflow. On one loop a grant is seen
 * at once; across loops both ends publish their counter, once a drain or at half the window. */
#include "wi_hot.h"
#include "wi_sim.h"

#include <assert.h>

weir_status wi_edge_init(wi_edge *edge, const weir_env *env, const weir_edge_config *config,
                         bool is_cross)
{
    uint64_t slots = 1;
    while (slots < config->window_max)
        slots *= 2;
    edge->slots = weir_memory_new(env, slots * sizeof *edge->slots);
    if (edge->slots == NULL)
        return WEIR_ENOMEM;
    edge->window = config->window;
    edge->window_min = config->window_min;
    edge->window_max = config->window_max;
    edge->latency_ns = config->latency_us * WEIR_US;
    edge->window_bytes = config->window_bytes;
    edge->item_bytes_max = config->item_bytes_max;
    edge->error_jumps = config->error_jumps;
    edge->is_cross = is_cross;
    edge->out.edge = edge->in.edge = edge;
    edge->out.ring = edge->slots;
    edge->out.mask = slots - 1;
    return WEIR_OK;
}

void wi_edge_done(wi_edge *edge, const weir_env *env)
{
    weir_memory_free(env, edge->slots);
    edge->slots = NULL;
}

/* ---- Notes to the loop ---- */

void wi_edge_note_dirty_out(wi_edge *edge)
{
    weir_loop *loop = edge->out.stage->loop;
    if (edge->on_dirty_out)
        return;
    edge->on_dirty_out = true;
    edge->next_dirty_out = loop->dirty_out;
    loop->dirty_out = edge;
    wi_loop_kick(loop);
}

void wi_edge_note_dirty_in(wi_edge *edge)
{
    weir_loop *loop = edge->in.stage->loop;
    if (edge->on_dirty_in)
        return;
    edge->on_dirty_in = true;
    edge->next_dirty_in = loop->dirty_in;
    loop->dirty_in = edge;
    wi_loop_kick(loop);
}

void wi_edge_note_owed(wi_edge *edge)
{
    weir_loop *loop = edge->in.stage->loop;
    if (edge->on_owed)
        return;
    edge->on_owed = true;
    edge->next_owed = loop->owed;
    loop->owed = edge;
    wi_loop_kick(loop);
}

/* ---- Credit ---- */

void wi_grant_beside(wi_edge *edge)
{
    const weir_stage *sender = edge->out.stage;
    for (uint32_t i = 0; i < sender->n_out; i++) {
        wi_edge *beside = sender->out[i]->edge;
        if (beside->is_cross || !beside->on_owed || beside->in.over)
            continue; /* of one to another loop only that loop knows what it owes */
        uint64_t owed = wi_owed(beside);
        if (owed != 0)
            wi_grant_one(beside, owed);
    }
}

void wi_edges_flush_owed(weir_loop *loop)
{
    while (loop->owed != NULL) {
        wi_edge *edge = loop->owed;
        loop->owed = edge->next_owed;
        edge->on_owed = false;
        wi_settle(edge, true);
    }
}

uint64_t wi_in_use_surplus(weir_in *in, uint64_t n)
{
    uint64_t used = n < in->surplus ? n : in->surplus;
    in->surplus -= used;
    in->stage->in_ready |= UINT64_C(1) << in->index; /* some may be there already */
    wi_ready(in->stage);
    return weir_credit_sub(n, used);
}

weir_status weir_request(weir_in *in, uint64_t n)
{
    if (n == 0)
        return WEIR_EINVAL;
    if (in->over)
        return WEIR_OK;
    if (WI_UNLIKELY(in->surplus != 0) && (n = wi_in_use_surplus(in, n)) == 0)
        return WEIR_OK;
    if (WI_UNLIKELY(in->stage->loop->kit != NULL))
        wi_sim_asked(in, n);
    wi_set(&in->demand, weir_credit_add(in->demand, n));
    wi_settle(in->edge, false);
    return WEIR_OK;
}

uint64_t weir_in_outstanding(const weir_in *in)
{
    if (in->over)
        return 0; /* what was granted and not used went with the edge */
    return weir_credit_add(in->demand, in->granted - in->head - in->surplus);
}

void weir_request_to(weir_in *in, uint64_t level)
{
    uint64_t outstanding = weir_in_outstanding(in);
    if (level == WEIR_UNBOUNDED && in->demand != WEIR_UNBOUNDED)
        (void)weir_request(in, WEIR_UNBOUNDED);
    else if (outstanding < level)
        (void)weir_request(in, level - outstanding);
}

uint32_t weir_in_item_bytes_max(const weir_in *in)
{
    return in->edge->item_bytes_max;
}

uint64_t weir_out_credit(const weir_out *out)
{
    if (out->over || wi_bytes_full(out))
        return 0;
    return out->granted - out->tail;
}

bool weir_out_fits(const weir_out *out, uint32_t cost)
{
    if (out->over || out->granted == out->tail)
        return false;
    if (out->edge->window_bytes == 0)
        return true;
    uint64_t bytes = wi_bytes_in_flight(out);
    return bytes == 0 || bytes + cost <= out->edge->window_bytes;
}

size_t wi_bytes_room(const weir_out *out, weir_item *const *items, size_t n)
{
    uint64_t window = out->edge->window_bytes, bytes = wi_bytes_in_flight(out);
    if (WI_PLANT(22) && bytes == 0)
        return n;
    for (size_t i = 0; i < n; i++) {
        if (bytes != 0 && bytes + items[i]->cost > window)
            return i;
        bytes += items[i]->cost;
    }
    return n;
}

size_t weir_out_room(const weir_out *out, weir_item *const *items, size_t n)
{
    uint64_t credit = wi_credit(out);
    n = n < credit ? n : (size_t)credit;
    return out->edge->window_bytes == 0 ? n : wi_bytes_room(out, items, n);
}

/* ---- Windows ---- */

#define SIZE_EVERY_NS (100 * WEIR_MS)

void wi_edge_set_window(wi_edge *edge, uint64_t window)
{
    if (window == edge->window)
        return;
    wi_set(&edge->window, window);
    wi_count(&edge->resizes, 1);
    wi_settle(edge, true);
}

/* How long the stage was not waiting for items: busy, without credit, or asking for none. */
static uint64_t worked_ns(const weir_stage *stage, uint64_t now)
{
    uint64_t busy = 0, since = now - stage->state_since;
    uint64_t other = stage->stats.blocked_ns + stage->stats.idle_ns;
    for (const weir_stage *s = stage; s != NULL; s = s->fused_next)
        busy += s->stats.busy_ns;
    return busy + other + (stage->clock_state != WI_STARVED ? since : 0);
}

void wi_edge_size_itself(wi_edge *edge)
{
    weir_in *in = &edge->in;
    uint64_t now = in->stage->loop->now, took = now - edge->sized_ns;
    if (took < SIZE_EVERY_NS)
        return;
    uint64_t n = in->head - edge->sized_head, worked = worked_ns(in->stage, now);
    uint64_t work_ns = worked - edge->sized_work_ns, size = edge->window_max;
    bool is_first = edge->sized_ns == 0;
    edge->sized_ns = now;
    edge->sized_head = in->head;
    edge->sized_work_ns = worked;
    if (is_first || n == 0)
        return;
    work_ns = work_ns < took ? work_ns : took; /* a sampled figure, or in two of its parts */
    if (work_ns != 0 && (double)n / (double)work_ns * (double)edge->latency_ns < (double)size)
        size = (uint64_t)((double)n / (double)work_ns * (double)edge->latency_ns + 0.5);
    size = size > edge->window_min ? size : edge->window_min;
    uint64_t window = edge->window;
    window = size > window ? window + (size - window + 1) / 2 : window - (window - size + 1) / 2;
    wi_edge_set_window(edge, window);
}

/* ---- Items ---- */

void wi_over_emitted(weir_out *out, weir_item **items, size_t n)
{
    static const char what[] = "a stage emitted without credit, or after its end";
    bool no_fault = out->cancelled || out->stage->aborting;
    bool reported = no_fault || wi_sim_reports(out->stage->loop, out->stage, what);
    assert(reported);
    (void)reported;
    if (!no_fault)
        wi_count(&out->stage->stats.over_emitted, n);
    wi_count(&out->stage->stats.aborted, n);
    for (size_t i = 0; i < n; i++)
        weir_item_end(items[i], WEIR_ABORTED, WEIR_ECANCELED);
}

static void fail_at_edge(weir_out *out, weir_item *item, weir_status status)
{
    wi_stage_count_failed(out->stage, status);
    weir_item_end(item, WEIR_FAILED, status);
    wi_tell_sender(out); /* it has the credit still, and may wait for it to come back */
}

size_t wi_edge_refuse_large(weir_out *out, weir_item **items, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (items[i]->cost <= out->edge->item_bytes_max)
            items[kept++] = items[i];
        else
            fail_at_edge(out, items[i], WEIR_ELIMIT);
    }
    return kept;
}

size_t wi_edge_unshare(weir_out *out, weir_item **items, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        weir_item *item = items[i];
        weir_status status = WEIR_OK;
        if (WI_UNLIKELY(weir_item_is_shared(item)))
            status = weir_item_clone(out->stage->loop, item, &item);
        if (WI_LIKELY(status == WEIR_OK))
            items[kept++] = item;
        else
            fail_at_edge(out, item, status);
    }
    return kept;
}

void weir_emit(weir_out *out, weir_item *item)
{
    if (WI_UNLIKELY(out->over || out->granted == out->tail)) {
        wi_over_emitted(out, &item, 1);
        return;
    }
    if (WI_UNLIKELY(item->cost > out->edge->item_bytes_max) &&
        wi_edge_refuse_large(out, &item, 1) == 0)
        return;
    if (WI_UNLIKELY(out->edge->is_cross) && wi_edge_unshare(out, &item, 1) == 0)
        return;
    if (WI_UNLIKELY(out->edge->window_bytes != 0))
        out->bytes += item->cost;
    if (item->context != NULL)
        wi_edge_note_contexts(out->edge);
    out->ring[out->tail & out->mask] = item;
    wi_set(&out->tail, out->tail + 1);
    wi_after_emit(out, 1);
}

void weir_emit_all(weir_out *out, weir_item **items, size_t n)
{
    if (n != 0)
        wi_emit_all(out, items, n);
}

/* ---- Terminals ---- */

static void close_out(weir_out *out)
{
    weir_stage *stage = out->stage;
    out->over = true;
    if (out->zero_since != 0) {
        wi_count(&out->no_credit_ns, stage->loop->now - out->zero_since);
        wi_set(&out->zero_since, 0);
    }
    stage->n_open_out--;
    wi_ready(stage);
}

void weir_end_error(weir_out *out, weir_status status)
{
    wi_edge *edge = out->edge;
    if (out->over || (WI_UNLIKELY(out->stage->swap != NULL) && wi_swap_keeps_end(out)))
        return;
    close_out(out);
    edge->ended = true;
    edge->end_status = wi_status_of(status);
    if (edge->is_cross) {
        wi_edge_note_dirty_out(edge);
        return;
    }
    edge->in.end_seen = true;
    edge->in.stage->in_ending |= UINT64_C(1) << edge->in.index;
    wi_ready(edge->in.stage);
}

void weir_end(weir_out *out)
{
    weir_end_error(out, WEIR_OK);
}

bool weir_out_is_over(const weir_out *out)
{
    return out->over;
}

bool weir_in_is_over(const weir_in *in)
{
    return in->over;
}

void wi_edge_release_queue(wi_edge *edge)
{
    weir_in *in = &edge->in;
    uint64_t tail = edge->is_cross ? atomic_load_explicit(&edge->tail_shared, memory_order_acquire)
                                   : edge->out.tail;
    for (; in->head != tail; wi_set(&in->head, in->head + 1)) {
        wi_count(&in->stage->stats.aborted, 1);
        weir_item_end(edge->slots[in->head & edge->out.mask], WEIR_ABORTED, WEIR_ECANCELED);
    }
    in->tail_seen = tail;
}

void weir_cancel(weir_in *in)
{
    wi_edge *edge = in->edge;
    if (in->over)
        return;
    in->over = in->cancelled = true;
    wi_set(&in->demand, 0);
    in->stage->n_open_in--;
    in->stage->in_ready &= ~(UINT64_C(1) << in->index);
    in->stage->in_ending &= ~(UINT64_C(1) << in->index);
    if (!WI_PLANT(10))
        in->stage->must_release |= UINT64_C(1) << in->index;
    wi_ready(in->stage);
    if (edge->is_cross) {
        wi_edge_note_dirty_in(edge);
    } else if (!edge->out.over || edge->out.parked) {
        if (!edge->out.parked) /* else its stage has ended it, and the next one is told */
            edge->out.stage->out_cancelled |= UINT64_C(1) << edge->out.index;
        edge->out.cancelled = true;
        edge->out.parked = false;
        close_out(&edge->out);
    }
}

void weir_drop(weir_in *in, weir_item *item)
{
    wi_count(&in->stage->stats.filtered, 1);
    weir_item_end(item, WEIR_FILTERED, WEIR_OK);
    (void)weir_request(in, 1);
}

uint32_t weir_in_index(const weir_in *in)
{
    return in->index;
}

uint32_t weir_out_index(const weir_out *out)
{
    return out->index;
}

/* ---- Across loops ---- */

static bool poll_items(wi_edge *edge)
{
    weir_in *in = &edge->in;
    int end = atomic_load_explicit(&edge->end_shared, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&edge->tail_shared, memory_order_acquire);
    bool any = false;
    if (in->cancelled) {
        if (tail != in->head)
            wi_edge_release_queue(edge);
        if (end == 0 || in->end_seen)
            return false;
        in->end_seen = true; /* the sender knows: nothing comes any more */
        wi_ready(in->stage);
        return true;
    }
    if (tail != in->tail_seen) {
        in->tail_seen = tail;
        in->stage->in_ready |= UINT64_C(1) << in->index;
        wi_ready(in->stage);
        any = true;
    }
    if (end != 0 && !in->end_seen) {
        in->end_seen = true;
        in->stage->in_ending |= UINT64_C(1) << in->index;
        wi_ready(in->stage);
        any = true;
    }
    return any;
}

static bool poll_credit(wi_edge *edge)
{
    weir_out *out = &edge->out;
    uint64_t granted = atomic_load_explicit(&edge->granted_shared, memory_order_acquire);
    if (out->over)
        return false;
    if (atomic_load_explicit(&edge->cancel_shared, memory_order_acquire)) {
        out->cancelled = true;
        close_out(out);
        out->stage->out_cancelled |= UINT64_C(1) << out->index;
        edge->ended = true; /* tells the receiver that this was the last of it */
        edge->end_status = WEIR_ECANCELED;
        wi_edge_note_dirty_out(edge);
        return true;
    }
    bool bytes_moved = false;
    if (edge->window_bytes != 0) {
        uint64_t released = atomic_load_explicit(&edge->bytes_shared, memory_order_acquire);
        bytes_moved = released != edge->bytes_seen;
        edge->bytes_seen = released;
    }
    if (granted == out->granted && !bytes_moved)
        return false;
    wi_set(&out->granted, granted);
    wi_tell_sender(out);
    return true;
}

static bool is_seen(weir_loop *loop)
{
    return WI_LIKELY(loop->kit == NULL) || !wi_sim_puts_off(loop);
}

bool wi_edges_poll(weir_loop *loop)
{
    bool any = false;
    for (wi_edge *edge = loop->cross_in; edge != NULL; edge = edge->next_cross_in)
        any |= is_seen(loop) && poll_items(edge);
    for (wi_edge *edge = loop->cross_out; edge != NULL; edge = edge->next_cross_out)
        any |= is_seen(loop) && poll_credit(edge);
    return any;
}

bool wi_edges_pending(weir_loop *loop)
{
    for (wi_edge *edge = loop->cross_in; edge != NULL; edge = edge->next_cross_in) {
        const weir_in *in = &edge->in;
        if (atomic_load_explicit(&edge->tail_shared, memory_order_acquire) !=
                (in->cancelled ? in->head : in->tail_seen) ||
            (!in->end_seen && atomic_load_explicit(&edge->end_shared, memory_order_acquire) != 0))
            return true;
    }
    for (wi_edge *edge = loop->cross_out; edge != NULL; edge = edge->next_cross_out) {
        if (edge->out.over)
            continue;
        if (atomic_load_explicit(&edge->granted_shared, memory_order_acquire) !=
                edge->out.granted ||
            atomic_load_explicit(&edge->cancel_shared, memory_order_acquire) ||
            (edge->window_bytes != 0 &&
             atomic_load_explicit(&edge->bytes_shared, memory_order_acquire) != edge->bytes_seen))
            return true;
    }
    return false;
}

/* First all stores, then one fence for them all, then the bells: a sleeper either sees the stores
 * or is seen asleep. */
void wi_edges_publish(weir_loop *loop)
{
    wi_edge *outs = loop->dirty_out, *ins = loop->dirty_in;
    if (outs == NULL && ins == NULL)
        return;
    loop->dirty_out = loop->dirty_in = NULL;
    for (wi_edge *edge = outs; edge != NULL; edge = edge->next_dirty_out) {
        edge->out_published = edge->out.tail;
        if (!WI_PLANT(7) || !edge->ended)
            atomic_store_explicit(&edge->tail_shared, edge->out.tail, memory_order_release);
        if (edge->ended)
            atomic_store_explicit(&edge->end_shared, 1 - (int)edge->end_status,
                                  memory_order_release);
    }
    for (wi_edge *edge = ins; edge != NULL; edge = edge->next_dirty_in) {
        if (edge->in.cancelled)
            atomic_store_explicit(&edge->cancel_shared, true, memory_order_release);
        atomic_store_explicit(&edge->bytes_shared, edge->in.bytes, memory_order_release);
        atomic_store_explicit(&edge->granted_shared, edge->in.granted, memory_order_release);
    }
    atomic_thread_fence(memory_order_seq_cst);
    for (wi_edge *edge = outs, *next; edge != NULL; edge = next) {
        next = edge->next_dirty_out;
        edge->on_dirty_out = false;
        wi_loop_ring(edge->in.stage->loop);
    }
    for (wi_edge *edge = ins, *next; edge != NULL; edge = next) {
        next = edge->next_dirty_in;
        edge->on_dirty_in = false;
        if (WI_PLANT(5))
            continue;
        wi_loop_ring(edge->out.stage->loop);
    }
}
