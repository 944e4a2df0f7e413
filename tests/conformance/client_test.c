/* A call with its messages, delays and cancel as a test asks for them; its answers are kept. */
#include "client_test.h"

#include <stdlib.h>
#include <string.h>

typedef Connectrpc__Conformance__V1__ClientCompatResponse compat_response;
typedef Connectrpc__Conformance__V1__ClientResponseResult call_result;
typedef Connectrpc__Conformance__V1__ConformancePayload payload;
/* All responses have their payload at the same place. */
typedef Connectrpc__Conformance__V1__UnaryResponse any_response;
typedef Connectrpc__Conformance__V1__ClientCompatRequest__Cancel cancel_when;

enum {
    CANCEL_BEFORE_CLOSE = 1, /* the number of its field */
    CANCEL_AFTER_CLOSE = 2,
    CANCEL_AFTER_RESPONSES = 3
};

typedef struct test {
    weir_arena arena;
    const compat_request *request;
    const weir_rpc_method *method;
    weir_loop *loop;
    weir_rpc_call *call;
    weir_timer timer;
    test_done *done;
    void *user;
    call_result result;
    size_t payload_cap, sent;
    bool turn_based; /* full duplex: the next request waits for a response */
    bool waits;      /* for room */
} test;

/* ---- The end ---- */

static void answer(test *t, compat_response *response)
{
    weir_arena arena = t->arena;
    response->test_name = t->request->test_name;
    t->done(response, &arena, t->user);
    weir_arena_done(&arena);
    free(t);
}

static void answer_error(test *t, const char *why)
{
    Connectrpc__Conformance__V1__ClientErrorResult error =
        CONNECTRPC__CONFORMANCE__V1__CLIENT_ERROR_RESULT__INIT;
    compat_response response = CONNECTRPC__CONFORMANCE__V1__CLIENT_COMPAT_RESPONSE__INIT;
    error.message = (char *)(uintptr_t)why;
    response.result_case = CONNECTRPC__CONFORMANCE__V1__CLIENT_COMPAT_RESPONSE__RESULT_ERROR;
    response.error = &error;
    answer(t, &response);
}

static conformance_error *error_of(test *t, const weir_rpc_error *what)
{
    conformance_error *error = weir_arena_take(&t->arena, sizeof *error);
    if (error == NULL)
        return NULL;
    *error = (conformance_error)CONNECTRPC__CONFORMANCE__V1__ERROR__INIT;
    error->code = (Connectrpc__Conformance__V1__Code)what->code;
    if (what->text.len > 0) {
        error->_message_case = CONNECTRPC__CONFORMANCE__V1__ERROR___MESSAGE_MESSAGE;
        error->message = weir_arena_copy(&t->arena, what->text.at, what->text.len);
    }
    error->details = weir_arena_take(&t->arena, what->detail_count * sizeof(void *));
    for (size_t i = 0; error->details != NULL && i < what->detail_count; i++) {
        const weir_rpc_detail *detail = &what->details[i];
        const char *name = weir_arena_copy(&t->arena, detail->type.at, detail->type.len);
        if (name == NULL)
            return NULL;
        error->details[i] = common_any(&t->arena, name, detail->value, detail->n);
        if (error->details[i] == NULL)
            return NULL;
        error->n_details++;
    }
    return error;
}

static void on_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    test *t = user;
    call_result *result = &t->result;
    weir_timer_stop(t->loop, &t->timer);
    result->response_headers = common_headers(&t->arena, call, weir_rpc_metadata_count(call),
                                              weir_rpc_metadata_at, &result->n_response_headers);
    result->response_trailers = common_headers(&t->arena, call, weir_rpc_trailer_count(call),
                                               weir_rpc_trailer_at, &result->n_response_trailers);
    if (code != WEIR_RPC_OK)
        result->error = error_of(t, weir_rpc_call_error(call));
    result->num_unsent_requests = (int32_t)(t->request->n_request_messages - t->sent);
    compat_response response = CONNECTRPC__CONFORMANCE__V1__CLIENT_COMPAT_RESPONSE__INIT;
    response.result_case = CONNECTRPC__CONFORMANCE__V1__CLIENT_COMPAT_RESPONSE__RESULT_RESPONSE;
    response.response = result;
    if (result->response_headers == NULL || result->response_trailers == NULL ||
        (code != WEIR_RPC_OK && result->error == NULL))
        answer_error(t, "no memory for what came");
    else
        answer(t, &response);
}

