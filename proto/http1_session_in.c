/* What comes on an HTTP/1 connection: heads, bodies within their window, trailers. */
#include "http1_session.h"

#include <string.h>

/* ---- Fields ---- */

/* Of the connection, of the framing, or said otherwise: not for those above. */
static bool is_private(weir_http1_span name)
{
    static const char *const names[] = {
        "connection", "keep-alive",        "proxy-connection", "te",  "trailer",
        "upgrade",    "transfer-encoding", "content-length",   "host"
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (weir_http1_span_is(name, names[i]))
            return true;
    return false;
}

static void lower(weir_http1_span name)
{
    char *at = (char *)(uintptr_t)name.at; /* it lies in our buffer */
    for (size_t i = 0; i < name.len; i++)
        if (at[i] >= 'A' && at[i] <= 'Z')
            at[i] = (char)(at[i] + ('a' - 'A'));
}

/* Leaves those out that are private, and writes the names in lower case. */
static size_t clean(weir_http1_field *fields, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (is_private(fields[i].name))
            continue;
        lower(fields[i].name);
        fields[kept++] = fields[i];
    }
    return kept;
}

static weir_http1_span moved(weir_http1_span span, ptrdiff_t by)
{
    if (span.at != NULL)
        span.at += by;
    return span;
}

/* The spans of a head that was parsed where it lay, to the copy of it. */
static void move(weir_http1_head *head, const char *from, const char *to)
{
    ptrdiff_t by = (ptrdiff_t)((uintptr_t)to - (uintptr_t)from);
    if (by == 0)
        return;
    head->path = moved(head->path, by);
    head->query = moved(head->query, by);
    head->host = moved(head->host, by);
    for (uint32_t i = 0; i < head->field_count; i++) {
        head->fields[i].name = moved(head->fields[i].name, by);
        head->fields[i].value = moved(head->fields[i].value, by);
    }
}

/* ---- Heads ---- */

static weir_http1_limits limits_of(const weir_http_session *session)
{
    return (weir_http1_limits){ .target_bytes_max = session->config.head_bytes_max,
                                .head_bytes_max = session->config.head_bytes_max,
                                .fields_max = session->config.fields_max,
                                .trailer_bytes_max = WI_HTTP1_TRAILER_BYTES,
                                .body_bytes_max = WEIR_HTTP1_UNLIMITED };
}

static weir_http1_span span_of(const char *text)
{
    return (weir_http1_span){ text, strlen(text) };
}

/* A target in absolute form may have a query and no path (RFC 9112 section 3.2.2). The bytes before
 * a query are the authority's, which has been taken note of, and make room for a slash. */
static weir_http1_span path_of(const weir_http1_head *head, weir_http1_span *host)
{
    weir_http1_span path = head->path;
    if (head->query.at != NULL)
        path.len = (size_t)(head->query.at + head->query.len - path.at);
    if (path.len == 0)
        return span_of("/");
    if (path.at[0] == '?') {
        char *at = (char *)(uintptr_t)host->at; /* behind "//" */
        memmove(at - 1, at, host->len);
        at[host->len - 1] = '/';
        host->at--;
        path.at--;
        path.len++;
    }
    return path;
}

static weir_status take_request(weir_http_session *session, weir_http1_head *head)
{
    wi_http1_session *s = wi_http1_of(session);
    wi_http1_exchange *x = (wi_http1_exchange *)wi_http_exchange_new(session);
    if (x == NULL)
        return wi_http1_refuse(session, WEIR_ENOMEM, 503, "out of memory");
    s->exchange = x;
    x->method = head->method;
    x->is_old = head->minor == 0;
    x->waits = head->expect_continue;
    x->counted = head->has_content_length;
    x->tail.env = session->env;
    x->base.peer_ended = s->phase == WI_HTTP1_COMPLETE;
    s->closes = s->closes || !head->keep_alive;
    weir_http_head told = { .method = span_of(weir_http1_method_text(head->method)),
                            .authority = head->host,
                            .scheme = span_of(session->config.is_tls ? "https" : "http"),
                            .fields = head->fields,
                            .field_count = clean(head->fields, head->field_count),
                            .ends = x->base.peer_ended };
    told.path = path_of(head, &told.authority);
    told.content_length = head->has_content_length || told.ends ? head->content_length : UINT64_MAX;
    wi_http_tell_head(&x->base, &told);
    return WEIR_OK;
}

