/* The service of the conformance tests: each request says what to answer, and when; the answer
 * echoes what was observed of the requests. */
#include "server_service.h"

#include <string.h>

typedef Connectrpc__Conformance__V1__ConformancePayload payload;
typedef Connectrpc__Conformance__V1__ConformancePayload__RequestInfo request_info;
typedef Connectrpc__Conformance__V1__UnaryResponseDefinition unary_definition;
typedef Connectrpc__Conformance__V1__StreamResponseDefinition stream_definition;

/* The requests (unary, idempotent, client stream) have their definition at the same place, and so
 * have the responses their payload. */
typedef Connectrpc__Conformance__V1__UnaryRequest unary_request;
typedef Connectrpc__Conformance__V1__ServerStreamRequest stream_request;
typedef Connectrpc__Conformance__V1__UnaryResponse any_response;

/* A call's state. */
typedef struct echo {
    weir_rpc_call *call;
    weir_timer delay;
    const ProtobufCMessage *first; /* request */
    const unary_definition *unary; /* of the first request: one of the two, or none */
    const stream_definition *stream;
    Google__Protobuf__Any **requests; /* that came, and were not yet echoed */
    size_t request_count, request_cap;
    size_t sent;
    bool full_duplex, input_ended, is_delayed;
} echo;

/* ---- What was observed ---- */

static bool keep(echo *e, Google__Protobuf__Any *request)
{
    weir_arena *arena = weir_rpc_call_arena(e->call);
    if (e->request_count == e->request_cap) {
        size_t cap = e->request_cap == 0 ? 8 : 2 * e->request_cap;
        Google__Protobuf__Any **larger = weir_arena_take(arena, cap * sizeof(void *));
        if (larger == NULL)
            return false;
        if (e->request_count > 0)
            memcpy(larger, e->requests, e->request_count * sizeof(void *));
        e->requests = larger;
        e->request_cap = cap;
    }
    e->requests[e->request_count++] = request;
    return true;
}

/* Keeps the request for its echo, and the first one for what it says. */
static bool note(weir_rpc_call *call, const ProtobufCMessage *message)
{
    echo *e = weir_rpc_call_state(call);
    weir_arena *arena = weir_rpc_call_arena(call);
    ProtobufCMessage *copy = NULL;
    e->call = call;
    Google__Protobuf__Any *any = common_any_of(arena, message);
    bool kept = any != NULL && keep(e, any);
    if (kept && e->first == NULL) {
        kept = weir_protobuf_unpack(message->descriptor, any->value.data, any->value.len, NULL,
                                    arena, &copy, NULL) == WEIR_OK;
        e->first = copy;
    }
    if (!kept)
        (void)weir_rpc_finish(call, WEIR_RPC_RESOURCE_EXHAUSTED, "cannot keep the request");
    return kept;
}

/* `whole`: with all that is known of the call, not the requests alone. */
static bool observe(echo *e, bool whole, request_info *ret_info)
{
    *ret_info = (request_info)CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__REQUEST_INFO__INIT;
    ret_info->requests = e->requests;
    ret_info->n_requests = e->request_count;
    if (!whole)
        return true;
    weir_loop *loop = weir_rpc_call_loop(e->call);
    uint64_t left = weir_context_left(weir_rpc_call_context(e->call), weir_loop_now(loop));
    if (left != UINT64_MAX) {
        ret_info->_timeout_ms_case =
            CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__REQUEST_INFO___TIMEOUT_MS_TIMEOUT_MS;
        ret_info->timeout_ms = (int64_t)(left / WEIR_MS);
    }
    ret_info->request_headers = common_headers(weir_rpc_call_arena(e->call), e->call,
                                               weir_rpc_metadata_count(e->call),
                                               weir_rpc_metadata_at, &ret_info->n_request_headers);
    return ret_info->request_headers != NULL;
}

/* ---- Answers ---- */

static void fail_here(echo *e)
{
    (void)weir_rpc_finish(e->call, WEIR_RPC_INTERNAL, "the answer cannot be made");
}

typedef weir_status put_field(weir_rpc_call *call, const char *name, const void *value, size_t n);

static void add(weir_rpc_call *call, put_field *put, conformance_header **headers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < headers[i]->n_value; j++) {
            const char *value = headers[i]->value[j];
            if (put(call, headers[i]->name, value, strlen(value)) != WEIR_OK)
                (void)weir_rpc_finish(call, WEIR_RPC_INTERNAL, "metadata cannot be sent");
        }
}

