/* One connection's HTTP: what both versions share, and which of them it is. */
#include "http_session_internal.h"

#include <assert.h>

enum {
    OWN_POOL_BYTES = 128 * 1024,
    BODY_KEPT_MAX = 4096, /* of an exchange with nothing queued: a larger one is given back */
    BODY_HAD_MAX = 1 << 20
};

/* ---- Making and freeing ---- */

static void default_to(uint32_t *value, uint32_t by_default)
{
    if (*value == 0)
        *value = by_default;
}

static void fill_defaults(weir_http_session_config *c)
{
    default_to(&c->exchanges_max, 100);
    default_to(&c->head_bytes_max, 16 * 1024);
    default_to(&c->fields_max, 100);
    default_to(&c->stream_window_bytes, 64 * 1024);
    default_to(&c->connection_window_bytes, 1024 * 1024);
    default_to(&c->send_bytes_max, 64 * 1024);
    default_to(&c->frame_bytes_max, 16 * 1024);
    default_to(&c->header_timeout_ms, 10000);
    default_to(&c->idle_timeout_ms, 300000);
    default_to(&c->park_ms, 1000);
    default_to(&c->keepalive_timeout_ms, 20000);
    default_to(&c->resets_burst, 1000);
    default_to(&c->resets_per_second, 33);
    default_to(&c->violations_burst, 100);
    default_to(&c->violations_per_second, 33);
    default_to(&c->control_burst, 1000);
    default_to(&c->control_per_second, 200);
    default_to(&c->continuations_max, 8);
}

static weir_status start(weir_http_session *session, const wi_http_ops *ops)
{
    if (ops == NULL)
        return WEIR_EUNSUPPORTED;
    weir_status status = ops->start(session);
    if (status == WEIR_OK)
        session->ops = ops;
    return status;
}

static const wi_http_ops *ops_of(weir_http_version version)
{
    if (version == WEIR_HTTP_1)
        return &wi_http1_ops;
#if WEIR_HAVE_NGHTTP2
    return &wi_http2_ops;
#else
    return NULL;
#endif
}

static bool config_ok(const weir_http_session_config *config)
{
    if (config == NULL || config->events == NULL || config->events->head == NULL)
        return false;
    if (config->stream_window_bytes > INT32_MAX || config->connection_window_bytes > INT32_MAX)
        return false;
    if (config->frame_bytes_max >= 1u << 24)
        return false;
    return config->version <= WEIR_HTTP_2 &&
           !(config->is_client && config->version == WEIR_HTTP_AUTO);
}

weir_status weir_http_session_new(const weir_http_session_config *config, uint64_t now_ns,
                                  weir_http_session **ret_session)
{
    if (!config_ok(config) || ret_session == NULL)
        return WEIR_EINVAL;
    weir_http_pool *pool = config->pool;
    if (pool == NULL && (pool = weir_http_pool_new(config->env, OWN_POOL_BYTES)) == NULL)
        return WEIR_ENOMEM;
    const weir_env *env = weir_http_pool_env(pool);
    weir_http_session *session = weir_memory_new(env, sizeof *session);
    weir_status status = WEIR_ENOMEM;
    if (session == NULL)
        goto fail_session;
    session->config = *config;
    fill_defaults(&session->config);
    session->pool = pool;
    session->owns_pool = config->pool == NULL;
    session->env = env;
    session->start_ns = session->now_ns = now_ns;
    session->why = "";
    status = config->version == WEIR_HTTP_AUTO ? WEIR_OK : start(session, ops_of(config->version));
    if (status != WEIR_OK)
        goto fail_start;
    *ret_session = session;
    return WEIR_OK;

fail_start:
    weir_memory_free(env, session);
fail_session:
    if (config->pool == NULL)
        weir_http_pool_free(pool);
    return status;
}

void weir_http_session_free(weir_http_session *session)
{
    if (session == NULL)
        return;
    assert(!session->in_events);
    while (session->first != NULL)
        wi_http_exchange_free(session->first);
    if (session->ops != NULL)
        session->ops->done(session);
    weir_http_pool *pool = session->owns_pool ? session->pool : NULL;
    weir_memory_free(session->env, session);
    weir_http_pool_free(pool);
}

