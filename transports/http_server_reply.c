/* Replies: their heads, their order on the connection, and the answer to what ended without one. */
#include "http_server_internal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Room for everything in a head but the caller's own texts. */
enum { HEAD_ROOM = 320 };

/* ---- Heads ---- */

static void refresh_date(wi_httpd *server)
{
    uint64_t now = weir_loop_now(server->loop);
    struct timespec wall;
    if (now < server->date_until_ns)
        return;
    clock_gettime(CLOCK_REALTIME, &wall);
    (void)weir_http1_date_at(&server->date, wall.tv_sec);
    server->date_until_ns = now + WEIR_SEC - (uint64_t)wall.tv_nsec;
    memset(server->prefixes, 0, sizeof server->prefixes);
}

static const wi_httpd_prefix *prefix_new(wi_httpd *server, int status, const char *type,
                                         size_t type_len)
{
    size_t len;
    wi_httpd_prefix *prefix = &server->prefixes[server->next_prefix++ % WI_HTTPD_PREFIXES];
    const weir_http1_response head = {
        .status = (unsigned)status,
        .date = server->date.text,
        .content_type = { type, type_len },
    };
    prefix->status = 0;
    if (weir_http1_write_response_head(&head, prefix->text, sizeof prefix->text, &len) != WEIR_OK)
        return NULL;
    prefix->status = status;
    prefix->len = (uint32_t)len - 2; /* without the empty line */
    prefix->type_len = (uint32_t)type_len;
    if (type_len > 0)
        memcpy(prefix->type, type, type_len);
    return prefix;
}

/* Most replies begin like one of the last few. */
static const wi_httpd_prefix *prefix_of(wi_httpd *server, int status, const char *type,
                                        size_t type_len)
{
    refresh_date(server);
    for (uint32_t i = 0; i < WI_HTTPD_PREFIXES; i++) {
        const wi_httpd_prefix *prefix = &server->prefixes[i];
        if (prefix->status == status && prefix->type_len == type_len &&
            (type_len == 0 || memcmp(prefix->type, type, type_len) == 0))
            return prefix;
    }
    return prefix_new(server, status, type, type_len);
}

static char *put(char *at, const char *bytes, size_t n)
{
    memcpy(at, bytes, n);
    return at + n;
}
#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

static char *put_decimal(char *at, uint64_t value)
{
    char text[20], *p = text + sizeof text;
    do {
        *--p = (char)('0' + value % 10);
    } while ((value /= 10) != 0);
    return put(at, p, (size_t)(text + sizeof text - p));
}

/* What the peer is told about the connection, and how the body is delimited. */
typedef struct shape {
    int status;
    weir_http1_framing framing;
    weir_http1_connection connection;
    size_t body_bytes; /* that are sent */
} shape;

static shape shape_of(const wi_httpd_place *place, const weir_http_answer *answer, bool closes)
{
    shape s = { .status = answer->status != 0 ? answer->status : 200 };
    bool bodyless = s.status == 204 || s.status == 304;
    if (place->streams)
        s.framing = place->minor >= 1 ? WEIR_HTTP1_CHUNKED : WEIR_HTTP1_UNTIL_CLOSE;
    else if (!bodyless)
        s.framing = WEIR_HTTP1_LENGTH;
    if (!bodyless && !place->is_head)
        s.body_bytes = answer->body_bytes;
    if (closes)
        s.connection = WEIR_HTTP1_CONNECTION_CLOSE;
    else if (place->minor == 0)
        s.connection = WEIR_HTTP1_CONNECTION_KEEP_ALIVE;
    return s;
}

