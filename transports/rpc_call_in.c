/* What comes for a call: bytes into messages, as they are asked for, and the end. */
#include "rpc_internal.h"

#include <string.h>

static bool wants(const weir_rpc_call *call)
{
    return !call->in_over && !call->gated && (call->asked > 0 || call->one_in);
}

void wi_rpc_call_deafen(weir_rpc_call *call)
{
    call->in_over = true;
    if (!call->pumping) /* which reads it */
        weir_bytes_done(&call->pending);
}

static void wire_failed(weir_rpc_call *call)
{
    wi_rpc_call_fail_with(call, weir_rpc_wire_error(&call->wire));
}

/* ---- Messages ---- */

static weir_rpc_code code_of_unpack(const weir_rpc_call *call, weir_status status)
{
    if (status == WEIR_ELIMIT || status == WEIR_ENOMEM)
        return WEIR_RPC_RESOURCE_EXHAUSTED;
    return call->core->side->is_client ? WEIR_RPC_INTERNAL : WEIR_RPC_INVALID_ARGUMENT;
}

static weir_arena *arena_of(weir_rpc_call *call)
{
    if (call->receiver != NULL && call->receiver->arena != NULL)
        return call->receiver->arena(call, call->receiver_user);
    if (!call->one_in)
        weir_arena_reset(&call->messages);
    return &call->messages;
}

static ProtobufCMessage *unpack(weir_rpc_call *call, weir_http1_span bytes)
{
    const wi_rpc_core *core = call->core;
    const ProtobufCMessageDescriptor *type = core->side->is_client ? call->method->response
                                                                   : call->method->request;
    ProtobufCMessage *message = NULL;
    const char *why = "";
    weir_status status = WEIR_ENOMEM;
    weir_arena *arena = arena_of(call);
    if (arena == NULL)
        why = "no memory";
    else if (call->wire.codec == WEIR_RPC_JSON)
        status = weir_protobuf_from_json(type, bytes.at, bytes.len, &core->json, arena, &message,
                                         &why);
    else
        status = weir_protobuf_unpack(type, bytes.at, bytes.len, &core->json.limits, arena,
                                      &message, &why);
    if (status == WEIR_OK)
        return message;
    wi_rpc_call_fail(call, code_of_unpack(call, status), why);
    return NULL;
}

static void tell_message(weir_rpc_call *call, const ProtobufCMessage *message, size_t bytes)
{
    const wi_rpc_core *core = call->core;
    for (size_t i = 0; i < core->interceptor_count && i < call->intercepted; i++)
        if (core->interceptors[i]->received != NULL)
            core->interceptors[i]->received(call, message, core->interceptors[i]->user);
    if (call->in_over)
        return;
    if (call->receiver != NULL)
        call->receiver->message(call, message, bytes, call->receiver_user);
    else if (call->handler->message != NULL)
        call->handler->message(call, message, call->user);
}

static void deliver(weir_rpc_call *call, weir_http1_span bytes)
{
    if (call->one_in && call->got_one) {
        wi_rpc_call_fail(call, WEIR_RPC_UNIMPLEMENTED, "more than one message");
        return;
    }
    ProtobufCMessage *message = unpack(call, bytes);
    if (message == NULL)
        return;
    if (call->figures != NULL) {
        wi_rpc_count(&call->figures->messages_in, 1);
        wi_rpc_count(&call->figures->bytes_in, bytes.len);
    }
    if (call->one_in) { /* it is told once it is certain to be the only one */
        call->got_one = true;
        call->request = message;
        call->request_bytes = bytes.len;
        return;
    }
    if (call->asked != WEIR_UNBOUNDED)
        call->asked--;
    tell_message(call, message, bytes.len);
}

/* Gives how many bytes were used up. */
static size_t take(weir_rpc_call *call, const char *bytes, size_t n)
{
    size_t at = 0;
    while (at < n && wants(call)) {
        size_t used = 0;
        weir_http1_span message;
        weir_status status = weir_rpc_wire_feed(&call->wire, bytes + at, n - at, &used, &message);
        at += used;
        if (status == WEIR_OK)
            deliver(call, message);
        else if (status != WEIR_EPARTIAL)
            wire_failed(call);
    }
    return at;
}

static void consume(weir_rpc_call *call, size_t n)
{
    if (n == 0 || call->exchange == NULL)
        return;
    weir_http_exchange_consume(call->exchange, n);
    call->core->side->dirty(call);
}

/* ---- The end ---- */

static bool is_error(const weir_rpc_call *call)
{
    return call->core->side->is_client && weir_rpc_wire_error(&call->wire)->code != WEIR_RPC_OK;
}

