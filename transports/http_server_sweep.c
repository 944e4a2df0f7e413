/* Deadlines: one timer per loop looks at all connections. */
#include "http_server_internal.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A tenth of the shortest deadline: late by that at most. Lingering may take a little longer. */
static uint64_t interval_of(const weir_http_server_config *config)
{
    uint64_t ms = least(least(config->header_timeout_ms, config->body_timeout_ms),
                        least(config->idle_timeout_ms, config->write_timeout_ms));
    ms = least(least(ms, config->request_deadline_ms), 5 * (uint64_t)config->linger_timeout_ms) /
         10;
    return (ms < 1 ? 1 : ms > 1000 ? 1000 : ms) * WEIR_MS;
}

static bool is_late(const wi_httpd_conn *conn, uint64_t now, uint32_t within_ms)
{
    uint64_t until = conn->paused_ns != 0 ? conn->paused_ns : now;
    return until > conn->since_ns && until - conn->since_ns >= within_ms * WEIR_MS;
}

static bool is_idle(const wi_httpd_conn *conn)
{
    return conn->seq_in == conn->seq_out && conn->queue == NULL &&
           wi_httpd_buffered(&conn->out) == 0;
}

/* A request that is still unanswered a sweep after its deadline, because what it waits for does not
 * even look at it, is answered here: nobody waits for ever. */
static void sweep_requests(wi_httpd_conn *conn, uint64_t now)
{
    uint64_t grace = conn->server->sweep_ns;
    for (weir_http_request *at = conn->requests, *next; at != NULL && conn->fd >= 0; at = next) {
        next = at->next;
        uint64_t deadline = at->context.deadline_ns;
        if (deadline == 0 || now < deadline + grace)
            continue;
        weir_context_cancel(&at->context, WEIR_EDEADLINE);
        if (!wi_httpd_claim(at, WI_HTTPD_ANSWERED))
            continue;
        wi_httpd_place place = wi_httpd_place_of(at);
        wi_httpd_answer_error(conn, &place, 504, "not answered in time");
    }
}

static void sweep_one(wi_httpd_conn *conn, uint64_t now)
{
    const weir_http_server_config *config = &conn->server->config;
    sweep_requests(conn, now);
    if (conn->fd < 0)
        return;
    if (conn->blocked && wi_httpd_buffered(&conn->out) != 0 &&
        now - conn->wrote_ns >= config->write_timeout_ms * WEIR_MS) {
        wi_httpd_conn_kill(conn, WEIR_EDEADLINE);
        return;
    }
    switch (conn->phase) {
    case WI_HTTPD_HANDSHAKE:
        if (is_late(conn, now, config->header_timeout_ms))
            wi_httpd_conn_kill(conn, WEIR_EDEADLINE);
        break;
    case WI_HTTPD_LINGER:
        if (is_late(conn, now, config->linger_timeout_ms))
            wi_httpd_conn_kill(conn, WEIR_ECLOSED);
        break;
    case WI_HTTPD_HEAD:
        if (is_late(conn, now, config->header_timeout_ms))
            wi_httpd_refuse(conn, 408, "the head took too long");
        break;
    case WI_HTTPD_BODY:
        if (!conn->incoming->complete && is_late(conn, now, config->body_timeout_ms))
            wi_httpd_refuse(conn, 408, "the body took too long");
        break;
    default:
        if (is_idle(conn) && is_late(conn, now, config->idle_timeout_ms))
            wi_httpd_conn_finish(conn);
        break;
    }
}

static void sweep(weir_timer *timer, void *user)
{
    wi_httpd *server = user;
    uint64_t now = weir_loop_now(server->loop);
    for (wi_httpd_conn *conn = server->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        sweep_one(conn, now);
    }
    if (server->conns != NULL)
        weir_timer_start(server->loop, timer, server->sweep_ns, sweep, server);
}

void wi_httpd_sweep_start(wi_httpd *server)
{
    if (weir_timer_is_armed(&server->sweep))
        return;
    server->sweep_ns = interval_of(&server->config);
    weir_timer_start(server->loop, &server->sweep, server->sweep_ns, sweep, server);
}