static weir_status put_quickly(wi_httpd *server, wi_httpd_buffer *buffer, const shape *s,
                               const weir_http_answer *answer, size_t type_len)
{
    const wi_httpd_prefix *prefix = prefix_of(server, s->status, answer->content_type, type_len);
    if (prefix == NULL)
        return WEIR_EINVAL;
    if (!wi_httpd_reserve(server, buffer, prefix->len + HEAD_ROOM + s->body_bytes))
        return WEIR_ENOMEM;
    char *at = put(buffer->at + buffer->to, prefix->text, prefix->len);
    if (s->framing == WEIR_HTTP1_LENGTH) {
        at = PUT(at, "Content-Length: ");
        at = put_decimal(at, answer->body_bytes);
        at = PUT(at, "\r\n");
    }
    if (s->connection == WEIR_HTTP1_CONNECTION_CLOSE)
        at = PUT(at, "Connection: close\r\n");
    else if (s->connection == WEIR_HTTP1_CONNECTION_KEEP_ALIVE)
        at = PUT(at, "Connection: keep-alive\r\n");
    at = PUT(at, "\r\n");
    if (s->body_bytes > 0)
        at = put(at, answer->body, s->body_bytes);
    buffer->to = (uint32_t)(at - buffer->at);
    return WEIR_OK;
}

static weir_http1_response head_of(const shape *s, const weir_http_answer *answer)
{
    const char *type = answer->content_type;
    return (weir_http1_response){
        .status = (unsigned)s->status,
        .framing = s->framing,
        .content_length = answer->body_bytes,
        .connection = s->connection,
        .content_type = { type, type != NULL ? strlen(type) : 0 },
        .fields = answer->fields,
        .field_count = answer->field_count,
    };
}

static size_t head_room(const weir_http_answer *answer)
{
    size_t room = HEAD_ROOM + (answer->content_type != NULL ? strlen(answer->content_type) : 0);
    for (size_t i = 0; i < answer->field_count; i++)
        room += answer->fields[i].name.len + answer->fields[i].value.len + 4;
    return room;
}

static bool fields_allowed(const weir_http_answer *answer)
{
    for (size_t i = 0; i < answer->field_count; i++)
        if (weir_http1_span_is(answer->fields[i].name, "date"))
            return false;
    return true;
}

static weir_status put_at_length(wi_httpd *server, wi_httpd_buffer *buffer, const shape *s,
                                 const weir_http_answer *answer)
{
    weir_http1_response head = head_of(s, answer);
    size_t room = head_room(answer), len;
    refresh_date(server);
    head.date = server->date.text;
    if (!fields_allowed(answer))
        return WEIR_EINVAL;
    if (!wi_httpd_reserve(server, buffer, room + s->body_bytes))
        return WEIR_ENOMEM;
    if (weir_http1_write_response_head(&head, buffer->at + buffer->to, room, &len) != WEIR_OK)
        return WEIR_EINVAL;
    buffer->to += (uint32_t)len;
    if (s->body_bytes > 0)
        memcpy(buffer->at + buffer->to, answer->body, s->body_bytes);
    buffer->to += (uint32_t)s->body_bytes;
    return WEIR_OK;
}

static weir_status put_reply(wi_httpd *server, wi_httpd_buffer *buffer, const shape *s,
                             const weir_http_answer *answer)
{
    size_t type_len = answer->content_type != NULL ? strlen(answer->content_type) : 0;
    bool quickly = answer->field_count == 0 && type_len <= WI_HTTPD_PREFIX_TYPE &&
                   s->framing != WEIR_HTTP1_CHUNKED && s->framing != WEIR_HTTP1_UNTIL_CLOSE;
    return quickly ? put_quickly(server, buffer, s, answer, type_len)
                   : put_at_length(server, buffer, s, answer);
}

/* ---- Order ---- */

static wi_httpd_held *held_for(wi_httpd_conn *conn, uint32_t seq)
{
    wi_httpd_held **link = &conn->held;
    while (*link != NULL && (int32_t)((*link)->seq - seq) < 0)
        link = &(*link)->next;
    if (*link != NULL && (*link)->seq == seq)
        return *link;
    wi_httpd_held *held = weir_memory_new(conn->server->env, sizeof *held);
    if (held == NULL)
        return NULL;
    held->seq = seq;
    held->next = *link;
    *link = held;
    return held;
}

static wi_httpd_buffer *buffer_for(wi_httpd_conn *conn, uint32_t seq)
{
    if (seq == conn->seq_out)
        return &conn->out;
    wi_httpd_held *held = held_for(conn, seq);
    return held != NULL ? &held->bytes : NULL;
}