/* ---- Cancels ---- */

static int cancels(const test *t)
{
    const cancel_when *when = t->request->cancel;
    if (when == NULL)
        return 0;
    return when->cancel_timing_case == 0 ? CANCEL_AFTER_CLOSE : (int)when->cancel_timing_case;
}

static void cancel_now(weir_timer *timer, void *user)
{
    const test *t = user;
    (void)timer;
    weir_rpc_cancel(t->call);
}

/* Our side has ended. */
static void closed(test *t)
{
    const cancel_when *when = t->request->cancel;
    if (cancels(t) != CANCEL_AFTER_CLOSE)
        return;
    uint64_t delay_ms = when->cancel_timing_case == 0 ? 0 : when->after_close_send_ms;
    weir_timer_start(t->loop, &t->timer, delay_ms * WEIR_MS, cancel_now, t);
}

/* ---- Requests ---- */

static ProtobufCMessage *message_at(test *t, size_t at)
{
    const Google__Protobuf__Any *any = t->request->request_messages[at];
    ProtobufCMessage *message = NULL;
    if (strcmp(common_type(any), t->method->request->name) != 0 ||
        weir_protobuf_unpack(t->method->request, any->value.data, any->value.len, NULL, &t->arena,
                             &message, NULL) != WEIR_OK)
        return NULL;
    return message;
}

static void send_next(weir_timer *timer, void *user);

/* The next request after its delay; or the end. */
static void go_on(test *t)
{
    if (t->sent < t->request->n_request_messages) {
        if (t->request->request_delay_ms == 0)
            send_next(&t->timer, t);
        else
            weir_timer_start(t->loop, &t->timer, t->request->request_delay_ms * WEIR_MS, send_next,
                             t);
    } else if (cancels(t) == CANCEL_BEFORE_CLOSE) {
        weir_rpc_cancel(t->call);
    } else if (weir_rpc_send_end(t->call) == WEIR_OK) {
        closed(t);
    }
}

static void send_next(weir_timer *timer, void *user)
{
    test *t = user;
    (void)timer;
    const ProtobufCMessage *message = message_at(t, t->sent);
    weir_status status = message != NULL ? weir_rpc_send(t->call, message) : WEIR_EINVAL;
    t->waits = status == WEIR_EAGAIN;
    if (status == WEIR_EAGAIN || status == WEIR_ECLOSED)
        return; /* `room`, or `over`, will be told */
    if (status != WEIR_OK) {
        weir_rpc_cancel(t->call);
        return;
    }
    t->sent++;
    if (!t->turn_based)
        go_on(t);
}

static void on_room(weir_rpc_call *call, void *user)
{
    test *t = user;
    (void)call;
    if (t->waits)
        send_next(&t->timer, t);
}

/* ---- Responses ---- */

static bool keep(test *t, payload *what)
{
    call_result *result = &t->result;
    if (result->n_payloads == t->payload_cap) {
        size_t cap = t->payload_cap == 0 ? 8 : 2 * t->payload_cap;
        payload **larger = weir_arena_take(&t->arena, cap * sizeof(void *));
        if (larger == NULL)
            return false;
        if (result->n_payloads > 0)
            memcpy(larger, result->payloads, result->n_payloads * sizeof(void *));
        result->payloads = larger;
        t->payload_cap = cap;
    }
    result->payloads[result->n_payloads++] = what;
    return true;
}

/* The message goes when its callback returns. */
static bool keep_copy(test *t, const ProtobufCMessage *message)
{
    ProtobufCMessage *copy = NULL;
    const Google__Protobuf__Any *any = common_any_of(&t->arena, message);
    if (any == NULL || weir_protobuf_unpack(message->descriptor, any->value.data, any->value.len,
                                            NULL, &t->arena, &copy, NULL) != WEIR_OK)
        return false;
    payload *what = ((const any_response *)copy)->payload;
    if (what == NULL) {
        what = weir_arena_take(&t->arena, sizeof *what);
        if (what == NULL)
            return false;
        *what = (payload)CONNECTRPC__CONFORMANCE__V1__CONFORMANCE_PAYLOAD__INIT;
    }
    return keep(t, what);
}

