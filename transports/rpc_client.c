/* Calls of a client: how they start and end. */
#include "rpc_client_internal.h"

#include <string.h>

/* ---- The context of a call ---- */

static void cancelled(weir_context_watch *watch, weir_status status, void *user)
{
    weir_rpc_call *call = user;
    (void)watch;
    weir_context_cancel(&call->context, status);
    wi_rpc_call_fail(call, weir_rpc_code_of(status),
                     status == WEIR_EDEADLINE ? "deadline exceeded" : "cancelled");
}

/* The message of a cancel that was under way is behind by now. */
static void unwatched(weir_task *task, void *user)
{
    weir_rpc_call *call = user;
    if (++wi_rpc_try_of(call)->unwatched_turns < 2)
        weir_post(call->core->loop, task);
    else
        weir_rpc_release(call);
}

static void unwatch(weir_rpc_call *call)
{
    wi_rpc_try *t = wi_rpc_try_of(call);
    if (!t->watching)
        return;
    t->watching = false;
    if (weir_context_watch_stop(&t->watch))
        return;
    weir_rpc_hold(call);
    t->unwatched = (weir_task)WEIR_TASK(unwatched, call);
    weir_post(call->core->loop, &t->unwatched);
}

/* One of another loop cannot have children here: it is watched, and its deadline and trace taken
 * over. */
static void contextualise(weir_rpc_call *call, const weir_rpc_options *options)
{
    weir_context *parent = options->context;
    bool is_here = parent != NULL && parent->loop == call->core->loop;
    uint64_t due = 0;
    if (options->timeout_ms != 0)
        due = weir_credit_add(weir_loop_now(call->core->loop), options->timeout_ms * WEIR_MS);
    if (parent != NULL && parent->deadline_ns != 0 && (due == 0 || parent->deadline_ns < due))
        due = parent->deadline_ns;
    wi_rpc_call_contextualise(call, is_here ? parent : NULL, due);
    if (parent != NULL && !is_here)
        call->context.trace = parent->trace;
    if (parent == NULL)
        return;
    wi_rpc_try *t = wi_rpc_try_of(call);
    t->watching = true;
    weir_context_watch_start(&t->watch, parent, call->core->loop, cancelled, call);
}

/* ---- The side of the core ---- */

static void admitted(weir_rpc_call *call)
{
    wi_rpc_try_of(call)->admitted = true;
    call->head_sent = true;
    wi_rpc_call_tell_early(call);
    if (call->wire.is_stream || call->out_ended)
        wi_rpc_client_place(call);
}

/* What an error says lives as long as the call, if `error` is not static it is copied. */
static void keep_error(weir_rpc_call *call, const weir_rpc_error *error)
{
    call->error = *error;
    if (error->text.len == 0)
        return;
    const char *text = weir_arena_copy(&call->arena, error->text.at, error->text.len);
    call->error.text = (weir_http1_span){ text != NULL ? text : "",
                                          text != NULL ? error->text.len : 0 };
}

/* The caller's context may go as soon as it knows that the call is over; what is below the call's
 * stays there. */
static void leave_context(weir_rpc_call *call, weir_rpc_code code)
{
    unwatch(call);
    if (code != WEIR_RPC_OK)
        weir_context_cancel(&call->context, WEIR_ECANCELED);
    weir_context_part(&call->context);
}

/* It has no exchange and waits for nothing any more. */
static void settle(weir_rpc_call *call, const weir_rpc_error *error)
{
    weir_rpc_channel *channel = wi_rpc_channel_of(call);
    wi_rpc_try *t = wi_rpc_try_of(call);
    keep_error(call, error);
    if (!t->between)
        call->trailers = weir_rpc_wire_trailers(&call->wire, &call->trailer_count);
    wi_rpc_client_withdraw(call);
    weir_timer_stop(channel->loop, &t->again);
    leave_context(call, error->code);
    if (!t->counted)
        return;
    t->counted = false;
    channel->stats.calls--;
    if (error->code == WEIR_RPC_OK)
        channel->stats.succeeded++;
    else
        channel->stats.failed++;
}

