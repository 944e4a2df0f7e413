/* The messages of the HTTP client: a request from an item, a response into its buffer and back. */
#include "http_client_internal.h"

#include <stdio.h>
#include <string.h>

weir_http1_span weir_http_call_text(const char *text)
{
    return (weir_http1_span){ text, strlen(text) };
}

bool wi_http_buffer_reserve(const weir_env *env, wi_http_buffer *buffer, size_t cap)
{
    if (cap <= buffer->cap)
        return true;
    size_t wanted = buffer->cap != 0 ? buffer->cap : WI_HTTP_BUFFER_MIN;
    while (wanted < cap)
        wanted *= 2;
    char *at = weir_memory_resize(env, buffer->at, wanted);
    if (at == NULL)
        return false;
    buffer->at = at;
    buffer->cap = wanted;
    return true;
}

/* ---- Requests ---- */

/* RFC 9110 section 9.2.2. Methods that are merely unknown to be idempotent are not. */
static bool is_idempotent(weir_http1_method method)
{
    switch (method) {
    case WEIR_HTTP1_GET:
    case WEIR_HTTP1_HEAD:
    case WEIR_HTTP1_PUT:
    case WEIR_HTTP1_DELETE:
    case WEIR_HTTP1_OPTIONS:
    case WEIR_HTTP1_TRACE:
        return true;
    default:
        return false;
    }
}

/* A method that means to send content says so even if there is none (RFC 9110 section 8.6). */
static bool sends_length(const weir_http_call_request *request)
{
    return request->body.len > 0 || request->method == WEIR_HTTP1_POST ||
           request->method == WEIR_HTTP1_PUT || request->method == WEIR_HTTP1_PATCH;
}

static void write_hex(char *to, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        to[2 * i] = digits[bytes[i] >> 4];
        to[2 * i + 1] = digits[bytes[i] & 15];
    }
}

/* https://www.w3.org/TR/trace-context/#traceparent-header, version 00. */
static bool write_traceparent(char text[55], const weir_context *context)
{
    static const weir_trace none;
    if (context == NULL || memcmp(context->trace.trace_id, none.trace_id, 16) == 0 ||
        memcmp(context->trace.span_id, none.span_id, 8) == 0)
        return false;
    memcpy(text, "00-", 3);
    write_hex(text + 3, context->trace.trace_id, 16);
    text[35] = '-';
    write_hex(text + 36, context->trace.span_id, 8);
    text[52] = '-';
    write_hex(text + 53, &context->trace.flags, 1);
    return true;
}

static weir_status write_head(wi_http_conn *conn, const weir_http1_request *head,
                              const char **ret_why)
{
    const weir_env *env = conn->client->env;
    for (size_t cap = WI_HTTP_BUFFER_MIN; cap <= WI_HTTP_HEAD_MAX; cap *= 2) {
        if (!wi_http_buffer_reserve(env, &conn->out, cap)) {
            *ret_why = "no memory for the request";
            return WEIR_ENOMEM;
        }
        weir_status status = weir_http1_write_request_head(head, conn->out.at, conn->out.cap,
                                                           &conn->out.len);
        *ret_why = "the request's head is malformed";
        if (status != WEIR_ELIMIT)
            return status;
    }
    *ret_why = "the request's head is too large";
    return WEIR_ELIMIT;
}

static weir_status append_body(wi_http_conn *conn, weir_http1_span body, const char **ret_why)
{
    size_t max = conn->client->config.request_bytes_max;
    if (conn->out.len > max || body.len > max - conn->out.len) {
        *ret_why = "the request is larger than request_bytes_max";
        return WEIR_ELIMIT;
    }
    if (!wi_http_buffer_reserve(conn->client->env, &conn->out, conn->out.len + body.len)) {
        *ret_why = "no memory for the request";
        return WEIR_ENOMEM;
    }
    if (body.len > 0)
        memcpy(conn->out.at + conn->out.len, body.at, body.len);
    conn->out.len += body.len;
    return WEIR_OK;
}

