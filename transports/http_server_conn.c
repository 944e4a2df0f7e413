/* A connection of the HTTP server: its beginning, its socket's events, its end. */
#include "http_server_internal.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* ---- Events ---- */

/* While we do not read, a reset shows only here. A peer that only ended its sending is left alone.
 */
static void check_reset(wi_httpd_conn *conn)
{
    struct pollfd at = { .fd = conn->fd, .events = POLLRDHUP };
    if (poll(&at, 1, 0) > 0 && (at.revents & (POLLERR | POLLHUP)) != 0)
        wi_httpd_conn_kill(conn, WEIR_ECLOSED);
}

static void on_event(evutil_socket_t fd, short what, void *user)
{
    wi_httpd_conn *conn = user;
    (void)fd;
    if (conn->tls != NULL && conn->phase != WI_HTTPD_LINGER)
        what |= EV_READ | EV_WRITE; /* either may have waited for the other */
    if ((what & EV_CLOSED) != 0)
        conn->hup = true;
    if ((what & (EV_READ | EV_CLOSED)) != 0) {
        conn->readable = true;
        wi_httpd_pump(conn);
        if (conn->readable && conn->fd >= 0)
            check_reset(conn);
    }
    if ((what & EV_WRITE) != 0 && conn->blocked && conn->fd >= 0) {
        conn->blocked = false;
        wi_httpd_dirty(conn);
    }
}

/* ---- Beginning and end ---- */

static void note_peer(wi_httpd_conn *conn)
{
    struct sockaddr_storage at = { .ss_family = AF_UNSPEC };
    socklen_t len = sizeof at;
    if (getpeername(conn->fd, (struct sockaddr *)&at, &len) != 0)
        return;
    if (at.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&at;
        conn->peer = in6->sin6_addr;
        conn->peer_port = ntohs(in6->sin6_port);
    } else if (at.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&at;
        conn->peer.s6_addr[10] = conn->peer.s6_addr[11] = 0xff;
        memcpy(conn->peer.s6_addr + 12, &in->sin_addr, 4);
        conn->peer_port = ntohs(in->sin_port);
    }
}

wi_httpd_conn *wi_httpd_conn_new(wi_httpd *server, int fd)
{
    const short all = EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST;
    wi_httpd_conn *conn = weir_memory_new(server->env, sizeof *conn);
    if (conn == NULL)
        return NULL;
    conn->server = server;
    conn->fd = fd;
    conn->since_ns = weir_loop_now(server->loop);
    conn->phase = server->shared->tls != NULL ? WI_HTTPD_HANDSHAKE : WI_HTTPD_IDLE;
    note_peer(conn);
    event_assign(&conn->io, weir_loop_base(server->loop), fd, all, on_event, conn);
    wi_tls *tls = server->shared->tls;
    if ((tls != NULL && wi_tls_session_new(tls, fd, NULL, &conn->tls) != WEIR_OK) ||
        event_add(&conn->io, NULL) != 0) {
        wi_tls_session_free(conn->tls);
        weir_memory_free(server->env, conn);
        return NULL;
    }
    conn->next = server->conns;
    if (server->conns != NULL)
        server->conns->prev = conn;
    server->conns = conn;
    server->conns_live++;
    wi_httpd_sweep_start(server);
    return conn;
}

static void drop_requests(wi_httpd_conn *conn, weir_status status)
{
    for (weir_http_request *request = conn->requests, *next; request != NULL; request = next) {
        next = request->next;
        request->conn = NULL;
        request->next = NULL;
        if (wi_httpd_answered(request) != WI_HTTPD_ANSWERED)
            weir_context_cancel(&request->context, status);
    }
    conn->requests = conn->requests_last = NULL;
}

static void drop_input(wi_httpd_conn *conn)
{
    wi_httpd_queue_off(conn);
    if (conn->incoming != NULL) {
        weir_item *item = wi_httpd_incoming_done(conn);
        wi_httpd_request_discard(item->body);
    }
    wi_httpd_release(conn->server, &conn->in);
    conn->continue_due = false;
    conn->read_ended = true;
}

static void drop_held(wi_httpd_conn *conn)
{
    while (conn->held != NULL) {
        wi_httpd_held *held = conn->held;
        conn->held = held->next;
        wi_httpd_release(conn->server, &held->bytes);
        weir_memory_free(conn->server->env, held);
    }
    conn->held_bytes = 0;
}

void wi_httpd_conn_kill(wi_httpd_conn *conn, weir_status status)
{
    static const struct linger hard = { .l_onoff = 1 };
    wi_httpd *server = conn->server;
    if (conn->fd < 0)
        return;
    event_del(&conn->io);
    wi_tls_session_free(conn->tls);
    conn->tls = NULL;
    if (status == WEIR_EDEADLINE) /* what it does not take is not kept for it */
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    conn->dead_fd = conn->fd;
    conn->fd = -1;
    drop_input(conn);
    drop_requests(conn, status);
    drop_held(conn);
    wi_httpd_release(server, &conn->out);
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        server->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    server->conns_live--;
    /* Whoever is using it still may, up to the end of the turn; the socket goes after libevent has
     * told the kernel, or its number would be somebody else's by then. */
    conn->behind = server->dead;
    server->dead = conn;
    weir_loop_defer(server->loop, &server->flush);
    wi_httpd_accept_or_not(server);
}

void wi_httpd_conn_finish(wi_httpd_conn *conn)
{
    drop_input(conn);
    wi_httpd_dirty(conn);
}

void wi_httpd_refuse(wi_httpd_conn *conn, int status, const char *why)
{
    wi_httpd_place place = { .minor = 1, .to_close = true };
    if (conn->incoming != NULL) {
        const weir_http_request *request = conn->incoming->item->body;
        place.seq = request->seq;
        place.is_head = request->method == WEIR_HTTP1_HEAD;
    } else {
        place.seq = conn->seq_in++;
    }
    conn->phase = WI_HTTPD_IDLE;
    drop_input(conn);
    wi_httpd_answer_error(conn, &place, status, why);
    wi_httpd_dirty(conn);
}

bool wi_httpd_conn_has_input(const wi_httpd_conn *conn)
{
    return conn->incoming != NULL || conn->phase == WI_HTTPD_HEAD ||
           wi_httpd_buffered(&conn->in) != 0 || (conn->readable && conn->queue != NULL);
}

/* All is said: ends our side, and waits for the peer to end its own. */
void wi_httpd_conn_wind_down(wi_httpd_conn *conn)
{
    drop_input(conn);
    drop_requests(conn, WEIR_ECLOSED);
    drop_held(conn);
    wi_tls_shutdown(conn->tls);
    if (conn->peer_ended || shutdown(conn->fd, SHUT_WR) != 0) {
        wi_httpd_conn_kill(conn, WEIR_ECLOSED);
        return;
    }
    conn->phase = WI_HTTPD_LINGER;
    conn->since_ns = weir_loop_now(conn->server->loop);
    conn->paused_ns = 0;
    conn->readable = true;
    wi_httpd_pump(conn); /* which discards */
}