weir_status wi_http_session_fail(weir_http_session *session, weir_status status, const char *why)
{
    if (session->failed == WEIR_OK) {
        session->failed = status;
        session->why = why;
    }
    return session->failed;
}

/* ---- Bytes ---- */

/* What of `bytes` still agrees with the preface. */
static size_t preface_match(const weir_http_session *session, const char *bytes, size_t n)
{
    const char *preface = &WI_HTTP_PREFACE[session->preface];
    size_t left = WI_HTTP_PREFACE_BYTES - session->preface, same = 0;
    while (same < n && same < left && bytes[same] == preface[same])
        same++;
    return same;
}

/* Which version it is: by the preface, of which as much as agreed is fed to whoever gets it. */
static weir_status detect(weir_http_session *session, const char *bytes, size_t n, size_t *ret_used)
{
    size_t same = preface_match(session, bytes, n), fed;
    session->preface = (uint8_t)(session->preface + same);
    *ret_used = same;
    bool whole = session->preface == WI_HTTP_PREFACE_BYTES;
    if (!whole && same == n)
        return WEIR_OK;
    weir_status status = start(session, ops_of(whole ? WEIR_HTTP_2 : WEIR_HTTP_1));
    if (status != WEIR_OK)
        return wi_http_session_fail(session, status, "this version of HTTP cannot be served");
    if (session->drains > 0)
        session->ops->drain(session);
    if (session->preface == 0)
        return WEIR_OK;
    return session->ops->feed(session, WI_HTTP_PREFACE, session->preface, &fed);
}

static weir_status feed(weir_http_session *session, const char *bytes, size_t n,
                        size_t *ret_consumed)
{
    size_t used = 0, more = 0;
    if (session->ops == NULL) {
        weir_status status = detect(session, bytes, n, &used);
        if (status != WEIR_OK || session->ops == NULL) {
            *ret_consumed = used;
            return status;
        }
    }
    weir_status status = WEIR_OK;
    if (n > used)
        status = session->ops->feed(session, bytes + used, n - used, &more);
    *ret_consumed = used + more;
    return status;
}

weir_status weir_http_session_feed(weir_http_session *session, const char *bytes, size_t n,
                                   uint64_t now_ns, size_t *ret_consumed)
{
    assert(!session->in_events);
    size_t consumed = 0;
    *ret_consumed = 0;
    if (session->failed != WEIR_OK)
        return session->failed;
    session->now_ns = now_ns;
    session->in_events = true;
    wi_http_session_tell_resets(session);
    weir_status status = n == 0 ? WEIR_OK : feed(session, bytes, n, &consumed);
    wi_http_session_tell_resets(session);
    session->in_events = false;
    *ret_consumed = consumed;
    return status != WEIR_OK ? status : session->failed;
}

bool weir_http_session_wants_input(const weir_http_session *session)
{
    if (session->failed != WEIR_OK)
        return false;
    return session->ops == NULL || session->ops->wants_input(session);
}

weir_status weir_http_session_output(weir_http_session *session, weir_bytes *out, size_t bytes_max,
                                     uint64_t now_ns)
{
    assert(!session->in_events);
    session->now_ns = now_ns;
    session->in_events = true;
    if (session->failed == WEIR_OK)
        wi_http_session_tell_resets(session);
    weir_status status = WEIR_OK;
    if (session->ops != NULL && !session->gone)
        status = session->ops->output(session, out, bytes_max);
    if (session->failed == WEIR_OK)
        wi_http_session_tell_resets(session);
    session->in_events = false;
    return status != WEIR_OK ? status : session->failed;
}

bool weir_http_session_wants_output(const weir_http_session *session)
{
    if (session->failed == WEIR_OK && session->resets != NULL)
        return true;
    return session->ops != NULL && !session->gone && session->ops->wants_output(session);
}

/* The peer ended its side, and may still read; false if that is the end of all. */
static bool goes_on(weir_http_session *session)
{
    if (session->failed != WEIR_OK || session->ops == NULL || session->ops->peer_ended == NULL)
        return false;
    session->in_events = true;
    wi_http_session_tell_resets(session);
    session->ops->peer_ended(session);
    wi_http_session_tell_resets(session);
    session->in_events = false;
    return session->failed == WEIR_OK;
}

