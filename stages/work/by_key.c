/* async_by_key: a user's functions, one operation at a time for each key, many keys at once. */
#include <weir/stages.h>

#include "keys.h"

enum { WAITING_MAX = 65536, KEYS_DEFAULT = 1024, KEYS_MAX = 1048576, KEY_BYTES_MAX = 65536 };

typedef struct keyed {
    weir_stage *stage;
    const weir_async_by_key_config *config; /* complete */
    wi_keys keys;
    uint32_t running, in_flight;
    uint64_t idle_ns;
    bool is_starting; /* operations that end now are noticed by whoever starts them */
    weir_task task;
    weir_timer timer;
} keyed;

/* Of an operation: the user's bytes first. */
typedef struct keyed_work {
    char users[WEIR_ASYNC_FN_WORK_BYTES];
    wi_key *key;
    bool is_running;
} keyed_work;

static weir_status keyed_check(const void *config, const char **why)
{
    const weir_async_by_key_config *c = config;
    if (c->start == NULL)
        *why = "needs a start function";
    else if (c->waiting_max > WAITING_MAX || c->in_flight > WAITING_MAX ||
             c->waiting_max + c->in_flight > WAITING_MAX)
        *why = "waiting_max and in_flight are at most 65536 together";
    else if (c->keys_max > KEYS_MAX)
        *why = "keys_max is at most 1048576";
    else if (c->keys_max <= c->waiting_max + c->in_flight)
        *why = "keys_max is more than waiting_max and in_flight together";
    else if (c->key_bytes > KEY_BYTES_MAX)
        *why = "key_bytes is at most 65536";
    else
        return WEIR_OK;
    return WEIR_EINVAL;
}

/* There are no more places than there were at first. */
static weir_status keyed_check_options(const void *config, const weir_async_options *options,
                                       const char **why)
{
    const weir_async_by_key_config *c = config;
    *why = "in_flight is at most waiting_max and in_flight of its config together";
    return options->in_flight <= c->waiting_max + c->in_flight ? WEIR_OK : WEIR_EINVAL;
}

/* ---- Idle keys ---- */

static void expire(weir_timer *timer, void *user);

static void expire_later(keyed *k, uint64_t oldest_ns)
{
    weir_loop *loop = weir_stage_loop(k->stage);
    uint64_t now = weir_loop_now(loop), due = weir_credit_add(oldest_ns, k->idle_ns);
    if (oldest_ns != UINT64_MAX && k->idle_ns != UINT64_MAX && !weir_timer_is_armed(&k->timer))
        weir_timer_start(loop, &k->timer, due > now ? due - now : 1, expire, k);
}

static void expire(weir_timer *timer, void *user)
{
    (void)timer;
    keyed *k = user;
    uint64_t now = weir_loop_now(weir_stage_loop(k->stage));
    expire_later(k, wi_keys_expire(&k->keys, now >= k->idle_ns ? now - k->idle_ns : 0));
}

/* ---- Turns ---- */

static void start_next(keyed *k)
{
    wi_key *key;
    k->is_starting = true;
    for (weir_op *op;
         k->running < k->in_flight && (op = wi_keys_take(&k->keys, true, &key)) != NULL;) {
        ((keyed_work *)op->work)->is_running = true;
        k->running++;
        k->config->start(op, key->state, k->config->user);
    }
    k->is_starting = false;
}

static void start_soon(weir_task *task, void *user)
{
    (void)task;
    keyed *k = user;
    start_next(k);
    weir_stage_release(k->stage);
}

static void keyed_start(weir_op *op, void *state)
{
    keyed *k = state;
    const weir_async_by_key_config *c = k->config;
    keyed_work *w = op->work;
    w->is_running = false;
    w->key = wi_keys_find(&k->keys, c->key != NULL ? c->key(op->item, c->user) : op->item->key);
    if (w->key == NULL || wi_keys_is_full(&k->keys)) {
        weir_op_done(op, WEIR_ELIMIT, "more at once than there were when the stage opened");
        return;
    }
    wi_keys_push(&k->keys, w->key, op);
    if (!k->is_starting)
        start_next(k);
}

