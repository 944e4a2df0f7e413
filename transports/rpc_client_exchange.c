/* From a client's calls to exchanges, and back: requests begin, responses are read. */
#include "rpc_client_internal.h"

#include <stdio.h>

enum { H2_NO_ERROR = 0, H2_CANCEL = 8, PREVIOUS_MAX = 8 };

/* ---- The head of a request ---- */

static uint64_t timeout_of(const weir_rpc_call *call)
{
    uint64_t now = weir_loop_now(call->core->loop), due = call->context.deadline_ns;
    if (due == 0)
        return UINT64_MAX;
    return due > now ? due - now : 1;
}

static bool asks_by_get(const weir_rpc_call *call)
{
    const weir_rpc_channel_config *config = &wi_rpc_channel_of(call)->config;
    return config->connect_get && config->protocol == WEIR_RPC_CONNECT && call->out_ended &&
           call->method->kind == WEIR_RPC_UNARY && call->method->no_side_effects &&
           !wi_rpc_try_of(call)->body_final;
}

/* "grpc-previous-rpc-attempts": how many there were, beside the metadata. */
static weir_status with_previous(weir_rpc_call *call, weir_rpc_wire_options *options)
{
    wi_rpc_try *t = wi_rpc_try_of(call);
    char text[PREVIOUS_MAX];
    wi_rpc_fields copy = { NULL, 0, 0, 0 };
    if (t->attempts == 0 || options->protocol == WEIR_RPC_CONNECT)
        return WEIR_OK;
    int n = snprintf(text, sizeof text, "%u", t->attempts);
    copy.cap = options->metadata_count + 1;
    copy.at = weir_arena_take(&call->arena, copy.cap * sizeof *copy.at);
    if (copy.at == NULL)
        return WEIR_ENOMEM;
    for (size_t i = 0; i < options->metadata_count; i++)
        copy.at[copy.n++] = options->metadata[i];
    weir_status status = wi_rpc_fields_add(call, &copy, "grpc-previous-rpc-attempts", text,
                                           (size_t)n);
    options->metadata = copy.at;
    options->metadata_count = copy.n;
    return status;
}

static weir_status make_head(weir_rpc_call *call, const wi_http_url *url, bool by_get)
{
    const weir_rpc_channel *channel = wi_rpc_channel_of(call);
    wi_rpc_core *core = call->core;
    wi_rpc_try *t = wi_rpc_try_of(call);
    weir_rpc_wire_options options = {
        .protocol = channel->config.protocol,
        .codec = channel->config.codec,
        .gzip = t->gzip,
        .scheme = { channel->is_tls ? "https" : "http", channel->is_tls ? 5 : 4 },
        .authority = { url->authority, __builtin_strlen(url->authority) },
        .timeout_ns = timeout_of(call),
        .metadata = call->out_metadata.at,
        .metadata_count = call->out_metadata.n,
        .get_message = by_get ? (call->out.at != NULL ? call->out.at : "") : NULL,
        .get_bytes = by_get ? call->out.len : 0,
    };
    weir_status status = with_previous(call, &options);
    if (status != WEIR_OK)
        return status;
    return weir_rpc_wire_call(&call->wire, core->pool_env, &core->wire_limits, core->gzip,
                              call->method, &options, &call->arena, &t->head);
}

weir_status wi_rpc_client_prepare(weir_rpc_call *call, const wi_http_url *url)
{
    wi_rpc_try *t = wi_rpc_try_of(call);
    weir_status status = make_head(call, url, false);
    t->head_ns = weir_loop_now(call->core->loop);
    t->has_head = status == WEIR_OK && call->core->interceptor_count == 0;
    return status;
}

/* The head made at the start is good if nothing has changed since. */
static weir_status head_of(weir_rpc_call *call, const wi_http_url *url)
{
    wi_rpc_try *t = wi_rpc_try_of(call);
    bool fresh = call->context.deadline_ns == 0 || t->head_ns == weir_loop_now(call->core->loop);
    if (asks_by_get(call)) {
        weir_status status = make_head(call, url, true);
        if (status != WEIR_ELIMIT)
            return status;
        t->has_head = false;
    }
    if (!t->has_head || !fresh || t->attempts > 0)
        return make_head(call, url, false);
    t->head.authority = (weir_http1_span){ url->authority, __builtin_strlen(url->authority) };
    return WEIR_OK;
}

/* Connect's one message is compressed once for all attempts. */
static weir_status finish_body(weir_rpc_call *call)
{
    wi_rpc_try *t = wi_rpc_try_of(call);
    if (call->wire.is_stream || call->wire.is_get || t->body_final)
        return WEIR_OK;
    weir_status status = weir_rpc_wire_request_end(&call->wire, &call->out);
    t->body_final = status == WEIR_OK;
    return status;
}