static void give_up(weir_rpc_call *call, const weir_rpc_error *error)
{
    call->failed = true;
    settle(call, error);
    wi_rpc_call_over_soon(call, error->code);
}

static void ended(weir_rpc_call *call)
{
    const weir_rpc_error *error = weir_rpc_wire_error(&call->wire);
    settle(call, error);
    wi_rpc_call_over(call, call->error.code);
}

static weir_status send_end(weir_rpc_call *call)
{
    if (call->is_over || call->cancelled || call->out_ended)
        return WEIR_ECLOSED;
    if (call->one_out && !call->sent_one)
        return WEIR_EINVAL;
    if (call->exchange != NULL) {
        weir_status status = weir_http_exchange_end(call->exchange, NULL, 0);
        if (status != WEIR_OK)
            return status;
        wi_link_touch(call->conn);
    }
    call->out_ended = true;
    if (!call->wire.is_stream && wi_rpc_try_of(call)->admitted)
        wi_rpc_client_place(call);
    return WEIR_OK;
}

static void dirty(weir_rpc_call *call)
{
    if (call->exchange == NULL)
        return;
    wi_rpc_client_push(call);
    if (call->conn != NULL)
        wi_link_touch(call->conn);
}

static void let_go(weir_rpc_call *call)
{
    (void)call; /* it was settled */
}

static void freed(wi_rpc_core *core)
{
    wi_rpc_channel_maybe_end(core->user);
}

static size_t peer(const weir_rpc_call *call, char *buffer, size_t cap)
{
    return wi_link_peer(call->conn, buffer, cap);
}

static const char *peer_subject(const weir_rpc_call *call)
{
    return wi_link_peer_subject(call->conn);
}

const wi_rpc_side wi_rpc_client_side = {
    .is_client = true,
    .admitted = admitted,
    .fail = give_up,
    .ended = ended,
    .send_end = send_end,
    .dirty = dirty,
    .let_go = let_go,
    .freed = freed,
    .peer = peer,
    .peer_subject = peer_subject,
};

/* ---- The start ---- */

static bool has(const weir_rpc_options *options, const char *name)
{
    for (size_t i = 0; i < options->metadata_count; i++)
        if (weir_http1_span_is(options->metadata[i].name, name))
            return true;
    return false;
}

static char *put_hex(char *to, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        *to++ = digits[bytes[i] >> 4];
        *to++ = digits[bytes[i] & 15];
    }
    *to = '-';
    return to + 1;
}

static weir_status add_traceparent(weir_rpc_call *call)
{
    const weir_trace *trace = &wi_rpc_call_traced(call)->trace;
    char text[64] = "00-", *at = text + 3;
    at = put_hex(at, trace->trace_id, sizeof trace->trace_id);
    at = put_hex(at, trace->span_id, sizeof trace->span_id);
    at = put_hex(at, &trace->flags, 1);
    return wi_rpc_fields_add(call, &call->out_metadata, "traceparent", text,
                             (size_t)(at - 1 - text));
}

static weir_status add_metadata(weir_rpc_call *call, const weir_rpc_options *options)
{
    char name[256];
    for (size_t i = 0; i < options->metadata_count; i++) {
        const weir_http1_field *field = &options->metadata[i];
        if (field->name.len >= sizeof name)
            return WEIR_EINVAL;
        memcpy(name, field->name.at, field->name.len);
        name[field->name.len] = '\0';
        weir_status status = wi_rpc_fields_add(call, &call->out_metadata, name, field->value.at,
                                               field->value.len);
        if (status != WEIR_OK)
            return status;
    }
    return has(options, "traceparent") ? WEIR_OK : add_traceparent(call);
}

static weir_status equip(weir_rpc_call *call, const weir_rpc_handler *handler, void *user)
{
    static const weir_rpc_handler none;
    wi_rpc_try *t = weir_arena_take(&call->arena, sizeof *t);
    if (t == NULL)
        return WEIR_ENOMEM;
    memset(t, 0, sizeof *t);
    t->handler = handler != NULL ? *handler : none;
    call->side_data = t;
    call->retains = true;
    return wi_rpc_call_bind(call, &t->handler, user);
}