static void keyed_ended(weir_op *op, void *state)
{
    keyed *k = state;
    keyed_work *w = op->work;
    uint64_t now = weir_loop_now(weir_stage_loop(k->stage));
    if (!w->is_running)
        return; /* given up before its turn */
    w->is_running = false;
    k->running--;
    wi_keys_go_on(&k->keys, w->key, now);
    if (w->key->n == 0)
        expire_later(k, now);
    if (k->is_starting || k->task.queued || k->keys.waiting == 0)
        return;
    weir_stage_hold(k->stage);
    weir_loop_defer(weir_stage_loop(k->stage), &k->task);
}

static void keyed_cancel(weir_op *op, weir_status status, void *state)
{
    keyed *k = state;
    keyed_work *w = op->work;
    if (!w->is_running) {
        uint64_t now = weir_loop_now(weir_stage_loop(k->stage));
        (void)wi_keys_remove(&k->keys, w->key, op, now);
        if (w->key->n == 0 && !w->key->busy)
            expire_later(k, now);
        weir_op_done(op, status, "given up before the turn of its key");
    } else if (k->config->cancel != NULL) {
        k->config->cancel(op, status, k->config->user);
    }
}

/* ---- The stage ---- */

static weir_status keyed_open(weir_stage *stage, const void *config, void *state)
{
    const weir_async_by_key_config *c = config;
    keyed *k = state;
    k->stage = stage;
    k->config = c;
    k->in_flight = c->in_flight;
    bool has_state = c->key_bytes != 0 || c->key_expired != NULL;
    k->idle_ns = has_state ? c->idle_ms * WEIR_MS
                           : UINT64_MAX; /* entries without state are replaced */
    k->task = (weir_task)WEIR_TASK(start_soon, k);
    return wi_keys_init(&k->keys, weir_stage_env(stage), c->keys_max, c->waiting_max + c->in_flight,
                        c->key_bytes, c->key_expired, c->user);
}

static void keyed_close(weir_stage *stage, void *state)
{
    keyed *k = state;
    weir_timer_stop(weir_stage_loop(stage), &k->timer);
    wi_keys_done(&k->keys);
}

static const weir_async_type keyed_type = {
    .name = "async_by_key",
    .config_size = sizeof(weir_async_by_key_config),
    .state_size = sizeof(keyed),
    .work_size = sizeof(keyed_work),
    .check_options = keyed_check_options,
    .check = keyed_check,
    .open = keyed_open,
    .close = keyed_close,
    .start = keyed_start,
    .cancel = keyed_cancel,
    .ended = keyed_ended,
};

weir_stage_spec *weir_async_by_key(const weir_async_by_key_config *config)
{
    weir_async_by_key_config c = config != NULL ? *config : (weir_async_by_key_config){ 0 };
    c.waiting_max = c.waiting_max != 0 ? c.waiting_max : 256;
    c.in_flight = c.in_flight != 0 ? c.in_flight : 64;
    c.idle_ms = c.idle_ms != 0 ? c.idle_ms : 60000;
    uint64_t slots = (uint64_t)c.waiting_max + c.in_flight;
    /* More than keyed_check lets pass are cut, so that it is the one to say why. */
    slots = slots < WAITING_MAX ? slots : WAITING_MAX;
    if (c.keys_max == 0) /* each operation may be of another key, and an idle one is to be left */
        c.keys_max = slots < KEYS_DEFAULT ? KEYS_DEFAULT : (uint32_t)slots + 1;
    weir_async_options options = { .in_flight = (uint32_t)slots,
                                   .unordered = true,
                                   .timeout_ms = c.timeout_ms };
    return weir_stage_named(weir_async_of(&keyed_type, &options, &c), c.name);
}
