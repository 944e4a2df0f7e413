/* Reading: as long as there is demand and room, into one buffer of the loop, parsed where it lies.
 */
#include "http_server_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Steps of one connection before others get their turn, and what is read after our own end. */
enum { STEPS_MAX = 16, LINGER_BYTES_MAX = 256 * 1024, READ_MORE = 2048 };

/* ---- Taking requests ---- */

static bool has_room(const wi_httpd_conn *conn)
{
    const weir_http_server_config *config = &conn->server->config;
    if (conn->incoming != NULL)
        return true; /* it has its place already */
    return conn->seq_in - conn->seq_out < config->pipelined_max &&
           wi_httpd_buffered(&conn->out) + conn->held_bytes < config->reply_bytes_max;
}

static bool takes_requests(const wi_httpd_conn *conn)
{
    return conn->fd >= 0 && !conn->read_ended && conn->phase != WI_HTTPD_LINGER &&
           conn->phase != WI_HTTPD_HANDSHAKE;
}

static bool has_demand(const wi_httpd_conn *conn)
{
    return weir_out_fits(conn->server->out, 1) || conn->rejects;
}

/* Hands over a whole request; false if the edge has no room for its bytes. */
static bool emit(wi_httpd_conn *conn, weir_item *item)
{
    wi_httpd *server = conn->server;
    weir_http_request *request = item->body;
    uint32_t within = server->config.request_deadline_ms;
    bool fits = weir_out_fits(server->out, item->cost), closes = request->to_close;
    if (!fits && !conn->rejects)
        return false;
    if (within != UINT32_MAX)
        request->context.deadline_ns = weir_loop_now(server->loop) + within * WEIR_MS;
    conn->phase = WI_HTTPD_IDLE;
    if (fits)
        weir_emit(server->out, item);
    else
        weir_item_end(item, WEIR_REJECTED, WEIR_EOVERLOAD);
    if (closes) {
        conn->read_ended = true;
        wi_httpd_release(server, &conn->in);
    }
    return true;
}

static bool emit_incoming(wi_httpd_conn *conn)
{
    if (emit(conn, conn->incoming->item)) {
        (void)wi_httpd_incoming_done(conn);
        return true;
    }
    conn->server->bytes_short = true;
    wi_httpd_hungry(conn, true);
    return false;
}

static bool emit_or_wait(wi_httpd_conn *conn, weir_item *item)
{
    if (emit(conn, item))
        return true;
    return wi_httpd_incoming_wait(conn, item);
}

/* A request that came as a whole: the usual case. */
static size_t take_whole(wi_httpd_conn *conn, const weir_http1_head *head, const char *at,
                         size_t head_bytes, size_t body_bytes)
{
    weir_item *item = wi_httpd_request_new(conn, head, at, head_bytes, body_bytes);
    if (item == NULL) {
        wi_httpd_refuse(conn, 503, "out of memory");
        return head_bytes + body_bytes;
    }
    weir_http_request *request = item->body;
    if (body_bytes > 0) {
        char *room = wi_httpd_request_room(request, head_bytes);
        memcpy(room, at + head_bytes, body_bytes);
        request->body = (weir_http1_span){ room, body_bytes };
    }
    if (!emit_or_wait(conn, item)) {
        wi_httpd_request_discard(request);
        wi_httpd_refuse(conn, 503, "out of memory");
    }
    return head_bytes + body_bytes;
}

/* A body that is still on its way. Its memory is set aside first, for all of it: bodies that each
 * wait for the rest of theirs could wait for ever. */
static size_t take_beginning(wi_httpd_conn *conn, const weir_http1_head *head, const char *at,
                             size_t head_bytes, bool body_follows)
{
    wi_httpd *server = conn->server;
    uint64_t most = server->config.limits.body_bytes_max;
    uint64_t need = head->framing == WEIR_HTTP1_LENGTH ? head->content_length : most;
    if (!wi_httpd_body_fits(server, need)) {
        conn->need_bytes = need;
        wi_httpd_queue_up(conn, &server->cramped, false);
        return 0;
    }
    if (!wi_httpd_incoming_start(conn, head, at, head_bytes, need)) {
        wi_httpd_refuse(conn, 503, "out of memory");
        return head_bytes;
    }
    conn->phase = WI_HTTPD_BODY;
    conn->since_ns = weir_loop_now(server->loop);
    if (head->expect_continue && !body_follows) {
        conn->continue_due = true;
        wi_httpd_put_continue(conn);
    }
    return head_bytes;
}

