/* Exchanges of HTTP/2: streams of nghttp2, what is sent on them, and what has been used up. */
#include "http2_session.h"

#include <assert.h>

char wi_http2_disowned;

static wi_http2_exchange *x_of(weir_http_exchange *exchange)
{
    return (wi_http2_exchange *)exchange;
}

static wi_http2 *h2_of(const weir_http_exchange *exchange)
{
    return wi_http2_of(exchange->session);
}

wi_http2_exchange *wi_http2_exchange_look_up(wi_http2 *h2, int32_t stream)
{
    void *user = nghttp2_session_get_stream_user_data(h2->ng, stream);
    if (user == NULL || user == &wi_http2_disowned)
        return NULL;
    return h2->recent = user;
}

/* A call of nghttp2 failed that nobody can be told of. */
static void must(wi_http2 *h2, int rv)
{
    if (rv < 0)
        (void)wi_http2_fail(h2, rv == NGHTTP2_ERR_NOMEM ? WEIR_ENOMEM : WEIR_EINTERNAL,
                            NGHTTP2_INTERNAL_ERROR, "out of memory");
    (void)wi_http2_go_on(h2);
}

/* ---- Data to be sent ---- */

static int submit_trailers(wi_http2 *h2, wi_http2_exchange *x)
{
    int rv = nghttp2_submit_trailer(h2->ng, x->stream, x->trailers, x->trailer_count);
    wi_http_pool_give(h2->session->pool, x->trailers);
    x->trailers = NULL;
    return rv;
}

