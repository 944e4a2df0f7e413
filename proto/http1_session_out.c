/* What goes out on an HTTP/1 connection: heads, bodies by length or in chunks, trailers. */
#include "http1_session.h"

/* More than any start line's own words, framing and connection fields take. */
enum { HEAD_ROOM = 256 };

static size_t fields_room(const weir_http1_field *fields, size_t n)
{
    size_t room = HEAD_ROOM;
    for (size_t i = 0; i < n; i++)
        room += fields[i].name.len + fields[i].value.len + 4;
    return room;
}

/* ---- Heads ---- */

/* The answer comes before the request has, of which more may follow than is skipped. */
static bool is_early(const wi_http1_session *s, const wi_http1_exchange *x)
{
    return s->phase == WI_HTTP1_BODY && (!x->counted || s->body.left > WI_HTTP1_SKIP_BYTES);
}

/* How the body of our message goes, by its head; `bare`: a message that says nothing about it. */
static weir_http1_framing frame(wi_http1_exchange *x, const weir_http_head *head, bool bare)
{
    x->length = head->content_length;
    x->chunked = false;
    if (head->ends && x->length == UINT64_MAX && x->mute)
        bare = true;
    if (head->ends && !x->mute)
        x->length = 0;
    if (bare)
        return WEIR_HTTP1_NO_BODY;
    if (x->length != UINT64_MAX)
        return WEIR_HTTP1_LENGTH;
    x->chunked = !x->is_old;
    return x->chunked ? WEIR_HTTP1_CHUNKED : WEIR_HTTP1_UNTIL_CLOSE;
}

static weir_http1_connection connection_of(const weir_http_session *session,
                                           const wi_http1_exchange *x)
{
    if (wi_http1_of(session)->closes || session->drains != 0)
        return WEIR_HTTP1_CONNECTION_CLOSE;
    return x->is_old ? WEIR_HTTP1_CONNECTION_KEEP_ALIVE : WEIR_HTTP1_CONNECTION_DEFAULT;
}

static void begun(wi_http1_exchange *x, const weir_http_head *head)
{
    x->base.responded = true;
    x->base.ended = head->ends;
    wi_http1_written(&x->base);
}

weir_status wi_http1_respond(weir_http_exchange *exchange, const weir_http_head *head)
{
    wi_http1_exchange *x = (wi_http1_exchange *)exchange;
    weir_http_session *session = exchange->session;
    wi_http1_session *s = wi_http1_of(session);
    bool bare = head->status == 204 || head->status == 304;
    size_t n, room = fields_room(head->fields, head->field_count);
    if (head->status < 200)
        return WEIR_EINVAL;
    weir_status status = weir_bytes_reserve(&s->out, room);
    if (status != WEIR_OK)
        return status;
    x->mute = bare || x->method == WEIR_HTTP1_HEAD;
    weir_http1_framing framing = frame(x, head, bare);
    /* A body that waits for a 100 that never came may come or not. */
    bool closed = s->closes;
    s->closes = closed || x->waits || framing == WEIR_HTTP1_UNTIL_CLOSE || is_early(s, x);
    weir_http1_response response = { .status = head->status,
                                     .framing = framing,
                                     .content_length = x->length,
                                     .connection = connection_of(session, x),
                                     .fields = head->fields,
                                     .field_count = head->field_count };
    status = weir_http1_write_response_head(&response, s->out.at + s->out.len, room, &n);
    if (status != WEIR_OK) {
        s->closes = closed;
        return status == WEIR_ELIMIT ? WEIR_EINVAL : status;
    }
    s->out.len += n;
    begun(x, head);
    return WEIR_OK;
}

static weir_http1_method method_of(weir_http1_span span)
{
    for (int m = WEIR_HTTP1_METHOD_NONE + 1; m <= WEIR_HTTP1_SOURCE; m++) {
        const char *text = weir_http1_method_text((weir_http1_method)m);
        if (strlen(text) == span.len && memcmp(text, span.at, span.len) == 0)
            return (weir_http1_method)m;
    }
    return WEIR_HTTP1_METHOD_NONE;
}

/* Of requests without a body only those say so whose method expects one (RFC 9110 8.6). */
static bool is_bare(const weir_http_head *head, weir_http1_method method)
{
    return head->ends && method != WEIR_HTTP1_POST && method != WEIR_HTTP1_PUT &&
           method != WEIR_HTTP1_PATCH;
}

static weir_status write_request(weir_http_session *session, wi_http1_exchange *x,
                                 const weir_http_head *head)
{
    wi_http1_session *s = wi_http1_of(session);
    size_t n,
        room = fields_room(head->fields, head->field_count) + head->path.len + head->authority.len;
    weir_status status = weir_bytes_reserve(&s->out, room);
    if (status != WEIR_OK)
        return status;
    weir_http1_request request = { .method = x->method,
                                   .target = head->path,
                                   .host = head->authority,
                                   .framing = frame(x, head, is_bare(head, x->method)),
                                   .connection = WEIR_HTTP1_CONNECTION_DEFAULT,
                                   .fields = head->fields,
                                   .field_count = head->field_count };
    request.content_length = x->length;
    status = weir_http1_write_request_head(&request, s->out.at + s->out.len, room, &n);
    if (status != WEIR_OK)
        return status == WEIR_ELIMIT ? WEIR_EINVAL : status;
    s->out.len += n;
    return WEIR_OK;
}