/* With `last` (may be NULL) behind the other details. */
static void finish_with(echo *e, const conformance_error *error, const request_info *last)
{
    weir_arena *arena = weir_rpc_call_arena(e->call);
    weir_rpc_detail *details = weir_arena_take(arena, (error->n_details + 1) * sizeof *details);
    weir_rpc_error what = { .code = (weir_rpc_code)error->code, .details = details };
    Google__Protobuf__Any *any = last != NULL ? common_any_of(arena, &last->base) : NULL;
    if (details == NULL || (last != NULL && any == NULL)) {
        fail_here(e);
        return;
    }
    for (size_t i = 0; i < error->n_details + (last != NULL); i++) {
        const Google__Protobuf__Any *detail = i < error->n_details ? error->details[i] : any;
        const char *type = common_type(detail);
        details[what.detail_count++] =
            (weir_rpc_detail){ { type, strlen(type) }, detail->value.data, detail->value.len };
    }
    if (error->_message_case == CONNECTRPC__CONFORMANCE__V1__ERROR___MESSAGE_MESSAGE)
        what.text = (weir_http1_span){ error->message, strlen(error->message) };
    (void)weir_rpc_finish_with(e->call, &what);
}

static any_response response_of(const echo *e, payload *answer)
{
    any_response response = CONNECTRPC__CONFORMANCE__V1__UNARY_RESPONSE__INIT;
    response.base.descriptor = weir_rpc_call_method(e->call)->response;
    response.payload = answer;
    return response;
}

/* ---- One response ---- */

static void answer_one(weir_timer *timer, void *user)
{
    echo *e = user;
    request_info info;
    payload answer = CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__INIT;
    const unary_definition *say = e->unary;
    (void)timer;
    if (!observe(e, true, &info)) {
        fail_here(e);
        return;
    }
    if (say != NULL) {
        add(e->call, weir_rpc_add_metadata, say->response_headers, say->n_response_headers);
        add(e->call, weir_rpc_add_trailer, say->response_trailers, say->n_response_trailers);
    }
    if (say != NULL && say->response_case ==
                           CONNECTRPC__CONFORMANCE__V1__UNARY_RESPONSE_DEFINITION__RESPONSE_ERROR) {
        finish_with(e, say->error, &info);
        return;
    }
    if (say != NULL &&
        say->response_case ==
            CONNECTRPC__CONFORMANCE__V1__UNARY_RESPONSE_DEFINITION__RESPONSE_RESPONSE_DATA)
        answer.data = say->response_data;
    answer.request_info = &info;
    any_response response = response_of(e, &answer);
    (void)weir_rpc_reply(e->call, &response.base);
}

static void answer_one_later(weir_rpc_call *call)
{
    echo *e = weir_rpc_call_state(call);
    e->call = call;
    if (e->first != NULL)
        e->unary = ((const unary_request *)e->first)->response_definition;
    uint64_t delay_ms = e->unary != NULL ? e->unary->response_delay_ms : 0;
    if (delay_ms == 0)
        answer_one(&e->delay, e);
    else
        weir_timer_start(weir_rpc_call_loop(call), &e->delay, delay_ms * WEIR_MS, answer_one, e);
}

static void on_one(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)user;
    if (note(call, message))
        answer_one_later(call);
}

static void on_one_of_many(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)user;
    if (note(call, message))
        weir_rpc_request(call, 1);
}

static void on_last_of_many(weir_rpc_call *call, void *user)
{
    (void)user;
    answer_one_later(call);
}

/* ---- Many responses ---- */

static void go_on(echo *e);

static bool has_more(const echo *e)
{
    return e->stream != NULL && e->sent < e->stream->n_response_data;
}

static void finish(echo *e)
{
    request_info info;
    if (e->stream == NULL || e->stream->error == NULL)
        (void)weir_rpc_finish(e->call, WEIR_RPC_OK, NULL);
    else if (!observe(e, e->sent == 0, &info))
        fail_here(e);
    else
        finish_with(e, e->stream->error, e->sent == 0 ? &info : NULL);
}