static weir_status take_response(weir_http_session *session, weir_http1_head *head)
{
    wi_http1_session *s = wi_http1_of(session);
    wi_http1_exchange *x = s->exchange;
    if (head->status < 200) {
        if (head->status == 101 || ++x->interims > WI_HTTP1_INTERIM_MAX)
            return wi_http1_refuse(session, WEIR_EPROTO, 0, "an interim response out of place");
        s->phase = WI_HTTP1_HEAD;
        return WEIR_OK;
    }
    s->closes = s->closes || !head->keep_alive;
    x->base.peer_ended = s->phase == WI_HTTP1_COMPLETE;
    weir_http_head told = { .status = head->status,
                            .fields = head->fields,
                            .field_count = clean(head->fields, head->field_count),
                            .content_length = head->has_content_length ? head->content_length
                                                                       : UINT64_MAX,
                            .ends = x->base.peer_ended };
    if (told.ends && !head->has_content_length)
        told.content_length = 0;
    wi_http_tell_head(&x->base, &told);
    return WEIR_OK;
}

/* A whole head stands in s->head. */
static weir_status take_message(weir_http_session *session, weir_http1_head *head)
{
    wi_http1_session *s = wi_http1_of(session);
    weir_http1_limits limits = limits_of(session);
    weir_status status;
    if (!session->config.is_client && head->method == WEIR_HTTP1_CONNECT)
        return wi_http1_refuse(session, WEIR_EPROTO, 501, "no tunnels here");
    s->scan = (weir_http1_scan){ 0 };
    s->was_used = true;
    weir_http1_body_init(&s->body, &limits, head);
    s->phase = weir_http1_body_done(&s->body) ? WI_HTTP1_COMPLETE : WI_HTTP1_BODY;
    if (session->config.is_client) {
        status = take_response(session, head);
    } else {
        status = take_request(session, head);
    }
    weir_bytes_done(&s->head); /* to the pool */
    if (status == WEIR_OK)
        wi_http1_settle(session);
    return status;
}

static weir_status parse(weir_http_session *session, const char *at, size_t len,
                         weir_http1_head *head, size_t *ret_head_bytes)
{
    wi_http1_session *s = wi_http1_of(session);
    weir_http1_limits limits = limits_of(session);
    weir_status status = session->config.is_client
                             ? weir_http1_response_head(&limits, s->exchange->method, at, len,
                                                        &s->scan, head, ret_head_bytes)
                             : weir_http1_request_head(&limits, at, len, &s->scan, head,
                                                       ret_head_bytes);
    if (status == WEIR_EPROTO || status == WEIR_ELIMIT)
        return wi_http1_refuse(session, status, head->status, head->why);
    return status;
}

static weir_status keep(weir_http_session *session, const char *bytes, size_t n)
{
    weir_status status = weir_bytes_append(&wi_http1_of(session)->head, bytes, n);
    return status == WEIR_OK ? status : wi_http1_refuse(session, status, 503, "out of memory");
}

/* More of a head, from which `*ret_took` bytes are taken. It is parsed where it lies if it came as
 * a whole; the bytes behind it are left there in any case. */
static weir_status take_head(weir_http_session *session, const char *bytes, size_t n,
                             size_t *ret_took)
{
    wi_http1_session *s = wi_http1_of(session);
    weir_http1_field fields[WI_HTTP1_FIELDS_MAX];
    weir_http1_head head = { .fields = fields, .field_cap = WI_HTTP1_FIELDS_MAX };
    size_t held = s->head.len, head_bytes = 0;
    if (held == 0 && !session->config.is_client)
        s->since_ns = session->now_ns;
    if (held != 0) {
        size_t most = session->config.head_bytes_max;
        n = n < most ? n : most; /* what is too large shows by then */
        weir_status status = keep(session, bytes, n);
        if (status != WEIR_OK)
            return status;
    }
    const char *at = held != 0 ? s->head.at : bytes;
    weir_status status = parse(session, at, held + n, &head, &head_bytes);
    if (status == WEIR_EPARTIAL) {
        *ret_took = n;
        return held != 0 ? WEIR_OK : keep(session, bytes, n);
    }
    if (status == WEIR_OK && held == 0)
        status = keep(session, bytes, head_bytes);
    if (status != WEIR_OK)
        return status;
    move(&head, at, s->head.at);
    *ret_took = head_bytes - held;
    return take_message(session, &head);
}

/* ---- Bodies ---- */

static void tell_end(weir_http_session *session)
{
    wi_http1_session *s = wi_http1_of(session);
    wi_http1_exchange *x = s->exchange;
    weir_http1_field fields[WI_HTTP1_TRAILERS_MAX];
    size_t n = 0;
    if (s->head.len != 0)
        n = clean(fields,
                  weir_http1_trailers(s->head.at, s->head.len, fields, WI_HTTP1_TRAILERS_MAX));
    s->phase = WI_HTTP1_COMPLETE;
    x->base.peer_ended = true;
    wi_http_tell_end(&x->base, fields, n);
    weir_bytes_done(&s->head);
    wi_http1_settle(session);
}

static size_t window_left(const weir_http_session *session)
{
    size_t window = session->config.stream_window_bytes;
    size_t held = wi_http1_of(session)->exchange->base.unconsumed;
    return held < window ? window - held : 0;
}