void weir_http_session_eof(weir_http_session *session, weir_status status)
{
    assert(!session->in_events);
    if (status == WEIR_OK && goes_on(session))
        return;
    session->gone = session->gone || session->failed == WEIR_OK;
    wi_http_session_fail(session, status == WEIR_OK ? WEIR_ECLOSED : status, "");
    session->in_events = true;
    while (session->first != NULL)
        wi_http_exchange_over(session->first, session->failed, 0);
    session->in_events = false;
}

void weir_http_session_drain(weir_http_session *session)
{
    if (session->failed != WEIR_OK || session->drains >= 2)
        return;
    session->drains++;
    if (session->ops != NULL)
        session->ops->drain(session);
}

/* Whether nothing but what is still to be sent keeps it. */
static bool is_spent(const weir_http_session *session)
{
    if (session->failed != WEIR_OK)
        return true;
    if (session->exchanges > 0)
        return false;
    return session->ops == NULL ? session->drains > 0 : session->ops->is_over(session);
}

bool weir_http_session_is_over(const weir_http_session *session)
{
    return is_spent(session) && !weir_http_session_wants_output(session);
}

weir_status weir_http_session_sweep(weir_http_session *session, uint64_t now_ns)
{
    assert(!session->in_events);
    if (session->failed != WEIR_OK)
        return session->failed;
    session->now_ns = now_ns;
    session->in_events = true;
    wi_http_session_tell_resets(session);
    uint64_t timeout = session->config.header_timeout_ms * WI_HTTP_MS;
    if (session->ops != NULL)
        (void)session->ops->sweep(session);
    else if (now_ns - session->start_ns > timeout)
        wi_http_session_fail(session, WEIR_EDEADLINE, "nothing came that could be HTTP");
    session->in_events = false;
    return session->failed;
}

const char *weir_http_session_why(const weir_http_session *session)
{
    return session->why;
}

weir_http_version weir_http_session_version(const weir_http_session *session)
{
    return session->ops == NULL ? WEIR_HTTP_AUTO : session->ops->version;
}

uint32_t weir_http_session_exchanges(const weir_http_session *session)
{
    return session->exchanges;
}

uint32_t weir_http_session_keepalives(const weir_http_session *session)
{
    return session->keepalives;
}

void *weir_http_session_user(const weir_http_session *session)
{
    return session->config.user;
}

/* ---- Exchanges, for the versions ---- */

weir_http_exchange *wi_http_exchange_new(weir_http_session *session)
{
    weir_http_exchange *exchange = wi_http_pool_take(session->pool, session->ops->exchange_bytes);
    if (exchange == NULL)
        return NULL;
    memset(exchange, 0, session->ops->exchange_bytes);
    exchange->session = session;
    exchange->user = session->config.user;
    exchange->body = (weir_bytes){ .env = session->env, .bytes_max = SIZE_MAX };
    exchange->previous = session->last;
    *(session->last == NULL ? &session->first : &session->last->next) = exchange;
    session->last = exchange;
    session->exchanges++;
    return exchange;
}

static void unlink_exchange(weir_http_exchange *exchange)
{
    weir_http_session *session = exchange->session;
    *(exchange->previous == NULL ? &session->first : &exchange->previous->next) = exchange->next;
    *(exchange->next == NULL ? &session->last : &exchange->next->previous) = exchange->previous;
    session->exchanges--;
    if (exchange->was_reset) {
        weir_http_exchange **at = &session->resets;
        while (*at != NULL && *at != exchange)
            at = &(*at)->next_reset;
        if (*at != NULL)
            *at = exchange->next_reset;
    }
}

static void free_unlinked(weir_http_exchange *exchange)
{
    weir_http_session *session = exchange->session;
    session->ops->exchange_done(exchange);
    weir_bytes_done(&exchange->body);
    wi_http_pool_give(session->pool, exchange);
}