static void send_next(echo *e)
{
    request_info info;
    payload answer = CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__INIT;
    answer.data = e->stream->response_data[e->sent];
    if (!observe(e, e->sent == 0, &info)) {
        fail_here(e);
        return;
    }
    if (e->sent == 0 || e->request_count > 0)
        answer.request_info = &info;
    any_response response = response_of(e, &answer);
    weir_status status = weir_rpc_send(e->call, &response.base);
    if (status == WEIR_EAGAIN || status == WEIR_ECLOSED)
        return; /* `room`, or `over`, will be told */
    if (status != WEIR_OK) {
        fail_here(e);
        return;
    }
    e->sent++;
    e->request_count = 0;
    e->is_delayed = false;
    if (e->full_duplex && !e->input_ended)
        weir_rpc_request(e->call, 1);
    else
        go_on(e);
}

static void delay_is_over(weir_timer *timer, void *user)
{
    (void)timer;
    send_next(user);
}

/* The next response, or the end. */
static void go_on(echo *e)
{
    if (!has_more(e)) {
        finish(e);
        return;
    }
    e->is_delayed = true;
    weir_timer_start(weir_rpc_call_loop(e->call), &e->delay, e->stream->response_delay_ms * WEIR_MS,
                     delay_is_over, e);
}

static void on_room(weir_rpc_call *call, void *user)
{
    echo *e = weir_rpc_call_state(call);
    (void)user;
    if (e->is_delayed && !weir_timer_is_armed(&e->delay))
        send_next(e);
}

/* The metadata; at once, if messages follow, which may be delayed. */
static void open_stream(echo *e)
{
    const stream_definition *say = e->stream;
    if (say == NULL)
        return;
    add(e->call, weir_rpc_add_metadata, say->response_headers, say->n_response_headers);
    add(e->call, weir_rpc_add_trailer, say->response_trailers, say->n_response_trailers);
    if (say->n_response_data > 0 && weir_rpc_send_metadata(e->call) != WEIR_OK)
        fail_here(e);
}

static void on_stream_request(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    echo *e = weir_rpc_call_state(call);
    (void)user;
    if (!note(call, message))
        return;
    e->stream = ((const stream_request *)e->first)->response_definition;
    e->input_ended = true;
    open_stream(e);
    go_on(e);
}

static void on_bidi_message(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    echo *e = weir_rpc_call_state(call);
    bool is_first = e->first == NULL;
    (void)user;
    if (!note(call, message))
        return;
    if (is_first) {
        const Connectrpc__Conformance__V1__BidiStreamRequest *first = (const void *)e->first;
        e->stream = first->response_definition;
        e->full_duplex = first->full_duplex;
        if (e->full_duplex)
            open_stream(e);
    }
    if (e->full_duplex)
        go_on(e);
    else
        weir_rpc_request(call, 1);
}

static void on_bidi_end(weir_rpc_call *call, void *user)
{
    echo *e = weir_rpc_call_state(call);
    (void)user;
    e->call = call;
    e->input_ended = true;
    if (!e->full_duplex)
        open_stream(e);
    if (!e->is_delayed)
        go_on(e);
}

/* ---- All calls ---- */

static void on_begin(weir_rpc_call *call, void *user)
{
    (void)user;
    weir_rpc_request(call, 1);
}

static void on_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    echo *e = weir_rpc_call_state(call);
    (void)code;
    (void)user;
    weir_timer_stop(weir_rpc_call_loop(call), &e->delay);
}

/* In the order of the .proto; Unimplemented has none. */
static const weir_rpc_handler handlers[] = {
    { .message = on_one, .over = on_over, .state_size = sizeof(echo) },
    { .message = on_stream_request, .room = on_room, .over = on_over, .state_size = sizeof(echo) },
    { .begin = on_begin,
      .message = on_one_of_many,
      .end = on_last_of_many,
      .over = on_over,
      .state_size = sizeof(echo) },
    { .begin = on_begin,
      .message = on_bidi_message,
      .end = on_bidi_end,
      .room = on_room,
      .over = on_over,
      .state_size = sizeof(echo) },
    { 0 },
    { .message = on_one, .over = on_over, .state_size = sizeof(echo) },
};

const weir_rpc_service *server_service(void)
{
    static const weir_rpc_service service = {
        .type = &connectrpc_conformance_v1_conformance_service_service,
        .handlers = handlers,
    };
    return &service;
}
