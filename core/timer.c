/* Timers: an intrusive pairing heap, so that starting and stopping one never allocates.
 * Fredman, Sedgewick, Sleator, Tarjan, "The pairing heap", 1986. */
#include "wi_plant.h"
#include "wi_sim.h"

static weir_timer *meld(weir_timer *a, weir_timer *b)
{
    if (a == NULL)
        return b;
    if (b == NULL)
        return a;
    if (b->due_ns < a->due_ns) {
        weir_timer *swap = a;
        a = b;
        b = swap;
    }
    b->prev = a;
    b->sibling = a->child;
    if (a->child != NULL)
        a->child->prev = b;
    a->child = b;
    a->sibling = NULL;
    a->prev = NULL;
    return a;
}

/* Two passes over the siblings: meld in pairs left to right, then all of them right to left. */
static weir_timer *meld_siblings(weir_timer *first)
{
    weir_timer *pairs = NULL;
    while (first != NULL) {
        weir_timer *a = first, *b = first->sibling;
        first = b != NULL ? b->sibling : NULL;
        a->sibling = NULL;
        a->prev = NULL;
        if (b != NULL) {
            b->sibling = NULL;
            b->prev = NULL;
        }
        weir_timer *pair = meld(a, b);
        pair->sibling = pairs;
        pairs = pair;
    }
    weir_timer *root = NULL;
    while (pairs != NULL) {
        weir_timer *next = pairs->sibling;
        pairs->sibling = NULL;
        root = WI_PLANT(16) && root != NULL && next == NULL ? root : meld(root, pairs);
        pairs = next;
    }
    return root;
}

static void take_out(weir_loop *loop, weir_timer *timer)
{
    if (timer == loop->timers) {
        loop->timers = meld_siblings(timer->child);
    } else {
        if (timer->prev->child == timer)
            timer->prev->child = timer->sibling;
        else
            timer->prev->sibling = timer->sibling;
        if (timer->sibling != NULL)
            timer->sibling->prev = timer->prev;
        loop->timers = meld(loop->timers, meld_siblings(timer->child));
    }
    timer->child = timer->sibling = timer->prev = NULL;
    timer->armed = 0;
}

void weir_timer_start(weir_loop *loop, weir_timer *timer, uint64_t delay_ns,
                      void (*fire)(weir_timer *timer, void *user), void *user)
{
    if (timer->armed)
        take_out(loop, timer);
    (void)weir_loop_now(loop);
    timer->fire = fire;
    timer->user = user;
    /* At least the next turn: a timer that restarts itself must not hold the turn. */
    timer->due_ns = weir_credit_add(loop->now, delay_ns != 0 ? delay_ns : 1);
    timer->child = timer->sibling = timer->prev = NULL;
    timer->armed = 1;
    loop->timers = meld(loop->timers, timer);
    wi_loop_kick(loop);
}

void weir_timer_stop(weir_loop *loop, weir_timer *timer)
{
    if (timer->armed)
        take_out(loop, timer);
}

bool wi_timers_fire(weir_loop *loop)
{
    bool any = false;
    uint64_t now = loop->now;
    while (wi_timers_due(loop, now)) {
        weir_timer *timer = loop->timers;
        if (WI_UNLIKELY(loop->kit != NULL) && (timer = wi_sim_timer(loop)) == NULL)
            break;
        take_out(loop, timer);
        timer->fire(timer, timer->user);
        if (WI_UNLIKELY(loop->kit != NULL))
            wi_sim_after(loop, WI_STEP_TIMER, NULL);
        any = true;
    }
    return any;
}