weir_status wi_http1_open(weir_http_session *session, const weir_http_head *head, void *user,
                          weir_http_exchange **ret_exchange)
{
    wi_http1_session *s = wi_http1_of(session);
    weir_http1_method method = method_of(head->method);
    if (s->is_dead)
        return WEIR_ECLOSED;
    if (s->exchange != NULL)
        return WEIR_EAGAIN;
    if (method == WEIR_HTTP1_METHOD_NONE || method == WEIR_HTTP1_CONNECT)
        return WEIR_EINVAL;
    wi_http1_exchange *x = (wi_http1_exchange *)wi_http_exchange_new(session);
    if (x == NULL)
        return WEIR_ENOMEM;
    x->method = method;
    x->tail.env = session->env;
    x->base.user = user;
    weir_status status = write_request(session, x, head);
    if (status != WEIR_OK) {
        wi_http_exchange_free(&x->base);
        return status;
    }
    s->exchange = x;
    begun(x, head);
    *ret_exchange = &x->base;
    return WEIR_OK;
}

/* ---- Bodies ---- */

void wi_http1_written(weir_http_exchange *exchange)
{
    const wi_http1_exchange *x = (const wi_http1_exchange *)exchange;
    if (x->mute)
        exchange->body.len = exchange->sent;
}

weir_status wi_http1_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n)
{
    wi_http1_exchange *x = (wi_http1_exchange *)exchange;
    size_t len, room = fields_room(trailers, n);
    uint64_t written = x->framed + wi_http_queued_bytes(exchange);
    if (!exchange->responded || (!x->mute && x->length != UINT64_MAX && x->length != written))
        return WEIR_EINVAL;
    if (!x->chunked || x->mute || n == 0)
        return WEIR_OK;
    weir_status status = weir_bytes_reserve(&x->tail, room);
    if (status == WEIR_OK)
        status = weir_http1_write_trailers(trailers, n, x->tail.at, room, &len);
    if (status == WEIR_OK)
        x->tail.len = len;
    return status;
}

/* ---- Handing out ---- */

/* How much of the queued body goes now. Never more than was announced. */
static size_t portion(const wi_http1_exchange *x, size_t bytes_max)
{
    size_t n = x->base.responded ? wi_http_queued_bytes(&x->base) : 0;
    n = n < bytes_max ? n : bytes_max;
    if (x->length != UINT64_MAX && n > x->length - x->framed)
        n = (size_t)(x->length - x->framed);
    return n;
}

static void put(weir_bytes *out, const char *bytes, size_t n)
{
    if (n > 0)
        memcpy(out->at + out->len, bytes, n); /* the room is there */
    out->len += n;
}

static void put_body(wi_http1_exchange *x, weir_bytes *out, size_t n)
{
    if (n == 0)
        return;
    if (x->chunked)
        out->len += weir_http1_write_chunk_head(n, out->at + out->len);
    put(out, wi_http_queued(&x->base), n);
    if (x->chunked)
        put(out, WEIR_HTTP1_CHUNK_END, sizeof WEIR_HTTP1_CHUNK_END - 1);
    x->framed += n;
}

static void put_end(wi_http1_exchange *x, weir_bytes *out)
{
    x->handed_out = true;
    if (!x->chunked || x->mute)
        return;
    if (x->tail.len != 0)
        put(out, x->tail.at, x->tail.len);
    else
        put(out, WEIR_HTTP1_LAST_CHUNK, sizeof WEIR_HTTP1_LAST_CHUNK - 1);
}

weir_status wi_http1_output(weir_http_session *session, weir_bytes *out, size_t bytes_max)
{
    wi_http1_session *s = wi_http1_of(session);
    wi_http1_exchange *x = s->is_dead ? NULL : s->exchange;
    size_t most = bytes_max > s->out.len ? bytes_max - s->out.len : 1;
    size_t n = x != NULL ? portion(x, most) : 0;
    size_t framing = WEIR_HTTP1_CHUNK_HEAD_MAX + 8 + (x != NULL ? x->tail.len : 0);
    weir_status status = weir_bytes_reserve(out, s->out.len + n + framing);
    if (status != WEIR_OK)
        return status;
    put(out, s->out.at, s->out.len);
    weir_bytes_done(&s->out); /* to the pool */
    if (x == NULL)
        return WEIR_OK;
    put_body(x, out, n);
    if (x->base.ended && !x->handed_out && wi_http_queued_bytes(&x->base) == n)
        put_end(x, out);
    if (n != 0)
        wi_http_body_sent(&x->base, n);
    wi_http1_settle(session);
    return WEIR_OK;
}

bool wi_http1_wants_output(const weir_http_session *session)
{
    const wi_http1_session *s = wi_http1_of(session);
    const wi_http1_exchange *x = s->is_dead ? NULL : s->exchange;
    if (s->out.len != 0)
        return true;
    return x != NULL && !x->handed_out && (portion(x, 1) != 0 || x->base.ended);
}