void wi_http_exchange_free(weir_http_exchange *exchange)
{
    unlink_exchange(exchange);
    free_unlinked(exchange);
}

void wi_http_exchange_over(weir_http_exchange *exchange, weir_status status, uint32_t h2_code)
{
    const weir_http_events *events = exchange->session->config.events;
    unlink_exchange(exchange);
    if (exchange->was_reset) {
        status = exchange->reset_status;
        h2_code = exchange->reset_code;
    }
    exchange->was_reset = true; /* nothing can be asked of it any more */
    if (events->over != NULL)
        events->over(exchange, status, h2_code, exchange->user);
    free_unlinked(exchange);
}

void wi_http_session_tell_resets(weir_http_session *session)
{
    while (session->resets != NULL)
        wi_http_exchange_over(session->resets, WEIR_ECANCELED, 0);
}

void wi_http_tell_refused(weir_http_session *session)
{
    if (!session->config.is_client && session->config.events->refused != NULL)
        session->config.events->refused(session, session->config.user);
}

void wi_http_tell_head(weir_http_exchange *exchange, const weir_http_head *head)
{
    exchange->peer_ended = head->ends;
    if (!exchange->was_reset)
        exchange->session->config.events->head(exchange, head, exchange->user);
}

void wi_http_tell_body(weir_http_exchange *exchange, const char *bytes, size_t n)
{
    const weir_http_events *events = exchange->session->config.events;
    if (exchange->was_reset || n == 0)
        return;
    exchange->unconsumed += n;
    if (events->body != NULL)
        events->body(exchange, bytes, n, exchange->user);
    else
        weir_http_exchange_consume(exchange, n);
}

void wi_http_tell_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n)
{
    const weir_http_events *events = exchange->session->config.events;
    exchange->peer_ended = true;
    if (!exchange->was_reset && events->end != NULL)
        events->end(exchange, trailers, n, exchange->user);
}

/* Room in small pieces would cost a callback and a copy of what is left for each. */
static void tell_room(weir_http_exchange *exchange)
{
    const weir_http_session_config *config = &exchange->session->config;
    if (!exchange->room_wanted || exchange->was_reset ||
        wi_http_queued_bytes(exchange) > config->send_bytes_max / 4)
        return;
    exchange->room_wanted = false;
    if (config->events->room != NULL && !exchange->ended)
        config->events->room(exchange, exchange->user);
}

void wi_http_body_sent(weir_http_exchange *exchange, size_t n)
{
    exchange->sent += n;
    assert(exchange->sent <= exchange->body.len);
    if (exchange->sent == exchange->body.len)
        exchange->sent = exchange->body.len = 0;
    tell_room(exchange);
    if (exchange->body.len == 0 && exchange->body.cap > BODY_KEPT_MAX) {
        exchange->body_had = (uint32_t)(exchange->body.cap < BODY_HAD_MAX ? exchange->body.cap
                                                                          : BODY_HAD_MAX);
        weir_bytes_done(&exchange->body);
    }
}

/* ---- Exchanges, for users ---- */

weir_status weir_http_session_open(weir_http_session *session, const weir_http_head *head,
                                   void *user, weir_http_exchange **ret_exchange)
{
    if (!session->config.is_client || head == NULL)
        return WEIR_EINVAL;
    if (weir_http_session_is_closing(session))
        return WEIR_ECLOSED;
    if (session->ops->openable(session) == 0)
        return WEIR_EAGAIN;
    weir_http_exchange *exchange = NULL;
    weir_status status = session->ops->open(session, head, user, &exchange);
    if (status == WEIR_OK)
        *ret_exchange = exchange;
    return status;
}

bool weir_http_session_is_closing(const weir_http_session *session)
{
    return session->failed != WEIR_OK || session->drains > 0 || session->ops->is_over(session);
}

uint32_t weir_http_session_openable(const weir_http_session *session)
{
    if (!session->config.is_client || weir_http_session_is_closing(session))
        return 0;
    return session->ops->openable(session);
}

weir_http_session *weir_http_exchange_session(const weir_http_exchange *exchange)
{
    return exchange->session;
}

void weir_http_exchange_set_user(weir_http_exchange *exchange, void *user)
{
    exchange->user = user;
}