/* The next head, and its body if that is all here. Gives 0 if more must come first. */
static size_t take_message(wi_httpd_conn *conn, const char *at, size_t len)
{
    wi_httpd *server = conn->server;
    weir_http1_head head;
    size_t head_bytes;
    head.fields = server->fields;
    head.field_cap = WI_HTTPD_FIELDS_MAX;
    if (conn->phase == WI_HTTPD_IDLE) {
        conn->phase = WI_HTTPD_HEAD;
        conn->since_ns = weir_loop_now(server->loop);
    }
    weir_status status = weir_http1_request_head(&server->config.limits, at, len, &conn->scan,
                                                 &head, &head_bytes);
    conn->partial = status == WEIR_EPARTIAL;
    if (conn->partial)
        return 0;
    conn->scan = (weir_http1_scan){ 0 };
    if (status != WEIR_OK) {
        wi_httpd_refuse(conn, head.status, head.why);
        return len;
    }
    if (head.method == WEIR_HTTP1_CONNECT) {
        wi_httpd_refuse(conn, 501, "no tunnels here");
        return len;
    }
    size_t here = len - head_bytes;
    if (head.framing == WEIR_HTTP1_NO_BODY)
        return take_whole(conn, &head, at, head_bytes, 0);
    if (head.framing == WEIR_HTTP1_LENGTH && head.content_length <= here)
        return take_whole(conn, &head, at, head_bytes, (size_t)head.content_length);
    return take_beginning(conn, &head, at, head_bytes, here > 0);
}

/* Takes what it may; gives how many bytes are done with. */
static size_t take(wi_httpd_conn *conn, const char *at, size_t len)
{
    size_t used = 0;
    while (used < len && takes_requests(conn) && has_room(conn) && has_demand(conn)) {
        size_t n;
        if (conn->incoming == NULL)
            n = take_message(conn, at + used, len - used);
        else if (!conn->incoming->complete)
            n = wi_httpd_incoming_take(conn, at + used, len - used);
        else
            n = 0;
        used += n;
        if (conn->incoming != NULL && conn->incoming->complete && !emit_incoming(conn))
            break;
        if (n == 0)
            break;
    }
    return takes_requests(conn) ? used : len;
}

static void take_buffered(wi_httpd_conn *conn)
{
    size_t used = take(conn, conn->in.at + conn->in.from, wi_httpd_buffered(&conn->in));
    if (conn->in.at == NULL)
        return; /* refused, or the last request of the connection */
    conn->in.from += (uint32_t)used;
    if (conn->in.from == conn->in.to)
        wi_httpd_release(conn->server, &conn->in);
}

/* ---- Reading ---- */

static wi_io receive(wi_httpd_conn *conn, char *at, size_t cap, size_t *ret_n)
{
    wi_io io = wi_io_read(conn->fd, conn->tls, at, cap, ret_n);
    /* Edge-triggered: a short read has emptied the socket, but for an end that came before it. */
    if (io == WI_IO_DONE && conn->tls == NULL && *ret_n < cap && !conn->hup) {
        conn->readable = false;
        conn->read_short = true;
    }
    return io;
}

static bool receive_done(wi_httpd_conn *conn, wi_io io)
{
    if (io == WI_IO_DONE)
        return true;
    conn->readable = false;
    if (io == WI_IO_END)
        conn->peer_ended = true;
    else if (io == WI_IO_FAILED)
        wi_httpd_conn_kill(conn, WEIR_ECLOSED);
    return false;
}

/* More of a head of which there is a part. */
static void read_on(wi_httpd_conn *conn)
{
    size_t n;
    if (!wi_httpd_reserve(conn->server, &conn->in, READ_MORE)) {
        wi_httpd_refuse(conn, 503, "out of memory");
        return;
    }
    if (!receive_done(conn,
                      receive(conn, conn->in.at + conn->in.to, conn->in.cap - conn->in.to, &n)))
        return;
    conn->in.to += (uint32_t)n;
    conn->partial = false;
}

static void read_afresh(wi_httpd_conn *conn)
{
    wi_httpd *server = conn->server;
    size_t cap = conn->incoming != NULL ? WI_HTTPD_READ_BYTES : WI_HTTPD_HEAD_READ, n;
    if (!receive_done(conn, receive(conn, server->scratch, cap, &n)))
        return;
    size_t used = take(conn, server->scratch, n);
    if (used < n && !wi_httpd_append(server, &conn->in, server->scratch + used, n - used))
        wi_httpd_refuse(conn, 503, "out of memory");
}

