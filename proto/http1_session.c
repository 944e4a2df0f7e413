/* HTTP/1.1 on one connection (RFC 9112): beginning and end, times, and refusals. */
#include "http1_session.h"

#include <stdio.h>

static weir_status start(weir_http_session *session)
{
    wi_http1_session *s = weir_memory_new(session->env, sizeof *s);
    if (s == NULL)
        return WEIR_ENOMEM;
    s->head.env = s->out.env = session->env;
    s->since_ns = session->now_ns;
    session->impl = s;
    return WEIR_OK;
}

static void done(weir_http_session *session)
{
    wi_http1_session *s = wi_http1_of(session);
    weir_bytes_done(&s->head);
    weir_bytes_done(&s->out);
    weir_memory_free(session->env, s);
}

static void exchange_done(weir_http_exchange *exchange)
{
    wi_http1_exchange *x = (wi_http1_exchange *)exchange;
    wi_http1_session *s = wi_http1_of(exchange->session);
    weir_bytes_done(&x->tail);
    if (s->exchange == x)
        s->exchange = NULL;
}

/* ---- Its end ---- */

void wi_http1_end_input(weir_http_session *session)
{
    wi_http1_session *s = wi_http1_of(session);
    s->is_dead = true;
    s->head.len = 0; /* an event may still be looking at it */
}

weir_status wi_http1_refuse(weir_http_session *session, weir_status status, unsigned code,
                            const char *why)
{
    wi_http1_session *s = wi_http1_of(session);
    bool answers = !session->config.is_client &&
                   (s->exchange == NULL || !s->exchange->base.responded);
    char text[512];
    wi_http1_end_input(session);
    if (answers && s->exchange == NULL)
        wi_http_tell_refused(session);
    if (answers) {
        bool mute = s->exchange != NULL && s->exchange->method == WEIR_HTTP1_HEAD;
        int n = snprintf(text, sizeof text,
                         "HTTP/1.1 %u %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                         "Connection: close\r\n\r\n%s\n",
                         code, weir_http1_reason(code), strlen(why) + 1, why);
        size_t len = n < 0 || (size_t)n >= sizeof text ? 0 : (size_t)n;
        if (mute && len > strlen(why))
            len -= strlen(why) + 1;
        if (weir_bytes_append(&s->out, text, len) != WEIR_OK)
            s->out.len = 0; /* then it is cut off in silence */
    } else if (s->exchange != NULL && s->exchange->framed == 0) {
        /* A head alone would pass for an answer. */
        s->out.len = 0;
    }
    return wi_http_session_fail(session, status, why);
}

void wi_http1_next_message(weir_http_session *session)
{
    wi_http1_session *s = wi_http1_of(session);
    s->phase = WI_HTTP1_HEAD;
    s->scan = (weir_http1_scan){ 0 };
    s->since_ns = session->now_ns;
    if (s->closes || session->drains != 0)
        wi_http1_end_input(session);
}

void wi_http1_settle(weir_http_session *session)
{
    wi_http1_session *s = wi_http1_of(session);
    wi_http1_exchange *x = s->exchange;
    if (x == NULL || x->base.was_reset || !x->handed_out)
        return;
    if (s->phase != WI_HTTP1_COMPLETE) {
        if (session->config.is_client)
            return;
        /* The rest has no reader. Little is let pass, for the sake of the connection; where it may
         * be more, the answer has said that this is the last. */
        s->closes = s->closes || !x->counted || s->body.left > WI_HTTP1_SKIP_BYTES;
    }
    s->exchange = NULL;
    if (s->phase == WI_HTTP1_COMPLETE || s->closes)
        wi_http1_next_message(session);
    else
        s->since_ns = session->now_ns;
    wi_http_exchange_over(&x->base, WEIR_OK, 0);
}

/* ---- From above ---- */

static void drain(weir_http_session *session)
{
    wi_http1_session *s = wi_http1_of(session);
    s->closes = true;
    if (s->exchange == NULL)
        wi_http1_end_input(session);
}

static bool is_over(const weir_http_session *session)
{
    return wi_http1_of(session)->is_dead && !wi_http1_wants_output(session);
}

static uint32_t openable(const weir_http_session *session)
{
    const wi_http1_session *s = wi_http1_of(session);
    return s->exchange == NULL && !s->is_dead ? 1 : 0;
}

static void consume(weir_http_exchange *exchange, size_t n)
{
    (void)exchange; /* what there is room for is computed when asked */
    (void)n;
}

static void reset(weir_http_exchange *exchange, uint32_t h2_code)
{
    wi_http1_session *s = wi_http1_of(exchange->session);
    (void)h2_code;
    s->out.len = 0;
    wi_http1_end_input(exchange->session);
}

/* ---- Times ---- */

static bool is_late(const weir_http_session *session, uint32_t within_ms)
{
    uint64_t since = wi_http1_of(session)->since_ns;
    return within_ms != UINT32_MAX && session->now_ns > since &&
           session->now_ns - since >= within_ms * WI_HTTP_MS;
}

static weir_status sweep(weir_http_session *session)
{
    wi_http1_session *s = wi_http1_of(session);
    const weir_http_session_config *config = &session->config;
    if (s->is_dead || s->exchange != NULL)
        return WEIR_OK;
    if (s->phase == WI_HTTP1_BODY) { /* what is skipped */
        if (is_late(session, config->header_timeout_ms))
            wi_http1_end_input(session);
    } else if (!config->is_client && s->head.len != 0) {
        if (is_late(session, config->header_timeout_ms))
            return wi_http1_refuse(session, WEIR_EDEADLINE, 408, "the head took too long");
    } else if (is_late(session, config->idle_timeout_ms) ||
               (!config->is_client && !s->was_used &&
                is_late(session, config->header_timeout_ms))) {
        wi_http1_end_input(session);
    }
    return WEIR_OK;
}

const wi_http_ops wi_http1_ops = {
    .version = WEIR_HTTP_1,
    .exchange_bytes = sizeof(wi_http1_exchange),
    .start = start,
    .done = done,
    .feed = wi_http1_feed,
    .wants_input = wi_http1_wants_input,
    .peer_ended = wi_http1_peer_ended,
    .output = wi_http1_output,
    .wants_output = wi_http1_wants_output,
    .drain = drain,
    .is_over = is_over,
    .sweep = sweep,
    .openable = openable,
    .open = wi_http1_open,
    .respond = wi_http1_respond,
    .written = wi_http1_written,
    .end = wi_http1_end,
    .consume = consume,
    .reset = reset,
    .exchange_done = exchange_done,
};