static weir_status write_message(wi_http_conn *conn, weir_http_call_request *request,
                                 const weir_context *context, const char **ret_why)
{
    char traceparent[55];
    if (request->field_count > WI_HTTP_REQUEST_FIELDS || request->method == WEIR_HTTP1_CONNECT) {
        *ret_why = "the request is malformed";
        return WEIR_EINVAL;
    }
    weir_http1_field *fields = conn->client->fields;
    size_t count = request->field_count;
    if (request->fields != fields && count > 0) /* an array of the callback's own */
        memmove(fields, request->fields, count * sizeof *fields);
    if (write_traceparent(traceparent, context))
        fields[count++] = (weir_http1_field){
            { "traceparent", 11 },
            { traceparent, sizeof traceparent },
        };
    weir_http1_request head = {
        .method = request->method,
        .target = request->target,
        .host = weir_http_call_text(conn->client->url.authority),
        .framing = sends_length(request) ? WEIR_HTTP1_LENGTH : WEIR_HTTP1_NO_BODY,
        .content_length = request->body.len,
        .content_type = request->content_type,
        .fields = fields,
        .field_count = count,
    };
    weir_status status = write_head(conn, &head, ret_why);
    return status == WEIR_OK ? append_body(conn, request->body, ret_why) : status;
}

weir_status wi_http_request_write(wi_http_conn *conn, const weir_item *item,
                                  const weir_context *context, const char **ret_why)
{
    wi_http_client *client = conn->client;
    weir_http_call_request request = {
        .method = WEIR_HTTP1_GET,
        .target = { "/", 1 },
        .fields = client->fields,
        .field_cap = WI_HTTP_REQUEST_FIELDS, /* one more is kept for traceparent */
        .scratch = client->scratch,
        .scratch_bytes = sizeof client->scratch,
    };
    weir_status status = client->config.request(item, &request, client->config.user);
    *ret_why = "the request callback refused the item";
    if (status == WEIR_OK)
        status = write_message(conn, &request, context, ret_why);
    conn->out_sent = 0;
    conn->method = request.method;
    conn->repeatable = request.repeatable || is_idempotent(request.method);
    return status;
}

/* ---- Responses ---- */

void wi_http_response_reset(wi_http_conn *conn)
{
    conn->in.len = conn->head_len = conn->fed = conn->body_len = 0;
    conn->interims = 0;
    conn->head_done = conn->head_moved = false;
    conn->scan = (weir_http1_scan){ 0 };
}

size_t wi_http_response_room(wi_http_conn *conn)
{
    wi_http_buffer *in = &conn->in;
    if (in->cap - in->len >= WI_HTTP_BUFFER_MIN / 2)
        return in->cap - in->len;
    size_t wanted = in->len + WI_HTTP_BUFFER_MIN / 2;
    if (conn->head_done && conn->head.framing == WEIR_HTTP1_LENGTH &&
        conn->head.content_length <= conn->client->limits.body_bytes_max)
        wanted += (size_t)conn->head.content_length;
    const char *before = in->at;
    if (!wi_http_buffer_reserve(conn->client->env, in, wanted))
        return 0;
    if (in->at != before)
        conn->head_moved = true;
    return in->cap - in->len;
}

/* An interim response makes way for the next head: RFC 9110 section 15.2. */
static weir_status skip_interim(wi_http_conn *conn, size_t len, const char **ret_why)
{
    *ret_why = "too many interim responses";
    if (++conn->interims > WI_HTTP_INTERIM_MAX)
        return WEIR_EPROTO;
    conn->in.len -= len;
    memmove(conn->in.at, conn->in.at + len, conn->in.len);
    conn->scan = (weir_http1_scan){ 0 };
    return WEIR_OK;
}

