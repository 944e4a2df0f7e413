/* The life of a call: bound to its handler, let in by interceptors, opened, and over. */
#include "rpc_internal.h"

#include <assert.h>
#include <string.h>

/* ---- The beginning ---- */

static void set_kinds(weir_rpc_call *call)
{
    weir_rpc_kind kind = call->method->kind;
    bool one_request = kind == WEIR_RPC_UNARY || kind == WEIR_RPC_SERVER_STREAM;
    bool one_response = kind == WEIR_RPC_UNARY || kind == WEIR_RPC_CLIENT_STREAM;
    bool is_client = call->core->side->is_client;
    call->one_in = is_client ? one_response : one_request;
    call->one_out = is_client ? one_request : one_response;
}

weir_status wi_rpc_call_bind(weir_rpc_call *call, const weir_rpc_handler *handler, void *user)
{
    call->handler = handler;
    call->user = user;
    set_kinds(call);
    if (handler->state_size == 0)
        return WEIR_OK;
    call->state = weir_arena_take(&call->arena, handler->state_size);
    if (call->state == NULL)
        return WEIR_ENOMEM;
    memset(call->state, 0, handler->state_size);
    return WEIR_OK;
}

/* ---- Deadline and trace ---- */

enum { TAKE_MS = 1000 }; /* for the peer to take the answer that it came too late for */

/* On a server it comes again for an answer that nobody takes: side->fail gives it up then. */
static void deadline_came(weir_timer *timer, void *user)
{
    weir_rpc_call *call = user;
    wi_rpc_core *core = call->core;
    const char *text = "deadline exceeded";
    bool is_answered = call->failed && !core->side->is_client;
    weir_context_cancel(&call->context, WEIR_EDEADLINE);
    call->timed_out = true;
    wi_rpc_call_deafen(call);
    if (is_answered) {
        weir_rpc_error error = wi_rpc_error_of(WEIR_RPC_DEADLINE_EXCEEDED, text);
        core->side->fail(call, &error);
        return;
    }
    wi_rpc_call_fail(call, WEIR_RPC_DEADLINE_EXCEEDED, text);
    if (!core->side->is_client && !call->is_over)
        weir_timer_start(core->loop, timer, TAKE_MS * WEIR_MS, deadline_came, call);
}

static int hex_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(const char *text, uint8_t *bytes, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++) {
        int high = hex_of(text[2 * i]), low = hex_of(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
        any |= bytes[i];
    }
    return any != 0 || n == 1;
}

/* https://www.w3.org/TR/trace-context/#traceparent-header: later versions may go on behind it. */
static bool read_traceparent(weir_http1_span text, weir_trace *trace)
{
    uint8_t version, parent[8];
    if (text.len < 55 || text.at[2] != '-' || text.at[35] != '-' || text.at[52] != '-' ||
        !read_hex(text.at, &version, 1) || version == 0xff || (version == 0 && text.len != 55) ||
        (text.len > 55 && text.at[55] != '-'))
        return false;
    return read_hex(text.at + 3, trace->trace_id, 16) && read_hex(text.at + 36, parent, 8) &&
           read_hex(text.at + 53, &trace->flags, 1);
}

static void put_random(weir_loop *loop, uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t bits = weir_loop_entropy(loop) | 1;
        memcpy(bytes + i, &bits, 8);
    }
}

static bool has_trace(const weir_context *context)
{
    static const weir_trace none;
    return memcmp(context->trace.trace_id, none.trace_id, sizeof none.trace_id) != 0;
}

/* The span is the call's own: what it calls names it as its parent. Most calls are never asked. */
weir_context *wi_rpc_call_traced(weir_rpc_call *call)
{
    weir_trace *trace = &call->context.trace;
    weir_trace read = { 0 };
    if (call->traced)
        return &call->context;
    call->traced = true;
    weir_http1_span text = weir_rpc_metadata_find(call, "traceparent");
    if (has_trace(&call->context)) /* that of a parent on another loop */
        return &call->context;
    if (text.at != NULL && read_traceparent(text, &read))
        *trace = read;
    else
        put_random(call->core->loop, trace->trace_id, sizeof trace->trace_id);
    put_random(call->core->loop, trace->span_id, sizeof trace->span_id);
    return &call->context;
}

void wi_rpc_call_contextualise(weir_rpc_call *call, weir_context *parent, uint64_t deadline_ns)
{
    wi_rpc_core *core = call->core;
    if (parent != NULL || deadline_ns != 0)
        weir_context_init(&call->context, core->loop, parent, deadline_ns);
    call->traced = has_trace(&call->context);
    deadline_ns = call->context.deadline_ns;
    if (deadline_ns == 0)
        return;
    uint64_t now = weir_loop_now(core->loop);
    weir_timer_start(core->loop, &call->deadline, deadline_ns > now ? deadline_ns - now : 0,
                     deadline_came, call);
}

/* ---- Interceptors ---- */

static void refuse(weir_rpc_call *call, weir_status status)
{
    wi_rpc_call_fail(call, weir_rpc_code_of(status), weir_status_text(status));
}

static bool may_begin(const weir_rpc_call *call)
{
    bool answered = call->out_ended && !call->core->side->is_client;
    return !call->failed && !answered && !call->is_over && !call->cancelled;
}