static bool take_held(wi_httpd_conn *conn, wi_httpd_held *held)
{
    wi_httpd *server = conn->server;
    bool taken = true;
    conn->held_bytes -= wi_httpd_buffered(&held->bytes);
    if (wi_httpd_buffered(&conn->out) == 0 && conn->out.at == NULL) {
        conn->out = held->bytes;
    } else {
        taken = wi_httpd_append(server, &conn->out, held->bytes.at + held->bytes.from,
                                wi_httpd_buffered(&held->bytes));
        wi_httpd_release(server, &held->bytes);
    }
    conn->held = held->next;
    weir_memory_free(server->env, held);
    return taken;
}

/* The reply whose turn it was is whole: on to the next, and to what is held of those. */
static void next_turn(wi_httpd_conn *conn, bool closes)
{
    wi_httpd_held *held;
    conn->seq_out++;
    conn->closes |= closes;
    while (!conn->closes && (held = conn->held) != NULL && held->seq == conn->seq_out) {
        bool whole = held->complete, held_closes = held->close;
        if (!take_held(conn, held)) {
            wi_httpd_conn_kill(conn, WEIR_ENOMEM);
            return;
        }
        if (!whole)
            break;
        conn->seq_out++;
        conn->closes |= held_closes;
    }
    if (conn->closes)
        conn->read_ended = true;
    if (conn->continue_due)
        wi_httpd_put_continue(conn);
}

static void complete(wi_httpd_conn *conn, uint32_t seq, bool closes)
{
    if (seq == conn->seq_out) {
        next_turn(conn, closes);
    } else {
        wi_httpd_held *held = held_for(conn, seq);
        held->complete = true;
        held->close = closes;
    }
    wi_httpd_dirty(conn);
}

static uint32_t stored(const wi_httpd_conn *conn, uint32_t seq, const wi_httpd_buffer *buffer)
{
    return seq == conn->seq_out ? 0 : wi_httpd_buffered(buffer);
}

weir_status wi_httpd_answer(wi_httpd_conn *conn, const wi_httpd_place *place,
                            const weir_http_answer *answer)
{
    wi_httpd_buffer *buffer = conn->closes ? NULL : buffer_for(conn, place->seq);
    bool last = conn->read_ended && place->seq + 1 == conn->seq_in;
    bool closes = place->to_close || answer->close || last || (place->streams && place->minor == 0);
    shape s = shape_of(place, answer, closes);
    if (conn->closes)
        return WEIR_ECLOSED;
    if (buffer == NULL)
        return WEIR_ENOMEM;
    uint32_t before = stored(conn, place->seq, buffer);
    weir_status status = put_reply(conn->server, buffer, &s, answer);
    if (status != WEIR_OK)
        return status;
    conn->held_bytes += stored(conn, place->seq, buffer) - before;
    if (place->streams)
        wi_httpd_dirty(conn);
    else
        complete(conn, place->seq, closes);
    return WEIR_OK;
}

void wi_httpd_put_continue(wi_httpd_conn *conn)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const weir_http_request *request = conn->incoming->item->body;
    if (request->seq != conn->seq_out)
        return;
    conn->continue_due = false;
    if (wi_httpd_append(conn->server, &conn->out, text, sizeof text - 1))
        wi_httpd_dirty(conn);
    else
        wi_httpd_conn_kill(conn, WEIR_ENOMEM);
}

/* ---- Answers of our own ---- */

void wi_httpd_answer_error(wi_httpd_conn *conn, const wi_httpd_place *place, int status,
                           const char *why)
{
    char body[256], retry[16];
    weir_http1_field field = { { "Retry-After", 11 }, { retry, 0 } };
    int n = snprintf(body, sizeof body, "{\"error\":\"%s\",\"why\":\"%s\"}\n",
                     weir_http1_reason((unsigned)status), why);
    int m = snprintf(retry, sizeof retry, "%u", conn->server->config.retry_after_s);
    field.value.len = (size_t)m;
    weir_http_answer answer = {
        .status = status,
        .content_type = "application/json",
        .body = body,
        .body_bytes = (size_t)n < sizeof body ? (size_t)n : sizeof body - 1,
        .fields = &field,
        .field_count = status == 503,
    };
    weir_status done = wi_httpd_answer(conn, place, &answer);
    if (done != WEIR_OK && done != WEIR_ECLOSED)
        wi_httpd_conn_kill(conn, done);
}

