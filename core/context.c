/* Contexts: a tree of cancellation and deadlines; watches are told on their own loop. */
#include "wi_core.h"

#include <assert.h>
#include <string.h>

enum { WATCH_OFF, WATCH_ON, WATCH_TOLD, WATCH_DROPPED };

/* Held for a few instructions: only to put a watch on a list or take it off. */
static void lock(weir_context *context)
{
    while (__atomic_exchange_n(&context->lock, 1, __ATOMIC_ACQUIRE) != 0)
        ;
}

static void unlock(weir_context *context)
{
    __atomic_store_n(&context->lock, 0, __ATOMIC_RELEASE);
}

void weir_context_init(weir_context *context, weir_loop *loop, weir_context *parent,
                       uint64_t deadline_ns)
{
    memset(context, 0, sizeof *context);
    context->loop = loop;
    context->parent = parent;
    context->deadline_ns = deadline_ns;
    if (parent == NULL)
        return;
    assert(parent->loop == loop);
    if (parent->deadline_ns != 0 && (deadline_ns == 0 || deadline_ns > parent->deadline_ns))
        context->deadline_ns = parent->deadline_ns;
    context->trace = parent->trace;
    context->values = parent->values;
    context->state = parent->state;
    context->next = parent->children;
    if (parent->children != NULL)
        parent->children->prev = context;
    parent->children = context;
}

void weir_context_part(weir_context *context)
{
    if (context->parent == NULL)
        return;
    if (context->prev != NULL)
        context->prev->next = context->next;
    else if (context->parent->children == context)
        context->parent->children = context->next;
    if (context->next != NULL)
        context->next->prev = context->prev;
    context->parent = context->next = context->prev = NULL;
}

void weir_context_done(weir_context *context)
{
    assert(context->children == NULL && context->watches == NULL);
    weir_context_part(context);
}

bool weir_context_is_bare(weir_context *context)
{
    lock(context);
    bool bare = context->children == NULL && context->watches == NULL;
    unlock(context);
    return bare;
}

static void tell_watches(weir_context *context, weir_status status)
{
    lock(context);
    for (weir_context_watch *watch = context->watches; watch != NULL; watch = watch->next) {
        if (watch->state != WATCH_ON)
            continue;
        watch->state = WATCH_TOLD;
        watch->status = status;
        weir_post(watch->loop, &watch->task);
    }
    unlock(context);
}

/* Down the tree without recursion: a child, then its siblings, then back up. */
void weir_context_cancel(weir_context *context, weir_status status)
{
    weir_context *at = context;
    if (status == WEIR_OK || __atomic_load_n(&context->state, __ATOMIC_RELAXED) != 0)
        return;
    for (;;) {
        if (__atomic_load_n(&at->state, __ATOMIC_RELAXED) == 0) {
            __atomic_store_n(&at->state, (int)status, __ATOMIC_RELEASE);
            tell_watches(at, status);
            if (at->children != NULL) {
                at = at->children;
                continue;
            }
        }
        while (at != context && at->next == NULL)
            at = at->parent;
        if (at == context)
            return;
        at = at->next;
    }
}

weir_status weir_context_status(const weir_context *context, uint64_t now_ns)
{
    if (context == NULL)
        return WEIR_OK;
    int state = __atomic_load_n(&context->state, __ATOMIC_ACQUIRE);
    if (state != 0)
        return (weir_status)state;
    return context->deadline_ns != 0 && now_ns >= context->deadline_ns ? WEIR_EDEADLINE : WEIR_OK;
}

uint64_t weir_context_left(const weir_context *context, uint64_t now_ns)
{
    if (weir_context_status(context, now_ns) != WEIR_OK)
        return 0;
    return context == NULL || context->deadline_ns == 0 ? UINT64_MAX
                                                        : context->deadline_ns - now_ns;
}

/* ---- Watches ---- */

static void watch_run(weir_task *task, void *user)
{
    weir_context_watch *watch = user;
    (void)task;
    int state = watch->state;
    watch->state = WATCH_OFF;
    if (state == WATCH_TOLD)
        watch->cancelled(watch, (weir_status)watch->status, watch->user);
}

void weir_context_watch_start(weir_context_watch *watch, weir_context *context, weir_loop *loop,
                              void (*cancelled)(weir_context_watch *watch, weir_status status,
                                                void *user),
                              void *user)
{
    assert(watch->state == WATCH_OFF);
    watch->cancelled = cancelled;
    watch->user = user;
    watch->context = context;
    watch->loop = loop;
    watch->prev = NULL;
    watch->task.run = watch_run;
    watch->task.user = watch;
    lock(context);
    watch->next = context->watches;
    if (context->watches != NULL)
        context->watches->prev = watch;
    context->watches = watch;
    watch->state = WATCH_ON;
    int state = __atomic_load_n(&context->state, __ATOMIC_ACQUIRE);
    if (state != 0) {
        watch->state = WATCH_TOLD;
        watch->status = state;
        weir_post(loop, &watch->task);
    }
    unlock(context);
}

bool weir_context_watch_stop(weir_context_watch *watch)
{
    weir_context *context = watch->context;
    if (context == NULL)
        return watch->state == WATCH_OFF;
    lock(context);
    if (watch->prev != NULL)
        watch->prev->next = watch->next;
    else
        context->watches = watch->next;
    if (watch->next != NULL)
        watch->next->prev = watch->prev;
    watch->context = NULL;
    watch->next = watch->prev = NULL;
    if (watch->state == WATCH_ON)
        watch->state = WATCH_OFF;
    else if (watch->state == WATCH_TOLD)
        watch->state = WATCH_DROPPED;
    bool idle = watch->state == WATCH_OFF;
    unlock(context);
    return idle;
}
