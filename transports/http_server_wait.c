/* Waiting: connections with input that there is no demand for, or no memory; and who must answer
 * 503 because it took too long. */
#include "http_server_internal.h"

void wi_httpd_pause(wi_httpd_conn *conn)
{
    if (conn->paused_ns == 0)
        conn->paused_ns = weir_loop_now(conn->server->loop);
}

/* What a peer could not send because we did not read is not held against it. */
void wi_httpd_resume(wi_httpd_conn *conn)
{
    conn->waits = false;
    if (conn->paused_ns == 0)
        return;
    conn->since_ns += weir_loop_now(conn->server->loop) - conn->paused_ns;
    conn->paused_ns = 0;
}

void wi_httpd_queue_up(wi_httpd_conn *conn, wi_httpd_queue *queue, bool first)
{
    if (conn->queue != NULL)
        return;
    wi_httpd_conn *before = first ? NULL : queue->last;
    wi_httpd_conn *behind = first ? queue->first : NULL;
    wi_httpd_pause(conn);
    conn->queue = queue;
    conn->before = before;
    conn->behind = behind;
    *(before != NULL ? &before->behind : &queue->first) = conn;
    *(behind != NULL ? &behind->before : &queue->last) = conn;
    queue->count++;
}

void wi_httpd_queue_off(wi_httpd_conn *conn)
{
    wi_httpd_queue *queue = conn->queue;
    if (queue == NULL)
        return;
    conn->queue = NULL;
    *(conn->before != NULL ? &conn->before->behind : &queue->first) = conn->behind;
    *(conn->behind != NULL ? &conn->behind->before : &queue->last) = conn->before;
    queue->count--;
}

/* ---- Demand ---- */

static void overload_start(wi_httpd *server);

void wi_httpd_hungry(wi_httpd_conn *conn, bool first)
{
    wi_httpd_queue_up(conn, &conn->server->hungry, first);
    overload_start(conn->server);
}

bool wi_httpd_body_fits(const wi_httpd *server, uint64_t bytes)
{
    return server->body_bytes == 0 ||
           bytes <= server->config.body_bytes_max_all - server->body_bytes;
}

/* Those that come back to the queue wait for the next time. */
void wi_httpd_feed(wi_httpd *server)
{
    server->bytes_short = false;
    for (uint32_t n = server->hungry.count; n > 0 && server->hungry.first != NULL; n--) {
        wi_httpd_conn *conn = server->hungry.first;
        if (server->bytes_short || !weir_out_fits(server->out, 1))
            return;
        wi_httpd_queue_off(conn);
        wi_httpd_pump(conn);
    }
    for (uint32_t n = server->cramped.count; n > 0 && server->cramped.first != NULL; n--) {
        wi_httpd_conn *conn = server->cramped.first;
        if (!wi_httpd_body_fits(server, conn->need_bytes))
            return;
        wi_httpd_queue_off(conn);
        wi_httpd_pump(conn);
    }
}

/* ---- Overload ---- */

static void overloaded(weir_timer *timer, void *user)
{
    wi_httpd *server = user;
    uint64_t now = weir_loop_now(server->loop);
    uint64_t wait = server->config.overload_wait_ms * WEIR_MS;
    (void)timer;
    while (server->hungry.first != NULL && now - server->hungry.first->paused_ns >= wait) {
        wi_httpd_conn *conn = server->hungry.first;
        wi_httpd_queue_off(conn);
        conn->rejects = true;
        wi_httpd_pump(conn);
        conn->rejects = false;
    }
    overload_start(server);
}

static void overload_start(wi_httpd *server)
{
    uint64_t wait = server->config.overload_wait_ms * WEIR_MS;
    if (wait == 0 || server->hungry.first == NULL || weir_timer_is_armed(&server->overload))
        return;
    uint64_t waited = weir_loop_now(server->loop) - server->hungry.first->paused_ns;
    weir_timer_start(server->loop, &server->overload, waited < wait ? wait - waited : 0, overloaded,
                     server);
}