static int status_of_end(weir_outcome outcome, weir_status status, const char **ret_why)
{
    if (outcome == WEIR_ACKED || outcome == WEIR_FILTERED)
        return 204;
    *ret_why = weir_status_text(status);
    if (status == WEIR_EDEADLINE)
        return 504;
    if (outcome == WEIR_REJECTED || outcome == WEIR_ABORTED)
        return 503;
    switch (status) {
    case WEIR_EOVERLOAD:
    case WEIR_EUNAVAILABLE:
    case WEIR_EREJECTED:
    case WEIR_ECANCELED:
        return 503;
    case WEIR_ELIMIT:
        *ret_why = "more than is taken";
        return 413;
    default:
        *ret_why = "the request failed";
        return 500;
    }
}

wi_httpd_place wi_httpd_place_of(const weir_http_request *request)
{
    return (wi_httpd_place){
        .seq = request->seq,
        .minor = request->minor,
        .is_head = request->method == WEIR_HTTP1_HEAD,
        .to_close = request->to_close,
    };
}

void wi_httpd_answer_end(weir_http_request *request, weir_outcome outcome, weir_status status)
{
    wi_httpd_conn *conn = request->conn;
    const char *why = "";
    if (conn == NULL)
        return;
    if (wi_httpd_answered(request) == WI_HTTPD_STREAMING) {
        wi_httpd_conn_kill(conn, WEIR_ECLOSED); /* cut off, and seen to be */
        return;
    }
    wi_httpd_place place = wi_httpd_place_of(request);
    if (request->parcel != NULL && wi_httpd_parcel_send(request))
        return;
    if (wi_httpd_answered(request) == WI_HTTPD_ANSWERED && request->parcel == NULL)
        return;
    wi_httpd_set_answered(request, WI_HTTPD_ANSWERED);
    int code = status_of_end(outcome, status, &why);
    if (code != 204)
        wi_httpd_answer_error(conn, &place, code, why);
    else if (wi_httpd_answer(conn, &place, &(weir_http_answer){ .status = 204 }) == WEIR_ENOMEM)
        wi_httpd_conn_kill(conn, WEIR_ENOMEM);
}

/* ---- Pieces ---- */

weir_status wi_httpd_stream_put(weir_http_request *request, const void *bytes, size_t n)
{
    char line[WEIR_HTTP1_CHUNK_HEAD_MAX];
    wi_httpd_conn *conn = request->conn;
    wi_httpd_buffer *buffer = buffer_for(conn, request->seq);
    size_t line_len = request->minor >= 1 ? weir_http1_write_chunk_head(n, line) : 0;
    if (buffer == NULL || !wi_httpd_reserve(conn->server, buffer, n + sizeof line + 2))
        return WEIR_ENOMEM;
    char *at = put(buffer->at + buffer->to, line, line_len);
    at = put(at, bytes, n);
    if (line_len > 0)
        at = PUT(at, WEIR_HTTP1_CHUNK_END);
    uint32_t to = (uint32_t)(at - buffer->at);
    if (request->seq != conn->seq_out)
        conn->held_bytes += to - buffer->to;
    buffer->to = to;
    wi_httpd_dirty(conn);
    return WEIR_OK;
}

weir_status wi_httpd_stream_end(weir_http_request *request)
{
    wi_httpd_conn *conn = request->conn;
    wi_httpd_buffer *buffer = buffer_for(conn, request->seq);
    size_t n = sizeof WEIR_HTTP1_LAST_CHUNK - 1;
    bool chunked = request->minor >= 1 && request->method != WEIR_HTTP1_HEAD;
    if (buffer == NULL)
        return WEIR_ENOMEM;
    if (chunked) {
        if (!wi_httpd_append(conn->server, buffer, WEIR_HTTP1_LAST_CHUNK, n))
            return WEIR_ENOMEM;
        if (request->seq != conn->seq_out)
            conn->held_bytes += (uint32_t)n;
    }
    wi_httpd_set_answered(request, WI_HTTPD_ANSWERED);
    complete(conn, request->seq, request->cut_body || request->minor == 0);
    return WEIR_OK;
}
