/* batch: joins items by count, bytes and time, and lets a batch go only with demand. */
#include <weir/stages.h>

#include <string.h>

#include "queue.h"

enum { COUNT_DEFAULT = 64, COUNT_MAX = 65535, BYTES_DEFAULT = 1 << 20, ROOM_MIN = 64 };

typedef struct batch {
    weir_stage *stage;
    uint32_t count, bytes_max;
    uint32_t asked_max, room; /* items asked for or held at most; what there is room for */
    uint64_t wait_ns;
    weir_item **items; /* room of them; the front batch is items[head .. head + front) */
    uint64_t *came_ns; /* when each came; kept only if there is a wait */
    uint32_t head, held;
    uint32_t front;
    uint64_t front_bytes;
    bool front_is_full, is_over;
    weir_status status;
    weir_timer timer;
} batch;

static weir_status batch_check(const void *config, const char **why)
{
    if (((const weir_batch_config *)config)->count <= COUNT_MAX)
        return WEIR_OK;
    *why = "count is at most 65535";
    return WEIR_EINVAL;
}

/* Room for `asked_max` items; what there is never shrinks, as it may be asked for. */
static weir_status batch_make_room(batch *b, uint32_t asked_max)
{
    const weir_env *env = weir_stage_env(b->stage);
    if (asked_max > b->room) {
        weir_item **items = weir_memory_resize(env, b->items, asked_max * sizeof *items);
        if (items == NULL)
            return WEIR_ENOMEM;
        b->items = items;
        uint64_t *came_ns = weir_memory_resize(env, b->came_ns, asked_max * sizeof *came_ns);
        if (came_ns == NULL)
            return WEIR_ENOMEM;
        b->came_ns = came_ns;
        b->room = asked_max;
    }
    b->asked_max = asked_max;
    return WEIR_OK;
}

static weir_status batch_set(batch *b, const weir_batch_config *c)
{
    uint32_t count = c->count != 0 ? c->count : COUNT_DEFAULT;
    weir_status status = batch_make_room(b, count > ROOM_MIN ? count : ROOM_MIN);
    if (status != WEIR_OK)
        return status;
    b->count = count;
    b->bytes_max = c->bytes != 0 ? c->bytes : BYTES_DEFAULT;
    b->wait_ns = c->wait_us * WEIR_US;
    return WEIR_OK;
}

static weir_status batch_open(weir_stage *stage, const void *config, void *state)
{
    batch *b = state;
    b->stage = stage;
    weir_status status = batch_set(b, config);
    if (status == WEIR_OK)
        return WEIR_OK;
    weir_memory_free(weir_stage_env(stage), b->came_ns);
    weir_memory_free(weir_stage_env(stage), b->items);
    return status;
}

static void batch_abort(batch *b)
{
    weir_timer_stop(weir_stage_loop(b->stage), &b->timer);
    for (uint32_t i = 0; i < b->held; i++)
        weir_item_end(b->items[b->head + i], WEIR_ABORTED, WEIR_ECANCELED);
    b->head = b->held = b->front = 0;
    b->front_bytes = 0;
    b->front_is_full = false;
}

static void batch_close(weir_stage *stage, void *state)
{
    batch *b = state;
    batch_abort(b);
    weir_memory_free(weir_stage_env(stage), b->came_ns);
    weir_memory_free(weir_stage_env(stage), b->items);
}

/* Lets the front batch grow over what is held, until it is full. */
static void batch_grow(batch *b)
{
    while (!b->front_is_full && b->front < b->held) {
        uint32_t cost = b->items[b->head + b->front]->cost;
        if (b->front > 0 && b->front_bytes + cost > b->bytes_max) {
            b->front_is_full = true;
            return;
        }
        b->front++;
        b->front_bytes += cost;
        b->front_is_full = b->front == b->count || b->front_bytes >= b->bytes_max;
    }
}

