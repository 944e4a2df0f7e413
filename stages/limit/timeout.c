/* timeout: a deadline for each item below it, and for the next item to come. */
#include <weir/stages.h>

#include "deadlines.h"

enum { IN_FLIGHT_DEFAULT = 256, IN_FLIGHT_MAX = 65536, DAY_MS = 86400000 };

typedef struct timeout {
    wi_gate gate;
    const weir_timeout_config *config;
    wi_deadlines deadlines;
    uint64_t since_ns; /* when an item, or demand, last came */
    weir_timer idle;
} timeout;

/* ---- The gate ---- */

static uint64_t timed_look(wi_gate *gate, uint64_t most)
{
    uint64_t n = ((timeout *)gate)->deadlines.n_free;
    return n < most ? n : most;
}

static size_t timed_take(wi_gate *gate, weir_item *const *items, size_t n)
{
    (void)items;
    return (size_t)timed_look(gate, n);
}

/* By tickets of their own, as each has a context of its own. */
static size_t timed_follow(wi_gate *gate, weir_item **items, size_t n)
{
    size_t made = weir_tickets(weir_stage_loop(gate->stage), gate->kind->ticket, items, n);
    wi_deadlines_begin(&((timeout *)gate)->deadlines, items, made);
    return made;
}

static const wi_gate_kind timed_kind = {
    .take = timed_take, .look = timed_look, .ticket = &wi_deadline_type, .follow = timed_follow
};

static const wi_gate_kind idle_kind = { .take = timed_take, .look = timed_look };

static weir_status timeout_check(const void *config, const char **why)
{
    const weir_timeout_config *c = config;
    *why = NULL;
    if (c->timeout_ms == 0 && c->idle_ms == 0)
        *why = "needs timeout_ms or idle_ms";
    else if (c->timeout_ms > DAY_MS || c->idle_ms > DAY_MS)
        *why = "times are at most a day";
    else if (c->idle_ends && c->idle_ms == 0)
        *why = "idle_ends needs idle_ms";
    else if (c->in_flight > IN_FLIGHT_MAX)
        *why = "in_flight is at most 65536";
    return *why == NULL ? WEIR_OK : WEIR_EINVAL;
}

static weir_status timeout_open(weir_stage *stage, const void *config, void *state)
{
    const weir_timeout_config *c = config;
    timeout *t = state;
    const weir_env *env = weir_stage_env(stage);
    uint32_t n = c->in_flight != 0 ? c->in_flight : IN_FLIGHT_DEFAULT;
    t->config = c;
    t->deadlines.n_free = UINT64_MAX;
    weir_status status = WEIR_OK;
    if (c->timeout_ms != 0)
        status = wi_deadlines_init(&t->deadlines, &t->gate, env, n, c->timeout_ms * WEIR_MS);
    if (status == WEIR_OK)
        status = wi_gate_open(&t->gate, stage, c->timeout_ms != 0 ? &timed_kind : &idle_kind, NULL,
                              WEIR_OK);
    if (status != WEIR_OK)
        wi_deadlines_done(&t->deadlines, stage);
    return status;
}

static void timeout_close(weir_stage *stage, void *state)
{
    wi_gate_close(stage, state);
    wi_deadlines_done(&((timeout *)state)->deadlines, stage);
}

static weir_status timeout_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                    void *state)
{
    ((timeout *)state)->since_ns = weir_loop_now(weir_stage_loop(stage));
    return wi_gate_on_items(stage, in, items, n, state);
}

/* No item has come for as long as one is asked for, at most. */
static void idle_passed(weir_stage *stage, timeout *t)
{
    t->since_ns = weir_loop_now(weir_stage_loop(stage));
    if (t->config->idle_ends)
        weir_cancel(weir_stage_in(stage));
    else
        weir_stage_fail(stage, WEIR_EDEADLINE, "no item came in time");
}

/* The idle time runs while an item is asked for: since then, or since the last. */
static void timeout_run(weir_stage *stage, void *state)
{
    timeout *t = state;
    weir_in *in = weir_stage_in(stage);
    uint64_t now = weir_loop_now(weir_stage_loop(stage)), most = t->config->idle_ms * WEIR_MS;
    if (weir_in_outstanding(in) == 0)
        t->since_ns = now;
    else if (most != 0 && now - t->since_ns >= most)
        idle_passed(stage, t);
    wi_gate_run(stage, state);
    if (most != 0 && weir_in_outstanding(in) != 0 && !weir_timer_is_armed(&t->idle))
        weir_stage_wake_after(stage, &t->idle, t->since_ns + most - now);
}

static void timeout_let_go(weir_stage *stage, void *state)
{
    weir_timer_stop(weir_stage_loop(stage), &((timeout *)state)->idle);
    wi_gate_let_go(stage, state);
}

static const weir_stage_type timeout_type = {
    .name = "timeout",
    .config_size = sizeof(weir_timeout_config),
    .state_size = sizeof(timeout),
    .check = timeout_check,
    .open = timeout_open,
    .at_once = 1,
    .on_items = timeout_on_items,
    .run = timeout_run,
    .let_go = timeout_let_go,
    .close = timeout_close,
};

weir_stage_spec *weir_timeout(const weir_timeout_config *config)
{
    return weir_stage_of(&timeout_type, config);
}
