/* Bodies that come after their heads, in pieces or in chunks, collected into their requests. */
#include "http_server_internal.h"

#include <string.h>

/* Bodies up to this are set aside in the item; larger ones grow as they come, so that a peer that
 * announces much and sends little costs little. */
enum { INLINE_MAX = 8 * 1024, FIRST_BYTES = 4 * 1024 };

static wi_httpd_incoming *incoming_new(wi_httpd *server)
{
    wi_httpd_incoming *incoming = server->spare_incoming;
    if (incoming == NULL)
        return weir_memory_new(server->env, sizeof *incoming);
    server->spare_incoming = incoming->next;
    memset(incoming, 0, sizeof *incoming);
    return incoming;
}

void wi_httpd_incoming_free(wi_httpd *server, wi_httpd_incoming *incoming)
{
    server->body_bytes -= incoming->reserved;
    if (incoming->reserved != 0 && server->cramped.first != NULL)
        wi_httpd_come_back(server); /* some may wait for just that */
    incoming->next = server->spare_incoming;
    server->spare_incoming = incoming;
}

bool wi_httpd_incoming_start(wi_httpd_conn *conn, const weir_http1_head *head, const char *at,
                             size_t head_bytes, size_t reserve)
{
    wi_httpd *server = conn->server;
    bool in_item = head->framing == WEIR_HTTP1_LENGTH && head->content_length <= INLINE_MAX;
    size_t room = in_item ? (size_t)head->content_length : 0;
    wi_httpd_incoming *incoming = incoming_new(server);
    if (incoming == NULL)
        return false;
    incoming->item = wi_httpd_request_new(conn, head, at, head_bytes, room);
    if (incoming->item == NULL) {
        wi_httpd_incoming_free(server, incoming);
        return false;
    }
    weir_http1_body_init(&incoming->body, &server->config.limits, head);
    if (in_item) {
        weir_http_request *request = incoming->item->body;
        incoming->room = room;
        request->body.at = wi_httpd_request_room(request, head_bytes);
    }
    incoming->reserved = reserve;
    server->body_bytes += reserve;
    conn->incoming = incoming;
    return true;
}

bool wi_httpd_incoming_wait(wi_httpd_conn *conn, weir_item *item)
{
    wi_httpd_incoming *incoming = incoming_new(conn->server);
    if (incoming == NULL)
        return false;
    incoming->item = item;
    incoming->complete = true;
    conn->incoming = incoming;
    return true;
}

static bool make_room(wi_httpd_conn *conn, size_t more)
{
    wi_httpd_incoming *incoming = conn->incoming;
    weir_http_request *request = incoming->item->body;
    size_t room = incoming->room != 0 ? incoming->room : FIRST_BYTES;
    if (incoming->room - request->body.len >= more)
        return true;
    while (room - request->body.len < more)
        room *= 2;
    if (incoming->reserved != 0 && room > incoming->reserved)
        room = (size_t)incoming->reserved; /* the limit: it never needs more */
    char *memory = weir_memory_resize(conn->server->env, request->body_memory, room);
    if (memory == NULL)
        return false;
    request->body_memory = memory;
    request->body.at = memory;
    incoming->room = room;
    return true;
}

static bool collect(wi_httpd_conn *conn, weir_http1_span data)
{
    weir_http_request *request = conn->incoming->item->body;
    if (data.len == 0)
        return true;
    if (!make_room(conn, data.len))
        return false;
    memcpy((char *)(uintptr_t)request->body.at + request->body.len, data.at, data.len);
    request->body.len += data.len;
    return true;
}

static void complete(wi_httpd_incoming *incoming)
{
    weir_http_request *request = incoming->item->body;
    incoming->complete = true;
    if (request->body_memory != NULL)
        incoming->item->cost += (uint32_t)(request->body.len < UINT32_MAX / 2 ? request->body.len
                                                                              : UINT32_MAX / 2);
}

size_t wi_httpd_incoming_take(wi_httpd_conn *conn, const char *at, size_t len)
{
    wi_httpd_incoming *incoming = conn->incoming;
    size_t used = 0;
    while (used < len) {
        weir_http1_span data;
        size_t n;
        weir_status status = weir_http1_body_feed(&incoming->body, at + used, len - used, &data,
                                                  &n);
        if (status != WEIR_OK && status != WEIR_EPARTIAL) {
            wi_httpd_refuse(conn, incoming->body.status, incoming->body.why);
            return len;
        }
        used += n;
        if (!collect(conn, data)) {
            wi_httpd_refuse(conn, 503, "out of memory");
            return len;
        }
        if (status == WEIR_OK) {
            complete(incoming);
            break;
        }
    }
    return used;
}

weir_item *wi_httpd_incoming_done(wi_httpd_conn *conn)
{
    wi_httpd_incoming *incoming = conn->incoming;
    weir_item *item = incoming->item;
    conn->incoming = NULL;
    conn->continue_due = false;
    wi_httpd_incoming_free(conn->server, incoming);
    return item;
}