/* The peer sends no more; it may still read. */
static void at_end(wi_httpd_conn *conn)
{
    if (conn->incoming != NULL)
        wi_httpd_refuse(conn, 400, "the body was cut off");
    else if (conn->phase == WI_HTTPD_HEAD)
        wi_httpd_refuse(conn, 400, "the head was cut off");
    else
        wi_httpd_conn_finish(conn);
}

/* Closing over unread input would reset the connection and take the last reply with it. */
static void discard(wi_httpd_conn *conn)
{
    while (conn->fd >= 0 && conn->readable) {
        ssize_t n = recv(conn->fd, conn->server->scratch, WI_HTTPD_READ_BYTES, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            conn->readable = false;
            return;
        }
        if (n > 0)
            conn->lingered += (uint32_t)n;
        if (n <= 0 || conn->lingered > LINGER_BYTES_MAX)
            wi_httpd_conn_kill(conn, WEIR_ECLOSED);
    }
}

static void read_again(weir_timer *timer, void *user)
{
    wi_httpd *server = user;
    (void)timer;
    wi_httpd_feed(server);
    for (wi_httpd_conn *conn = server->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        if (!conn->again)
            continue;
        conn->again = false;
        wi_httpd_pump(conn);
    }
}

void wi_httpd_come_back(wi_httpd *server)
{
    if (!weir_timer_is_armed(&server->again))
        weir_timer_start(server->loop, &server->again, 0, read_again, server);
}

/* No edge will come for what is there already: it has to come back by itself. */
static void come_back(wi_httpd_conn *conn)
{
    conn->again = true;
    wi_httpd_come_back(conn->server);
}

static void handshake(wi_httpd_conn *conn)
{
    conn->readable = false;
    switch (wi_tls_handshake(conn->tls)) {
    case WI_IO_DONE:
        conn->phase = WI_HTTPD_IDLE;
        conn->since_ns = weir_loop_now(conn->server->loop);
        conn->readable = true; /* the first request may have come along */
        break;
    case WI_IO_WANTS_READ:
    case WI_IO_WANTS_WRITE:
        break;
    default:
        wi_httpd_conn_kill(conn, WEIR_EPROTO);
        break;
    }
}

/* Without demand nothing is read; but a peer that is done and has said nothing more needs none. */
static bool ended_quietly(const wi_httpd_conn *conn)
{
    char byte;
    return conn->hup && conn->phase == WI_HTTPD_IDLE && conn->incoming == NULL &&
           conn->tls == NULL && wi_httpd_buffered(&conn->in) == 0 &&
           recv(conn->fd, &byte, 1, MSG_PEEK) == 0;
}

/* One step of a pump; false when there is nothing to do for now. */
static bool step(wi_httpd_conn *conn)
{
    if (!takes_requests(conn))
        return false;
    if (!has_room(conn)) {
        conn->waits = true;
        wi_httpd_pause(conn);
        return false;
    }
    if (!has_demand(conn)) {
        wi_httpd_hungry(conn, false);
        if (ended_quietly(conn)) {
            conn->peer_ended = true;
            wi_httpd_conn_finish(conn);
        }
        return false;
    }
    wi_httpd_queue_off(conn);
    wi_httpd_resume(conn);
    if (conn->incoming != NULL && conn->incoming->complete)
        return emit_incoming(conn);
    if (wi_httpd_buffered(&conn->in) != 0 && !conn->partial) {
        take_buffered(conn);
        return conn->queue == NULL;
    }
    if (conn->peer_ended) {
        at_end(conn);
        return false;
    }
    /* A reset that came together with the bytes before it shows only when one reads on. It is
     * looked for where nothing else would: a whole request is answered, and that fails as well. */
    conn->readable |= conn->read_short && conn->phase != WI_HTTPD_IDLE;
    conn->read_short = false;
    if (!conn->readable)
        return false;
    if (wi_httpd_buffered(&conn->in) != 0)
        read_on(conn);
    else
        read_afresh(conn);
    return conn->queue == NULL;
}

void wi_httpd_pump(wi_httpd_conn *conn)
{
    if (conn->phase == WI_HTTPD_HANDSHAKE && conn->readable)
        handshake(conn);
    if (conn->phase == WI_HTTPD_LINGER) {
        discard(conn);
        return;
    }
    for (int steps = 0; step(conn); steps++) {
        if (steps < STEPS_MAX)
            continue;
        come_back(conn);
        return;
    }
}