/* ---- The beginning of a request ---- */

static weir_status fail_open(weir_rpc_call *call, weir_status status)
{
    bool ours = status == WEIR_EINVAL || status == WEIR_ELIMIT;
    weir_rpc_code code = status == WEIR_EINVAL ? WEIR_RPC_INTERNAL : WEIR_RPC_RESOURCE_EXHAUSTED;
    wi_rpc_call_fail(call, code, ours ? "a request that may not be sent" : "no memory");
    return status;
}

void wi_rpc_client_push(weir_rpc_call *call)
{
    size_t n = call->out.len - call->out_sent;
    if (n > 0 && !call->wire.is_get) { /* whose message is in the head */
        weir_bytes *body = weir_http_exchange_body(call->exchange, n);
        if (body == NULL || weir_bytes_append(body, call->out.at + call->out_sent, n) != WEIR_OK) {
            (void)fail_open(call, WEIR_ENOMEM);
            return;
        }
        weir_http_exchange_written(call->exchange);
        call->out_sent = call->out.len;
    }
    if (call->out.len > wi_rpc_channel_of(call)->config.retry.buffer_bytes_max)
        call->retains = false;
    if (call->retains || call->out.at == NULL)
        return;
    weir_bytes_done(&call->out);
    call->out_sent = 0;
}

static void start_body(weir_rpc_call *call)
{
    if (call->wire.is_get)
        return;
    wi_rpc_client_push(call);
    if (call->exchange != NULL && call->out_ended &&
        weir_http_exchange_end(call->exchange, NULL, 0) != WEIR_OK)
        (void)fail_open(call, WEIR_ENOMEM);
}

weir_status wi_rpc_client_open(weir_rpc_call *call, wi_rpc_conn *conn)
{
    wi_rpc_try *t = wi_rpc_try_of(call);
    weir_http_session *session = wi_link_session(conn->link);
    if (session == NULL)
        return WEIR_ECLOSED;
    weir_status status = head_of(call, &conn->address->target->url);
    if (status == WEIR_OK)
        status = finish_body(call);
    if (status != WEIR_OK)
        return fail_open(call, status == WEIR_EAGAIN ? WEIR_ENOMEM : status);
    if (call->out_ended && !call->wire.is_get && weir_http_session_version(session) == WEIR_HTTP_1)
        t->head.content_length = call->out.len;
    status = weir_http_session_open(session, &t->head, call, &call->exchange);
    if (status == WEIR_EAGAIN || status == WEIR_ECLOSED)
        return status;
    if (status != WEIR_OK)
        return fail_open(call, status);
    call->conn = conn->link;
    t->conn = conn;
    t->between = false;
    t->attempts++;
    start_body(call);
    if (call->room_wanted && call->exchange != NULL && weir_rpc_room(call) > 0) {
        call->begin_room = true;
        wi_rpc_call_ready(call);
    }
    wi_link_touch(conn->link);
    return WEIR_OK;
}

/* ---- Its end ---- */

void wi_rpc_client_detach(weir_rpc_call *call)
{
    weir_http_exchange *exchange = call->exchange;
    if (exchange == NULL)
        return;
    bool all_sent = call->out_ended &&
                    weir_http_exchange_room(exchange) >= call->core->send_bytes_max;
    call->exchange = NULL;
    weir_http_exchange_set_user(exchange, NULL);
    if (!call->peer_ended || !all_sent) {
        const weir_http_session *session = weir_http_exchange_session(exchange);
        wi_rpc_try_of(call)->conn->cut |= weir_http_session_version(session) == WEIR_HTTP_1;
        weir_http_exchange_reset(exchange, WEIR_ECANCELED,
                                 call->peer_ended ? H2_NO_ERROR : H2_CANCEL);
    }
    wi_link_touch(call->conn);
    call->conn = NULL;
    wi_rpc_try_of(call)->conn = NULL;
}

/* ---- Responses ---- */

static void fail_attempt(weir_rpc_call *call, bool unseen)
{
    weir_rpc_error error = *weir_rpc_wire_error(&call->wire);
    wi_rpc_client_failed(call, &error, unseen);
}

/* An error is read to its end before anything is told: it may be tried again. */
static bool is_error_head(const weir_rpc_call *call, const weir_http_head *head)
{
    return weir_rpc_wire_error(&call->wire)->code != WEIR_RPC_OK &&
           (head->ends || head->status != 200 || !call->wire.is_stream);
}