void *weir_http_exchange_user(const weir_http_exchange *exchange)
{
    return exchange->user;
}

/* Whether nothing can come of it: it was reset, or its connection is over. */
static bool is_dead(const weir_http_exchange *exchange)
{
    return exchange->was_reset || exchange->session->failed != WEIR_OK;
}

weir_status weir_http_exchange_respond(weir_http_exchange *exchange, const weir_http_head *head)
{
    if (head == NULL || exchange->session->config.is_client)
        return WEIR_EINVAL;
    if (is_dead(exchange))
        return WEIR_ECLOSED;
    if (exchange->responded)
        return WEIR_EEXIST;
    if (head->status < 200 || head->status > 599)
        return WEIR_EINVAL;
    weir_status status = exchange->session->ops->respond(exchange, head);
    if (status != WEIR_OK)
        return status;
    exchange->responded = true;
    exchange->ended = head->ends;
    return WEIR_OK;
}

/* One that is given back and taken again is as large as it was; one that grows is not made larger
 * than what may be queued, unless it must be. */
static bool body_reserve(weir_http_exchange *exchange, size_t more)
{
    weir_bytes *body = &exchange->body;
    size_t max = (size_t)exchange->session->config.send_bytes_max;
    max += max / 8;
    if (body->cap == 0 && more < exchange->body_had)
        more = exchange->body_had;
    size_t need = body->len + more;
    if (more > SIZE_MAX / 2 || need > max || body->cap < max / 2)
        return weir_bytes_reserve(body, more) == WEIR_OK;
    if (need <= body->cap)
        return true;
    char *at = weir_memory_resize(body->env, body->at, max);
    if (at == NULL)
        return false;
    body->at = at;
    body->cap = max;
    return true;
}

weir_bytes *weir_http_exchange_body(weir_http_exchange *exchange, size_t more)
{
    weir_bytes *body = &exchange->body;
    if (is_dead(exchange) || exchange->ended || !exchange->responded)
        return NULL;
    if (more <= body->cap - body->len)
        return body;
    if (exchange->sent >= body->len / 2 && exchange->sent > 0) {
        body->len -= exchange->sent;
        memmove(body->at, body->at + exchange->sent, body->len);
        exchange->sent = 0;
    }
    return body_reserve(exchange, more) ? body : NULL;
}

void weir_http_exchange_written(weir_http_exchange *exchange)
{
    if (!is_dead(exchange) && !exchange->ended && wi_http_queued_bytes(exchange) > 0)
        exchange->session->ops->written(exchange);
}

size_t weir_http_exchange_room(weir_http_exchange *exchange)
{
    size_t queued = wi_http_queued_bytes(exchange), max = exchange->session->config.send_bytes_max;
    if (queued < max)
        return max - queued;
    exchange->room_wanted = true;
    return 0;
}

weir_status weir_http_exchange_end(weir_http_exchange *exchange, const weir_http1_field *trailers,
                                   size_t n)
{
    if (is_dead(exchange))
        return WEIR_ECLOSED;
    if (exchange->ended || !exchange->responded)
        return WEIR_EINVAL;
    weir_status status = exchange->session->ops->end(exchange, trailers, n);
    if (status == WEIR_OK)
        exchange->ended = true;
    return status;
}

void weir_http_exchange_consume(weir_http_exchange *exchange, size_t n)
{
    if (n > exchange->unconsumed)
        n = exchange->unconsumed;
    exchange->unconsumed -= n;
    if (n > 0 && !is_dead(exchange))
        exchange->session->ops->consume(exchange, n);
}

void weir_http_exchange_reset(weir_http_exchange *exchange, weir_status status, uint32_t h2_code)
{
    weir_http_session *session = exchange->session;
    if (exchange->was_reset)
        return;
    exchange->was_reset = true;
    exchange->reset_status = status;
    exchange->reset_code = h2_code;
    exchange->next_reset = session->resets;
    session->resets = exchange;
    weir_bytes_done(&exchange->body);
    exchange->sent = 0;
    if (session->failed == WEIR_OK)
        session->ops->reset(exchange, h2_code);
}
