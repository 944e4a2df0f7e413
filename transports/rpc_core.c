/* The core of RPC calls: their memory, and the task that does what callbacks have asked for. */
#include "rpc_internal.h"

#include <string.h>

enum { AGAIN_MS = 10 };

/* ---- The task ---- */

static weir_rpc_call *take_ready(wi_rpc_core *core)
{
    weir_rpc_call *call = core->ready_first;
    core->ready_first = call->next_ready;
    if (core->ready_first == NULL)
        core->ready_last = NULL;
    call->is_ready = false;
    return call;
}

/* Those that are made ready meanwhile wait for the next turn. */
static void run(weir_task *task, void *user)
{
    wi_rpc_core *core = user;
    weir_rpc_call *last = core->ready_last;
    (void)task;
    while (core->ready_first != NULL) {
        weir_rpc_call *call = take_ready(core);
        wi_rpc_call_run(call);
        if (call == last)
            break;
    }
    if (core->ready_first != NULL)
        weir_post(core->loop, &core->task);
}

void wi_rpc_call_ready(weir_rpc_call *call)
{
    wi_rpc_core *core = call->core;
    if (call->is_ready)
        return;
    call->is_ready = true;
    call->next_ready = NULL;
    if (core->ready_last != NULL)
        core->ready_last->next_ready = call;
    else
        core->ready_first = call;
    core->ready_last = call;
    weir_post(core->loop, &core->task);
}

/* ---- Memory ---- */

static void list_add(weir_rpc_call **list, weir_rpc_call *call)
{
    call->previous = NULL;
    call->next = *list;
    if (*list != NULL)
        (*list)->previous = call;
    *list = call;
}

static void list_remove(weir_rpc_call **list, weir_rpc_call *call)
{
    if (call->previous != NULL)
        call->previous->next = call->next;
    else
        *list = call->next;
    if (call->next != NULL)
        call->next->previous = call->previous;
}

static weir_rpc_call *take_block(wi_rpc_core *core)
{
    weir_rpc_call *call = core->spare;
    if (call == NULL)
        return weir_memory_resize(core->env, NULL, sizeof *call);
    core->spare = call->next;
    core->spares--;
    return call;
}

static void give_block(wi_rpc_core *core, weir_rpc_call *call)
{
    if (core->spares == WI_RPC_POOL_MAX) {
        weir_memory_free(core->env, call);
        return;
    }
    call->next = core->spare;
    core->spare = call;
    core->spares++;
}

weir_rpc_call *wi_rpc_call_new(wi_rpc_core *core, const weir_rpc_method *method)
{
    weir_rpc_call *call = take_block(core);
    if (call == NULL)
        return NULL;
    memset(call, 0, offsetof(weir_rpc_call, call_memory));
    call->core = core;
    call->method = method;
    call->started_ns = weir_loop_now(core->loop);
    weir_arena_init(&call->arena, core->pool_env, call->call_memory, sizeof call->call_memory,
                    core->message_memory_max);
    weir_arena_init(&call->messages, core->pool_env, call->message_memory,
                    sizeof call->message_memory, core->message_memory_max);
    call->pending.env = call->out.env = core->pool_env;
    call->pending.bytes_max = call->out.bytes_max = SIZE_MAX; /* by the window, and by put */
    weir_context_init(&call->context, core->loop, NULL, 0);
    list_add(&core->calls, call);
    core->live++;
    return call;
}

static void free_call(weir_rpc_call *call)
{
    wi_rpc_core *core = call->core;
    weir_context_done(&call->context);
    weir_rpc_wire_done(&call->wire);
    weir_bytes_done(&call->pending);
    weir_bytes_done(&call->out);
    weir_arena_done(&call->arena);
    weir_arena_done(&call->messages);
    core->live--;
    give_block(core, call);
    if (core->side->freed != NULL)
        core->side->freed(core);
}

static void look_again(weir_timer *timer, void *user)
{
    wi_rpc_core *core = user;
    (void)timer;
    for (weir_rpc_call *call = core->waiting, *next; call != NULL; call = next) {
        next = call->next;
        if (call->holds != 0 || call->is_ready || !weir_context_is_bare(&call->context))
            continue;
        list_remove(&core->waiting, call);
        free_call(call);
    }
    if (core->waiting != NULL)
        weir_timer_start(core->loop, &core->again, AGAIN_MS * WEIR_MS, look_again, core);
}

/* Calls of clients below the context, and watches on it, end some turns after it was cancelled. */
void wi_rpc_call_maybe_free(weir_rpc_call *call)
{
    wi_rpc_core *core = call->core;
    if (!call->over_told || call->is_waiting || call->holds != 0 || call->is_ready)
        return;
    list_remove(&core->calls, call);
    if (weir_context_is_bare(&call->context)) {
        free_call(call);
        return;
    }
    call->is_waiting = true;
    list_add(&core->waiting, call);
    if (!weir_timer_is_armed(&core->again))
        weir_timer_start(core->loop, &core->again, AGAIN_MS * WEIR_MS, look_again, core);
}

/* ---- Drain ---- */

static void tell_drain(weir_rpc_call *call)
{
    if (call->opened && !call->mute && !call->is_over && !call->out_ended && !call->cancelled &&
        call->handler->drain != NULL)
        call->handler->drain(call, call->user);
}

/* What a handler does may free any call but the one it is told of and the next. */
void wi_rpc_core_drain(wi_rpc_core *core)
{
    weir_rpc_call *call = core->calls;
    if (call != NULL)
        weir_rpc_hold(call);
    while (call != NULL) {
        tell_drain(call);
        weir_rpc_call *next = call->next;
        if (next != NULL)
            weir_rpc_hold(next);
        weir_rpc_release(call);
        call = next;
    }
}

/* ---- Open and close ---- */

weir_status wi_rpc_core_open(wi_rpc_core *core)
{
    core->task = (weir_task)WEIR_TASK(run, core);
    if (core->pool_env == NULL)
        core->pool_env = core->env;
    if (core->wire_limits.no_gzip || !WEIR_HAVE_ZLIB)
        return WEIR_OK;
    core->gzip = weir_rpc_gzip_new(core->env);
    return core->gzip != NULL ? WEIR_OK : WEIR_ENOMEM;
}

void wi_rpc_core_close(wi_rpc_core *core)
{
    weir_timer_stop(core->loop, &core->again);
    while (core->spare != NULL) {
        weir_rpc_call *call = core->spare;
        core->spare = call->next;
        weir_memory_free(core->env, call);
    }
    weir_rpc_gzip_free(core->gzip);
    core->gzip = NULL;
}