static void end_error(weir_rpc_call *call, const weir_http1_field *trailers, size_t n)
{
    weir_http1_span message;
    call->peer_ended = true;
    weir_status status = weir_rpc_wire_feed_end(&call->wire, trailers, n, &call->arena, &message);
    (void)status;
    fail_attempt(call, false);
}

static void commit(weir_rpc_call *call)
{
    wi_rpc_try_of(call)->committed = true;
    call->retains = false;
    if (call->wire.is_stream || call->out_ended)
        wi_rpc_client_push(call);
}

static void on_head(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    weir_rpc_call *call = user;
    wi_rpc_conn *conn = wi_link_user(wi_link_of(exchange));
    wi_rpc_conn_answered(conn);
    if (call == NULL)
        return;
    weir_status status = weir_rpc_wire_response(&call->wire, head, &call->arena, &call->metadata,
                                                &call->metadata_count);
    if (status != WEIR_OK) {
        call->peer_ended = head->ends;
        fail_attempt(call, false);
    } else if (is_error_head(call, head)) {
        wi_rpc_try_of(call)->erring = true;
        if (head->ends)
            end_error(call, NULL, 0);
    } else {
        commit(call);
        call->peer_ended = head->ends;
        wi_rpc_call_open(call); /* it may be gone now */
    }
}

static void on_body(weir_http_exchange *exchange, const char *bytes, size_t n, void *user)
{
    weir_rpc_call *call = user;
    size_t at = 0, used = 0;
    weir_http1_span message;
    if (call != NULL && !wi_rpc_try_of(call)->erring) {
        wi_rpc_call_body(call, bytes, n);
        return;
    }
    weir_http_exchange_consume(exchange, n);
    wi_link_touch(wi_link_of(exchange));
    while (call != NULL && at < n) {
        weir_status status = weir_rpc_wire_feed(&call->wire, bytes + at, n - at, &used, &message);
        at += status == WEIR_OK || status == WEIR_EPARTIAL ? used : n - at;
    }
}

static void on_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n,
                   void *user)
{
    weir_rpc_call *call = user;
    (void)exchange;
    if (call == NULL)
        return;
    if (wi_rpc_try_of(call)->erring)
        end_error(call, trailers, n);
    else
        wi_rpc_call_end(call, trailers, n);
}

static void on_room(weir_http_exchange *exchange, void *user)
{
    (void)exchange;
    if (user != NULL)
        wi_rpc_call_room(user);
}

/* The response is complete, but not all of it was asked for yet: the call goes on without it. */
static void outlive(weir_rpc_call *call)
{
    call->exchange = NULL;
    call->conn = NULL;
    wi_rpc_try_of(call)->conn = NULL;
    call->out_ended = true;
}

/* A server that has the same deadline may cancel the call before our own timer is looked at, and
 * within a turn that began before it. */
static bool is_late(const weir_rpc_call *call, weir_status status)
{
    uint64_t due = call->context.deadline_ns;
    return status == WEIR_ECANCELED && due != 0 && weir_loop_update_now(call->core->loop) >= due;
}

static void end_late(weir_rpc_call *call)
{
    weir_context_cancel(&call->context, WEIR_EDEADLINE);
    call->timed_out = true;
    wi_rpc_call_fail(call, WEIR_RPC_DEADLINE_EXCEEDED, "deadline exceeded");
}

static void on_over(weir_http_exchange *exchange, weir_status status, uint32_t h2_code, void *user)
{
    weir_rpc_call *call = user;
    wi_rpc_conn *conn = wi_link_user(wi_link_of(exchange));
    weir_rpc_channel *channel = conn->address->target->channel;
    conn->cut |= status == WEIR_ELIMIT && channel->config.http == WEIR_RPC_HTTP1;
    if (channel->waiting > 0)
        wi_rpc_channel_kick(channel);
    if (call == NULL)
        return;
    if (call->peer_ended) {
        outlive(call);
        return;
    }
    call->exchange = NULL;
    call->conn = NULL;
    wi_rpc_try_of(call)->conn = NULL;
    if (is_late(call, status)) {
        end_late(call);
        return;
    }
    if (status == WEIR_EDEADLINE) /* the connection's, by PING or for taking nothing; ours detach */
        status = WEIR_ECLOSED;
    weir_rpc_wire_broken(&call->wire, status, h2_code);
    bool repeatable = status == WEIR_ECLOSED && call->method->idempotent;
    fail_attempt(call, status == WEIR_EUNAVAILABLE || repeatable);
}

const weir_http_events wi_rpc_client_events = {
    .head = on_head,
    .body = on_body,
    .end = on_end,
    .room = on_room,
    .over = on_over,
};
