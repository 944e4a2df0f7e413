/* Deadlines of items under way, all as far away, so that a list of them is in order. */
#include "deadlines.h"

struct wi_deadline {
    weir_context context;
    weir_context_watch watch; /* of the item's own context, if that is another loop's */
    wi_deadlines *owner;
    wi_deadline *next, *prev; /* in the order of their times; or the free ones, by next */
    bool waits;
    uint64_t due_ns;
    weir_task recycle;
};

static weir_loop *loop_of(const wi_deadlines *d)
{
    return weir_stage_loop(d->gate->stage);
}

static void list_remove(wi_deadlines *d, wi_deadline *one)
{
    if (!one->waits)
        return;
    one->waits = false;
    *(one->prev != NULL ? &one->prev->next : &d->first) = one->next;
    *(one->next != NULL ? &one->next->prev : &d->last) = one->prev;
}

static void list_add(wi_deadlines *d, wi_deadline *one)
{
    one->waits = true;
    one->next = NULL;
    one->prev = d->last;
    *(d->last != NULL ? &d->last->next : &d->first) = one;
    d->last = one;
}

static void passed(weir_timer *timer, void *user)
{
    wi_deadlines *d = user;
    uint64_t now = weir_loop_now(loop_of(d));
    for (wi_deadline *one; (one = d->first) != NULL && one->due_ns <= now;) {
        list_remove(d, one);
        weir_context_cancel(&one->context, WEIR_EDEADLINE);
    }
    if (d->first != NULL)
        weir_timer_start(loop_of(d), timer, d->first->due_ns - now, passed, d);
}

static void parent_cancelled(weir_context_watch *watch, weir_status status, void *user)
{
    (void)watch;
    weir_context_cancel(&((wi_deadline *)user)->context, status);
}

/* A child has its parent's loop; below another loop's context stands one of our own that is told.
 */
static void context_begin(wi_deadline *one, weir_loop *loop, weir_context *of)
{
    bool is_near = of != NULL && of->loop == loop;
    uint64_t due = one->due_ns;
    if (of != NULL && of->deadline_ns != 0 && of->deadline_ns < due)
        due = of->deadline_ns;
    weir_context_init(&one->context, loop, is_near ? of : NULL, due);
    if (of == NULL || is_near)
        return;
    one->context.trace = of->trace;
    one->context.values = of->values;
    weir_context_watch_start(&one->watch, of, loop, parent_cancelled, one);
}

void wi_deadlines_begin(wi_deadlines *d, weir_item **items, size_t n)
{
    weir_loop *loop = loop_of(d);
    for (size_t i = 0; i < n; i++) {
        wi_deadline *one = d->free;
        d->free = one->next;
        d->n_free--;
        one->due_ns = weir_loop_now(loop) + d->ns;
        context_begin(one, loop, items[i]->context);
        list_add(d, one);
        if (!weir_timer_is_armed(&d->timer))
            weir_timer_start(loop, &d->timer, one->due_ns - weir_loop_now(loop), passed, d);
        items[i]->context = &one->context;
        *(wi_deadline **)weir_ticket_memory(items[i]) = one;
    }
}

static void recycle(weir_task *task, void *user)
{
    (void)task;
    wi_deadline *one = user;
    one->next = one->owner->free;
    one->owner->free = one;
    one->owner->n_free++;
    wi_gate_ended(one->owner->gate, 1);
}

/* A cancel may be on its way to the watch: then it is free behind it. */
static void timed_ended(void *memory, weir_outcome outcome, weir_status status)
{
    (void)outcome;
    (void)status;
    wi_deadline *one = *(wi_deadline **)memory;
    wi_deadlines *d = one->owner;
    list_remove(d, one);
    if (d->first == NULL)
        weir_timer_stop(loop_of(d), &d->timer);
    weir_context_done(&one->context);
    if (one->watch.context == NULL || weir_context_watch_stop(&one->watch)) {
        recycle(&one->recycle, one);
        return;
    }
    one->recycle = (weir_task)WEIR_TASK(recycle, one);
    weir_post(loop_of(d), &one->recycle);
}

const weir_ticket_type wi_deadline_type = { .name = "timed",
                                            .bytes = sizeof(wi_deadline *),
                                            .ended = timed_ended };

weir_status wi_deadlines_init(wi_deadlines *d, wi_gate *gate, const weir_env *env, uint32_t n,
                              uint64_t ns)
{
    d->gate = gate;
    d->ns = ns;
    d->all = weir_memory_new(env, n * sizeof *d->all);
    if (d->all == NULL)
        return WEIR_ENOMEM;
    for (d->n_free = 0; d->n_free < n; d->n_free++) {
        wi_deadline *one = &d->all[d->n_free];
        one->owner = d;
        one->next = d->free;
        d->free = one;
    }
    return WEIR_OK;
}

void wi_deadlines_done(wi_deadlines *d, weir_stage *stage)
{
    weir_timer_stop(weir_stage_loop(stage), &d->timer);
    weir_memory_free(weir_stage_env(stage), d->all);
}