/* Joins and emits the front batch. */
static void batch_flush(batch *b)
{
    weir_item **members = b->items + b->head;
    weir_item *joined;
    uint32_t n = b->front;
    weir_status status = weir_items_join(weir_stage_loop(b->stage), members, n, &joined);
    b->head += n;
    b->held -= n;
    b->front = 0;
    b->front_bytes = 0;
    b->front_is_full = false;
    if (status == WEIR_OK) {
        weir_emit(weir_stage_out(b->stage), joined);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        weir_fail(b->stage, members[i], status, "cannot join the batch");
}

static void batch_run(batch *b);

static void batch_timer_fired(weir_timer *timer, void *user)
{
    (void)timer;
    batch_run(user);
}

/* The time left to wait until the front batch is due: 0 if it is. */
static uint64_t batch_wait(const batch *b, uint64_t now)
{
    if (b->front_is_full || b->is_over)
        return 0;
    if (b->wait_ns == 0)
        return UINT64_MAX;
    uint64_t due = b->came_ns[b->head] + b->wait_ns;
    return now < due ? due - now : 0;
}

static void batch_ask(batch *b)
{
    uint64_t level = weir_credit_mul(weir_out_credit(weir_stage_out(b->stage)), b->count);
    level = level < b->asked_max ? level : b->asked_max;
    weir_request_to(weir_stage_in(b->stage), weir_credit_sub(level, b->held));
}

/* Flushes what is due and has demand; then waits for items, for time or for demand. */
static void batch_run(batch *b)
{
    weir_loop *loop = weir_stage_loop(b->stage);
    weir_out *out = weir_stage_out(b->stage);
    uint64_t now = weir_loop_now(loop), wait = UINT64_MAX;
    bool fits = true;
    for (batch_grow(b); b->front > 0; batch_grow(b)) {
        wait = batch_wait(b, now);
        fits = weir_out_fits(out, (uint32_t)b->front_bytes);
        if (wait > 0 || !fits)
            break;
        batch_flush(b);
    }
    if (b->front > 0 && wait > 0 && wait != UINT64_MAX)
        weir_timer_start(loop, &b->timer, wait, batch_timer_fired, b);
    else
        weir_timer_stop(loop, &b->timer);
    if (!b->is_over)
        batch_ask(b);
    else if (b->held == 0)
        wi_end_with(out, b->status);
}

/* The front batch is put together anew, by the new rules. */
static weir_status batch_on_change(weir_stage *stage, const void *config, void *state)
{
    batch *b = state;
    weir_status status = batch_set(b, config);
    if (status != WEIR_OK)
        return status;
    b->front = 0;
    b->front_bytes = 0;
    b->front_is_full = false;
    if (!weir_out_is_over(weir_stage_out(stage)))
        batch_run(b);
    return WEIR_OK;
}

static void batch_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    batch_run(state);
}

static weir_status batch_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    (void)in;
    batch *b = state;
    if (b->head + b->held + n > b->room) {
        memmove(b->items, b->items + b->head, b->held * sizeof *b->items);
        memmove(b->came_ns, b->came_ns + b->head, b->held * sizeof *b->came_ns);
        b->head = 0;
    }
    uint64_t now = weir_loop_now(weir_stage_loop(stage));
    for (size_t i = 0; i < n; i++) {
        if (b->held == b->room) { /* members of a failed join, which a retry policy hands back */
            weir_fail(stage, items[i], WEIR_ELIMIT, "no room for an item that is tried again");
            continue;
        }
        uint32_t at = b->head + b->held++;
        b->items[at] = items[i];
        b->came_ns[at] = now;
    }
    batch_run(b);
    return WEIR_OK;
}

static void batch_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)stage;
    (void)in;
    batch *b = state;
    b->is_over = true;
    b->status = status;
    batch_run(b);
}

static void batch_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    batch_abort(state);
    weir_cancel(weir_stage_in(stage));
}

static void batch_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    batch_abort(state);
}

static const weir_stage_type batch_type = {
    .name = "batch",
    .config_size = sizeof(weir_batch_config),
    .state_size = sizeof(batch),
    .check = batch_check,
    .open = batch_open,
    .close = batch_close,
    .on_demand = batch_on_demand,
    .on_items = batch_on_items,
    .on_end = batch_on_end,
    .on_cancel = batch_on_cancel,
    .on_abort = batch_on_abort,
    .on_change = batch_on_change,
};

weir_stage_spec *weir_batch(const weir_batch_config *config)
{
    return weir_stage_of(&batch_type, config);
}