static weir_status parse_head(wi_http_conn *conn, size_t *ret_len)
{
    conn->head.fields = conn->fields;
    conn->head.field_cap = WI_HTTP_FIELDS_MAX;
    return weir_http1_response_head(&conn->client->limits, conn->method, conn->in.at, conn->in.len,
                                    &conn->scan, &conn->head, ret_len);
}

static weir_status feed_head(wi_http_conn *conn, const char **ret_why)
{
    size_t len = 0;
    weir_status status = parse_head(conn, &len);
    if (status != WEIR_OK) {
        *ret_why = status == WEIR_EPARTIAL ? NULL : conn->head.why;
        return status;
    }
    if (conn->head.tunnel) {
        *ret_why = "the server switched protocols unasked";
        return WEIR_EPROTO;
    }
    if (conn->head.status < 200)
        return skip_interim(conn, len, ret_why);
    conn->head_done = true;
    conn->head_len = conn->fed = len;
    weir_http1_body_init(&conn->body, &conn->client->limits, &conn->head);
    return WEIR_OK;
}

/* Body bytes close ranks behind the head: what framed them is overwritten. */
static weir_status feed_body(wi_http_conn *conn, const char **ret_why)
{
    weir_status status = weir_http1_body_done(&conn->body) ? WEIR_OK : WEIR_EPARTIAL;
    while (status == WEIR_EPARTIAL && conn->fed < conn->in.len) {
        weir_http1_span data = { NULL, 0 };
        size_t consumed = 0;
        status = weir_http1_body_feed(&conn->body, conn->in.at + conn->fed,
                                      conn->in.len - conn->fed, &data, &consumed);
        if (status != WEIR_OK && status != WEIR_EPARTIAL) {
            *ret_why = conn->body.why;
            return status;
        }
        char *to = conn->in.at + conn->head_len + conn->body_len;
        if (data.len > 0 && data.at != to)
            memmove(to, data.at, data.len);
        conn->body_len += data.len;
        conn->fed += consumed;
    }
    if (status == WEIR_EPARTIAL)
        conn->in.len = conn->fed = conn->head_len + conn->body_len;
    return status;
}

weir_status wi_http_response_feed(wi_http_conn *conn, const char **ret_why)
{
    while (!conn->head_done) {
        weir_status status = feed_head(conn, ret_why);
        if (status != WEIR_OK)
            return status;
    }
    return feed_body(conn, ret_why);
}

weir_status wi_http_response_eof(wi_http_conn *conn, const char **ret_why)
{
    *ret_why = "the connection closed within the response";
    if (!conn->head_done || weir_http1_body_eof(&conn->body) != WEIR_OK)
        return WEIR_EIO;
    conn->head.keep_alive = false;
    return WEIR_OK;
}

static weir_status judge(unsigned status, const char **ret_why)
{
    if (status >= 200 && status < 300)
        return WEIR_OK;
    bool later = status >= 500 || status == 429;
    *ret_why = later ? "the server could not answer" : "the server refused the request";
    return later ? WEIR_EUNAVAILABLE : WEIR_EREJECTED;
}

weir_status wi_http_response_deliver(wi_http_conn *conn, const char **ret_why)
{
    const weir_http_call_config *config = &conn->client->config;
    if (conn->head_moved) {
        size_t len = 0;
        bool keep_alive = conn->head.keep_alive;
        conn->scan = (weir_http1_scan){ 0 };
        weir_status status = parse_head(conn, &len);
        if (status != WEIR_OK)
            return WEIR_EINTERNAL;
        conn->head.keep_alive = keep_alive;
    }
    if (config->response == NULL)
        return judge(conn->head.status, ret_why);
    weir_http_call_response response = {
        .status = conn->head.status,
        .head = &conn->head,
        .body = { conn->in.at + conn->head_len, conn->body_len },
        .op = conn->op,
    };
    *ret_why = "the response callback refused the response";
    return config->response(conn->op->item, &response, config->user);
}