static void on_message(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    test *t = user;
    const cancel_when *when = t->request->cancel;
    if (!keep_copy(t, message) || (cancels(t) == CANCEL_AFTER_RESPONSES &&
                                   t->result.n_payloads == when->after_num_responses)) {
        weir_rpc_cancel(call);
        return;
    }
    weir_rpc_request(call, 1);
    if (t->turn_based && t->sent <= t->request->n_request_messages &&
        t->result.n_payloads == t->sent)
        go_on(t);
}

/* ---- The beginning ---- */

static const weir_rpc_method *method_of(const compat_request *request)
{
    const weir_rpc_service_type *type = &connectrpc_conformance_v1_conformance_service_service;
    if (request->_service_case == 0 || request->_method_case == 0 ||
        strcmp(request->service, type->name) != 0)
        return NULL;
    for (size_t i = 0; i < type->method_count; i++)
        if (strcmp(type->methods[i].name, request->method) == 0)
            return &type->methods[i];
    return NULL;
}

static bool fill_metadata(test *t, weir_rpc_options *options)
{
    const compat_request *request = t->request;
    size_t n = 0;
    for (size_t i = 0; i < request->n_request_headers; i++)
        n += request->request_headers[i]->n_value;
    weir_http1_field *fields = weir_arena_take(&t->arena, n * sizeof *fields);
    if (fields == NULL)
        return false;
    options->metadata = fields;
    options->metadata_count = n;
    for (size_t i = 0; i < request->n_request_headers; i++) {
        const conformance_header *header = request->request_headers[i];
        for (size_t j = 0; j < header->n_value; j++)
            *fields++ = (weir_http1_field){ { header->name, strlen(header->name) },
                                            { header->value[j], strlen(header->value[j]) } };
    }
    return true;
}

static weir_status start(test *t, weir_rpc_channel *channel, const weir_rpc_options *options)
{
    static const weir_rpc_handler handler = { .message = on_message,
                                              .room = on_room,
                                              .over = on_over };
    weir_rpc_kind kind = t->method->kind;
    if (kind == WEIR_RPC_CLIENT_STREAM || kind == WEIR_RPC_BIDI_STREAM)
        return weir_rpc_start(channel, t->method, options, &handler, t, &t->call);
    const ProtobufCMessage *message = t->request->n_request_messages == 1 ? message_at(t, 0) : NULL;
    if (message == NULL)
        return WEIR_EINVAL;
    t->sent = 1;
    return weir_rpc_ask(channel, t->method, options, message, &handler, t, &t->call);
}

static void begin(test *t, channels *all)
{
    const compat_request *request = t->request;
    const char *why = "no such method";
    weir_rpc_options options = { .no_retry = true };
    weir_rpc_channel *channel = NULL;
    if (t->method != NULL)
        channel = channels_get(all, request, &why);
    if (channel == NULL) {
        answer_error(t, why);
        return;
    }
    if (request->_timeout_ms_case != 0)
        options.timeout_ms = request->timeout_ms;
    weir_status status = fill_metadata(t, &options) ? start(t, channel, &options) : WEIR_ENOMEM;
    if (status != WEIR_OK) {
        answer_error(t, weir_status_text(status));
        return;
    }
    if (t->method->kind != WEIR_RPC_UNARY && t->method->kind != WEIR_RPC_CLIENT_STREAM)
        weir_rpc_request(t->call, 1);
    if (t->sent == 1)
        closed(t);
    else
        go_on(t);
}

void test_run(channels *all, const compat_request *request, const weir_arena *arena,
              test_done *done, void *user)
{
    test *t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    t->arena = *arena;
    t->request = request;
    t->method = method_of(request);
    t->loop = all->loop;
    t->done = done;
    t->user = user;
    t->result = (call_result)CONNECTRPC__CONFORMANCE__V1__CLIENT_RESPONSE_RESULT__INIT;
    t->turn_based = request->stream_type ==
                    CONNECTRPC__CONFORMANCE__V1__STREAM_TYPE__STREAM_TYPE_FULL_DUPLEX_BIDI_STREAM;
    begin(t, all);
}