/* How much the next frame takes. The bytes themselves are for wi_http2_send_data. */
static ssize_t read_data(nghttp2_session *ng, int32_t stream, uint8_t *bytes, size_t n,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    wi_http2_exchange *x = source->ptr;
    wi_http2 *h2 = user;
    size_t queued = wi_http_queued_bytes(&x->base);
    (void)ng;
    (void)stream;
    (void)bytes;
    bool more = !x->base.ended || wi_http2_is_held(x);
    if (queued == 0 && more) {
        x->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (queued > n)
        return (ssize_t)n;
    if (more)
        return (ssize_t)queued;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (x->trailers != NULL) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        int rv = submit_trailers(h2, x);
        must(h2, rv);
        if (rv < 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)queued;
}

int wi_http2_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                       nghttp2_data_source *source, void *user)
{
    wi_http2 *h2 = user;
    wi_http2_exchange *x = source->ptr;
    weir_bytes *out = h2->out;
    (void)ng;
    assert(frame->data.padlen == 0);
    (void)frame;
    if (weir_bytes_reserve(out, WI_FRAME_HEAD + n) != WEIR_OK) {
        must(h2, NGHTTP2_ERR_NOMEM);
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    memcpy(out->at + out->len, head, WI_FRAME_HEAD);
    if (n > 0)
        memcpy(out->at + out->len + WI_FRAME_HEAD, wi_http_queued(&x->base), n);
    out->len += WI_FRAME_HEAD + n;
    wi_http_body_sent(&x->base, n);
    return out->len >= h2->out_end ? NGHTTP2_ERR_PAUSE : 0;
}

/* ---- Heads ---- */

enum { NV_ON_STACK = 32, DIGITS = 40 };

/* Hands a head to nghttp2: a request if stream is 0, of which it returns the stream. */
static int submit(wi_http2 *h2, wi_http2_exchange *x, const weir_http_head *head, nghttp2_nv *nv)
{
    char digits[DIGITS];
    bool is_request = h2->session->config.is_client;
    size_t n = wi_http2_head_nv(head, is_request, nv, digits);
    if (n == 0)
        return NGHTTP2_ERR_INVALID_ARGUMENT;
    nghttp2_data_provider data = { .source.ptr = x, .read_callback = read_data };
    nghttp2_data_provider *provider = head->ends ? NULL : &data;
    if (is_request)
        return nghttp2_submit_request(h2->ng, NULL, nv, n, provider, x);
    return nghttp2_submit_response(h2->ng, x->stream, nv, n, provider);
}

static int submit_head(wi_http2 *h2, wi_http2_exchange *x, const weir_http_head *head)
{
    nghttp2_nv few[NV_ON_STACK];
    const weir_env *env = h2->session->env;
    if (!wi_http2_fields_count_ok(head->fields, head->field_count))
        return NGHTTP2_ERR_INVALID_ARGUMENT;
    if (head->field_count + WI_NV_MORE <= NV_ON_STACK)
        return submit(h2, x, head, few);
    nghttp2_nv *many = weir_memory_new(env, (head->field_count + WI_NV_MORE) * sizeof *many);
    if (many == NULL)
        return NGHTTP2_ERR_NOMEM;
    int rv = submit(h2, x, head, many);
    weir_memory_free(env, many);
    return rv;
}

static weir_status status_of(int rv)
{
    if (rv == NGHTTP2_ERR_NOMEM)
        return WEIR_ENOMEM;
    return rv == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE ? WEIR_ECLOSED : WEIR_EINVAL;
}

weir_status wi_http2_open(weir_http_session *session, const weir_http_head *head, void *user,
                          weir_http_exchange **ret_exchange)
{
    wi_http2 *h2 = wi_http2_of(session);
    if (wi_http2_request_ok(head) != WEIR_OK)
        return WEIR_EINVAL;
    weir_http_exchange *exchange = wi_http_exchange_new(session);
    if (exchange == NULL)
        return WEIR_ENOMEM;
    wi_http2_exchange *x = x_of(exchange);
    wi_http2_wake(h2);
    int rv = submit_head(h2, x, head);
    if (rv < 0) {
        wi_http_exchange_free(exchange);
        return status_of(rv);
    }
    if (wi_http2_go_on(h2) != 0) { /* nothing will be sent */
        wi_http_exchange_free(exchange);
        return WEIR_ENOMEM;
    }
    x->stream = rv;
    exchange->user = user;
    exchange->responded = true;
    exchange->ended = head->ends;
    *ret_exchange = exchange;
    return WEIR_OK;
}

weir_status wi_http2_respond(weir_http_exchange *exchange, const weir_http_head *head)
{
    int rv = submit_head(h2_of(exchange), x_of(exchange), head);
    return rv < 0 ? status_of(rv) : wi_http2_go_on(h2_of(exchange)) != 0 ? WEIR_ENOMEM : WEIR_OK;
}

int wi_http2_refuse(wi_http2 *h2, wi_http2_exchange *x, const char *status)
{
    int32_t stream = x->stream;
    wi_http_tell_refused(h2->session);
    nghttp2_nv nv = { .name = (uint8_t *)(uintptr_t) ":status",
                      .namelen = 7,
                      .value = (uint8_t *)(uintptr_t)status,
                      .valuelen = 3 };
    h2->recent = NULL;
    must(h2, nghttp2_session_set_stream_user_data(h2->ng, stream, &wi_http2_disowned));
    wi_http_exchange_free(&x->base);
    must(h2, nghttp2_submit_response(h2->ng, stream, &nv, 1, NULL));
    return h2->session->failed != WEIR_OK ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* ---- The rest ---- */

void wi_http2_resume(wi_http2_exchange *x)
{
    if (!x->deferred)
        return;
    x->deferred = false;
    must(h2_of(&x->base), nghttp2_session_resume_data(h2_of(&x->base)->ng, x->stream));
}

void wi_http2_written(weir_http_exchange *exchange)
{
    wi_http2_resume(x_of(exchange));
}

/* One piece of memory: nghttp2's form of the fields, and the bytes that are not ours. */
static nghttp2_nv *copy_nv(weir_http_pool *pool, const nghttp2_nv *from, size_t n)
{
    size_t bytes = n * sizeof(nghttp2_nv);
    for (size_t i = 0; i < n; i++)
        bytes += from[i].namelen + from[i].valuelen;
    nghttp2_nv *nv = wi_http_pool_take(pool, bytes);
    if (nv == NULL)
        return NULL;
    uint8_t *at = (uint8_t *)(nv + n);
    for (size_t i = 0; i < n; i++) {
        nv[i] = from[i];
        if ((nv[i].flags & NGHTTP2_NV_FLAG_NO_COPY_NAME) == 0) {
            nv[i].name = memcpy(at, from[i].name, from[i].namelen);
            at += from[i].namelen;
        }
        if (from[i].valuelen > 0)
            nv[i].value = memcpy(at, from[i].value, from[i].valuelen);
        at += from[i].valuelen;
    }
    return nv;
}

static weir_status note_trailers(wi_http2_exchange *x, const weir_http1_field *fields, size_t n)
{
    nghttp2_nv few[NV_ON_STACK], *nv = few;
    const weir_env *env = x->base.session->env;
    if (!wi_http2_fields_count_ok(fields, n))
        return WEIR_EINVAL;
    if (n > NV_ON_STACK && (nv = weir_memory_new(env, n * sizeof *nv)) == NULL)
        return WEIR_ENOMEM;
    weir_status status = WEIR_EINVAL;
    if (wi_http2_fields_nv(fields, n, nv)) {
        x->trailers = copy_nv(x->base.session->pool, nv, n);
        x->trailer_count = n;
        status = x->trailers == NULL ? WEIR_ENOMEM : WEIR_OK;
    }
    if (nv != few)
        weir_memory_free(env, nv);
    return status;
}

weir_status wi_http2_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n)
{
    weir_status status = n == 0 ? WEIR_OK : note_trailers(x_of(exchange), trailers, n);
    x_of(exchange)->finished_ns = exchange->session->now_ns;
    if (status == WEIR_OK)
        wi_http2_resume(x_of(exchange));
    return status;
}

void wi_http2_consume(weir_http_exchange *exchange, size_t n)
{
    wi_http2_exchange *x = x_of(exchange);
    wi_http2 *h2 = h2_of(exchange);
    if (exchange->peer_ended || x->finished)
        return;
    x->unreturned += (uint32_t)n;
    if (x->last_data)
        return;
    int32_t window = (int32_t)exchange->session->config.stream_window_bytes;
    if (x->unreturned < (uint32_t)window / 2 &&
        nghttp2_session_get_stream_effective_recv_data_length(h2->ng, x->stream) < window)
        return;
    int32_t opened = (int32_t)x->unreturned;
    x->unreturned = 0;
    must(h2, nghttp2_submit_window_update(h2->ng, NGHTTP2_FLAG_NONE, x->stream, opened));
}

void wi_http2_reset(weir_http_exchange *exchange, uint32_t h2_code)
{
    wi_http2 *h2 = h2_of(exchange);
    int32_t stream = x_of(exchange)->stream;
    h2->recent = NULL;
    (void)nghttp2_session_set_stream_user_data(h2->ng, stream, &wi_http2_disowned);
    must(h2, nghttp2_submit_rst_stream(h2->ng, NGHTTP2_FLAG_NONE, stream, h2_code));
}

void wi_http2_exchange_done(weir_http_exchange *exchange)
{
    wi_http2_exchange *x = x_of(exchange);
    wi_http2 *h2 = h2_of(exchange);
    h2->idle_ns = exchange->session->now_ns;
    if (h2->recent == x)
        h2->recent = NULL;
    if (exchange->session->exchanges == 0 && h2->block.stream == 0)
        wi_http2_block_end(h2); /* gives its room back */
    if (x->trailers != NULL)
        wi_http_pool_give(exchange->session->pool, x->trailers);
}