/* The request was answered: the rest of its body is passed over. */
static weir_status skip_body(weir_http_session *session, const char *bytes, size_t n,
                             size_t *ret_took)
{
    wi_http1_session *s = wi_http1_of(session);
    weir_http1_span data;
    weir_status status = weir_http1_body_feed(&s->body, bytes, n, &data, ret_took);
    if (status == WEIR_OK)
        wi_http1_next_message(session);
    return WEIR_OK; /* a length that was announced is no reason to refuse anything */
}

static weir_status take_body(weir_http_session *session, const char *bytes, size_t n,
                             size_t *ret_took)
{
    wi_http1_session *s = wi_http1_of(session);
    size_t most = window_left(session), took = 0;
    weir_http1_span data = { NULL, 0 };
    if (most == 0)
        return WEIR_OK;
    weir_status status = weir_http1_body_feed(&s->body, bytes, n < most ? n : most, &data, &took);
    if (status != WEIR_OK && status != WEIR_EPARTIAL)
        return wi_http1_refuse(session, status, s->body.status, s->body.why);
    *ret_took = took;
    if (s->body.trailer_len != 0) {
        weir_status kept = keep(session, bytes + s->body.trailer_at, s->body.trailer_len);
        if (kept != WEIR_OK)
            return kept;
    }
    if (data.len != 0)
        wi_http_tell_body(&s->exchange->base, data.at, data.len);
    if (status == WEIR_OK && !s->is_dead)
        tell_end(session);
    return WEIR_OK;
}

/* The body is expected, but only behind a word of ours; not if it comes by itself, or if the
 * answer was given already. */
static weir_status say_continue(weir_http_session *session)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    wi_http1_session *s = wi_http1_of(session);
    wi_http1_exchange *x = s->exchange;
    if (x == NULL || !x->waits || x->base.responded || s->is_dead)
        return WEIR_OK;
    x->waits = false;
    if (weir_bytes_append(&s->out, text, sizeof text - 1) != WEIR_OK)
        return wi_http1_refuse(session, WEIR_ENOMEM, 503, "out of memory");
    return WEIR_OK;
}

static weir_status take(weir_http_session *session, const char *bytes, size_t n, size_t *ret_took)
{
    wi_http1_session *s = wi_http1_of(session);
    if (s->is_dead) {
        *ret_took = n;
        return WEIR_OK;
    }
    if (s->phase == WI_HTTP1_BODY && s->exchange == NULL)
        return skip_body(session, bytes, n, ret_took);
    if (s->phase == WI_HTTP1_BODY) {
        s->exchange->waits = false;
        return take_body(session, bytes, n, ret_took);
    }
    if (s->phase == WI_HTTP1_COMPLETE)
        return WEIR_OK; /* what follows waits where it is */
    if (session->config.is_client && s->exchange == NULL)
        return wi_http1_refuse(session, WEIR_EPROTO, 0, "a response that nobody asked for");
    return take_head(session, bytes, n, ret_took);
}

weir_status wi_http1_feed(weir_http_session *session, const char *bytes, size_t n,
                          size_t *ret_consumed)
{
    size_t used = 0, took = 1;
    weir_status status = WEIR_OK;
    for (; status == WEIR_OK && used < n && took != 0; used += took) {
        took = 0;
        status = take(session, bytes + used, n - used, &took);
    }
    if (status == WEIR_OK)
        status = say_continue(session);
    if (wi_http1_of(session)->is_dead)
        weir_bytes_done(&wi_http1_of(session)->head);
    if (status == WEIR_OK)
        *ret_consumed = used;
    return status;
}

bool wi_http1_wants_input(const weir_http_session *session)
{
    const wi_http1_session *s = wi_http1_of(session);
    if (s->is_dead || s->phase == WI_HTTP1_COMPLETE)
        return false;
    return s->phase != WI_HTTP1_BODY || s->exchange == NULL || window_left(session) != 0;
}

void wi_http1_peer_ended(weir_http_session *session)
{
    wi_http1_session *s = wi_http1_of(session);
    bool until_close = s->phase == WI_HTTP1_BODY && weir_http1_body_eof(&s->body) == WEIR_OK;
    s->peer_ended = s->closes = true;
    if (s->is_dead || s->phase == WI_HTTP1_COMPLETE)
        return; /* what was asked is answered all the same */
    if (s->phase == WI_HTTP1_BODY && s->exchange == NULL)
        wi_http1_end_input(session);
    else if (until_close)
        tell_end(session);
    else if (s->phase == WI_HTTP1_BODY)
        (void)wi_http1_refuse(session, WEIR_EPROTO, 400, "the body was cut off");
    else if (s->head.len != 0)
        (void)wi_http1_refuse(session, WEIR_EPROTO, 400, "the head was cut off");
    else if (s->exchange != NULL)
        (void)wi_http1_refuse(session, WEIR_ECLOSED, 0, "closed before it answered");
    else
        wi_http1_end_input(session);
}
