/* A request as an item: one copy of its head and its body, its context, and what may be read off.
 */
#include "http_server_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static void request_ended(weir_item *item, weir_outcome outcome, weir_status status);
static weir_status request_clone(weir_item *to, const weir_item *from);

const weir_item_type wi_httpd_request_type = {
    .name = "http_request",
    .ended = request_ended,
    .clone = request_clone,
};

/* ---- Making ---- */

static wi_httpd_part part_of(weir_http1_span span, const char *head)
{
    if (span.len == 0)
        return (wi_httpd_part){ 0 };
    return (wi_httpd_part){ (uint16_t)(span.at - head), (uint16_t)span.len };
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_bytes(const char *at, uint8_t *to, size_t n)
{
    int any = 0;
    for (size_t i = 0; i < n; i++) {
        int high = hex(at[2 * i]), low = hex(at[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
        any |= to[i];
    }
    return any != 0;
}

/* https://www.w3.org/TR/trace-context/#traceparent-header: version, trace, parent and flags. */
static bool trace_from(weir_trace *trace, weir_http1_span value)
{
    weir_trace read = { 0 };
    uint8_t version;
    if (value.at == NULL || value.len < 55 || value.at[2] != '-' || value.at[35] != '-' ||
        value.at[52] != '-' || memcmp(value.at, "ff", 2) == 0)
        return false;
    if ((value.len > 55 && (value.at[55] != '-' || memcmp(value.at, "00", 2) == 0)) ||
        (!hex_bytes(value.at, &version, 1) && memcmp(value.at, "00", 2) != 0))
        return false;
    if (!hex_bytes(value.at + 3, read.trace_id, 16) || !hex_bytes(value.at + 36, read.span_id, 8))
        return false;
    (void)hex_bytes(value.at + 53, &read.flags, 1);
    *trace = read;
    return true;
}

static void trace_start(weir_trace *trace, weir_loop *loop)
{
    uint64_t random[3] = { weir_loop_entropy(loop), weir_loop_entropy(loop),
                           weir_loop_entropy(loop) | 1 };
    memcpy(trace->trace_id, random, sizeof trace->trace_id);
    memcpy(trace->span_id, random + 2, sizeof trace->span_id);
}

static weir_http1_span find(const weir_http1_head *head, const char *name, size_t len)
{
    for (uint32_t i = 0; i < head->field_count; i++)
        if (head->fields[i].name.len == len && weir_http1_span_is(head->fields[i].name, name))
            return head->fields[i].value;
    return (weir_http1_span){ 0 };
}

static void copy_head(weir_http_request *request, const weir_http1_head *head, const char *at,
                      size_t head_bytes)
{
    request->fields = (wi_httpd_field *)(void *)(request + 1);
    request->head = (char *)(request->fields + head->field_count);
    request->field_count = (uint16_t)head->field_count;
    memcpy(request->head, at, head_bytes);
    for (uint32_t i = 0; i < head->field_count; i++) {
        request->fields[i].name = part_of(head->fields[i].name, at);
        request->fields[i].value = part_of(head->fields[i].value, at);
    }
    request->target = part_of(head->target, at);
    request->path = part_of(head->path, at);
    request->query = part_of(head->query, at);
    request->host = part_of(head->host, at);
    request->content_type = part_of(head->content_type, at);
    request->has_query = head->query.at != NULL;
    request->has_type = head->content_type.at != NULL;
    request->method = (uint8_t)head->method;
    request->minor = head->minor;
    request->to_close = !head->keep_alive;
}

static void link_request(wi_httpd_conn *conn, weir_http_request *request)
{
    if (conn->requests_last != NULL)
        conn->requests_last->next = request;
    else
        conn->requests = request;
    conn->requests_last = request;
}

void wi_httpd_request_unlink(weir_http_request *request)
{
    wi_httpd_conn *conn = request->conn;
    weir_http_request *before = NULL;
    if (conn == NULL)
        return;
    for (weir_http_request *at = conn->requests; at != request; at = at->next)
        before = at;
    *(before != NULL ? &before->next : &conn->requests) = request->next;
    if (conn->requests_last == request)
        conn->requests_last = before;
    request->conn = NULL;
}

weir_item *wi_httpd_request_new(wi_httpd_conn *conn, const weir_http1_head *head, const char *at,
                                size_t head_bytes, size_t body_room)
{
    wi_httpd *server = conn->server;
    size_t fixed = sizeof(weir_http_request) + head->field_count * sizeof(wi_httpd_field);
    weir_item *item = weir_item_new(server->loop, &wi_httpd_request_type,
                                    fixed + head_bytes + body_room);
    if (item == NULL)
        return NULL;
    weir_http_request *request = item->body;
    memset(request, 0, sizeof *request);
    copy_head(request, head, at, head_bytes);
    weir_context_init(&request->context, server->loop, NULL, 0);
    if (!trace_from(&request->context.trace, find(head, "traceparent", 11)))
        trace_start(&request->context.trace, server->loop);
    item->context = &request->context;
    request->server = server;
    request->conn = conn;
    request->item = item;
    request->peer = conn->peer;
    request->peer_port = conn->peer_port;
    request->is_tls = conn->tls != NULL;
    request->seq = conn->seq_in++;
    link_request(conn, request);
    server->requests_live++;
    return item;
}

char *wi_httpd_request_room(weir_http_request *request, size_t head_bytes)
{
    return request->head + head_bytes;
}

/* ---- Its end ---- */

static void request_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    weir_http_request *request = item->body;
    wi_httpd *server = request->server;
    if (request->is_copy)
        return;
    wi_httpd_answer_end(request, outcome, status);
    wi_httpd_request_unlink(request);
    wi_httpd_parcel_free(request);
    weir_memory_free(server->env, request->body_memory);
    weir_context_done(&request->context);
    server->requests_live--;
    if (server->draining)
        weir_loop_defer(server->loop, &server->flush);
}

void wi_httpd_request_discard(weir_http_request *request)
{
    wi_httpd_request_unlink(request);
    weir_item_end(request->item, WEIR_ABORTED, WEIR_ECANCELED);
}

/* A copy is a view: it keeps the original alive, which is what it points to. */
static weir_status request_clone(weir_item *to, const weir_item *from)
{
    weir_http_request *copy = to->body;
    (void)from;
    copy->is_copy = true;
    return WEIR_OK;
}

/* ---- Reading it ---- */

const weir_http_request *weir_http_request_of(const weir_item *item)
{
    if (item == NULL)
        return NULL;
    item = weir_item_root(item);
    return item->type == &wi_httpd_request_type ? item->body : NULL;
}

static weir_http1_span span_of(const weir_http_request *request, wi_httpd_part part)
{
    return (weir_http1_span){ request->head + part.at, part.len };
}

weir_http1_method weir_http_request_method(const weir_http_request *request)
{
    return (weir_http1_method)request->method;
}

weir_http1_span weir_http_request_target(const weir_http_request *request)
{
    return span_of(request, request->target);
}

weir_http1_span weir_http_request_path(const weir_http_request *request)
{
    return span_of(request, request->path);
}

weir_http1_span weir_http_request_query(const weir_http_request *request)
{
    if (!request->has_query)
        return (weir_http1_span){ 0 };
    return span_of(request, request->query);
}

weir_http1_span weir_http_request_host(const weir_http_request *request)
{
    return span_of(request, request->host);
}

weir_http1_span weir_http_request_content_type(const weir_http_request *request)
{
    if (!request->has_type)
        return (weir_http1_span){ 0 };
    return span_of(request, request->content_type);
}

weir_http1_span weir_http_request_body(const weir_http_request *request)
{
    return request->body;
}

weir_http1_span weir_http_request_find(const weir_http_request *request, const char *name)
{
    size_t len = strlen(name);
    for (uint32_t i = 0; i < request->field_count; i++) {
        weir_http1_span found = span_of(request, request->fields[i].name);
        if (found.len == len && weir_http1_span_is(found, name))
            return span_of(request, request->fields[i].value);
    }
    return (weir_http1_span){ 0 };
}

uint32_t weir_http_request_fields(const weir_http_request *request)
{
    return request->field_count;
}

weir_http1_field weir_http_request_field(const weir_http_request *request, uint32_t index)
{
    if (index >= request->field_count)
        return (weir_http1_field){ { 0 }, { 0 } };
    return (weir_http1_field){ span_of(request, request->fields[index].name),
                               span_of(request, request->fields[index].value) };
}

unsigned weir_http_request_minor(const weir_http_request *request)
{
    return request->minor;
}

bool weir_http_request_is_tls(const weir_http_request *request)
{
    return request->is_tls;
}

size_t weir_http_request_peer(const weir_http_request *request, char *buffer, size_t cap)
{
    char text[INET6_ADDRSTRLEN];
    bool v4 = IN6_IS_ADDR_V4MAPPED(&request->peer);
    const void *at = v4 ? request->peer.s6_addr + 12 : request->peer.s6_addr;
    if (inet_ntop(v4 ? AF_INET : AF_INET6, at, text, sizeof text) == NULL)
        text[0] = '\0';
    int n = snprintf(buffer, cap, v4 ? "%s:%u" : "[%s]:%u", text, request->peer_port);
    return n < 0 ? 0 : (size_t)n;
}

weir_context *weir_http_request_context(const weir_http_request *request)
{
    return request->item->context;
}