static void tell_end(weir_rpc_call *call)
{
    if (call->one_in && !call->got_one)
        wi_rpc_call_fail(call, WEIR_RPC_UNIMPLEMENTED, "no message");
    else if (call->one_in) {
        tell_message(call, call->request, call->request_bytes);
        if (!call->core->side->is_client)
            wi_rpc_call_first_room(call);
    } else if (call->receiver != NULL)
        call->receiver->end(call, call->receiver_user);
    else if (call->handler->end != NULL)
        call->handler->end(call, call->user);
}

static void come_to_end(weir_rpc_call *call)
{
    weir_http1_span message;
    call->end_told = true;
    weir_status status = weir_rpc_wire_feed_end(&call->wire, call->end_trailers,
                                                call->end_trailer_count, &call->arena, &message);
    if (status == WEIR_OK)
        deliver(call, message);
    else if (status != WEIR_EPARTIAL)
        wire_failed(call);
    if (call->in_over)
        return;
    call->pumping = true;
    if (!is_error(call))
        tell_end(call);
    call->pumping = false;
    if (call->core->side->ended != NULL && !call->in_over)
        call->core->side->ended(call);
}

/* ---- From the exchange, and from the task ---- */

void wi_rpc_call_pump(weir_rpc_call *call)
{
    if (!call->opened || call->pumping || call->in_over)
        return;
    call->pumping = true;
    while (call->pending_from < call->pending.len && wants(call)) {
        size_t used = take(call, call->pending.at + call->pending_from,
                           call->pending.len - call->pending_from);
        call->pending_from += used;
        consume(call, used);
    }
    call->pumping = false;
    if (call->in_over || call->pending_from == call->pending.len) {
        weir_bytes_done(&call->pending);
        call->pending_from = 0;
    }
    if (!call->in_over && !call->gated && call->peer_ended && !call->end_told &&
        call->pending.len == 0)
        come_to_end(call);
}

/* A reader that is always a little behind never comes to the end of `pending`: what it has used up
 * goes as soon as that is half of it. */
static void compact(weir_rpc_call *call)
{
    weir_bytes *pending = &call->pending;
    if (call->pending_from < pending->len - call->pending_from)
        return;
    memmove(pending->at, pending->at + call->pending_from, pending->len - call->pending_from);
    pending->len -= call->pending_from;
    call->pending_from = 0;
}

static bool keep(weir_rpc_call *call, const char *bytes, size_t n)
{
    if (n == 0 || call->in_over)
        return true;
    if (call->pending_from > 0)
        compact(call);
    if (weir_bytes_append(&call->pending, bytes, n) == WEIR_OK)
        return true;
    wi_rpc_call_fail(call, WEIR_RPC_RESOURCE_EXHAUSTED, "no memory");
    return false;
}

void wi_rpc_call_body(weir_rpc_call *call, const char *bytes, size_t n)
{
    size_t used = 0;
    if (call->in_over)
        return;
    call->body_bytes += n;
    if (call->opened && call->pending.len == 0) {
        call->pumping = true;
        used = take(call, bytes, n);
        call->pumping = false;
        consume(call, used);
    }
    (void)keep(call, bytes + used, n - used);
}

static bool keep_trailers(weir_rpc_call *call, const weir_http1_field *fields, size_t n)
{
    weir_http1_field *copy = weir_arena_take(&call->arena, n * sizeof *copy);
    for (size_t i = 0; copy != NULL && i < n; i++) {
        const char *name = weir_arena_copy(&call->arena, fields[i].name.at, fields[i].name.len);
        const char *value = weir_arena_copy(&call->arena, fields[i].value.at, fields[i].value.len);
        copy[i] = (weir_http1_field){ { name, fields[i].name.len },
                                      { value, fields[i].value.len } };
        if (name == NULL || value == NULL)
            return false;
    }
    call->end_trailers = copy;
    return copy != NULL;
}

void wi_rpc_call_end(weir_rpc_call *call, const weir_http1_field *trailers, size_t n)
{
    bool at_once = call->opened && !call->gated && call->pending.len == 0;
    call->peer_ended = true;
    if (call->in_over)
        return;
    call->end_trailers = trailers;
    call->end_trailer_count = n;
    if (!at_once && n > 0 && !keep_trailers(call, trailers, n))
        wi_rpc_call_fail(call, WEIR_RPC_RESOURCE_EXHAUSTED, "no memory");
    else
        wi_rpc_call_pump(call);
}

void weir_rpc_request(weir_rpc_call *call, uint64_t n)
{
    call->asked = weir_credit_add(call->asked, n);
    if (n > 0 && call->pending.len > 0 && call->opened && !call->in_over)
        wi_rpc_call_ready(call);
}
