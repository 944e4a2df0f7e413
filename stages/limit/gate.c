/* The gate of the limiting stages: holds or rejects what may not pass, and waits for it. */
#include "gate.h"

/* ---- Passing ---- */

/* With tickets, where the kind has them; without memory for one its item fails. */
static void emit(wi_gate *g, weir_item **items, size_t n)
{
    weir_stage *stage = g->stage;
    size_t made = n;
    if (g->kind->ticket != NULL) {
        made = g->kind->follow(g, items, n);
        g->under_way += made;
        if (!g->is_held && made > 0)
            weir_stage_hold(stage); /* ends come to an open stage */
        g->is_held |= made > 0;
    }
    weir_emit_all(weir_stage_out(stage), items, made);
    for (size_t i = made; i < n; i++)
        weir_fail(stage, items[i], WEIR_ENOMEM, "no memory to follow the item");
}

/* Lets pass what may of items[0..n), all of which fit below; rejects, or stops, where one may not.
 * Gives how many are done with. */
static size_t pass(wi_gate *g, weir_item **items, size_t n)
{
    size_t done = 0;
    while (done < n) {
        size_t passed = g->kind->take(g, items + done, n - done);
        if (passed > 0)
            emit(g, items + done, passed);
        done += passed;
        if (done == n || g->reject == WEIR_OK)
            break;
        weir_reject(g->stage, items[done++], g->reject, g->kind->why);
    }
    return done;
}

/* Says whether the limit is in the way. */
static bool pass_held(wi_gate *g)
{
    weir_out *out = weir_stage_out(g->stage);
    for (weir_item *item; (item = wi_queue_first(&g->held)) != NULL;) {
        if (!weir_out_fits(out, item->cost))
            return false;
        bool passes = g->kind->take(g, &item, 1) > 0;
        if (!passes && g->reject == WEIR_OK)
            return true;
        (void)wi_queue_pop(&g->held);
        if (passes)
            emit(g, &item, 1);
        else
            weir_reject(g->stage, item, g->reject, g->kind->why);
    }
    return false;
}

/* Asks for what may pass. Says whether the limit is in the way. */
static bool ask(wi_gate *g)
{
    weir_in *in = weir_stage_in(g->stage);
    uint64_t credit = weir_out_credit(weir_stage_out(g->stage));
    uint64_t most = credit < WI_GATE_AHEAD_MAX ? credit : WI_GATE_AHEAD_MAX;
    if (most == 0)
        return false;
    weir_request_to(in, g->reject != WEIR_OK ? most : g->kind->look(g, most));
    return weir_in_outstanding(in) == 0;
}

static bool attempt(wi_gate *g)
{
    g->wait_ns = 0;
    if (pass_held(g))
        return true;
    return !weir_finish(g->stage, g->held.n) && g->held.n == 0 && ask(g);
}

/* ---- Waiting ---- */

static void wait_over(wi_gate *g)
{
    g->waiter.begun = false;
    weir_stage_release(g->stage);
}

static void woken(weir_task *task, void *user)
{
    (void)task;
    wi_gate *g = user;
    wait_over(g);
    if (!g->is_cut)
        wi_gate_run(g->stage, g);
    if (g->is_cut || (!g->waiter.begun && g->kind->look(g, 1) > 0)) /* room it had no use for */
        wi_waiters_wake(g->waiters, false);
}

static bool wait_begin(wi_gate *g)
{
    if (g->waiters == NULL || g->waiter.begun)
        return false;
    g->waiter.begun = true;
    weir_stage_hold(g->stage);
    wi_waiters_add(g->waiters, &g->waiter);
    return true;
}

static void wait_end(wi_gate *g)
{
    if (g->waiter.begun && wi_waiters_remove(g->waiters, &g->waiter))
        wait_over(g);
}

void wi_gate_run(weir_stage *stage, void *state)
{
    wi_gate *g = state;
    bool in_the_way = attempt(g);
    if (in_the_way && wait_begin(g))
        in_the_way = attempt(g); /* what was let go before we were on the list */
    if (!in_the_way)
        wait_end(g);
    if (in_the_way && g->wait_ns != 0)
        weir_stage_wake_after(stage, &g->timer, g->wait_ns);
}

void wi_gate_change(wi_gate *g, weir_status reject)
{
    g->reject = reject;
    weir_timer_stop(weir_stage_loop(g->stage), &g->timer); /* it waits for the old limit */
}

/* ---- Ends ---- */

static void settle(weir_task *task, void *user)
{
    (void)task;
    wi_gate *g = user;
    if (g->kind->settle != NULL)
        g->kind->settle(g);
    g->is_held = g->under_way != 0;
    if (g->is_held)
        weir_stage_wake(g->stage);
    else
        weir_stage_release(g->stage); /* which wakes it, too */
}

void wi_gate_ended(wi_gate *g, uint64_t n)
{
    g->under_way -= n;
    if (!g->settle.queued)
        weir_loop_defer(weir_stage_loop(g->stage), &g->settle);
}

/* ---- The stage ---- */

bool wi_gate_is_status(weir_status status)
{
    return status <= WEIR_OK && status > -WEIR_STATUS_COUNT;
}

weir_status wi_gate_reject(bool rejects, weir_status status, weir_status usual)
{
    return !rejects ? WEIR_OK : status != WEIR_OK ? status : usual;
}

weir_status wi_gate_open(wi_gate *g, weir_stage *stage, const wi_gate_kind *kind,
                         wi_waiters *waiters, weir_status reject)
{
    g->stage = stage;
    g->kind = kind;
    g->waiters = waiters;
    g->reject = reject;
    g->settle = (weir_task)WEIR_TASK(settle, g);
    g->waiter.task = (weir_task)WEIR_TASK(woken, g);
    g->waiter.loop = weir_stage_loop(stage);
    return wi_queue_init(&g->held, weir_stage_env(stage), WI_GATE_AHEAD_MAX);
}

weir_status wi_gate_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                             void *state)
{
    (void)in;
    wi_gate *g = state;
    size_t done = 0;
    if (g->held.n == 0 && weir_out_room(weir_stage_out(stage), items, n) == n)
        done = pass(g, items, n);
    if (done < n)
        wi_queue_take(&g->held, stage, items + done, n - done, false);
    return WEIR_OK;
}

void wi_gate_let_go(weir_stage *stage, void *state)
{
    wi_gate *g = state;
    g->is_cut = true;
    if (g->kind->cut != NULL)
        g->kind->cut(g);
    weir_timer_stop(weir_stage_loop(stage), &g->timer);
    wi_queue_abort(&g->held);
    wait_end(g);
}

void wi_gate_close(weir_stage *stage, void *state)
{
    wi_queue_done(&((wi_gate *)state)->held, weir_stage_env(stage));
}
