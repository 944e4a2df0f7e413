/* batch: joins items by count, bytes and time, and lets a batch go only with demand. Windows by
 * time are batches too, that end when the clock says. */
#include "members.h"
#include "queue.h"

enum { COUNT_DEFAULT = 64, COUNT_MAX = 65535, BYTES_DEFAULT = 1 << 20, ROOM_MIN = 64 };

/* The first of those held that go together. */
typedef struct batch_front {
    uint32_t n;
    uint64_t bytes;
    bool is_full;
} batch_front;

typedef struct batch {
    wi_members held;
    uint32_t count, bytes_max, asked_max; /* the last: asked for or held */
    uint64_t wait_ns, opened_ns;
    batch_front front;
    bool is_window;
    weir_timer timer;
} batch;

static weir_status batch_check(const void *config, const char **why)
{
    *why = "count is at most 65535";
    return ((const weir_batch_config *)config)->count <= COUNT_MAX ? WEIR_OK : WEIR_EINVAL;
}

static void batch_set(batch *b, const weir_batch_config *c)
{
    b->count = c->count != 0 ? c->count : COUNT_DEFAULT;
    b->bytes_max = c->bytes != 0 ? c->bytes : BYTES_DEFAULT;
    b->wait_ns = c->wait_us * WEIR_US;
    b->asked_max = b->count > ROOM_MIN ? b->count : ROOM_MIN;
}

static weir_status batch_open(weir_stage *stage, const void *config, void *state)
{
    batch *b = state;
    b->opened_ns = weir_loop_now(weir_stage_loop(stage));
    batch_set(b, config);
    return wi_members_init(&b->held, weir_stage_env(stage), b->asked_max, true);
}

static weir_status window_open(weir_stage *stage, const void *config, void *state)
{
    ((batch *)state)->is_window = true;
    return batch_open(stage, config, state);
}

static void batch_let_go(weir_stage *stage, void *state)
{
    batch *b = state;
    weir_timer_stop(weir_stage_loop(stage), &b->timer);
    wi_members_abort(&b->held);
    b->front = (batch_front){ 0 };
}

/* Lets the front batch grow over what is held, until it is full. */
static void batch_grow(batch *b)
{
    weir_item **items = b->held.items + b->held.head;
    const uint64_t *stamps = b->held.stamps + b->held.head;
    uint32_t n = b->front.n, held = b->held.n < b->count ? b->held.n : b->count, most = held;
    uint64_t bytes = b->front.bytes, all;
    if (b->front.is_full || held == 0)
        return;
    if (n == 0)
        bytes = items[n++]->cost; /* one fits always */
    if (b->is_window)
        for (most = n; most < held && stamps[most] == stamps[0];)
            most++;
    all = bytes;
    for (uint32_t i = n; i < most; i++)
        all += items[i]->cost;
    if (all < b->bytes_max) { /* mostly */
        bytes = all;
        n = most;
    }
    while (n < most && bytes < b->bytes_max && bytes + items[n]->cost <= b->bytes_max)
        bytes += items[n++]->cost;
    b->front = (batch_front){ n, bytes, n == b->count || n < held || bytes >= b->bytes_max };
}

/* The time left to wait until the front batch is due: 0 if it is. */
static uint64_t batch_wait(const batch *b, weir_stage *stage, uint64_t now)
{
    if (b->front.is_full || weir_in_is_over(weir_stage_in(stage)))
        return 0;
    if (b->wait_ns == 0)
        return UINT64_MAX;
    uint64_t due = b->held.stamps[b->held.head] + (b->is_window ? 0 : b->wait_ns);
    return now < due ? due - now : 0;
}

/* Emits what is due and has demand; then waits for items, for time or for demand. */
static void batch_run(weir_stage *stage, void *state)
{
    batch *b = state;
    weir_out *out = weir_stage_out(stage);
    uint64_t now = b->wait_ns != 0 ? weir_loop_now(weir_stage_loop(stage)) : 0, wait = UINT64_MAX;
    for (batch_grow(b); b->front.n > 0; batch_grow(b)) {
        wait = batch_wait(b, stage, now);
        if (wait > 0 || !weir_out_fits(out, (uint32_t)b->front.bytes))
            break;
        wi_members_emit(stage, &b->held, b->front.n, 0);
        b->front = (batch_front){ 0 };
    }
    bool waits = b->front.n > 0 && wait > 0 && wait != UINT64_MAX;
    bool is_armed = weir_timer_is_armed(&b->timer); /* then it is for an earlier batch */
    if (waits && !is_armed)
        weir_stage_wake_after(stage, &b->timer, wait);
    else if (!waits && is_armed)
        weir_timer_stop(weir_stage_loop(stage), &b->timer);
    if (weir_finish(stage, b->held.n))
        return;
    uint64_t level = weir_credit_mul(weir_out_credit(out), b->count);
    level = level < b->asked_max ? level : b->asked_max;
    weir_request_to(weir_stage_in(stage), weir_credit_sub(level, b->held.n));
}

static weir_status batch_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    (void)in;
    batch *b = state;
    uint64_t stamp = weir_loop_now(weir_stage_loop(stage));
    if (b->is_window) /* when the window ends that this is in */
        stamp += b->wait_ns - (stamp - b->opened_ns) % b->wait_ns;
    wi_members_add(stage, &b->held, items, n, stamp);
    return WEIR_OK;
}

/* The front batch is put together anew, by the new rules. */
static weir_status batch_on_change(weir_stage *stage, const void *config, void *state)
{
    batch *b = state, changed = *b;
    batch_set(&changed, config);
    weir_status status = wi_members_reserve(&b->held, weir_stage_env(stage), changed.asked_max);
    if (status != WEIR_OK)
        return status;
    batch_set(b, config);
    weir_timer_stop(weir_stage_loop(stage), &b->timer);
    b->front = (batch_front){ 0 };
    return WEIR_OK;
}

#define BATCH_TYPE(name_, open_, on_change_)                                                    \
    {                                                                                           \
        .name = (name_), .config_size = sizeof(weir_batch_config), .state_size = sizeof(batch), \
        .check = batch_check, .open = (open_), .on_items = batch_on_items, .run = batch_run,    \
        .let_go = batch_let_go, .close = wi_members_close, .on_change = (on_change_)            \
    }

static const weir_stage_type batch_type = BATCH_TYPE("batch", batch_open, batch_on_change);
static const weir_stage_type window_type = BATCH_TYPE("window", window_open, NULL);

weir_stage_spec *weir_batch(const weir_batch_config *config)
{
    return weir_stage_of(&batch_type, config);
}

weir_stage_spec *wi_window_by_time(const weir_window_config *config)
{
    return weir_stage_of(&window_type, &(weir_batch_config){ .count = config->count,
                                                             .bytes = config->bytes,
                                                             .wait_us = config->every_us });
}