/* Nobody has heard of the call. */
static void drop(weir_rpc_call *call)
{
    static const weir_rpc_handler silent;
    call->handler = &silent;
    call->is_over = call->over_told = true;
    if (call->side_data != NULL) {
        weir_timer_stop(call->core->loop, &call->deadline);
        leave_context(call, WEIR_RPC_CANCELLED);
    }
    wi_rpc_call_maybe_free(call);
}

static weir_status prepare(weir_rpc_call *call, const weir_rpc_options *options,
                           const weir_rpc_handler *handler, void *user)
{
    weir_rpc_channel *channel = wi_rpc_channel_of(call);
    weir_status status = equip(call, handler, user);
    if (status != WEIR_OK)
        return status;
    contextualise(call, options);
    wi_rpc_try *t = wi_rpc_try_of(call);
    t->wait_for_ready = options->wait_for_ready;
    t->no_retry = options->no_retry;
    t->gzip = (channel->config.gzip || options->gzip) && !options->no_gzip;
    status = add_metadata(call, options);
    if (status == WEIR_OK)
        status = wi_rpc_client_prepare(call, &channel->targets[0].url);
    if (status != WEIR_OK)
        return status;
    t->counted = true;
    channel->stats.started++;
    channel->stats.last_started_ns = weir_loop_now(channel->loop);
    channel->stats.calls++;
    call->figures = &channel->figures;
    wi_rpc_client_budget_pay(channel);
    return WEIR_OK;
}

static weir_status begin(weir_rpc_channel *channel, const weir_rpc_method *method,
                         const weir_rpc_options *options, const weir_rpc_handler *handler,
                         void *user, weir_rpc_call **ret_call)
{
    static const weir_rpc_options none;
    if (method == NULL)
        return WEIR_EINVAL;
    if (channel->freed)
        return WEIR_ECLOSED;
    if (channel->core.live >= channel->config.calls_max)
        return WEIR_ELIMIT;
    weir_rpc_call *call = wi_rpc_call_new(&channel->core, method);
    if (call == NULL)
        return WEIR_ENOMEM;
    weir_status status = prepare(call, options != NULL ? options : &none, handler, user);
    if (status == WEIR_OK)
        *ret_call = call;
    else
        drop(call);
    return status;
}

/* Interceptors are asked by the task: nothing of the user's runs beneath the start. */
static void admit(weir_rpc_call *call)
{
    if (call->core->interceptor_count == 0) {
        wi_rpc_call_admit(call);
        return;
    }
    call->waits = call->resumed = true;
    wi_rpc_call_ready(call);
}

weir_status weir_rpc_start(weir_rpc_channel *channel, const weir_rpc_method *method,
                           const weir_rpc_options *options, const weir_rpc_handler *handler,
                           void *user, weir_rpc_call **ret_call)
{
    weir_rpc_call *call = NULL;
    weir_status status = begin(channel, method, options, handler, user, &call);
    if (status != WEIR_OK)
        return status;
    if (!call->one_out && call->handler->room != NULL) {
        call->begin_room = true;
        wi_rpc_call_ready(call);
    }
    admit(call);
    *ret_call = call;
    return WEIR_OK;
}

weir_status weir_rpc_ask(weir_rpc_channel *channel, const weir_rpc_method *method,
                         const weir_rpc_options *options, const ProtobufCMessage *request,
                         const weir_rpc_handler *handler, void *user, weir_rpc_call **ret_call)
{
    weir_rpc_call *call = NULL;
    if (method != NULL && method->kind != WEIR_RPC_UNARY && method->kind != WEIR_RPC_SERVER_STREAM)
        return WEIR_EINVAL;
    weir_status status = begin(channel, method, options, handler, user, &call);
    if (status != WEIR_OK)
        return status;
    status = weir_rpc_send(call, request);
    if (status != WEIR_OK) {
        weir_rpc_error error = wi_rpc_error_of(weir_rpc_code_of(status), "");
        settle(call, &error);
        drop(call);
        return status;
    }
    call->out_ended = true;
    admit(call);
    *ret_call = call;
    return WEIR_OK;
}