void wi_rpc_call_admit(weir_rpc_call *call)
{
    wi_rpc_core *core = call->core;
    call->waits = false;
    while (call->intercepted < core->interceptor_count && may_begin(call)) {
        const weir_rpc_interceptor *at = core->interceptors[call->intercepted++];
        if (at->begin == NULL)
            continue;
        call->resumed = false;
        weir_status status = at->begin(call, at->user);
        if (status == WEIR_EAGAIN && may_begin(call)) {
            call->waits = true;
            if (call->resumed)
                wi_rpc_call_ready(call);
            return;
        }
        if (status != WEIR_OK && status != WEIR_EAGAIN && may_begin(call))
            refuse(call, status);
    }
    if (may_begin(call))
        core->side->admitted(call);
}

void weir_rpc_resume(weir_rpc_call *call)
{
    call->resumed = true;
    if (call->waits && !call->is_over)
        wi_rpc_call_ready(call);
}

/* ---- Open ---- */

void wi_rpc_call_open(weir_rpc_call *call)
{
    if (!may_begin(call))
        return;
    call->opened = true;
    if (call->one_in)
        call->asked = 1;
    if (call->handler->begin != NULL && !call->mute)
        call->handler->begin(call, call->user);
    if (!call->one_in && !call->core->side->is_client) /* which has been told */
        wi_rpc_call_first_room(call);
    wi_rpc_call_pump(call);
}

/* ---- Failure ---- */

void wi_rpc_call_fail_with(weir_rpc_call *call, const weir_rpc_error *error)
{
    wi_rpc_call_deafen(call);
    if (call->failed || call->is_over)
        return;
    call->failed = true;
    call->core->side->fail(call, error);
}

void wi_rpc_call_fail(weir_rpc_call *call, weir_rpc_code code, const char *text)
{
    weir_rpc_error error = wi_rpc_error_of(code, text);
    wi_rpc_call_fail_with(call, &error);
}

void weir_rpc_cancel(weir_rpc_call *call)
{
    if (call == NULL || call->is_over || call->cancelled)
        return;
    call->cancelled = true;
    weir_context_cancel(&call->context, WEIR_ECANCELED);
    if (call->out_ended && !call->core->side->is_client)
        return;
    wi_rpc_call_fail(call, WEIR_RPC_CANCELLED, "cancelled");
}

/* ---- The end ---- */

static void count_over(weir_rpc_call *call)
{
    wi_rpc_figures *figures = call->figures;
    if (figures == NULL || call->core->side->is_client) /* whose channel counts calls itself */
        return;
    uint64_t took = weir_loop_now(call->core->loop) - call->started_ns;
    uint32_t bucket = took > 128 ? 64 - (uint32_t)__builtin_clzll((took - 1) >> 7) : 0;
    if (bucket >= WEIR_DURATION_BUCKETS)
        bucket = WEIR_DURATION_BUCKETS - 1;
    wi_rpc_count(&figures->by_code[call->code <= WEIR_RPC_UNAUTHENTICATED ? call->code : 2], 1);
    wi_rpc_count(&figures->duration[bucket], 1);
    wi_rpc_count(&figures->duration_ns, took);
    wi_rpc_count(&figures->in_flight, (uint64_t)-1);
}

static void tell_over(weir_rpc_call *call)
{
    wi_rpc_core *core = call->core;
    if (call->receiver != NULL && call->receiver->over != NULL)
        call->receiver->over(call, call->code, call->receiver_user);
    if (call->sender != NULL && call->sender != call->receiver && call->sender->over != NULL)
        call->sender->over(call, call->code, call->sender_user);
    bool knows = call->opened || core->side->is_client;
    if (knows && !call->mute && call->handler->over != NULL)
        call->handler->over(call, call->code, call->user);
    while (call->intercepted > 0) {
        const weir_rpc_interceptor *at = core->interceptors[--call->intercepted];
        if (at->over != NULL)
            at->over(call, call->code, at->user);
    }
}

/* An item that was answered, and goes on, was not given up; nor is what came of a client's call
 * that ended well. */
static bool goes_on_well(const weir_rpc_call *call)
{
    if (call->core->side->is_client)
        return call->code == WEIR_RPC_OK;
    return call->item_live && call->out_ended && !call->failed && !call->cancelled;
}

void wi_rpc_call_over(weir_rpc_call *call, weir_rpc_code code)
{
    if (call->over_told)
        return;
    if (!call->is_over)
        call->code = code;
    call->is_over = call->over_told = true;
    call->exchange = NULL;
    call->waits = false;
    wi_rpc_call_deafen(call);
    weir_timer_stop(call->core->loop, &call->deadline);
    if (!goes_on_well(call))
        weir_context_cancel(&call->context, WEIR_ECANCELED);
    count_over(call);
    call->holds++; /* until all were told */
    tell_over(call);
    call->core->side->let_go(call);
    weir_rpc_release(call);
}

void wi_rpc_call_over_soon(weir_rpc_call *call, weir_rpc_code code)
{
    if (call->is_over)
        return;
    call->is_over = true;
    call->code = code;
    wi_rpc_call_deafen(call);
    wi_rpc_call_ready(call);
}

void wi_rpc_call_run(weir_rpc_call *call)
{
    if (call->is_over && !call->over_told)
        wi_rpc_call_over(call, call->code); /* it may be freed now */
    else if (call->over_told)
        wi_rpc_call_maybe_free(call);
    else if (call->begin_room)
        wi_rpc_call_late_room(call);
    else if (call->waits && call->resumed)
        wi_rpc_call_admit(call);
    else if (call->opened)
        wi_rpc_call_pump(call);
}

void weir_rpc_hold(weir_rpc_call *call)
{
    call->holds++;
}

void weir_rpc_release(weir_rpc_call *call)
{
    assert(call->holds > 0);
    call->holds--;
    wi_rpc_call_maybe_free(call);
}
