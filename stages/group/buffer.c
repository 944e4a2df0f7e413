/* buffer: holds items between a sender and a receiver of different pace. */
#include <weir/stages.h>

#include "queue.h"

enum { ITEMS_DEFAULT = 256, ITEMS_MAX = 1 << 20, BYTES_DEFAULT = 16 << 20 };

typedef struct buffer {
    wi_queue held; /* room for items_max and more: it never shrinks */
    uint32_t items_max;
    uint64_t bytes_max;
    weir_overflow overflow;
} buffer;

static weir_status buffer_check(const void *config, const char **why)
{
    const weir_buffer_config *c = config;
    *why = c->items_max > ITEMS_MAX ? "items_max is at most 1048576" : "no such overflow";
    return c->items_max > ITEMS_MAX || c->overflow > WEIR_OVERFLOW_FAIL ? WEIR_EINVAL : WEIR_OK;
}

/* Emits what fits, and asks for what there is room for. */
static void buffer_run(weir_stage *stage, void *state)
{
    buffer *b = state;
    wi_queue_emit(&b->held, weir_stage_out(stage));
    if (weir_finish(stage, b->held.n))
        return;
    if (b->overflow != WEIR_OVERFLOW_HOLD)
        weir_request_to(weir_stage_in(stage), WEIR_UNBOUNDED);
    else if (b->held.bytes < b->bytes_max)
        weir_request_to(weir_stage_in(stage), weir_credit_sub(b->items_max, b->held.n));
}

static void buffer_set(buffer *b, const weir_buffer_config *c)
{
    b->items_max = c->items_max != 0 ? c->items_max : ITEMS_DEFAULT;
    b->bytes_max = c->bytes_max != 0 ? c->bytes_max : BYTES_DEFAULT;
    b->overflow = c->overflow;
}

static weir_status buffer_open(weir_stage *stage, const void *config, void *state)
{
    buffer *b = state;
    buffer_set(b, config);
    return wi_queue_init(&b->held, weir_stage_env(stage), b->items_max);
}

static weir_status buffer_merge_change(void *config, const void *change, const char **why)
{
    const weir_buffer_config *new_ = change;
    weir_buffer_config *c = config;
    if (new_->overflow != c->overflow) {
        *why = "overflow cannot change while it runs";
        return WEIR_EINVAL;
    }
    *c = *new_;
    return WEIR_OK;
}

static weir_status buffer_on_change(weir_stage *stage, const void *config, void *state)
{
    buffer *b = state, changed = *b;
    buffer_set(&changed, config);
    while (b->held.capacity < changed.items_max) {
        weir_status status = wi_queue_grow(&b->held, weir_stage_env(stage));
        if (status != WEIR_OK)
            return status;
    }
    buffer_set(b, config);
    return WEIR_OK;
}

static bool buffer_has_room(const buffer *b, const weir_item *item)
{
    if (b->overflow == WEIR_OVERFLOW_HOLD)
        return true; /* it was asked for */
    return b->held.n < b->items_max &&
           (b->held.n == 0 || b->held.bytes + item->cost <= b->bytes_max);
}

/* Makes room for `item` if that is the rule; otherwise takes it. Gives whether there is room. */
static bool buffer_overflows(weir_stage *stage, buffer *b, weir_in *in, weir_item *item)
{
    switch (b->overflow) {
    case WEIR_OVERFLOW_DROP_OLDEST:
        while (!buffer_has_room(b, item))
            weir_drop(in, wi_queue_pop(&b->held));
        return true;
    case WEIR_OVERFLOW_DROP_ALL:
        while (b->held.n > 0)
            weir_drop(in, wi_queue_pop(&b->held));
        return true;
    case WEIR_OVERFLOW_DROP_NEWEST:
        weir_drop(in, item);
        return false;
    case WEIR_OVERFLOW_REJECT:
        weir_reject(stage, item, WEIR_EOVERLOAD, "the buffer is full");
        return false;
    default:
        weir_stage_fail(stage, WEIR_EOVERLOAD, "the buffer is full");
        weir_item_end(item, WEIR_REJECTED, WEIR_EOVERLOAD);
        return false;
    }
}

static weir_status buffer_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                   void *state)
{
    buffer *b = state;
    weir_out *out = weir_stage_out(stage);
    uint32_t gone = b->held.n == 0 ? wi_emit_fitting(out, items, (uint32_t)n) : 0;
    for (size_t i = gone; i < n; i++)
        if (buffer_has_room(b, items[i]) || buffer_overflows(stage, b, in, items[i]))
            wi_queue_push(&b->held, items[i]);
    return WEIR_OK;
}

#define BUFFER_TYPE(lossy_)                                                                        \
    {                                                                                              \
        .name = "buffer", .config_size = sizeof(weir_buffer_config), .state_size = sizeof(buffer), \
        .lossy = (lossy_), .check = buffer_check, .open = buffer_open,                             \
        .on_items = buffer_on_items, .run = buffer_run, WI_QUEUE_CALLBACKS,                        \
        .merge_change = buffer_merge_change, .on_change = buffer_on_change                         \
    }

static const weir_stage_type buffer_type = BUFFER_TYPE(false);
static const weir_stage_type lossy_buffer_type = BUFFER_TYPE(true);

weir_stage_spec *weir_buffer(const weir_buffer_config *config)
{
    bool drops = config != NULL && (config->overflow >= WEIR_OVERFLOW_DROP_OLDEST &&
                                    config->overflow <= WEIR_OVERFLOW_DROP_ALL);
    return weir_stage_of(drops ? &lossy_buffer_type : &buffer_type, config);
}
