/* timeout: a deadline for each item below it, and for the next item to come. */
#include <weir/stages.h>

#include "gate.h"

enum { IN_FLIGHT_DEFAULT = 256, IN_FLIGHT_MAX = 65536, DAY_MS = 86400000 };

typedef struct timeout timeout;

/* One item under way. */
typedef struct slot {
    weir_context context;
    weir_context_watch watch; /* of the item's own context, if that is another loop's */
    timeout *owner;
    struct slot *next, *prev; /* in the order of their deadlines; or the free ones, by next */
    bool waits;
    uint64_t due_ns;
    weir_task recycle;
} slot;

struct timeout {
    wi_gate gate;
    const weir_timeout_config *config;
    slot *slots, *free, *first, *last;
    uint64_t n_free, since_ns; /* since: when an item, or demand, last came */
    weir_timer timer, idle;
};

/* ---- Deadlines: all are as far away, so a list is in order ---- */

static void list_remove(timeout *t, slot *s)
{
    if (!s->waits)
        return;
    s->waits = false;
    *(s->prev != NULL ? &s->prev->next : &t->first) = s->next;
    *(s->next != NULL ? &s->next->prev : &t->last) = s->prev;
}

static void list_add(timeout *t, slot *s)
{
    s->waits = true;
    s->next = NULL;
    s->prev = t->last;
    *(t->last != NULL ? &t->last->next : &t->first) = s;
    t->last = s;
}

static void deadline_passed(weir_timer *timer, void *user)
{
    timeout *t = user;
    weir_loop *loop = weir_stage_loop(t->gate.stage);
    uint64_t now = weir_loop_now(loop);
    for (slot *s; (s = t->first) != NULL && s->due_ns <= now;) {
        list_remove(t, s);
        weir_context_cancel(&s->context, WEIR_EDEADLINE);
    }
    if (t->first != NULL)
        weir_timer_start(loop, timer, t->first->due_ns - now, deadline_passed, t);
}

static void parent_cancelled(weir_context_watch *watch, weir_status status, void *user)
{
    (void)watch;
    weir_context_cancel(&((slot *)user)->context, status);
}

/* A child has its parent's loop; below another loop's context stands one of our own that is told.
 */
static void context_begin(slot *s, weir_loop *loop, weir_context *of)
{
    bool is_near = of != NULL && of->loop == loop;
    uint64_t due = s->due_ns;
    if (of != NULL && of->deadline_ns != 0 && of->deadline_ns < due)
        due = of->deadline_ns;
    weir_context_init(&s->context, loop, is_near ? of : NULL, due);
    if (of == NULL || is_near)
        return;
    s->context.trace = of->trace;
    s->context.values = of->values;
    weir_context_watch_start(&s->watch, of, loop, parent_cancelled, s);
}

static void slot_begin(timeout *t, weir_item *ticket)
{
    weir_loop *loop = weir_stage_loop(t->gate.stage);
    slot *s = t->free;
    t->free = s->next;
    t->n_free--;
    s->due_ns = weir_loop_now(loop) + t->config->timeout_ms * WEIR_MS;
    context_begin(s, loop, ticket->context);
    list_add(t, s);
    if (!weir_timer_is_armed(&t->timer))
        weir_timer_start(loop, &t->timer, s->due_ns - weir_loop_now(loop), deadline_passed, t);
    ticket->context = &s->context;
    *(slot **)weir_ticket_memory(ticket) = s;
}

static void slot_recycle(weir_task *task, void *user)
{
    (void)task;
    slot *s = user;
    s->next = s->owner->free;
    s->owner->free = s;
    s->owner->n_free++;
    wi_gate_ended(&s->owner->gate, 1);
}

/* A cancel may be on its way to the watch: then the slot is free behind it. */
static void timed_ended(void *memory, weir_outcome outcome, weir_status status)
{
    (void)outcome;
    (void)status;
    slot *s = *(slot **)memory;
    timeout *t = s->owner;
    list_remove(t, s);
    if (t->first == NULL)
        weir_timer_stop(weir_stage_loop(t->gate.stage), &t->timer);
    weir_context_done(&s->context);
    if (s->watch.context == NULL || weir_context_watch_stop(&s->watch)) {
        slot_recycle(&s->recycle, s);
        return;
    }
    s->recycle = (weir_task)WEIR_TASK(slot_recycle, s);
    weir_post(weir_stage_loop(t->gate.stage), &s->recycle);
}

/* ---- The gate ---- */

static uint64_t timeout_look(wi_gate *gate, uint64_t most)
{
    uint64_t n = ((timeout *)gate)->n_free;
    return n < most ? n : most;
}

static size_t timeout_take(wi_gate *gate, weir_item *const *items, size_t n)
{
    (void)items;
    return (size_t)timeout_look(gate, n);
}

/* By tickets of their own, as each has a context of its own. */
static size_t timeout_follow(wi_gate *gate, weir_item **items, size_t n)
{
    weir_loop *loop = weir_stage_loop(gate->stage);
    size_t made = weir_tickets(loop, gate->kind->ticket, items, n);
    for (size_t i = 0; i < made; i++)
        slot_begin((timeout *)gate, items[i]);
    return made;
}

static const weir_ticket_type timed_type = { .name = "timed",
                                             .bytes = sizeof(slot *),
                                             .ended = timed_ended };

static const wi_gate_kind timed_kind = {
    .take = timeout_take, .look = timeout_look, .ticket = &timed_type, .follow = timeout_follow
};
static const wi_gate_kind idle_kind = { .take = timeout_take, .look = timeout_look };

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
    uint32_t n = c->in_flight != 0 ? c->in_flight : IN_FLIGHT_DEFAULT;
    t->config = c;
    t->n_free = UINT64_MAX;
    if (c->timeout_ms != 0) {
        t->slots = weir_memory_new(weir_stage_env(stage), n * sizeof *t->slots);
        t->n_free = n;
        if (t->slots == NULL)
            return WEIR_ENOMEM;
    }
    for (uint32_t i = n; c->timeout_ms != 0 && i-- > 0;) {
        t->slots[i].owner = t;
        t->slots[i].next = t->free;
        t->free = &t->slots[i];
    }
    weir_status status = wi_gate_open(&t->gate, stage,
                                      c->timeout_ms != 0 ? &timed_kind : &idle_kind, NULL, WEIR_OK);
    if (status != WEIR_OK)
        weir_memory_free(weir_stage_env(stage), t->slots);
    return status;
}

static void timeout_close(weir_stage *stage, void *state)
{
    timeout *t = state;
    weir_timer_stop(weir_stage_loop(stage), &t->timer);
    wi_gate_close(stage, state);
    weir_memory_free(weir_stage_env(stage), t->slots);
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
